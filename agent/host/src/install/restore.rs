//! The way back, and the end of the way forward. Everything here may be stopped anywhere and begun again: it looks at
//! what is there and does what is left.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hostler_core::plan::actions::{Action, InstalledKind};
use rustix::fs::{AtFlags, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::{host, permissions};
use super::journal::{DirectoryRecord, Record};
use super::layout::{Standing, place};
use super::places::{Directories, is_directory, look, open_below};
use super::steps::{Step, Steps};
use super::swap::{entries, rename_new};
use super::{InstallError, Left, Work};
use crate::perms;

/// Whether the run that is taken back came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// No: any of the actions may have taken effect, and what was staged may be lost, if it was not on disk. Only what
    /// has a staged file's inode is ours.
    Partly,
    /// Yes: what stands in an action's place is ours, also where somebody has rewritten it since.
    Wholly,
}

/// Takes back what took effect (phases swapping and undoing): afterwards the old state stands, and what is new is under
/// its temporary name again.
pub(super) fn take_back<S: Steps>(
    work: &Work<'_, S>,
    record: &Record<'_>,
    inodes: &[u64],
    extent: Extent,
) -> Result<Vec<Left>, InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    let mut left = Vec::new();
    // Attributes first, because they may shut the agent out; then the rest, from the last to the first.
    let keeps = |action: &Action| matches!(action, Action::KeepDirectory { .. });
    let attributes = work.layout.actions().filter(|(_, action)| keeps(action));
    let others = work.layout.actions().rev().filter(|(_, action)| !keeps(action));
    for (number, action) in attributes.chain(others) {
        if matches!(work.layout.standing(number), Standing::Inside(_)) {
            continue;
        }
        let path = action.path();
        let (parent, name) = place(path);
        let directory = match directories.find(parent) {
            Ok(Some(directory)) => directory,
            // With its directory gone there is nothing to take back, and nowhere to put a backup.
            Ok(None) => continue,
            Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. } | InstallError::Moved { .. }) => {
                left.push(Left::new(path, "its directory was replaced by something else"));
                continue;
            }
            Err(error) => return Err(error),
        };
        let staged = inodes.get(number).copied().unwrap_or_default();
        let one = One { work, directories: &directories, number, path, directory: &directory, name, staged, extent };
        let why = match action {
            Action::Remove { kind, .. } => one.restore_removed(*kind)?,
            Action::MakeDirectory { .. } => one.withdraw_tree()?,
            Action::KeepDirectory { .. } => one.restore_attributes(record)?,
            Action::PutFile { replaces, .. } | Action::PutLink { replaces, .. } => match replaces {
                true => one.restore_replaced()?,
                false => one.withdraw()?,
            },
        };
        left.extend(why.map(|why| Left::new(path, why)));
    }
    Ok(left)
}

type Why = Option<&'static str>;

/// One action that is taken back.
struct One<'a, S> {
    work: &'a Work<'a, S>,
    directories: &'a Directories<'a>,
    number: usize,
    path: &'a Path,
    directory: &'a OwnedFd,
    name: &'a OsStr,
    /// The inode of what was staged.
    staged: u64,
    extent: Extent,
}

impl<S: Steps> One<'_, S> {
    fn temporary(&self) -> String {
        self.work.layout.names.name(self.number)
    }

    fn stands(&self, name: impl AsRef<OsStr>) -> Result<Option<rustix::fs::Stat>, InstallError> {
        look(self.directory.as_fd(), name.as_ref()).map_err(host("look at", self.path))
    }

    fn before(&self) -> Result<(), InstallError> {
        self.work.steps.before(Step::Restore(self.number))
    }

    /// Puts a backup to its place, over whatever file stands there now.
    fn put_back(&self, backup: &str) -> Result<Why, InstallError> {
        match rustix::fs::renameat(self.directory, backup, self.directory, self.name) {
            Ok(()) => Ok(None),
            // Somebody's directory is in the place: neither may be lost.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => {
                rename_new(self.directory, backup, self.work.layout.names.saved(self.number))
                    .map_err(host("keep the backup of", self.path))?;
                Ok(Some("something else stands in its place; the old content is kept beside it as .saved.hostler-…"))
            }
            Err(errno) => Err(host("put back", self.path)(errno)),
        }
    }

    fn restore_removed(&self, kind: InstalledKind) -> Result<Why, InstallError> {
        if self.stands(self.temporary())?.is_none() {
            return Ok(None);
        }
        self.before()?;
        if kind == InstalledKind::Directory {
            self.directories.forget();
        }
        self.put_back(&self.temporary())
    }

    fn restore_replaced(&self) -> Result<Why, InstallError> {
        let old = self.work.layout.names.old(self.number);
        let temporary = self.temporary();
        if self.stands(&old)?.is_some() {
            let replaced = self.stands(self.name)?.is_some_and(|stat| !is_directory(&stat));
            if replaced && self.stands(&temporary)?.is_none() {
                self.before()?;
                let back = rename_new(self.directory, self.name, &*temporary);
                match back {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(host("take back", self.path)(errno)),
                }
                self.work.steps.before(Step::RestoreRest(self.number))?;
            } else {
                self.before()?;
            }
            return self.put_back(&old);
        }
        match self.stands(&temporary)? {
            // It took effect: what has the temporary name is not what was staged.
            Some(stat) if stat.st_ino != self.staged => {
                self.before()?;
                self.put_back(&temporary)
            }
            _ => Ok(None),
        }
    }

    /// What stands in the place of something new, if the new took effect.
    fn in_place(&self) -> Result<Option<rustix::fs::Stat>, InstallError> {
        if self.stands(self.temporary())?.is_some() {
            return Ok(None);
        }
        let ours = |stat: &rustix::fs::Stat| self.extent == Extent::Wholly || stat.st_ino == self.staged;
        Ok(self.stands(self.name)?.filter(ours))
    }

    fn withdraw(&self) -> Result<Why, InstallError> {
        match self.in_place()? {
            None => Ok(None),
            Some(stat) if is_directory(&stat) => Ok(Some("a directory stands where a file was installed; it stays")),
            Some(_) => {
                self.before()?;
                rename_new(self.directory, self.name, self.temporary()).map_err(host("take back", self.path))?;
                Ok(None)
            }
        }
    }

    /// Takes a tree back as a whole, or, where somebody put something into it, what is ours of it.
    fn withdraw_tree(&self) -> Result<Why, InstallError> {
        match self.in_place()? {
            None => return Ok(None),
            // A hook linked shared storage in its place, as files are replaced by hooks: it goes with the Install.
            Some(stat) if !is_directory(&stat) => return self.withdraw(),
            Some(_) => {}
        }
        self.before()?;
        self.directories.forget();
        if self.holds_only_ours()? {
            rename_new(self.directory, self.name, self.temporary()).map_err(host("take back", self.path))?;
            return Ok(None);
        }
        for (_, action) in self.work.layout.tree(self.number).rev() {
            let (parent, name) = place(action.path());
            let Ok(Some(directory)) = self.directories.find(parent) else { continue };
            let flags = match action {
                Action::MakeDirectory { .. } => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            self.work.steps.before(Step::RestoreRest(self.number))?;
            let removed = match rustix::fs::unlinkat(&*directory, name, flags) {
                // A hook's link in the place of a directory.
                Err(Errno::NOTDIR) if self.extent == Extent::Wholly => {
                    rustix::fs::unlinkat(&*directory, name, AtFlags::empty())
                }
                removed => removed,
            };
            match removed {
                // What became something else, or holds something else, stays.
                Ok(())
                | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR | Errno::BUSY) => {}
                Err(errno) => return Err(host("take back", action.path())(errno)),
            }
        }
        self.directories.forget();
        match self.stands(self.name)? {
            None => Ok(None),
            Some(_) => Ok(Some("it holds files that hostler did not install; they stay")),
        }
    }

    fn holds_only_ours(&self) -> Result<bool, InstallError> {
        let ours: std::collections::HashSet<&Path> =
            self.work.layout.tree(self.number).map(|(_, action)| action.path().as_path()).collect();
        for (_, action) in self.work.layout.tree(self.number) {
            let Action::MakeDirectory { path, .. } = action else { continue };
            let directory = match self.directories.find(path) {
                Ok(Some(directory)) => directory,
                // What stands in its place, or in that of a directory above it, has the name of something of ours.
                Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. })
                    if self.extent == Extent::Wholly =>
                {
                    continue;
                }
                _ => return Ok(false),
            };
            let listed = entries(&directory).map_err(host("list", path))?;
            if listed.iter().any(|entry| !ours.contains(path.join(entry).as_path())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn restore_attributes(&self, record: &Record<'_>) -> Result<Why, InstallError> {
        // They are in the order of their paths.
        let found = record.directories.binary_search_by(|directory| directory.path.as_path().cmp(self.path));
        let recorded = found.ok().and_then(|at| record.directories.get(at));
        let Some(attributes) = recorded.and_then(|directory| directory.attributes.as_ref()) else { return Ok(None) };
        match self.directories.find(self.path) {
            Ok(Some(directory)) => {
                self.before()?;
                perms::put_back(&*directory, attributes).map_err(permissions(self.path))?;
                Ok(None)
            }
            Ok(None)
            | Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. } | InstallError::Moved { .. }) => {
                Ok(Some("it is not there any more, so its attributes could not be put back"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Deletes what was staged (phase staging).
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
            delete(work, &directories, number, action, &work.layout.names.name(number), ours)?;
        }
    }
    Ok(())
}

/// Whether something is kept under a temporary name once the action has taken effect.
pub(super) fn leaves_backup(action: &Action) -> bool {
    matches!(
        action,
        Action::Remove { .. } | Action::PutFile { replaces: true, .. } | Action::PutLink { replaces: true, .. }
    )
}

/// Deletes the backups (phase committing).
pub(super) fn delete_backups<S: Steps>(work: &Work<'_, S>) -> Result<Vec<Left>, InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    let mut left = Vec::new();
    for (number, action) in work.layout.actions() {
        if !leaves_backup(action) {
            continue;
        }
        let names = &work.layout.names;
        // Where names were exchanged there is the first one, else the second.
        for backup in [names.name(number), names.old(number)] {
            match delete(work, &directories, number, action, &backup, Ours::Temporary)? {
                Deleted::Yes => break,
                Deleted::WasNotThere => {}
                Deleted::NotEmpty => {
                    let path = place(action.path()).0.join(backup);
                    left.push(Left::new(&path, "somebody put something into it while it was removed; it stays"));
                    break;
                }
            }
        }
    }
    Ok(left)
}

/// What may be deleted of a directory that has a temporary name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ours {
    /// All: we made it.
    Everything,
    /// Only what has a temporary name too.
    Temporary,
}

/// What became of a name.
enum Deleted {
    Yes,
    WasNotThere,
    /// It is a directory with something in it that is not ours.
    NotEmpty,
}

/// Deletes one temporary name.
fn delete<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    action: &Action,
    name: &str,
    ours: Ours,
) -> Result<Deleted, InstallError> {
    let path = action.path();
    let parent = match directories.find(place(path).0) {
        Ok(Some(parent)) => parent,
        Ok(None)
        | Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. } | InstallError::Moved { .. }) => {
            return Ok(Deleted::WasNotThere);
        }
        Err(error) => return Err(error),
    };
    delete_below(work, number, parent.as_fd(), OsStr::new(name), ours).map_err(|error| match error {
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

fn delete_below<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    ours: Ours,
) -> Result<Deleted, Stopped> {
    work.steps.before(Step::Delete(number)).map_err(Stopped::Step)?;
    // Most are files: whether it is one shows by trying.
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(Deleted::Yes),
        Err(Errno::NOENT) => return Ok(Deleted::WasNotThere),
        Err(errno) if !look(parent, name)?.is_some_and(|stat| is_directory(&stat)) => return Err(errno.into()),
        Err(_) => {}
    }
    let directory = open_below(parent, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    for entry in entries(&directory)? {
        if ours == Ours::Everything || work.layout.names.is_one(&entry) {
            delete_below(work, number, directory.as_fd(), &entry, ours)?;
        }
    }
    work.steps.before(Step::Delete(number)).map_err(Stopped::Step)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Deleted::Yes),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(Deleted::NotEmpty),
        Err(errno) => Err(errno.into()),
    }
}

/// Puts back when the directories that were worked in were last changed.
pub(super) fn restore_times<S: Steps>(work: &Work<'_, S>, records: &[DirectoryRecord]) -> Result<(), InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    work.steps.before(Step::Times)?;
    for record in records {
        // A directory that is gone or has become a link has no time to put back.
        let Ok(Some(directory)) = directories.find(&record.path) else { continue };
        let (tv_sec, tv_nsec) = record.modified;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec: tv_nsec as _ },
        };
        match rustix::fs::futimens(&*directory, &times) {
            // Only its owner may; whoever is not has restored everything else.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(host("set the time of", &record.path)(errno)),
        }
    }
    Ok(())
}
