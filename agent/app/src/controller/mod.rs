//! Controllers: the tasks beside the engine. Each compares what the host is with what it is configured to be, does what
//! is missing, and says when it wants to look again. One runner waits for all of them (`runner`).
//!
//! A controller is called with everything it may decide by ([`View`]), so that a test needs neither a daemon nor real
//! time. It keeps what it knows between two calls in itself and nothing that must survive: after a panic a new one takes
//! its place. A failure is the controller's own affair: it says it once ([`LogOnce`]) and tries again later
//! ([`Retries`]).

mod log_once;
mod retries;
mod runner;

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use hostler_core::machine::State;
use hostler_core::status::Health;
use tokio::time::Instant;

pub use log_once::LogOnce;
pub use retries::Retries;
pub use runner::{Sources, start};

use crate::setup::Setup;

/// A task beside the engine.
pub trait Controller: Send {
    /// The task's name in the log.
    const NAME: &'static str;

    /// Does the work that is due, as far as possible now; returns when to be called again. Changes that happen meanwhile are
    /// seen in the next call, all at once.
    fn reconcile(&mut self, view: &View) -> impl Future<Output = Wake> + Send;

    /// Waits for a change that only this controller watches. It must be cancel safe: it is dropped and made anew with
    /// each call of [`Self::reconcile`].
    fn own_change(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// The host at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The engine's state.
    pub state: Arc<State>,
    /// The results of the health checks.
    pub health: Health,
    /// The configuration in force.
    pub setup: Arc<Setup>,
    /// The clock of timers.
    pub now: Instant,
    /// The clock of the host, milliseconds since 1970.
    pub now_ms: u64,
}

/// What a controller is called again by. A reload of the configuration always does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    state: bool,
    health: bool,
    at: Option<Instant>,
}

impl Wake {
    /// By a reload alone.
    pub fn on_reload() -> Self {
        Self { state: false, health: false, at: None }
    }

    /// By a change of the state.
    pub fn on_state() -> Self {
        Self { state: true, ..Self::on_reload() }
    }

    /// By a change of the state or of the health.
    pub fn on_change() -> Self {
        Self { health: true, ..Self::on_state() }
    }

    /// Also at this time; the earliest of several counts.
    pub fn at(self, at: impl Into<Option<Instant>>) -> Self {
        Self { at: self.at.into_iter().chain(at.into()).min(), ..self }
    }

    /// Also after a pause that begins now.
    pub fn after(self, pause: Duration) -> Self {
        self.at(Instant::now() + pause)
    }
}
