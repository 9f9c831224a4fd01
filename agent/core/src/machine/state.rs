//! The state that the ledger holds. All output is derived from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cfn_signals::Signals;
use crate::health::Check;
use crate::history::HistoryState;
use crate::ids::{DeploymentId, GroupKey, InstanceId};
use crate::lifecycle::Lifecycle;
use crate::machine::command::Service;
use crate::machine::room;
use crate::machine_events::MachineEvents;
use crate::release::{AcceptedKeys, Highest, Trust};
use crate::traffic::Withdrawal;

mod content;
mod deployment;
mod not_undone;
mod purpose;
mod request;

pub use crate::machine::failure::Failure;
pub(crate) use content::{Content, add_new, content_of, installed_content, is_same};
pub use deployment::{BootTime, Deployment, Outcome, Script, Step, StepStatus};
pub use not_undone::NotUndone;
pub use purpose::{Creator, Purpose, RollbackExtent, RollsBack, Stop};
pub use request::{Policy, Request, Revision, RollbackPolicy, Source};

/// The current version of [`State`].
pub const STATE_VERSION: u32 = 1;

/// Deployments that are remembered for each group after they ended; older ones are in the history only.
pub const REMEMBERED_DEPLOYMENTS: usize = 10;

/// Deployments of each group that keep their tails and warnings: the newest ones.
const WITH_TEXTS: usize = 2;

/// The agent's whole persisted state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of this document.
    pub version: u32,
    /// The host that it belongs to.
    pub instance: Option<InstanceId>,
    /// Number of the next effect.
    pub next_effect: u64,
    /// The end of the history's hash chain, with the records that may not be in its file yet.
    pub history: HistoryState,
    /// The deployment groups by their id.
    pub groups: BTreeMap<String, Group>,
    /// The Auto Scaling group's wishes for this host, and how the agent met them.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// The operator's scripts for events of the machine.
    #[serde(default, skip_serializing_if = "MachineEvents::is_empty")]
    pub machine_events: MachineEvents,
    /// The signals that were sent to CloudFormation.
    #[serde(default, skip_serializing_if = "Signals::is_empty")]
    pub signals: Signals,
    /// The place that this host was taken out of, until the agent puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Withdrawal>,
    /// The agent's record of the CodeDeploy service; empty when the service is not followed.
    #[serde(default, skip_serializing_if = "Service::is_empty")]
    pub service: Service,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            instance: None,
            next_effect: 1,
            history: HistoryState::default(),
            groups: BTreeMap::new(),
            lifecycle: Lifecycle::default(),
            machine_events: MachineEvents::default(),
            signals: Signals::default(),
            traffic: None,
            service: Service::default(),
        }
    }
}

impl State {
    /// The active deployment with this id, and its group.
    pub fn active(&self, id: &DeploymentId) -> Option<(&Group, &Deployment)> {
        self.groups.values().find_map(|group| group.active.as_ref().filter(|d| &d.id == id).map(|d| (group, d)))
    }

    /// Whether a deployment runs, or the host is being put back into service. A deployment that waits for the service's
    /// next command does not count, nor does one whose Install waits to be undone.
    pub fn is_busy(&self) -> bool {
        let returns = self.traffic.as_ref().is_some_and(|withdrawal| withdrawal.in_flight.is_some());
        let goes_on = |d: &Deployment| !d.waits_for_command() && d.waits_to_be_undone().is_none();
        returns || self.all_active().any(|(_, deployment)| goes_on(deployment))
    }

    /// When the next action is due that no effect's end triggers, milliseconds since 1970: putting the host back into
    /// service, or another try to undo an Install.
    pub fn next_due_ms(&self) -> Option<u64> {
        let tries = self.all_active().filter_map(|(_, deployment)| deployment.waits_to_be_undone());
        self.put_back_at_ms().into_iter().chain(tries.map(NotUndone::next_try_ms)).min()
    }

    /// All active deployments.
    pub fn all_active(&self) -> impl Iterator<Item = (&Group, &Deployment)> {
        self.groups.values().filter_map(|group| group.active.as_ref().map(|d| (group, d)))
    }
}

/// One deployment group on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its names.
    pub key: GroupKey,
    /// The revision whose files are on the host: the last Install that succeeded.
    pub installed: Option<Installed>,
    /// The revision on the host before it. Its files return when that Install is undone.
    pub installed_before: Option<Installed>,
    /// The last deployment with no failed event.
    pub last_good: Option<Installed>,
    /// How it follows its channel.
    pub following: Following,
    /// The running deployment.
    pub active: Option<Deployment>,
    /// Deployments that ended, newest last.
    pub finished: Vec<Deployment>,
    /// How many deployments ended on this instance, and how.
    #[serde(default)]
    pub totals: Totals,
}

/// Counts of deployments by outcome, for metrics: `finished` forgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Deployments that succeeded, without rollbacks.
    pub succeeded: u64,
    /// Deployments that failed, without rollbacks.
    pub failed: u64,
    /// Rollbacks that succeeded.
    pub rolled_back: u64,
    /// Rollbacks that failed.
    pub rollback_failed: u64,
    /// When a deployment last succeeded, milliseconds since 1970.
    #[serde(default)]
    pub last_success_ms: Option<u64>,
}

impl Totals {
    fn count(&mut self, deployment: &Deployment) {
        let rollback = deployment.request.purpose.is_rollback();
        let counter = match (deployment.outcome, rollback) {
            (Some(Outcome::Succeeded), false) => &mut self.succeeded,
            (Some(Outcome::Succeeded), true) => &mut self.rolled_back,
            (Some(Outcome::Failed), false) => &mut self.failed,
            (Some(Outcome::Failed), true) => &mut self.rollback_failed,
            (None, _) => return,
        };
        *counter += 1;
        if deployment.outcome == Some(Outcome::Succeeded) {
            self.last_success_ms = deployment.finished_ms;
        }
    }
}

impl Group {
    /// A group that has not been deployed to.
    pub fn new(key: GroupKey) -> Self {
        Self {
            key,
            installed: None,
            installed_before: None,
            last_good: None,
            following: Following::default(),
            active: None,
            finished: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// The name of the appspec file in the bundle that a deployment unpacked, if the deployment had its own name for
    /// it.
    pub fn appspec_name_of(&self, archive: &DeploymentId) -> Option<&str> {
        let in_use = self.installed.iter().chain(&self.installed_before).chain(&self.last_good);
        let known = in_use.filter(|i| &i.archive == archive).find_map(|i| i.appspec_name.as_deref());
        // Installs by an older agent have the name in the deployment only.
        known.or_else(|| {
            let deployment = self.finished.iter().find(|d| &d.id == archive)?;
            deployment.request.policy.appspec_name.as_deref()
        })
    }

    /// Adds a deployment that ended, and forgets the oldest ones. The newest good revisions are forgotten last, so that
    /// neither failures nor the same revision again and again use them up. Older deployments lose their output and
    /// warnings.
    pub(crate) fn remember(&mut self, deployment: Deployment) {
        self.totals.count(&deployment);
        let revisions = usize::try_from(deployment.request.policy.max_revisions).unwrap_or(usize::MAX);
        let most = REMEMBERED_DEPLOYMENTS.max(revisions.min(100));
        self.finished.push(deployment);
        // A failure and its rollback are shown together, however many good revisions there are.
        let good = revisions.min(most.saturating_sub(4));
        while self.finished.len() > most {
            self.finished.remove(self.least_needed(good));
        }
        self.finished.iter_mut().rev().skip(WITH_TEXTS).for_each(room::forget_texts);
    }

    /// The place of the oldest deployment that brought none of the newest `most_good` good revisions. Of one revision
    /// the newest good deployment is needed, and, while there is room, the first: it gives the revision its place among
    /// the others. The newest deployment stays.
    fn least_needed(&self, most_good: usize) -> usize {
        let older = self.finished.split_last().map_or(&[][..], |(_, older)| older);
        let good = || self.finished.iter().filter(|d| d.brought_good_revision());
        let mut revisions: Vec<Content<'_>> = Vec::new();
        // A revision's content names the deployment that was found first.
        for deployment in good().rev() {
            if revisions.len() < most_good {
                add_new(&mut revisions, content_of(deployment));
            }
        }
        let is_newest = |d: &Deployment| revisions.iter().any(|(newest, _)| *newest == &d.id);
        let mut first: Vec<Content<'_>> = Vec::new();
        for deployment in good() {
            add_new(&mut first, content_of(deployment));
        }
        let is_kept = |content| revisions.iter().any(|kept| is_same(kept, content));
        let is_first = |d: &Deployment| first.iter().any(|content| content.0 == &d.id && is_kept(content));
        let spare = older.iter().position(|d| !is_newest(d) && !is_first(d));
        spare.or_else(|| older.iter().position(|d| !is_newest(d))).unwrap_or(0)
    }
}

/// A revision that was put on the host by a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The deployment that put it there; its directory holds the install journal.
    pub deployment: DeploymentId,
    /// The deployment whose directory holds the unpacked bundle. After a rollback it is a different one.
    pub archive: DeploymentId,
    /// The revision.
    pub revision: Revision,
    /// Name of the appspec file in its bundle, where it is not appspec.yml or appspec.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appspec_name: Option<String>,
    /// Sequence of the release that asked for it.
    pub sequence: Option<u64>,
    /// Which keys signed it, if any.
    #[serde(default)]
    pub trust: Trust,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The health checks of its appspec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
}

impl Installed {
    /// The revision for people. Revisions of one directory have no digest, and are told apart by their deployments.
    pub fn name(&self) -> String {
        match self.revision.digest {
            Some(_) => self.revision.name(),
            None => format!("{} as of {}", self.revision.name(), self.archive),
        }
    }
}

/// How far a group has followed its channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The highest release that was accepted; a lower one is refused.
    pub highest: Option<Highest>,
    /// The sequence that was deployed or tried last; the agent does not try it again by itself.
    pub tried_sequence: u64,
    /// The highest key policy of the channel that was accepted, if it is beyond the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<AcceptedKeys>,
    /// Why the agent does not follow releases up to `highest` after a rollback by hand; `resume` clears it. Read it
    /// through [`Following::hold`].
    pub held: Option<String>,
}

impl Following {
    /// Why the agent does not follow releases up to `highest`. Without an accepted release there is nothing to hold.
    pub fn hold(&self) -> Option<&str> {
        self.held.as_deref().filter(|_| self.highest.is_some())
    }

    /// Holds the releases accepted so far and returns the highest sequence held; `None` without any.
    pub(crate) fn hold_because(&mut self, why: String) -> Option<u64> {
        let sequence = self.highest.map(|highest| highest.sequence);
        self.held = sequence.map(|_| why);
        sequence
    }
}
