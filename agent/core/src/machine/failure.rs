//! Why an effect, and with it a deployment, failed.

use serde::{Deserialize, Serialize};

use crate::error_chain::{chain, is_for_want_of_space};
use crate::event_order::LifecycleEvent;
use crate::hook::HookOutcome;

/// What a failure is, as far as a decision depends on it.
///
/// Serialised as the fields `verification`, `absent` and `no_space` of a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub enum FailureKind {
    /// A digest, size or signature did not match.
    Verification,
    /// The revision to deploy does not exist.
    Absent,
    /// The agent itself ran out of space, inodes or quota, as opposed to a script that did.
    NoSpace,
    /// Anything else.
    #[default]
    Other,
}

impl FailureKind {
    /// The kind of an error that ended the agent's own work: `NoSpace` or `Other`, by the error and its causes.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        if is_for_want_of_space(error) { Self::NoSpace } else { Self::Other }
    }
}

/// Why an effect failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkFailure {
    /// What failed, where, and what to do; several lines for several problems.
    pub message: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: FailureKind,
}

impl WorkFailure {
    /// A failure that no decision depends on.
    pub fn other(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), kind: FailureKind::Other }
    }

    /// A digest, size or signature that did not match.
    pub fn verification(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), kind: FailureKind::Verification }
    }

    /// A message about an error, with the error's kind.
    pub fn because(message: impl std::fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { message: message.to_string(), kind: FailureKind::of(error) }
    }

    /// A script's event that fails because the script did not succeed; `how` it ended is for people.
    pub(super) fn of_script(location: &str, outcome: &HookOutcome, how: &str) -> Self {
        let kind = match outcome {
            HookOutcome::CouldNotStart { no_space: true, .. } => FailureKind::NoSpace,
            _ => FailureKind::Other,
        };
        Self { message: format!("{location}: {how}"), kind }
    }
}

impl<E: std::error::Error + 'static> From<&E> for WorkFailure {
    /// The error with its causes.
    fn from(error: &E) -> Self {
        Self::because(chain(error), error)
    }
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Failure {
    /// The event that failed.
    pub event: LifecycleEvent,
    /// The script, as the appspec writes it.
    pub script: Option<String>,
    /// What went wrong and, if known, what to do.
    pub message: String,
    /// The last lines of output.
    pub tail: Vec<String>,
    /// What it is.
    pub kind: FailureKind,
}

/// A kind as the fields of a failure.
#[derive(Serialize, Deserialize)]
struct Fields {
    #[serde(default)]
    verification: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    absent: bool,
    /// `None` in what agents before this field wrote, and where it is false and the words do not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_space: Option<bool>,
}

impl From<Fields> for FailureKind {
    fn from(fields: Fields) -> Self {
        match fields {
            Fields { verification: true, .. } => Self::Verification,
            Fields { absent: true, .. } => Self::Absent,
            Fields { no_space: Some(true), .. } => Self::NoSpace,
            Fields { .. } => Self::Other,
        }
    }
}

impl From<FailureKind> for Fields {
    fn from(kind: FailureKind) -> Self {
        Self {
            verification: kind == FailureKind::Verification,
            absent: kind == FailureKind::Absent,
            no_space: (kind == FailureKind::NoSpace).then_some(true),
        }
    }
}

/// A deployment's failure in a state, by this agent or an older one.
#[derive(Serialize, Deserialize)]
struct Written {
    event: LifecycleEvent,
    script: Option<String>,
    message: String,
    tail: Vec<String>,
    #[serde(flatten)]
    fields: Fields,
}

impl From<Written> for Failure {
    fn from(written: Written) -> Self {
        let Written { event, script, message, tail, fields } = written;
        let kind = match (fields.no_space, FailureKind::from(fields)) {
            (None, FailureKind::Other) => of_words(&message),
            (_, kind) => kind,
        };
        Self { event, script, message, tail, kind }
    }
}

impl From<Failure> for Written {
    fn from(failure: Failure) -> Self {
        let Failure { event, script, message, tail, kind } = failure;
        let misleads = kind != FailureKind::NoSpace && of_words(&message) == FailureKind::NoSpace;
        let fields = Fields::from(kind);
        let fields = Fields { no_space: fields.no_space.or(misleads.then_some(false)), ..fields };
        Self { event, script, message, tail, fields }
    }
}

/// The kind of a failure of which an older agent kept the words only: the texts of ENOSPC and EDQUOT, and the codes of a
/// plan's findings. A rollback that waited for space under that agent is tried again by this one.
pub(super) fn of_words(message: &str) -> FailureKind {
    const WORDS: [&str; 4] = ["No space left on device", "Disk quota exceeded", "(no_space)", "(no_inodes)"];
    if WORDS.iter().any(|word| message.contains(word)) { FailureKind::NoSpace } else { FailureKind::Other }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn failure(kind: FailureKind) -> Failure {
        let message = "cannot write: No space left on device (os error 28)".to_owned();
        Failure { event: LifecycleEvent::Install, script: None, message, tail: Vec::new(), kind }
    }

    #[test]
    fn every_kind_is_read_as_it_was_written_whatever_the_message_says() {
        for kind in [FailureKind::Verification, FailureKind::Absent, FailureKind::NoSpace, FailureKind::Other] {
            let text = serde_json::to_string(&failure(kind)).unwrap();
            assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure(kind), "{text}");
            let work = WorkFailure { message: failure(kind).message, kind };
            let text = serde_json::to_string(&work).unwrap();
            assert_eq!(serde_json::from_str::<WorkFailure>(&text).unwrap(), work, "{text}");
        }
    }

    #[test]
    fn of_an_older_agents_failure_the_words_tell_the_kind() {
        let written = |message: &str, more: &str| {
            format!(r#"{{"event":"Install","script":null,"message":"{message}","tail":[],"verification":{more}}}"#)
        };
        for (message, more, kind) in [
            ("cannot write /x: No space left on device (os error 28)", "false", FailureKind::NoSpace),
            ("/x has too little space (no_space)", "false", FailureKind::NoSpace),
            ("exit status 1", "false", FailureKind::Other),
            ("exit status 1", "true", FailureKind::Verification),
            ("no such bundle", "false,\"absent\":true", FailureKind::Absent),
        ] {
            let read: Failure = serde_json::from_str(&written(message, more)).unwrap();
            assert_eq!(read.kind, kind, "{message}");
        }
    }

    #[test]
    fn an_errors_kind_comes_with_its_words() {
        let failure = WorkFailure::from(&Error::from(ErrorKind::StorageFull));
        assert_eq!((failure.message.as_str(), failure.kind), ("no storage space", FailureKind::NoSpace));
        let failure = WorkFailure::because("cannot make it", &Error::from(ErrorKind::PermissionDenied));
        assert_eq!((failure.message.as_str(), failure.kind), ("cannot make it", FailureKind::Other));
    }
}
