//! Ways that users make to files that the agent only reads.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{lchown, symlink};

use super::*;
use crate::test_support::skip;

const USER: u32 = 33;

/// A directory of a user with links and files, and a directory of root beside it; `None` where only root may give files
/// away.
fn tree() -> Option<tempfile::TempDir> {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    for directory in ["app", "root", "theirs"] {
        fs::create_dir(at(directory)).unwrap();
    }
    for file in ["app/own", "app/roots", "root/secret", "theirs/file"] {
        fs::write(at(file), file).unwrap();
    }
    symlink(at("theirs"), at("app/current")).unwrap();
    symlink(at("theirs/file"), at("app/by-root")).unwrap();
    symlink("../root/secret", at("app/secret")).unwrap();
    symlink("../root", at("app/directory")).unwrap();
    symlink("root/secret", at("roots-link")).unwrap();
    nix::unistd::mkfifo(&at("app/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["app", "app/own", "app/current", "app/secret", "app/directory", "app/fifo", "theirs", "theirs/file"] {
        lchown(at(name), Some(USER), None).ok()?;
    }
    Some(top)
}

#[test]
fn files_are_opened_by_safe_steps_only() {
    let Some(top) = tree() else {
        skip("only root may give files away");
        return;
    };
    let real = top.path().canonicalize().unwrap();
    let read = |name: &str, purpose| {
        let mut text = String::new();
        open_file(&real.join(name), purpose)?.read_to_string(&mut text)?;
        io::Result::Ok(text)
    };
    for (name, content) in [
        ("app/own", "app/own"),
        ("app/roots", "app/roots"),
        ("app/current/file", "theirs/file"),
        ("app/by-root", "theirs/file"),
        ("roots-link", "root/secret"),
        ("app/../app/own", "app/own"),
    ] {
        assert_eq!(read(name, Purpose::Shipping).unwrap(), content, "{name}");
    }
    for name in ["app/secret", "app/directory/secret", "app/../root/secret"] {
        for purpose in [Purpose::Shipping, Purpose::Secrets] {
            let error = read(name, purpose).unwrap_err();
            let Some(Refused::Unsafe(step)) = refusal(&error) else { panic!("{name}: {error}") };
            assert_eq!((step.from_owner, step.to_owner), (USER, 0), "{name}");
            assert_eq!(step.to, real.join("root/secret"), "{name}");
        }
    }
    fs::set_permissions(real.join("app/roots"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(refusal(&read("app/roots", Purpose::Shipping).unwrap_err()).is_some());
    assert_eq!(read("app/roots", Purpose::Secrets).unwrap(), "app/roots");
    assert!(read("app/fifo", Purpose::Shipping).unwrap_err().to_string().contains("a named pipe"));
    assert!(read("app", Purpose::Shipping).unwrap_err().to_string().contains("a directory"));
    assert_eq!(read("app/none", Purpose::Shipping).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(read("app/own/none", Purpose::Shipping).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn directories_are_looked_into_by_safe_steps_only() {
    let Some(top) = tree() else { return };
    let real = top.path().canonicalize().unwrap();
    for name in ["", "app", "app/current", "root"] {
        look_into(&real.join(name)).unwrap();
    }
    assert!(refusal(&look_into(&real.join("app/directory")).unwrap_err()).is_some());
    Opener::new(UnsafePaths::Warn).look_into(&real.join("app/directory")).unwrap();
}

#[test]
fn the_kernels_words_are_no_files_whatever_is_allowed() {
    for unsafe_paths in [UnsafePaths::Refuse, UnsafePaths::Warn] {
        let error = Opener::new(unsafe_paths).open(Path::new("/proc/self/status"), Purpose::Shipping).unwrap_err();
        assert!(error.to_string().contains("it is in procfs"), "{error}");
    }
}
