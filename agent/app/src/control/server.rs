//! The daemon's side of the control socket: the permissions for each request, and the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::{Event, Moment, Progress};
use hostler_core::metrics;
use hostler_core::status::{Daemon, Health, problems};
use hostler_host::clock;
use hostler_host::history_file::{self, HistoryFileError};
use hostler_host::memory;
use hostler_host::socket::{Connection, SocketError};
use hostler_host::users::{self, SERVICE_GROUP};
use tokio::net::UnixListener;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::control::connection_limits::{ConnectionLimits, acts_by_credentials};
use crate::control::scrape::{self, Page};
use crate::control::server_context::{Backend, ServerContext};
use crate::control::{ControlRequest, ControlResponse, MOST_HISTORY_RECORDS, PROTOCOL_VERSION, VersionedRequest};
use crate::engine::{AskError, Handle};
use crate::failure::chain;
use crate::requests::{deploy_request, removal_policy};
use crate::setup::{Setup, SetupWatch};

/// The time between two looks at what goes on in a deployment, for peers that show it.
const MOMENTS: Duration = Duration::from_secs(1);

/// Answers requests until it is dropped.
#[derive(Debug, Clone)]
pub struct Server {
    backend: watch::Receiver<Backend>,
    setup_watch: SetupWatch,
    daemon: Daemon,
    context: ServerContext,
    connections: ConnectionLimits,
    /// Every conversation holds one until its end.
    _going_on: mpsc::Sender<()>,
}

impl Server {
    /// A server for the backend of the control socket. The receiver sees the channel's end when the server is gone and
    /// all conversations have ended.
    pub fn new(
        backend: watch::Receiver<Backend>,
        setup_watch: SetupWatch,
        context: ServerContext,
    ) -> (Self, mpsc::Receiver<()>) {
        let (going_on, ended) = mpsc::channel(1);
        let daemon = Daemon {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: clock::now_ms(),
            waiting: None,
            not_followed: None,
            channels: Vec::new(),
            logs: None,
            reports: Vec::new(),
            health: Health::new(),
        };
        let limits = &setup_watch.now().limits;
        let connections = ConnectionLimits::new(limits.socket_onlookers, limits.socket_onlookers_of_user);
        (Self { backend, setup_watch, daemon, context, connections, _going_on: going_on }, ended)
    }

    /// Accepts connections; a separate task serves each.
    pub async fn serve(self, listener: Arc<UnixListener>) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move { server.accept(stream).await });
                }
                Err(error) => {
                    log::warn!(error:%; "the local socket took no connection: {error}");
                    // Usually out of descriptors: a busy loop would not free any.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self, stream: tokio::net::UnixStream) {
        let Ok(connection) = Connection::new(stream) else { return };
        let patience = Duration::from_secs(self.setup_watch.now().limits.socket_question_seconds);
        let ended = if acts_by_credentials(&connection) {
            self.handle_connection(connection, true, patience).await
        } else {
            let uid = connection.peer_uid();
            let Some(place) = self.connections.place(uid, patience).await else { return };
            if self.connections.is_member(uid, patience).await {
                drop(place);
                self.handle_connection(connection, true, patience).await
            } else {
                // The limit covers the whole conversation, so that a peer that does not read its answer gives its place
                // back too.
                timeout(patience, self.handle_connection(connection, false, patience)).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            // A peer that disconnected early has detached; the deployment goes on.
            log::debug!(error:%; "a conversation on the local socket ended early: {error}");
        }
    }

    async fn handle_connection(
        &self,
        mut connection: Connection,
        may_act: bool,
        patience: Duration,
    ) -> Result<(), SocketError> {
        let limit = self.setup_watch.now().limits.socket_line_bytes;
        let question = timeout(patience, connection.read_line(limit)).await.unwrap_or(Ok(None))?;
        let Some(line) = question else { return Ok(()) };
        match scrape::page(&line) {
            Some(page) => timeout(patience, self.show(&mut connection, page, limit)).await.unwrap_or(Ok(())),
            None => self.answer(&mut connection, may_act, &line).await,
        }
    }

    /// A page of HTTP.
    async fn show(&self, connection: &mut Connection, page: Page, limit: usize) -> Result<(), SocketError> {
        // The headers do not matter here, but unread bytes would break the connection.
        while connection.read_line(limit).await?.is_some_and(|line| !line.trim_end().is_empty()) {}
        let text = match page {
            Page::Metrics => self.metrics(),
            Page::Health => self.problems().iter().map(|problem| format!("{problem}\n")).collect(),
            Page::Unknown => String::new(),
        };
        connection.write(&scrape::answer(page, &text)).await
    }

    fn metrics(&self) -> String {
        let backend = self.backend.borrow();
        metrics::text(&backend.state(), &backend.daemon(&self.daemon, &self.context))
    }

    fn problems(&self) -> Vec<String> {
        let status = self.backend.borrow().status(&self.daemon, &self.context);
        problems(&status, clock::now_ms())
    }

    async fn answer(&self, connection: &mut Connection, may_act: bool, line: &str) -> Result<(), SocketError> {
        let question = match serde_json::from_str::<VersionedRequest>(line) {
            Ok(question) if question.version == PROTOCOL_VERSION => question,
            Ok(question) => {
                let message = format!("this daemon speaks version {PROTOCOL_VERSION}, not {}", question.version);
                return refuse(connection, ExitCode::Usage, message).await;
            }
            Err(error) => return refuse(connection, ExitCode::Usage, format!("not a request: {error}")).await,
        };
        let uid = connection.peer_uid();
        if question.request.acts() && !may_act {
            let message = format!(
                "user id {uid} may read only status, metrics and health; root and members of the group {SERVICE_GROUP} may act"
            );
            return refuse(connection, ExitCode::Refused, message).await;
        }
        match question.request {
            ControlRequest::Status => {
                let mut document = self.backend.borrow().status(&self.daemon, &self.context);
                if !may_act {
                    document.leave_out_hook_output();
                }
                send(connection, &ControlResponse::Status(Box::new(document))).await
            }
            ControlRequest::Logs => {
                let report = match self.context.shipping.get() {
                    Some(shipping) => shipping.report().await.map(Box::new),
                    None => None,
                };
                send(connection, &ControlResponse::Logs { report }).await
            }
            ControlRequest::Metrics => send(connection, &ControlResponse::Metrics { text: self.metrics() }).await,
            ControlRequest::Health => send(connection, &ControlResponse::Health { problems: self.problems() }).await,
            ControlRequest::History => self.history(connection).await,
            ControlRequest::Stop => self.stop(connection).await,
            ControlRequest::Reload => self.reload(connection).await,
            ask => {
                let backend = self.backend.borrow().clone();
                match backend {
                    Backend::Running(handle) => {
                        self.act(connection, (&handle, question.moments), ask, users::describe(uid)).await
                    }
                    Backend::Starting(why, _) => {
                        let message = format!("the agent does nothing yet: {why}");
                        refuse(connection, ExitCode::Refused, message).await
                    }
                }
            }
        }
    }

    async fn act(
        &self,
        connection: &mut Connection,
        (handle, moments): (&Handle, bool),
        ask: ControlRequest,
        asked_by: String,
    ) -> Result<(), SocketError> {
        let setup = self.setup_watch.now();
        match ask {
            ControlRequest::Deploy(wish) => {
                let policy = wish.policy(setup.settings.policy(&wish.key));
                match deploy_request(&setup, wish, policy, asked_by) {
                    Ok(request) => {
                        deploy(connection, (handle, moments), |id| Event::Deploy { id, request: Box::new(request) })
                            .await
                    }
                    Err(failure) => refuse(connection, failure.code, failure.one_line()).await,
                }
            }
            ControlRequest::Rollback { key, to, force } => {
                let policy = Box::new(setup.settings.policy(&key));
                deploy(connection, (handle, moments), |id| Event::Rollback { id, key, to, force, asked_by, policy })
                    .await
            }
            ControlRequest::Remove { key, ignore_application_stop_failures } => {
                let policy = removal_policy(&setup.settings, &key, ignore_application_stop_failures);
                let policy = Box::new(policy);
                deploy(connection, (handle, moments), |id| Event::Remove { id, key, asked_by, policy }).await
            }
            ControlRequest::Resume { key } => match handle.ask(Event::Resume { key, asked_by }).await {
                Ok(()) => send(connection, &ControlResponse::Done).await,
                Err(error) => refuse_ask(connection, &error).await,
            },
            // Answered without looking at the backend.
            ControlRequest::Status
            | ControlRequest::Logs
            | ControlRequest::Metrics
            | ControlRequest::Health
            | ControlRequest::History
            | ControlRequest::Stop
            | ControlRequest::Reload => Ok(()),
        }
    }

    async fn history(&self, connection: &mut Connection) -> Result<(), SocketError> {
        let setup = self.setup_watch.now();
        let read = tokio::task::spawn_blocking(move || newest_records(&setup, MOST_HISTORY_RECORDS)).await;
        let lines = match read {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => return refuse(connection, ExitCode::Failed, chain(&error)).await,
            Err(error) => return refuse(connection, ExitCode::Failed, chain(&error)).await,
        };
        for line in lines {
            let line = String::from_utf8_lossy(&line).into_owned();
            send(connection, &ControlResponse::History { line }).await?;
        }
        memory::return_freed_memory();
        send(connection, &ControlResponse::Done).await
    }

    async fn stop(&self, connection: &mut Connection) -> Result<(), SocketError> {
        let Some(stop) = &self.context.stop else { return refuse_without_daemon(connection).await };
        stop.notify_one();
        send(connection, &ControlResponse::Done).await
    }

    async fn reload(&self, connection: &mut Connection) -> Result<(), SocketError> {
        let Some(reload) = &self.context.reload else { return refuse_without_daemon(connection).await };
        let (answer, outcome) = oneshot::channel();
        if reload.send(answer).await.is_err() {
            return send(connection, &ControlResponse::Stopping).await;
        }
        match outcome.await {
            Ok(Ok(())) => send(connection, &ControlResponse::Done).await,
            Ok(Err((code, message))) => send(connection, &ControlResponse::Refused { code, message }).await,
            Err(_) => send(connection, &ControlResponse::Stopping).await,
        }
    }
}

/// The newest records of the history as lines, oldest first.
///
/// # Errors
/// The file cannot be read.
fn newest_records(setup: &Setup, most: usize) -> Result<VecDeque<Vec<u8>>, HistoryFileError> {
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    history_file::read(setup.layout.state(), &setup.limits, |line| {
        lines.push_back(line.to_vec());
        if lines.len() > most {
            lines.pop_front();
        }
    })?;
    Ok(lines)
}

async fn refuse_without_daemon(connection: &mut Connection) -> Result<(), SocketError> {
    let message = "no daemon runs; a deployment by hand is going on and ends by itself".to_owned();
    refuse(connection, ExitCode::Refused, message).await
}

async fn deploy(
    connection: &mut Connection,
    (handle, moments): (&Handle, bool),
    event: impl FnOnce(DeploymentId) -> Event,
) -> Result<(), SocketError> {
    let mut progress = handle.progress();
    let id = match clock::fresh_deployment_id() {
        Ok(id) => id,
        Err(error) => return refuse(connection, ExitCode::Failed, format!("no randomness: {error}")).await,
    };
    if let Err(error) = handle.ask(event(id.clone())).await {
        return refuse_ask(connection, &error).await;
    }
    send(connection, &ControlResponse::Accepted { deployment: id.clone() }).await?;
    follow(connection, (handle, moments), &mut progress, id).await
}

async fn follow(
    connection: &mut Connection,
    (handle, moments): (&Handle, bool),
    progress: &mut Receiver<Progress>,
    mut id: DeploymentId,
) -> Result<(), SocketError> {
    let mut state = handle.state();
    let mut shown = Moment::default();
    loop {
        let piece = tokio::select! {
            // Progress from before the engine's end is passed on first.
            biased;
            piece = progress.recv() => Some(piece),
            _ = state.wait_for(|_| false) => Some(Err(RecvError::Closed)),
            () = tokio::time::sleep(MOMENTS), if moments => None,
        };
        let Some(piece) = piece else {
            let moment = handle.moment(&id);
            if moment != shown {
                shown = moment.clone();
                send(connection, &ControlResponse::Moment(moment)).await?;
            }
            continue;
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return send(connection, &ControlResponse::Done).await,
        };
        if piece.deployment() != &id {
            continue;
        }
        send(connection, &ControlResponse::Progress(Box::new(piece.clone()))).await?;
        if matches!(piece, Progress::NotUndone { .. }) {
            return send(connection, &ControlResponse::Done).await;
        }
        if let Progress::Finished { rollback, .. } = piece {
            match rollback {
                Some(next) => id = next,
                None => return send(connection, &ControlResponse::Done).await,
            }
        }
    }
}

async fn refuse_ask(connection: &mut Connection, error: &AskError) -> Result<(), SocketError> {
    match error {
        AskError::Refused(refusal) => refuse(connection, refusal.exit_code(), refusal.to_string()).await,
        AskError::Stopping => send(connection, &ControlResponse::Stopping).await,
    }
}

async fn refuse(connection: &mut Connection, code: ExitCode, message: String) -> Result<(), SocketError> {
    send(connection, &ControlResponse::Refused { code: code as u8, message }).await
}

async fn send(connection: &mut Connection, answer: &ControlResponse) -> Result<(), SocketError> {
    let line = serde_json::to_string(answer).map_err(|e| SocketError::Broken(e.into()))?;
    connection.write_line(&line).await
}
