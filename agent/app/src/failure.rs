//! Error output: `error:`, one `caused by:` for each cause, `hint:`; and the matching exit code.

use hostler_aws::fault::Fault;
use hostler_core::codes::ExitCode;
pub use hostler_core::error_chain::chain;
use hostler_core::machine::event::WorkFailure;
use hostler_core::store::StoreError;

use crate::terminal::{BAD, CAUTION, HELP, painted_to_stderr};

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

    /// Says in front of the causes what they mean here.
    pub fn during(self, what: &'static str) -> Self {
        Self { error: self.error.context(what), ..self }
    }

    /// The whole chain in one line, for places with room for one.
    pub fn one_line(&self) -> String {
        chain(&*self.error)
    }

    /// The same without the ids of requests, which differ each time: by this, problems are the same or not.
    pub fn without_request_ids(&self) -> String {
        self.error.chain().map(without_request_ids).collect::<Vec<_>>().join(": ")
    }

    /// Whether it is only that the reader of standard output went away.
    pub fn is_output_closed(&self) -> bool {
        self.error.is::<OutputClosed>()
    }

    /// Whether a store did not execute a request.
    pub fn is_store_error(&self) -> bool {
        self.error.is::<StoreError>()
    }

    /// Prints it on standard error.
    pub fn print(&self) {
        if self.is_output_closed() {
            return;
        }
        let mut text = format!("error: {}\n", self.error);
        for cause in self.error.chain().skip(1) {
            text.push_str(&format!("caused by: {cause}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        painted_to_stderr(&text, &[("^error:", BAD), ("^caused by:", CAUTION), ("^hint:", HELP)]);
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(ExitCode::Failed, error)
    }
}

fn without_request_ids(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.without_request_ids();
    }
    let ids = error.downcast_ref::<StoreError>().map_or(&[][..], |error| &error.request_ids);
    ids.iter().fold(error.to_string(), |text, id| text.replace(id, ""))
}

/// An effect's failure on which no decision depends.
pub fn fail(message: impl std::fmt::Display) -> WorkFailure {
    WorkFailure::other(message)
}

#[cfg(test)]
mod tests {
    use hostler_core::store::StoreErrorKind;

    use super::*;

    #[test]
    fn problems_that_differ_in_their_request_ids_alone_are_the_same() {
        let fault = |id: &str, message: &str| Fault { request_id: Some(id.to_owned()), ..Fault::broken(message) };
        let of_fault = |fault| Failure::from(anyhow::Error::new(fault).context("the group is not asked"));
        let of_store = |fault: Fault| {
            let (problem, request_ids) = (fault.to_string(), fault.request_ids());
            let (location, kind) = ("s3://b/k".to_owned(), StoreErrorKind::Transient);
            Failure::from(StoreError { operation: "read", location, kind, problem, request_ids, source: None })
        };
        for of in [&of_fault as &dyn Fn(Fault) -> Failure, &of_store] {
            let (one, again, other) = (of(fault("A1", "busy")), of(fault("B2", "busy")), of(fault("A1", "denied")));
            assert!(one.one_line().contains("busy (request id A1)"), "{}", one.one_line());
            assert_eq!(one.without_request_ids(), again.without_request_ids());
            assert_ne!(one.without_request_ids(), other.without_request_ids());
            assert!(!one.without_request_ids().contains("A1"));
        }
    }
}
