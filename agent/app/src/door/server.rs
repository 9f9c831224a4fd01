//! The daemon's side of the door: who may ask what, and the answers.

use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::{Event, Progress};
use hostler_core::status::{Daemon, status};
use hostler_host::clock;
use hostler_host::socket::{Connection, SocketError};
use hostler_host::users::{self, SERVICE_GROUP};
use tokio::net::UnixListener;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;

use crate::door::{Answer, Ask, DOOR_VERSION, Question};
use crate::engine::{AskError, Handle};
use crate::session;
use crate::setup::Setup;

/// Answers questions until it is dropped.
#[derive(Debug, Clone)]
pub struct Server {
    handle: Handle,
    setup: Arc<Setup>,
    daemon: Daemon,
    stop: Option<Arc<Notify>>,
    /// Places for users who may only look.
    onlookers: Arc<Semaphore>,
    /// Every conversation holds one until its end.
    _going_on: mpsc::Sender<()>,
}

impl Server {
    /// A server for this engine. `stop` is told when somebody asks the daemon to stop. The receiver sees the channel's
    /// end when the server is gone and all conversations have ended.
    pub fn new(handle: Handle, setup: Arc<Setup>, stop: Option<Arc<Notify>>) -> (Self, mpsc::Receiver<()>) {
        let (going_on, ended) = mpsc::channel(1);
        let agent_version = env!("CARGO_PKG_VERSION").to_owned();
        let daemon = Daemon { agent_version, pid: std::process::id(), started_ms: clock::now_ms() };
        let onlookers = Arc::new(Semaphore::new(setup.limits.socket_onlookers));
        (Self { handle, setup, daemon, stop, onlookers, _going_on: going_on }, ended)
    }

    /// Takes connections; each is served by a task of its own.
    pub async fn serve(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move { server.converse(stream).await });
                }
                Err(error) => {
                    log::warn!(error:%; "the local socket took no connection");
                    // Out of descriptors, as a rule: a busy loop would not free any.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(&self, stream: tokio::net::UnixStream) {
        let Ok(connection) = Connection::new(stream) else { return };
        let patience = Duration::from_secs(self.setup.limits.socket_question_seconds);
        let ended = if may_act(connection.peer_uid()) {
            self.hear_and_answer(connection, patience).await
        } else {
            let Ok(_place) = self.onlookers.try_acquire() else { return };
            // The whole conversation, so that one that does not read its answer keeps no place either.
            timeout(patience, self.hear_and_answer(connection, patience)).await.unwrap_or(Ok(()))
        };
        if let Err(error) = ended {
            // A peer that went away in the middle has detached; the deployment goes on.
            log::debug!(error:%; "a conversation on the local socket ended early");
        }
    }

    async fn hear_and_answer(&self, mut connection: Connection, patience: Duration) -> Result<(), SocketError> {
        let limit = self.setup.limits.socket_line_bytes;
        let question = timeout(patience, connection.read_line(limit)).await.unwrap_or(Ok(None))?;
        let Some(line) = question else { return Ok(()) };
        self.answer(&mut connection, &line).await
    }

    async fn answer(&self, connection: &mut Connection, line: &str) -> Result<(), SocketError> {
        let question = match serde_json::from_str::<Question>(line) {
            Ok(question) if question.version == DOOR_VERSION => question,
            Ok(question) => {
                let message = format!("this daemon speaks version {DOOR_VERSION}, not {}", question.version);
                return refuse(connection, ExitCode::Usage, message).await;
            }
            Err(error) => return refuse(connection, ExitCode::Usage, format!("not a question: {error}")).await,
        };
        let uid = connection.peer_uid();
        if question.ask.acts() && !may_act(uid) {
            let message = format!("user id {uid} may only look; root and members of the group {SERVICE_GROUP} may act");
            return refuse(connection, ExitCode::Refused, message).await;
        }
        let asked_by = users::describe(uid);
        match question.ask {
            Ask::Status => {
                let mut document = status(&self.handle.state().borrow(), Some(self.daemon.clone()), clock::now_ms());
                if !may_act(uid) {
                    document.leave_out_hook_output();
                }
                send(connection, &Answer::Status(Box::new(document))).await
            }
            Ask::Deploy(wish) => {
                let policy = wish.policy(self.setup.settings.policy(&wish.key));
                match session::deploy_request(&self.setup, wish, policy, asked_by) {
                    Ok(request) => self.deploy(connection, |id| Event::Deploy { id, request: Box::new(request) }).await,
                    Err(failure) => refuse(connection, failure.code, failure.one_line()).await,
                }
            }
            Ask::Rollback { key, to } => {
                let policy = Box::new(self.setup.settings.policy(&key));
                self.deploy(connection, |id| Event::Rollback { id, key, to, asked_by, policy }).await
            }
            Ask::Remove { key, ignore_application_stop_failures } => {
                let policy = session::removal_policy(&self.setup.settings, &key, ignore_application_stop_failures);
                let policy = Box::new(policy);
                self.deploy(connection, |id| Event::Remove { id, key, asked_by, policy }).await
            }
            Ask::Resume { key } => match self.handle.ask(Event::Resume { key, asked_by }).await {
                Ok(()) => send(connection, &Answer::Done).await,
                Err(error) => refuse_ask(connection, &error).await,
            },
            Ask::Stop => match &self.stop {
                Some(stop) => {
                    stop.notify_one();
                    send(connection, &Answer::Done).await
                }
                None => {
                    let message = "no daemon runs; a deployment by hand is going on and ends by itself".to_owned();
                    refuse(connection, ExitCode::Refused, message).await
                }
            },
        }
    }

    async fn deploy(
        &self,
        connection: &mut Connection,
        event: impl FnOnce(DeploymentId) -> Event,
    ) -> Result<(), SocketError> {
        let mut progress = self.handle.progress();
        let id = match clock::fresh_deployment_id() {
            Ok(id) => id,
            Err(error) => return refuse(connection, ExitCode::Failed, format!("no randomness: {error}")).await,
        };
        if let Err(error) = self.handle.ask(event(id.clone())).await {
            return refuse_ask(connection, &error).await;
        }
        send(connection, &Answer::Accepted { deployment: id.clone() }).await?;
        self.follow(connection, &mut progress, id).await
    }

    async fn follow(
        &self,
        connection: &mut Connection,
        progress: &mut Receiver<Progress>,
        mut id: DeploymentId,
    ) -> Result<(), SocketError> {
        let mut state = self.handle.state();
        loop {
            let piece = tokio::select! {
                // What happened before the engine ended is passed on first.
                biased;
                piece = progress.recv() => piece,
                _ = state.wait_for(|_| false) => Err(RecvError::Closed),
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return send(connection, &Answer::Done).await,
            };
            if piece.deployment() != &id {
                continue;
            }
            send(connection, &Answer::Progress(Box::new(piece.clone()))).await?;
            if let Progress::Finished { rollback, .. } = piece {
                match rollback {
                    Some(next) => id = next,
                    None => return send(connection, &Answer::Done).await,
                }
            }
        }
    }
}

fn may_act(uid: u32) -> bool {
    uid == 0 || uid == users::own_uid() || users::is_member(uid, SERVICE_GROUP)
}

async fn refuse_ask(connection: &mut Connection, error: &AskError) -> Result<(), SocketError> {
    match error {
        AskError::Refused(refusal) => refuse(connection, refusal.exit_code(), refusal.to_string()).await,
        AskError::Stopping => send(connection, &Answer::Stopping).await,
    }
}

async fn refuse(connection: &mut Connection, code: ExitCode, message: String) -> Result<(), SocketError> {
    send(connection, &Answer::Refused { code: code as u8, message }).await
}

async fn send(connection: &mut Connection, answer: &Answer) -> Result<(), SocketError> {
    let line = serde_json::to_string(answer).map_err(|e| SocketError::Broken(e.into()))?;
    connection.write_line(&line).await
}
