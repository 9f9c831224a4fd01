//! The engine's records in the journal. Each is a sentence that stands without its fields: which deployment of which group,
//! what happened, and how long it took.

use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::FailureKind;
use hostler_core::machine::state::{Deployment, Failure, Purpose, StepStatus};
use hostler_core::machine::{Effect, NoRollback, Progress, State, Work};
use hostler_core::operator_events::OperatorEvent;
use hostler_core::traffic::TrafficPhase;

use crate::log_output::operator_event;
use crate::progress::{event_text, seconds};

/// Writes the record of a progress.
pub fn note(progress: &Progress, state: &State) {
    let deployment = progress.deployment().as_str();
    let whose = whose(state, progress.deployment());
    match progress {
        Progress::Started { group, revision, asked_by, purpose, .. } => {
            let (what, revision) = (purpose.noun(), revision.name_and_place());
            log::info!(hostler_event = "deployment-started", deployment, group:%, asked_by = asked_by.as_str(); "{whose}: {what} of {revision} started ({asked_by})");
        }
        Progress::EventStarted { event, .. } => {
            log::info!(hostler_event = "event-started", deployment, event:%; "{whose}: {} started", event_text(event, removes(state, progress.deployment())));
        }
        Progress::EventFinished { event, status, milliseconds, .. } => {
            let (word, took) = (status.word(), seconds(*milliseconds));
            let why = why(state, progress.deployment(), *event, *status);
            let what = event_text(event, removes(state, progress.deployment()));
            log::info!(hostler_event = "event-ended", deployment, event:%, status:?, milliseconds = *milliseconds; "{whose}: {what} {word} after {took}{why}");
        }
        Progress::NotUndone { message, .. } => {
            let tries =
                state.active(progress.deployment()).and_then(|(_, d)| d.not_undone.as_ref()).map_or(0, |n| n.tries);
            if tries > 1 {
                log::warn!(deployment, tries; "{whose}: {message} (try {tries})");
            } else {
                operator_event!(Error, OperatorEvent::InstallNotUndone, deployment = deployment; "{whose}: {message}");
            }
        }
        // The effect writes it: no step of the state leads to it.
        Progress::HealthCheck { .. } => {}
        Progress::Warning { message, .. } => {
            log::warn!(hostler_event = "deployment-warning", deployment; "{whose}: {message}");
        }
        Progress::Finished { outcome, failure: None, milliseconds, .. } => {
            let what = noun(state, progress.deployment());
            let took = seconds(*milliseconds);
            log::info!(hostler_event = "deployment-ended", deployment, outcome:?, milliseconds = *milliseconds; "{whose}: {what} succeeded after {took}");
            if let Some((group, failed)) = rolled_back(state, progress.deployment()) {
                operator_event!(Warn, OperatorEvent::RolledBack, deployment = deployment, group = group;
                    "{whose}: the last good revision is on the host again after {failed} failed");
            }
        }
        Progress::Finished { failure: Some(failure), rollback, milliseconds, no_rollback, .. } => {
            failed(state, progress.deployment(), failure, (rollback.as_ref(), *no_rollback), *milliseconds);
        }
    }
}

/// `rollback` is the one that follows, or why none does.
fn failed(
    state: &State,
    id: &DeploymentId,
    failure: &Failure,
    (rollback, no_rollback): (Option<&DeploymentId>, Option<NoRollback>),
    milliseconds: u64,
) {
    let (deployment, whose, event) = (id.as_str(), whose(state, id), failure.event);
    let what = noun(state, id);
    let (took, message) = (seconds(milliseconds), &failure.message);
    let next = rollback.map_or_else(String::new, |next| format!("; {next} returns to the last good revision"));
    operator_event!(Error, OperatorEvent::DeploymentFailed, deployment = deployment, event = event;
        "{whose}: {what} failed after {took} in {event}: {message}{next}");
    // A failure before any change leaves the old revision in service.
    let waits = rolled_back(state, id).is_some() && failure.kind == FailureKind::NoSpace;
    if waits {
        log::warn!(hostler_event = "rollback-waits", deployment; "{whose}: the rollback has no space and is tried again");
    } else if rollback.is_none() && event != LifecycleEvent::DownloadBundle {
        let why = no_rollback.map_or_else(String::new, |why| format!(" ({})", why.because()));
        operator_event!(Error, OperatorEvent::NeedsOperator, deployment = deployment, event = event;
            "{whose}: no rollback follows the failure in {event}{why}, the host stays as it is");
    }
}

/// Writes that an effect of the process before is taken up again.
pub fn taken_up_again(effect: &Effect, state: &State) {
    let owner = state.all_active().find(|(_, deployment)| deployment.in_flight.as_ref() == Some(effect));
    match owner {
        Some((group, deployment)) => {
            let (id, key, work) = (&deployment.id, &group.key, work_text(&effect.work, deployment));
            log::info!(deployment = id.as_str(); "{id} of {key}: {work} is taken up again");
        }
        None => log::info!("the return of this host to service is taken up again"),
    }
}

/// What an effect does, for people.
fn work_text(work: &Work, deployment: &Deployment) -> String {
    match work {
        Work::Prepare => "the download of the bundle".to_owned(),
        Work::CheckBundle => "the check of the bundle".to_owned(),
        Work::RunHook { event, index, .. } => {
            let script = deployment.step(*event).and_then(|step| step.scripts.get(*index));
            script.map_or_else(|| event.to_string(), |script| format!("{} in {event}", script.location))
        }
        Work::Install => "Install".to_owned(),
        Work::Probe { .. } => "the wait for the health checks".to_owned(),
        Work::Traffic { phase: TrafficPhase::Allow } => "the return of the host to service".to_owned(),
        Work::Traffic { .. } => "the way of the host out of service".to_owned(),
        Work::Reboot => "the restart of the host".to_owned(),
        Work::Finish { .. } => "the end".to_owned(),
    }
}

/// The reason of an event that failed, after a colon.
fn why(state: &State, id: &DeploymentId, event: LifecycleEvent, status: StepStatus) -> String {
    let Some((_, deployment)) = find(state, id) else { return String::new() };
    let failure = deployment.failure.as_ref().filter(|failure| status == StepStatus::Failed && failure.event == event);
    failure.map_or_else(String::new, |failure| format!(": {}", failure.message))
}

/// What a deployment is for, in a word.
fn noun(state: &State, id: &DeploymentId) -> &'static str {
    find(state, id).map_or("deployment", |(_, found)| found.request.purpose.named().noun())
}

fn removes(state: &State, id: &DeploymentId) -> bool {
    find(state, id).is_some_and(|(_, found)| found.request.purpose == Purpose::Remove)
}

/// A deployment and its group: `d-JBFNFB8MS of web/production`.
fn whose(state: &State, id: &DeploymentId) -> String {
    find(state, id).map_or_else(|| id.to_string(), |(key, _)| format!("{id} of {key}"))
}

fn find<'s>(state: &'s State, id: &DeploymentId) -> Option<(&'s GroupKey, &'s Deployment)> {
    let all = state.groups.values().flat_map(|g| g.active.iter().chain(&g.finished).map(move |d| (&g.key, d)));
    all.into_iter().find(|(_, deployment)| &deployment.id == id)
}

/// The group, and the failed deployment that this one automatically rolled back.
fn rolled_back<'s>(state: &'s State, id: &DeploymentId) -> Option<(&'s GroupKey, &'s DeploymentId)> {
    let (key, deployment) = find(state, id).filter(|(_, deployment)| deployment.outcome.is_some())?;
    deployment.request.purpose.rolls_back().map(|rolls_back| (key, &rolls_back.deployment))
}
