//! Staging: all new files are made complete under temporary names, and each file that they replace gets a further link
//! as its backup, before anything takes effect.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hostler_core::plan::Place as KnownPlace;
use hostler_core::plan::actions::{Action, Attributes, InstalledKind};
use rustix::fs::{Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::backups::{self, Place};
use super::copy::Copier;
use super::error::{host, permissions};
use super::journal::Staged;
use super::layout::{Standing, place};
use super::places::{Directories, is_file, is_link, look, open_below};
use super::steps::{Step, Steps};
use super::{InstallError, Work, leaves_backup};
use crate::perms::{self, Object};
use crate::safe_path;

/// The number of files from which a second thread pays, even for small files.
const THREADED: usize = 16;
const THREADS: usize = 2;

/// Makes all new files under temporary names, and the backups. Returns the files for free names, ordered by action:
/// with them the way back tells its own files from those that other programs made there meanwhile. Also returns the new
/// directories, by which the next deployment recognises them.
pub(super) fn stage<S: Steps>(
    work: &Work<'_, S>,
    archive: &OwnedFd,
) -> Result<(Vec<Staged>, Vec<KnownPlace>), InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    let tops = make_directories(work, &directories)?;
    let puts: Vec<usize> = work
        .layout
        .actions()
        .filter(|(_, action)| matches!(action, Action::PutFile { .. } | Action::PutLink { .. }))
        .map(|(number, _)| number)
        .collect();
    let mut staged = put_all(work, archive, &puts)?;
    // Late, and children first: no other user gets into a staged directory before it is complete.
    let made = finish_directories(work, &directories)?;
    for number in tops {
        staged.extend(look_at_top(work, &directories, number)?);
    }
    staged.sort_by_key(|staged| staged.action);
    // Last, to keep the time between the link to an old file and its end short.
    link_backups(work, &directories)?;
    Ok((staged, made))
}

fn link_backups<S: Steps>(work: &Work<'_, S>, directories: &Directories<'_>) -> Result<(), InstallError> {
    for (number, action) in work.layout.actions() {
        let is_directory = matches!(action, Action::Remove { kind: InstalledKind::Directory, .. });
        if is_directory || !leaves_backup(action) {
            continue;
        }
        let path = action.path();
        let (parent, name) = place(path);
        let (Some(directory), Some(kept)) = (directories.find(parent)?, work.backups_of(path)) else { continue };
        work.steps.before(Step::Link(number))?;
        match work.steps.link(directory.as_fd(), name, kept, &backups::name(number)) {
            // A missing file is reported when its turn comes.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::XDEV) if work.place == Place::Outside => {
                return Err(InstallError::BackupElsewhere { path: path.to_path_buf() });
            }
            // The file cannot be linked: it is moved there when its turn comes.
            Err(
                Errno::MLINK
                | Errno::PERM
                | Errno::ACCESS
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::INVAL
                | Errno::XDEV,
            ) => {}
            Err(errno) => return Err(host("keep", path)(errno)),
        }
    }
    Ok(())
}

/// Makes all new directories; returns the numbers of those that take effect by themselves.
fn make_directories<S: Steps>(work: &Work<'_, S>, directories: &Directories<'_>) -> Result<Vec<usize>, InstallError> {
    let mut tops = Vec::new();
    for (number, action) in work.layout.actions() {
        let Action::MakeDirectory { path, .. } = action else { continue };
        let (parent, name) = work.layout.staged(number, action);
        let parent = directories.expect(&parent)?;
        work.steps.before(Step::Make(number))?;
        rustix::fs::mkdirat(&*parent, &*name, Mode::RWXU).map_err(cannot_create(path, &name))?;
        if work.layout.standing(number) == Standing::Top {
            if let Some(guard) = work.anchors.guard() {
                let staged = place(path).0.join(&name);
                guard.note_made(parent.as_fd(), &name, &staged)?;
            }
            tops.push(number);
        }
    }
    Ok(tops)
}

/// The identity of a tree's complete top, whose times change no more.
fn look_at_top<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
) -> Result<Option<Staged>, InstallError> {
    let Some(action) = work.layout.plan.actions.get(number) else { return Ok(None) };
    let (parent, name) = work.layout.staged(number, action);
    let found = look(directories.expect(&parent)?.as_fd(), &*name).map_err(host("read", action.path()))?;
    Ok(found.map(|stat| identity(number, &stat)))
}

fn identity(action: usize, stat: &Stat) -> Staged {
    let content = (stat.st_size, stat.st_mtime, stat.st_mtime_nsec as i64);
    Staged { action, inode: stat.st_ino, content: Some(content) }
}

fn finish_directories<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
) -> Result<Vec<KnownPlace>, InstallError> {
    let mut made = Vec::new();
    for (number, action) in work.layout.actions().rev() {
        let Action::MakeDirectory { path, attributes } = action else { continue };
        let (parent, name) = work.layout.staged(number, action);
        let directory = directories.expect(&parent.join(&name))?;
        work.steps.before(Step::Finish(number))?;
        // A directory inherits setgid from its parent, and so its files' group, by the will of the parent's owner.
        let inherited = rustix::fs::fstat(&*directory).map_err(host("read", path))?.st_mode & 0o2000;
        // The same holds for the access control list from a default list.
        let mode = perms::inherited_directory_mode(directory.as_fd()).map_err(permissions(path))? | inherited;
        perms::apply(directory.as_fd(), Object::Directory, mode, attributes, &work.names).map_err(permissions(path))?;
        let is = safe_path::identity(&*directory).map_err(host("read", path))?;
        made.push(KnownPlace { path: path.clone(), is, destination: false });
    }
    Ok(made)
}

fn put_all<S: Steps>(work: &Work<'_, S>, archive: &OwnedFd, puts: &[usize]) -> Result<Vec<Staged>, InstallError> {
    if puts.len() < THREADED {
        return put_some(work, archive, puts, &AtomicBool::new(false));
    }
    let stop = AtomicBool::new(false);
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = puts
            .chunks(puts.len().div_ceil(THREADS))
            .map(|part| {
                let stop = &stop;
                scope.spawn(move || {
                    put_some(work, archive, part, stop).inspect_err(|_| stop.store(true, Ordering::Relaxed))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut staged = Vec::new();
    for part in parts {
        match part {
            Ok(part) => staged.extend(part?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(staged)
}

fn put_some<S: Steps>(
    work: &Work<'_, S>,
    archive: &OwnedFd,
    puts: &[usize],
    stop: &AtomicBool,
) -> Result<Vec<Staged>, InstallError> {
    let directories = Directories::new(work.anchors, work.known);
    let mut copier = Copier::default();
    let mut staged = Vec::new();
    for number in puts {
        // Another thread failed: its error is the run's.
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(action) = work.layout.plan.actions.get(*number) else { continue };
        let for_a_free_name = work.layout.standing(*number) == Standing::Alone && !leaves_backup(action);
        let stat = match action {
            Action::PutFile { .. } => put_file(work, archive, &directories, &mut copier, *number, action)?,
            Action::PutLink { .. } => put_link(work, &directories, *number, action)?,
            Action::Remove { .. } | Action::MakeDirectory { .. } | Action::KeepDirectory { .. } => continue,
        };
        staged.extend(stat.filter(|_| for_a_free_name).map(|stat| identity(*number, &stat)));
    }
    Ok(staged)
}

fn put_file<S: Steps>(
    work: &Work<'_, S>,
    archive: &OwnedFd,
    directories: &Directories<'_>,
    copier: &mut Copier,
    number: usize,
    action: &Action,
) -> Result<Option<Stat>, InstallError> {
    let Action::PutFile { source, path, attributes, .. } = action else { return Ok(None) };
    let unreadable = |errno: Errno| InstallError::Source { path: source.to_path_buf(), source: errno.into() };
    let from = open_below(archive.as_fd(), source, OFlags::RDONLY | OFlags::NONBLOCK).map_err(unreadable)?;
    let stat = rustix::fs::fstat(&from).map_err(unreadable)?;
    if !is_file(&stat) {
        let found = std::io::Error::other("it is not a regular file any more");
        return Err(InstallError::Source { path: source.to_path_buf(), source: found });
    }
    let (parent, name) = work.layout.staged(number, action);
    let parent = directories.expect(&parent)?;
    work.steps.before(Step::Make(number))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to =
        rustix::fs::openat(&*parent, &*name, flags, Mode::RUSR | Mode::WUSR).map_err(cannot_create(path, &name))?;
    work.steps.before(Step::Write(number))?;
    copier.copy(&from, &to, &stat).map_err(|failure| failure.named(source, path))?;
    work.steps.before(Step::Finish(number))?;
    perms::apply(to.as_fd(), Object::File, stat.st_mode & 0o7777, attributes, &work.names)
        .map_err(permissions(path))?;
    let modified = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
    let times = Timestamps { last_access: modified, last_modification: modified };
    rustix::fs::futimens(&to, &times).map_err(host("set the time of", path))?;
    rustix::fs::fstat(&to).map(Some).map_err(host("read", path))
}

fn put_link<S: Steps>(
    work: &Work<'_, S>,
    directories: &Directories<'_>,
    number: usize,
    action: &Action,
) -> Result<Option<Stat>, InstallError> {
    let Action::PutLink { target, path, attributes, .. } = action else { return Ok(None) };
    let (parent, name) = work.layout.staged(number, action);
    let parent = directories.expect(&parent)?;
    work.steps.before(Step::Make(number))?;
    rustix::fs::symlinkat(&**target, &*parent, &*name).map_err(cannot_create(path, &name))?;
    work.steps.before(Step::Finish(number))?;
    // By descriptor: if another user may write there, the name may be that user's file by now.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = rustix::fs::openat(&*parent, &*name, flags, Mode::empty()).map_err(host("open", path))?;
    let stat = rustix::fs::fstat(&link).map_err(host("read", path))?;
    if !is_link(&stat) {
        return Err(InstallError::Changed {
            path: place(path).0.join(name),
            planned: "symbolic link",
            found: "other object",
        });
    }
    let Attributes { uid, gid, .. } = **attributes;
    if uid.is_some() || gid.is_some() {
        perms::apply_to_link(link.as_fd(), attributes).map_err(permissions(path))?;
    }
    Ok(Some(stat))
}

fn cannot_create(path: &Path, name: &OsStr) -> impl FnOnce(Errno) -> InstallError {
    move |errno| match errno {
        // A temporary name is taken: a journal was deleted while its install was open.
        Errno::EXIST => InstallError::Occupied { path: place(path).0.join(name) },
        errno => host("create", path)(errno),
    }
}
