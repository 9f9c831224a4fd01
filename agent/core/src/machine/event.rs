//! The state machine's input and output.

use serde::{Deserialize, Serialize};

use crate::appspec::spec::EventHooks;
use crate::codedeploy::diagnostics::Report;
use crate::codedeploy::wire::CommandStatus;
use crate::codes::ExitCode;
use crate::event_order::LifecycleEvent;
use crate::hook::HookResult;
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::lifecycle::Change;
use crate::machine::checks::{PreparedHealth, ProbePhase};
use crate::machine::command::Order;
use crate::machine::retention::Kept;
use crate::machine::state::{NotUndone, Outcome, Request, Revision, StepStatus};
use crate::release::{AcceptedKeys, Trust};
use crate::traffic::{Place, PutBack, PutBackWork, TrafficPhase};

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A caller asks for a deployment. The id was made from fresh randomness.
    Deploy {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The request.
        request: Box<Request>,
    },
    /// A rollback by hand: to the last good revision, or to the revision that a named deployment installed.
    Rollback {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The group.
        key: GroupKey,
        /// The deployment to return to; `None` is the last good one.
        to: Option<DeploymentId>,
        /// Whether that deployment may be one that failed.
        force: bool,
        /// The caller.
        asked_by: String,
        /// How it is done.
        policy: Box<crate::machine::state::Policy>,
    },
    /// Take the group's files off this host, after its ApplicationStop, and hold its channel.
    Remove {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The group.
        key: GroupKey,
        /// The caller.
        asked_by: String,
        /// How it is done.
        policy: Box<crate::machine::state::Policy>,
    },
    /// The group's last rollback was automatic and failed for want of space: try it again.
    RollbackAgain {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The group.
        key: GroupKey,
    },
    /// Follow the channel again after a rollback by hand.
    Resume {
        /// The group.
        key: GroupKey,
        /// The caller.
        asked_by: String,
    },
    /// Stop a group's application, for the open lifecycle action.
    Stop {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The group.
        key: GroupKey,
        /// How it is done.
        policy: Box<crate::machine::state::Policy>,
    },
    /// The journal of the instance's lifecycle changes.
    Lifecycle(Change),
    /// The journal of machine events changes.
    Machine(crate::machine_events::Change),
    /// The journal of the signals to CloudFormation changes.
    Signals(crate::cfn_signals::Change),
    /// A command of the CodeDeploy service came. A known command changes nothing, except that a report already sent is
    /// sent again.
    Commanded {
        /// The service's name for it.
        identifier: String,
        /// The agent asks for the deployment's specification with this.
        execution: String,
        /// The request, or the report to send because the request cannot be met.
        order: Result<Box<Order>, Report>,
    },
    /// The service has taken a command's acknowledgement.
    Acknowledged {
        /// The command.
        identifier: String,
        /// How far the command is, in the service's view.
        answer: CommandStatus,
    },
    /// The service has taken a command's report, or refused it for good.
    Reported {
        /// The command.
        identifier: String,
    },
    /// From now on specifications must be signed with this certificate.
    TrustSigner {
        /// Its SHA-256.
        certificate: Sha256Digest,
        /// Whether it signs over digests stronger than SHA-1.
        left_sha1: bool,
    },
    /// The store leads to a new key policy of the group, signed with the keys before it.
    KeysAccepted {
        /// The group.
        key: GroupKey,
        /// The policy.
        keys: Box<AcceptedKeys>,
    },
    /// The release in progress has signatures of the current keys.
    SignedAgain {
        /// The group.
        key: GroupKey,
        /// Digest of the release's payload.
        release: Sha256Digest,
        /// Which keys signed it, if any.
        trust: Trust,
    },
    /// An effect ended.
    Finished {
        /// The effect's number.
        effect: u64,
        /// The effect's result.
        result: Box<WorkResult>,
    },
    /// The agent starts or continues: begin everything that can begin.
    Proceed,
}

/// One action outside the state machine, with the number under which its end is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Unique on this host.
    pub number: u64,
    /// The work.
    pub work: Work,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// The kernel's boot in which it began. Another boot means that the host went down in the middle.
    pub boot_id: String,
}

impl From<&PutBack> for Effect {
    fn from(put_back: &PutBack) -> Self {
        let PutBackWork::Traffic { phase } = put_back.work;
        let work = Work::Traffic { phase };
        Self { number: put_back.number, work, begun_ms: put_back.begun_ms, boot_id: put_back.boot_id.clone() }
    }
}

/// An action outside the state machine. Each may be started again after a crash: see the method `after_a_crash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Fetch, verify, unpack and check the bundle (the event DownloadBundle).
    Prepare,
    /// Fetch and check the bundle in a separate place, before scripts of the old revision run: a bundle that cannot be
    /// deployed is no reason to stop the application.
    CheckBundle,
    /// Run one script.
    RunHook {
        /// The event.
        event: LifecycleEvent,
        /// The index of the script among the event's scripts, from 0.
        index: usize,
        /// The number of the attempt, from 1. Each attempt has its own run directory.
        attempt: u32,
    },
    /// Plan again for the current host and put the files in place.
    Install,
    /// Ask the health checks until they pass or fail the deployment.
    Probe {
        /// What they must show.
        phase: ProbePhase,
    },
    /// Take the host out of service, or put it back.
    Traffic {
        /// The phase.
        phase: TrafficPhase,
    },
    /// Restart the host, because a script asked for it with exit status 194. In any boot other than the one in which
    /// the effect began, the restart has happened.
    Reboot,
    /// Settle the install journal and delete old revisions.
    Finish {
        /// Whether the replaced files are given up (the deployment succeeded) or kept for a rollback.
        commit: bool,
        /// The deployments whose directories stay on the host.
        keep: Kept,
    },
}

/// What the agent may do with an effect that was running when the agent went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterACrash {
    /// Starting it again does no harm: its parts replace the results of the earlier try.
    Repeat,
    /// It keeps its own record outside the ledger of how far it came. Starting it again reads that record first.
    LookFirst,
}

impl Work {
    /// How the next start resumes the effect.
    pub fn after_a_crash(&self) -> AfterACrash {
        match self {
            Self::Prepare | Self::CheckBundle | Self::Probe { .. } | Self::Finish { .. } => AfterACrash::Repeat,
            Self::RunHook { .. } | Self::Install | Self::Traffic { .. } | Self::Reboot => AfterACrash::LookFirst,
        }
    }

    /// Whether a stopping agent leaves the effect to the next one. Such effects end without the agent or are begun
    /// again, and may take long.
    pub fn outlives_the_agent(&self) -> bool {
        matches!(self, Self::RunHook { .. } | Self::Probe { .. } | Self::Traffic { .. } | Self::Reboot)
    }

    /// Whether only one such effect may run at a time on a host: two deployments must not change files or traffic at
    /// once.
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Install | Self::Traffic { .. })
    }
}

/// The result of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkResult {
    /// Of `Prepare`.
    Prepared(Result<Prepared, WorkFailure>),
    /// Of `CheckBundle`: the bundle's permanent fault. A fetch that fails now is only a warning.
    Checked {
        /// The fault.
        fault: Option<WorkFailure>,
        /// Warnings for the user.
        warnings: Vec<String>,
    },
    /// Of `RunHook`.
    Hook(HookResult),
    /// Of `Install`: the new files are in place, or the old ones are.
    Installed(Result<InstallReport, WorkFailure>),
    /// Of `Install`: neither the new nor the old files may be in place. The effect stays in flight and is tried again.
    NotUndone(StillOpen),
    /// Of `Probe`.
    Probed(Result<(), WorkFailure>),
    /// Of `Traffic`, of the phase Look.
    TrafficFound(Result<TrafficFound, WorkFailure>),
    /// Of `Traffic`, of the phases Block and Allow: warnings for the user.
    TrafficMoved(Result<Vec<String>, WorkFailure>),
    /// Of `Reboot`: reported in the boot after it.
    Rebooted(Result<(), WorkFailure>),
    /// Of `Finish`: what could not be deleted.
    Finished {
        /// Warnings for the user.
        warnings: Vec<String>,
    },
}

/// What the agent knows after it has fetched and checked a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The revision, now with digest, size and type.
    pub revision: Revision,
    /// The new revision's hooks.
    pub hooks: Vec<EventHooks>,
    /// The hooks of the revision that is on the host; empty when there is none.
    pub old_hooks: Vec<EventHooks>,
    /// How the agent decides that the new revision is healthy.
    pub health: PreparedHealth,
    /// Whether the deployment takes the host out of service.
    pub takes_out: bool,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Where a host serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficFound {
    /// The place to take it out of; `None` when there is none.
    pub place: Option<Place>,
    /// Whether EC2's application status checks are to be suppressed.
    pub suppresses_status_checks: bool,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The result of an Install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallReport {
    /// Number of paths that the group owns now.
    pub entries: u64,
    /// Digest of the list of those paths with their kinds.
    pub entries_digest: Sha256Digest,
    /// Warnings for the user: what undoing an earlier Install could not restore.
    pub warnings: Vec<String>,
}

/// An install journal that could not be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillOpen {
    /// The deployment whose journal it is.
    pub journal: DeploymentId,
    /// The obstacle.
    pub why: String,
    /// Why the Install failed before that; `None` when it did not fail.
    pub cause: Option<String>,
}

/// Why an effect failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkFailure {
    /// What failed, where, and what to do; several lines for several problems.
    pub message: String,
    /// Whether a digest, size or signature did not match.
    pub verification: bool,
    /// Whether the revision to deploy does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A request that is not allowed in this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One deployment of a group at a time.
    #[error("deployment {active} of {key} is going on ({event}); wait for its end (hostler logs -f) and ask again")]
    DeploymentActive {
        /// The running deployment.
        active: DeploymentId,
        /// The group.
        key: GroupKey,
        /// Its current event.
        event: String,
    },
    /// An Install of the group has to be undone first.
    #[error("{not_undone}; {key} takes no deployment before: {}", not_undone.remedy())]
    NotUndone {
        /// The group.
        key: GroupKey,
        /// The obstacle.
        not_undone: Box<NotUndone>,
    },
    /// There is nothing to return to.
    #[error("{key} has no other good revision to roll back to{}", which_is(installed.as_ref()))]
    NoGoodRevision {
        /// The group.
        key: GroupKey,
        /// The good revision that is installed, if there is one.
        installed: Option<DeploymentId>,
    },
    /// The deployment to return to is unknown, or its bundle is gone.
    #[error("{key} has no revision of deployment {deployment} on this host; {}", those_of(kept))]
    NotKept {
        /// The group.
        key: GroupKey,
        /// The named deployment.
        deployment: DeploymentId,
        /// The deployments to whose revisions the group can return, newest first.
        kept: Vec<DeploymentId>,
    },
    /// The deployment to return to failed itself.
    #[error(
        "deployment {deployment} of {key} failed; --force returns to its revision all the same; {}",
        those_of(kept)
    )]
    FailedBefore {
        /// The group.
        key: GroupKey,
        /// The named deployment.
        deployment: DeploymentId,
        /// The deployments to whose revisions the group can return, newest first.
        kept: Vec<DeploymentId>,
    },
    /// There is nothing to remove.
    #[error("nothing of {key} is installed on this host")]
    NotInstalled {
        /// The group.
        key: GroupKey,
    },
    /// The Auto Scaling group or EC2 takes the host out of service.
    #[error("the host is {why}; nothing new is deployed")]
    OutOfService {
        /// The reason, in words.
        why: &'static str,
    },
    /// No rollback waits for space.
    #[error("no rollback of {key} waits for space")]
    NothingWaits {
        /// The group.
        key: GroupKey,
    },
    /// The request itself takes too much of the state.
    #[error(
        "the request takes {bytes} bytes of the agent's state, and may take {most}: use shorter paths and addresses"
    )]
    RequestTooLong {
        /// Its size as JSON, in bytes.
        bytes: usize,
        /// The most bytes allowed.
        most: usize,
    },
    /// The state has no room for another deployment.
    #[error(
        "the agent's state has no room for another deployment: what is installed and what goes on takes {bytes} of \
         {room} bytes, with {groups} groups; wait for the deployments that go on, or take groups off this host \
         (hostler remove)"
    )]
    NoRoom {
        /// Bytes that cannot make way.
        bytes: usize,
        /// Bytes in all.
        room: usize,
        /// Number of known groups.
        groups: usize,
    },
    /// No rollback holds the channel.
    #[error("{key} follows its channel already")]
    NotHeld {
        /// The group.
        key: GroupKey,
    },
}

fn which_is(installed: Option<&DeploymentId>) -> String {
    match installed {
        Some(good) => format!(": the one of {good} is installed"),
        None => "; `hostler history` shows what was deployed".to_owned(),
    }
}

fn those_of(kept: &[DeploymentId]) -> String {
    match kept {
        [] => "it has no earlier good revision".to_owned(),
        kept => format!("it can return to {}", kept.iter().map(DeploymentId::as_str).collect::<Vec<_>>().join(", ")),
    }
}

impl Refusal {
    /// The exit code of a command that is refused for this reason.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotKept { .. } | Self::NotInstalled { .. } => ExitCode::NotFound,
            Self::OutOfService { .. }
            | Self::DeploymentActive { .. }
            | Self::NotUndone { .. }
            | Self::NoGoodRevision { .. }
            | Self::FailedBefore { .. }
            | Self::NothingWaits { .. }
            | Self::RequestTooLong { .. }
            | Self::NoRoom { .. }
            | Self::NotHeld { .. } => ExitCode::Refused,
        }
    }
}

/// What the agent reports to users who watch a deployment, as it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// A deployment was accepted.
    Started {
        /// Its id.
        deployment: DeploymentId,
        /// The group.
        group: GroupKey,
        /// The revision to deploy.
        revision: Revision,
        /// The caller.
        asked_by: String,
        /// The failed deployment that it rolls back.
        rolls_back: Option<DeploymentId>,
    },
    /// A lifecycle event began.
    EventStarted {
        /// The deployment.
        deployment: DeploymentId,
        /// The event.
        event: LifecycleEvent,
    },
    /// A lifecycle event ended.
    EventFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// The event.
        event: LifecycleEvent,
        /// The event's result.
        status: StepStatus,
        /// How long it took.
        milliseconds: u64,
    },
    /// Its Install cannot be undone yet. The deployment continues when it can; callers need not wait for its end.
    NotUndone {
        /// The deployment.
        deployment: DeploymentId,
        /// The reason, and what to do.
        message: String,
    },
    /// A problem that did not stop the deployment.
    Warning {
        /// The deployment.
        deployment: DeploymentId,
        /// The warning's text.
        message: String,
    },
    /// The deployment ended.
    Finished {
        /// The deployment.
        deployment: DeploymentId,
        /// The deployment's result.
        outcome: Outcome,
        /// Why it failed.
        failure: Option<crate::machine::state::Failure>,
        /// How long it took.
        milliseconds: u64,
        /// The automatic rollback that follows it.
        rollback: Option<DeploymentId>,
    },
}

impl Progress {
    /// The deployment of this progress.
    pub fn deployment(&self) -> &DeploymentId {
        match self {
            Self::Started { deployment, .. }
            | Self::EventStarted { deployment, .. }
            | Self::EventFinished { deployment, .. }
            | Self::NotUndone { deployment, .. }
            | Self::Warning { deployment, .. }
            | Self::Finished { deployment, .. } => deployment,
        }
    }
}
