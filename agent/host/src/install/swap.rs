//! The actions take effect, one rename each.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hostler_core::plan::actions::{Action, Attributes, InstalledKind};
use rustix::fs::{OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::error::{host, kind_name, permissions};
use super::layout::{Standing, place};
use super::places::{Directories, is_directory, is_file, is_link, look, open_below};
use super::steps::{Step, Steps};
use super::{InstallError, Work};
use crate::perms::{self, Object};

/// Lets every action take effect: in order, but that existing directories get their attributes last, children first.
/// A mode that shuts an agent out that is not root must not do so before its work is done.
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
    rename_new(&directory, work.layout.names.name(number), name).map_err(|errno| match errno {
        Errno::EXIST => InstallError::Occupied { path: path.to_owned() },
        errno => host("put in place", path)(errno),
    })
}

fn replace<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    path: &Path,
) -> Result<(), InstallError> {
    let (parent, name) = place(path);
    let directory = directories.expect(parent)?;
    match look(directory.as_fd(), name).map_err(host("look at", path))? {
        None => return Err(InstallError::Vanished { path: path.to_owned() }),
        Some(stat) if is_file(&stat) || is_link(&stat) => {}
        Some(stat) => {
            return Err(InstallError::Changed {
                path: path.to_owned(),
                planned: "file or symbolic link",
                found: found_name(&stat),
            });
        }
    }
    let staged = work.layout.names.name(number);
    work.steps.before(Step::Swap(number))?;
    if work.steps.can_exchange() {
        match rustix::fs::renameat_with(&*directory, &staged, &*directory, name, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            Err(Errno::NOENT) => return Err(InstallError::Vanished { path: path.to_owned() }),
            done => return done.map_err(host("replace", path)),
        }
    }
    let old = work.layout.names.old(number);
    rename_new(&directory, name, &*old).map_err(host("replace", path))?;
    work.steps.before(Step::SwapRest(number))?;
    rename_new(&directory, &*staged, name).map_err(host("replace", path))
}

/// Renames, but never onto something.
pub(super) fn rename_new(directory: &OwnedFd, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<(), Errno> {
    let (from, to) = (from.as_ref(), to.as_ref());
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag: looking first is all that is left.
        Err(Errno::INVAL | Errno::NOSYS) => match look(directory.as_fd(), to)? {
            Some(_) => Err(Errno::EXIST),
            None => rustix::fs::renameat(directory, from, directory, to),
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
    // What is gone already needs no removing.
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
    let removes_directory = kind == InstalledKind::Directory;
    if removes_directory && !is_empty(work, directory.as_fd(), name).map_err(host("list", path))? {
        return Ok(());
    }
    let backup = work.layout.names.name(number);
    work.steps.before(Step::Swap(number))?;
    match rename_new(&directory, name, &*backup) {
        Err(Errno::NOENT) => return Ok(()),
        // A mount point stays, as it would at rmdir.
        Err(Errno::BUSY) if removes_directory => return Ok(()),
        done => done.map_err(host("remove", path))?,
    }
    if removes_directory {
        directories.forget();
        // Somebody may have put something there between the look and the rename.
        if !is_empty(work, directory.as_fd(), backup.as_ref()).map_err(host("list", path))? {
            work.steps.before(Step::SwapRest(number))?;
            rename_new(&directory, &*backup, name).map_err(host("put back", path))?;
        }
    }
    Ok(())
}

/// Whether a directory holds nothing but this deployment's backups.
pub(super) fn is_empty<S: Steps>(work: &Work<'_, S>, parent: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let directory = open_below(parent, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    Ok(entries(&directory)?.iter().all(|entry| work.layout.names.is_one(entry)))
}

/// The names in a directory.
pub(super) fn entries(directory: &OwnedFd) -> Result<Vec<std::ffi::OsString>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(super) fn found_name(stat: &Stat) -> &'static str {
    match stat {
        stat if is_file(stat) => "file",
        stat if is_link(stat) => "symbolic link",
        stat if is_directory(stat) => "directory",
        _ => "device, socket or pipe",
    }
}
