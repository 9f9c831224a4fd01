//! The backend of the control socket, and the parts of the daemon that the socket shows.

use std::sync::{Arc, OnceLock};

use hostler_core::machine::State;
use hostler_core::status::{Daemon, Status, status};
use hostler_host::clock;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::codedeploy::source::Following;
use crate::engine::Handle;
use crate::health::HealthWatch;
use crate::host_report::ReportStatuses;
use crate::shipping::ShippingHandle;
use crate::sources::channel_status::Channels;

/// The answer to a reload that came through the control socket.
pub type ReloadAnswer = oneshot::Sender<Result<(), (u8, String)>>;

/// The parts that a daemon gives its control socket. A verb that holds the state has none of them.
#[derive(Debug, Clone, Default)]
pub struct ServerContext {
    /// Notified when a caller asks the daemon to stop.
    pub stop: Option<Arc<Notify>>,
    /// Receives each request to read the configuration again.
    pub reload: Option<mpsc::Sender<ReloadAnswer>>,
    /// The status of the polls of the channels.
    pub channels: Channels,
    /// Whether the agent follows the CodeDeploy service.
    pub following: Following,
    /// The status of this host's reports.
    pub reports: ReportStatuses,
    /// Set once logs are shipped.
    pub shipping: Arc<OnceLock<ShippingHandle>>,
    /// The results of the health checks.
    pub health_watch: HealthWatch,
}

/// The backend of the control socket.
#[derive(Debug, Clone)]
pub enum Backend {
    /// No engine yet: the reason, and the state from the ledger.
    Starting(Arc<str>, Arc<State>),
    /// The engine.
    Running(Handle),
}

impl Backend {
    /// The current state.
    pub fn state(&self) -> Arc<State> {
        match self {
            Self::Starting(_, state) => Arc::clone(state),
            Self::Running(handle) => Arc::clone(&handle.state().borrow()),
        }
    }

    /// The daemon as status shows it.
    pub fn daemon(&self, daemon: &Daemon, context: &ServerContext) -> Daemon {
        let waiting = match self {
            Self::Starting(why, _) => Some(why.as_ref().to_owned()),
            Self::Running(_) => None,
        };
        let health = context.health_watch.watch().borrow().clone();
        let logs = context.shipping.get().map(ShippingHandle::summary);
        let (channels, reports) = (context.channels.list(), context.reports.list());
        let not_followed = context.following.why_not().borrow().clone();
        Daemon { waiting, not_followed, channels, reports, logs, health, ..daemon.clone() }
    }

    /// The status document.
    pub fn status(&self, daemon: &Daemon, context: &ServerContext) -> Status {
        status(&self.state(), Some(self.daemon(daemon, context)), clock::now_ms())
    }
}
