//! Events from outside the daemon: signals, and requests on the control socket.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::control::server_context::ReloadAnswer;

/// One event.
pub enum ControlEvent {
    /// Drain and end.
    Stop,
    /// Read the configuration again, and answer the caller if there is one.
    Reload(Option<ReloadAnswer>),
}

/// The sources of events.
pub struct ControlEvents {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stop: Arc<Notify>,
    reloads: mpsc::Receiver<ReloadAnswer>,
}

impl ControlEvents {
    /// From now on, none of these signals ends the process by itself.
    ///
    /// # Errors
    /// When the system does not let the process receive signals.
    pub fn new(stop: Arc<Notify>, reloads: mpsc::Receiver<ReloadAnswer>) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stop,
            reloads,
        })
    }

    /// Waits for the next event. Dropping the future loses no event.
    pub async fn next(&mut self) -> ControlEvent {
        tokio::select! {
            _ = self.terminate.recv() => ControlEvent::Stop,
            _ = self.interrupt.recv() => ControlEvent::Stop,
            () = self.stop.notified() => ControlEvent::Stop,
            _ = self.hangup.recv() => ControlEvent::Reload(None),
            Some(answer) = self.reloads.recv() => ControlEvent::Reload(Some(answer)),
        }
    }

    /// Waits for a second request to stop.
    pub async fn second_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
