//! Callers who wait until the lines present at their request are shipped, while the shipping goes on.

use hostler_host::clock;
use hostler_host::log_follow::{Mark, Tail};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// All waiting callers.
#[derive(Debug, Default)]
pub struct Flushes(Vec<Flush>);

#[derive(Debug)]
struct Flush {
    mark: Mark,
    deadline: Instant,
    done: oneshot::Sender<()>,
}

impl Flushes {
    /// Adds a caller that waits for the lines present now.
    pub fn begin(&mut self, tail: &mut Tail, deadline: Instant, done: oneshot::Sender<()>) {
        self.0.push(Flush { mark: tail.mark(clock::now_ms()), deadline, done });
    }

    /// The earliest deadline of the waiting callers; `None` without any.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().map(|flush| flush.deadline).min()
    }

    /// Answers the callers whose lines are shipped or whose time is over. Returns true when this leaves no waiting
    /// caller.
    pub fn answer(&mut self, tail: &Tail) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let now = Instant::now();
        let (over, waiting): (Vec<Flush>, Vec<Flush>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|flush| now >= flush.deadline || flush.done.is_closed() || tail.is_shipped(&flush.mark));
        for flush in over {
            if now >= flush.deadline {
                log::warn!("not all logs were shipped in time; what is left is shipped as far as there is time");
            }
            // The caller may be gone.
            let _ = flush.done.send(());
        }
        self.0 = waiting;
        self.0.is_empty()
    }
}
