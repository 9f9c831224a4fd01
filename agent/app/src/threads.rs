//! The one thread of the event loop, and threads for blocking work, so that it is free meanwhile.

use std::future::Future;

use hostler_core::codes::ExitCode;
use hostler_core::machine::event::WorkFailure;
use hostler_host::memory;
use tokio::sync::Semaphore;

use crate::failure::{Failure, Outcome, fail};
use crate::tasks::caught;

/// Runs a verb that waits for things, on one thread; blocking work gets a few small threads of its own.
///
/// # Errors
/// The failure of the verb's work.
pub fn block_on<F: Future<Output = Outcome>>(work: F) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(8).build()?;
    let outcome = runtime.block_on(caught(work));
    // Once the outcome is known, a blocking step is not waited for; the next start resumes it.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panicked| Err(Failure::new(ExitCode::Failed, panicked)))
}

/// Runs blocking work that may take much memory on a separate thread. A panic there is passed on.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // The memory of a large bundle must be free before the next effect takes its own.
    brief(|| {
        let result = work();
        memory::return_freed_memory();
        result
    })
    .await
}

/// Runs blocking work that takes little memory on a separate thread. A panic there is passed on.
pub async fn brief<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => Err(fail(format!("the agent ends: {error}"))),
        },
    }
}

/// Limits how many bundles are unpacked and planned at a time. More would take memory and threads from all other work
/// without finishing any bundle earlier.
static UNPACKING: Semaphore = Semaphore::const_new(2);

/// Runs long, expensive blocking work when its turn comes.
pub async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // The semaphore is never closed.
    let _turn = UNPACKING.acquire().await.map_err(fail)?;
    blocking(work).await
}
