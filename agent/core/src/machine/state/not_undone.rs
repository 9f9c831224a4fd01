//! An Install that could not be completed or undone yet.

use serde::{Deserialize, Serialize};

use crate::ids::DeploymentId;
use crate::machine::failure::{FailureKind, WorkFailure, of_words};
use crate::retry::Backoff;

/// Wait between two tries. The agent notices a volume that is mounted again within a minute.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 2000, most_ms: 60_000 };

/// Why an Install cannot be undone or completed yet. Until then the host may have old and new files side by side. The
/// effect stays in flight, so its deployment does not end and no other deployment of the group begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct NotUndone {
    /// The deployment whose install journal is open. For a rollback it may be the deployment that it rolls back.
    pub journal: DeploymentId,
    /// The current obstacle and its place.
    pub why: String,
    /// Why the Install failed; `None` when it was interrupted and is repeated.
    pub cause: Option<WorkFailure>,
    /// When the first try failed, milliseconds since 1970.
    pub since_ms: u64,
    /// When the last try ended, milliseconds since 1970.
    pub at_ms: u64,
    /// Number of tries.
    pub tries: u32,
    /// Whether it waits for the next try; otherwise a try is running.
    pub waits: bool,
    /// The deployment of another group whose Install triggered the last try.
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

/// The form on disk and in the status document, in which the cause is a text.
#[derive(Serialize, Deserialize)]
struct Written {
    journal: DeploymentId,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Whether the cause was want of space; `None` without a cause, and in what older agents wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_space: Option<bool>,
    since_ms: u64,
    at_ms: u64,
    tries: u32,
    #[serde(default)]
    waits: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tried_for: Option<DeploymentId>,
}

impl From<Written> for NotUndone {
    fn from(written: Written) -> Self {
        let kind = |message: &str| match written.no_space {
            Some(true) => FailureKind::NoSpace,
            Some(false) => FailureKind::Other,
            None => of_words(message),
        };
        Self {
            cause: written.cause.map(|message| WorkFailure { kind: kind(&message), message }),
            journal: written.journal,
            why: written.why,
            since_ms: written.since_ms,
            at_ms: written.at_ms,
            tries: written.tries,
            waits: written.waits,
            tried_for: written.tried_for,
        }
    }
}

impl From<NotUndone> for Written {
    fn from(not_undone: NotUndone) -> Self {
        Self {
            no_space: not_undone.cause.as_ref().map(|cause| cause.kind == FailureKind::NoSpace),
            cause: not_undone.cause.map(|cause| cause.message),
            journal: not_undone.journal,
            why: not_undone.why,
            since_ms: not_undone.since_ms,
            at_ms: not_undone.at_ms,
            tries: not_undone.tries,
            waits: not_undone.waits,
            tried_for: not_undone.tried_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cause(cause: &str, more: &str) -> String {
        let cause = if cause.is_empty() { String::new() } else { format!(r#""cause":"{cause}","#) };
        format!(r#"{{"journal":"d-1","why":"EROFS",{cause}{more}"since_ms":1,"at_ms":2,"tries":3,"waits":true}}"#)
    }

    #[test]
    fn the_cause_keeps_its_kind_and_an_older_agents_words_tell_it() {
        let full = "cannot write /x: Disk quota exceeded (os error 122)";
        for (text, kind) in [
            (with_cause("", ""), None),
            (with_cause(full, ""), Some(FailureKind::NoSpace)),
            (with_cause("cannot write /x: I/O error", ""), Some(FailureKind::Other)),
            (with_cause(full, r#""no_space":false,"#), Some(FailureKind::Other)),
        ] {
            let read: NotUndone = serde_json::from_str(&text).unwrap();
            assert_eq!(read.cause.as_ref().map(|cause| cause.kind), kind, "{text}");
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<NotUndone>(&written).unwrap(), read, "{written}");
        }
    }
}
