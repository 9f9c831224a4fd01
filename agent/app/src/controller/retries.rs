//! When to try again.

use std::time::Duration;

use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::time::Instant;

/// The failures in a row of one thing, and the wait after them.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    backoff: Backoff,
    failures: u32,
    not_before: Option<Instant>,
}

impl Retries {
    /// Nothing has failed yet.
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, not_before: None }
    }

    /// Whether it may be tried now.
    pub fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Notes a failure; returns the time of the next try.
    pub fn failed(&mut self) -> Instant {
        self.failed_with(self.backoff)
    }

    /// As [`Self::failed`], with other waits: some failures need an administrator, and pass late.
    pub fn failed_with(&mut self, backoff: Backoff) -> Instant {
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_millis(backoff.wait_ms(self.failures, clock::random()));
        let at = Instant::now() + wait;
        self.not_before = Some(at);
        at
    }

    /// Notes that it worked.
    pub fn succeeded(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }

    /// Notes that it worked, and that it is not to be done again before this time.
    pub fn rest_until(&mut self, at: Instant) {
        (self.failures, self.not_before) = (0, Some(at));
    }

    /// Tries again at once; the failures still count.
    pub fn hurry(&mut self) {
        self.not_before = None;
    }

    /// The time of the next try, if a wait was begun.
    pub fn next(&self) -> Option<Instant> {
        self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first_ms: 1000, most_ms: 8000 };

    #[tokio::test(start_paused = true)]
    async fn waits_double_to_their_bound_and_a_success_forgets_them() {
        let mut retries = Retries::new(BACKOFF);
        assert!(retries.is_due() && retries.next().is_none());
        for longest in [1000, 2000, 4000, 8000, 8000] {
            let began = Instant::now();
            let at = retries.failed();
            let wait = (at - began).as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{wait} of {longest}");
            assert!(!retries.is_due());
            tokio::time::sleep_until(at).await;
            assert!(retries.is_due());
        }
        retries.succeeded();
        assert_eq!(retries.next(), None);
        assert!(retries.failed() - Instant::now() <= Duration::from_secs(1), "counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn another_backoff_shares_the_count_and_a_rest_is_no_failure() {
        let mut retries = Retries::new(BACKOFF);
        retries.failed();
        let refused = retries.failed_with(Backoff { first_ms: 60_000, most_ms: 3_600_000 });
        assert!(refused - Instant::now() >= Duration::from_secs(60), "the second failure");
        retries.hurry();
        assert!(retries.is_due());
        assert!(retries.failed() - Instant::now() >= Duration::from_secs(2), "the third failure");
        retries.rest_until(Instant::now() + Duration::from_secs(5));
        assert!(!retries.is_due());
        assert!(retries.failed() - Instant::now() <= Duration::from_secs(1), "the first failure");
    }
}
