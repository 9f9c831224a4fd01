//! The handle by which the rest of the daemon asks for the shipping's report, and for a flush.

use std::time::Duration;

use hostler_core::logs::lag::{LogsReport, LogsSummary};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::setup::SetupWatch;

/// A request to the task.
pub(super) enum Request {
    Report(oneshot::Sender<LogsReport>),
    /// Send everything that is there, within the time, and go on.
    Flush(Instant, oneshot::Sender<()>),
    /// Send everything that is there, within the time, and end.
    Finish(Instant, oneshot::Sender<()>),
}

/// A handle to the shipping. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShippingHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) summary: watch::Receiver<LogsSummary>,
    pub(super) setup_watch: SetupWatch,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Report(_) => "Report",
            Self::Flush(..) => "Flush",
            Self::Finish(..) => "Finish",
        })
    }
}

impl ShippingHandle {
    /// The progress of every source; `None` when the shipping has ended.
    pub async fn report(&self) -> Option<LogsReport> {
        let (answer, report) = oneshot::channel();
        self.requests.send(Request::Report(answer)).await.ok()?;
        report.await.ok()
    }

    /// A summary as of the last look.
    pub fn summary(&self) -> LogsSummary {
        self.summary.borrow().clone()
    }

    /// Waits until the lines present now are shipped, at most for `bound` and for the configured bound.
    pub async fn flush(&self, bound: Duration) {
        let (done, flushed) = oneshot::channel();
        if self.requests.send(Request::Flush(Instant::now() + bound.min(self.most()), done)).await.is_ok() {
            // A task that has ended ships nothing more.
            let _ = flushed.await;
        }
    }

    /// The longest wait for the shipping.
    pub(super) fn most(&self) -> Duration {
        let seconds = self.setup_watch.now().settings.logs.as_ref().map_or(0, |logs| logs.flush_seconds);
        Duration::from_secs(seconds)
    }
}
