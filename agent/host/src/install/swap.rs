//! The actions take effect, one rename each.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use hostler_core::plan::actions::{Action, Attributes, InstalledKind};
use rustix::fs::{AtFlags, OFlags, RenameFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::backups::{self, Place};
use super::error::{host, kind_name, permissions};
use super::layout::{Standing, place};
use super::places::{Directories, is_directory, is_file, is_link, look, open_below};
use super::steps::{Step, Steps};
use super::{InstallError, Work};
use crate::perms::{self, Object};
use crate::remove_tree::entries;

/// Lets every action take effect in order, except that existing directories get their attributes last, children first.
/// If a mode locks out an agent that is not root, the agent must be done before.
pub(super) fn swap<S: Steps>(work: &Work<'_, S>) -> Result<(), InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    for (number, action) in work.layout.actions() {
        match action {
            Action::Remove { path, kind } => remove(work, &directories, number, path, *kind)?,
            Action::KeepDirectory { .. } => {}
            Action::MakeDirectory { path, .. } => place_new(work, &directories, number, path)?,
            Action::PutFile { path, replaces, .. } | Action::PutLink { path, replaces, .. } => match replaces {
                true => replace(work, &directories, number, path)?,
                false => place_new(work, &directories, number, path)?,
            },
        }
    }
    for (number, action) in work.layout.actions().rev() {
        if let Action::KeepDirectory { path, attributes } = action {
            keep(work, &directories, number, path, attributes)?;
        }
    }
    Ok(())
}

fn keep<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
    attributes: &Attributes,
) -> Result<(), InstallError> {
    if *attributes == Attributes::default() {
        return Ok(());
    }
    let directory = directories.expect(path)?;
    let now = rustix::fs::fstat(&*directory).map_err(host("read", path))?.st_mode & 0o7777;
    work.steps.before(Step::Swap(number))?;
    perms::apply(directory.as_fd(), Object::Directory, now, attributes, &work.names).map_err(permissions(path))
}

fn place_new<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
) -> Result<(), InstallError> {
    if matches!(work.layout.standing(number), Standing::Inside(_)) {
        return Ok(());
    }
    let (parent, name) = place(path);
    let directory = directories.expect(parent)?;
    work.steps.before(Step::Swap(number))?;
    let (directory, staged) = (directory.as_fd(), work.layout.names.name(number));
    rename_new(directory, &staged, directory, name).map_err(|errno| match errno {
        Errno::EXIST => InstallError::Occupied { path: path.to_owned() },
        errno => host("put in place", path)(errno),
    })?;
    match work.anchors.guard().map(|guard| guard.took_effect(&parent.join(staged), directory, name)) {
        None | Some(Ok(true)) => Ok(()),
        Some(Ok(false) | Err(_)) => Err(InstallError::Moved { path: path.to_owned() }),
    }
}

fn replace<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
) -> Result<(), InstallError> {
    let (parent, name) = place(path);
    let directory = directories.expect(parent)?;
    let stat = match look(directory.as_fd(), name).map_err(host("look at", path))? {
        None => return Err(InstallError::Vanished { path: path.to_owned() }),
        Some(stat) if is_file(&stat) || is_link(&stat) => stat,
        Some(stat) => {
            return Err(InstallError::Changed {
                path: path.to_owned(),
                planned: "file or symbolic link",
                found: found_name(&stat),
            });
        }
    };
    let staged = work.layout.names.name(number);
    work.steps.before(Step::Swap(number))?;
    if is_linked(work, number, path, &stat)? {
        return rustix::fs::renameat(&*directory, staged, &*directory, name).map_err(refused(
            "replace",
            directory.as_fd(),
            path,
        ));
    }
    match move_away(work, number, directory.as_fd(), path)? {
        Moved::Yes => {}
        Moved::WasNotThere => return Err(InstallError::Vanished { path: path.to_owned() }),
    }
    work.steps.before(Step::SwapRest(number))?;
    rename_new(directory.as_fd(), staged, directory.as_fd(), name).map_err(host("replace", path))
}

/// Whether the backup is a link to the file that is there now.
fn is_linked<S: Steps>(work: &Work<'_, S>, number: usize, path: &Path, stands: &Stat) -> Result<bool, InstallError> {
    let Some(kept) = work.backups_of(path) else { return Ok(false) };
    let backup = look(kept, backups::name(number)).map_err(host("look at the backup of", path))?;
    Ok(backup.is_some_and(|backup| (backup.st_dev, backup.st_ino) == (stands.st_dev, stands.st_ino)))
}

enum Moved {
    Yes,
    WasNotThere,
}

/// Makes a backup of the file itself: it has no link, or another file has its name since.
fn move_away<S: Steps>(
    work: &Work<'_, S>,
    number: usize,
    directory: BorrowedFd<'_>,
    path: &Path,
) -> Result<Moved, InstallError> {
    let kept = backups_for(work, path)?;
    let backup = backups::name(number);
    match rustix::fs::unlinkat(kept, &*backup, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(host("delete the former backup of", path)(errno)),
    }
    match rename_new(directory, place(path).1, kept, backup) {
        Ok(()) => Ok(Moved::Yes),
        Err(Errno::NOENT) => Ok(Moved::WasNotThere),
        Err(Errno::XDEV) if work.place == Place::Outside => {
            Err(InstallError::BackupElsewhere { path: path.to_owned() })
        }
        Err(errno) => Err(refused("put aside", directory, path)(errno)),
    }
}

/// Names the failure, and its cause if no user could do it: an attribute, a mount.
fn refused(what: &'static str, directory: BorrowedFd<'_>, path: &Path) -> impl FnOnce(Errno) -> InstallError {
    move |errno| match errno {
        Errno::PERM if [place(path).1, OsStr::new(".")].into_iter().any(|name| is_immutable(directory, name)) => {
            InstallError::Immutable { path: path.to_owned() }
        }
        Errno::BUSY => InstallError::MountPoint { path: path.to_owned() },
        errno => host(what, path)(errno),
    }
}

fn is_immutable(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    let found = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    found.is_ok_and(|found| found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND))
}

/// The directory for the backup of the file to be replaced or removed here.
fn backups_for<'a, S: Steps>(work: &'a Work<'_, S>, path: &Path) -> Result<BorrowedFd<'a>, InstallError> {
    work.backups_of(path).ok_or_else(|| InstallError::Vanished { path: place(path).0.to_owned() })
}

/// Renames, but never onto something.
pub(super) fn rename_new(
    from: BorrowedFd<'_>,
    name: impl AsRef<OsStr>,
    to: BorrowedFd<'_>,
    new: impl AsRef<OsStr>,
) -> Result<(), Errno> {
    let (name, new) = (name.as_ref(), new.as_ref());
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // The file system does not know the flag, so the agent can only look first.
        Err(Errno::INVAL | Errno::NOSYS) => match look(to, new)? {
            Some(_) => Err(Errno::EXIST),
            None => rustix::fs::renameat(from, name, to, new),
        },
        done => done,
    }
}

fn remove<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
    kind: InstalledKind,
) -> Result<(), InstallError> {
    let (parent, name) = place(path);
    // If it is gone already, there is nothing to remove.
    let Some(directory) = directories.find(parent)? else { return Ok(()) };
    let Some(stat) = look(directory.as_fd(), name).map_err(host("look at", path))? else { return Ok(()) };
    let as_planned = match kind {
        InstalledKind::File => is_file(&stat),
        InstalledKind::Link => is_link(&stat),
        InstalledKind::Directory => is_directory(&stat),
    };
    if !as_planned {
        let (planned, found) = (kind_name(kind), found_name(&stat));
        return Err(InstallError::Changed { path: path.to_owned(), planned, found });
    }
    if kind == InstalledKind::Directory {
        return remove_directory(work, directories, number, path, directory.as_fd());
    }
    work.steps.before(Step::Swap(number))?;
    if !is_linked(work, number, path, &stat)? {
        return move_away(work, number, directory.as_fd(), path).map(drop);
    }
    match rustix::fs::unlinkat(&*directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(refused("remove", directory.as_fd(), path)(errno)),
    }
}

fn remove_directory<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
    parent: BorrowedFd<'_>,
) -> Result<(), InstallError> {
    let name = place(path).1;
    if !is_empty(parent, name).map_err(host("list", path))? {
        return Ok(());
    }
    let kept = backups_for(work, path)?;
    let backup = backups::name(number);
    work.steps.before(Step::Swap(number))?;
    directories.forget();
    match rename_new(parent, name, kept, &*backup) {
        // A mount point stays, as it would with rmdir.
        Err(Errno::NOENT | Errno::BUSY) => return Ok(()),
        // A directory of an overlay's lower layer cannot be renamed, nor can a directory that its owner may not write
        // to. It is removed, and made anew as it is recorded if it has to come back.
        Err(Errno::XDEV | Errno::ACCESS) => {
            return match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                Err(errno) => Err(refused("remove", parent, path)(errno)),
            };
        }
        done => done.map_err(refused("remove", parent, path))?,
    }
    // Another program may have put a file there between the look and the rename.
    if !is_empty(kept, backup.as_ref()).map_err(host("list", path))? {
        work.steps.before(Step::SwapRest(number))?;
        rename_new(kept, &*backup, parent, name).map_err(host("put back", path))?;
    }
    Ok(())
}

fn is_empty(parent: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let directory = open_below(parent, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    Ok(entries(&directory)?.is_empty())
}

pub(super) fn found_name(stat: &Stat) -> &'static str {
    match stat {
        stat if is_file(stat) => "file",
        stat if is_link(stat) => "symbolic link",
        stat if is_directory(stat) => "directory",
        _ => "device, socket or pipe",
    }
}
