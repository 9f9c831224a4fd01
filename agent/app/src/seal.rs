//! A state that came with an image: the agent forgets the work of the former host, and keeps what it knows about the
//! disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hostler_core::history::{self, Kind};
use hostler_core::ids::{DeploymentId, InstanceId};
use hostler_core::machine::seal::{Sealed, in_use, seal};
use hostler_core::machine::state::Group;
use hostler_core::machine::{State, Work};
use hostler_core::operator_events::OperatorEvent;
use hostler_host::install::{self, JournalState, Settled};
use hostler_host::remove_tree::remove_tree;
use hostler_host::{clock, history_file};

use crate::engine::Identity;
use crate::failure::Failure;
use crate::failure::chain;
use crate::log_output::operator_event;
use crate::setup::Setup;
use crate::state_file::LockedState;
use crate::work::unsettled;

/// Seals the state if it belongs to another instance, and begins a history for this instance. The former chain stays
/// beside it.
///
/// # Errors
/// When the state or the history cannot be written.
pub fn forget_another_host(setup: &Setup, hold: &mut LockedState, identity: &Identity) -> Result<(), Failure> {
    let former = hold.state.instance.clone();
    if former.as_ref() == Some(&identity.host) || (former.is_none() && hold.state.groups.is_empty()) {
        return Ok(());
    }
    let anchor = hold.state.history.chain.anchor();
    let Sealed { mut state, given_up } = forget(setup, &hold.state)?;
    let context = history::Context {
        host: identity.host.clone(),
        boot_id: identity.boot_id.clone(),
        time_ms: clock::now_ms(),
        agent_version: identity.agent_version.clone(),
    };
    let kind =
        Kind::Sealed { former: former.clone(), former_seq: anchor.map(|a| a.seq), former_hash: anchor.map(|a| a.hash) };
    state.history.append(&context, kind)?;
    state.instance = Some(identity.host.clone());
    if let Some(former) = &former {
        // Done before the ledger: a chain that the ledger no longer knows would be taken for a part of the new one.
        history_file::put_aside(hold.lock(), former.as_str())?;
    }
    hold.replace(state)?;
    let was = former.map_or_else(|| "a sealed image".to_owned(), |former| format!("an image of {former}"));
    operator_event!(
        Warn, OperatorEvent::InstanceChanged;
        "this host is {} and its state came from {was}: what is installed stays known, everything else is forgotten",
        identity.host
    );
    for (key, deployment) in given_up {
        log::warn!(deployment = deployment.as_str(); "deployment {deployment} of {key} was going on in the image and is given up");
    }
    Ok(())
}

fn forget(setup: &Setup, state: &State) -> Result<Sealed, Failure> {
    let mut complete: Vec<DeploymentId> = Vec::new();
    for (group, deployment) in state.all_active() {
        if deployment.in_flight.as_ref().is_some_and(|effect| effect.work == Work::Install) {
            match unsettled::settle_install(setup, group, &deployment.id) {
                Ok(Settled::Installed | Settled::Committed(_)) => complete.push(deployment.id.clone()),
                Ok(_) => {}
                // The journal's volume may have stayed with the former instance.
                Err(failure) => {
                    log::warn!(deployment = deployment.id.as_str(); "{}; it is given up with the former instance", failure.one_line());
                    let journal = setup.layout.deployment(&group.key, &deployment.id).journal();
                    install::give_up(&journal).unwrap_or_else(|error| log::warn!("{}", chain(&error)));
                }
            }
        }
    }
    Ok(seal(state.clone(), &complete, clock::now_ms()))
}

/// The data removed before an image is made.
#[derive(Debug, serde::Serialize)]
pub struct Removed {
    /// Version of this document.
    pub version: u32,
    /// The instance whose state it was.
    pub former: Option<InstanceId>,
    /// The removed files.
    pub removed: Vec<PathBuf>,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

/// Removes the data of this instance: its name, the records of its deployments, history, logs, hook runs, bundles that
/// are not on the host, the socket. Keeps the configuration, the installed files, and the unpacked revisions that they
/// came from.
///
/// # Errors
/// When a file cannot be written or removed.
pub fn seal_for_image(setup: &Setup, mut hold: LockedState) -> Result<Removed, Failure> {
    let former = hold.state.instance.clone();
    let Sealed { state, .. } = seal(hold.state.clone(), &[], clock::now_ms());
    let mut removed = Removed { version: 1, former, removed: Vec::new(), warnings: Vec::new() };
    if let Some(withdrawal) = hold.state.traffic.as_ref().filter(|withdrawal| withdrawal.is_out_of_service()) {
        let message = format!("the host is out of service, which is forgotten: put it back by hand ({withdrawal})");
        removed.warnings.push(message);
    }
    hold.replace(state)?;
    let directory = setup.layout.state();
    for path in entries(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Includes the older file of each log. Positions of other logs stay, so that nothing is shipped twice.
        if ["history", "agent.log", "metrics.log"].iter().any(|beginning| name.starts_with(beginning)) {
            remove(&path, &mut removed)?;
        }
    }
    for (id, group) in &hold.state.groups {
        let stay: BTreeSet<DeploymentId> = in_use(group).into_iter().collect();
        for path in entries(&setup.layout.group(&group.key))? {
            let deployment = path.file_name().and_then(|name| name.to_str()?.parse::<DeploymentId>().ok());
            match deployment {
                Some(deployment) if stay.contains(&deployment) => {
                    let paths = setup.layout.deployment(&group.key, &deployment);
                    for of_instance in [paths.logs(), paths.hook_runs(), paths.bundle()] {
                        remove(&of_instance, &mut removed)?;
                    }
                }
                Some(deployment) if keeps_files(&setup.layout.deployment(&group.key, &deployment).journal()) => {
                    let message = format!("{} holds files that could not be put back, and stays", path.display());
                    removed.warnings.push(message);
                }
                _ => remove(&path, &mut removed)?,
            }
        }
        log::debug!(group = id.as_str(); "the group {id} is sealed");
    }
    remove(&setup.layout.machine_events(), &mut removed)?;
    remove_forgotten_groups(setup, &hold.state, &mut removed)?;
    remove(setup.layout.socket(), &mut removed)?;
    if let Some(id) = &setup.settings.instance_id {
        let message = format!("the configuration names instance_id {id}: every host of the image will take this name");
        removed.warnings.push(message);
    }
    Ok(removed)
}

/// Whether removing the journal would lose files that an undo promised to keep, or the only way to undo an unfinished
/// Install.
fn keeps_files(journal: &Path) -> bool {
    let open = matches!(install::state(journal), Ok(JournalState::Open));
    open || !install::left_behind(journal).is_empty()
}

/// Removes the directories of groups that have nothing left on the host, and the log of all deployments.
fn remove_forgotten_groups(setup: &Setup, state: &State, removed: &mut Removed) -> Result<(), Failure> {
    let root = setup.layout.deployment_root();
    // Includes the links with the groups' names.
    let places = |group: &Group| [setup.layout.group(&group.key), setup.layout.named_group(&group.key)];
    let known: BTreeSet<PathBuf> = state.groups.values().flat_map(places).collect();
    for path in entries(&root)? {
        if !known.contains(&path) {
            remove(&path, removed)?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let found = match fs::read_dir(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot read {}", directory.display())).into());
        }
    };
    Ok(found.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?)
}

fn remove(path: &Path, removed: &mut Removed) -> Result<(), Failure> {
    let gone = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.with_context(|| format!("cannot take away {}", path.display()))?;
    removed.removed.push(path.to_owned());
    Ok(())
}
