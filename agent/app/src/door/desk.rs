//! The door's frame: it is open before it is known which host this is, and leads to the engine from then on.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hostler_core::machine::State;
use hostler_core::status::{Daemon, Status, status};
use hostler_host::{clock, socket};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::door::server::Server;
use crate::engine::Handle;
use crate::failure::Failure;
use crate::health::Board;
use crate::host_report::ReportBoard;
use crate::session::Hold;
use crate::setup::Live;
use crate::shipping::ShippingHandle;
use crate::sources::codedeploy::Following;
use crate::sources::followers::Channels;
use crate::tasks::kept;

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

/// The open door. Whoever has it holds the state.
#[derive(Debug)]
pub struct Door {
    server: JoinHandle<()>,
    /// Ends with the last conversation.
    conversations: mpsc::Receiver<()>,
    front: watch::Sender<Front>,
    /// What the health checks say.
    pub board: Board,
}

impl Door {
    /// Opens it. Until it leads to an engine it shows the state that is held and refuses everything else.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(hold: &Hold, live: &Live, desk: Desk) -> Result<Self, Failure> {
        let setup = live.now();
        let listener = socket::listen(setup.layout.socket())?;
        let (front, shown) = watch::channel(Front::Waiting("starting".into(), Arc::new(hold.state.clone())));
        let board = desk.board.clone();
        let (server, conversations) = Server::new(shown, live.clone(), desk);
        let listener = Arc::new(listener);
        let serve = move || server.clone().serve(Arc::clone(&listener));
        Ok(Self { server: tokio::spawn(kept("local socket", serve)), conversations, front, board })
    }

    /// Says what is waited for.
    pub fn wait_for(&self, why: &str) {
        self.front.send_modify(|front| {
            if let Front::Waiting(shown, _) = front {
                *shown = why.into();
            }
        });
    }

    /// Leads to the engine from now on.
    pub fn lead_to(&self, handle: Handle) {
        self.front.send_replace(Front::Open(handle));
    }

    /// Closes it. Conversations that go on get so long to end.
    pub async fn close(&mut self, patience: Duration) {
        self.server.abort();
        // Whoever has not listened by then has gone to sleep.
        let _ = tokio::time::timeout(patience, self.conversations.recv()).await;
    }
}
