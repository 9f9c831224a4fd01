//! The journal of one Install: one document, whose file name carries the phase.
//!
//! `install.<phase>.json` holds everything that undoing needs; it is written and fsynced before the host is touched. A
//! phase ends by renaming it, which is atomic and needs no space. `install.staged.json` lists the files that are staged
//! for a free name; with it the way back tells its own files from those that other programs made there meanwhile.
//!
//! Both files are made empty, and their names put on disk, while the deployment is prepared ([`Journal::prepare`]): the
//! Install itself then has one file to sync before it begins. An incomplete document in phase staging means that
//! nothing began: its sync never returned. An incomplete list means that nothing took effect: the list is on disk, with
//! all staged files, before the first swap.

use std::borrow::Cow;
use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt};
use std::path::{Path, PathBuf};

use hostler_core::ids::DeploymentId;
use hostler_core::plan::Place;
use hostler_core::plan::actions::{InstalledEntry, Plan};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::InstallError;
use super::mounts::FileSystemRecord;
use super::steps::{Step, Steps};
use super::ways::Guard;
use crate::perms::Recorded;

const VERSION: u32 = 2;
/// The format of versions before backups were kept apart: backups lie beside the new files.
const BESIDE: u32 = 1;
const NEW: &str = "install.new.json";
const STAGED: &str = "install.staged.json";
const PLACES: &str = "install.places.json";

/// How far an Install is. Recovery knows only what holds in each phase; the rest it finds by looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has taken effect; all files with temporary names are to be deleted.
    Staging,
    /// Everything is staged. Once that is on disk, any of the actions may have taken effect.
    Swapping,
    /// All actions have taken effect and are on disk; backups are kept.
    Installed,
    /// As before, but the actions are being taken back.
    Undoing,
    /// As before, but backups are being deleted: there is no way back.
    Committing,
    /// Only the new state is left.
    Committed,
    /// Only the old state is left.
    Undone,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Staging,
        Self::Swapping,
        Self::Installed,
        Self::Undoing,
        Self::Committing,
        Self::Committed,
        Self::Undone,
    ];

    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Staging => "install.staging.json",
            Self::Swapping => "install.swapping.json",
            Self::Installed => "install.installed.json",
            Self::Undoing => "install.undoing.json",
            Self::Committing => "install.committing.json",
            Self::Committed => "install.committed.json",
            Self::Undone => "install.undone.json",
        }
    }
}

/// The journal's document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    pub version: u32,
    pub deployment: DeploymentId,
    pub plan: Cow<'a, Plan>,
    /// The root, and the targets of the followed links.
    pub anchors: Vec<AnchorRecord>,
    /// Existing directories as they were, ordered by path.
    pub directories: Vec<DirectoryRecord>,
    /// The directories that hold the backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<BackupRecord>,
    /// The file systems of these directories and the anchors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_systems: Vec<FileSystemRecord>,
}

impl<'a> Record<'a> {
    pub fn new(deployment: DeploymentId, plan: &'a Plan) -> Self {
        let plan = Cow::Borrowed(plan);
        let (anchors, directories, backups, file_systems) = Default::default();
        Self { version: VERSION, deployment, plan, anchors, directories, backups, file_systems }
    }

    /// Whether the backups lie beside the new files.
    pub fn backups_are_beside(&self) -> bool {
        self.version == BESIDE
    }
}

/// The real place of a directory from which others are reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AnchorRecord {
    /// Its path in the plan.
    pub path: PathBuf,
    /// Its path on this host, all links resolved.
    pub real: PathBuf,
    /// Its inode, by which it is recognised.
    pub inode: u64,
    /// Its file system's number in the record; earlier agents did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<usize>,
}

/// An existing directory as it was before the run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DirectoryRecord {
    pub path: PathBuf,
    /// Its inode, by which it is recognised.
    pub inode: u64,
    /// Its file system's number in the record; earlier agents did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<usize>,
    /// Modification time: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Only if the plan changes them or removes the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Recorded>,
    /// Which of the backup directories takes the files that are replaced or removed in this directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<usize>,
}

/// A directory for backups, made while staging and removed with the last backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupRecord {
    /// The directory that it is made in, all links resolved.
    pub parent: PathBuf,
    /// Its name there.
    pub name: String,
    /// The modification time of its parent, seconds and nanoseconds since 1970; not for the journal's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<(i64, i64)>,
}

/// The marks by which a staged file is recognised once it has its final name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    /// The number of its action.
    pub action: usize,
    /// Its inode. Some file systems number their files anew with each mount.
    pub inode: u64,
    /// Size in bytes, and modification time in seconds and nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<(i64, i64, i64)>,
}

/// The directory that holds a journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
}

impl Journal {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn phase(&self) -> Result<Option<Phase>, InstallError> {
        for phase in Phase::ALL {
            let path = self.path.join(phase.file());
            if path.try_exists().map_err(|source| failed("read", &path, source))? {
                return Ok((phase != Phase::Staging || self.began()?).then_some(phase));
            }
        }
        Ok(None)
    }

    /// Whether the document in phase staging is whole.
    fn began(&self) -> Result<bool, InstallError> {
        let path = self.path.join(Phase::Staging.file());
        Ok(read_json_if_whole::<IgnoredAny>(&path)?.is_some())
    }

    pub fn read(&self, phase: Phase) -> Result<Record<'static>, InstallError> {
        let path = self.path.join(phase.file());
        let record: Record<'static> = read_json(&path)?;
        check_version(record.version, path)?;
        Ok(record)
    }

    /// The entries that the group owns by this Install; the rest of the record is skipped, not kept.
    pub fn read_installed(&self, phase: Phase) -> Result<Vec<InstalledEntry>, InstallError> {
        #[derive(Deserialize)]
        struct Document {
            version: u32,
            plan: Part,
        }
        #[derive(Deserialize)]
        struct Part {
            installed: Vec<InstalledEntry>,
        }
        let path = self.path.join(phase.file());
        let document: Document = read_json(&path)?;
        check_version(document.version, path)?;
        Ok(document.plan.installed)
    }

    /// Makes the directory and the empty files. They are on disk once the caller has synchronised the file system.
    pub fn prepare(&self) -> Result<(), InstallError> {
        if self.phase()?.is_some() {
            return Ok(());
        }
        if let Err(source) = create_private_directory(&self.path)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(failed("create", &self.path, source));
        }
        for name in [STAGED, PLACES, Phase::Staging.file()] {
            let path = self.path.join(name);
            File::create(&path).map_err(|source| failed("write", &path, source))?;
        }
        Ok(())
    }

    /// Begins a run: the record is on disk, in phase staging, when this returns.
    pub fn begin(&self, record: &Record<'_>, steps: &impl Steps) -> Result<(), InstallError> {
        steps.before(Step::Record)?;
        let prepared = self.path.join(Phase::Staging.file());
        if prepared.try_exists().map_err(|source| failed("read", &prepared, source))? {
            return self.write_record(&prepared, record, steps);
        }
        self.make_directory(steps)?;
        let new = self.path.join(NEW);
        self.write_record(&new, record, steps)?;
        self.publish(&new, steps).inspect_err(|_| drop(std::fs::remove_file(&new)))
    }

    fn write_record(&self, path: &Path, record: &Record<'_>, steps: &impl Steps) -> Result<(), InstallError> {
        let written = write_json(path, record);
        let synced = written.and_then(|file| steps.sync(&file).map_err(|source| failed("write", path, source)));
        synced.inspect_err(|_| {
            // A failed write must not hold the space that the next try needs.
            let _ = File::create(path);
        })
    }

    fn make_directory(&self, steps: &impl Steps) -> Result<(), InstallError> {
        match create_private_directory(&self.path) {
            // The process that made it may have been killed before it was on disk.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|source| failed("create", &self.path, source))?,
        }
        // If the journal's directory is not on disk, there is no journal.
        sync_directory(self.path.parent().unwrap_or(&self.path), steps)
    }

    fn publish(&self, new: &Path, steps: &impl Steps) -> Result<(), InstallError> {
        let undone = self.path.join(Phase::Undone.file());
        match std::fs::remove_file(&undone) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed("write", &undone, source)),
            _ => {}
        }
        // Its name is on disk with the record's name; later only its content has to follow.
        for name in [STAGED, PLACES] {
            let path = self.path.join(name);
            File::create(&path).map_err(|source| failed("write", &path, source))?;
        }
        let staging = self.path.join(Phase::Staging.file());
        steps.before(Step::Mark(Phase::Staging))?;
        std::fs::rename(new, &staging).map_err(|source| failed("write", &staging, source))?;
        self.sync(steps)
    }

    pub fn mark(&self, from: Phase, to: Phase, steps: &impl Steps) -> Result<(), InstallError> {
        self.mark_unsynced(from, to, steps)?;
        self.sync(steps)
    }

    /// Marks a phase that means no more than the one before: after a power loss, recovery may find either.
    pub fn mark_unsynced(&self, from: Phase, to: Phase, steps: &impl Steps) -> Result<(), InstallError> {
        steps.before(Step::Mark(to))?;
        let (from, to) = (self.path.join(from.file()), self.path.join(to.file()));
        std::fs::rename(&from, &to).map_err(|source| failed("mark", &to, source))
    }

    /// Not on disk yet when this returns: [`sync_staged`](Self::sync_staged) or a sync of the whole file system does
    /// that.
    pub fn write_staged(&self, staged: &[Staged], steps: &impl Steps) -> Result<(), InstallError> {
        steps.before(Step::Staged)?;
        write_json(&self.path.join(STAGED), &staged).map(drop)
    }

    /// Writes down in which directories the Install works. If no sync of a file system covers the note, the Install
    /// does not wait for it: without the note the directories are known by name, as for earlier versions.
    pub fn write_places(&self, places: &[Place]) -> Result<(), InstallError> {
        write_json(&self.path.join(PLACES), &places).map(drop)
    }

    /// The marks by which an undone Install knows its own directories. None for an Install of an earlier version, which
    /// noted none, and none if a power loss took the note away.
    pub fn guard(&self, record: &Record<'_>, phase: Phase) -> Result<Option<Guard>, InstallError> {
        let noted = self.path.join(PLACES);
        if !noted.try_exists().map_err(|source| failed("read", &noted, source))? {
            return Ok(None);
        }
        let document = self.path.join(phase.file());
        let written = std::fs::metadata(&document).map_err(|source| failed("read", &document, source))?;
        let began = (written.mtime(), u32::try_from(written.mtime_nsec()).unwrap_or(0));
        let mut places = record.plan.entered.clone();
        match self.read_places()? {
            Some(noted) => places.extend(noted),
            None if phase != Phase::Staging => return Ok(None),
            None => {}
        }
        Ok(Some(Guard::new(places, Some(began))))
    }

    /// The directories in which the Install worked, ordered by path; `None` if the list was not written.
    pub fn read_places(&self) -> Result<Option<Vec<Place>>, InstallError> {
        let path = self.path.join(PLACES);
        if !path.try_exists().map_err(|source| failed("read", &path, source))? {
            return Ok(None);
        }
        read_json_if_whole(&path)
    }

    /// Makes the list and the newest mark durable if no sync of a file system covers them.
    pub fn sync_staged(&self, steps: &impl Steps) -> Result<(), InstallError> {
        let path = self.path.join(STAGED);
        let synced = File::open(&path).and_then(|file| steps.sync(&file));
        synced.map_err(|source| failed("synchronise", &path, source))?;
        self.sync(steps)
    }

    /// The file system that the journal is on.
    pub fn device(&self) -> Result<u64, InstallError> {
        let found = std::fs::metadata(&self.path).map(|directory| directory.dev());
        found.map_err(|source| failed("read", &self.path, source))
    }

    /// The list, ordered by action, if it is whole.
    pub fn read_staged(&self, record: &Record<'_>) -> Result<Option<Vec<Staged>>, InstallError> {
        let path = self.path.join(STAGED);
        if !record.backups_are_beside() {
            return read_json_if_whole(&path);
        }
        let inodes: Option<Vec<u64>> = read_json_if_whole(&path)?;
        let staged = |(action, inode)| Staged { action, inode, content: None };
        Ok(inodes.map(|inodes| inodes.into_iter().enumerate().map(staged).collect()))
    }

    pub(super) fn sync(&self, steps: &impl Steps) -> Result<(), InstallError> {
        sync_directory(&self.path, steps)
    }
}

/// A journal names every file of a bundle and every user and list that it sets: only the agent's own user may read it.
fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn check_version(version: u32, path: PathBuf) -> Result<(), InstallError> {
    if (BESIDE..=VERSION).contains(&version) {
        return Ok(());
    }
    let problem = format!("has version {version}, and this hostler knows the versions {BESIDE} to {VERSION}");
    Err(InstallError::JournalContent { path, problem })
}

fn sync_directory(path: &Path, steps: &impl Steps) -> Result<(), InstallError> {
    let synced = File::open(path).and_then(|directory| steps.sync(&directory));
    synced.map_err(|source| failed("synchronise", path, source))
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> InstallError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => InstallError::NoSpace { path, source },
        _ => InstallError::Journal { what, path, source },
    }
}

/// Up to so many bytes a document is read as a whole: it is read several times in each deployment, and that takes a
/// third of the time. Larger ones stream, as all are written: half a million entries are not held in memory a second
/// time.
const READ_AS_A_WHOLE: u64 = 4 << 20;

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, InstallError> {
    parse_json(path)?.map_err(|error| InstallError::JournalContent {
        path: path.to_owned(),
        problem: format!("is damaged: {error}"),
    })
}

pub(super) fn read_json_if_whole<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, InstallError> {
    Ok(parse_json(path)?.ok())
}

fn parse_json<T: DeserializeOwned>(path: &Path) -> Result<serde_json::Result<T>, InstallError> {
    let cannot_read = |source: io::Error| failed("read", path, source);
    let mut file = File::open(path).map_err(cannot_read)?;
    if file.metadata().map_err(cannot_read)?.len() <= READ_AS_A_WHOLE {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot_read)?;
        return Ok(serde_json::from_slice(&bytes));
    }
    match serde_json::from_reader(BufReader::new(file)) {
        Err(error) if error.is_io() => Err(cannot_read(error.into())),
        parsed => Ok(parsed),
    }
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<File, InstallError> {
    let write = || {
        let mut writer = BufWriter::with_capacity(1 << 16, File::create(path)?);
        serde_json::to_writer(&mut writer, value)?;
        Ok(writer.into_inner()?)
    };
    write().map_err(|source: io::Error| failed("write", path, source))
}
