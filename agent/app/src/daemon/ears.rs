//! What the daemon is told from outside: signals, and words at the door.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::door::desk::ReloadAnswer;

/// What was heard.
pub enum Heard {
    /// Drain and end.
    Stop,
    /// Read the configuration again; whoever waits for the outcome gets it.
    Reload(Option<ReloadAnswer>),
}

/// Everything that is listened to.
pub struct Ears {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stop: Arc<Notify>,
    reloads: mpsc::Receiver<ReloadAnswer>,
}

impl Ears {
    /// From now on no signal that is listened to ends the process by itself.
    ///
    /// # Errors
    /// When the system gives no signals.
    pub fn new(stop: Arc<Notify>, reloads: mpsc::Receiver<ReloadAnswer>) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stop,
            reloads,
        })
    }

    /// Waits for the next word. Nothing is lost when it is not waited for to the end.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            () = self.stop.notified() => Heard::Stop,
            _ = self.hangup.recv() => Heard::Reload(None),
            Some(answer) = self.reloads.recv() => Heard::Reload(Some(answer)),
        }
    }

    /// Waits for a second word to stop.
    pub async fn hurry(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
