//! From one look to the next action. Level-triggered: nothing depends on having seen the earlier changes.

use super::instance_state::{LifecycleState, TargetLifecycleState};
use super::journal::{Action, ActionKind, Change, Hook, InstanceState, Lifecycle, Opening};
use super::notices::{Notice, NoticeKind, Rebalance};

/// Milliseconds of every deadline that are reserved for the completion and for the logs.
pub const MARGIN_MS: u64 = 15_000;

/// An interruption that has not happened this many milliseconds after its time counts as withdrawn: a spot instance
/// that was stopped and started again has the same id.
pub const WITHDRAWN_MS: u64 = 600_000;

/// The facts of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Where the group takes the instance; `None` when IMDS did not answer.
    pub target: Option<TargetLifecycleState>,
    /// Where the instance is; `None` when the agent did not ask or got no answer.
    pub current: Option<LifecycleState>,
    /// The group, if the instance is a member of one.
    pub group: Option<String>,
    /// EC2's announcements; `None` when IMDS did not answer.
    pub notices: Option<Vec<Notice>>,
    /// The configured reaction to a rebalance recommendation.
    pub rebalance: Rebalance,
}

impl Look {
    /// The notices that require stopping the applications, most urgent first.
    fn pressing(&self) -> Vec<&Notice> {
        let notices = self.notices.iter().flatten();
        let mut pressing: Vec<&Notice> = notices.filter(|notice| notice.presses(self.rebalance, self.now_ms)).collect();
        pressing.sort_by_key(|notice| notice.deadline_ms(self.now_ms).unwrap_or(u64::MAX));
        pressing
    }

    /// Whether a recommendation keeps new deployments away; `None` when IMDS did not answer.
    fn holds(&self) -> Option<bool> {
        let notices = self.notices.as_ref()?;
        let recommended = notices.iter().any(|notice| notice.kind == NoticeKind::Rebalance);
        Some(recommended && self.rebalance == Rebalance::Hold)
    }
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing until the next look.
    Nothing,
    /// Change the journal, then look again.
    Change(Change),
    /// A hook waits: ask for its name, its times and the other hooks, and open the action with them.
    OpenForHooks(ActionKind),
    /// Continue the work of the open action; keep its open hooks alive.
    Work,
    /// The work has ended: complete the open hooks.
    Complete,
}

/// Whether to call DescribeAutoScalingInstances: only during an action or after a change, so that a fleet at rest asks
/// IMDS alone.
pub fn needs_description(
    journal: &Lifecycle,
    target: Option<&TargetLifecycleState>,
    last: Option<&(Option<TargetLifecycleState>, LifecycleState)>,
) -> bool {
    let settled = |(of, current): &(Option<TargetLifecycleState>, LifecycleState)| {
        of.as_ref() == target
            && match current {
                LifecycleState::InService => target == Some(&TargetLifecycleState::InService),
                LifecycleState::Standby => target == Some(&TargetLifecycleState::Standby),
                LifecycleState::WarmPool => target == Some(&TargetLifecycleState::WarmPool),
                LifecycleState::NotMember => target.is_none() || target == Some(&TargetLifecycleState::Detached),
                _ => false,
            }
    };
    journal.action.is_some() || !last.is_some_and(settled)
}

/// Decides. The same look at the same journal gives the same result.
pub fn decide(journal: &Lifecycle, look: &Look) -> Next {
    if let Some(notices) = look.notices.as_ref().filter(|notices| **notices != journal.announced) {
        return Next::Change(Change::Announced(notices.clone()));
    }
    if let Some(next) = interruption(journal, look) {
        return next;
    }
    let Some(current) = &look.current else {
        // A running action continues; an unknown state opens, closes or completes nothing.
        return journal.action.as_ref().map_or_else(|| held_back(journal, look), goes_on);
    };
    let wanted = wanted(look, current);
    if let (Some(action), Some(kind)) = (&journal.action, wanted)
        && action.kind != kind
    {
        let how = format!("the group wants something else now ({})", kind.words());
        return Next::Change(Change::Close(action.entry, how));
    }
    if let Some(next) = instance_state(journal, look, current) {
        return next;
    }
    match (&journal.action, wanted) {
        (None, Some(kind)) => Next::OpenForHooks(kind),
        (None, None) => Next::Nothing,
        (Some(action), Some(_)) if action.group.is_none() && look.group.is_some() => {
            // Opened for a notice; now a hook waits too.
            if action.decided.is_some() {
                Next::Change(Change::Close(action.entry, "stopped for the notice; a hook waits now".to_owned()))
            } else {
                Next::Work
            }
        }
        (Some(action), Some(_)) => waiting(action),
        (Some(action), None) => not_waiting(action, look, current),
    }
}

/// Continues the work of an action that has not ended.
fn goes_on(action: &Action) -> Next {
    if action.decided.is_none() { Next::Work } else { Next::Nothing }
}

/// The group's target is reason enough to begin nothing, even while the group does not say where the instance is.
fn held_back(journal: &Lifecycle, look: &Look) -> Next {
    let instance_state = match look.target {
        Some(TargetLifecycleState::WarmPool) => InstanceState::WarmPool,
        Some(TargetLifecycleState::Terminated) => InstanceState::Terminating,
        _ => return Next::Nothing,
    };
    if journal.instance_state != InstanceState::InService {
        Next::Nothing
    } else {
        Next::Change(Change::Found(instance_state, None))
    }
}

/// The purpose of the waiting hook; `None` without one.
fn wanted(look: &Look, current: &LifecycleState) -> Option<ActionKind> {
    match current {
        // The instance leaves before it came into service: a deployment would be useless.
        LifecycleState::PendingWait | LifecycleState::WarmedPendingWait
            if look.target == Some(TargetLifecycleState::Terminated) =>
        {
            None
        }
        LifecycleState::PendingWait => Some(ActionKind::Launch),
        LifecycleState::WarmedPendingWait => Some(ActionKind::Prepare),
        LifecycleState::TerminatingWait if look.target == Some(TargetLifecycleState::WarmPool) => {
            Some(ActionKind::ReturnToPool)
        }
        LifecycleState::TerminatingWait | LifecycleState::WarmedTerminatingWait => Some(ActionKind::Shutdown),
        _ => None,
    }
}

fn is_open(journal: &Lifecycle, kind: ActionKind) -> bool {
    journal.action.as_ref().is_some_and(|action| action.kind == kind)
}

/// EC2's own actions override everything: the deadline is EC2's.
fn interruption(journal: &Lifecycle, look: &Look) -> Option<Next> {
    let pressing = look.pressing();
    let deadline_ms = pressing.first()?.deadline_ms(look.now_ms);
    let unhandled = pressing.iter().find(|notice| !journal.notices.contains(&notice.id));
    match (&journal.action, unhandled) {
        (Some(action), _) if action.kind == ActionKind::Shutdown => {
            let nearer = deadline_ms.filter(|at| action.deadline_ms.is_none_or(|now| now > *at));
            if let Some(nearer) = nearer {
                return Some(Next::Change(Change::Hurry(nearer)));
            }
        }
        (_, None) => return None,
        (Some(action), Some(_)) => {
            return Some(Next::Change(Change::Close(action.entry, "EC2 takes the instance away".to_owned())));
        }
        (None, Some(_)) => {
            let opening = Opening { kind: ActionKind::Shutdown, group: None, hooks: Vec::new(), deadline_ms };
            return Some(Next::Change(Change::Open(opening)));
        }
    }
    unhandled.map(|notice| Next::Change(Change::Handled(notice.id.clone())))
}

/// Keeps the journal's instance state current.
fn instance_state(journal: &Lifecycle, look: &Look, current: &LifecycleState) -> Option<Next> {
    let leaving = matches!(look.target, Some(TargetLifecycleState::Terminated));
    let for_notice = is_open(journal, ActionKind::Shutdown);
    let (instance_state, served) = match current {
        _ if for_notice => (InstanceState::Terminating, None),
        // It leaves the group and lives on.
        LifecycleState::Departing if look.target == Some(TargetLifecycleState::Detached) => {
            (InstanceState::InService, None)
        }
        LifecycleState::Departing
        | LifecycleState::TerminatingWait
        | LifecycleState::WarmedTerminatingWait
        | LifecycleState::Retained => {
            let to_pool = look.target == Some(TargetLifecycleState::WarmPool);
            (if to_pool { InstanceState::WarmPool } else { InstanceState::Terminating }, None)
        }
        _ if leaving => (InstanceState::Terminating, None),
        LifecycleState::InService if at_risk(journal, look) => (InstanceState::RebalanceHold, Some(true)),
        LifecycleState::InService => (InstanceState::InService, Some(true)),
        LifecycleState::WarmPool => (InstanceState::WarmPool, Some(false)),
        LifecycleState::WarmedPendingWait => (InstanceState::WarmPool, None),
        LifecycleState::Arriving if look.target == Some(TargetLifecycleState::WarmPool) => {
            (InstanceState::WarmPool, None)
        }
        LifecycleState::Standby => (InstanceState::Standby, Some(true)),
        LifecycleState::PendingWait | LifecycleState::Arriving | LifecycleState::NotMember => {
            (InstanceState::InService, None)
        }
        // The state is unknown: permissions stay as they were.
        LifecycleState::Unknown(_) => (journal.instance_state, None),
    };
    let changes = instance_state != journal.instance_state || served.is_some_and(|served| served != journal.served);
    changes.then_some(Next::Change(Change::Found(instance_state, served)))
}

/// Whether a recommendation of EC2 keeps new deployments away; without an answer of IMDS, as before.
fn at_risk(journal: &Lifecycle, look: &Look) -> bool {
    look.holds().unwrap_or(journal.instance_state == InstanceState::RebalanceHold)
}

/// A hook waits for the open action.
fn waiting(action: &Action) -> Next {
    match &action.decided {
        None => Next::Work,
        Some(_) if action.hooks.iter().any(Hook::is_open) => Next::Complete,
        // Another agent's hook holds the instance; this agent's hooks are done.
        Some(_) => Next::Nothing,
    }
}

/// No hook waits, and an action is open.
fn not_waiting(action: &Action, look: &Look, current: &LifecycleState) -> Next {
    let close = |how: &str| Next::Change(Change::Close(action.entry, how.to_owned()));
    let for_notice = action.kind == ActionKind::Shutdown && action.group.is_none();
    match current {
        LifecycleState::Unknown(_) => goes_on(action),
        // The notice's deadline runs, whatever the group does in the meantime.
        _ if for_notice && action.decided.is_none() => Next::Work,
        LifecycleState::InService | LifecycleState::Standby | LifecycleState::NotMember if for_notice => {
            if withdrawn(action, look) { close("EC2 did not take the instance away") } else { Next::Nothing }
        }
        // Too early: the hook's wait is still to come.
        LifecycleState::Arriving if action.kind == ActionKind::Launch && action.decided.is_none() => Next::Work,
        // The hook timed out before the work was done: the work continues as far as there is time.
        LifecycleState::Departing if action.kind == ActionKind::Shutdown && action.decided.is_none() => Next::Work,
        LifecycleState::InService => close("in service"),
        LifecycleState::NotMember => close("no member of a group any more"),
        LifecycleState::WarmPool => close("in the warm pool"),
        LifecycleState::Standby => close("in Standby"),
        LifecycleState::Retained => close("retained"),
        LifecycleState::Departing | LifecycleState::Arriving => close("the group went on"),
        LifecycleState::PendingWait
        | LifecycleState::WarmedPendingWait
        | LifecycleState::TerminatingWait
        | LifecycleState::WarmedTerminatingWait => close("the group takes the instance away"),
    }
}

/// Whether the announced event, for which the applications were stopped, will not come. When IMDS does not answer any
/// more, a deadline that is long over counts as well.
fn withdrawn(action: &Action, look: &Look) -> bool {
    let over = |at: u64| look.now_ms > at.saturating_add(WITHDRAWN_MS);
    look.pressing().is_empty() && action.deadline_ms.map_or(look.notices.is_some(), over)
}

/// Whether to send a heartbeat for a hook now. `last_ms` is the last heartbeat of this run of the agent: the first goes
/// out at once. `random` keeps the hosts of a fleet apart.
pub fn heartbeat_is_due(action: &Action, hook: &Hook, last_ms: Option<u64>, now_ms: u64, random: u64) -> bool {
    let over_ms = action.begun_ms.saturating_add(hook.global_seconds.saturating_mul(1000)).saturating_sub(MARGIN_MS);
    if !hook.is_open() || action.decided.is_some() || now_ms >= over_ms {
        return false;
    }
    let Some(last_ms) = last_ms else { return true };
    // A third of the time, with a fifth to either side, and once a minute at least.
    let interval_ms = (hook.heartbeat_seconds.saturating_mul(1000) / 3).min(60_000);
    let fifth = interval_ms / 5;
    now_ms >= last_ms.saturating_add(interval_ms - fifth).saturating_add(random % (2 * fifth).max(1))
}
