//! At boot, before application units start: an Install that a power loss interrupted is undone or completed.

use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::{Creator, Deployment, Group};
use hostler_core::machine::{State, Work};
use hostler_host::install::{self, Settled};
use hostler_host::ledger::Ledger;

use crate::failure::Failure;
use crate::ports::Job;
use crate::session::{ledger_failure, read_state};
use crate::setup::Setup;
use crate::work::last_install::Installs;
use crate::work::{chain, install as effect_install};

/// Settles the journal of every Install that the ledger has in flight; what was done, as text.
///
/// # Errors
/// Lock held when a daemon runs (it settles them itself), failed when a journal cannot be settled.
pub fn settle_all(setup: &Setup) -> Result<String, Failure> {
    let ledger = Ledger::open(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    let state = read_state(&ledger.current().state)?;
    confirm_all(setup, &state)?;
    let mut text = String::new();
    for (group, deployment) in state.all_active() {
        if !deployment.in_flight.as_ref().is_some_and(|effect| effect.work == Work::Install) {
            continue;
        }
        let settled = settle_install(setup, group, &deployment.id)?;
        let word = match settled {
            Settled::Installed | Settled::Committed(_) => "is complete".to_owned(),
            _ if deployment.request.creator == Creator::Rollback => go_on(setup, &state, group, deployment),
            Settled::None => "had not begun".to_owned(),
            Settled::Undone(_) => "was undone; the old files are in place".to_owned(),
        };
        text.push_str(&format!("the interrupted Install of {} ({}) {word}\n", deployment.id, group.key));
    }
    Ok(text)
}

/// Brings the Install of a group's active deployment to an end.
///
/// # Errors
/// When its journal cannot be settled.
pub fn settle_install(setup: &Setup, group: &Group, deployment: &DeploymentId) -> Result<Settled, Failure> {
    // A rollback's Install takes the one before it back first, and may have been interrupted there.
    if let Some(installed) = &group.installed {
        settle(setup, &group.key, &installed.deployment)?;
    }
    settle(setup, &group.key, deployment)
}

/// Completes a rollback's Install, which the deployment does not give up: what the boot starts next is the good revision.
/// Where that cannot be done now, the agent tries again when it starts.
fn go_on(setup: &Setup, state: &State, group: &Group, deployment: &Deployment) -> String {
    let Some(effect) = deployment.in_flight.clone() else { return "is not going on".to_owned() };
    let others = Installs::of_others(state, &group.key);
    let job = Job { effect, deployment: deployment.clone(), group: group.clone(), others, withdrawal: None };
    match effect_install::install(setup, &job) {
        Ok(_) => "was completed; the good revision's files are in place".to_owned(),
        Err(failure) => format!("is tried again when the agent starts: {}", failure.message),
    }
}

/// Tells the journals of every Install that stands by the ledger that it does: a power loss may have taken their own
/// mark. To be done before anything else is asked of them.
///
/// # Errors
/// Failed when a journal cannot be read or written.
pub fn confirm_all(setup: &Setup, state: &State) -> Result<(), Failure> {
    for group in state.groups.values() {
        let active = group.active.as_ref().filter(|deployment| deployment.installed).map(|deployment| &deployment.id);
        let before = [&group.installed, &group.installed_before].into_iter().flatten();
        for deployment in active.into_iter().chain(before.map(|installed| &installed.deployment)) {
            install::confirm(&setup.layout.deployment(&group.key, deployment).journal()).map_err(|e| {
                let message = format!("the Install of {deployment} cannot be confirmed: {}", chain(&e));
                Failure::say(ExitCode::Failed, message)
            })?;
        }
    }
    Ok(())
}

fn settle(setup: &Setup, key: &GroupKey, deployment: &DeploymentId) -> Result<Settled, Failure> {
    install::settle(&setup.layout.deployment(key, deployment).journal()).map_err(|e| {
        let message = format!("the Install of {deployment} cannot be brought to an end: {}", chain(&e));
        Failure::say(ExitCode::Failed, message)
    })
}
