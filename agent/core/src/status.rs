//! The status: a versioned document, derived from the state in one place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cfn_signals::Signals;
use crate::event_order::LifecycleEvent;
use crate::health::{Colour, HealthReport};
use crate::history::DeploymentPurpose;
use crate::ids::{DeploymentId, GroupKey, InstanceId, Sha256Digest};
use crate::label::{Label, revision_name};
use crate::lifecycle::Lifecycle;
use crate::machine::again_at_ms;
use crate::machine::event::Work;
use crate::machine::state::{
    Creator, Deployment, Failure, Group, Installed, NotUndone, Outcome, Purpose, State, StepStatus,
};
use crate::machine_events::MachineEvents;
use crate::release::Trust;
use crate::traffic::Withdrawal;

mod daemon;
mod earlier;
mod line;
mod released;

pub use daemon::{ChannelStatus, Daemon, ReportStatus};
pub use earlier::Earlier;
pub use line::{lifecycle_line, one_line};
pub use released::ReleaseStanding;

/// The current version of [`Status`].
pub const STATUS_VERSION: u32 = 1;

/// The reports of the health checks, by group id.
pub type Health = BTreeMap<String, HealthReport>;

/// What `hostler status --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this document.
    pub version: u32,
    /// The host.
    pub instance: Option<InstanceId>,
    /// The daemon that answers; without one the status comes from the ledger.
    pub daemon: Option<Daemon>,
    /// Whether no process works on the active deployments: the next daemon resumes them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The deployment groups, by name.
    pub groups: Vec<GroupStatus>,
    /// The Auto Scaling group's wishes for this host, and how the agent met them.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// The signals that were sent to CloudFormation.
    #[serde(default)]
    pub cfn_signals: Signals,
    /// The operator's scripts for events of the machine.
    #[serde(default)]
    pub machine_events: MachineEvents,
    /// The place that a deployment took this host out of, until it is put back.
    #[serde(default)]
    pub traffic: Option<Withdrawal>,
}

impl Status {
    /// Names the earlier revisions that a daemon of an earlier version sends without a name.
    pub fn name_earlier(&mut self) {
        let all = self.groups.iter_mut().flat_map(|group| &mut group.earlier);
        for earlier in all.filter(|earlier| earlier.name.is_empty()) {
            earlier.name = match &earlier.revision {
                Some(digest) => revision_name(earlier.label.as_ref(), digest),
                None => earlier.location.clone(),
            };
        }
    }

    /// Removes the output of scripts, for users who may not read the scripts' log either.
    pub fn leave_out_hook_output(&mut self) {
        for group in &mut self.groups {
            for deployment in [&mut group.active, &mut group.last, &mut group.failed].into_iter().flatten() {
                deployment.failure.iter_mut().for_each(|failure| failure.tail.clear());
            }
        }
    }
}

/// Current problems; none of them makes the daemon unhealthy. A running deployment is no problem.
pub fn problems(status: &Status, now_ms: u64) -> Vec<String> {
    let Some(daemon) = &status.daemon else { return vec!["no daemon runs".to_owned()] };
    let waiting = daemon.waiting.iter().chain(&daemon.not_followed).cloned();
    let failed = status.groups.iter().filter(|group| group.condition == Condition::Failed);
    let failed = failed.map(|group| match group.rollback_again_ms {
        Some(_) => format!("{}: the rollback has no space, and is tried again", group.key),
        None => format!("{}: the last deployment failed", group.key),
    });
    let open = status.groups.iter().filter_map(|group| Some((&group.key, group.not_undone.as_ref()?)));
    let open = open.map(|(key, not_undone)| format!("{key}: {not_undone}"));
    let stale = daemon.channels.iter().filter(|channel| channel.is_stale(daemon.started_ms, now_ms));
    let stale = stale.map(|channel| {
        let why = channel.error.as_deref().unwrap_or("no poll has ended yet");
        format!("{}: {} has not been read for too long: {why}", channel.key, channel.channel)
    });
    let unhealthy = status.groups.iter().filter_map(|group| {
        let report = group.health.as_ref().filter(|report| report.colour == Colour::Red)?;
        Some(format!("{}: unhealthy: {}", group.key, report.causes.join("; ")))
    });
    let left =
        status.traffic.iter().filter(|withdrawal| withdrawal.is_out_of_service() && !is_active(status, withdrawal));
    let left = left.map(|withdrawal| format!("this host is out of service: {withdrawal}"));
    waiting.chain(open).chain(failed).chain(unhealthy).chain(stale).chain(left).collect()
}

/// Whether a running deployment will put the host back.
fn is_active(status: &Status, withdrawal: &Withdrawal) -> bool {
    status.groups.iter().any(|group| group.key == withdrawal.group && group.active.is_some())
}

/// One deployment group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its names.
    #[serde(flatten)]
    pub key: GroupKey,
    /// Its condition in one word.
    pub condition: Condition,
    /// The installed revision.
    pub installed: Option<Installed>,
    /// The last revision whose deployment succeeded as a whole.
    pub last_good: Option<Installed>,
    /// Which keys signed the installed revision, if any.
    pub signature: Trust,
    /// Version of the channel's key policy, if the store led beyond the configured one.
    #[serde(default)]
    pub key_policy: Option<u64>,
    /// The highest accepted sequence of the channel.
    pub highest_sequence: Option<u64>,
    /// What became of that release here. Daemons of earlier versions leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStanding>,
    /// Why the agent does not follow releases of the channel up to `highest_sequence`, in any condition.
    pub held: Option<String>,
    /// The health of the installed revision; `None` without checks and without a daemon.
    #[serde(default)]
    pub health: Option<HealthReport>,
    /// Why an Install of the group cannot be undone yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_undone: Option<NotUndone>,
    /// The running deployment.
    pub active: Option<DeploymentStatus>,
    /// The deployment that ended last.
    pub last: Option<DeploymentStatus>,
    /// The failed deployment that `last`, a rollback, undid or tried to undo.
    #[serde(default)]
    pub failed: Option<DeploymentStatus>,
    /// When the daemon tries `last`, a rollback without space, again, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_again_ms: Option<u64>,
    /// The revisions to which the group can return, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// A group's condition in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing of the group is on the host: nothing was deployed yet, or it was removed.
    Empty,
    /// The last deployment succeeded.
    Good,
    /// A deployment is running.
    Deploying,
    /// The last deployment failed and was not rolled back.
    Failed,
    /// An earlier revision was restored, by hand or because the last deployment failed. Older agents said `held` for a
    /// rollback by hand.
    #[serde(alias = "held")]
    RolledBack,
    /// The application was stopped because the host leaves service.
    Stopped,
    /// An Install failed or was interrupted and cannot be undone yet: old and new files may be side by side.
    NotUndone,
}

impl Condition {
    /// The word for users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "nothing deployed",
            Self::Good => "good",
            Self::Deploying => "deploying",
            Self::Failed => "FAILED",
            Self::RolledBack => "rolled back",
            Self::Stopped => "stopped",
            Self::NotUndone => "NOT UNDONE",
        }
    }
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// Its id.
    pub id: DeploymentId,
    /// The source of the request.
    pub creator: Creator,
    /// What it is for.
    #[serde(default)]
    pub purpose: DeploymentPurpose,
    /// The failed deployment that it rolls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<DeploymentId>,
    /// The caller, in words.
    pub asked_by: String,
    /// Where the bundle comes from.
    pub location: String,
    /// SHA-256 of the bundle.
    pub revision: Option<Sha256Digest>,
    /// What the revision's publisher calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Sequence of the release.
    pub sequence: Option<u64>,
    /// Which keys signed it, if any.
    #[serde(default)]
    pub signature: Trust,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    pub finished_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The current event.
    pub event: Option<LifecycleEvent>,
    /// When the current event began, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_started_ms: Option<u64>,
    /// The current script.
    pub script: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The events and how they ended.
    pub events: Vec<EventStatus>,
}

/// One lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// The event.
    pub event: LifecycleEvent,
    /// Its status.
    pub status: StepStatus,
    /// How long it took or takes, if known.
    pub milliseconds: Option<u64>,
}

/// The status document of a state.
pub fn status(state: &State, daemon: Option<Daemon>, now_ms: u64) -> Status {
    let groups = state.groups.values().map(|group| group_status(group, daemon.as_ref(), now_ms)).collect();
    Status {
        version: STATUS_VERSION,
        instance: state.instance.clone(),
        daemon,
        interrupted: false,
        groups,
        lifecycle: state.lifecycle.clone(),
        cfn_signals: state.signals.clone(),
        machine_events: state.machine_events.clone(),
        traffic: state.traffic.clone(),
    }
}

fn group_status(group: &Group, daemon: Option<&Daemon>, now_ms: u64) -> GroupStatus {
    GroupStatus {
        key: group.key.clone(),
        condition: condition(group),
        installed: group.installed.clone(),
        last_good: group.last_good.clone(),
        signature: group.installed.as_ref().map(|i| i.trust.clone()).unwrap_or_default(),
        key_policy: group.following.keys.as_ref().map(|keys| keys.policy.version),
        highest_sequence: group.following.highest.map(|h| h.sequence),
        release: released::standing(group),
        held: group.following.hold().map(str::to_owned),
        health: daemon.and_then(|daemon| daemon.health.get(&group.key.id())).cloned(),
        not_undone: group.active.as_ref().and_then(|d| d.not_undone.clone()),
        active: group.active.as_ref().map(|d| deployment_status(d, now_ms)),
        last: group.finished.last().map(|d| deployment_status(d, now_ms)),
        failed: made_good(group).map(|d| deployment_status(d, now_ms)),
        rollback_again_ms: again_at_ms(group),
        earlier: earlier::of_group(group),
    }
}

fn made_good(group: &Group) -> Option<&Deployment> {
    let rolls_back = group.finished.last()?.request.purpose.rolls_back()?;
    group.finished.iter().find(|d| d.id == rolls_back.deployment)
}

/// A group in one word.
pub(crate) fn condition(group: &Group) -> Condition {
    if let Some(active) = &group.active {
        return if active.not_undone.is_some() { Condition::NotUndone } else { Condition::Deploying };
    }
    let Some(last) = group.finished.last() else { return Condition::Empty };
    if last.outcome == Some(Outcome::Failed) {
        return Condition::Failed;
    }
    match &last.request.purpose {
        Purpose::Remove => Condition::Empty,
        Purpose::Stop(_) => Condition::Stopped,
        // Sealed after a removal: the deployment before it is the last one that is remembered.
        _ if group.installed.is_none() && group.installed_before.is_some() => Condition::Empty,
        Purpose::RollBack(_) | Purpose::RollBackByHand => Condition::RolledBack,
        Purpose::Release(_) | Purpose::ByHand | Purpose::Commanded => Condition::Good,
    }
}

/// A deployment for the status document.
pub fn deployment_status(deployment: &Deployment, now_ms: u64) -> DeploymentStatus {
    let request = &deployment.request;
    let current = deployment.current().filter(|s| s.status == StepStatus::Running);
    let script = match deployment.in_flight.as_ref().map(|effect| &effect.work) {
        Some(Work::RunHook { index, .. }) => current.and_then(|s| s.scripts.get(*index)).map(|s| s.location.clone()),
        _ => None,
    };
    DeploymentStatus {
        id: deployment.id.clone(),
        creator: request.purpose.creator(),
        purpose: request.purpose.named(),
        rolls_back: request.purpose.rolls_back().map(|rolls_back| rolls_back.deployment.clone()),
        asked_by: request.asked_by.clone(),
        location: request.revision.location.clone(),
        revision: request.revision.digest,
        label: request.revision.label.clone(),
        sequence: request.sequence(),
        signature: request.trust.clone(),
        started_ms: deployment.started_ms,
        finished_ms: deployment.finished_ms,
        outcome: deployment.outcome,
        event: current.map(|s| s.event),
        event_started_ms: current.and_then(|s| s.started_ms),
        script,
        failure: deployment.failure.clone(),
        warnings: warnings(deployment),
        events: deployment
            .steps
            .iter()
            .map(|step| EventStatus {
                event: step.event,
                status: step.status,
                milliseconds: step
                    .lasted_ms
                    .or_else(|| step.started_ms.map(|from| step.finished_ms.unwrap_or(now_ms).saturating_sub(from))),
            })
            .collect(),
    }
}

fn warnings(deployment: &Deployment) -> Vec<String> {
    let mut shown = deployment.warnings.clone();
    let more = deployment.warnings_left_out;
    shown.extend((more > 0).then(|| format!("{more} more warnings are in the agent's log only")));
    shown
}

#[cfg(test)]
pub(crate) mod tests;
