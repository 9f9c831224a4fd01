//! The files of groups on this host, from the journals of their Installs.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::Group;
use hostler_core::plan::actions::InstalledEntry;
use hostler_core::plan::{HostFacts, LastPlaces, Problem, ProblemCode, Wanted};
use hostler_host::install::{self, InstallError, JournalState};

use crate::failure::chain;
use crate::ports::Installs;
use crate::setup::Setup;
use crate::work::ports::Ports;

/// A journal's name carries its phase, and may change between two reads while another group's deployment runs.
const LOOKS: usize = 3;

/// The result of a group's last Install on this host.
#[derive(Debug, Clone, Default)]
pub struct LastInstall {
    /// The entries that the group owns.
    pub entries: Vec<InstalledEntry>,
    /// The directories in which it worked.
    pub places: LastPlaces,
}

/// The result of the group's last Install on this host; `None` for a group that was not installed.
///
/// # Errors
/// When its journal cannot be read.
pub fn last_install(setup: &Setup, ports: &dyn Ports, group: &Group) -> Result<Option<LastInstall>, String> {
    let Some(Found { entries, journal }) = find(setup, ports, &Installs::last_of(group)).map_err(Unknown::into_text)?
    else {
        return Ok(None);
    };
    let places = journal.map_or(Ok(LastPlaces::Unknown), |journal| install::installed_places(&journal));
    Ok(Some(LastInstall { entries, places: places.map_err(|e| chain(&e))? }))
}

/// The deployment whose Install is on this host, and its journal; after an undone Install those of the one before.
///
/// # Errors
/// When a journal cannot be examined.
pub fn standing_journal(setup: &Setup, group: &Group) -> Result<Option<(DeploymentId, PathBuf)>, String> {
    for deployment in Installs::last_of(group).deployments {
        let journal = setup.layout.deployment(&group.key, &deployment).journal();
        match install::state(&journal).map_err(|e| chain(&e))? {
            JournalState::Installed | JournalState::Committing | JournalState::Committed => {
                return Ok(Some((deployment, journal)));
            }
            JournalState::None | JournalState::Open | JournalState::Undone => {}
        }
    }
    Ok(None)
}

/// Why a group's files on this host are unknown.
enum Unknown {
    /// Its journal is damaged, and another try would not help.
    Damaged(String),
    /// Reading it failed this time.
    Unreadable(String),
}

impl Unknown {
    fn into_text(self) -> String {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => text,
        }
    }
}

/// The entries of an Install and its journal; the Installs of other agents have no journal.
struct Found {
    entries: Vec<InstalledEntry>,
    journal: Option<PathBuf>,
}

fn find(setup: &Setup, ports: &dyn Ports, installs: &Installs) -> Result<Option<Found>, Unknown> {
    let ours = find_ours(setup, installs).map_err(|error| match error {
        InstallError::JournalContent { .. } => Unknown::Damaged(chain(&error)),
        error => Unknown::Unreadable(chain(&error)),
    })?;
    let (entries, journal) = ours.map_or((None, None), |found| (Some(found.entries), found.journal));
    let found = ports.compatibility(&installs.key).last_install(setup, &installs.key, entries);
    let last = found.map_err(Unknown::Unreadable)?;
    Ok(last.map(|last| Found { entries: last.entries, journal: journal.filter(|_| last.ours) }))
}

fn find_ours(setup: &Setup, installs: &Installs) -> Result<Option<Found>, InstallError> {
    for deployment in &installs.deployments {
        let journal = setup.layout.deployment(&installs.key, deployment).journal();
        let mut looks = 0;
        let found = loop {
            looks += 1;
            let read = match install::state(&journal)? {
                JournalState::Installed | JournalState::Committing | JournalState::Committed => {
                    install::installed(&journal).map(Some)
                }
                JournalState::None | JournalState::Open | JournalState::Undone => Ok(None),
            };
            match read {
                Err(error) if looks < LOOKS && went_on(&error) => {}
                read => break read?,
            }
        };
        if let Some(entries) = found {
            return Ok(Some(Found { entries, journal: Some(journal) }));
        }
    }
    Ok(None)
}

fn went_on(error: &InstallError) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    matches!(error, InstallError::State { .. }) || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

/// Notes in the facts of a plan which files the other groups own, one group at a time. A damaged journal leads to a
/// warning: it must not block the other groups.
///
/// # Errors
/// A journal that cannot be read this time: files of its group could be removed.
pub fn note_others(
    setup: &Setup,
    ports: &dyn Ports,
    others: &[Installs],
    wanted: &Wanted,
    facts: &mut HostFacts,
) -> Result<Vec<Problem>, Problem> {
    let mut warnings = Vec::new();
    for other in others {
        match find(setup, ports, other) {
            Ok(found) => {
                let (entries, journal) = found.map(|found| (found.entries, found.journal)).unwrap_or_default();
                facts.note_group(wanted, &other.key, entries);
                // Places that cannot be read count as unknown, which the plan reports for each way.
                let journal = journal.filter(|_| !facts.unsafe_steps.is_empty());
                let places = journal.and_then(|journal| install::installed_places(&journal).ok());
                places.iter().for_each(|places| facts.note_places(places));
            }
            Err(Unknown::Damaged(text)) => {
                warnings.push(unknown(&other.key, &text, "files of that group may be removed"))
            }
            Err(Unknown::Unreadable(text)) => {
                return Err(unknown(&other.key, &text, "deploy again once its journal can be read"));
            }
        }
    }
    Ok(warnings)
}

fn unknown(group: &GroupKey, text: &str, hint: &str) -> Problem {
    let code = ProblemCode::CannotLook;
    let message = format!("it is not known which files the deployment group {group} owns: {text}");
    Problem { code, fact: code.fact(), message, hint: hint.to_owned(), path: None, at: None }
}
