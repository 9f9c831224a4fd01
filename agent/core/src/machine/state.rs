//! What the ledger holds. Everything that is shown is derived from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::appspec::spec::{FileExistsBehavior, HookScript};
use crate::bundle::BundleType;
use crate::codedeploy::specification::RevisionLocation;
use crate::event_order::LifecycleEvent;
use crate::health::Check;
use crate::history::HistoryState;
use crate::hook::HookOutcome;
use crate::ids::{DeploymentId, GroupKey, InstanceId, Sha256Digest};
use crate::lifecycle::Lifecycle;
use crate::machine::checks::ProbePhase;
use crate::machine::command::{Commanded, Service};
use crate::machine::event::Effect;
use crate::machine_events::MachineEvents;
use crate::release::{AcceptedKeys, Highest, Trust};
use crate::signals::Signals;
use crate::traffic::Withdrawal;

/// The current version of [`State`].
pub const STATE_VERSION: u32 = 1;

/// Deployments that are remembered for each group after they ended; older ones are in the history only.
pub const REMEMBERED_DEPLOYMENTS: usize = 10;

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
    /// service's next command is not.
    pub fn is_busy(&self) -> bool {
        let returns = self.traffic.as_ref().is_some_and(|withdrawal| withdrawal.in_flight.is_some());
        returns || self.all_active().any(|(_, deployment)| !deployment.waits_for_command())
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
        let deployment = self.finished.iter().find(|d| &d.id == archive)?;
        deployment.request.policy.appspec_name.as_deref()
    }

    /// Adds a deployment that ended, and forgets the oldest: what retention needs and people ask for stays.
    pub(crate) fn remember(&mut self, deployment: Deployment) {
        self.totals.count(&deployment);
        let revisions = usize::try_from(deployment.request.policy.max_revisions).unwrap_or(usize::MAX);
        let most = REMEMBERED_DEPLOYMENTS.max(revisions.min(100));
        self.finished.push(deployment);
        let surplus = self.finished.len().saturating_sub(most);
        self.finished.drain(..surplus);
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
    /// Why releases up to `highest` are not followed, after a rollback by hand; `resume` clears it.
    pub held: Option<String>,
}

/// A revision by its content, or by its place where the content is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Where it comes from, as text for people.
    pub location: String,
    /// SHA-256 of the bundle; `None` for a directory.
    pub digest: Option<Sha256Digest>,
    /// Bytes of the bundle; `None` for a directory.
    pub size: Option<u64>,
    /// Its form; `None` until it was looked at.
    pub bundle_type: Option<BundleType>,
}

impl Request {
    /// The sequence of the release that asks for it.
    pub fn sequence(&self) -> Option<u64> {
        self.release.map(|release| release.sequence)
    }
}

/// Who asked for a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Creator {
    /// A release in the group's channel.
    Channel,
    /// `hostler deploy`.
    Cli,
    /// The CodeDeploy service.
    CodeDeploy,
    /// A rollback, by hand or automatic.
    Rollback,
    /// The Auto Scaling group or EC2.
    Lifecycle,
}

/// Where a bundle is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An object of a store.
    Store {
        /// The store as configured.
        store: String,
        /// The object's key.
        key: String,
    },
    /// What is in no store of ours: `s3://bucket/key?versionId=…`, `https://host/path`.
    Location {
        /// Where it is.
        location: String,
    },
    /// A file or directory on this host.
    Path {
        /// Absolute path.
        path: PathBuf,
    },
    /// Where a deployment of the CodeDeploy service has its bundle.
    CodeDeploy {
        /// The place.
        location: RevisionLocation,
        /// The deployment whose bundle may be used again instead.
        reuse: Option<DeploymentId>,
    },
    /// The unpacked bundle of an earlier deployment of the group.
    Kept {
        /// That deployment.
        deployment: DeploymentId,
    },
}

/// What was asked for; it does not change while the deployment goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The group.
    pub key: GroupKey,
    /// Who asked.
    pub creator: Creator,
    /// Who asked, in words: a user, a release.
    pub asked_by: String,
    /// Where the bundle is.
    pub source: Source,
    /// The revision as far as it is known.
    pub revision: Revision,
    /// The release that asks for it, as it is accepted.
    pub release: Option<Highest>,
    /// Who signed it; a rollback keeps the word for the revision that it returns to.
    #[serde(default)]
    pub trust: Trust,
    /// The failure that this one makes good, for a rollback that nobody asked for by hand.
    pub rolls_back: Option<RollsBack>,
    /// Whether the group's files are taken off the host, with nothing in their place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removes: bool,
    /// Whether the application is only stopped, for the lifecycle action with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<Stop>,
    /// How it is done.
    pub policy: Policy,
}

/// Why and by when an application is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Number of the lifecycle action.
    pub entry: u64,
    /// When its scripts must have ended, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// The failed deployment that an automatic rollback follows, and what has to be put right after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollsBack {
    /// The deployment that failed.
    pub deployment: DeploymentId,
    /// How much of the failed deployment has to be undone.
    pub extent: RollbackExtent,
}

/// How much of a failed deployment has to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackExtent {
    /// The old files are in place: the old application is only started again.
    Restart,
    /// The new files are in place and the new application was not started.
    Reinstall,
    /// The new application was started, so its ApplicationStop runs first.
    StopAndReinstall,
}

/// How a deployment is done: the group's settings with the deployment's own on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic.
    pub ignore_application_stop_failures: bool,
    /// Remove what the last deployment installed and this one does not.
    pub cleanup: bool,
    /// What to do with files that are there and were not installed by the last deployment.
    pub file_exists_behavior: FileExistsBehavior,
    /// When an event fails, return to the last good revision.
    pub rollback: RollbackPolicy,
    /// Revisions that are kept on the host, the current and the last good among them; at least 2.
    pub max_revisions: u32,
    /// Bytes that the kept revisions may take; what is on the host and the last good one stay whatever they take.
    #[serde(default)]
    pub max_revision_bytes: Option<u64>,
    /// Keep the bundle of the last deployment packed, where there is room, so that the next one fetches less.
    #[serde(default = "yes")]
    pub keep_bundle: bool,
    /// Name of the appspec file in the bundle, where it is not appspec.yml or appspec.yaml.
    pub appspec_name: Option<String>,
    /// Seconds after the host is back in service in which its health checks must stay healthy, unless the appspec says
    /// otherwise; 0 is none.
    #[serde(default)]
    pub bake_seconds: u64,
}

fn yes() -> bool {
    true
}

/// After which failures the last good revision is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackPolicy {
    /// Never.
    Never,
    /// After the failure of any event that touched the host.
    Always,
    /// After the failure of one of these.
    Events(Vec<LifecycleEvent>),
}

impl RollbackPolicy {
    /// Whether the failure of this event is followed by a rollback.
    pub fn covers(&self, event: LifecycleEvent) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Events(events) => events.contains(&event),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ignore_application_stop_failures: false,
            cleanup: true,
            file_exists_behavior: FileExistsBehavior::Disallow,
            rollback: RollbackPolicy::Always,
            max_revisions: 5,
            max_revision_bytes: None,
            keep_bundle: true,
            appspec_name: None,
            bake_seconds: 0,
        }
    }
}

/// One attempt to put one revision on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// What was asked for.
    pub request: Request,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    pub finished_ms: Option<u64>,
    /// Its lifecycle events in order.
    pub steps: Vec<Step>,
    /// The effect that is going on; at most one.
    pub in_flight: Option<Effect>,
    /// Whether a script asked for a reboot that has not happened yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebooting: bool,
    /// Whether Install put its files in place (and it was not undone).
    pub installed: bool,
    /// The health checks of its appspec, known once the bundle was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
    /// Things that people should know and that did not stop it.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Of a deployment of the CodeDeploy service: which command it carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commanded: Option<Commanded>,
}

impl Deployment {
    /// What it leaves on the host, installed at `at_ms` (milliseconds since 1970).
    pub fn to_installed(&self, at_ms: u64) -> Installed {
        Installed {
            deployment: self.id.clone(),
            archive: self.archive().clone(),
            revision: self.request.revision.clone(),
            sequence: self.request.sequence(),
            trust: self.request.trust.clone(),
            at_ms,
            health: self.health.clone(),
        }
    }

    /// Whether it can only go on with a command of the CodeDeploy service.
    pub fn waits_for_command(&self) -> bool {
        let waits = self.commanded.as_ref().is_some_and(|c| c.command.is_none() && !c.over);
        waits && self.in_flight.is_none() && self.failure.is_none()
    }

    /// Whether its bundle is unpacked where hooks find it.
    pub fn is_unpacked(&self) -> bool {
        self.step(LifecycleEvent::DownloadBundle).is_some_and(|s| s.status == StepStatus::Succeeded)
    }

    /// The deployment whose directory holds the unpacked bundle: an earlier one for a rollback.
    pub fn archive(&self) -> &DeploymentId {
        match &self.request.source {
            Source::Kept { deployment } => deployment,
            Source::Store { .. } | Source::Location { .. } | Source::Path { .. } | Source::CodeDeploy { .. } => {
                &self.id
            }
        }
    }

    /// The first event that has neither ended nor been skipped.
    pub fn current(&self) -> Option<&Step> {
        self.steps.iter().find(|s| !s.status.is_final())
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Step> {
        self.steps.iter_mut().find(|s| !s.status.is_final())
    }

    /// The step of an event; a rollback deployment or a restart of the old revision has not all of them.
    pub fn step(&self, event: LifecycleEvent) -> Option<&Step> {
        self.steps.iter().find(|s| s.event == event)
    }

    /// Whether it came further than fetching and checking.
    pub fn has_touched_the_host(&self) -> bool {
        self.steps.iter().any(|s| s.event != LifecycleEvent::DownloadBundle && s.started_ms.is_some())
    }

    /// Whether this event has begun.
    pub fn began(&self, event: LifecycleEvent) -> bool {
        self.step(event).is_some_and(|s| s.started_ms.is_some())
    }
}

/// One lifecycle event of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which event.
    pub event: LifecycleEvent,
    /// How far it is.
    pub status: StepStatus,
    /// When it began, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
    /// Its scripts, known once the bundle was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// What the health checks have to show after the scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbePhase>,
}

impl Step {
    /// An event that has not begun, and whose scripts are not known.
    pub fn new(event: LifecycleEvent) -> Self {
        Self {
            event,
            status: StepStatus::Pending,
            started_ms: None,
            finished_ms: None,
            scripts: Vec::new(),
            probe: None,
        }
    }
}

/// How far an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Going on.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed.
    Failed,
    /// Failed, and the policy says to go on.
    Ignored,
    /// Nothing to do, or not reached.
    Skipped,
}

impl StepStatus {
    /// Whether nothing more happens to it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// One script of an event in this deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The deployment whose unpacked bundle holds it.
    pub archive: DeploymentId,
    /// Path in that bundle, as the appspec writes it.
    pub location: String,
    /// Seconds until its deadline.
    pub timeout_seconds: u64,
    /// The user to run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runas: Option<String>,
    /// Whether it runs as root.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sudo: bool,
    /// Whether it may be run again after an interruption.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeatable: bool,
    /// Variables that the appspec gives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// Most bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// How often it was begun.
    #[serde(default)]
    pub attempts: u32,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<HookOutcome>,
}

impl Script {
    /// A script of a bundle that was unpacked by `archive`, not begun.
    pub fn new(archive: DeploymentId, hook: &HookScript) -> Self {
        Self {
            archive,
            location: hook.location.clone(),
            timeout_seconds: hook.timeout_seconds,
            runas: hook.runas.clone(),
            sudo: hook.sudo,
            repeatable: hook.options.repeatable,
            environment: hook.options.environment.clone(),
            tasks_max: hook.options.tasks_max,
            memory_max: hook.options.memory_max,
            attempts: 0,
            outcome: None,
        }
    }
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The event that failed.
    pub event: LifecycleEvent,
    /// The script, as the appspec writes it.
    pub script: Option<String>,
    /// What went wrong and, where it is known, what to do.
    pub message: String,
    /// The last lines of output.
    pub tail: Vec<String>,
    /// Whether a digest or size did not match.
    pub verification: bool,
    /// Whether what should be deployed does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every event succeeded.
    Succeeded,
    /// An event failed.
    Failed,
}
