//! Waits for the work of another process.

use std::time::{Duration, Instant};

/// Calls `look` until it succeeds and returns its result.
///
/// # Panics
/// When it has not succeeded `within` the time, with the last error.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => panic!("{what}: not within {within:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
