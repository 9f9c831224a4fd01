//! Requests that the state machine refuses.

use std::fmt;

use crate::codes::ExitCode;
use crate::ids::{DeploymentId, GroupKey};
use crate::machine::state::{Deployment, NotUndone};

/// A revision to which a group can return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRevision {
    /// The deployment that installed it, as `rollback --to` takes it.
    pub deployment: DeploymentId,
    /// The revision for people.
    pub name: String,
}

impl From<&Deployment> for KeptRevision {
    fn from(deployment: &Deployment) -> Self {
        Self { deployment: deployment.id.clone(), name: deployment.request.revision.name() }
    }
}

impl fmt::Display for KeptRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.deployment, self.name)
    }
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
    #[error("{key} has no other good revision to roll back to{}{}", which_is(installed.as_ref()), by_name(kept))]
    NoGoodRevision {
        /// The group.
        key: GroupKey,
        /// The good revision that is installed, if there is one.
        installed: Option<DeploymentId>,
        /// The deployments to whose revisions the group can return by name, newest first: those that rollbacks left.
        kept: Vec<KeptRevision>,
    },
    /// The deployment to return to is unknown, or its bundle is gone.
    #[error("{key} has no revision of deployment {deployment} on this host; {}", those_of(kept))]
    NotKept {
        /// The group.
        key: GroupKey,
        /// The named deployment.
        deployment: DeploymentId,
        /// The deployments to whose revisions the group can return, newest first.
        kept: Vec<KeptRevision>,
    },
    /// The deployment to return to failed itself.
    #[error(
        "deployment {deployment} of {key} failed, so a rollback returns to its revision only with --force; {}",
        those_of(kept)
    )]
    FailedBefore {
        /// The group.
        key: GroupKey,
        /// The named deployment.
        deployment: DeploymentId,
        /// The deployments to whose revisions the group can return, newest first.
        kept: Vec<KeptRevision>,
    },
    /// The host does not know the group.
    #[error("nothing of {key} was ever deployed on this host{}", known_groups(known))]
    NeverDeployed {
        /// The group.
        key: GroupKey,
        /// The groups of the host.
        known: Vec<GroupKey>,
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
    #[error("{key} {}", if *.follows { "follows its channel already" } else { "has followed no channel yet, so nothing holds it" })]
    NotHeld {
        /// The group.
        key: GroupKey,
        /// Whether a release of a channel was accepted.
        follows: bool,
    },
}

fn which_is(installed: Option<&DeploymentId>) -> String {
    match installed {
        Some(good) => format!(": the one of {good} is installed"),
        None => "; `hostler history` shows what was deployed".to_owned(),
    }
}

fn known_groups(known: &[GroupKey]) -> String {
    match known {
        [] => String::new(),
        known => format!("; it has {}", known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn by_name(kept: &[KeptRevision]) -> String {
    match kept {
        [] => String::new(),
        kept => format!("; rollbacks left the others, and --to returns to them: {}", names(kept)),
    }
}

fn names(kept: &[KeptRevision]) -> String {
    kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn those_of(kept: &[KeptRevision]) -> String {
    match kept {
        [] => "the group has no earlier good revision".to_owned(),
        kept => format!("the group can return to {}", names(kept)),
    }
}

impl Refusal {
    /// The exit code of a command that is refused for this reason.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotKept { .. } | Self::NotInstalled { .. } | Self::NeverDeployed { .. } => ExitCode::NotFound,
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
