//! Whether the agent follows the CodeDeploy service; shared by the task that follows it, the daemon that ends it, and
//! the status. Not part of the state: it starts anew with the daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How long a stop waits for the open poll. Together with the shipping of logs, a stop stays within the unit's
/// TimeoutStopSec; the service may hold a poll for longer (docs/protocols/codedeploy.md#polling).
const LAST_POLL: Duration = Duration::from_secs(10);

/// Why the service is not followed now, and which polls are open.
#[derive(Debug, Clone, Default)]
pub struct Following {
    why_not: Arc<watch::Sender<Option<String>>>,
    ends: Arc<watch::Sender<bool>>,
    /// The number of open polls, with the commands from polls that are not in the ledger yet.
    open: Arc<watch::Sender<usize>>,
}

/// An open poll, until it is dropped.
#[derive(Debug)]
pub struct OpenPoll(Arc<watch::Sender<usize>>);

impl Drop for OpenPoll {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Following {
    /// Sets why the service is not followed, or that it is.
    pub fn say_why_not(&self, why: Option<String>) {
        self.why_not.send_replace(why);
    }

    /// A receiver of the reason why the service is not followed; `None` while it is followed, or if it is not
    /// configured.
    pub fn why_not(&self) -> watch::Receiver<Option<String>> {
        self.why_not.subscribe()
    }

    /// Marks a poll as open; `None` once no more polls may begin.
    pub fn begin_poll(&self) -> Option<OpenPoll> {
        self.open.send_modify(|open| *open += 1);
        // Checked after the mark: an end that begins meanwhile either sees the mark or is seen here.
        Some(OpenPoll(Arc::clone(&self.open))).filter(|_| !self.is_ending())
    }

    /// Whether the daemon is stopping: new commands are then only recorded.
    pub fn is_ending(&self) -> bool {
        *self.ends.borrow()
    }

    /// Begins no more polls. Waits, within a bound, for the open poll and until its command is in the ledger: the
    /// service may not hand out again a command that it gave to a lost poll.
    pub async fn end(&self) {
        self.ends.send_replace(true);
        let mut open = self.open.subscribe();
        if *open.borrow() == 0 {
            return;
        }
        log::info!(
            "the poll of the CodeDeploy service that is open is waited for, {} seconds at most: it may bring a command",
            LAST_POLL.as_secs()
        );
        if tokio::time::timeout(LAST_POLL, open.wait_for(|open| *open == 0)).await.is_err() {
            log::info!("the open poll of the CodeDeploy service is given up after {} seconds", LAST_POLL.as_secs());
        }
    }
}
