//! The only caller of the clock in this crate; `clippy.toml` enforces that.

use std::time::SystemTime;

/// The time, as this host has it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
