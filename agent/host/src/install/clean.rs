//! The end of both ways: the staged files and the backups are deleted. Everything here may be stopped anywhere and
//! begun again.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hostler_core::plan::actions::Action;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::backups::{self, set_modified};
use super::error::host;
use super::journal::DirectoryRecord;
use super::layout::{Standing, place};
use super::places::{Directories, open_below};
use super::restore::accept_remade;
use super::steps::{Step, Steps};
use super::{InstallError, Left, Work, leaves_backup};
use crate::remove_tree::{Removed, Rules, entries, remove};

/// Deletes the staged files, and the backups that are not needed (phase staging).
pub(super) fn delete_staged<S: Steps>(work: &Work<'_, S>) -> Result<(), InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    for (number, action) in work.layout.actions() {
        let stands_alone = !matches!(work.layout.standing(number), Standing::Inside(_));
        let stages = !matches!(action, Action::Remove { .. } | Action::KeepDirectory { .. });
        if stands_alone && stages {
            let ours = match action {
                Action::MakeDirectory { .. } => Ours::Everything,
                _ => Ours::Temporary,
            };
            delete_beside(work, &directories, number, action, &work.layout.names.name(number), ours)?;
        }
    }
    // The effects were taken back: these are further links to files that have their names.
    delete_of_backups(work, |name| name.parse().ok())
}

/// Deletes the backups (phase committing).
pub(super) fn delete_backups<S: Steps>(work: &Work<'_, S>, beside: bool) -> Result<Vec<Left>, InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    let mut left = Vec::new();
    for (number, action) in work.layout.actions() {
        if !leaves_backup(action) {
            continue;
        }
        let not_empty = match beside {
            true => delete_backup_beside(work, &directories, number, action)?,
            false => {
                let path = work.backups.path(work.backups_number(action.path()));
                let deleted = delete_backup(work, number, action)?;
                path.filter(|_| deleted == Removed::NotEmpty).map(|path| path.join(backups::name(number)))
            }
        };
        left.extend(not_empty.map(|path| Left::new(&path, "something was put into it while it was removed; it stays")));
    }
    work.backups.remove(work.steps)?;
    Ok(left)
}

/// Deletes those entries of the directories for backups that `number` assigns to an action.
fn delete_of_backups<S: Steps>(work: &Work<'_, S>, number: impl Fn(&str) -> Option<usize>) -> Result<(), InstallError> {
    for (path, directory) in work.backups.all() {
        for name in entries(directory).map_err(host("list", path))? {
            if let Some((name, number)) = name.to_str().and_then(|name| Some((name, number(name)?))) {
                delete(work, number, directory.as_fd(), path, name, Ours::Temporary)?;
            }
        }
    }
    Ok(())
}

/// Deletes the backup of an action.
fn delete_backup<S: Steps>(work: &Work<'_, S>, number: usize, action: &Action) -> Result<Removed, InstallError> {
    let Some(kept) = work.backups_of(action.path()) else { return Ok(Removed::WasNotThere) };
    delete(work, number, kept, action.path(), backups::name(number), Ours::Temporary)
}

/// Deletes a backup of a journal of the first version; returns its path if it has to stay.
fn delete_backup_beside<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    action: &Action,
) -> Result<Option<PathBuf>, InstallError> {
    let names = &work.layout.names;
    // If names were exchanged the first one exists, else the second.
    for backup in [names.name(number), names.old(number)] {
        match delete_beside(work, directories, number, action, &backup, Ours::Temporary)? {
            Removed::Yes => break,
            Removed::WasNotThere => {}
            Removed::NotEmpty => return Ok(Some(place(action.path()).0.join(backup))),
        }
    }
    Ok(None)
}

/// Removes the directories for backups after an undo, and restores the modification times of the directories that the
/// Install worked in, and of those above the backups.
pub(super) fn close<S: Steps>(work: &Work<'_, S>, records: &[DirectoryRecord]) -> Result<(), InstallError> {
    restore_times(work, records)?;
    delete_of_backups(work, backups::remade_number)?;
    // A directory that stays holds files that could not be put back, which was reported.
    work.backups.remove(work.steps)?;
    work.backups.restore_times()
}

/// The entries that may be deleted in a directory with a temporary name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ours {
    /// All entries: we made the directory.
    Everything,
    /// Only entries that have a temporary name too.
    Temporary,
}

/// Deletes one name in the directory in which an action takes effect.
fn delete_beside<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    action: &Action,
    name: &str,
    ours: Ours,
) -> Result<Removed, InstallError> {
    let path = action.path();
    match directories.find(place(path).0) {
        Ok(Some(parent)) if ours == Ours::Everything && work.anchors.guard().is_some() => {
            delete_tree(work, number, parent.as_fd(), path, name)
        }
        Ok(Some(parent)) => delete(work, number, parent.as_fd(), path, name, ours),
        Ok(None)
        | Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. } | InstallError::Moved { .. }) => {
            Ok(Removed::WasNotThere)
        }
        Err(error) => Err(error),
    }
}

/// Deletes a staged tree below a directory whose owner may have given its temporary name to another file.
fn delete_tree<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    parent: BorrowedFd<'_>,
    path: &Path,
    name: &str,
) -> Result<Removed, InstallError> {
    let failed = || host("delete what is temporary of", path);
    let staged = place(path).0.join(name);
    let directory = match open_below(parent, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Removed::WasNotThere),
        // A file or a link: only the name goes.
        Err(Errno::NOTDIR | Errno::LOOP) => return delete(work, number, parent, path, name, Ours::Temporary),
        Err(errno) => return Err(failed()(errno)),
    };
    let is_ours = work.anchors.guard().map_or(Ok(true), |guard| guard.is_staged(parent, path, &staged, &directory));
    if !is_ours.map_err(failed())? {
        return Ok(Removed::NotEmpty);
    }
    for entry in entries(&directory).map_err(failed())? {
        delete(work, number, directory.as_fd(), path, &entry, Ours::Everything)?;
    }
    delete(work, number, parent, path, name, Ours::Temporary)
}

/// Deletes one name.
fn delete<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    parent: BorrowedFd<'_>,
    path: &Path,
    name: impl AsRef<OsStr>,
    ours: Ours,
) -> Result<Removed, InstallError> {
    let before = || work.steps.before(Step::Delete(number)).map_err(Stopped::Step);
    let takes = |entry: &OsStr| ours == Ours::Everything || work.layout.names.is_one(entry);
    let removed = remove(parent, name.as_ref(), &Rules { before: &before, takes: &takes, frees: false });
    removed.map_err(|error| match error {
        Stopped::Kernel(errno) => host("delete what is temporary of", path)(errno),
        Stopped::Step(error) => error,
    })
}

enum Stopped {
    Kernel(Errno),
    Step(InstallError),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

fn restore_times<S: Steps>(work: &Work<'_, S>, records: &[DirectoryRecord]) -> Result<(), InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    accept_remade(work, &directories)?;
    work.steps.before(Step::Times)?;
    for record in records {
        // A directory that is gone or has become a link has no time to put back.
        let Ok(Some(directory)) = directories.find(&record.path) else { continue };
        set_modified(&directory, record.modified).map_err(host("set the time of", &record.path))?;
    }
    Ok(())
}
