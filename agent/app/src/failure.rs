//! Error output: `error:`, one `caused by:` for each cause, `hint:`; and the matching exit code.

use std::io::Write;

use hostler_core::codes::ExitCode;
use hostler_core::machine::event::WorkFailure;
use hostler_core::text::printable;

/// An error with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code of the process.
    pub code: ExitCode,
    error: anyhow::Error,
    hint: Option<String>,
}

/// Standard output was closed by its reader (`hostler logs | head`), which wants no more and no message.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// The result of a verb.
pub type Outcome = Result<ExitCode, Failure>;

impl Failure {
    /// An error with its exit code.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hint: None }
    }

    /// An error without a cause.
    pub fn say(code: ExitCode, message: impl std::fmt::Display) -> Self {
        Self::new(code, anyhow::anyhow!("{message}"))
    }

    /// Adds advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The whole chain in one line, for places with room for one.
    pub fn one_line(&self) -> String {
        self.error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// Prints it on standard error.
    pub fn print(&self) {
        if self.error.is::<OutputClosed>() {
            return;
        }
        let mut text = format!("error: {}\n", self.error);
        for cause in self.error.chain().skip(1) {
            text.push_str(&format!("caused by: {cause}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // If standard error is closed, no output is possible.
        let _ = std::io::stderr().lock().write_all(printable(&text).as_bytes());
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(ExitCode::Failed, error)
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// An effect's failure that does not concern digests.
pub fn fail(message: impl std::fmt::Display) -> WorkFailure {
    WorkFailure { message: message.to_string(), verification: false, absent: false }
}
