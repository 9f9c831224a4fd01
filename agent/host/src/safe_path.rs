//! Opens directories along ways that the path rule allows.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hostler_core::path_rule::{UnsafeStep, Way};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a way was not walked to its end.
#[derive(Debug)]
pub enum Stopped {
    /// The path rule refuses a step.
    Unsafe(UnsafeStep),
    /// The kernel does.
    Kernel(Errno),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<UnsafeStep> for Stopped {
    fn from(step: UnsafeStep) -> Self {
        Self::Unsafe(step)
    }
}

/// Opens the directory that an absolute path leads to, following links by safe steps; and its path without links. What
/// was looked at is what is opened, whatever is renamed meanwhile.
///
/// # Errors
/// A step is not safe, or the kernel refuses; `ENOTDIR` where no directory is at the end.
pub fn open_directory(path: &Path, flags: OFlags) -> Result<(OwnedFd, PathBuf), Stopped> {
    let mut way = Way::default();
    let mut here = PathBuf::from("/");
    let mut at = rustix::fs::openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty())?;
    step(&mut way, &here, &at)?;
    let mut todo: VecDeque<OsString> = names(path.as_os_str()).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        let next = rustix::fs::openat(&at, &name, LOOK, Mode::empty())?;
        if name == ".." {
            here.pop();
        } else {
            here.push(&name);
        }
        if step(&mut way, &here, &next)? != FileType::Symlink {
            at = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        here.pop();
        let target = OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
        if target.as_bytes().starts_with(b"/") {
            here = PathBuf::from("/");
            at = rustix::fs::openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty())?;
            step(&mut way, &here, &at)?;
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(name);
        }
    }
    // A link to its own directory ends the way where no name follows that would be looked at.
    step(&mut way, &here, &at)?;
    let opened = rustix::fs::openat(&at, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((opened, here))
}

fn names(path: &OsStr) -> impl Iterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned())
}

fn step(way: &mut Way, path: &Path, at: impl AsFd) -> Result<FileType, Stopped> {
    let stat = rustix::fs::fstat(at)?;
    way.step(path, stat.st_uid)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    /// Directories and links with their owners; `None` where only root may give files away.
    fn tree() -> Option<tempfile::TempDir> {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        std::fs::create_dir_all(at("app")).unwrap();
        std::fs::create_dir_all(at("shared/theirs")).unwrap();
        symlink(at("shared/theirs"), at("app/by-root")).unwrap();
        symlink(at("shared/theirs"), at("app/by-user")).unwrap();
        symlink("../shared/theirs", at("app/relative")).unwrap();
        symlink(".", at("app/here")).unwrap();
        symlink("loop", at("app/loop")).unwrap();
        symlink("nothing", at("app/dangling")).unwrap();
        std::fs::write(at("app/file"), "").unwrap();
        for name in ["app/by-user", "app/here", "shared/theirs"] {
            lchown(at(name), Some(33), None).ok()?;
        }
        Some(top)
    }

    #[test]
    fn a_way_is_walked_by_safe_steps_only() {
        let Some(top) = tree() else {
            eprintln!("skipped: only root may give files away");
            return;
        };
        let real = top.path().canonicalize().unwrap();
        let open = |name: &str| open_directory(&real.join(name), OFlags::PATH).map(|(_, path)| path);
        for name in ["app/by-root", "app/relative", "shared/theirs"] {
            assert_eq!(open(name).unwrap(), real.join("shared/theirs"), "{name}");
        }
        for (name, to) in [("app/by-user", "/"), ("app/here", real.join("app").to_str().unwrap())] {
            match open(name) {
                Err(Stopped::Unsafe(step)) => {
                    assert_eq!((step.from, step.from_owner, step.to_owner), (real.join(name), 33, 0));
                    assert_eq!(step.to, Path::new(to));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        for (name, errno) in [("app/loop", Errno::LOOP), ("app/dangling", Errno::NOENT), ("app/file", Errno::NOTDIR)] {
            assert!(matches!(open(name), Err(Stopped::Kernel(found)) if found == errno), "{name}");
        }
    }
}
