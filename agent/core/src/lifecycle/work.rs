//! Whether the work of an action has ended, and with what.

use super::decide::MARGIN_MS;
use super::journal::{Action, ActionKind, Decided, HookOutcome, Lifecycle};
use crate::ids::GroupKey;
use crate::machine::State;
use crate::machine::state::{Group, Outcome, StepStatus};

/// What a launch found of one deployment group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// Not there yet.
    Waiting,
    /// It runs the desired revision and is healthy, or has nothing to prove.
    Good,
    /// Nothing was released for it yet.
    NoRelease,
    /// Somebody holds it.
    Held,
    /// It cannot come into service, and why.
    Bad(String),
}

/// What is done with a launch when nothing was released yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithoutRelease {
    /// It goes into service: an empty channel must not make the group launch and end instances for ever.
    #[default]
    Continue,
    /// It waits for a release until the launch's deadline.
    Wait,
    /// It is given up.
    Abandon,
}

/// A launch's result; `None` while there is something to wait for. `late`: its deadline has passed.
pub fn launch(groups: &[(GroupKey, Launched)], without_release: WithoutRelease, late: bool) -> Option<Decided> {
    let abandon = |why: String| Some(Decided { result: HookOutcome::Abandon, why });
    for (key, found) in groups {
        match (found, without_release) {
            (Launched::Bad(why), _) => return abandon(format!("{key}: {why}")),
            (Launched::NoRelease, WithoutRelease::Abandon) => return abandon(format!("{key} has no release")),
            _ => {}
        }
    }
    let waits = |found: &Launched| match found {
        Launched::Waiting => true,
        Launched::NoRelease => without_release == WithoutRelease::Wait,
        Launched::Good | Launched::Held | Launched::Bad(_) => false,
    };
    if let Some((key, _)) = groups.iter().find(|(_, found)| waits(found)) {
        return if late { abandon(format!("{key} was not ready in time")) } else { None };
    }
    let word = |found: &Launched| match found {
        Launched::NoRelease => "has no release yet",
        Launched::Held => "is held",
        _ => "is ready",
    };
    let words: Vec<String> = groups.iter().map(|(key, found)| format!("{key} {}", word(found))).collect();
    let why = if words.is_empty() { "no group is configured".to_owned() } else { words.join(", ") };
    Some(Decided { result: HookOutcome::Continue, why })
}

/// How far the stopping of the applications is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopping {
    /// These are to be stopped now.
    Begin(Vec<GroupKey>),
    /// It goes on.
    Waiting,
    /// It has ended.
    Ended(Decided),
}

/// How far an action that stops applications is. Each group is stopped once, whatever number of actions it takes.
/// `abandon_failed`: a script that failed makes the result ABANDON, which keeps the instance where the group's instance
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
        // One whose Install cannot be undone yet may never be: the others are stopped all the same.
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

/// How the group's application was stopped, if that was the last thing done with it. A script whose failure did not
/// keep the others from running has failed all the same.
pub fn stopped(group: &Group) -> Option<Outcome> {
    let last = group.finished.last().filter(|deployment| deployment.request.stops.is_some())?;
    let ignored = last.steps.iter().any(|step| step.status == StepStatus::Ignored);
    if ignored { Some(Outcome::Failed) } else { last.outcome }
}

/// Whether deployments that go on shall end at their next step, because the host is on its way out.
pub fn ends_deployments(journal: &Lifecycle) -> bool {
    journal.action.as_ref().is_some_and(|action| action.stops && action.decided.is_none())
}

/// What of a deadline's margin is kept for the completion itself, in milliseconds.
const COMPLETION_MS: u64 = 5000;

/// Whether logs are shipped before the result is sent: the instance may be gone after it, and what it wrote with it.
pub fn wants_flush(action: &Action, decided: &Decided) -> bool {
    action.kind != ActionKind::Launch || decided.result == HookOutcome::Abandon
}

/// Milliseconds that the shipping of logs may take before the result is sent: what is left of the deadline's margin without
/// the completion's part.
pub fn flush_ms(action: &Action, now_ms: u64) -> u64 {
    let most_ms = MARGIN_MS - COMPLETION_MS;
    let end_ms = action.deadline_ms.map(|at| at.saturating_add(most_ms));
    end_ms.map_or(most_ms, |end| end.saturating_sub(now_ms).min(most_ms))
}
