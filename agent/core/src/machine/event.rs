//! What goes into the state machine and what comes out of it.

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

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody asks for a deployment. The id was made from fresh randomness.
    Deploy {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// What is asked for.
        request: Box<Request>,
    },
    /// A rollback by hand: to the last good revision, or to the one that a named deployment put on the host.
    Rollback {
        /// Id of the deployment, if it is accepted.
        id: DeploymentId,
        /// The group.
        key: GroupKey,
        /// The deployment to return to; `None` is the last good one.
        to: Option<DeploymentId>,
        /// Who asked.
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
        /// Who asked.
        asked_by: String,
        /// How it is done.
        policy: Box<crate::machine::state::Policy>,
    },
    /// The group's last rollback followed a failure by itself and failed for want of space: it is tried again.
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
        /// Who asked.
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
    /// A command of the CodeDeploy service came. One that is known changes nothing, but that the report of one that was
    /// reported is sent again.
    Commanded {
        /// The service's name for it.
        identifier: String,
        /// With which the service is asked for the deployment's specification.
        execution: String,
        /// What it asks for, or what is reported because that cannot be done.
        order: Result<Box<Order>, Report>,
    },
    /// The service has taken a command's acknowledgement.
    Acknowledged {
        /// The command.
        identifier: String,
        /// How far the service says that it is.
        answer: CommandStatus,
    },
    /// The service has taken a command's report, or refused it for good.
    Reported {
        /// The command.
        identifier: String,
    },
    /// From now on specifications are expected to be signed with this certificate.
    TrustSigner {
        /// Its SHA-256.
        certificate: Sha256Digest,
        /// Whether it signs over digests that are stronger than SHA-1.
        left_sha1: bool,
    },
    /// The store leads to a new key policy of the group, by the keys before it.
    KeysAccepted {
        /// The group.
        key: GroupKey,
        /// The policy.
        keys: Box<AcceptedKeys>,
    },
    /// The release that is being deployed has signatures of the keys of now.
    SignedAgain {
        /// The group.
        key: GroupKey,
        /// Digest of the release's payload.
        release: Sha256Digest,
        /// Who signed it.
        trust: Trust,
    },
    /// An effect ended.
    Finished {
        /// The effect's number.
        effect: u64,
        /// What came of it.
        result: Box<WorkResult>,
    },
    /// The agent starts or goes on: begin what can be begun.
    Proceed,
}

/// One thing to do outside, with the number under which its end is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Unique on this host.
    pub number: u64,
    /// What to do.
    pub work: Work,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// The kernel's boot in which it began; another one means that the host went down in its middle.
    pub boot_id: String,
}

impl From<&PutBack> for Effect {
    fn from(put_back: &PutBack) -> Self {
        let PutBackWork::Traffic { phase } = put_back.work;
        let work = Work::Traffic { phase };
        Self { number: put_back.number, work, begun_ms: put_back.begun_ms, boot_id: put_back.boot_id.clone() }
    }
}

/// What is done outside. Each may be started again after a crash: see the method `after_a_crash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Fetch, verify, unpack and check the bundle (the event DownloadBundle).
    Prepare,
    /// Fetch and check the bundle in a place of its own, before scripts of the old revision run: a bundle that cannot be
    /// deployed is no reason to stop the application.
    CheckBundle,
    /// Run one script.
    RunHook {
        /// The event.
        event: LifecycleEvent,
        /// Which of the event's scripts, from 0.
        index: usize,
        /// Which attempt, from 1; each has a run directory of its own.
        attempt: u32,
    },
    /// Plan again on the host as it is now and put the files in place.
    Install,
    /// Ask the health checks until they let the deployment go on, or not.
    Probe {
        /// What they have to show.
        phase: ProbePhase,
    },
    /// Take the host out of service, or put it back.
    Traffic {
        /// Which of that.
        phase: TrafficPhase,
    },
    /// Restart the host, because a script asked for it with exit status 194. In any boot but the one in which the effect
    /// began it has been done.
    Reboot,
    /// Settle the install journal and delete old revisions.
    Finish {
        /// Whether the replaced files are given up (the deployment succeeded) or stay beside for a rollback.
        commit: bool,
        /// What stays on the host.
        keep: Kept,
    },
}

/// What may be done with an effect that was going on when the agent went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterACrash {
    /// Starting it again does no harm: its parts replace what an earlier try left.
    Repeat,
    /// It has a record of its own outside the ledger that says how far it came; starting it again looks there first.
    LookFirst,
}

impl Work {
    /// How the effect is taken up again at the next start.
    pub fn after_a_crash(&self) -> AfterACrash {
        match self {
            Self::Prepare | Self::CheckBundle | Self::Probe { .. } | Self::Finish { .. } => AfterACrash::Repeat,
            Self::RunHook { .. } | Self::Install | Self::Traffic { .. } | Self::Reboot => AfterACrash::LookFirst,
        }
    }

    /// Whether a stopping agent leaves it to the next one: it ends without the agent or is begun again, and may take
    /// long.
    pub fn outlives_the_agent(&self) -> bool {
        matches!(self, Self::RunHook { .. } | Self::Probe { .. } | Self::Traffic { .. } | Self::Reboot)
    }

    /// Whether only one of these may go on at a time on a host: two deployments must not change files or traffic at once.
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Install | Self::Traffic { .. })
    }
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkResult {
    /// Of `Prepare`.
    Prepared(Result<Prepared, WorkFailure>),
    /// Of `CheckBundle`: what is wrong with the bundle for good. That it could not be fetched now is a warning.
    Checked {
        /// What is wrong.
        fault: Option<WorkFailure>,
        /// What people should know.
        warnings: Vec<String>,
    },
    /// Of `RunHook`.
    Hook(HookResult),
    /// Of `Install`: the files are in place, or as they were.
    Installed(Result<InstallReport, WorkFailure>),
    /// Of `Install`: the files may be neither. The effect stays in flight and is tried again.
    NotUndone(StillOpen),
    /// Of `Probe`.
    Probed(Result<(), WorkFailure>),
    /// Of `Traffic`, of the phase Look.
    TrafficFound(Result<TrafficFound, WorkFailure>),
    /// Of `Traffic`, of the phases Block and Allow: what people should know.
    TrafficMoved(Result<Vec<String>, WorkFailure>),
    /// Of `Reboot`: in the boot after it.
    Rebooted(Result<(), WorkFailure>),
    /// Of `Finish`: what could not be cleaned up.
    Finished {
        /// What people should know.
        warnings: Vec<String>,
    },
}

/// What is known once a bundle was fetched and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The revision, now with digest, size and type.
    pub revision: Revision,
    /// The new revision's hooks.
    pub hooks: Vec<EventHooks>,
    /// The hooks of the revision that is on the host; empty when there is none.
    pub old_hooks: Vec<EventHooks>,
    /// How the new revision is found healthy.
    pub health: PreparedHealth,
    /// Whether the host is taken out of service.
    pub takes_out: bool,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// In what a host serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficFound {
    /// What it is taken out of; `None` when there is nothing.
    pub place: Option<Place>,
    /// Whether EC2's application status checks are to be suppressed.
    pub suppresses_status_checks: bool,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// What an Install did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallReport {
    /// Paths that the group owns now.
    pub entries: u64,
    /// Digest of the list of those paths with their kinds.
    pub entries_digest: Sha256Digest,
    /// What people should know: what the way back from an earlier Install could not put back.
    pub warnings: Vec<String>,
}

/// An install journal that could not be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillOpen {
    /// The deployment whose journal it is.
    pub journal: DeploymentId,
    /// What hinders it.
    pub why: String,
    /// What the Install failed for before; `None` when it did not fail.
    pub cause: Option<String>,
}

/// Why an effect failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkFailure {
    /// What, where and what to do; several lines where there are several problems.
    pub message: String,
    /// Whether a digest, size or signature did not match.
    pub verification: bool,
    /// Whether what should be deployed does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A request that is not allowed in this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One deployment of a group at a time.
    #[error("deployment {active} of {key} is going on ({event}); wait for its end (hostler logs -f) and ask again")]
    DeploymentActive {
        /// The one that is going on.
        active: DeploymentId,
        /// The group.
        key: GroupKey,
        /// Where it is.
        event: String,
    },
    /// An Install of the group has to be undone first.
    #[error("{not_undone}; {key} takes no deployment before: {}", not_undone.remedy())]
    NotUndone {
        /// The group.
        key: GroupKey,
        /// What hinders that.
        not_undone: Box<NotUndone>,
    },
    /// There is nothing to return to.
    #[error("{key} has no earlier good revision to roll back to; `hostler history` shows what was deployed")]
    NoGoodRevision {
        /// The group.
        key: GroupKey,
    },
    /// The deployment to return to is not known, or its bundle is gone.
    #[error("{key} has no revision of deployment {deployment} on this host; `hostler status` lists those that it has")]
    NotKept {
        /// The group.
        key: GroupKey,
        /// The deployment that was named.
        deployment: DeploymentId,
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
        /// In words.
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
        /// Its bytes as JSON.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// The state has no room for a deployment more.
    #[error(
        "the agent's state has no room for another deployment: what is installed and what goes on takes {bytes} of \
         {room} bytes, with {groups} groups; wait for the deployments that go on, or take groups off this host \
         (hostler remove)"
    )]
    NoRoom {
        /// Bytes of what cannot make way.
        bytes: usize,
        /// Bytes in all.
        room: usize,
        /// Groups that are known.
        groups: usize,
    },
    /// Nothing is held.
    #[error("{key} follows its channel already")]
    NotHeld {
        /// The group.
        key: GroupKey,
    },
}

impl Refusal {
    /// What a command that is refused for it ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotKept { .. } | Self::NotInstalled { .. } => ExitCode::NotFound,
            Self::OutOfService { .. }
            | Self::DeploymentActive { .. }
            | Self::NotUndone { .. }
            | Self::NoGoodRevision { .. }
            | Self::NothingWaits { .. }
            | Self::RequestTooLong { .. }
            | Self::NoRoom { .. }
            | Self::NotHeld { .. } => ExitCode::Refused,
        }
    }
}

/// What people who watch a deployment are told, as it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// A deployment was accepted.
    Started {
        /// Its id.
        deployment: DeploymentId,
        /// The group.
        group: GroupKey,
        /// What is deployed.
        revision: Revision,
        /// Who asked.
        asked_by: String,
        /// The failed deployment that it makes good.
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
        /// How.
        status: StepStatus,
        /// How long it took.
        milliseconds: u64,
    },
    /// Its Install cannot be undone yet. The deployment goes on when it can; who waits for its end need not wait.
    NotUndone {
        /// The deployment.
        deployment: DeploymentId,
        /// Why, and what to do.
        message: String,
    },
    /// Something that people should know and that did not stop it.
    Warning {
        /// The deployment.
        deployment: DeploymentId,
        /// What.
        message: String,
    },
    /// The deployment ended.
    Finished {
        /// The deployment.
        deployment: DeploymentId,
        /// How.
        outcome: Outcome,
        /// Why it failed.
        failure: Option<crate::machine::state::Failure>,
        /// How long it took.
        milliseconds: u64,
        /// The deployment that follows by itself.
        rollback: Option<DeploymentId>,
    },
}

impl Progress {
    /// The deployment that it is about.
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
