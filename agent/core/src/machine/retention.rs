//! Which deployments' directories stay on the host.

use crate::ids::DeploymentId;
use crate::machine::state::{Deployment, Group, Outcome};

/// The deployment itself, what is on the host and was before, the last good one, and then the newest good and the newest others, as
/// many as the policy's `max_revisions` allows. What is in use stays even where that is more.
pub fn kept_deployments(group: &Group, deployment: &Deployment) -> Vec<DeploymentId> {
    let mut keep: Vec<DeploymentId> = Vec::new();
    let mut add = |id: &DeploymentId| {
        if !keep.contains(id) {
            keep.push(id.clone());
        }
    };
    add(&deployment.id);
    add(deployment.archive());
    // What was there before comes to light again when the last Install is taken back; its journal says what it is.
    for installed in group.installed.iter().chain(&group.installed_before).chain(&group.last_good) {
        add(&installed.deployment);
        add(&installed.archive);
    }
    let most = usize::try_from(deployment.request.policy.max_revisions.max(2)).unwrap_or(usize::MAX);
    let newest_first = || group.finished.iter().rev();
    let good = newest_first().filter(|d| d.outcome == Some(Outcome::Succeeded));
    for other in good.chain(newest_first()) {
        if keep.len() >= most {
            break;
        }
        if !keep.contains(&other.id) {
            keep.push(other.id.clone());
        }
    }
    keep
}
