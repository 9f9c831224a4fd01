//! The time in which nothing is to be done: between two polls, and while a service holds a poll back.

use std::time::Duration;

use hostler_host::memory;
use tokio::time::{sleep, timeout};

use crate::engine::Handle;

/// After a poll until what it leaves behind has ended too: connections that close, tasks that are told.
const SETTLED: Duration = Duration::from_millis(250);

/// Waits for so long.
pub async fn sleep_idle(handle: &Handle, pause: Duration) {
    wait_idle(handle, sleep(pause)).await;
}

/// Waits for what comes. Where nothing is deployed, memory that was needed before is given up meanwhile.
pub async fn wait_idle<T>(handle: &Handle, comes: impl Future<Output = T>) -> T {
    let mut comes = std::pin::pin!(comes);
    if let Ok(soon) = timeout(SETTLED, &mut comes).await {
        return soon;
    }
    if !handle.state().borrow().is_busy() {
        memory::return_freed_memory();
        memory::forget_program_pages();
    }
    comes.await
}
