//! Which deployments' directories stay on the host.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::machine::state::{Content, Deployment, Group, add_new, content_of, installed_content};

/// The deployments whose directories stay; all others of the group are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Directories in use: kept whatever space they take.
    pub always: Vec<DeploymentId>,
    /// Further deployments to return to, best first: kept while there is room.
    pub while_room: Vec<DeploymentId>,
    /// Bytes that all of them may take; `None` is no bound.
    pub most_bytes: Option<u64>,
}

/// The deployments whose directories a group needs, whichever agent cleans up: the installed one and the one before it,
/// the last good one, and the running one.
pub fn in_use(group: &Group) -> Vec<DeploymentId> {
    let going_on = group.active.iter().flat_map(|deployment| [&deployment.id, deployment.archive()]);
    // Undoing the last Install restores the revision before it; its journal names it.
    let installed = group.installed.iter().chain(&group.installed_before).chain(&group.last_good);
    let all = going_on.chain(installed.flat_map(|i| [&i.deployment, &i.archive]));
    let mut named: Vec<DeploymentId> = Vec::new();
    for id in all {
        if !named.contains(id) {
            named.push(id.clone());
        }
    }
    named
}

/// A deployment's directory on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The deployment, by the directory's name.
    pub id: DeploymentId,
    /// When the directory was last changed, nanoseconds since 1970.
    pub modified_ns: i128,
}

/// Which directories of a group of the CodeDeploy service to delete so that `most` are left, whichever agent made them:
/// the oldest, and none of `always`. This is the CodeDeploy agent's own rule (docs/protocols/codedeploy.md#revisions).
/// So the agents and codedeploy-local, whose deployments lie side by side, treat each other's directories as their own.
pub fn beyond(found: Vec<Found>, always: &[DeploymentId], most: usize) -> Vec<DeploymentId> {
    let too_many = found.len().saturating_sub(most);
    let mut others: Vec<Found> = found.into_iter().filter(|found| !always.contains(&found.id)).collect();
    others.sort_by(|a, b| (a.modified_ns, &a.id).cmp(&(b.modified_ns, &b.id)));
    others.into_iter().take(too_many).map(|found| found.id).collect()
}

/// Always the deployment itself, the installed one, the one before it, and the last good one. Then the newest good
/// revisions, until there are `max_revisions` of the policy with those; deployments of the same content are one revision,
/// so that releasing one bundle again and again displaces no revision to return to. Then the newest others, until there
/// are that many directories.
pub fn kept(group: &Group, deployment: &Deployment) -> Kept {
    let mut always: Vec<DeploymentId> = Vec::new();
    let own = [&deployment.id, deployment.archive()];
    for id in own.into_iter().chain(&in_use(group)) {
        if !always.contains(id) {
            always.push(id.clone());
        }
    }
    let policy = &deployment.request.policy;
    let most = usize::try_from(policy.max_revisions.max(2)).unwrap_or(usize::MAX);
    let newest_first = || group.finished.iter().rev();
    let installed = || group.installed.iter().chain(&group.installed_before).chain(&group.last_good);
    let known = || {
        let deployments = newest_first().chain([deployment]).map(|d| (&d.id, content_of(d)));
        deployments.chain(installed().map(|i| (&i.deployment, installed_content(i))))
    };
    // A rollback's directory holds no bundle: it must not take the place of a revision to return to.
    let is_rollback = |id: &DeploymentId| known().any(|(other, content)| other == id && content.0 != id);
    let with_bundles: Vec<&DeploymentId> = always.iter().filter(|id| !is_rollback(id)).collect();
    let mut revisions: Vec<Content<'_>> = Vec::new();
    for id in &with_bundles {
        let content = known().map(|(_, content)| content).find(|content| content.0 == *id);
        add_new(&mut revisions, content.unwrap_or((id, None)));
    }
    let mut while_room: Vec<DeploymentId> = Vec::new();
    for good in newest_first().filter(|d| d.brought_good_revision() && !always.contains(&d.id)) {
        if revisions.len() < most && add_new(&mut revisions, content_of(good)) {
            while_room.push(good.id.clone());
        }
    }
    for other in newest_first() {
        if with_bundles.len() + while_room.len() < most
            && !always.contains(&other.id)
            && !while_room.contains(&other.id)
        {
            while_room.push(other.id.clone());
        }
    }
    Kept { always, while_room, most_bytes: policy.max_revision_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> DeploymentId {
        name.parse().unwrap()
    }

    fn found(names: &[(&str, i128)]) -> Vec<Found> {
        names.iter().map(|(name, modified_ns)| Found { id: id(name), modified_ns: *modified_ns }).collect()
    }

    #[test]
    fn the_oldest_go_until_so_many_are_left_and_what_is_in_use_never() {
        let all = [("d-C", 3), ("d-A", 1), ("d-D", 4), ("d-B", 2)];
        assert_eq!(beyond(found(&all), &[], 4), []);
        assert_eq!(beyond(found(&all), &[], 9), []);
        assert_eq!(beyond(found(&all), &[], 2), [id("d-A"), id("d-B")]);
        assert_eq!(beyond(found(&all), &[id("d-A")], 2), [id("d-B"), id("d-C")]);
        assert_eq!(
            beyond(found(&all), &[id("d-A"), id("d-D"), id("d-C")], 1),
            [id("d-B")],
            "what is in use may be more"
        );
        assert_eq!(
            beyond(found(&[("d-B", 1), ("d-A", 1)]), &[], 1),
            [id("d-A")],
            "of the same age the order is still one"
        );
        assert_eq!(beyond(Vec::new(), &[id("d-A")], 1), []);
    }
}
