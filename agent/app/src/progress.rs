//! Live progress: one line for each lifecycle event, the last lines of a failing hook, and the outcome.

use std::fmt::Write as _;
use std::io::IsTerminal;

use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::Progress;
use hostler_core::machine::event::FailureKind;
use hostler_core::machine::state::{Failure as DeploymentFailure, Outcome};

use crate::failure::Failure;
use crate::log_output::deployments_are_not_shown;
use crate::output;

/// Shows a deployment, and the rollback that follows it, to the caller who waits for its end.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    terminal: bool,
    /// The deployment to wait for; its rollback replaces it.
    waiting: DeploymentId,
    code: Option<ExitCode>,
}

impl Printer {
    /// A printer for one deployment.
    pub fn new(json: bool, deployment: DeploymentId) -> Self {
        Self { json, terminal: std::io::stdout().is_terminal(), waiting: deployment, code: None }
    }

    /// Shows one progress message; returns the exit code once everything has ended.
    ///
    /// # Errors
    /// When standard output is full. A reader that went away only ends the display: the exit code is still the
    /// deployment's.
    pub fn show(&mut self, progress: &Progress) -> Result<Option<ExitCode>, Failure> {
        if progress.deployment() != &self.waiting {
            return Ok(None);
        }
        match self.print(progress) {
            Err(closed) if closed.is_output_closed() => deployments_are_not_shown(),
            printed => printed?,
        }
        if matches!(progress, Progress::NotUndone { .. }) {
            return Ok(Some(*self.code.get_or_insert(ExitCode::Failed)));
        }
        let Progress::Finished { outcome, failure, rollback, .. } = progress else { return Ok(None) };
        // The first deployment's outcome counts: a successful rollback does not change it.
        let code = *self.code.get_or_insert(exit_code(*outcome, failure.as_ref()));
        match rollback {
            Some(next) => self.waiting = next.clone(),
            None => return Ok(Some(code)),
        }
        Ok(None)
    }

    fn print(&self, progress: &Progress) -> Result<(), Failure> {
        match (progress, self.json, self.terminal) {
            (_, true, _) => output::json(progress),
            (Progress::EventStarted { event, .. }, _, true) => {
                output::overwritten(&format!("  {:<20} …", event.name()))
            }
            _ => output::text(&line(progress)),
        }
    }
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::Started { deployment, group, revision, asked_by, purpose, returns_to, .. } => {
            let what = purpose.noun();
            let to = returns_to.as_ref().map_or_else(String::new, |to| format!(" to the revision of {to}"));
            format!("{what} {deployment} of {group}{to}: {} ({asked_by})\n", revision.name_and_place())
        }
        Progress::EventStarted { .. } => String::new(),
        Progress::EventFinished { event, status, milliseconds, .. } => {
            format!("  {:<20} {:<9} {:>8}\n", event.name(), status.word(), seconds(*milliseconds))
        }
        Progress::NotUndone { deployment, message } => {
            format!("  Install failed: {}\n{deployment} has not ended\n", indent(message))
        }
        Progress::Warning { message, .. } => format!("  warning: {}\n", indent(message)),
        Progress::Finished { deployment, outcome, failure, milliseconds, rollback } => {
            let word = if *outcome == Outcome::Succeeded { "succeeded" } else { "failed" };
            let mut text = failure.as_ref().map_or_else(String::new, failure_text);
            let _ = writeln!(text, "{deployment} {word} after {}", seconds(*milliseconds));
            match (rollback, failure) {
                (Some(next), _) => _ = writeln!(text, "returning to the last good revision ({next})"),
                (None, Some(failure)) if is_final(failure) => {
                    text.push_str("no rollback follows: the host stays as it is\n");
                }
                (None, _) => {}
            }
            text
        }
    }
}

/// Whether the failure left something behind that nothing mends by itself.
fn is_final(failure: &DeploymentFailure) -> bool {
    // A failed check touched nothing, and a rollback without space is tried again.
    failure.event != LifecycleEvent::DownloadBundle && failure.kind != FailureKind::NoSpace
}

fn exit_code(outcome: Outcome, failure: Option<&DeploymentFailure>) -> ExitCode {
    match (outcome, failure) {
        (Outcome::Succeeded, _) => ExitCode::Ok,
        (Outcome::Failed, failure) => match failure.map(|failure| failure.kind) {
            Some(FailureKind::Verification) => ExitCode::VerificationFailed,
            Some(FailureKind::Absent) => ExitCode::NotFound,
            Some(FailureKind::NoSpace | FailureKind::Other) | None => ExitCode::Failed,
        },
    }
}

/// What failed and the last lines of output, indented.
pub fn failure_text(failure: &DeploymentFailure) -> String {
    let mut text = format!("  {} failed: {}\n", failure.event, indent(&failure.message));
    for line in &failure.tail {
        let _ = writeln!(text, "    | {line}");
    }
    text
}

/// Milliseconds as seconds, with a readable number of digits.
pub fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}
