//! What goes to standard output: text or JSON, never both.

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

/// Prints one JSON document and a line end.
///
/// # Errors
/// When standard output is closed or full.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(document)?;
    line.push('\n');
    text(&line)
}
