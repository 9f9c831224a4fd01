//! Asking again, with waits that grow, until it is so, cannot be so, or has taken too long.

use std::time::Duration;

use hostler_aws::fault::Fault;
use hostler_core::machine::event::WorkFailure;
use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::time::Instant;

use crate::failure::fail;

/// Between two looks.
const BETWEEN_LOOKS: Backoff = Backoff { first_ms: 500, most_ms: 10_000 };

/// What one look came to.
pub(super) enum Seen<T> {
    /// It is so.
    So(T),
    /// Not yet, in words.
    NotYet(String),
    /// It will not be so.
    Never(WorkFailure),
}

impl<T> Seen<T> {
    /// Of a question: an answer is what was wanted, and what may be answered in a moment is asked again.
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

/// Whether the same request may be taken later. A group that is in the middle of something says so in words of its own
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html>).
pub(super) fn may_pass(fault: &Fault) -> bool {
    fault.is_retryable() || matches!(fault.code.as_deref(), Some("ScalingActivityInProgress" | "ResourceContention"))
}

/// How long something is waited for.
pub(super) struct Patience {
    what: String,
    most: Duration,
    deadline: Instant,
    looks: u32,
}

impl Patience {
    /// For something, as `the suppression of its checks`, for so long from now on.
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

    /// What a look came to; `None` after a wait, when another look is due. The last look is the one after the time is over.
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
