//! How long to wait: after failures, and between looks that a whole fleet makes. The CodeDeploy service alone has waits
//! of its own, in [`crate::codedeploy::backoff`].

/// Waits after failures in a row: each twice the one before, up to a bound, and none the same on two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Milliseconds after the first failure.
    pub first_ms: u64,
    /// Milliseconds that no wait exceeds.
    pub most_ms: u64,
}

impl Backoff {
    /// Milliseconds to wait after this many failures in a row: half to the whole of the doubled step, by `random`.
    /// Without a failure there is no wait.
    pub fn wait_ms(self, failures: u32, random: u64) -> u64 {
        let Some(doublings) = failures.checked_sub(1) else { return 0 };
        let step = self.first_ms.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(self.most_ms);
        let half = step / 2;
        half + within(step - half, random)
    }
}

/// Nine tenths to eleven tenths of an interval, by `random`: a fleet that booted together must not poll together.
pub fn jittered_ms(interval_ms: u64, random: u64) -> u64 {
    let tenth = interval_ms / 10;
    (interval_ms - tenth).saturating_add(within(tenth.saturating_mul(2), random))
}

/// A number from 0 to `bound`, both included.
fn within(bound: u64, random: u64) -> u64 {
    bound.checked_add(1).map_or(random, |count| random % count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_their_bound_and_never_pass_it(
            first_ms in 1_u64..100_000,
            factor in 1_u64..1000,
            failures in 1_u32..200,
            random: u64,
        ) {
            let backoff = Backoff { first_ms, most_ms: first_ms * factor };
            let wait = backoff.wait_ms(failures, random);
            let whole = first_ms.saturating_mul(1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX)).min(backoff.most_ms);
            prop_assert!(wait >= whole / 2 && wait <= whole, "{wait} of {whole}");
            prop_assert_eq!(backoff.wait_ms(0, random), 0);
        }

        #[test]
        fn jitter_stays_within_a_tenth(interval: u64, random: u64) {
            let found = jittered_ms(interval, random);
            let tenth = interval / 10;
            prop_assert!(found >= interval - tenth && found - (interval - tenth) <= tenth * 2, "{found}");
        }
    }

    #[test]
    fn hosts_do_not_wait_alike() {
        let backoff = Backoff { first_ms: 1000, most_ms: 60_000 };
        let waits: std::collections::BTreeSet<u64> = (0..100).map(|random| backoff.wait_ms(3, random * 97)).collect();
        assert!(waits.len() > 50, "{waits:?}");
    }
}
