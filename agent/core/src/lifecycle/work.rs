//! Whether the work of an action has ended, and its result. For an action that stops applications, `machine::stopping`
//! decides.

use super::decide::MARGIN_MS;
use super::journal::{Action, ActionKind, Decided, HookOutcome, Lifecycle};
use crate::ids::GroupKey;

/// A launch's result for one deployment group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// Not there yet.
    Waiting,
    /// It runs the desired revision and is healthy, or has nothing to prove.
    Good,
    /// It has no release yet.
    NoRelease,
    /// A user holds it.
    Held,
    /// It cannot come into service, for this reason.
    Bad(String),
}

/// How to end a launch without any release.
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

/// A launch's result; `None` while it waits. `late`: its deadline has passed.
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

/// Whether running deployments shall end at their next step, because the host is leaving.
pub fn ends_deployments(journal: &Lifecycle) -> bool {
    journal.action.as_ref().is_some_and(|action| action.stops && action.decided.is_none())
}

/// Milliseconds of a deadline's margin that are reserved for the completion itself.
const COMPLETION_MS: u64 = 5000;

/// Whether to ship logs before the result is sent: afterwards the instance, and its logs, may be gone.
pub fn wants_flush(action: &Action, decided: &Decided) -> bool {
    action.kind != ActionKind::Launch || decided.result == HookOutcome::Abandon
}

/// Milliseconds that shipping the logs may take before the result is sent: the rest of the deadline's margin without
/// the completion's part.
pub fn flush_ms(action: &Action, now_ms: u64) -> u64 {
    let most_ms = MARGIN_MS - COMPLETION_MS;
    let end_ms = action.deadline_ms.map(|at| at.saturating_add(most_ms));
    end_ms.map_or(most_ms, |end| end.saturating_sub(now_ms).min(most_ms))
}
