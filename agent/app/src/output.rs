//! Standard output, as text or JSON but never both; and notices on standard error for users who wait.

use hostler_core::codes::ExitCode;
use hostler_core::text::printable;
use nix::errno::Errno;
use serde::Serialize;

use crate::failure::{Failure, OutputClosed};
use crate::terminal::{self, CAUTION, FINDINGS, Paint, is_quiet};

/// Prints text. Parts of it come from elsewhere, so its control characters are escaped.
///
/// # Errors
/// When standard output is closed or full.
pub fn text(text: &str) -> Result<(), Failure> {
    ended(terminal::to_stdout(&printable(text)))
}

/// Prints lines, of which those of JSON have escapes of their own.
///
/// # Errors
/// When standard output is closed or full.
pub fn printed(lines: &str, json: bool) -> Result<(), Failure> {
    match lines {
        "" => Ok(()),
        lines if json => ended(terminal::to_stdout(lines)),
        lines => text(lines),
    }
}

/// Prints text that is no result: what was done, for users who did not ask to see less.
///
/// # Errors
/// When standard output is closed or full.
pub fn remark(remark: &str) -> Result<(), Failure> {
    if is_quiet() { Ok(()) } else { text(remark) }
}

/// As [`text`], with colours if the user wants them (`--color`, NO_COLOR, CLICOLOR) and the terminal has them.
///
/// # Errors
/// When standard output is closed or full.
pub fn painted(text: &str, paints: &[Paint<'_>]) -> Result<(), Failure> {
    ended(terminal::painted_to_stdout(text, paints))
}

/// For verbs whose exit code is a verdict: it is the same if the reader of standard output went away (`| head`).
///
/// # Errors
/// When standard output is full.
pub fn unless_closed(printed: Result<(), Failure>) -> Result<(), Failure> {
    match printed {
        Err(failure) if failure.is_output_closed() => Ok(()),
        printed => printed,
    }
}

/// Prints warnings on standard error, for users who did not ask to see less.
pub fn warnings(rendered: &str) {
    if !is_quiet() {
        terminal::painted_to_stderr(rendered, FINDINGS);
    }
}

fn ended(written: std::io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| {
        // A pipe without a reader, or a terminal that is gone. A broken disk gives the same error as the latter.
        let is_gone = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPIPE) => true,
            Some(Errno::EIO) => terminal::is_device(&std::io::stdout()),
            _ => false,
        };
        if is_gone {
            Failure::new(ExitCode::Failed, OutputClosed)
        } else {
            Failure::from(anyhow::Error::new(error).context("cannot write to standard output"))
        }
    })
}

/// Prints a line on standard error for a user who waits; nothing depends on it.
pub fn notice(line: &str) {
    if !is_quiet() {
        terminal::painted_to_stderr(&format!("{line}\n"), &[("^warning:", CAUTION)]);
    }
}

/// Prints one JSON document and a line end.
///
/// # Errors
/// When standard output is closed or full.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(document)?;
    line.push('\n');
    // JSON has its own escapes.
    ended(terminal::to_stdout(&line))
}
