//! Attributes, bind mounts and read-only mounts, made by the kernel itself.

use std::process::Command;

use super::*;
use crate::test_support::skip;

/// Runs a tool; `false`, with a printed reason, if this user or this system does not allow it.
fn may(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    let reason = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    skip(format_args!("{program} {arguments:?}: {reason}"));
    false
}

/// An attribute of a file or directory, removed when this is dropped, so that the directory can be deleted.
struct Attribute(PathBuf, &'static str);

impl Attribute {
    fn set(sign: &'static str, path: &Path) -> Option<Self> {
        may("chattr", &[&format!("+{sign}")], path).then(|| Self(path.to_owned(), sign))
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        may("chattr", &[&format!("-{}", self.1)], &self.0);
    }
}

/// A bind mount of a path onto itself or another one, unmounted when this is dropped.
struct Bind(PathBuf);

impl Bind {
    fn new(from: &Path, onto: &Path) -> Option<Self> {
        may("mount", &["--bind", from.to_str().unwrap()], onto).then(|| Self(onto.to_owned()))
    }

    fn read_only(path: &Path) -> Option<Self> {
        let bind = Self::new(path, path)?;
        may("mount", &["-o", "remount,bind,ro"], path).then_some(bind)
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        may("umount", &[], &self.0);
    }
}

/// A root prefix with the files of a last install of `a` and `sub/b`, and the plan for it now.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("srv/app/sub")).unwrap();
        for name in ["a", "sub/b", "old"] {
            fs::write(root.path().join("srv/app").join(name), "abc").unwrap();
        }
        Self { root }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.root.path().join("srv/app").join(below)
    }

    fn problems(&self) -> Vec<String> {
        let last = [file("/srv/app/a"), file("/srv/app/old"), file("/srv/app/sub/b")];
        let made = make(self.root.path(), &spec(&[("/", "/srv/app")]), &listing(&["a", "sub/b"]), &last);
        made.err().unwrap_or_default().iter().map(|p| format!("{}: {}", p.code.as_str(), p.message)).collect()
    }
}

#[test]
fn attributes_of_files_and_directories_are_seen() {
    let place = Place::new();
    assert_eq!(place.problems(), Vec::<String>::new());
    for (sign, code, shown) in
        [("i", "immutable", "immutable (chattr +i)"), ("a", "append_only", "append-only (chattr +a)")]
    {
        // Replaced and removed files, and directories that are not empty.
        for (below, path) in [("a", "/srv/app/a"), ("old", "/srv/app/old"), ("sub", "/srv/app/sub"), ("", "/srv/app")] {
            let Some(_attribute) = Attribute::set(sign, &place.at(below)) else { return };
            assert_eq!(place.problems(), [format!("{code}: {path} is {shown}")]);
        }
    }
    assert_eq!(place.problems(), Vec::<String>::new());
    // The Install agrees: it would have met this error.
    let _attribute = Attribute::set("i", &place.at("a"));
    let error = fs::rename(place.at("a"), place.at("c")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EPERM));
}

#[test]
fn a_file_that_is_mounted_over_is_seen() {
    let place = Place::new();
    let secret = place.root.path().join("secret");
    fs::write(&secret, "xyz").unwrap();
    for (below, path) in [("a", "/srv/app/a"), ("old", "/srv/app/old")] {
        let Some(_bind) = Bind::new(&secret, &place.at(below)) else { return };
        let message =
            format!("mount_point_in_the_way: {path} must be replaced or removed, and something is mounted on it");
        assert_eq!(place.problems(), [message]);
    }
    // A directory that is a mount point is a destination like any other.
    let Some(_bind) = Bind::new(&place.at("sub"), &place.at("sub")) else { return };
    assert_eq!(place.problems(), Vec::<String>::new());
}

#[test]
fn a_read_only_mount_of_a_device_that_is_writable_elsewhere_is_named() {
    let place = Place::new();
    {
        let Some(_bind) = Bind::read_only(&place.at("sub")) else { return };
        assert_eq!(place.problems(), ["read_only_file_system: /srv/app/sub is mounted read-only"]);
    }
    let Some(_bind) = Bind::read_only(&place.root.path().join("srv")) else { return };
    let told = "read_only_file_system: /srv/app is on /srv, which is mounted read-only";
    assert_eq!(place.problems(), [told], "once for all that is on it");
}
