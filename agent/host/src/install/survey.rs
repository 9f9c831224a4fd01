//! A look at every existing directory that a plan works in, before anything is touched.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hostler_core::plan::actions::{Action, Attributes, InstalledKind};

use rustix::fs::OFlags;

use super::backups::{Chooser, Place};
use super::error::{host, permissions};
use super::journal::{BackupRecord, DirectoryRecord};
use super::layout::{Layout, Standing, place};
use super::mounts::Noted;
use super::places::{self, Anchors, Directories, FileSystems};
use super::ways::Ways;
use super::{InstallError, InstallRequest, leaves_backup};
use crate::perms;

/// The facts about an existing directory.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    must_exist: bool,
    /// Whether its attributes change, or it is removed.
    changes: bool,
    /// Whether names in it are replaced or removed.
    backups: bool,
}

/// The findings.
pub(super) struct Found {
    /// The directories, ordered by path.
    pub directories: Vec<DirectoryRecord>,
    /// The directories for backups.
    pub backups: Vec<BackupRecord>,
    /// Whether users own something on the ways there.
    pub by_users: bool,
}

/// Looks at every existing directory that the plan works in, before anything is touched, and chooses the directories
/// for backups.
pub(super) fn record_directories(
    request: &InstallRequest<'_>,
    backups: Place,
    layout: &Layout<'_>,
    anchors: &Anchors,
    file_systems: &mut FileSystems,
    noted: &mut Noted,
) -> Result<Found, InstallError> {
    let directories = Directories::new(anchors, &[]);
    let wanted = wanted_directories(layout, &directories)?;
    let mut ways = Ways::new(anchors, &request.plan.entered);
    let worked_in = wanted.iter().filter(|(_, wanted)| wanted.backups).map(|(path, _)| *path);
    let application = worked_in.chain(request.destinations.iter().map(PathBuf::as_path));
    let mut chooser = Chooser::new(anchors, &layout.names, request.journal, application, backups)?;
    let mut records = Vec::with_capacity(wanted.len());
    for (path, wanted) in wanted {
        let there = match wanted.must_exist {
            true => ways.expect(path)?,
            false => match ways.find(path)? {
                Some(there) => there,
                None => continue,
            },
        };
        let directory = there.open(OFlags::RDONLY).map_err(host("open", path))?;
        let stat = rustix::fs::fstat(&directory).map_err(host("read", path))?;
        let attributes = match wanted.changes {
            true => Some(perms::record(&directory).map_err(permissions(path))?),
            false => None,
        };
        let backups = match wanted.backups {
            true => Some(chooser.choose(path, &directory)?),
            false => None,
        };
        file_systems.add(path, &directory)?;
        let modified = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let (path, inode, file_system) = (path.to_owned(), stat.st_ino, noted.add(&directory));
        records.push(DirectoryRecord { path, inode, file_system, modified, attributes, backups });
    }
    Ok(Found { directories: records, by_users: ways.are_by_users(), backups: chooser.records() })
}

fn wanted_directories<'a>(
    layout: &Layout<'a>,
    directories: &Directories<'_>,
) -> Result<BTreeMap<&'a Path, Wanted>, InstallError> {
    let mut all: BTreeMap<&Path, Wanted> = BTreeMap::new();
    let mut before = None;
    for (number, action) in layout.actions() {
        if matches!(layout.standing(number), Standing::Inside(_)) {
            continue;
        }
        let (removes, backups) = (matches!(action, Action::Remove { .. }), leaves_backup(action));
        let parent = place(action.path()).0;
        // Most actions are in the directory of the one before.
        let here = Some((parent.as_os_str(), removes, backups));
        if here != before {
            let entry = all.entry(parent).or_default();
            entry.must_exist |= !removes;
            entry.backups |= backups;
            before = here;
        }
        match action {
            Action::KeepDirectory { path, attributes } => {
                let entry = all.entry(path).or_default();
                entry.must_exist = true;
                entry.changes |= **attributes != Attributes::default();
            }
            Action::Remove { path, kind: InstalledKind::Directory } => all.entry(path).or_default().changes = true,
            Action::Remove { .. } => {}
            _ => refuse_taken_name(layout, directories, number, action)?,
        }
    }
    Ok(all)
}

/// A temporary name that is taken is not ours to delete: its journal is gone, or another program made it.
fn refuse_taken_name(
    layout: &Layout<'_>,
    directories: &Directories<'_>,
    number: usize,
    action: &Action,
) -> Result<(), InstallError> {
    let parent = place(action.path()).0;
    // Whether a missing directory is an error depends on the action's kind, which is checked next.
    let Ok(Some(directory)) = directories.find(parent) else { return Ok(()) };
    let name = layout.names.name(number);
    match places::look(directory.as_fd(), &*name).map_err(host("look at", action.path()))? {
        Some(_) => Err(InstallError::Occupied { path: parent.join(name) }),
        None => Ok(()),
    }
}
