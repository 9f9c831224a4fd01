//! Whether the work of an action has ended, and with what; of one that stops applications `machine::stopping` says it.

use super::decide::MARGIN_MS;
use super::journal::{Action, ActionKind, Decided, HookOutcome, Lifecycle};
use crate::ids::GroupKey;

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
