//! Whether a release in the channel leads to a deployment.

use crate::machine::state::{Group, Outcome};

/// What the sequence of the channel's release means for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// It is new here.
    Deploy,
    /// It was deployed.
    UpToDate,
    /// It was tried and failed; a higher sequence or `hostler resume` leads on.
    Failed,
    /// A rollback by hand holds it.
    Held(String),
    /// A deployment of the group is going on.
    Busy,
}

/// Decides about a release with this sequence, which was accepted (`release::accept`); `None` is a group that has never been deployed to.
pub fn follow(group: Option<&Group>, sequence: u64) -> Follow {
    let Some(group) = group else { return Follow::Deploy };
    let following = &group.following;
    if group.active.is_some() {
        return Follow::Busy;
    }
    match &following.held {
        Some(why) if following.highest.is_some_and(|highest| sequence <= highest.sequence) => {
            return Follow::Held(why.clone());
        }
        _ => {}
    }
    if sequence != following.tried_sequence {
        return Follow::Deploy;
    }
    let tried = group.finished.iter().rev().find(|d| d.request.sequence() == Some(sequence));
    match tried.and_then(|d| d.outcome) {
        Some(Outcome::Failed) => Follow::Failed,
        Some(Outcome::Succeeded) | None => Follow::UpToDate,
    }
}
