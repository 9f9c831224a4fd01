//! The state machine's input and output.

use serde::{Deserialize, Serialize};

use crate::appspec::spec::EventHooks;
use crate::codedeploy::diagnostics::Report;
use crate::codedeploy::wire::CommandStatus;
use crate::event_order::LifecycleEvent;
use crate::hook::HookResult;
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::lifecycle::Change;
use crate::machine::checks::{PreparedHealth, ProbePhase};
use crate::machine::command::Order;
pub use crate::machine::failure::{FailureKind, WorkFailure};
pub use crate::machine::progress::Progress;
pub use crate::machine::refusal::Refusal;
use crate::machine::retention::Kept;
use crate::machine::state::{Request, Revision};
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
    pub cause: Option<WorkFailure>,
}
