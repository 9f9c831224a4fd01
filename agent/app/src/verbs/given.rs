//! Arguments that may hold a secret can come from standard input, where other users of the host do not see them.

use std::io::Read as _;
use std::path::PathBuf;

use hostler_core::codes::ExitCode;

use crate::failure::Failure;

/// Bytes of an address on standard input.
const MOST_BYTES: usize = 8 << 10;

/// The argument, or for `-` the one line of standard input.
///
/// # Errors
/// A usage failure unless the input is one line of UTF-8 that is not too long. The message does not repeat the input.
pub fn or_line_of_input(argument: String, what: &str) -> Result<String, Failure> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    one_line(&bytes).map_err(|problem| {
        Failure::say(ExitCode::Usage, format!("standard input {problem}")).hint(format!("write one line to it: {what}"))
    })
}

/// As [`or_line_of_input`], for the location of a bundle.
///
/// # Errors
/// As [`or_line_of_input`].
pub fn place(argument: PathBuf) -> Result<PathBuf, Failure> {
    match argument.to_str() {
        Some("-") => or_line_of_input("-".to_owned(), "the bundle's address").map(PathBuf::from),
        _ => Ok(argument),
    }
}

fn one_line(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.len() > MOST_BYTES {
        return Err("holds more than 8,192 bytes");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?.trim();
    match text {
        "" => Err("is empty"),
        text if text.contains(['\n', '\r']) => Err("holds more than one line"),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_taken_without_what_surrounds_it() {
        for good in ["https://h/b?s=1", "https://h/b?s=1\n", "  https://h/b?s=1 \r\n"] {
            assert_eq!(one_line(good.as_bytes()).as_deref(), Ok("https://h/b?s=1"), "{good:?}");
        }
        assert_eq!(one_line(b"\n"), Err("is empty"));
        assert_eq!(one_line(b"a\nb\n"), Err("holds more than one line"));
        assert_eq!(one_line(b"\xff"), Err("is not UTF-8"));
        assert_eq!(one_line(&[b'a'; MOST_BYTES + 1]), Err("holds more than 8,192 bytes"));
    }
}
