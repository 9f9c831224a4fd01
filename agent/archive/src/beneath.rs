//! Writes beneath one directory: every step uses a descriptor and follows no symbolic link, so that no name and no link
//! from an archive can lead out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hostler_core::bundle::{BundlePath, EntryKind};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::error::{ArchiveError, EntryProblem};
use super::tree::{Item, ModifiedTime, kind_name};

/// A directory that is being filled. Keeps the directories above the last path open, so that the files of one directory
/// cost one lookup each.
pub(super) struct Beneath<'a> {
    root: BorrowedFd<'a>,
    /// The root's name in messages.
    shown: &'a Path,
    open: Vec<(OsString, OwnedFd)>,
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

impl<'a> Beneath<'a> {
    /// `shown` is the root's name in messages.
    pub(super) fn new(root: BorrowedFd<'a>, shown: &'a Path) -> Self {
        Self { root, shown, open: Vec::new() }
    }

    fn host(&self, action: &'static str, path: &Path, errno: Errno) -> ArchiveError {
        ArchiveError::host(action, &self.shown.join(path), errno)
    }

    /// The open parent of `path` and the last name. If `made` is given, missing directories are made and added to it.
    fn parent<'p>(
        &mut self,
        path: &'p BundlePath,
        mut made: Option<&mut Vec<Item>>,
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), ArchiveError> {
        let path = path.as_path();
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        let mut depth = 0;
        for component in above.iter() {
            if self.open.get(depth).is_none_or(|(open, _)| open != component) {
                self.open.truncate(depth);
                let fd = self.descend(path, depth, component, &mut made)?;
                self.open.push((component.to_owned(), fd));
            }
            depth += 1;
        }
        self.open.truncate(depth);
        Ok((self.open.last().map_or(self.root, |(_, fd)| fd.as_fd()), name))
    }

    /// Opens, or makes and opens, one more level of the way to the entry.
    fn descend(
        &self,
        entry: &Path,
        depth: usize,
        component: &OsStr,
        made: &mut Option<&mut Vec<Item>>,
    ) -> Result<OwnedFd, ArchiveError> {
        let at = self.open.last().map_or(self.root, |(_, fd)| fd.as_fd());
        let path = || entry.iter().take(depth + 1).collect::<PathBuf>();
        let mut result = openat(at, component, DIRECTORY, Mode::empty());
        if let (Err(Errno::ENOENT), Some(made)) = (&result, made) {
            mkdirat(at, component, Mode::S_IRWXU).map_err(|e| self.host("make the directory", &path(), e))?;
            made.extend(BundlePath::new(path()).map(Item::implied_directory));
            result = openat(at, component, DIRECTORY, Mode::empty());
        }
        result.map_err(|errno| match errno {
            Errno::ENOTDIR | Errno::ELOOP => {
                let ancestor = path().to_string_lossy().into_owned();
                ArchiveError::at(entry, EntryProblem::BelowNonDirectory { ancestor })
            }
            errno => self.host("open the directory", &path(), errno),
        })
    }

    /// The entry with this name; `None` if there is none.
    fn existing(&mut self, path: &BundlePath) -> Result<Option<FileStat>, ArchiveError> {
        let (parent, name) = self.parent(path, None)?;
        match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.host("look at", path.as_path(), errno)),
        }
    }

    /// Removes an earlier entry with the same path and kind: the last one counts, as with tar.
    fn make_way(&mut self, path: &BundlePath, second: &'static str) -> Result<(), ArchiveError> {
        let first = self.existing(path)?.map(|stat| stat_kind_name(&stat)).unwrap_or("nothing");
        if first != second {
            return Err(ArchiveError::at(path.as_path(), EntryProblem::KindChanges { first, second }));
        }
        let (parent, name) = self.parent(path, None)?;
        let removed = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        removed.map_err(|e| self.host("replace", path.as_path(), e))
    }

    /// A new, empty file, open for writing and readable only by the owner until [`finish_file`].
    pub(super) fn create_file(&mut self, path: &BundlePath, made: &mut Vec<Item>) -> Result<File, ArchiveError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        loop {
            let (parent, name) = self.parent(path, Some(made))?;
            match openat(parent, name, flags, mode) {
                Ok(fd) => return Ok(File::from(fd)),
                Err(Errno::EEXIST) => self.make_way(path, "a file")?,
                Err(errno) => return Err(self.host("create", path.as_path(), errno)),
            }
        }
    }

    /// Makes a directory that only the owner can enter until [`Beneath::finish_directory`]. An existing one stays.
    pub(super) fn create_directory(&mut self, path: &BundlePath, made: &mut Vec<Item>) -> Result<(), ArchiveError> {
        let (parent, name) = self.parent(path, Some(made))?;
        match mkdirat(parent, name, Mode::S_IRWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => match self.existing(path)?.map(|stat| stat_kind_name(&stat)) {
                Some("a directory") | None => Ok(()),
                Some(first) => {
                    let second = "a directory";
                    Err(ArchiveError::at(path.as_path(), EntryProblem::KindChanges { first, second }))
                }
            },
            Err(errno) => Err(self.host("make the directory", path.as_path(), errno)),
        }
    }

    /// A symbolic link with the target as it is.
    pub(super) fn create_symlink(
        &mut self,
        path: &BundlePath,
        target: &OsStr,
        modified: ModifiedTime,
        made: &mut Vec<Item>,
    ) -> Result<(), ArchiveError> {
        loop {
            let (parent, name) = self.parent(path, Some(made))?;
            let result = symlinkat(target, parent, name).and_then(|()| match modified.is_unset() {
                true => Ok(()),
                false => utimensat(parent, name, &OMIT, &time_spec(modified), UtimensatFlags::NoFollowSymlink),
            });
            match result {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => self.make_way(path, "a symbolic link")?,
                Err(errno) => return Err(self.host("make the link", path.as_path(), errno)),
            }
        }
    }

    /// A second name for an earlier file or symbolic link of the bundle. Returns its kind and its mode.
    ///
    /// `targets` is another view of the same root, so that the open directories here stay the entry's.
    pub(super) fn create_hard_link(
        &mut self,
        path: &BundlePath,
        targets: &mut Beneath<'_>,
        target: &BundlePath,
        made: &mut Vec<Item>,
    ) -> Result<(EntryKind, u32), ArchiveError> {
        let refuse = |problem| {
            let target = target.as_path().to_string_lossy().into_owned();
            Err(ArchiveError::at(path.as_path(), EntryProblem::HardLink { target, problem }))
        };
        if path == target {
            return refuse("is itself");
        }
        let stat = match targets.existing(target) {
            Ok(Some(stat)) => stat,
            Ok(None) => return refuse("is not among the entries before it"),
            Err(ArchiveError::Entry { .. }) => return refuse("lies behind a symbolic link or below a file"),
            Err(ArchiveError::Host { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                return refuse("is not among the entries before it");
            }
            Err(error) => return Err(error),
        };
        let (from, from_name) = targets.parent(target, None)?;
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => EntryKind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
            SFlag::S_IFLNK => {
                let link = readlinkat(from, from_name).map_err(|e| self.host("read the link", target.as_path(), e))?;
                EntryKind::Symlink { target: link }
            }
            _ => return refuse("is a directory"),
        };
        loop {
            let (parent, name) = self.parent(path, Some(made))?;
            // Without AT_SYMLINK_FOLLOW the link itself is linked, never its target.
            match linkat(from, from_name, parent, name, AtFlags::empty()) {
                Ok(()) => return Ok((kind, stat.st_mode & 0o7777)),
                Err(Errno::EEXIST) => self.make_way(path, kind_name(&kind))?,
                Err(errno) => return Err(self.host("make the hard link", path.as_path(), errno)),
            }
        }
    }

    /// Sets a directory's mode and time; call it after everything below it is finished.
    pub(super) fn finish_directory(
        &mut self,
        path: &BundlePath,
        mode: u32,
        modified: ModifiedTime,
    ) -> Result<(), ArchiveError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (parent, name) = self.parent(path, None)?;
        let result = openat(parent, name, flags, Mode::empty()).and_then(|fd| finish(&fd, mode, modified));
        result.map_err(|e| self.host("set the mode and time of", path.as_path(), e))
    }
}

fn stat_kind_name(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => "a file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symbolic link",
        _ => "something special",
    }
}

/// Sets the mode and time of a written file.
pub(super) fn finish_file(file: &File, mode: u32, modified: ModifiedTime, shown: &Path) -> Result<(), ArchiveError> {
    finish(file, mode, modified).map_err(ArchiveError::errno("set the mode and time of", shown))
}

fn finish(fd: &impl AsFd, mode: u32, modified: ModifiedTime) -> Result<(), Errno> {
    // By descriptor and after writing: writing would clear setuid, and the creation mode is cut by the umask.
    fchmod(fd, Mode::from_bits_truncate(mode))?;
    if modified.is_unset() {
        return Ok(());
    }
    futimens(fd, &OMIT, &time_spec(modified))
}

const OMIT: TimeSpec = TimeSpec::new(0, libc::UTIME_OMIT);

fn time_spec(modified: ModifiedTime) -> TimeSpec {
    TimeSpec::new(modified.seconds, i64::from(modified.nanoseconds))
}
