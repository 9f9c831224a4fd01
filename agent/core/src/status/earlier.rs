//! The revisions to which a group can return.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, Sha256Digest};
use crate::label::Label;
use crate::machine::state::{Deployment, Group};
use crate::machine::{earlier, is_left, last_installed_ms};

/// A revision to which the group can return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The deployment that installed it, as `rollback --to` takes it.
    pub deployment: DeploymentId,
    /// SHA-256 of the bundle; `None` for a directory.
    pub revision: Option<Sha256Digest>,
    /// What the revision's publisher calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The revision for people. Daemons of earlier versions leave it out: [`super::Status::name_earlier`].
    #[serde(default)]
    pub name: String,
    /// Where the bundle came from.
    pub location: String,
    /// When the revision was last installed and succeeded, by whichever deployment, milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// Whether the host went back past it to an older one, so that a rollback returns to it only by name. Daemons of
    /// earlier versions say `newer`.
    #[serde(default, alias = "newer", skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// The revisions to which the group can return, one row each, by when they were last installed, the newest first.
pub(super) fn of_group(group: &Group) -> Vec<Earlier> {
    earlier(group).map(|deployment| of_deployment(group, deployment)).collect()
}

fn of_deployment(group: &Group, deployment: &Deployment) -> Earlier {
    let revision = &deployment.request.revision;
    Earlier {
        deployment: deployment.id.clone(),
        revision: revision.digest,
        label: revision.label.clone(),
        name: revision.name(),
        location: revision.location.clone(),
        at_ms: last_installed_ms(group, deployment),
        left: is_left(group, deployment),
    }
}
