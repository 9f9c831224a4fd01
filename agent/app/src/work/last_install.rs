//! What groups have on this host, by the journals of their Installs.

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
use crate::work::codedeploy_records;

/// A journal's name carries its phase, and may change between two looks at it: another group's deployment goes on.
const LOOKS: usize = 3;

/// What the last Install of a group put on this host.
#[derive(Debug, Clone, Default)]
pub struct LastInstall {
    /// What the group owns.
    pub entries: Vec<InstalledEntry>,
    /// In which directories it worked.
    pub places: LastPlaces,
}

/// What the group's last Install put on this host; `None` for a group that has not been installed.
///
/// # Errors
/// When its journal cannot be read.
pub fn last_install(setup: &Setup, group: &Group) -> Result<Option<LastInstall>, String> {
    let Some(Found { entries, journal }) = find(setup, &Installs::last_of(group)).map_err(Unknown::into_text)? else {
        return Ok(None);
    };
    let places = journal.map_or(Ok(LastPlaces::Unknown), |journal| install::installed_places(&journal));
    Ok(Some(LastInstall { entries, places: places.map_err(|e| chain(&e))? }))
}

/// The deployment whose Install is on this host, and its journal; after an undone Install that of the one before it.
///
/// # Errors
/// When a journal cannot be looked at.
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

/// Why it is not known what a group has on this host.
enum Unknown {
    /// Its journal says nothing, and will not say more at another time.
    Damaged(String),
    /// It could not be read now.
    Unreadable(String),
}

impl Unknown {
    fn into_text(self) -> String {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => text,
        }
    }
}

/// What an Install put there, and the journal that says so; none for one of the CodeDeploy agent.
struct Found {
    entries: Vec<InstalledEntry>,
    journal: Option<PathBuf>,
}

fn find(setup: &Setup, installs: &Installs) -> Result<Option<Found>, Unknown> {
    let ours = find_ours(setup, installs).map_err(|error| match error {
        InstallError::JournalContent { .. } => Unknown::Damaged(chain(&error)),
        error => Unknown::Unreadable(chain(&error)),
    })?;
    if installs.key.codedeploy_group_id.is_none() {
        return Ok(ours);
    }
    let (entries, journal) = ours.map_or((None, None), |found| (Some(found.entries), found.journal));
    let last = codedeploy_records::last_install(setup, &installs.key, entries).map_err(Unknown::Unreadable)?;
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

/// Notes in the facts of a plan what the other groups own of it; one group is read after another. What a damaged
/// journal does not say is warned of: it must not block the other groups.
///
/// # Errors
/// A journal that cannot be read now: what it names could be removed.
pub fn note_others(
    setup: &Setup,
    others: &[Installs],
    wanted: &Wanted,
    facts: &mut HostFacts,
) -> Result<Vec<Problem>, Problem> {
    let mut warnings = Vec::new();
    for other in others {
        match find(setup, other) {
            Ok(found) => {
                let (entries, journal) = found.map(|found| (found.entries, found.journal)).unwrap_or_default();
                facts.note_group(wanted, &other.key.to_string(), entries);
                // What cannot be read now is not known, which the plan says of each way.
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
