//! Which deployments' directories stay on the host.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::machine::state::{Deployment, Group, Outcome};

/// The deployments whose directories stay; all others of the group are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What is in use: kept whatever it takes.
    pub always: Vec<DeploymentId>,
    /// More to return to, the best first: kept while there is room.
    pub while_room: Vec<DeploymentId>,
    /// Bytes that all of them may take; `None` is no bound.
    pub most_bytes: Option<u64>,
}

/// The deployment itself, what is on the host and was before, and the last good one always; then the newest good and the newest others,
/// as many as the policy's `max_revisions` allows.
pub fn kept(group: &Group, deployment: &Deployment) -> Kept {
    let mut always: Vec<DeploymentId> = Vec::new();
    let own = [&deployment.id, deployment.archive()];
    // What was there before comes to light again when the last Install is taken back; its journal says what it is.
    let in_use = group.installed.iter().chain(&group.installed_before).chain(&group.last_good);
    let installed = in_use.flat_map(|i| [&i.deployment, &i.archive]);
    for id in own.into_iter().chain(installed) {
        if !always.contains(id) {
            always.push(id.clone());
        }
    }
    let policy = &deployment.request.policy;
    let most = usize::try_from(policy.max_revisions.max(2)).unwrap_or(usize::MAX);
    let newest_first = || group.finished.iter().rev();
    let good = newest_first().filter(|d| d.outcome == Some(Outcome::Succeeded));
    let mut while_room: Vec<DeploymentId> = Vec::new();
    for other in good.chain(newest_first()) {
        if always.len() + while_room.len() < most && !always.contains(&other.id) && !while_room.contains(&other.id) {
            while_room.push(other.id.clone());
        }
    }
    Kept { always, while_room, most_bytes: policy.max_revision_bytes }
}
