//! systemd's watchdog (`WatchdogSec=`): the agent notifies it only after the engine's loop has turned.

use std::sync::Arc;

use hostler_host::notify;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::engine::Handle;
use crate::sources::channel_status::Channels;
use crate::tasks::kept;

/// The task; it ends when this is dropped.
pub struct Alive(JoinHandle<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Notifies systemd for as long as systemd expects it, three times in its interval and no more often. The polls of the
/// channels serve as the clock where they are frequent enough, so that an idle daemon is not woken up for this alone.
/// Without an engine, the task itself is the loop that turns.
pub fn keep(engine: Option<Handle>, channels: &Channels) -> Alive {
    let looked = Arc::clone(&channels.looked);
    Alive(tokio::spawn(kept("watchdog", move || tell(engine.clone(), Arc::clone(&looked)))))
}

async fn tell(engine: Option<Handle>, looked: Arc<Notify>) {
    let Some(interval) = notify::watchdog() else { return };
    let (rarely, often) = (interval / 2, interval / 3);
    loop {
        if let Some(engine) = &engine
            && engine.turn().await.is_err()
        {
            return;
        }
        notify::alive();
        let told = tokio::time::Instant::now();
        // A poll in the second half of the interval replaces the timer.
        let late_look = async {
            loop {
                looked.notified().await;
                if told.elapsed() >= often {
                    return;
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rarely) => {}
            () = late_look => {}
        }
    }
}
