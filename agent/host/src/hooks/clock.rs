//! The clocks of a hook: the wall's for its log, the one that counts suspended time for its deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time since boot, suspension included.
pub(super) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// The same in milliseconds: it does not jump when somebody sets the wall's clock.
pub(super) fn boot_ms() -> u64 {
    u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// A duration of so many seconds, at most a hundred years: what is added to a clock must not overflow.
pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(100 * 366 * 24 * 3600))
}
