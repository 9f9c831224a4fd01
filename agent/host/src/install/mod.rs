//! Carries out a plan as one transaction: afterwards the host is as planned or as it was, never between.
//!
//! ```text
//! write the journal   the plan, and all that undoing needs; fsync          phase staging
//! stage               everything new under temporary names, a link to each old file, a list of what is new
//!                                                                          phase swapping
//! syncfs              the new content, the backups, the list and the mark
//! swap                one rename for each action
//! syncfs                                                                   phase installed
//! commit              the backups are deleted                              phase committed
//! undo                swaps taken back, staged things deleted              phases undoing, staging, undone
//! ```
//!
//! There are three syncs if journal and destinations are on one file system, and each is needed. Without the first a
//! power loss leaves staged files that no journal names; without the second, new names with old or no content; without
//! the third, a mixture of old and new names. The mark `installed` has no sync of its own. The caller records in a
//! ledger that the Install stands, which is only possible after the third sync, and says so after a start
//! ([`confirm`]): then a mark that a power loss took away is made again. Without that call the Install is undone.
//!
//! An existing target gets a further link outside of the destinations (`backups`), and the new file takes its name by a
//! rename over it: the name is never missing, a program that runs from the old file is still found by the path, and the
//! backup is the same inode. A new directory is staged with all its contents and takes effect by one rename. A
//! directory is removed by a rename to the backups. All names are made of the deployment's id and the action's number:
//! recovery finds everything by the plan alone, and no step needs a record of its own. Once an Install has ended, well
//! or not, none of these names is below a destination.
//!
//! The Install follows only the links that the plan names, and resolves each once (`places`), even if a user swaps
//! directories for links meanwhile. One run at a time: the caller holds the lock.

mod backups;
mod clean;
mod copy;
mod error;
mod journal;
mod layout;
mod lock;
mod mounts;
mod notes;
mod outcome;
mod places;
mod restore;
mod saved;
mod stage;
mod steps;
mod survey;
mod swap;
mod ways;

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hostler_core::ids::DeploymentId;
use hostler_core::plan::actions::{Action, InstalledEntry, Plan};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use backups::{Backups, Place};
use error::host;
pub use error::{InstallError, left_text};
use journal::{DirectoryRecord, Journal, Phase, Record};
use layout::{Layout, place};
pub use lock::InstallLock;
pub use mounts::LostMount;
use mounts::Noted;
use outcome::undo_from;
pub use outcome::{
    commit, confirm, give_up, installed, installed_places, left_behind, lost_mounts, settle, state, undo,
};
use places::{Anchors, FileSystems};
use steps::{RealSyscalls, Step, Steps};
use ways::Guard;

use crate::perms::{self, Names};

/// One Install.
#[derive(Debug, Clone, Copy)]
pub struct InstallRequest<'a> {
    /// The deployment it belongs to; part of all temporary names.
    pub deployment: &'a DeploymentId,
    /// The top of the unpacked bundle, which no other user may write to.
    pub archive: &'a Path,
    /// The prefix of the plan's paths; `/` on a running host.
    pub root: &'a Path,
    /// The journal's directory, used by this deployment only, as [`prepare`] made it. It is made if it is missing; its
    /// parent exists.
    pub journal: &'a Path,
    /// The symbolic links to directories that the plan follows in the way to its paths. They are resolved once, at the
    /// start; every other link is refused.
    pub links: &'a [PathBuf],
    /// The directories that the application consists of, as the plan names them. The backups lie outside of them, and
    /// of every directory in which the plan replaces or removes a file.
    pub destinations: &'a [PathBuf],
    /// The plan.
    pub plan: &'a Plan,
}

/// A successful Install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The entries that the deployment group owns now, ordered by path.
    pub entries: Vec<InstalledEntry>,
    /// Whether the journal already said so, and nothing was done.
    pub already: bool,
}

/// A file that differs from the result of an undo or commit, because it is not ours to touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The path.
    pub path: PathBuf,
    /// The file that is there, and the reason.
    pub why: String,
}

impl Left {
    fn new(path: &Path, why: &str) -> Self {
        Self { path: path.to_owned(), why: why.to_owned() }
    }
}

/// An Install that was undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Files that could not be put back; empty unless another program interfered.
    pub left: Vec<Left>,
}

/// An Install whose backups are deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Backups that were not deleted; empty unless another program interfered.
    pub left: Vec<Left>,
}

/// The end to which [`settle`] brought a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// There was no Install.
    None,
    /// The old state is in place.
    Undone(Undone),
    /// The new state is in place, and can be undone.
    Installed,
    /// The new state is in place.
    Committed(Committed),
}

/// The state of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// No Install began.
    None,
    /// An Install or an undo was interrupted: [`settle`] is needed.
    Open,
    /// The new state is in place; the backups are kept.
    Installed,
    /// The new state is in place for good; not all backups are deleted yet.
    Committing,
    /// The new state is in place for good.
    Committed,
    /// The old state is in place.
    Undone,
}

/// Everything that one pass over a plan needs.
struct Work<'a, S> {
    layout: Layout<'a>,
    anchors: &'a Anchors,
    /// The existing directories that the plan works in.
    known: &'a [DirectoryRecord],
    backups: &'a Backups,
    place: Place,
    names: Names,
    steps: &'a S,
}

impl<S> Work<'_, S> {
    /// The record of an existing directory.
    fn recorded(&self, path: &Path) -> Option<&DirectoryRecord> {
        let found = self.known.binary_search_by(|known| known.path.as_path().cmp(path));
        found.ok().and_then(|at| self.known.get(at))
    }

    /// The number of the directory for the backup of this path.
    fn backups_number(&self, path: &Path) -> Option<usize> {
        self.recorded(place(path).0)?.backups
    }

    /// The directory for the backup of this path, if it exists.
    fn backups_of(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        self.backups.get(self.backups_number(path))
    }
}

/// Whether an action leaves a backup when it has taken effect.
fn leaves_backup(action: &Action) -> bool {
    matches!(
        action,
        Action::Remove { .. } | Action::PutFile { replaces: true, .. } | Action::PutLink { replaces: true, .. }
    )
}

/// Makes the journal's directory (its parent exists) for a coming Install. It is on disk once the caller has
/// synchronised its file system; until then [`run`] must not be called. Does nothing if an Install began.
///
/// # Errors
/// The directory or the files in it cannot be made.
pub fn prepare(journal: &Path) -> Result<(), InstallError> {
    Journal::at(journal).prepare()
}

/// Carries out the plan, or leaves the host as it was. When this returns, the new state is on disk. After a power loss
/// the Install stands only if the caller has persisted that by then, and [`confirm`]s it.
///
/// If the journal says that this deployment is installed, nothing is done. An interrupted run is undone first.
///
/// # Errors
/// The host differs from the plan, a file system is full, a permission is refused …; all of it undone, except after
/// [`InstallError::NotUndone`], whose journal stays open for [`settle`], and for the files that
/// [`InstallError::UndoneBut`] names.
pub fn run(request: &InstallRequest<'_>) -> Result<Installed, InstallError> {
    run_with(request, &RealSyscalls)
}

fn run_with<S: Steps>(request: &InstallRequest<'_>, steps: &S) -> Result<Installed, InstallError> {
    let journal = Journal::at(request.journal);
    if let Some(phase) = journal.phase()? {
        let record = journal.read(phase)?;
        if record.deployment != *request.deployment {
            let (path, found, wanted) = (journal.path().to_owned(), record.deployment, request.deployment.clone());
            return Err(InstallError::OtherDeployment { path, found, wanted });
        }
        match phase {
            Phase::Installed | Phase::Committing | Phase::Committed => {
                return Ok(Installed { entries: record.plan.into_owned().installed, already: true });
            }
            Phase::Staging | Phase::Swapping | Phase::Undoing => drop(undo_from(&journal, phase, steps)?),
            Phase::Undone => {}
        }
    }
    match attempt(request, &journal, Place::Outside, steps) {
        Err(InstallError::BackupElsewhere { .. }) => attempt(request, &journal, Place::Inside, steps),
        done => done,
    }
}

fn attempt<S: Steps>(
    request: &InstallRequest<'_>,
    journal: &Journal,
    place: Place,
    steps: &S,
) -> Result<Installed, InstallError> {
    match forward(request, journal, place, steps) {
        Ok(()) => Ok(Installed { entries: request.plan.installed.clone(), already: false }),
        #[cfg(test)]
        Err(InstallError::Killed) => Err(InstallError::Killed),
        Err(cause) => Err(undo_after(cause, journal, steps)),
    }
}

fn undo_after<S: Steps>(cause: InstallError, journal: &Journal, steps: &S) -> InstallError {
    let undone = journal.phase().and_then(|phase| match phase {
        Some(phase @ (Phase::Staging | Phase::Swapping)) => undo_from(journal, phase, steps),
        _ => Ok(Undone::default()),
    });
    match undone {
        Ok(Undone { left }) if left.is_empty() => cause,
        Ok(Undone { left }) => InstallError::UndoneBut { cause: Box::new(cause), left },
        Err(source) => InstallError::NotUndone { cause: Box::new(cause), source: Box::new(source) },
    }
}

fn forward<S: Steps>(
    request: &InstallRequest<'_>,
    journal: &Journal,
    place: Place,
    steps: &S,
) -> Result<(), InstallError> {
    let mut record = Record::new(request.deployment.clone(), request.plan);
    let layout = Layout::new(request.deployment, request.plan);
    let mut noted = Noted::new();
    let mut anchors = Anchors::resolve(request.root, request.links, &request.plan.entered, &mut noted)?;
    let mut file_systems = FileSystems::default();
    record.anchors = anchors.records();
    let found = survey::record_directories(request, place, &layout, &anchors, &mut file_systems, &mut noted)?;
    (record.directories, record.backups) = (found.directories, found.backups);
    record.file_systems = noted.records;
    let (places, users) = ways::existing(request.plan, request.destinations, &record.directories, &anchors);
    if users || found.by_users {
        anchors.guarded_by(Guard::new(request.plan.entered.clone(), None));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let archive = rustix::fs::open(request.archive, flags, Mode::empty()).map_err(host("open", request.archive))?;
    journal.begin(&record, steps)?;

    let backups = Backups::make(&record.backups, steps)?;
    let (known, names) = (&record.directories, Names::default());
    let work = Work { layout, anchors: &anchors, known, backups: &backups, place, names, steps };
    let (staged, made) = stage::stage(&work, &archive)?;
    journal.write_staged(&staged, steps)?;
    journal.write_places(&ways::all(places, made, request.destinations))?;
    journal.mark_unsynced(Phase::Staging, Phase::Swapping, steps)?;
    steps.before(Step::Sync)?;
    file_systems.sync(steps)?;
    if !file_systems.have(journal.device()?) {
        journal.sync_staged(steps)?;
    }

    swap::swap(&work)?;
    if request.root == Path::new("/") {
        restore_contexts(request.plan);
    }
    steps.before(Step::Sync)?;
    file_systems.sync(steps)?;
    // The caller's ledger makes it durable.
    journal.mark_unsynced(Phase::Swapping, Phase::Installed, steps)
}

/// Sets the policy's SELinux context on files that got none from the appspec, if the host has SELinux and its tools.
fn restore_contexts(plan: &Plan) {
    let tool = ["/usr/sbin/restorecon", "/sbin/restorecon"].into_iter().find(|path| Path::new(path).exists());
    let Some(tool) = tool.filter(|_| perms::selinux_is_on()) else { return };
    let mut list = Vec::new();
    for action in &plan.actions {
        match action {
            Action::MakeDirectory { path, attributes }
            | Action::PutFile { path, attributes, .. }
            | Action::PutLink { path, attributes, .. }
                if attributes.context.is_none() =>
            {
                list.extend_from_slice(path.as_os_str().as_bytes());
                list.push(0);
            }
            _ => {}
        }
    }
    let label = || {
        let mut child =
            Command::new(tool).args(["-i", "-0", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&list));
        let status = child.wait()?;
        written?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("{tool}: {status}"))) }
    };
    if let Err(error) = label() {
        // The files are in place and readable by the user that made them; a label can be set again by hand.
        log::warn!(error:%; "could not restore SELinux contexts of installed files: {error}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
