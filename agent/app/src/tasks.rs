//! Separate tasks: a panic fails one task, which is reported and retried, and does not end the process.
//!
//! `log_output` logs the panic's place and message; the code that catches it logs the consequence.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::time::Instant;

/// Short at first; a task that panics each time must not fill the log or the processor.
const AFTER_PANICS: Backoff = Backoff { first_ms: 1000, most_ms: 300_000 };

/// How long a task must run before its earlier panics are forgotten.
const RECOVERED: Duration = Duration::from_secs(600);

/// The message of a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fault in hostler: {message} (please report it with the agent's log)")]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// From the payload of the unwinding.
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self { message: message.unwrap_or_else(|| "a panic without words".to_owned()) }
    }
}

/// Does the work and turns a panic into an error.
///
/// # Errors
/// When the work panicked. Its values are dropped.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    // Half-done changes are in the future, which is not polled again, or behind locks that expect it.
    let poll = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(Panicked::new(&*payload))),
    });
    poll.await
}

/// The waits of a task that panics again and again.
#[derive(Debug)]
pub struct Restarts {
    name: &'static str,
    backoff: Backoff,
    recovered: Duration,
    failures: u32,
    began: Instant,
}

impl Restarts {
    /// For a task that begins now.
    pub fn new(name: &'static str) -> Self {
        Self { name, backoff: AFTER_PANICS, recovered: RECOVERED, failures: 0, began: Instant::now() }
    }

    /// Logs that the task panicked; returns how long to wait before it begins anew.
    pub fn after(&mut self, panicked: &Panicked) -> Duration {
        if self.began.elapsed() >= self.recovered {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_millis(self.backoff.wait_ms(self.failures, clock::random()));
        let (task, seconds) = (self.name, pause.as_secs_f32());
        log::error!(hostler_event = "task-panicked", task; "the task {task} ended by {panicked}; it begins anew in {seconds:.1} seconds");
        self.began = Instant::now() + pause;
        pause
    }
}

/// Runs a task; after a panic it begins anew, with a wait.
pub async fn kept<'t, F: Future<Output = ()> + Send + 't>(name: &'static str, begin: impl FnMut() -> F) {
    keep(Restarts::new(name), begin).await;
}

async fn keep<'t, F: Future<Output = ()> + Send + 't>(mut restarts: Restarts, mut begin: impl FnMut() -> F) {
    loop {
        // Boxed: the compiler cannot resolve the types of tasks within tasks.
        let mut begin = || -> Pin<Box<dyn Future<Output = ()> + Send + 't>> { Box::pin(begin()) };
        match caught(async { begin().await }).await {
            Ok(()) => return,
            Err(panicked) => tokio::time::sleep(restarts.after(&panicked)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn quick(recovered: Duration) -> Restarts {
        Restarts { backoff: Backoff { first_ms: 2, most_ms: 16 }, recovered, ..Restarts::new("a test") }
    }

    #[test]
    fn a_panic_is_an_error_with_its_words_and_drops_what_was_held() {
        let held = Arc::new(());
        let work = {
            let held = Arc::clone(&held);
            async move {
                tokio::task::yield_now().await;
                let kept = held;
                assert_eq!(Arc::strong_count(&kept), 0, "number 2");
            }
        };
        let panicked = block_on(caught(work)).unwrap_err();
        assert!(panicked.to_string().contains("number 2"), "{panicked}");
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(block_on(caught(async { 7 })), Ok(7));
    }

    #[test]
    fn a_task_that_panics_begins_anew_until_it_ends_by_itself() {
        let begun = AtomicU32::new(0);
        block_on(keep(quick(RECOVERED), || {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            // A panic before the future exists is caught too.
            assert_ne!(number, 1, "at once");
            async move {
                tokio::task::yield_now().await;
                assert!(number > 3, "again");
            }
        }));
        assert_eq!(begun.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn waits_grow_to_a_bound_and_panics_of_long_ago_are_forgotten() {
        let panicked = Panicked::new(&"again");
        let mut restarts = quick(RECOVERED);
        let waits: Vec<_> = (0..64).map(|_| restarts.after(&panicked).as_millis()).collect();
        assert!(waits[0] <= 2 && waits[63] >= 8 && waits.iter().all(|wait| *wait <= 16), "{waits:?}");
        let mut restarts = quick(Duration::ZERO);
        assert!((0..64).all(|_| restarts.after(&panicked).as_millis() <= 2), "each ran long enough before");
    }
}
