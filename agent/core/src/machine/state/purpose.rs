//! What a deployment is for.

use serde::{Deserialize, Serialize};

use crate::history::DeploymentPurpose;
use crate::ids::DeploymentId;
use crate::release::Highest;

/// What a deployment is for. It decides which lifecycle events there are, and what follows a failure.
///
/// Serialised as the fields of a request on disk: `creator`, `release`, `rolls_back`, `removes` and `stops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub enum Purpose {
    /// To deploy the revision of a release in the group's channel.
    Release(Highest),
    /// To deploy a revision by hand (`hostler deploy`).
    ByHand,
    /// To deploy a revision as the CodeDeploy service commands it, one lifecycle event at a time.
    Commanded,
    /// To return to the last good revision after a deployment failed.
    RollBack(RollsBack),
    /// To return to an earlier revision by hand (`hostler rollback`).
    RollBackByHand,
    /// To remove the group's files from the host without a replacement.
    Remove,
    /// Only to stop the application.
    Stop(Stop),
}

/// The source of a deployment request.
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

/// Why and by when an application is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Number of the lifecycle action.
    pub entry: u64,
    /// When its scripts must have ended, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
}

/// The failed deployment that an automatic rollback follows, and how much of it to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollsBack {
    /// The deployment that failed.
    pub deployment: DeploymentId,
    /// How much of the failed deployment to undo.
    pub extent: RollbackExtent,
}

/// How much of a failed deployment to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackExtent {
    /// The old files are in place: only start the old application again.
    Restart,
    /// The new files are in place and the new application was not started.
    Reinstall,
    /// The new application was started, so its ApplicationStop runs first.
    StopAndReinstall,
}

impl Purpose {
    /// The source of the request.
    pub fn creator(&self) -> Creator {
        match self {
            Self::Release(_) => Creator::Channel,
            Self::ByHand | Self::Remove => Creator::Cli,
            Self::Commanded => Creator::CodeDeploy,
            Self::RollBack(_) | Self::RollBackByHand => Creator::Rollback,
            Self::Stop(_) => Creator::Lifecycle,
        }
    }

    /// The purpose alone, as records, progress and the status name it.
    pub fn named(&self) -> DeploymentPurpose {
        match self {
            Self::Release(_) => DeploymentPurpose::Release,
            Self::ByHand => DeploymentPurpose::ByHand,
            Self::Commanded => DeploymentPurpose::Commanded,
            Self::RollBack(_) => DeploymentPurpose::Rollback,
            Self::RollBackByHand => DeploymentPurpose::RollbackByHand,
            Self::Remove => DeploymentPurpose::Removal,
            Self::Stop(_) => DeploymentPurpose::Stop,
        }
    }

    /// The release that asks for the deployment, as accepted.
    pub fn release(&self) -> Option<&Highest> {
        if let Self::Release(release) = self { Some(release) } else { None }
    }

    /// The failed deployment that this one rolls back by itself.
    pub fn rolls_back(&self) -> Option<&RollsBack> {
        if let Self::RollBack(rolls_back) = self { Some(rolls_back) } else { None }
    }

    /// The lifecycle action for which the application is stopped.
    pub fn stop(&self) -> Option<&Stop> {
        if let Self::Stop(stop) = self { Some(stop) } else { None }
    }

    /// Whether it returns to an earlier revision, by hand or by itself.
    pub fn is_rollback(&self) -> bool {
        matches!(self, Self::RollBack(_) | Self::RollBackByHand)
    }

    /// Whether it brings a revision that was not on this host: such a deployment may be followed by a rollback.
    pub fn brings_new_revision(&self) -> bool {
        matches!(self, Self::Release(_) | Self::ByHand | Self::Commanded)
    }
}

/// A purpose on disk. The agent has always written these fields, and older states must stay readable.
#[derive(Serialize, Deserialize)]
struct Fields {
    creator: Creator,
    release: Option<Highest>,
    rolls_back: Option<RollsBack>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removes: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stops: Option<Stop>,
}

impl From<Fields> for Purpose {
    /// No agent has written fields that contradict each other. If they do, the purpose that changes least of the host
    /// counts.
    fn from(fields: Fields) -> Self {
        match fields {
            Fields { stops: Some(stop), .. } => Self::Stop(stop),
            Fields { creator: Creator::Lifecycle, .. } => Self::Stop(Stop { entry: 0, deadline_ms: None }),
            Fields { removes: true, .. } => Self::Remove,
            Fields { creator: Creator::Rollback, rolls_back: Some(rolls_back), .. } => Self::RollBack(rolls_back),
            Fields { creator: Creator::Rollback, .. } => Self::RollBackByHand,
            Fields { creator: Creator::CodeDeploy, .. } => Self::Commanded,
            Fields { creator: Creator::Channel, release: Some(release), .. } => Self::Release(release),
            Fields { creator: Creator::Channel | Creator::Cli, .. } => Self::ByHand,
        }
    }
}

impl From<Purpose> for Fields {
    fn from(purpose: Purpose) -> Self {
        let creator = purpose.creator();
        let fields = Self { creator, release: None, rolls_back: None, removes: false, stops: None };
        match purpose {
            Purpose::Release(release) => Self { release: Some(release), ..fields },
            Purpose::RollBack(rolls_back) => Self { rolls_back: Some(rolls_back), ..fields },
            Purpose::Remove => Self { removes: true, ..fields },
            Purpose::Stop(stop) => Self { stops: Some(stop), ..fields },
            Purpose::ByHand | Purpose::Commanded | Purpose::RollBackByHand => fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each purpose with the fields that agents before this type wrote for it.
    type IsIt = fn(&Purpose) -> bool;

    const WRITTEN_BEFORE: [(&str, IsIt); 7] = [
        (r#"{"creator":"channel","release":{"sequence":7},"rolls_back":null}"#, |p| {
            p.release().map(|release| release.sequence) == Some(7)
        }),
        (r#"{"creator":"cli","release":null,"rolls_back":null}"#, |p| *p == Purpose::ByHand),
        (r#"{"creator":"code_deploy","release":null,"rolls_back":null}"#, |p| *p == Purpose::Commanded),
        (r#"{"creator":"rollback","release":null,"rolls_back":{"deployment":"d-1","extent":"restart"}}"#, |p| {
            p.rolls_back().is_some_and(|r| r.deployment.as_str() == "d-1" && r.extent == RollbackExtent::Restart)
        }),
        (r#"{"creator":"rollback","release":null,"rolls_back":null}"#, |p| *p == Purpose::RollBackByHand),
        (r#"{"creator":"cli","release":null,"rolls_back":null,"removes":true}"#, |p| *p == Purpose::Remove),
        (r#"{"creator":"lifecycle","release":null,"rolls_back":null,"stops":{"entry":3,"deadline_ms":9}}"#, |p| {
            *p == Purpose::Stop(Stop { entry: 3, deadline_ms: Some(9) })
        }),
    ];

    #[test]
    fn every_purpose_is_read_and_written_as_the_fields_of_earlier_agents() {
        for (text, is_it) in WRITTEN_BEFORE {
            let read: Purpose = serde_json::from_str(text).unwrap();
            assert!(is_it(&read), "{text}: {read:?}");
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }
}
