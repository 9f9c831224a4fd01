//! What the ledger holds. Everything that is shown is derived from it.

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

mod deployment;
mod not_undone;
mod request;

pub use deployment::{BootTime, Deployment, Failure, Outcome, Script, Step, StepStatus};
pub use not_undone::NotUndone;
pub use request::{Creator, Policy, Request, Revision, RollbackExtent, RollbackPolicy, RollsBack, Source, Stop};

/// The current version of [`State`].
pub const STATE_VERSION: u32 = 1;

/// Deployments that are remembered for each group after they ended; older ones are in the history only.
pub const REMEMBERED_DEPLOYMENTS: usize = 10;

/// Deployments of each group of which tails and warnings are remembered, the newest.
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
    /// What the Auto Scaling group wants of this host, and what was done about it.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// The operator's scripts for what happens to the machine.
    #[serde(default, skip_serializing_if = "MachineEvents::is_empty")]
    pub machine_events: MachineEvents,
    /// What was signalled to CloudFormation.
    #[serde(default, skip_serializing_if = "Signals::is_empty")]
    pub signals: Signals,
    /// What this host was taken out of, until it was put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Withdrawal>,
    /// What is known of the CodeDeploy service; empty where it is not followed.
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
    /// The deployment with this id that is active, with its group.
    pub fn active(&self, id: &DeploymentId) -> Option<(&Group, &Deployment)> {
        self.groups.values().find_map(|group| group.active.as_ref().filter(|d| &d.id == id).map(|d| (group, d)))
    }

    /// Whether a deployment is going on, or the host is being put back into service; a deployment that waits for the
    /// service's next command is not, nor is one whose Install waits until it can be undone.
    pub fn is_busy(&self) -> bool {
        let returns = self.traffic.as_ref().is_some_and(|withdrawal| withdrawal.in_flight.is_some());
        let goes_on = |d: &Deployment| !d.waits_for_command() && d.waits_to_be_undone().is_none();
        returns || self.all_active().any(|(_, deployment)| goes_on(deployment))
    }

    /// When something is due that no effect's end brings, milliseconds since 1970: the host is put back into service, or
    /// it is tried again to undo an Install.
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
    /// Whose files are on the host: the last Install that succeeded.
    pub installed: Option<Installed>,
    /// What was on the host before it; its files are there again when that Install is undone.
    pub installed_before: Option<Installed>,
    /// The last deployment that succeeded as a whole.
    pub last_good: Option<Installed>,
    /// How it follows its channel.
    pub following: Following,
    /// The deployment that is going on.
    pub active: Option<Deployment>,
    /// Deployments that ended, newest last.
    pub finished: Vec<Deployment>,
    /// How many ended, and how, on this instance.
    #[serde(default)]
    pub totals: Totals,
}

/// Counts of deployments by outcome, for metrics: `finished` forgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// That succeeded, rollbacks not among them.
    pub succeeded: u64,
    /// That failed, rollbacks not among them.
    pub failed: u64,
    /// Rollbacks that succeeded.
    pub rolled_back: u64,
    /// Rollbacks that failed.
    pub rollback_failed: u64,
    /// When one succeeded last, milliseconds since 1970.
    #[serde(default)]
    pub last_success_ms: Option<u64>,
}

impl Totals {
    fn count(&mut self, deployment: &Deployment) {
        let rollback = deployment.request.creator == Creator::Rollback;
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

    /// The name of the appspec file in the bundle that a deployment unpacked, where it was deployed with a name of its
    /// own.
    pub fn appspec_name_of(&self, archive: &DeploymentId) -> Option<&str> {
        let in_use = self.installed.iter().chain(&self.installed_before).chain(&self.last_good);
        let known = in_use.filter(|i| &i.archive == archive).find_map(|i| i.appspec_name.as_deref());
        // What an older agent installed has its name in the deployment only.
        known.or_else(|| {
            let deployment = self.finished.iter().find(|d| &d.id == archive)?;
            deployment.request.policy.appspec_name.as_deref()
        })
    }

    /// Adds a deployment that ended, and forgets the oldest: what retention needs and people ask for stays. Of older ones
    /// the output and the warnings go.
    pub(crate) fn remember(&mut self, deployment: Deployment) {
        self.totals.count(&deployment);
        let revisions = usize::try_from(deployment.request.policy.max_revisions).unwrap_or(usize::MAX);
        let most = REMEMBERED_DEPLOYMENTS.max(revisions.min(100));
        self.finished.push(deployment);
        let surplus = self.finished.len().saturating_sub(most);
        self.finished.drain(..surplus);
        self.finished.iter_mut().rev().skip(WITH_TEXTS).for_each(room::forget_texts);
    }
}

/// A revision that was put on the host by a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The deployment that put it there; its directory holds the install journal.
    pub deployment: DeploymentId,
    /// The deployment whose directory holds the unpacked bundle; another one after a rollback.
    pub archive: DeploymentId,
    /// The revision.
    pub revision: Revision,
    /// Name of the appspec file in its bundle, where it is not appspec.yml or appspec.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appspec_name: Option<String>,
    /// Sequence of the release that asked for it.
    pub sequence: Option<u64>,
    /// Who signed it.
    #[serde(default)]
    pub trust: Trust,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The health checks of its appspec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
}

/// How far a group has followed its channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The highest release that was accepted; a lower one is refused.
    pub highest: Option<Highest>,
    /// The sequence that was deployed or tried last; it is not tried again by itself.
    pub tried_sequence: u64,
    /// The highest key policy of the channel that was accepted, where one beyond the configured one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<AcceptedKeys>,
    /// Why releases up to `highest` are not followed, after a rollback by hand; `resume` clears it. Read it by
    /// [`Following::hold`].
    pub held: Option<String>,
}

impl Following {
    /// Why releases up to `highest` are not followed. Where no release was ever accepted there is nothing to hold.
    pub fn hold(&self) -> Option<&str> {
        self.held.as_deref().filter(|_| self.highest.is_some())
    }

    /// Holds the releases that were accepted so far, and says up to which sequence; `None` where there are none.
    pub(crate) fn hold_because(&mut self, why: String) -> Option<u64> {
        let sequence = self.highest.map(|highest| highest.sequence);
        self.held = sequence.map(|_| why);
        sequence
    }
}
