//! The place for replaced or removed files until the deployment has succeeded. It is outside of every destination, so
//! that a program that looks at the application never sees them.
//!
//! A backup is a further link to the old file, made while everything is staged; the new file then takes the name by a
//! rename over it. A link and a rename must stay within one mount, so there is one directory for each mount that the
//! Install works in: in the journal's directory if that is on the same mount, else in the nearest directory above the
//! destinations in which only the administrator can change names. If the destination is itself the top of its mount,
//! there is no place but in it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::InstallError;
use super::error::host;
use super::journal::{BackupRecord, Record};
use super::layout::TemporaryNames;
use super::places::{Anchors, look, open_below, real_path};
use super::steps::{Step, Steps};
use crate::remove_tree::{Mount, mount_of};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The name of the directory for backups in the journal's directory.
pub(super) const NAME: &str = "backups";

/// The kind of place to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Outside of the destinations, if there is such a place on the mount.
    Outside,
    /// In the topmost directory of the application. Projects (of quotas) and encryption policies bound a tree: no link
    /// and no rename crosses that border.
    Inside,
}

/// The administrator's user id on network file systems that do not trust the client's root.
const NOBODY: u32 = 65534;

/// The name of an action's backup.
pub(super) fn name(action: usize) -> String {
    action.to_string()
}

/// The name of a backup whose place is taken by a file that must not be deleted. No run touches it again.
pub(super) fn saved(action: usize) -> String {
    format!("{action}.saved")
}

/// The name of the mark for a removed directory that was made anew, and so is not the same directory any more.
pub(super) fn remade(action: usize) -> String {
    format!("{action}.remade")
}

/// The action of such a mark.
pub(super) fn remade_number(name: &str) -> Option<usize> {
    name.strip_suffix(".remade")?.parse().ok()
}

/// Decides where the backups are kept.
pub(super) struct Chooser<'a> {
    anchors: &'a Anchors,
    names: &'a TemporaryNames,
    /// The journal's directory.
    journal: PathBuf,
    /// The mount that it is on.
    mount: Mount,
    /// The real paths of all directories of the application.
    inside: Vec<PathBuf>,
    place: Place,
    chosen: HashMap<(Mount, PathBuf), usize>,
    records: Vec<BackupRecord>,
}

impl<'a> Chooser<'a> {
    /// `worked_in` are directories of the plan in which names are replaced or removed. The backups must not lie in them
    /// or in the destinations.
    pub fn new<'p>(
        anchors: &'a Anchors,
        names: &'a TemporaryNames,
        journal: &Path,
        worked_in: impl Iterator<Item = &'p Path>,
        place: Place,
    ) -> Result<Self, InstallError> {
        // The directory itself may not have been made yet.
        let parent = journal.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let open = rustix::fs::open(parent, DIRECTORY, Mode::empty()).map_err(host("open", parent))?;
        let mount = mount_of(open.as_fd()).map_err(host("read", parent))?;
        let real = real_path(&open).map_err(|source| InstallError::Host {
            what: "resolve",
            path: parent.to_owned(),
            source,
        })?;
        let journal = real.join(journal.file_name().unwrap_or_default());
        let mut all: Vec<PathBuf> = worked_in.map(|path| anchors.real(path)).collect();
        all.sort();
        // A path comes before everything below it.
        let mut inside: Vec<PathBuf> = Vec::new();
        for path in all {
            if !inside.last().is_some_and(|top| path.starts_with(top)) {
                inside.push(path);
            }
        }
        let (chosen, records) = Default::default();
        Ok(Self { anchors, names, journal, mount, inside, place, chosen, records })
    }

    /// The number of the directory for the backups of this one.
    pub fn choose(&mut self, path: &Path, directory: &OwnedFd) -> Result<usize, InstallError> {
        let mount = mount_of(directory.as_fd()).map_err(host("read", path))?;
        let real = self.anchors.real(path);
        let top = match self.place {
            Place::Outside => PathBuf::new(),
            Place::Inside => self.top(&real).unwrap_or(&real).to_owned(),
        };
        if let Some(known) = self.chosen.get(&(mount, top.clone())) {
            return Ok(*known);
        }
        let record = match self.place {
            Place::Outside if mount == self.mount => {
                let name = free_name(None, &self.journal, NAME)?;
                BackupRecord { parent: self.journal.clone(), name, modified: None }
            }
            _ => self.above(mount, &real)?,
        };
        self.records.push(record);
        let number = self.records.len() - 1;
        self.chosen.insert((mount, top), number);
        Ok(number)
    }

    pub fn records(self) -> Vec<BackupRecord> {
        self.records
    }

    /// The top of the destination that a path is in.
    fn top(&self, path: &Path) -> Option<&Path> {
        self.inside.iter().find(|top| path.starts_with(top)).map(PathBuf::as_path)
    }

    /// The nearest safe directory above that is outside, or else the topmost directory inside.
    fn above(&self, mount: Mount, real: &Path) -> Result<BackupRecord, InstallError> {
        let mut found: Option<(&Path, OwnedFd)> = None;
        for ancestor in real.ancestors() {
            let Ok(directory) = open_real(ancestor) else { break };
            if mount_of(directory.as_fd()).map_err(host("read", ancestor))? != mount {
                break;
            }
            let inside = self.top(ancestor).is_some();
            if !inside && self.place == Place::Inside {
                break;
            }
            let stat = rustix::fs::fstat(&directory).map_err(host("read", ancestor))?;
            let fits = is_safe(&stat) && is_writable(&directory);
            if inside || fits {
                found = Some((ancestor, directory));
            }
            if !inside && fits {
                break;
            }
        }
        let Some((parent, directory)) = found else {
            return Err(InstallError::Vanished { path: real.to_owned() });
        };
        let stat = rustix::fs::fstat(&directory).map_err(host("read", parent))?;
        let name = free_name(Some(directory.as_fd()), parent, &self.names.backups())?;
        let modified = Some((stat.st_mtime as i64, stat.st_mtime_nsec as i64));
        Ok(BackupRecord { parent: parent.to_owned(), name, modified })
    }
}

/// Opens a path that has no links in it.
fn open_real(path: &Path) -> Result<OwnedFd, Errno> {
    let top = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
    match path.strip_prefix("/") {
        Ok(relative) if !relative.as_os_str().is_empty() => open_below(top.as_fd(), relative, DIRECTORY),
        _ => Ok(top),
    }
}

/// Whether no user but the administrator and the agent can remove their files from a directory.
fn is_safe(stat: &Stat) -> bool {
    let ours = stat.st_uid == 0 || stat.st_uid == nix::unistd::geteuid().as_raw();
    ours && (stat.st_mode & 0o022 == 0 || stat.st_mode & 0o1000 != 0)
}

fn is_writable(directory: &OwnedFd) -> bool {
    rustix::fs::accessat(directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Whether a directory for backups is still in its original state.
fn is_ours(stat: &Stat) -> bool {
    [nix::unistd::geteuid().as_raw(), NOBODY].contains(&stat.st_uid) && stat.st_mode & 0o077 == 0
}

/// Whether the file system itself chooses the owner of new files, as EFS access points, squashed NFS exports and
/// Windows shares do: then a new directory has its parent's owner.
pub(super) fn is_given(directory: impl AsFd, parent: impl AsFd, stat: &Stat) -> Result<bool, Errno> {
    /// NFS, CIFS and SMB 2, FUSE, 9P, as in `linux/magic.h`.
    const KINDS: [u32; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997];
    let kind = rustix::fs::fstatfs(directory)?.f_type as u32;
    Ok(KINDS.contains(&kind) && stat.st_uid == rustix::fs::fstat(parent)?.st_uid)
}

/// A free name. A directory with the first name may hold backups of an earlier run that could not be put back.
fn free_name(directory: Option<BorrowedFd<'_>>, parent: &Path, first: &str) -> Result<String, InstallError> {
    for number in 1_u32.. {
        let name = if number == 1 { first.to_owned() } else { format!("{first}.{number}") };
        let taken = match directory {
            Some(directory) => look(directory, &*name),
            None => look(rustix::fs::CWD, parent.join(&name)),
        };
        if taken.map_err(host("look at", &parent.join(&name)))?.is_none() {
            return Ok(name);
        }
    }
    Ok(first.to_owned())
}

/// The open directories for backups, by number.
#[derive(Debug, Default)]
pub(super) struct Backups {
    open: Vec<Option<Opened>>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    parent: OwnedFd,
    directory: OwnedFd,
    record: BackupRecord,
}

impl Backups {
    /// Makes them, for the administrator only.
    pub fn make(records: &[BackupRecord], steps: &impl Steps) -> Result<Self, InstallError> {
        let mut open = Vec::with_capacity(records.len());
        for record in records {
            let path = record.parent.join(&record.name);
            steps.before(Step::MakeBackups)?;
            let parent = open_real(&record.parent).map_err(host("open", &record.parent))?;
            rustix::fs::mkdirat(&parent, &*record.name, Mode::RWXU).map_err(|errno| match errno {
                Errno::EXIST => InstallError::Occupied { path: path.clone() },
                errno => host("create", &path)(errno),
            })?;
            let directory = open_below(parent.as_fd(), record.name.as_ref(), DIRECTORY).map_err(host("open", &path))?;
            open.push(Some(Opened { path, parent, directory, record: record.clone() }));
        }
        Ok(Self { open })
    }

    /// Opens the backup directories of an earlier run again. Missing directories are left out.
    ///
    /// # Errors
    /// Another directory has the name of one: its contents may not be backups.
    pub fn reopen(record: &Record<'_>) -> Result<Self, InstallError> {
        let mut open = Vec::with_capacity(record.backups.len());
        for record in &record.backups {
            let path = record.parent.join(&record.name);
            let both = open_real(&record.parent).and_then(|parent| {
                let directory = open_below(parent.as_fd(), record.name.as_ref(), DIRECTORY)?;
                Ok((parent, directory))
            });
            open.push(match both {
                Ok((parent, directory)) => {
                    let stat = rustix::fs::fstat(&directory).map_err(host("read", &path))?;
                    if !is_ours(&stat) && !is_given(&directory, &parent, &stat).map_err(host("read", &path))? {
                        return Err(InstallError::Moved { path });
                    }
                    Some(Opened { path, parent, directory, record: record.clone() })
                }
                Err(Errno::NOENT) => None,
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(InstallError::Moved { path }),
                Err(errno) => return Err(host("open", &path)(errno)),
            });
        }
        Ok(Self { open })
    }

    /// The directory with this number, if it exists.
    pub fn get(&self, number: Option<usize>) -> Option<BorrowedFd<'_>> {
        self.open.get(number?)?.as_ref().map(|opened| opened.directory.as_fd())
    }

    /// Its path, for messages.
    pub fn path(&self, number: Option<usize>) -> Option<&Path> {
        self.open.get(number?)?.as_ref().map(|opened| opened.path.as_path())
    }

    /// All existing directories.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &OwnedFd)> {
        self.open.iter().flatten().map(|opened| (opened.path.as_path(), &opened.directory))
    }

    /// The paths of missing backup directories.
    pub fn missing<'a>(&'a self, record: &'a Record<'_>) -> impl Iterator<Item = PathBuf> {
        let pairs = record.backups.iter().zip(&self.open).filter(|(_, opened)| opened.is_none());
        pairs.map(|(record, _)| record.parent.join(&record.name))
    }

    /// Removes the empty ones; the others are returned.
    pub fn remove(&self, steps: &impl Steps) -> Result<Vec<PathBuf>, InstallError> {
        let mut stay = Vec::new();
        for opened in self.open.iter().flatten() {
            steps.before(Step::RemoveBackups)?;
            match rustix::fs::unlinkat(&opened.parent, &*opened.record.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => stay.push(opened.path.clone()),
                Err(errno) => return Err(host("remove", &opened.path)(errno)),
            }
        }
        Ok(stay)
    }

    /// Restores the modification times of their parents.
    pub fn restore_times(&self) -> Result<(), InstallError> {
        for opened in self.open.iter().flatten() {
            if let Some(modified) = opened.record.modified {
                set_modified(&opened.parent, modified).map_err(host("set the time of", &opened.record.parent))?;
            }
        }
        Ok(())
    }
}

/// Sets the modification time of a directory, if the agent may.
pub(super) fn set_modified(directory: &OwnedFd, (tv_sec, tv_nsec): (i64, i64)) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    let times = Timestamps {
        // Not UTIME_OMIT: file systems of libfuse 3.14 take that for both times, and succeed.
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec, tv_nsec: tv_nsec as _ },
    };
    match rustix::fs::futimens(directory, &times) {
        // Only its owner may. An agent that is not the owner has restored everything else.
        Err(Errno::PERM | Errno::ACCESS) => Ok(()),
        done => done,
    }
}
