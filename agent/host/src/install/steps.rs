//! The seam at which tests stop or fail a run: it hears of each step before the step is taken, and it synchronises, so
//! that a test knows what a power loss could take.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::InstallError;
use super::journal::Phase;

/// One change to the host or to the journal, before it is made. The numbers are the plan's action numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journal is written.
    Record,
    /// The list of staged files is written down.
    Staged,
    /// The journal's phase changes.
    Mark(Phase),
    /// A directory for backups is made.
    MakeBackups,
    /// A file or link to be replaced or removed gets a further link, which is its backup.
    Link(usize),
    /// A directory, file or link is made under its temporary name.
    Make(usize),
    /// A staged file gets its content.
    Write(usize),
    /// A staged file gets its permissions and times.
    Finish(usize),
    /// The touched file systems are synchronised.
    Sync,
    /// An action takes effect.
    Swap(usize),
    /// The second half of a swap whose first half moved the old file away because it could not be linked.
    SwapRest(usize),
    /// An action is taken back.
    Restore(usize),
    /// The second half of taking an action back.
    RestoreRest(usize),
    /// A file under a temporary name, or a backup, is deleted.
    Delete(usize),
    /// A directory for backups is removed.
    RemoveBackups,
    /// The modification time of a directory is put back.
    Times,
}

/// The test's hook between the steps.
pub(super) trait Steps: Sync {
    /// Called before each step; an error is taken as the step's own failure.
    fn before(&self, step: Step) -> Result<(), InstallError>;

    /// Makes a further link to a file; tests refuse it as some file systems do.
    fn link(&self, from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &str) -> Result<(), Errno> {
        rustix::fs::linkat(from, name, to, new, AtFlags::empty())
    }

    /// Puts a file or directory on disk. An Install has no other way to do so.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Puts the whole file system of this directory on disk.
    fn sync_file_system(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::syncfs(directory)
    }
}

/// Nothing between the steps.
pub(super) struct RealSyscalls;

impl Steps for RealSyscalls {
    fn before(&self, _: Step) -> Result<(), InstallError> {
        Ok(())
    }
}
