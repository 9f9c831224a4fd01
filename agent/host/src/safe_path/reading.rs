//! Opens files for reading only, along ways that the path rule for reading allows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hostler_core::path_rule::reading::{Place, ReadingWay};
use hostler_core::path_rule::{UnsafePaths, UnsafeStep};
use rustix::fs::{FileType, Mode, OFlags};

use super::Walked;
use crate::regular::{self, file_type_name};

/// Why an existing file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The path rule refuses a step of the way to it.
    #[error("{0}")]
    Unsafe(UnsafeStep),
    /// It is a device, a pipe, a socket or a directory.
    #[error("it is {}, not a regular file", file_type_name(*.0))]
    NotRegular(FileType),
    /// The file is not on a disk: the kernel makes its content.
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

/// The purpose of reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The content leaves the host.
    Shipping,
    /// The content stays in memory. A file in a user's directory by its own name is read, whatever its mode is.
    Secrets,
}

/// Opens the regular file that a path leads to, following links by safe steps. The opened file is the checked file,
/// even if names change meanwhile. Never waits for a pipe's writer, and opens no device.
///
/// # Errors
/// [`refusal`] tells when it was refused. The kernel's errors; `NotFound` also if the file was replaced at that moment.
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

/// Whether the way to a directory that the agent searches for files is safe.
///
/// # Errors
/// As [`open_file`]; `NotADirectory` if no directory is at the end.
pub fn look_into(path: &Path) -> io::Result<()> {
    match walk(path, Purpose::Shipping)?.file {
        None => Ok(()),
        Some(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

fn walk(path: &Path, purpose: Purpose) -> io::Result<Walked> {
    let mut way = ReadingWay::default();
    let walked = super::walk(&std::path::absolute(path)?, &mut |seen| -> io::Result<()> {
        let place = seen.place(*LINKS_ARE_PROTECTED);
        let shared = place.shared || purpose == Purpose::Secrets;
        Ok(way.step(&Place { shared, ..place }, seen.coming).map_err(Refused::from)?)
    })?;
    if walked.file.is_none() {
        way.end().map_err(Refused::from)?;
    }
    Ok(walked)
}

static LINKS_ARE_PROTECTED: LazyLock<bool> =
    LazyLock::new(|| std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1"));

/// File systems with content from the kernel, by the numbers of `linux/magic.h`.
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
    // The type's sign and length depend on the architecture.
    let number = (rustix::fs::fstatfs(file)?.f_type as u64) & 0xffff_ffff;
    match KERNELS.iter().find(|(magic, _)| *magic == number) {
        Some((_, name)) => Err(Refused::Kernels(name).into()),
        None => Ok(()),
    }
}

/// How many paths get an unsafe way logged, once each. Prevents: a log about logs that fills the disk.
const MOST_SAID: usize = 1000;

/// Opens files as `unsafe_paths` says. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Opener {
    /// Where unsafe ways are taken: the ones already logged.
    taken: Option<Arc<Mutex<BTreeSet<PathBuf>>>>,
}

impl Opener {
    /// Refuses unsafe ways, or takes them and warns once for each.
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
    /// As [`look_into`].
    pub fn look_into(&self, path: &Path) -> io::Result<()> {
        look_into(path).or_else(|error| if self.takes(path, &error) { Ok(()) } else { Err(error) })
    }

    fn takes(&self, path: &Path, error: &io::Error) -> bool {
        let (Some(taken), Some(Refused::Unsafe(step))) = (&self.taken, refusal(error)) else { return false };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() < MOST_SAID && taken.insert(path.to_owned()) {
            log::warn!(path:% = path.display(), step:%; "an unsafe way to {} is taken, as unsafe_paths: warn says: {step}", path.display());
        }
        true
    }
}

#[cfg(test)]
mod tests;
