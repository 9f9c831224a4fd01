//! An Install that could not be brought to an end yet.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::retry::Backoff;

/// Between two tries. A volume that somebody mounts again is noticed within a minute.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 2000, most_ms: 60_000 };

/// Why an Install cannot be undone or completed yet. Until it is, the host may have old and new files side by side: the
/// effect stays in flight, so that its deployment does not end and no other one of the group begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUndone {
    /// The deployment whose install journal is open: of a rollback, maybe the one that it takes back.
    pub journal: DeploymentId,
    /// What hinders it now, and where.
    pub why: String,
    /// What the Install failed for; `None` when it did not fail but was interrupted, so that it is done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When it was found out, milliseconds since 1970.
    pub since_ms: u64,
    /// When it was tried last, milliseconds since 1970.
    pub at_ms: u64,
    /// How often it was tried.
    pub tries: u32,
    /// Whether it waits for the next try; otherwise one goes on.
    #[serde(default)]
    pub waits: bool,
    /// The deployment of another group before whose Install it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_for: Option<DeploymentId>,
}

impl NotUndone {
    /// When the next try begins, milliseconds since 1970.
    pub fn next_try_ms(&self) -> u64 {
        self.at_ms.saturating_add(BETWEEN_TRIES.wait_ms(self.tries, self.at_ms))
    }

    /// What to do about it.
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
