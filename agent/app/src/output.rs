//! What goes to standard output: text or JSON, never both; and words on standard error for people who wait.

use std::io::Write;

use hostler_core::text::printable;
use serde::Serialize;

use crate::failure::Failure;

/// Prints text. Others wrote parts of it, so nothing in it acts on the terminal.
///
/// # Errors
/// When standard output is closed or full.
pub fn text(text: &str) -> Result<(), Failure> {
    write(&printable(text))
}

/// Prints a line over which the next text is printed.
///
/// # Errors
/// When standard output is closed or full.
pub fn overwritten(line: &str) -> Result<(), Failure> {
    write(&format!("{}\r", printable(line)))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::from)
}

/// Prints a line on standard error, for people who wait; nothing depends on it.
pub fn notice(line: &str) {
    // Whoever waited may have gone away.
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
