//! Error output: `error:`, one `caused by:` for each cause, `hint:`; and the matching exit code.

use std::io::Write;

use hostler_core::codes::ExitCode;
pub use hostler_core::error_chain::chain;
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
        chain(&*self.error)
    }

    /// Prints it on standard error.
    pub fn print(&self) {
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

/// An effect's failure on which no decision depends.
pub fn fail(message: impl std::fmt::Display) -> WorkFailure {
    WorkFailure::other(message)
}
