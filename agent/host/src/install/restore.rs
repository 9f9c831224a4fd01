//! The way back. Everything here may be stopped anywhere and begun again: it looks at the host and does the rest of the
//! work.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hostler_core::plan::actions::{Action, InstalledKind};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::backups;
use super::error::{host, permissions};
use super::journal::{Record, Staged};
use super::layout::{Standing, place};
use super::places::{Directories, is_directory, look};
use super::saved::{GONE, save, without_directory};
use super::steps::{Step, Steps};
use super::swap::rename_new;
use super::{InstallError, Left, Work};
use crate::perms;
use crate::remove_tree::{entries, mount_of};

/// Whether the undone run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// No: any of the actions may have taken effect, and staged files may be lost, if they were not on disk. Under a
    /// name that was free only a staged file is ours.
    Partly,
    /// Yes: the file in an action's place is ours, even if another program has rewritten it since.
    Wholly,
}

/// Takes back the effects (phases swapping and undoing): afterwards the old state stands, and the new files are under
/// their temporary names again.
pub(super) fn take_back<S: Steps>(
    work: &Work<'_, S>,
    record: &Record<'_>,
    staged: &[Staged],
    extent: Extent,
) -> Result<Vec<Left>, InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    accept_remade(work, &directories)?;
    let mut left = Vec::new();
    // Attributes first, because they may lock the agent out; then the rest, from the last to the first.
    let keeps = |action: &Action| matches!(action, Action::KeepDirectory { .. });
    let attributes = work.layout.actions().filter(|(_, action)| keeps(action));
    let others = work.layout.actions().rev().filter(|(_, action)| !keeps(action));
    for (number, action) in attributes.chain(others) {
        if matches!(work.layout.standing(number), Standing::Inside(_)) {
            continue;
        }
        let path = action.path();
        let (parent, name) = place(path);
        let gone = match directories.find(parent) {
            Ok(Some(_)) => None,
            Ok(None) => Some(GONE),
            Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. } | InstallError::Moved { .. }) => {
                Some("its directory was replaced by something else")
            }
            Err(error) => return Err(error),
        };
        if let Some(why) = gone {
            left.extend(without_directory(work, number, action, why)?);
            continue;
        }
        let directory = directories.expect(parent)?;
        let at = staged.binary_search_by_key(&number, |staged| staged.action).ok();
        let staged = at.and_then(|at| staged.get(at)).copied();
        let one = One {
            work,
            directories: &directories,
            number,
            path,
            directory: &directory,
            name,
            staged,
            beside: record.backups_are_beside(),
            extent,
        };
        let why = match action {
            Action::Remove { kind, .. } => one.restore_removed(*kind)?,
            Action::MakeDirectory { .. } => one.withdraw_tree()?.map(str::to_owned),
            Action::KeepDirectory { .. } => one.restore_attributes()?.map(str::to_owned),
            Action::PutFile { replaces, .. } | Action::PutLink { replaces, .. } => match replaces {
                true => one.restore_replaced()?,
                false => one.withdraw()?.map(str::to_owned),
            },
        };
        left.extend(why.map(|why| Left::new(path, &why)));
    }
    Ok(left)
}

/// Accepts directories that an earlier try has made anew.
pub(super) fn accept_remade<S: Steps>(work: &Work<'_, S>, directories: &Directories<'_>) -> Result<(), InstallError> {
    for (number, action) in work.layout.actions() {
        let Action::Remove { path, kind: InstalledKind::Directory } = action else { continue };
        let Some(kept) = work.backups_of(path) else { continue };
        if look(kept, backups::remade(number)).map_err(host("look at", path))?.is_some() {
            directories.accept(path);
        }
    }
    Ok(())
}

/// Why a file could not be put back.
type Why = Option<String>;
type Reason = Option<&'static str>;

/// One action that is taken back.
struct One<'a, S> {
    work: &'a Work<'a, S>,
    directories: &'a Directories<'a>,
    number: usize,
    path: &'a Path,
    directory: &'a OwnedFd,
    name: &'a OsStr,
    /// The staged file for a name that was free.
    staged: Option<Staged>,
    /// Whether the journal has the first version's format.
    beside: bool,
    extent: Extent,
}

/// The place of a backup.
struct Backup<'a> {
    directory: BorrowedFd<'a>,
    name: String,
    stat: Stat,
}

impl<S: Steps> One<'_, S> {
    fn temporary(&self) -> String {
        self.work.layout.names.name(self.number)
    }

    fn stands(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, InstallError> {
        look(self.directory.as_fd(), name.as_ref()).map_err(host("look at", self.path))
    }

    fn before(&self) -> Result<(), InstallError> {
        self.work.steps.before(Step::Restore(self.number))
    }

    /// The backup, if the action still has one.
    fn backup(&self, replaced: bool) -> Result<Option<Backup<'_>>, InstallError> {
        if self.beside {
            return self.backup_beside(replaced);
        }
        let Some(directory) = self.work.backups_of(self.path) else { return Ok(None) };
        let name = backups::name(self.number);
        let stat = look(directory, &*name).map_err(host("look at the backup of", self.path))?;
        Ok(stat.map(|stat| Backup { directory, name, stat }))
    }

    /// In a journal of the first version: either names were exchanged, and the old file has the staged file's name
    /// unless it is the staged file; or the old file was moved away first.
    fn backup_beside(&self, replaced: bool) -> Result<Option<Backup<'_>>, InstallError> {
        let directory = self.directory.as_fd();
        let old = self.work.layout.names.old(self.number);
        if let Some(stat) = self.stands(&old)? {
            return Ok(Some(Backup { directory, name: old, stat }));
        }
        let exchanged = |stat: &Stat| !replaced || self.staged.is_none_or(|staged| staged.inode != stat.st_ino);
        let found = self.stands(self.temporary())?.filter(exchanged);
        Ok(found.map(|stat| Backup { directory, name: self.temporary(), stat }))
    }

    /// Puts a backup back, over any file that is there now.
    fn put_back(&self, backup: &Backup<'_>) -> Result<Why, InstallError> {
        match rustix::fs::renameat(backup.directory, &*backup.name, self.directory, self.name) {
            Ok(()) => self.forget_link(backup),
            // Another program's directory is in the place: neither may be lost.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => {
                self.save(backup, "something else stands in its place")
            }
            Err(errno) => Err(host("put back", self.path)(errno)),
        }
    }

    /// A rename between two links to one file does nothing.
    fn forget_link(&self, backup: &Backup<'_>) -> Result<Why, InstallError> {
        if is_directory(&backup.stat) || backup.stat.st_nlink < 2 {
            return Ok(None);
        }
        match rustix::fs::unlinkat(backup.directory, &*backup.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(host("delete the backup of", self.path)(errno)),
        }
    }

    fn save(&self, backup: &Backup<'_>, why: &str) -> Result<Why, InstallError> {
        if !self.beside {
            return save(self.work, self.number, self.path, why).map(Some);
        }
        let saved = self.work.layout.names.saved(self.number);
        rename_new(backup.directory, &*backup.name, backup.directory, &*saved)
            .map_err(host("keep the backup of", self.path))?;
        Ok(Some(format!("{why}; what was there before is kept beside it as {saved}")))
    }

    fn restore_removed(&self, kind: InstalledKind) -> Result<Why, InstallError> {
        if kind == InstalledKind::Directory {
            self.directories.forget();
        }
        match self.backup(false)? {
            Some(backup) => {
                self.before()?;
                let stands = self.stands(self.name)?.filter(|stat| !is_directory(stat));
                match stands.filter(|stat| !self.beside && !is_same(stat, &backup.stat)) {
                    Some(_) => self.save(&backup, "another program put a file in its place, which stays"),
                    None => self.put_back(&backup),
                }
            }
            None if kind == InstalledKind::Directory && !self.beside => self.remake(),
            None => Ok(None),
        }
    }

    /// Makes a directory anew that could only be removed, not moved to the backups.
    fn remake(&self) -> Result<Why, InstallError> {
        let Some(record) = self.work.recorded(self.path) else { return Ok(None) };
        let (Some(attributes), Some(kept)) = (&record.attributes, self.work.backups_of(self.path)) else {
            return Ok(None);
        };
        let remade = backups::remade(self.number);
        match self.stands(self.name)? {
            Some(stat) if is_directory(&stat) && stat.st_ino == record.inode => return Ok(None),
            Some(stat) if is_directory(&stat) && look(kept, &*remade).is_ok_and(|found| found.is_some()) => {}
            Some(_) => return Ok(Some("something else stands in its place".to_owned())),
            None => {
                self.before()?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
                rustix::fs::openat(kept, &*remade, flags, Mode::RUSR | Mode::WUSR).map_err(host("mark", self.path))?;
                self.work.steps.before(Step::RestoreRest(self.number))?;
                rustix::fs::mkdirat(self.directory, self.name, Mode::RWXU).map_err(host("make", self.path))?;
            }
        }
        self.directories.accept(self.path);
        let made = self.directories.expect(self.path)?;
        perms::put_back(&*made, attributes).map_err(permissions(self.path))?;
        Ok(None)
    }

    fn restore_replaced(&self) -> Result<Why, InstallError> {
        let Some(backup) = self.backup(true)? else { return Ok(None) };
        let waits = !self.beside && self.stands(self.temporary())?.is_some();
        let stands = if waits { self.stands(self.name)? } else { None };
        match stands {
            // It has not taken effect, and its staged file is deleted with the rest.
            Some(stat) if is_same(&stat, &backup.stat) => Ok(None),
            Some(_) => {
                self.before()?;
                self.save(&backup, "another program replaced it during the install, and that file stays")
            }
            None => {
                self.before()?;
                self.put_back(&backup)
            }
        }
    }

    /// The new file in its place, if it took effect.
    fn in_place(&self) -> Result<Option<Stat>, InstallError> {
        if self.stands(self.temporary())?.is_some() {
            return Ok(None);
        }
        let staged = |stat: &Stat| self.staged.is_some_and(|staged| is_staged(&staged, stat));
        Ok(self.stands(self.name)?.filter(|stat| self.extent == Extent::Wholly || staged(stat)))
    }

    /// Moves the new file back to its temporary name.
    fn take_away(&self) -> Result<(), InstallError> {
        let directory = self.directory.as_fd();
        rename_new(directory, self.name, directory, self.temporary()).map_err(host("take back", self.path))
    }

    fn withdraw(&self) -> Result<Reason, InstallError> {
        match self.in_place()? {
            None => Ok(None),
            Some(stat) if is_directory(&stat) => Ok(Some("a directory stands where a file was installed; it stays")),
            Some(_) => {
                self.before()?;
                self.take_away()?;
                Ok(None)
            }
        }
    }

    /// Takes a tree back as a whole, or only our part of it if another program put files into it.
    fn withdraw_tree(&self) -> Result<Reason, InstallError> {
        match self.in_place()? {
            None => return Ok(None),
            // A hook linked shared storage in its place. Like files that hooks replace, the link goes with the Install.
            Some(stat) if !is_directory(&stat) => return self.withdraw(),
            Some(_) => {}
        }
        self.before()?;
        self.directories.forget();
        if self.holds_only_ours()? {
            self.take_away()?;
            return Ok(None);
        }
        for (_, action) in self.work.layout.tree(self.number).rev() {
            let (parent, name) = place(action.path());
            let Ok(Some(directory)) = self.directories.find(parent) else { continue };
            // A file system that a hook has mounted there was not installed.
            if !self.is_on_this_mount(directory.as_fd())? {
                continue;
            }
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
                // A directory that became another file, or holds other files, stays.
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
                // The file in its place, or in the place of a directory above it, has the name of a file of ours.
                Err(InstallError::LinkInTheWay { .. } | InstallError::Changed { .. })
                    if self.extent == Extent::Wholly =>
                {
                    continue;
                }
                _ => return Ok(false),
            };
            if !self.is_on_this_mount(directory.as_fd())? {
                return Ok(false);
            }
            let listed = entries(&directory).map_err(host("list", path))?;
            if listed.iter().any(|entry| !ours.contains(path.join(entry).as_path())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a directory below is on the mount in which the action takes effect.
    fn is_on_this_mount(&self, directory: BorrowedFd<'_>) -> Result<bool, InstallError> {
        let mount = |directory| mount_of(directory).map_err(host("read", self.path));
        Ok(mount(directory)? == mount(self.directory.as_fd())?)
    }

    fn restore_attributes(&self) -> Result<Reason, InstallError> {
        let recorded = self.work.recorded(self.path);
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

/// Whether two names lead to one file, even on a file system that numbers each name by itself.
fn is_same(a: &Stat, b: &Stat) -> bool {
    let looks =
        |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size, stat.st_mtime, stat.st_mtime_nsec as i64);
    a.st_dev == b.st_dev && (a.st_ino == b.st_ino || looks(a) == looks(b))
}

/// Whether this is the staged file, even on a file system that numbers its files anew with each mount.
fn is_staged(staged: &Staged, stat: &Stat) -> bool {
    let content = (stat.st_size, stat.st_mtime, stat.st_mtime_nsec as i64);
    staged.inode == stat.st_ino || staged.content == Some(content)
}
