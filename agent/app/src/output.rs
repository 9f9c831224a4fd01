//! What goes to standard output: text or JSON, never both; and words on standard error for people who wait.

use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;

/// Prints text as it is.
///
/// # Errors
/// When standard output is closed or full.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::from)
}

/// Prints a line on standard error, for people who wait; nothing depends on it.
pub fn notice(line: &str) {
    // Whoever waited may have gone away.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints one JSON document and a line end.
///
/// # Errors
/// When standard output is closed or full.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(document)?;
    line.push('\n');
    text(&line)
}
