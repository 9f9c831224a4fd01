//! The state machine's output for users.

use serde::{Deserialize, Serialize};

use crate::event_order::LifecycleEvent;
use crate::history::DeploymentPurpose;
use crate::ids::{DeploymentId, GroupKey};
use crate::machine::event::Work;
use crate::machine::failure::Failure;
use crate::machine::state::{Deployment, Outcome, Revision, StepStatus};
use crate::transfer::Transferred;

/// What goes on in a deployment at the moment, for a user who watches it on a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The script that runs, as the appspec writes it.
    pub script: Option<String>,
    /// The bundle's bytes that are here, while it is downloaded.
    pub transferred: Option<Transferred>,
}

impl Moment {
    /// The moment of a deployment whose transfer is so far.
    pub fn of(deployment: &Deployment, transferred: Option<Transferred>) -> Self {
        let script = match deployment.in_flight.as_ref().map(|effect| &effect.work) {
            Some(Work::RunHook { event, index, .. }) => {
                deployment.step(*event).and_then(|step| step.scripts.get(*index))
            }
            _ => None,
        };
        Self { script: script.map(|script| script.location.clone()), transferred }
    }
}

/// Why no automatic rollback follows a failed deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoRollback {
    /// It failed before it changed anything.
    NothingTouched,
    /// Its policy turns rollbacks off, or leaves the event out in which it failed.
    TurnedOff,
    /// No revision of the group has succeeded on this host.
    NoGoodRevision,
    /// The deployment before it had failed too, and its files are in place.
    FailedBefore,
    /// It brought no new revision: a rollback, a removal, or a stop of the application.
    NoNewRevision,
    /// The host leaves service.
    OutOfService,
}

impl NoRollback {
    /// The reason, for a sentence that ends with it.
    pub fn because(self) -> &'static str {
        match self {
            Self::NothingTouched => "nothing was touched",
            Self::TurnedOff => "none is set up for this failure",
            Self::NoGoodRevision => "no revision has succeeded on this host yet",
            Self::FailedBefore => "the deployment before it failed too",
            Self::NoNewRevision => "it brought no new revision",
            Self::OutOfService => "the host leaves service",
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
        /// What it is for.
        #[serde(default)]
        purpose: DeploymentPurpose,
        /// The deployment to whose revision a rollback returns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        returns_to: Option<DeploymentId>,
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
    /// A health check that the deployment waits for answered something new.
    HealthCheck {
        /// The deployment.
        deployment: DeploymentId,
        /// The check and its answer.
        message: String,
    },
    /// The deployment ended.
    Finished {
        /// The deployment.
        deployment: DeploymentId,
        /// The deployment's result.
        outcome: Outcome,
        /// Why it failed.
        failure: Option<Failure>,
        /// How long it took.
        milliseconds: u64,
        /// The automatic rollback that follows it.
        rollback: Option<DeploymentId>,
        /// Why no rollback follows a failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        no_rollback: Option<NoRollback>,
        /// The revision whose files are on the host now, for people; `None` if nothing of the group is installed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        installed: Option<String>,
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
            | Self::HealthCheck { deployment, .. }
            | Self::Finished { deployment, .. } => deployment,
        }
    }
}
