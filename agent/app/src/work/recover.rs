//! Runs at boot, before application units start: undoes or completes an Install that a power loss interrupted.

use hostler_core::codes::ExitCode;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::state::{Deployment, Group};
use hostler_core::machine::{State, Work, WorkResult};
use hostler_host::install::{self, Settled};
use hostler_host::ledger::Ledger;

use crate::failure::Failure;
use crate::failure::chain;
use crate::output;
use crate::ports::Installs;
use crate::ports::Job;
use crate::setup::Setup;
use crate::state_file::{ledger_failure, read_state};
use crate::work::install as effect_install;
use crate::work::install::not_put_back;
use crate::work::ports::Ports;
use crate::work::unsettled::{confirm_all, left_open, settle, settle_install};

/// Settles the journal of every Install that the ledger has in flight, and prints the result. A journal that cannot be
/// settled does not hold up the others; those that other users may have changed wait. `given_up` is a deployment whose unreachable files the user declares lost.
///
/// # Errors
/// Lock held when a daemon runs (it settles them itself); failed when a journal cannot be settled.
pub fn settle_all(setup: &Setup, ports: &dyn Ports, given_up: Option<&DeploymentId>) -> Result<(), Failure> {
    let ledger = Ledger::open(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    let state = read_state(&ledger.current().state)?;
    let (mut groups, mut left) = (Vec::new(), Vec::new());
    for group in state.groups.values() {
        match ports.compatibility(&group.key).check_journals(setup) {
            Ok(()) => groups.push(group),
            Err(refused) => left.push((group, refused)),
        }
    }
    confirm_all(setup, groups.iter().copied())?;
    if let Some(deployment) = given_up {
        give_up(setup, &groups, deployment)?;
    }
    let in_flight = |d: &&Deployment| d.in_flight.as_ref().is_some_and(|effect| effect.work == Work::Install);
    let mut problems = Vec::new();
    // A journal that another user may have replaced must not be obeyed.
    let left = left.iter().filter(|(group, _)| group.active.as_ref().filter(in_flight).is_some());
    problems.extend(left.map(|(_, refused)| refused.one_line()));
    // One reason may hold for several groups.
    problems.dedup();
    for group in groups {
        for deployment in left_open(setup, group) {
            match settle(setup, &group.key, &deployment) {
                Ok(settled) => say(group, &deployment, &settled_word(&deployment, &settled))?,
                Err(failure) => problems.push(failure.one_line()),
            }
        }
        let Some(deployment) = group.active.as_ref().filter(in_flight) else { continue };
        match settle_install(setup, group, &deployment.id) {
            Ok(settled) => say(group, &deployment.id, &word(setup, ports, &state, group, deployment, &settled))?,
            Err(failure) => problems.push(failure.one_line()),
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        problems => Err(Failure::say(ExitCode::Failed, problems.join("\n"))
            .hint("mend that: the agent tries again when it starts, and while it runs; hostler status shows more")),
    }
}

fn say(group: &Group, deployment: &DeploymentId, word: &str) -> Result<(), Failure> {
    output::text(&format!("the interrupted Install of {deployment} ({}) {word}\n", group.key))
}

fn word(
    setup: &Setup,
    ports: &dyn Ports,
    state: &State,
    group: &Group,
    deployment: &Deployment,
    settled: &Settled,
) -> String {
    let failed = deployment.not_undone.as_ref().is_some_and(|not_undone| not_undone.cause.is_some());
    let complete = matches!(settled, Settled::Installed | Settled::Committed(_));
    if !complete && !failed && deployment.request.purpose.is_rollback() {
        return go_on(setup, ports, state, group, deployment);
    }
    settled_word(&deployment.id, settled)
}

fn settled_word(deployment: &DeploymentId, settled: &Settled) -> String {
    match settled {
        Settled::Installed | Settled::Committed(_) => "is complete".to_owned(),
        Settled::None => "had not begun".to_owned(),
        Settled::Undone(undone) => match not_put_back(deployment, undone) {
            None => "was undone; the old files are in place".to_owned(),
            Some(text) => format!("was undone; {text}"),
        },
    }
}

fn give_up(setup: &Setup, groups: &[&Group], deployment: &DeploymentId) -> Result<(), Failure> {
    let journals = groups.iter().map(|group| setup.layout.deployment(&group.key, deployment).journal());
    let Some(journal) = journals.into_iter().find(|journal| journal.exists()) else {
        return Err(Failure::say(ExitCode::NotFound, format!("no Install of {deployment} is known on this host"))
            .hint("hostler status names those that are"));
    };
    install::give_up(&journal).map_err(|e| Failure::say(ExitCode::Refused, chain(&e)))?;
    output::text(&format!("what {deployment} installed and cannot be reached any more is given up\n"))
}

/// Completes a rollback's Install, so that the boot then starts the good revision. If this fails now, the agent tries
/// again when it starts.
fn go_on(setup: &Setup, ports: &dyn Ports, state: &State, group: &Group, deployment: &Deployment) -> String {
    let Some(effect) = deployment.in_flight.clone() else { return "is not going on".to_owned() };
    let others = Installs::of_others(state, &group.key);
    let job = Job {
        effect,
        deployment: deployment.clone(),
        group: group.clone(),
        others,
        withdrawal: None,
        meter: std::sync::Arc::default(),
        watchers: tokio::sync::broadcast::channel(1).0,
    };
    match effect_install::install(setup, ports, &job) {
        WorkResult::Installed(Ok(_)) => "was completed; the good revision's files are in place".to_owned(),
        WorkResult::Installed(Err(failure)) => format!("is tried again when the agent starts: {}", failure.message),
        WorkResult::NotUndone(open) => format!("is tried again when the agent starts: {}", open.why),
        _ => "is tried again when the agent starts".to_owned(),
    }
}
