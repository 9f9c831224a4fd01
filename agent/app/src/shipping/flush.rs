//! Those who wait until what was there when they asked is shipped, while the shipping goes on.

use hostler_host::clock;
use hostler_host::log_follow::{Mark, Tail};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// All of them.
#[derive(Debug, Default)]
pub struct Flushes(Vec<Flush>);

#[derive(Debug)]
struct Flush {
    mark: Mark,
    deadline: Instant,
    done: oneshot::Sender<()>,
}

impl Flushes {
    /// One more waits, for what is there now.
    pub fn begin(&mut self, tail: &mut Tail, deadline: Instant, done: oneshot::Sender<()>) {
        self.0.push(Flush { mark: tail.mark(clock::now_ms()), deadline, done });
    }

    /// Until when somebody waits at most; `None` when nobody does.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().map(|flush| flush.deadline).min()
    }

    /// Tells those whose lines are shipped and those whose time is over. True when nobody waits any more since then.
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
            // Nobody waits any more, perhaps.
            let _ = flush.done.send(());
        }
        self.0 = waiting;
        self.0.is_empty()
    }
}
