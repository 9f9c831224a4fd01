//! The status in one line.

use super::{Condition, Health, condition, deployment_status};
use crate::health::HealthReport;
use crate::lifecycle::{InstanceState, Lifecycle, Notice};
use crate::machine::state::{Deployment, Group, State};
use crate::machine::{again_at_ms, instance_state};

/// Groups that [`one_line`] names one by one.
const NAMED_GROUPS: usize = 3;

/// The state in one line of at most a few hundred characters, for `systemctl status`: running work and problems come
/// first.
pub fn one_line(state: &State, health: &Health) -> String {
    let out = state.traffic.as_ref().filter(|withdrawal| withdrawal.is_out_of_service());
    let out = out.map(|withdrawal| format!("out of service: {withdrawal}"));
    // Those words include a Standby that the agent asked for.
    let lifecycle =
        lifecycle_line(&state.lifecycle).filter(|_| instance_state(state) == state.lifecycle.instance_state);
    let parts: Vec<String> = out.into_iter().chain(lifecycle).chain([groups_line(state, health)]).collect();
    parts.join("; ")
}

/// The Auto Scaling group's wish in a few words; `None` for a host that is free to serve.
pub fn lifecycle_line(lifecycle: &Lifecycle) -> Option<String> {
    let instance_state = match lifecycle.instance_state {
        InstanceState::InService => None,
        InstanceState::WarmPool => Some("in the warm pool"),
        InstanceState::Standby => Some("in Standby"),
        InstanceState::RebalanceHold => Some("held, because EC2 recommends to replace it"),
        InstanceState::Terminating => Some("leaving"),
    };
    let action =
        lifecycle.action.as_ref().or(lifecycle.last.as_ref().filter(|_| instance_state.is_some()).map(|l| &l.action));
    let action = action.map(|action| match &action.decided {
        None => action.kind.words().to_owned(),
        Some(decided) => format!("{}, {}: {}", action.kind.words(), decided.result.word(), decided.why),
    });
    let announced = lifecycle.announced.iter().map(announced);
    let words: Vec<String> = instance_state.map(str::to_owned).into_iter().chain(action).chain(announced).collect();
    (!words.is_empty()).then(|| format!("auto scaling: {}", words.join("; ")))
}

/// EC2's announcement in a few words.
fn announced(notice: &Notice) -> String {
    let at = notice.at_ms.and_then(|ms| jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
    match at {
        Some(at) => format!("EC2 announces {} at {at:.0}", notice.word),
        None => format!("EC2 announces {}", notice.word),
    }
}

fn groups_line(state: &State, health: &Health) -> String {
    if state.groups.is_empty() {
        return "nothing was deployed on this host".to_owned();
    }
    let mut groups: Vec<(Condition, &Group)> = state.groups.values().map(|g| (condition(g), g)).collect();
    groups.sort_by_key(|(condition, _)| match condition {
        Condition::Deploying => 0,
        Condition::Failed | Condition::NotUndone => 1,
        Condition::RolledBack | Condition::Stopped => 2,
        Condition::Good | Condition::Empty => 3,
    });
    let named = groups.iter().take(NAMED_GROUPS).map(|(condition, group)| {
        let held = if group.following.hold().is_some() { ", held" } else { "" };
        let line = format!("{}{held}", group_line(*condition, group));
        match health.get(&group.key.id()).filter(|report| !report.is_healthy() && group.active.is_none()) {
            Some(report) => format!("{line}, {}", unhealthy_line(report)),
            None => line,
        }
    });
    let mut parts: Vec<String> = named.collect();
    if groups.len() > NAMED_GROUPS {
        parts.push(format!("{} more", groups.len() - NAMED_GROUPS));
    }
    parts.join("; ")
}

fn unhealthy_line(report: &HealthReport) -> String {
    let causes = report.causes.join("; ");
    if causes.is_empty() { report.colour.word().to_owned() } else { format!("{}: {causes}", report.colour.word()) }
}

fn group_line(condition: Condition, group: &Group) -> String {
    let key = &group.key;
    let serves = || group.installed.as_ref().map_or_else(|| "nothing".to_owned(), |i| i.revision.name());
    match (condition, &group.active, group.finished.last()) {
        (_, Some(Deployment { not_undone: Some(not_undone), .. }), _) => format!("{key}: {not_undone}"),
        (_, Some(active), _) => {
            let shown = deployment_status(active, active.started_ms);
            let waits = if active.waits_for_command() { ": waits for the service's next command" } else { "" };
            let event = shown.event.map_or_else(|| waits.to_owned(), |event| format!(": {event}"));
            let script = shown.script.map_or_else(String::new, |script| format!(", {script}"));
            format!("{key}: deploying {} as {}{event}{script}", active.request.revision.name(), active.id)
        }
        (Condition::Failed, None, Some(last)) => {
            let event = last.failure.as_ref().map_or_else(String::new, |failure| format!(" in {}", failure.event));
            let again = if again_at_ms(group).is_some() { " for want of space, and is tried again" } else { "" };
            format!("{key}: {} failed{event}{again}; {} is installed", last.id, serves())
        }
        (condition, None, _) => format!("{key}: {}, {}", condition.word(), serves()),
    }
}
