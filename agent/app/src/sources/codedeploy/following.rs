//! Whether the CodeDeploy service is followed, between the task that follows it, the daemon that ends it, and whoever shows
//! it. Not part of the state: it begins anew with the daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How long a stop waits for the open poll. With the shipping of logs beside it a stop stays within the unit's
/// TimeoutStopSec; the service may hold a poll for longer (docs/protocols/codedeploy.md#polling).
const LAST_POLL: Duration = Duration::from_secs(10);

/// Why the service is not followed now, and what is still open to it.
#[derive(Debug, Clone, Default)]
pub struct Following {
    why_not: Arc<watch::Sender<Option<String>>>,
    ends: Arc<watch::Sender<bool>>,
    /// Polls that are open, and commands that they brought and that are not in the ledger yet.
    open: Arc<watch::Sender<usize>>,
}

/// A poll that is open, until it is dropped.
#[derive(Debug)]
pub struct OpenPoll(Arc<watch::Sender<usize>>);

impl Drop for OpenPoll {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Following {
    /// Says why the service is not followed, or that it is.
    pub fn say_why_not(&self, why: Option<String>) {
        self.why_not.send_replace(why);
    }

    /// Why the service is not followed, as it changes; `None` while it is, or where it is not configured.
    pub fn why_not(&self) -> watch::Receiver<Option<String>> {
        self.why_not.subscribe()
    }

    /// Marks a poll as open; `None` once no poll may begin any more.
    pub fn begin_poll(&self) -> Option<OpenPoll> {
        self.open.send_modify(|open| *open += 1);
        // Looked at after the mark, so that an end that begins meanwhile sees the mark or is seen.
        Some(OpenPoll(Arc::clone(&self.open))).filter(|_| !self.is_ending())
    }

    /// Whether the daemon stops: what comes now is written down and nothing else.
    pub fn is_ending(&self) -> bool {
        *self.ends.borrow()
    }

    /// Begins no further poll, and waits for the open one and for what it brings to be in the ledger, within a bound: a command
    /// that the service hands to a poll that is gone is perhaps not handed out again.
    pub async fn end(&self) {
        self.ends.send_replace(true);
        let mut open = self.open.subscribe();
        if *open.borrow() == 0 {
            return;
        }
        log::info!(
            "the poll of the CodeDeploy service that is open is waited for, {LAST_POLL:?} at most: it may bring a command"
        );
        if tokio::time::timeout(LAST_POLL, open.wait_for(|open| *open == 0)).await.is_err() {
            log::info!("the open poll of the CodeDeploy service is given up after {LAST_POLL:?}");
        }
    }
}
