//! Opens directories and files along ways that the path rule allows.

mod reading;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hostler_core::path_rule::{UnsafeStep, Way};
use hostler_core::plan::Identity;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

pub use reading::{Opener, Purpose, Refused, look_into, open_file, refusal};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `f_type` of an overlay.
const OVERLAY: u64 = 0x794c_7630;

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
    let mut walk = Walk::from(top()?)?;
    walk.strict = true;
    walk.on(names(path.as_os_str()).collect())?;
    let there = walk.end()?;
    Ok((there.open(flags)?, there.real))
}

/// A directory to which a way led.
#[derive(Debug)]
pub struct There {
    /// The directory, to look and to go on from (`O_PATH`).
    pub directory: OwnedFd,
    /// Its path without links.
    pub real: PathBuf,
    /// The user id of its owner.
    pub owner: u32,
    /// The id of its device.
    pub device: u64,
    /// Whether somebody else than root and the agent's user owns something on the way before it.
    pub by_user: bool,
}

impl There {
    /// Where a way begins that is not asked about: a root prefix. `real` has no links.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn begin(real: &Path) -> Result<Self, Errno> {
        Self::at(rustix::fs::openat(CWD, real, LOOK | OFlags::DIRECTORY, Mode::empty())?, real)
    }

    /// A directory that is open, from which a way begins.
    ///
    /// # Errors
    /// The kernel does not say what it is.
    pub fn at(directory: OwnedFd, real: &Path) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&directory)?;
        Ok(Self { directory, real: real.to_owned(), owner: stat.st_uid, device: stat.st_dev, by_user: false })
    }

    /// Goes on to what stands under a name, following links; by an unsafe step too, which is told.
    ///
    /// # Errors
    /// The kernel refuses; `ENOTDIR` where no directory is at the end.
    pub fn follow(&self, name: &OsStr) -> Result<(Self, Option<UnsafeStep>), Errno> {
        let directory = rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?;
        let here = Self { directory, real: self.real.clone(), by_user: self.by_user, ..*self };
        let mut walk = Walk::from(here).map_err(of_kernel)?;
        walk.on(VecDeque::from([name.to_owned()])).map_err(of_kernel)?;
        let refused = walk.refused.take();
        walk.end().map(|there| (there, refused)).map_err(of_kernel)
    }

    /// Opens the directory itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.directory, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }
}

/// By what a directory is known again.
///
/// # Errors
/// The kernel does not say.
pub fn identity(directory: impl AsFd) -> Result<Identity, Errno> {
    let directory = directory.as_fd();
    let kind = rustix::fs::fstatfs(directory)?.f_type as u64;
    let looked = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME);
    let Ok(found) = looked else {
        // Before Linux 4.11, and system call filters.
        return Ok(Identity { kind, inode: rustix::fs::fstat(directory)?.st_ino, born: None });
    };
    // In an overlay it is that of the layer, and becomes another one with the first change.
    let has_born = kind != OVERLAY && StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    let born = has_born.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
    Ok(Identity { kind, inode: found.stx_ino, born })
}

fn top() -> Result<There, Errno> {
    There::begin(Path::new("/"))
}

fn of_kernel(stopped: Stopped) -> Errno {
    match stopped {
        Stopped::Kernel(errno) => errno,
        // Only a strict walk stops for it.
        Stopped::Unsafe(_) => Errno::PERM,
    }
}

struct Walk {
    here: There,
    way: Way,
    strict: bool,
    /// Whether the last step was a link.
    at_link: bool,
    /// The first unsafe step, where the walk went on.
    refused: Option<UnsafeStep>,
}

impl Walk {
    fn from(here: There) -> Result<Self, Stopped> {
        let mut way = Way::of(crate::users::own_uid());
        way.step(&here.real, here.owner)?;
        Ok(Self { here, way, strict: false, at_link: false, refused: None })
    }

    fn on(&mut self, mut todo: VecDeque<OsString>) -> Result<(), Stopped> {
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            let next = rustix::fs::openat(&self.here.directory, &name, LOOK, Mode::empty())?;
            let mut path = self.here.real.clone();
            if name == ".." {
                path.pop();
            } else {
                path.push(&name);
            }
            let stat = self.step(&path, &next)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                self.enter(next, path, &stat);
                continue;
            }
            links += 1;
            self.at_link = true;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
            if target.as_bytes().starts_with(b"/") {
                let top = top()?.directory;
                let stat = self.step(Path::new("/"), &top)?;
                self.enter(top, PathBuf::from("/"), &stat);
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                todo.push_front(name);
            }
        }
        Ok(())
    }

    fn enter(&mut self, directory: OwnedFd, real: PathBuf, stat: &Stat) {
        self.at_link = false;
        self.here = There { directory, real, owner: stat.st_uid, device: stat.st_dev, by_user: self.here.by_user };
    }

    fn end(mut self) -> Result<There, Stopped> {
        // A link to its own directory: no name follows that would be looked at.
        if self.at_link {
            let (path, directory) = (self.here.real.clone(), rustix::io::fcntl_dupfd_cloexec(&self.here.directory, 0)?);
            self.step(&path, &directory)?;
        }
        self.here.by_user |= self.way.is_by_user();
        Ok(self.here)
    }

    fn step(&mut self, path: &Path, at: impl AsFd) -> Result<Stat, Stopped> {
        let stat = rustix::fs::fstat(at)?;
        match self.way.step(path, stat.st_uid) {
            Err(step) if self.strict => return Err(step.into()),
            Err(step) => drop(self.refused.get_or_insert(step)),
            Ok(()) => {}
        }
        Ok(stat)
    }
}

/// Opens the directory that an absolute path leads to, following every link; `step` is told of each directory and link on
/// the way before what it leads to is looked at, of some of them twice, and may end the walk.
///
/// # Errors
/// What `step` says, or the kernel refuses; `ENOTDIR` where no directory is at the end.
pub fn walk(
    path: &Path,
    flags: OFlags,
    step: &mut dyn FnMut(&Path, BorrowedFd<'_>, &Stat) -> Result<(), Stopped>,
) -> Result<(OwnedFd, PathBuf), Stopped> {
    let mut step = |path: &Path, at: BorrowedFd<'_>| -> Result<FileType, Stopped> {
        let stat = rustix::fs::fstat(at)?;
        step(path, at, &stat)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    };
    let mut here = PathBuf::from("/");
    let mut at = rustix::fs::openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty())?;
    step(&here, at.as_fd())?;
    let mut todo: VecDeque<OsString> = names(path.as_os_str()).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        let next = rustix::fs::openat(&at, &name, LOOK, Mode::empty())?;
        if name == ".." {
            here.pop();
        } else {
            here.push(&name);
        }
        if step(&here, next.as_fd())? != FileType::Symlink {
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
            step(&here, at.as_fd())?;
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(name);
        }
    }
    // A link to its own directory ends the way where no name follows that would be looked at.
    step(&here, at.as_fd())?;
    let opened = rustix::fs::openat(&at, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((opened, here))
}

/// Opens a file below a directory, wherever links may point. Not blocking: it could be a FIFO.
pub(crate) fn open_beneath(archive: &Path, relative: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let top = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = open(archive, top, stat::Mode::empty())?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(top.as_fd(), relative, how) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(nix::Error::ENOSYS | nix::Error::EPERM) => {
            let errno = |error: io::Error| nix::Error::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO));
            let top = archive.canonicalize().map_err(errno)?;
            let real = top.join(relative).canonicalize().map_err(errno)?;
            if !real.starts_with(&top) {
                return Err(nix::Error::EXDEV);
            }
            open(&real, flags | OFlag::O_NOFOLLOW, stat::Mode::empty())
        }
        other => other,
    }
}

fn names(path: &OsStr) -> impl Iterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;
    use crate::test_support::skip;

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
            skip("only root may give files away");
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
