//! Threads for work that blocks, so that the one thread of the event loop goes on meanwhile.

use hostler_core::machine::event::WorkFailure;
use hostler_host::memory;
use tokio::sync::Semaphore;

use crate::failure::fail;

/// Work that blocks, on a thread of its own. A panic there is one here.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // What a large bundle took must not lie there while the next effect takes its own.
    let work = || {
        let result = work();
        memory::return_freed_memory();
        result
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => Err(fail(format!("the agent ends: {error}"))),
        },
    }
}

/// Bundles that are unpacked and planned at a time. More would take the memory and the threads from everything else, and
/// finish none of them earlier.
static UNPACKING: Semaphore = Semaphore::const_new(2);

/// Work that blocks for long and takes much, when its turn has come.
pub async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // It is never closed.
    let _turn = UNPACKING.acquire().await.map_err(fail)?;
    blocking(work).await
}
