//! The time between two polls.

use std::time::Duration;

use hostler_host::memory;
use tokio::time::{Instant, sleep, sleep_until};

use crate::engine::Handle;

/// After a poll until what it leaves behind has ended too: connections that close, tasks that are told.
const SETTLED: Duration = Duration::from_millis(250);

/// Waits for so long. Where nothing is deployed, the pages of the program that the poll needed are given up meanwhile.
pub async fn rest(handle: &Handle, pause: Duration) {
    let until = Instant::now() + pause;
    sleep(SETTLED.min(pause)).await;
    if !handle.state().borrow().is_busy() {
        memory::forget_program_pages();
    }
    sleep_until(until).await;
}
