//! Repeats a question, with growing waits, until the goal is reached, is impossible, or has taken too long.

use std::time::Duration;

use hostler_aws::fault::Fault;
use hostler_core::machine::event::WorkFailure;
use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::time::Instant;

use crate::failure::fail;

/// Between two looks.
const BETWEEN_LOOKS: Backoff = Backoff { first_ms: 500, most_ms: 10_000 };

/// The result of one look.
pub(super) enum Seen<T> {
    /// The goal is reached.
    So(T),
    /// Not yet, with the present state as text.
    NotYet(String),
    /// The goal will not be reached.
    Never(WorkFailure),
}

impl<T> Seen<T> {
    /// The result of a question: an answer is the goal, and a passing fault is asked again.
    fn answer(answer: Result<T, Fault>) -> Self {
        match answer {
            Ok(found) => Self::So(found),
            Err(fault) => Self::fault(&fault),
        }
    }

    pub(super) fn fault(fault: &Fault) -> Self {
        if may_pass(fault) { Self::NotYet(fault.to_string()) } else { Self::Never(fail(fault)) }
    }
}

/// Whether the same request may succeed later. A group in the middle of a change says so with its own error codes
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html>).
pub(super) fn may_pass(fault: &Fault) -> bool {
    fault.is_retryable() || matches!(fault.code.as_deref(), Some("ScalingActivityInProgress" | "ResourceContention"))
}

/// The limit of one wait.
pub(super) struct Patience {
    what: String,
    most: Duration,
    deadline: Instant,
    looks: u32,
}

impl Patience {
    /// Waits at most `most` from now on for `what`, such as `the suppression of its checks`.
    pub(super) fn new(what: impl Into<String>, most: Duration) -> Self {
        Self { what: what.into(), most, deadline: Instant::now() + most, looks: 0 }
    }

    /// Asks until there is an answer.
    pub(super) async fn ask<T, F>(mut self, mut question: impl FnMut() -> F) -> Result<T, WorkFailure>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        loop {
            if let Some(found) = self.take(Seen::answer(question().await)).await? {
                return Ok(found);
            }
        }
    }

    /// Handles the result of a look; returns `None` after a wait, when another look is due. The last look comes after
    /// the time is over.
    pub(super) async fn take<T>(&mut self, seen: Seen<T>) -> Result<Option<T>, WorkFailure> {
        let seen = match seen {
            Seen::So(found) => return Ok(Some(found)),
            Seen::Never(failure) => return Err(failure),
            Seen::NotYet(seen) => seen,
        };
        let now = Instant::now();
        if now >= self.deadline {
            let Self { what, most, .. } = self;
            return Err(fail(format!("{what}: not within {} seconds; last seen: {seen}", most.as_secs())));
        }
        self.looks = self.looks.saturating_add(1);
        let wait = Duration::from_millis(BETWEEN_LOOKS.wait_ms(self.looks, clock::random()));
        tokio::time::sleep_until((now + wait).min(self.deadline)).await;
        Ok(None)
    }
}
