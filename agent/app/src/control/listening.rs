//! The control socket itself. It opens before the agent knows which host this is, and leads to the engine afterwards.

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

/// The open control socket. Its owner also holds the state.
#[derive(Debug)]
pub struct ControlSocket {
    server: JoinHandle<()>,
    /// Closed when the last conversation ends.
    conversations: mpsc::Receiver<()>,
    backend: watch::Sender<Backend>,
    /// The results of the health checks.
    pub health_watch: HealthWatch,
}

impl ControlSocket {
    /// Opens the socket. Until an engine is attached, it shows the held state and refuses all other requests.
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

    /// Sets the reason that the socket shows for the wait.
    pub fn wait_for(&self, why: &str) {
        self.backend.send_modify(|backend| {
            if let Backend::Starting(shown, _) = backend {
                *shown = why.into();
            }
        });
    }

    /// Leads requests to the engine from now on.
    pub fn attach_engine(&self, handle: Handle) {
        self.backend.send_replace(Backend::Running(handle));
    }

    /// Closes the socket. Open conversations get `patience` to end.
    pub async fn close(&mut self, patience: Duration) {
        self.server.abort();
        // A peer that has not read its answer by then is asleep.
        let _ = tokio::time::timeout(patience, self.conversations.recv()).await;
    }
}
