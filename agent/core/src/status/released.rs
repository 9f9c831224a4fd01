//! The channel's newest accepted release beside what is installed.

use serde::{Deserialize, Serialize};

use crate::machine::state::{Group, Outcome};

/// What became of the newest accepted release of a group's channel on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStanding {
    /// Its revision is installed, whatever deployed it.
    Installed,
    /// Its last deployment failed. The agent does not try it again by itself.
    Failed,
    /// It was deployed, and another revision, or none, is installed.
    Replaced,
    /// It was not deployed yet.
    NotTried,
}

/// What became of the group's newest accepted release. `None` without one, and while a deployment is active.
pub(super) fn standing(group: &Group) -> Option<ReleaseStanding> {
    let sequence = group.following.highest?.sequence;
    if group.active.is_some() {
        return None;
    }
    let tried = group.finished.iter().rev().find(|d| d.request.sequence() == Some(sequence));
    if tried.is_some_and(|d| d.outcome == Some(Outcome::Failed)) {
        return Some(ReleaseStanding::Failed);
    }
    let is_installed = group.installed.as_ref().is_some_and(|installed| {
        let is_its = installed.sequence == Some(sequence);
        let digest = installed.revision.digest;
        // A rollback to the release has another id; another deployment may have brought the same content.
        is_its
            || tried.is_some_and(|d| {
                *d.archive() == installed.archive || (digest.is_some() && digest == d.request.revision.digest)
            })
    });
    Some(match (is_installed, tried) {
        (true, _) => ReleaseStanding::Installed,
        (false, None) if group.following.tried_sequence != sequence => ReleaseStanding::NotTried,
        (false, _) => ReleaseStanding::Replaced,
    })
}
