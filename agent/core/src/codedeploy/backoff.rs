//! Waits after failed calls of the CodeDeploy service. They are not [`crate::retry::Backoff`]'s, by which everything else
//! waits: how often a host asks again is a fact of that service's protocol, whose agent has a factor of its own.

use std::time::Duration;

/// Failures in a row after which the wait grows no further.
const MOST: u32 = 10;
/// The CodeDeploy agent's factor and longest wait (docs/protocols/codedeploy.md#polling): 10 s after the first failure,
/// 90 s from the tenth on.
const FACTOR: f64 = 1.2675;
const LONGEST_SECONDS: f64 = 90.0;

/// The wait after this many failures in a row; `random` is any byte. It is the CodeDeploy agent's schedule, times a
/// random factor between one half and one, so that a fleet does not come back all at once after an outage.
pub fn after_failures(failures: u32, random: u8) -> Duration {
    let Some(failures) = failures.checked_sub(1) else { return Duration::ZERO };
    let exponent = f64::from(failures.saturating_add(1).min(MOST)) - f64::from(MOST);
    let seconds = LONGEST_SECONDS * FACTOR.powf(exponent);
    Duration::from_secs_f64(seconds * (0.5 + f64::from(random) / 510.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waits_are_the_codedeploy_agents() {
        let seconds: Vec<u64> = (0..=11).map(|n| after_failures(n, u8::MAX).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 13, 17, 21, 27, 34, 44, 56, 71, 90, 90]);
        assert_eq!(after_failures(u32::MAX, u8::MAX).as_secs(), 90);
    }

    #[test]
    fn waits_are_spread_over_the_upper_half() {
        for failures in [1, 5, 10, 500] {
            let (least, most) = (after_failures(failures, 0), after_failures(failures, u8::MAX));
            assert_eq!(least.as_millis(), most.as_millis() / 2);
        }
    }
}
