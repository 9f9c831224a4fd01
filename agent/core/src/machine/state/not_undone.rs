//! An Install that could not be completed or undone yet.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::retry::Backoff;

/// Wait between two tries. The agent notices a volume that is mounted again within a minute.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 2000, most_ms: 60_000 };

/// Why an Install cannot be undone or completed yet. Until then the host may have old and new files side by side. The
/// effect stays in flight, so its deployment does not end and no other deployment of the group begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUndone {
    /// The deployment whose install journal is open. For a rollback it may be the deployment that it rolls back.
    pub journal: DeploymentId,
    /// The current obstacle and its place.
    pub why: String,
    /// Why the Install failed; `None` when it was interrupted and is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When the first try failed, milliseconds since 1970.
    pub since_ms: u64,
    /// When the last try ended, milliseconds since 1970.
    pub at_ms: u64,
    /// Number of tries.
    pub tries: u32,
    /// Whether it waits for the next try; otherwise a try is running.
    #[serde(default)]
    pub waits: bool,
    /// The deployment of another group whose Install triggered the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_for: Option<DeploymentId>,
}

impl NotUndone {
    /// When the next try begins, milliseconds since 1970.
    pub fn next_try_ms(&self) -> u64 {
        self.at_ms.saturating_add(BETWEEN_TRIES.wait_ms(self.tries, self.at_ms))
    }

    /// The remedy for the user.
    pub fn remedy(&self) -> String {
        let journal = &self.journal;
        format!(
            "mend what it says (mount the file system, make it writable): the agent tries again at least once a minute, \
             and so does `hostler run --once`; if what is there is lost for good, stop the agent and run \
             `hostler run --recover --give-up {journal}`"
        )
    }
}

/// Without the remedy.
impl std::fmt::Display for NotUndone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the Install of {} cannot be undone yet: {}", self.journal, self.why)
    }
}
