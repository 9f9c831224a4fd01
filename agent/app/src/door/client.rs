//! The verbs' side of the door.

use hostler_core::codes::ExitCode;
use hostler_core::limits::Limits;
use hostler_core::status::Status;
use hostler_host::socket::{self, Connection};

use crate::door::{Answer, Ask, DOOR_VERSION, Question};
use crate::failure::{Failure, Outcome};
use crate::progress::Printer;
use crate::setup::Setup;

/// A connection to the daemon of this state.
#[derive(Debug)]
pub struct Client(Connection);

impl Client {
    /// Connects; `None` when no daemon runs.
    pub async fn connect(setup: &Setup) -> Option<Self> {
        socket::connect(setup.layout.socket()).await.map(Self)
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), Failure> {
        let question = Question { version: DOOR_VERSION, ask };
        Ok(self.0.write_line(&serde_json::to_string(&question)?).await?)
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let line = self.0.read_line(Limits::default().socket_line_bytes).await?;
        let line = line.ok_or_else(|| Failure::say(ExitCode::Failed, "the daemon ended the conversation"))?;
        match serde_json::from_str(&line)? {
            Answer::Refused { code, message } => Err(Failure::say(code_of(code), message)),
            answer => Ok(answer),
        }
    }

    /// The daemon's status document.
    ///
    /// # Errors
    /// When the daemon goes away or answers something else.
    pub async fn status(&mut self) -> Result<Status, Failure> {
        self.ask(Ask::Status).await?;
        match self.answer().await? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something that is done at once.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn command(&mut self, ask: Ask) -> Outcome {
        self.ask(ask).await?;
        match self.answer().await? {
            Answer::Done => Ok(ExitCode::Ok),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for a deployment and shows it to its end. Interrupting only detaches: the deployment goes on.
    ///
    /// # Errors
    /// When it is refused or the daemon goes away before its end.
    pub async fn deploy(&mut self, ask: Ask, json: bool) -> Outcome {
        self.ask(ask).await?;
        let Answer::Accepted { deployment } = self.answer().await? else {
            return Err(Failure::say(ExitCode::Failed, "the daemon did not say whether it accepted the deployment"));
        };
        let mut printer = Printer::new(json, deployment.clone());
        loop {
            match self.answer().await? {
                Answer::Progress(progress) => {
                    if let Some(code) = printer.show(&progress)? {
                        return Ok(code);
                    }
                }
                _ => {
                    let message =
                        format!("the daemon stopped before the end of {deployment}; it goes on at the next start");
                    return Err(Failure::say(ExitCode::Failed, message));
                }
            }
        }
    }
}

fn unexpected(answer: &Answer) -> Failure {
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
