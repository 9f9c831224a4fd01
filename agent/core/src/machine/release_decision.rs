//! Whether a release in the channel leads to a deployment.

use crate::ids::DeploymentId;
use crate::machine::state::{Deployment, Group, Outcome};
use crate::release::Acceptance;

/// What the channel's release means for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// It is new here.
    Deploy,
    /// It was deployed.
    UpToDate,
    /// It was deployed, and this deployment by hand has replaced it since.
    ByHand(DeploymentId),
    /// It was tried and failed; only a higher sequence or `hostler resume` continues.
    Failed,
    /// A rollback by hand holds it.
    Held(String),
    /// A deployment of the group is running.
    Busy,
}

/// Decides about an accepted release (`release::accept`).
pub fn follow_accepted(group: Option<&Group>, accepted: Acceptance, sequence: u64) -> Follow {
    let highest = group.and_then(|group| group.following.highest);
    match (accepted, highest) {
        // A release deployed, failed or held under a similar number was a different one.
        (Acceptance::New(new), Some(before)) if new.begins_anew_after(&before) => {
            if group.is_some_and(|group| group.active.is_some()) { Follow::Busy } else { Follow::Deploy }
        }
        _ => follow(group, sequence),
    }
}

/// Decides about an accepted release (`release::accept`) with this sequence. `None` is a group without any deployment.
pub fn follow(group: Option<&Group>, sequence: u64) -> Follow {
    let Some(group) = group else { return Follow::Deploy };
    let following = &group.following;
    if group.active.is_some() {
        return Follow::Busy;
    }
    match following.hold() {
        Some(why) if following.highest.is_some_and(|highest| sequence <= highest.sequence) => {
            return Follow::Held(why.to_owned());
        }
        _ => {}
    }
    if sequence != following.tried_sequence {
        return Follow::Deploy;
    }
    let tried = group.finished.iter().rev().find(|d| d.request.sequence() == Some(sequence));
    if tried.is_some_and(|d| d.outcome == Some(Outcome::Failed)) {
        return Follow::Failed;
    }
    match put_in_its_place(group, sequence, tried) {
        Some(deployment) => Follow::ByHand(deployment),
        None => Follow::UpToDate,
    }
}

/// The deployment whose files replaced those of the deployed release.
fn put_in_its_place(group: &Group, sequence: u64, tried: Option<&Deployment>) -> Option<DeploymentId> {
    let installed = group.installed.as_ref()?;
    // A rollback to the release has another id, and uses the release's unpacked bundle.
    let is_release = installed.sequence == Some(sequence) || tried.is_some_and(|d| d.id == installed.archive);
    (!is_release).then(|| installed.deployment.clone())
}

/// Whether `resume` changes anything: the channel's release is held, has failed, or differs from the last deployment.
pub(crate) fn can_resume(group: &Group) -> bool {
    let following = &group.following;
    following.hold().is_some()
        || (following.tried_sequence != 0
            && matches!(follow(Some(group), following.tried_sequence), Follow::Failed | Follow::ByHand(_)))
}
