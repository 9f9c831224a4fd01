//! The progress of a lifecycle action that stops applications.

use crate::ids::GroupKey;
use crate::lifecycle::{Action, ActionKind, Decided, HookOutcome};
use crate::machine::state::{Group, Outcome, State, StepStatus};

/// The progress of stopping the applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopping {
    /// Stop these now.
    Begin(Vec<GroupKey>),
    /// Stopping is under way.
    Waiting,
    /// It has ended.
    Ended(Decided),
}

/// The progress of an action that stops applications. Each group is stopped once, however many actions ask for it. With
/// `abandon_failed`, a failed script makes the result ABANDON, which keeps the instance where the group's instance
/// lifecycle policy says so.
pub fn stopping(action: &Action, state: &State, abandon_failed: bool) -> Stopping {
    if !action.stops {
        let why = "nothing runs here that was started for the group".to_owned();
        return Stopping::Ended(Decided { result: HookOutcome::Continue, why });
    }
    let mut begin = Vec::new();
    let mut failed = Vec::new();
    let mut waiting = false;
    for group in state.groups.values().filter(|group| group.installed.is_some() || group.active.is_some()) {
        // A group whose Install cannot be undone yet may never stop: the others are stopped all the same.
        if group.active.as_ref().is_some_and(|active| active.not_undone.is_some()) {
            failed.push(group.key.to_string());
        } else if group.active.is_some() {
            waiting = true;
        } else if let Some(outcome) = stopped(group) {
            failed.extend((outcome == Outcome::Failed).then(|| group.key.to_string()));
        } else if group.installed.is_some() {
            begin.push(group.key.clone());
        }
    }
    if waiting {
        return Stopping::Waiting;
    }
    if !begin.is_empty() {
        return Stopping::Begin(begin);
    }
    let abandon = abandon_failed && action.kind == ActionKind::Shutdown && !failed.is_empty();
    let why = if failed.is_empty() { "stopped".to_owned() } else { format!("not stopped well: {}", failed.join(", ")) };
    let result = if abandon { HookOutcome::Abandon } else { HookOutcome::Continue };
    Stopping::Ended(Decided { result, why })
}

/// How the group's application was stopped, if that was the group's last deployment. A script whose failure did not
/// keep the others from running still counts as failed.
pub fn stopped(group: &Group) -> Option<Outcome> {
    let last = group.finished.last().filter(|deployment| deployment.request.purpose.stop().is_some())?;
    let ignored = last.steps.iter().any(|step| step.status == StepStatus::Ignored);
    if ignored { Some(Outcome::Failed) } else { last.outcome }
}
