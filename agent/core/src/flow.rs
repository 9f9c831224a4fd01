//! How fast bytes must and may arrive: the agent gives up a connection that is too slow, and all connections of a
//! download share one bandwidth.

use std::time::Duration;

/// The least that a waiting connection must deliver: a number of bytes for each period of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinThroughput {
    within: Duration,
    bytes: u64,
    waited: Duration,
    brought: u64,
}

impl MinThroughput {
    /// At least `bytes` in each `within` of waiting.
    pub fn new(within: Duration, bytes: u64) -> Self {
        Self { within, bytes, waited: Duration::ZERO, brought: 0 }
    }

    /// Notes a piece and returns whether the connection is still fast enough. `waited` does not count time between two
    /// pieces, which is not the connection's fault.
    pub fn note(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.brought += bytes;
        if self.waited < self.within {
            return true;
        }
        let enough = self.brought >= self.bytes;
        (self.waited, self.brought) = (Duration::ZERO, 0);
        enough
    }
}

/// A bandwidth. Times are since any moment that stays the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimiter {
    per_second: Option<u64>,
    /// When the bytes so far have passed.
    passed_at: Duration,
}

impl RateLimiter {
    /// A limit in bytes per second; `None` is no limit.
    pub fn new(per_second: Option<u64>) -> Self {
        Self { per_second, passed_at: Duration::ZERO }
    }

    /// When `bytes` that arrived at `now` have passed. Idle time earns no credit.
    pub fn pass(&mut self, now: Duration, bytes: u64) -> Duration {
        let Some(per_second) = self.per_second else { return now };
        let cost = Duration::from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        self.passed_at = self.passed_at.max(now) + cost;
        self.passed_at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_that_brings_too_little_is_found_out_in_its_time() {
        let mut floor = MinThroughput::new(30 * SECOND, 64 << 10);
        for _ in 0..29 {
            assert!(floor.note(SECOND, 100));
        }
        assert!(!floor.note(SECOND, 100), "3,000 bytes in 30 seconds");
    }

    #[test]
    fn a_slow_connection_that_brings_enough_goes_on_for_ever() {
        let mut floor = MinThroughput::new(30 * SECOND, 64 << 10);
        for _ in 0..10_000 {
            assert!(floor.note(SECOND, 2200));
        }
        // A fast time is no credit for a slow one.
        assert!(floor.note(20 * SECOND, 1 << 30));
        for _ in 0..10 {
            floor.note(SECOND, 1);
        }
        let slow: Vec<bool> = (0..30).map(|_| floor.note(SECOND, 1)).collect();
        assert!(slow.contains(&false), "{slow:?}");
    }

    proptest! {
        #[test]
        fn bytes_take_the_time_that_the_bandwidth_says_whenever_they_come(
            per_second in 1_u64..1 << 30,
            pieces in proptest::collection::vec((0_u64..2000, 1_u64..1 << 20), 1..200),
        ) {
            let mut pace = RateLimiter::new(Some(per_second));
            let (mut now, mut bytes) = (Duration::ZERO, 0);
            for (later_ms, piece) in pieces {
                now += Duration::from_millis(later_ms);
                bytes += piece;
                let passed = pace.pass(now, piece);
                prop_assert!(passed >= now);
                // Never faster than the limit, from the first byte on; each of 200 pieces is rounded to a nanosecond.
                let least = bytes as f64 / per_second as f64;
                prop_assert!(passed.as_secs_f64() + 1e-6 * (1.0 + least) >= least, "{passed:?} for {bytes}");
            }
        }
    }

    #[test]
    fn without_pauses_it_is_exactly_the_limit_and_without_a_limit_nothing_waits() {
        let mut pace = RateLimiter::new(Some(1000));
        assert_eq!((0..10).map(|_| pace.pass(Duration::ZERO, 500)).last(), Some(5 * SECOND));
        assert_eq!(pace.pass(60 * SECOND, 500), 60 * SECOND + SECOND / 2);
        assert_eq!(RateLimiter::new(None).pass(SECOND, 1 << 40), SECOND);
    }
}
