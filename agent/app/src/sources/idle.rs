//! The idle time between two polls, and while a service holds a poll open.

use std::time::Duration;

use hostler_host::memory;
use tokio::time::{sleep, timeout};

use crate::engine::Handle;

/// A wait that is longer than this is idle time: what a poll leaves has ended by then (closing connections, notified tasks).
/// After a shorter wait the next poll would only map the same memory again, which costs more than the poll.
const SETTLED: Duration = Duration::from_secs(2);

/// Waits this long.
pub async fn sleep_idle(handle: &Handle, pause: Duration) {
    wait_idle(handle, sleep(pause)).await;
}

/// Waits for a future. While nothing is deployed, memory from earlier work is returned to the system.
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
