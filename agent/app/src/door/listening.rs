//! The door's frame: it is open before it is known which host this is, and leads to the engine from then on.

use std::sync::Arc;
use std::time::Duration;

use hostler_host::socket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::door::desk::{Desk, Front};
use crate::door::server::Server;
use crate::engine::Handle;
use crate::failure::Failure;
use crate::health::Board;
use crate::setup::Live;
use crate::state_file::Hold;
use crate::tasks::kept;

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
