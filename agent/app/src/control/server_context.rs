//! What is behind the control socket, and what a daemon puts there.

use std::sync::{Arc, OnceLock};

use hostler_core::machine::State;
use hostler_core::status::{Daemon, Status, status};
use hostler_host::clock;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::engine::Handle;
use crate::health::HealthWatch;
use crate::host_report::ReportStatuses;
use crate::shipping::ShippingHandle;
use crate::sources::channel_status::Channels;
use crate::sources::codedeploy::Following;

/// A reload that somebody asked for at the control socket, and where its outcome goes.
pub type ReloadAnswer = oneshot::Sender<Result<(), (u8, String)>>;

/// What a daemon gives its control socket. A verb that holds the state has nothing of it.
#[derive(Debug, Clone, Default)]
pub struct ServerContext {
    /// Told when somebody asks for the daemon's end.
    pub stop: Option<Arc<Notify>>,
    /// Told when somebody asks for the configuration to be read again.
    pub reload: Option<mpsc::Sender<ReloadAnswer>>,
    /// How the looks at the channels go.
    pub channels: Channels,
    /// Whether the CodeDeploy service is followed.
    pub following: Following,
    /// How the writing of this host's reports goes.
    pub reports: ReportStatuses,
    /// Set once logs are shipped.
    pub shipping: Arc<OnceLock<ShippingHandle>>,
    /// What the health checks say.
    pub health_watch: HealthWatch,
}

/// What is behind the control socket.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Nothing acts yet: why, and the state as the ledger has it.
    Starting(Arc<str>, Arc<State>),
    /// The engine.
    Running(Handle),
}

impl Backend {
    /// The state as it is now.
    pub fn state(&self) -> Arc<State> {
        match self {
            Self::Starting(_, state) => Arc::clone(state),
            Self::Running(handle) => Arc::clone(&handle.state().borrow()),
        }
    }

    /// The daemon as it is shown.
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
