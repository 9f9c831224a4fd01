//! Walks a tree on disk in the order of a listing, on descriptors and without following links.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hostler_core::bundle::{BundleEntry, BundlePath, EntryKind};
use hostler_core::limits::Limits;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::error::{ArchiveError, EntryProblem};
use super::policy;

/// One entry of the tree: a file, a directory or a symbolic link.
pub(super) struct Found<'a> {
    pub(super) path: BundlePath,
    pub(super) stat: FileStat,
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    top: &'a Path,
}

impl Found<'_> {
    /// The path on the host, for messages.
    pub(super) fn shown(&self) -> PathBuf {
        self.top.join(self.path.as_path())
    }

    /// The permission bits, setuid and setgid included.
    pub(super) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    pub(super) fn entry(&self) -> Result<BundleEntry, ArchiveError> {
        let (kind, mode) = match file_type(&self.stat) {
            SFlag::S_IFREG => (EntryKind::File { size: self.size() }, self.mode()),
            SFlag::S_IFDIR => (EntryKind::Directory, self.mode()),
            _ => {
                let target = readlinkat(self.parent, self.name)
                    .map_err(|e| ArchiveError::host("read the link", &self.shown(), e))?;
                let target = policy::link_target(self.path.as_path().as_os_str().as_bytes(), target.as_bytes())?;
                (EntryKind::Symlink { target: target.into() }, 0o777)
            }
        };
        Ok(BundleEntry { path: self.path.clone(), kind, mode })
    }

    fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Opens the file for reading, and checks that it is still the file that was found.
    pub(super) fn open(&self) -> Result<File, ArchiveError> {
        // O_NONBLOCK: if the name is a fifo by now, opening must not wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let failed = |errno| ArchiveError::host("read", &self.shown(), errno);
        let fd = openat(self.parent, self.name, flags, Mode::empty()).map_err(failed)?;
        let stat = fstat(&fd).map_err(failed)?;
        if (stat.st_dev, stat.st_ino) != (self.stat.st_dev, self.stat.st_ino) {
            return Err(ArchiveError::at(self.path.as_path(), EntryProblem::Changed));
        }
        Ok(File::from(fd))
    }
}

pub(super) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Calls `visit` for everything below `root`, each directory before its contents. `top` is the root's path, for
/// messages.
///
/// # Errors
/// A name that is not UTF-8, a tree that is too deep, a socket, fifo or device, something that cannot be read, and
/// any error of `visit`.
pub(super) fn walk(
    root: &File,
    top: &Path,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let limits = Limits::default();
    descend(root.as_fd(), top, Path::new(""), &limits, visit)
}

fn descend(
    directory: BorrowedFd<'_>,
    top: &Path,
    below: &Path,
    limits: &Limits,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    for name in names(directory).map_err(ArchiveError::errno("read the directory", &top.join(below)))? {
        let name = OsStr::from_bytes(name.as_bytes());
        let raw = below.join(name);
        let Some(path) = policy::entry_path(raw.as_os_str().as_bytes(), limits)? else { continue };
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(ArchiveError::errno("look at", &top.join(&raw)))?;
        let kind = file_type(&stat);
        if let Some(what) = unsupported(kind) {
            return Err(ArchiveError::at(&top.join(&raw), EntryProblem::Unsupported { what: what.to_owned() }));
        }
        visit(Found { path, stat, parent: directory, name, top })?;
        if kind == SFlag::S_IFDIR {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let inner = openat(directory, name, flags, Mode::empty())
                .map_err(ArchiveError::errno("open the directory", &top.join(&raw)))?;
            descend(inner.as_fd(), top, &raw, limits, visit)?;
        }
    }
    Ok(())
}

/// The names in a directory, sorted by their bytes.
fn names(directory: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    // A descriptor of its own: reading moves a position that clones would share.
    for entry in Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn unsupported(kind: SFlag) -> Option<&'static str> {
    match kind {
        SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFLNK => None,
        SFlag::S_IFIFO => Some("a fifo"),
        SFlag::S_IFCHR => Some("a character device"),
        SFlag::S_IFBLK => Some("a block device"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("of an unknown type"),
    }
}
