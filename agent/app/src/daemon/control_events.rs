//! What the daemon is told from outside: signals, and words at the control socket.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::control::server_context::ReloadAnswer;

/// What was heard.
pub enum ControlEvent {
    /// Drain and end.
    Stop,
    /// Read the configuration again; whoever waits for the outcome gets it.
    Reload(Option<ReloadAnswer>),
}

/// Everything that is listened to.
pub struct ControlEvents {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stop: Arc<Notify>,
    reloads: mpsc::Receiver<ReloadAnswer>,
}

impl ControlEvents {
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
    pub async fn next(&mut self) -> ControlEvent {
        tokio::select! {
            _ = self.terminate.recv() => ControlEvent::Stop,
            _ = self.interrupt.recv() => ControlEvent::Stop,
            () = self.stop.notified() => ControlEvent::Stop,
            _ = self.hangup.recv() => ControlEvent::Reload(None),
            Some(answer) = self.reloads.recv() => ControlEvent::Reload(Some(answer)),
        }
    }

    /// Waits for a second word to stop.
    pub async fn second_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
