//! Standard output, as text or JSON but never both; and notices on standard error for users who wait.

use std::io::{ErrorKind, Write};

use hostler_core::codes::ExitCode;
use hostler_core::text::printable;
use serde::Serialize;

use crate::failure::{Failure, OutputClosed};

/// Prints text. Parts of it come from elsewhere, so its control characters are escaped.
///
/// # Errors
/// When standard output is closed or full.
pub fn text(text: &str) -> Result<(), Failure> {
    write(&printable(text))
}

/// Prints lines, of which those of JSON have escapes of their own.
///
/// # Errors
/// When standard output is closed or full.
pub fn printed(lines: &str, json: bool) -> Result<(), Failure> {
    match lines {
        "" => Ok(()),
        lines if json => write(lines),
        lines => text(lines),
    }
}

/// Prints a line that the next text overwrites.
///
/// # Errors
/// When standard output is closed or full.
pub fn overwritten(line: &str) -> Result<(), Failure> {
    write(&format!("{}\r", printable(line)))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(ExitCode::Failed, OutputClosed),
        _ => Failure::from(error),
    })
}

/// Prints a line on standard error for a user who waits; nothing depends on it.
pub fn notice(line: &str) {
    // The terminal may be gone.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(line));
}

/// Prints one JSON document and a line end.
///
/// # Errors
/// When standard output is closed or full.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(document)?;
    line.push('\n');
    // JSON has its own escapes.
    write(&line)
}
