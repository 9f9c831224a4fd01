//! What black-box tests share.

pub mod auto_scaling;
pub mod codedeploy;
pub mod crash_support;
pub mod http_server;
pub mod imds;
pub mod load_balancing;
pub mod logs_service;
pub mod machine;
pub mod moto;
pub mod packages;
pub mod s3_front;
pub mod scratch;
pub mod sigv4;
pub mod syncs;
mod tree;

use std::time::{Duration, Instant};

/// Looks until `look` succeeds and returns what it found.
///
/// # Panics
/// When that has not happened `within` the time, with what was seen last.
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
