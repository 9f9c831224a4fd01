//! Signals to CloudFormation without a call of `hostler signal`
//! (docs/protocols/auto-scaling.md#cloudformation-signals): the verdict on this host, and the result of the signal. The
//! journal is part of the engine's state, so the agent decides a signal once and sends it until CloudFormation accepts
//! it. `machine::proof` makes the verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::bounded;

/// Bytes of a signal's reason, and of CloudFormation's answer. Prevents: a failure's text that fills the ledger.
const MOST_OF_REASON: usize = 1 << 10;

/// Signals that are remembered. Prevents: the same, by a configuration that names another stack each day.
const MOST_TARGETS: usize = 64;

/// Milliseconds after which an unanswered signal is given up: stacks and wait conditions wait for twelve hours at most.
const GIVEN_UP_AFTER_MS: u64 = 86_400_000;

/// The signals of this instance, by the targets' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signals(BTreeMap<String, Signalled>);

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signalled {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// When it was decided, milliseconds since 1970.
    pub decided_ms: u64,
    /// The signal's result; `None` while it is to be sent.
    pub end: Option<End>,
}

/// The verdict on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is good.
    pub success: bool,
    /// Why, in words.
    pub reason: String,
}

impl Verdict {
    /// CloudFormation's word for it.
    pub fn word(&self) -> &'static str {
        if self.success { "SUCCESS" } else { "FAILURE" }
    }
}

/// The result of a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// It was taken.
    Taken,
    /// CloudFormation did not wait for it any more, and said so.
    NobodyWaits {
        /// CloudFormation's words.
        message: String,
    },
    /// It was undelivered for so long that CloudFormation cannot be waiting.
    GivenUp {
        /// The last problem.
        message: String,
    },
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken => f.write_str("taken"),
            Self::NobodyWaits { message } => write!(f, "CloudFormation did not wait for it: {message}"),
            Self::GivenUp { message } => write!(f, "given up: {message}"),
        }
    }
}

impl End {
    fn bounded(self) -> Self {
        let bounded = |message: String| bounded(&message, MOST_OF_REASON, "");
        match self {
            Self::Taken => Self::Taken,
            Self::NobodyWaits { message } => Self::NobodyWaits { message: bounded(message) },
            Self::GivenUp { message } => Self::GivenUp { message: bounded(message) },
        }
    }
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The verdict for this target is decided.
    Decide(String, Verdict),
    /// The signal to this target has ended.
    End(String, End),
}

impl Signals {
    /// The signal to a target.
    pub fn get(&self, target: &str) -> Option<&Signalled> {
        self.0.get(target)
    }

    /// All signals with their targets.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Signalled)> {
        self.0.iter()
    }

    /// Whether nothing was signalled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies a change. The first verdict for a target stands: one FAILURE fails a stack, whatever follows.
    pub fn take(&mut self, change: Change, now_ms: u64) {
        match change {
            Change::Decide(target, verdict) => {
                let verdict = Verdict { reason: bounded(&verdict.reason, MOST_OF_REASON, ""), ..verdict };
                self.forget_oldest();
                self.0.entry(target).or_insert(Signalled { verdict, decided_ms: now_ms, end: None });
            }
            Change::End(target, end) => {
                if let Some(signalled) = self.0.get_mut(&target) {
                    signalled.end.get_or_insert(end.bounded());
                }
            }
        }
    }

    /// Forgets the oldest ended signals of many targets. Only a configuration that changes brings many.
    fn forget_oldest(&mut self) {
        let ended = self.0.iter().filter(|(_, signalled)| signalled.end.is_some());
        let oldest = ended.min_by_key(|(_, signalled)| signalled.decided_ms).map(|(target, _)| target.clone());
        if let Some(oldest) = oldest.filter(|_| self.0.len() >= MOST_TARGETS) {
            self.0.remove(&oldest);
        }
    }
}

impl Signalled {
    /// Whether it is so old that CloudFormation cannot be waiting for it.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.decided_ms) >= GIVEN_UP_AFTER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_stands_and_so_does_its_end() {
        let mut signals = Signals::default();
        let verdict = |success| Verdict { success, reason: String::new() };
        signals.take(Change::End("a".to_owned(), End::Taken), 0);
        assert!(signals.is_empty());
        signals.take(Change::Decide("a".to_owned(), verdict(false)), 1);
        signals.take(Change::Decide("a".to_owned(), verdict(true)), 2);
        signals.take(Change::End("a".to_owned(), End::Taken), 3);
        signals.take(Change::End("a".to_owned(), End::GivenUp { message: String::new() }), 4);
        let found = signals.get("a").unwrap();
        assert_eq!((found.verdict.success, found.decided_ms, &found.end), (false, 1, &Some(End::Taken)));
        assert!(!found.is_over(GIVEN_UP_AFTER_MS) && found.is_over(GIVEN_UP_AFTER_MS + 1));
    }
}
