//! The end of an Install that has begun: it is undone, confirmed or committed, also after a crash.

use std::path::{Path, PathBuf};

use hostler_core::plan::LastPlaces;
use hostler_core::plan::actions::InstalledEntry;

use super::backups::{self, Backups, Place};
use super::clean;
use super::error::InstallError;
use super::journal::{Journal, Phase, Record};
use super::layout::Layout;
use super::mounts::{LostMount, Reach};
use super::places::{Anchors, Directories, FileSystems, check_reach};
use super::restore::{self, Extent};
use super::steps::{RealSyscalls, Step, Steps};
use super::{Committed, JournalState, Left, Settled, Undone, Work, leaves_backup};
use crate::perms::Names;

/// Undoes an interrupted or finished run from the phase that its journal is in.
pub(super) fn undo_from<S: Steps>(journal: &Journal, mut phase: Phase, steps: &S) -> Result<Undone, InstallError> {
    let mut record = journal.read(phase)?;
    let mut anchors = reach(journal, &mut record)?;
    if let Some(guard) = journal.guard(&record, phase)? {
        anchors.guarded_by(guard);
    }
    // If the root is another directory now, this is another image: only an operator can say what became of this
    // Install.
    if let Some(root) = record.anchors.iter().find(|anchor| anchor.path == Path::new("/") && !anchors.has(anchor))
        && !journal.is_given_up()?
        && root.real.exists()
    {
        return Err(InstallError::Moved { path: root.real.clone() });
    }
    let layout = Layout::new(&record.deployment, &record.plan);
    let backups = Backups::reopen(&record)?;
    let work = work(&record, layout, &anchors, &backups, steps);
    let file_systems = touched(&record, &anchors, &backups)?;
    if matches!(phase, Phase::Installed | Phase::Undoing) {
        let gone = backups.missing(&record);
        let why = "it is gone, and with it the replaced files that it held";
        let gone: Vec<Left> = gone.map(|path| Left::new(&path, why)).collect();
        journal.add_left(&gone, steps)?;
    }
    if phase == Phase::Installed {
        journal.mark(phase, Phase::Undoing, steps)?;
        phase = Phase::Undoing;
    }
    if phase != Phase::Staging {
        if let Some(staged) = journal.read_staged(&record)? {
            let extent = if phase == Phase::Undoing { Extent::Wholly } else { Extent::Partly };
            let left = restore::take_back(&work, &record, &staged, extent)?;
            journal.add_left(&left, steps)?;
            steps.before(Step::Sync)?;
            file_systems.sync(steps)?;
        }
        journal.mark(phase, Phase::Staging, steps)?;
    }
    clean::delete_staged(&work)?;
    clean::close(&work, &record.directories)?;
    steps.before(Step::Sync)?;
    file_systems.sync(steps)?;
    journal.mark(Phase::Staging, Phase::Undone, steps)?;
    Ok(Undone { left: journal.read_left()? })
}

/// Opens the anchors of an earlier run again, and checks that each of its directories can be reached, or is gone.
fn reach(journal: &Journal, record: &mut Record<'_>) -> Result<Anchors, InstallError> {
    let reach = Reach::new(std::mem::take(&mut record.file_systems), journal.is_given_up()?);
    let anchors = Anchors::reopen(&record.anchors, &reach)?;
    check_reach(&mut record.directories, &anchors, &reach)?;
    Ok(anchors)
}

fn commit_from<S: Steps>(journal: &Journal, phase: Phase, steps: &S) -> Result<Committed, InstallError> {
    let mut record = journal.read(phase)?;
    if phase == Phase::Installed {
        if !record.plan.actions.iter().any(leaves_backup) {
            // Both say that the new state is in place, and there is nothing to delete.
            journal.mark_unsynced(phase, Phase::Committed, steps)?;
            return Ok(Committed::default());
        }
        journal.mark(phase, Phase::Committing, steps)?;
    }
    let anchors = reach(journal, &mut record)?;
    let layout = Layout::new(&record.deployment, &record.plan);
    let mut left = Vec::new();
    let backups = match Backups::reopen(&record) {
        // The backups are gone, and nothing else needs deleting.
        Err(InstallError::Moved { path }) => {
            left.push(Left::new(&path, "it is another directory now, which stays"));
            Backups::default()
        }
        opened => opened?,
    };
    let work = work(&record, layout, &anchors, &backups, steps);
    let file_systems = touched(&record, &anchors, &backups)?;
    left.extend(clean::delete_backups(&work, record.backups_are_beside())?);
    // If the directory is gone, its backups are out of reach, which must not hold up the next release.
    let gone = record.anchors.iter().filter(|anchor| !anchors.has(anchor));
    left.extend(gone.map(|anchor| Left::new(&anchor.real, "it is another directory now, or gone: so are its backups")));
    steps.before(Step::Sync)?;
    file_systems.sync(steps)?;
    // Both say that there is no way back, and the deletions are on disk.
    journal.mark_unsynced(Phase::Committing, Phase::Committed, steps)?;
    Ok(Committed { left })
}

fn work<'a, S: Steps>(
    record: &'a Record<'_>,
    layout: Layout<'a>,
    anchors: &'a Anchors,
    backups: &'a Backups,
    steps: &'a S,
) -> Work<'a, S> {
    let (known, names) = (&record.directories, Names::default());
    Work { layout, anchors, known, backups, place: Place::Outside, names, steps }
}

fn touched(record: &Record<'_>, anchors: &Anchors, backups: &Backups) -> Result<FileSystems, InstallError> {
    let directories = Directories::new(anchors, &record.directories);
    let mut file_systems = FileSystems::default();
    for directory in &record.directories {
        // A directory that cannot be reached any more is not written to either.
        if let Ok(Some(open)) = directories.find(&directory.path) {
            file_systems.add(&directory.path, &open)?;
        }
    }
    for (path, open) in backups.all() {
        file_systems.add(path, open)?;
    }
    Ok(file_systems)
}

/// Puts everything back as it was before [`super::run`]: content, mode, owner, attributes, times, the very inodes.
/// Idempotent.
///
/// # Errors
/// There is no Install or it is committed; or the host refuses, and the journal stays open for another try.
pub fn undo(journal: &Path) -> Result<Undone, InstallError> {
    undo_with(journal, &RealSyscalls)
}

pub(super) fn undo_with<S: Steps>(journal: &Path, steps: &S) -> Result<Undone, InstallError> {
    let journal = Journal::at(journal);
    match journal.phase()? {
        Some(phase @ (Phase::Staging | Phase::Swapping | Phase::Installed | Phase::Undoing)) => {
            undo_from(&journal, phase, steps)
        }
        Some(Phase::Undone) => Ok(Undone { left: journal.read_left()? }),
        Some(Phase::Committing | Phase::Committed) => {
            Err(refused(&journal, "is committed: its backups are deleted, so that only another deployment leads back"))
        }
        None => Err(refused(&journal, "does not exist: there is nothing to undo")),
    }
}

/// Deletes the backups: the deployment succeeded. Idempotent.
///
/// # Errors
/// The Install is not in place; or the host refuses, and another try goes on where this one stopped.
pub fn commit(journal: &Path) -> Result<Committed, InstallError> {
    commit_with(journal, &RealSyscalls)
}

pub(super) fn commit_with<S: Steps>(journal: &Path, steps: &S) -> Result<Committed, InstallError> {
    let journal = Journal::at(journal);
    match journal.phase()? {
        Some(phase @ (Phase::Installed | Phase::Committing)) => commit_from(&journal, phase, steps),
        Some(Phase::Committed) => Ok(Committed::default()),
        Some(Phase::Staging | Phase::Swapping | Phase::Undoing) => {
            Err(refused(&journal, "is open: settle it before it is committed"))
        }
        Some(Phase::Undone) => Err(refused(&journal, "is undone: there is nothing to commit")),
        None => Err(refused(&journal, "does not exist: there is nothing to commit")),
    }
}

/// Brings an interrupted Install, undo or commit to its end. For the start of the agent and the host. Idempotent, and
/// may itself be interrupted any number of times.
///
/// # Errors
/// The host refuses; the journal stays as it is for another try.
pub fn settle(journal: &Path) -> Result<Settled, InstallError> {
    settle_with(journal, &RealSyscalls)
}

pub(super) fn settle_with<S: Steps>(journal: &Path, steps: &S) -> Result<Settled, InstallError> {
    let journal = Journal::at(journal);
    Ok(match journal.phase()? {
        None => Settled::None,
        Some(phase @ (Phase::Staging | Phase::Swapping | Phase::Undoing)) => {
            Settled::Undone(undo_from(&journal, phase, steps)?)
        }
        Some(Phase::Undone) => Settled::Undone(Undone { left: journal.read_left()? }),
        Some(Phase::Installed) => Settled::Installed,
        Some(phase @ Phase::Committing) => Settled::Committed(commit_from(&journal, phase, steps)?),
        Some(Phase::Committed) => Settled::Committed(Committed::default()),
    })
}

/// Marks an Install as one that stands, if a power loss took the mark away. An agent calls it at its start, if its
/// ledger says that [`super::run`] succeeded, before any other call on the journal. Idempotent; leaves an interrupted
/// undo or commit alone.
///
/// # Errors
/// The journal cannot be read or marked.
pub fn confirm(journal: &Path) -> Result<(), InstallError> {
    confirm_with(journal, &RealSyscalls)
}

pub(super) fn confirm_with<S: Steps>(journal: &Path, steps: &S) -> Result<(), InstallError> {
    let journal = Journal::at(journal);
    match journal.phase()? {
        Some(phase @ Phase::Swapping) => journal.mark(phase, Phase::Installed, steps),
        _ => Ok(()),
    }
}

/// Gives up unreachable files: an open Install counts as undone, whatever is on the host; for an Install that stands,
/// file systems that are not mounted count as gone. For operators who know that the files are lost.
///
/// # Errors
/// There is no Install, or nothing to give up; or the journal cannot be written.
pub fn give_up(journal: &Path) -> Result<(), InstallError> {
    let (journal, steps) = (Journal::at(journal), &RealSyscalls);
    match journal.phase()? {
        Some(phase @ (Phase::Staging | Phase::Swapping | Phase::Undoing)) => {
            let why = "its undoing was given up by hand: old and new files may be side by side, and names that begin \
                       with .hostler- may be left";
            journal.add_left(&[Left::new(journal.path(), why)], steps)?;
            journal.mark(phase, Phase::Undone, steps)
        }
        Some(Phase::Installed | Phase::Committing | Phase::Committed) => journal.give_up(steps),
        Some(Phase::Undone) => Err(refused(&journal, "is undone: there is nothing to give up")),
        None => Err(refused(&journal, "does not exist: there is nothing to give up")),
    }
}

/// The file systems of a successful Install that are not mounted any more.
///
/// # Errors
/// The journal cannot be read.
pub fn lost_mounts(journal: &Path) -> Result<Vec<LostMount>, InstallError> {
    let journal = Journal::at(journal);
    match journal.phase()? {
        Some(phase @ (Phase::Installed | Phase::Committing | Phase::Committed)) => journal.lost_mounts(phase),
        _ => Ok(Vec::new()),
    }
}

/// The journal's state, without touching anything.
///
/// # Errors
/// The journal's directory cannot be read.
pub fn state(journal: &Path) -> Result<JournalState, InstallError> {
    Ok(match Journal::at(journal).phase()? {
        None => JournalState::None,
        Some(Phase::Staging | Phase::Swapping | Phase::Undoing) => JournalState::Open,
        Some(Phase::Installed) => JournalState::Installed,
        Some(Phase::Committing) => JournalState::Committing,
        Some(Phase::Committed) => JournalState::Committed,
        Some(Phase::Undone) => JournalState::Undone,
    })
}

/// The directories in a journal's directory with old files that no journal needs any more: an undo could not put them
/// back, or a commit could not delete them. They must survive the end of the journal.
pub fn left_behind(journal: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(journal).into_iter().flatten().flatten();
    let ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(backups::NAME.as_bytes());
    let mut found: Vec<PathBuf> = entries.filter(|entry| ours(&entry.file_name())).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The entries that the deployment group owns by a successful Install, ordered by path.
///
/// # Errors
/// The Install does not stand, or its journal cannot be read.
pub fn installed(journal: &Path) -> Result<Vec<InstalledEntry>, InstallError> {
    let journal = Journal::at(journal);
    match journal.phase()? {
        Some(phase @ (Phase::Installed | Phase::Committing | Phase::Committed)) => journal.read_installed(phase),
        _ => Err(refused(&journal, "holds no finished install")),
    }
}

/// The directories in which a successful Install worked.
///
/// # Errors
/// Its journal cannot be read.
pub fn installed_places(journal: &Path) -> Result<LastPlaces, InstallError> {
    Ok(Journal::at(journal).read_places()?.map_or(LastPlaces::NotNoted, LastPlaces::Noted))
}

fn refused(journal: &Journal, problem: &'static str) -> InstallError {
    InstallError::State { path: journal.path().to_owned(), problem }
}
