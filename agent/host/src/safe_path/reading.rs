//! Opens files that are only read, along ways that the path rule for reading allows.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hostler_core::path_rule::reading::{Coming, Kind, Place, ReadingWay, is_shared};
use hostler_core::path_rule::{UnsafePaths, UnsafeStep};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{LOOK, MOST_LINKS, names};
use crate::regular::{self, file_type_name};

/// Why a file is not read that is there.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The path rule refuses a step of the way to it.
    #[error("{0}")]
    Unsafe(UnsafeStep),
    /// It is a device, a pipe, a socket or a directory.
    #[error("it is {}, not a regular file", file_type_name(*.0))]
    NotRegular(FileType),
    /// What is in it is not on a disk: it is the kernel's own.
    #[error("it is in {0}, and not a file on a disk")]
    Kernels(&'static str),
}

impl From<UnsafeStep> for Refused {
    fn from(step: UnsafeStep) -> Self {
        Self::Unsafe(step)
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, refused)
    }
}

/// Why a file was refused, if it was.
pub fn refusal(error: &io::Error) -> Option<&Refused> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// What a file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What is in it leaves the host.
    Shipping,
    /// What is in it stays in memory. A file that lies in a user's directory by its own name is read whatever its mode is.
    Secrets,
}

/// Opens the regular file that a path leads to, following links by safe steps. What was looked at is what is opened,
/// whatever is renamed meanwhile. Never waits for a pipe's writer, and opens no device.
///
/// # Errors
/// [`refusal`] tells when it was refused. The kernel's errors; `NotFound` also for what was replaced at that moment.
pub fn open_file(path: &Path, purpose: Purpose) -> io::Result<File> {
    let end = walk(path, purpose)?;
    let Some((name, seen)) = end.file else { return Err(Refused::NotRegular(FileType::Directory).into()) };
    let kind = FileType::from_raw_mode(seen.st_mode);
    if kind != FileType::RegularFile {
        return Err(Refused::NotRegular(kind).into());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&end.directory, &name, flags, Mode::empty())?);
    let opened = rustix::fs::fstat(&file)?;
    if (opened.st_dev, opened.st_ino, opened.st_uid) != (seen.st_dev, seen.st_ino, seen.st_uid) {
        return Err(io::ErrorKind::NotFound.into());
    }
    is_on_a_disk(&file)?;
    Ok(file)
}

/// Whether the way to a directory that is looked into for files is safe.
///
/// # Errors
/// As [`open_file`]; `NotADirectory` where none is at the end.
pub fn look_into(path: &Path) -> io::Result<()> {
    match walk(path, Purpose::Shipping)?.file {
        None => Ok(()),
        Some(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// The end of a way.
struct End {
    directory: OwnedFd,
    /// What it has there by a name that is no directory.
    file: Option<(OsString, Stat)>,
}

fn walk(path: &Path, purpose: Purpose) -> io::Result<End> {
    let path = std::path::absolute(path)?;
    let mut walk = Walk::new(purpose)?;
    let mut todo: VecDeque<OsString> = names(path.as_os_str()).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        let next = rustix::fs::openat(&walk.at, &name, LOOK, Mode::empty())?;
        if name == ".." {
            walk.here.pop();
            walk.coming = Coming::ByLink;
        } else {
            walk.here.push(&name);
        }
        let stat = rustix::fs::fstat(&next)?;
        walk.step(&stat)?;
        match kind_of(&stat) {
            Kind::Directory => walk.at = next,
            Kind::File if todo.is_empty() => return Ok(End { directory: walk.at, file: Some((name, stat)) }),
            Kind::File => return Err(io::ErrorKind::NotADirectory.into()),
            Kind::Link => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
                walk.leave(target.starts_with(b"/"))?;
                for name in names(&OsString::from_vec(target)).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(name);
                }
            }
        }
    }
    if walk.coming == Coming::ByLink {
        // A link to its own directory.
        let stat = rustix::fs::fstat(&walk.at)?;
        walk.step(&stat)?;
    }
    walk.way.end().map_err(Refused::from)?;
    Ok(End { directory: walk.at, file: None })
}

struct Walk {
    way: ReadingWay,
    purpose: Purpose,
    here: PathBuf,
    at: OwnedFd,
    coming: Coming,
}

impl Walk {
    fn new(purpose: Purpose) -> io::Result<Self> {
        let at = top()?;
        let mut walk = Self { way: ReadingWay::default(), purpose, here: "/".into(), at, coming: Coming::ByName };
        let stat = rustix::fs::fstat(&walk.at)?;
        walk.step(&stat)?;
        Ok(walk)
    }

    fn step(&mut self, stat: &Stat) -> io::Result<()> {
        let kind = kind_of(stat);
        let shared =
            self.purpose == Purpose::Secrets || is_shared(kind, stat.st_mode, stat.st_gid, *LINKS_ARE_PROTECTED);
        let place = Place { path: &self.here, owner: stat.st_uid, kind, shared };
        self.way.step(&place, self.coming).map_err(Refused::from)?;
        self.coming = Coming::ByName;
        Ok(())
    }

    /// Leaves a link for where its target begins.
    fn leave(&mut self, for_the_top: bool) -> io::Result<()> {
        self.here.pop();
        self.coming = Coming::ByLink;
        if for_the_top {
            (self.here, self.at) = ("/".into(), top()?);
            let stat = rustix::fs::fstat(&self.at)?;
            self.step(&stat)?;
        }
        Ok(())
    }
}

fn top() -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty())?)
}

fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::File,
    }
}

static LINKS_ARE_PROTECTED: LazyLock<bool> =
    LazyLock::new(|| std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1"));

/// File systems whose files are the kernel's words, by the numbers of `linux/magic.h`.
const KERNELS: [(u64, &str); 15] = [
    (0x9fa0, "procfs"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0xcafe_4a11, "bpf"),
    (0x6573_5543, "fusectl"),
    (0x6e73_6673, "nsfs"),
    (0x4249_4e4d, "binfmt_misc"),
];

fn is_on_a_disk(file: impl AsFd) -> io::Result<()> {
    // The type is signed or not, and longer or not, by architecture.
    let number = (rustix::fs::fstatfs(file)?.f_type as u64) & 0xffff_ffff;
    match KERNELS.iter().find(|(magic, _)| *magic == number) {
        Some((_, name)) => Err(Refused::Kernels(name).into()),
        None => Ok(()),
    }
}

/// Paths whose unsafe ways are said once. Prevents: a log about logs that fills the disk.
const MOST_SAID: usize = 1000;

/// Opens files as `unsafe_paths` says. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Opener {
    /// Where unsafe ways are taken: those that were said.
    taken: Option<Arc<Mutex<BTreeSet<PathBuf>>>>,
}

impl Opener {
    /// Refuses unsafe ways, or takes them and warns once of each.
    pub fn new(unsafe_paths: UnsafePaths) -> Self {
        Self { taken: (unsafe_paths == UnsafePaths::Warn).then(Arc::default) }
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// As [`open_file`].
    pub fn open(&self, path: &Path, purpose: Purpose) -> io::Result<File> {
        let error = match open_file(path, purpose) {
            Err(error) if self.takes(path, &error) => error,
            opened => return opened,
        };
        let file = regular::open(path).inspect_err(|_| drop(error))?;
        is_on_a_disk(&file)?;
        Ok(file)
    }

    /// As [`look_into`].
    ///
    /// # Errors
    /// The same.
    pub fn look_into(&self, path: &Path) -> io::Result<()> {
        look_into(path).or_else(|error| if self.takes(path, &error) { Ok(()) } else { Err(error) })
    }

    fn takes(&self, path: &Path, error: &io::Error) -> bool {
        let (Some(taken), Some(Refused::Unsafe(step))) = (&self.taken, refusal(error)) else { return false };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() < MOST_SAID && taken.insert(path.to_owned()) {
            log::warn!(path:% = path.display(), step:%; "an unsafe way to a file is taken, as unsafe_paths: warn says");
        }
        true
    }
}

#[cfg(test)]
mod tests;
