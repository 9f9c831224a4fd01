//! The control socket's frame: it is open before it is known which host this is, and leads to the engine from then on.

use std::sync::Arc;
use std::time::Duration;

use hostler_host::socket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::control::server::Server;
use crate::control::server_context::{Backend, ServerContext};
use crate::engine::Handle;
use crate::failure::Failure;
use crate::health::HealthWatch;
use crate::setup::SetupWatch;
use crate::state_file::LockedState;
use crate::tasks::kept;

/// The open control socket. Whoever has it holds the state.
#[derive(Debug)]
pub struct ControlSocket {
    server: JoinHandle<()>,
    /// Ends with the last conversation.
    conversations: mpsc::Receiver<()>,
    backend: watch::Sender<Backend>,
    /// What the health checks say.
    pub health_watch: HealthWatch,
}

impl ControlSocket {
    /// Opens it. Until it leads to an engine it shows the state that is held and refuses everything else.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(hold: &LockedState, setup_watch: &SetupWatch, context: ServerContext) -> Result<Self, Failure> {
        let setup = setup_watch.now();
        let listener = socket::listen(setup.layout.socket())?;
        let (backend, shown) = watch::channel(Backend::Starting("starting".into(), Arc::new(hold.state.clone())));
        let health_watch = context.health_watch.clone();
        let (server, conversations) = Server::new(shown, setup_watch.clone(), context);
        let listener = Arc::new(listener);
        let serve = move || server.clone().serve(Arc::clone(&listener));
        Ok(Self { server: tokio::spawn(kept("local socket", serve)), conversations, backend, health_watch })
    }

    /// Says what is waited for.
    pub fn wait_for(&self, why: &str) {
        self.backend.send_modify(|backend| {
            if let Backend::Starting(shown, _) = backend {
                *shown = why.into();
            }
        });
    }

    /// Leads to the engine from now on.
    pub fn attach_engine(&self, handle: Handle) {
        self.backend.send_replace(Backend::Running(handle));
    }

    /// Closes it. Conversations that go on get so long to end.
    pub async fn close(&mut self, patience: Duration) {
        self.server.abort();
        // Whoever has not listened by then has gone to sleep.
        let _ = tokio::time::timeout(patience, self.conversations.recv()).await;
    }
}
