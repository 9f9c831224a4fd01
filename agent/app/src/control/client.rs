//! The verbs' side of the control socket.

use std::io::ErrorKind;

use hostler_core::codes::ExitCode;
use hostler_core::ids::DeploymentId;
use hostler_core::limits::Limits;
use hostler_core::logs::lag::LogsReport;
use hostler_core::status::Status;
use hostler_host::socket::{self, Connection, SocketError};

use crate::control::{ControlRequest, ControlResponse, PROTOCOL_VERSION, VersionedRequest};
use crate::failure::{Failure, Outcome};
use crate::progress::Printer;
use crate::setup::Setup;
use crate::terminal::is_live;

/// A connection to the daemon of this state.
#[derive(Debug)]
pub struct Client(Connection);

impl Client {
    /// Connects; `None` when no daemon runs.
    pub async fn connect(setup: &Setup) -> Option<Self> {
        let connected = socket::connect(setup.layout.socket()).await.map(Self);
        let answers = if connected.is_some() { "a daemon answers" } else { "no daemon answers" };
        log::debug!("{answers} on {}", setup.layout.socket().display());
        connected
    }

    /// Sends a request and reads the first answer. Lock held means that the daemon is stopping and did nothing.
    async fn ask(&mut self, ask: ControlRequest) -> Result<ControlResponse, Failure> {
        let question = VersionedRequest { version: PROTOCOL_VERSION, moments: is_live(), request: ask };
        let asked = self.0.write_line(&serde_json::to_string(&question)?).await;
        asked.map_err(|error| Failure::new(ExitCode::LockHeld, error))?;
        match self.answer().await.map_err(unanswered)? {
            Some(ControlResponse::Refused { code, message }) => Err(Failure::say(code_of(code), message)),
            Some(ControlResponse::Stopping) => Err(Failure::say(ExitCode::LockHeld, "the daemon is stopping")),
            Some(answer) => Ok(answer),
            None => Err(Failure::say(ExitCode::Failed, "the daemon ended the conversation without an answer")
                .hint("`hostler status` shows whether it has done it")),
        }
    }

    /// The next answer; `None` at the end of the conversation.
    async fn answer(&mut self) -> Result<Option<ControlResponse>, SocketError> {
        let line = self.0.read_line(Limits::default().socket_line_bytes).await?;
        let parse = |line: String| serde_json::from_str(&line).map_err(|e| SocketError::Broken(e.into()));
        line.map(parse).transpose()
    }

    /// The next answer, while the printer's line is kept up to date.
    async fn answer_beside(&mut self, printer: &mut Printer) -> Result<Option<ControlResponse>, SocketError> {
        let mut answer = std::pin::pin!(self.answer());
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = printer.refresh_due() => printer.refresh(),
            }
        }
    }

    /// The daemon's status document.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub async fn status(&mut self) -> Result<Status, Failure> {
        match self.ask(ControlRequest::Status).await? {
            ControlResponse::Status(mut status) => {
                status.name_earlier();
                Ok(*status)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// How far the daemon has shipped the logs; `None` when it ships none.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub async fn logs(&mut self) -> Result<Option<LogsReport>, Failure> {
        match self.ask(ControlRequest::Logs).await? {
            ControlResponse::Logs { report } => Ok(report.map(|report| *report)),
            other => Err(unexpected(&other)),
        }
    }

    /// The newest records of the history as lines, oldest first.
    ///
    /// # Errors
    /// When it is refused, or the daemon goes away.
    pub async fn history(&mut self) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        let mut answer = self.ask(ControlRequest::History).await?;
        loop {
            match answer {
                ControlResponse::History { line } => lines.push(line),
                ControlResponse::Done => return Ok(lines),
                other => return Err(unexpected(&other)),
            }
            let next = self.answer().await.map_err(unanswered)?;
            answer = next.ok_or_else(|| Failure::say(ExitCode::Failed, "the daemon ended before the history did"))?;
        }
    }

    /// The daemon's metrics, as OpenMetrics text.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub async fn metrics(&mut self) -> Result<String, Failure> {
        match self.ask(ControlRequest::Metrics).await? {
            ControlResponse::Metrics { text } => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// The daemon's problems; empty when it is healthy.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub async fn health(&mut self) -> Result<Vec<String>, Failure> {
        match self.ask(ControlRequest::Health).await? {
            ControlResponse::Health { problems } => Ok(problems),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a request that the daemon handles at once.
    ///
    /// # Errors
    /// When it is refused; lock held when the daemon is stopping and did nothing.
    pub async fn command(&mut self, ask: ControlRequest) -> Outcome {
        match self.ask(ask).await? {
            ControlResponse::Done => Ok(ExitCode::Ok),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for a deployment; its id once it is accepted.
    ///
    /// # Errors
    /// When it is refused; lock held when the daemon is stopping and did nothing.
    pub async fn deploy(&mut self, ask: ControlRequest) -> Result<DeploymentId, Failure> {
        match self.ask(ask).await? {
            ControlResponse::Accepted { deployment } => Ok(deployment),
            other => Err(unexpected(&other)),
        }
    }

    /// Shows an accepted deployment to its end. An interrupt only detaches: the deployment goes on.
    ///
    /// # Errors
    /// When the daemon goes away before its end.
    pub async fn follow(&mut self, deployment: DeploymentId, json: bool) -> Outcome {
        let mut printer = Printer::new(json, deployment.clone());
        // A killed daemon breaks the connection without a last answer.
        while let Ok(Some(answer)) = self.answer_beside(&mut printer).await {
            match answer {
                ControlResponse::Progress(progress) => {
                    if let Some(code) = printer.show(&progress)? {
                        printer.finish().await?;
                        return Ok(code);
                    }
                }
                ControlResponse::Moment(moment) => printer.goes_on(moment),
                _ => break,
            }
        }
        let message = format!("the daemon stopped before the end of {deployment}; it goes on at the next start");
        Err(Failure::say(ExitCode::Failed, message))
    }
}

/// The failure when a daemon closes its control socket before it has read the request.
fn unanswered(error: SocketError) -> Failure {
    let unread = matches!(&error, SocketError::Line { source, .. } if source.kind() == ErrorKind::ConnectionReset);
    Failure::new(if unread { ExitCode::LockHeld } else { ExitCode::Failed }, error)
}

fn unexpected(answer: &ControlResponse) -> Failure {
    Failure::say(ExitCode::Failed, format!("the daemon answered something unexpected: {answer:?}"))
}

fn code_of(number: u8) -> ExitCode {
    match number {
        0 => ExitCode::Ok,
        2 => ExitCode::Usage,
        3 => ExitCode::Refused,
        4 => ExitCode::LockHeld,
        5 => ExitCode::NotFound,
        6 => ExitCode::VerificationFailed,
        _ => ExitCode::Failed,
    }
}
