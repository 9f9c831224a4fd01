//! A state that came with an image: what it did as another host is forgotten, what lies on the disk stays known.

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

/// Seals the state if it is that of another instance, and begins a history for this one. The former chain stays beside it.
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
        // Before the ledger: a chain that the ledger does not know any more would be taken for a part of the new one.
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
                // Its volume may have stayed with the former instance.
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

/// What was taken away before an image is made.
#[derive(Debug, serde::Serialize)]
pub struct Removed {
    /// Version of this document.
    pub version: u32,
    /// The instance whose state it was.
    pub former: Option<InstanceId>,
    /// What is gone.
    pub removed: Vec<PathBuf>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Takes away everything of this instance: its name, what its deployments did, history, logs, hook runs, bundles that are not
/// on the host, the socket. The configuration, the installed files, and the unpacked revisions that they came from stay.
///
/// # Errors
/// When something cannot be written or taken away.
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
        // With the older one of each log. How far other logs were shipped stays: what was shipped is not shipped again.
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
        log::debug!(group = id.as_str(); "sealed");
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

/// Whether what an undo promised to keep would go with the journal, or the only way to undo what was left half done.
fn keeps_files(journal: &Path) -> bool {
    let open = matches!(install::state(journal), Ok(JournalState::Open));
    open || !install::left_behind(journal).is_empty()
}

/// Directories of groups that nothing of is on the host any more, and the log of all deployments.
fn remove_forgotten_groups(setup: &Setup, state: &State, removed: &mut Removed) -> Result<(), Failure> {
    let root = setup.layout.deployment_root();
    // With the links by which people find them.
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
