//! The seam at which tests stop or fail a run: it is told each step before it is taken, and it is what synchronises, so
//! that a test knows what a power loss could take.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::InstallError;
use super::journal::Phase;

/// One change to the host or to the journal that is about to be made. Numbers are those of the plan's actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journal is written.
    Record,
    /// The inodes of staged files are written down.
    Staged,
    /// The journal's phase changes.
    Mark(Phase),
    /// A directory, file or link is made under its temporary name.
    Make(usize),
    /// A staged file gets its content.
    Write(usize),
    /// Something staged gets its permissions and times.
    Finish(usize),
    /// All file systems that were touched are synchronised.
    Sync,
    /// An action takes effect.
    Swap(usize),
    /// The second half of a swap on a file system that cannot exchange.
    SwapRest(usize),
    /// An action is taken back.
    Restore(usize),
    /// The second half of taking an action back.
    RestoreRest(usize),
    /// Something under a temporary name is deleted.
    Delete(usize),
    /// The modification time of a directory is put back.
    Times,
}

/// What tests put between the steps.
pub(super) trait Steps: Sync {
    /// Called before each step; an error is taken as the step's own failure.
    fn before(&self, step: Step) -> Result<(), InstallError>;

    /// Whether the file systems can exchange two names; tests say no to take the other way.
    fn can_exchange(&self) -> bool {
        true
    }

    /// A file or directory is on disk when this returns. There is no other way to it in an install.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// The whole file system of this directory is on disk when this returns.
    fn sync_file_system(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::syncfs(directory)
    }
}

/// Nothing between the steps.
pub(super) struct Straight;

impl Steps for Straight {
    fn before(&self, _: Step) -> Result<(), InstallError> {
        Ok(())
    }
}
