//! What is behind the door, and what a daemon puts there.

use std::sync::{Arc, OnceLock};

use hostler_core::machine::State;
use hostler_core::status::{Daemon, Status, status};
use hostler_host::clock;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::engine::Handle;
use crate::health::Board;
use crate::host_report::ReportBoard;
use crate::shipping::ShippingHandle;
use crate::sources::channel_status::Channels;
use crate::sources::codedeploy::Following;

/// A reload that somebody asked for at the door, and where its outcome goes.
pub type ReloadAnswer = oneshot::Sender<Result<(), (u8, String)>>;

/// What a daemon gives its door. A verb that holds the state has nothing of it.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// Told when somebody asks for the daemon's end.
    pub stop: Option<Arc<Notify>>,
    /// Told when somebody asks for the configuration to be read again.
    pub reload: Option<mpsc::Sender<ReloadAnswer>>,
    /// How the looks at the channels go.
    pub channels: Channels,
    /// Whether the CodeDeploy service is followed.
    pub following: Following,
    /// How the writing of this host's reports goes.
    pub reports: ReportBoard,
    /// Set once logs are shipped.
    pub shipping: Arc<OnceLock<ShippingHandle>>,
    /// What the health checks say.
    pub board: Board,
}

/// What is behind the door.
#[derive(Debug, Clone)]
pub enum Front {
    /// Nothing acts yet: why, and the state as the ledger has it.
    Waiting(Arc<str>, Arc<State>),
    /// The engine.
    Open(Handle),
}

impl Front {
    /// The state as it is now.
    pub fn state(&self) -> Arc<State> {
        match self {
            Self::Waiting(_, state) => Arc::clone(state),
            Self::Open(handle) => Arc::clone(&handle.state().borrow()),
        }
    }

    /// The daemon as it is shown.
    pub fn daemon(&self, daemon: &Daemon, desk: &Desk) -> Daemon {
        let waiting = match self {
            Self::Waiting(why, _) => Some(why.as_ref().to_owned()),
            Self::Open(_) => None,
        };
        let health = desk.board.watch().borrow().clone();
        let logs = desk.shipping.get().map(ShippingHandle::summary);
        let (channels, reports) = (desk.channels.list(), desk.reports.list());
        let not_followed = desk.following.why_not().borrow().clone();
        Daemon { waiting, not_followed, channels, reports, logs, health, ..daemon.clone() }
    }

    /// The status document.
    pub fn status(&self, daemon: &Daemon, desk: &Desk) -> Status {
        status(&self.state(), Some(self.daemon(daemon, desk)), clock::now_ms())
    }
}
