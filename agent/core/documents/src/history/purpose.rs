//! What a deployment is for, as records, progress and the status name it.

use serde::{Deserialize, Serialize};

/// What a deployment is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentPurpose {
    /// To deploy the revision of a release in the group's channel.
    Release,
    /// To deploy a revision by hand (`hostler deploy`).
    #[default]
    ByHand,
    /// To deploy a revision as the CodeDeploy service commands it.
    Commanded,
    /// To return to the last good revision after a deployment failed.
    Rollback,
    /// To return to an earlier revision by hand (`hostler rollback`).
    RollbackByHand,
    /// To remove the group's files from the host (`hostler remove`).
    Removal,
    /// Only to stop the application, because the host leaves service.
    Stop,
}

impl DeploymentPurpose {
    /// The noun for users: `deployment`, `rollback`, `removal` or `stop`.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Release | Self::ByHand | Self::Commanded => "deployment",
            Self::Rollback | Self::RollbackByHand => "rollback",
            Self::Removal => "removal",
            Self::Stop => "stop",
        }
    }
}
