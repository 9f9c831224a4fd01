//! How values are written in hostler's own documents: one grammar for each type, in an appspec's `hostler:` block, in
//! the configuration and on the command line.
//!
//! A reader gets the text of a value, quoted or not, and returns the value or the expectation ([`Unfit`]); the caller
//! knows the key and the place. Spaces around a value do not count.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

mod nearest;
mod quantity;
#[cfg(test)]
mod tests;

pub use nearest::{misspelt, nearest};
pub use quantity::{duration, milliseconds, size, spelled_duration, spelled_size};

/// A year: no duration of hostler's documents is longer.
pub const YEAR_SECONDS: u64 = 366 * 86_400;

/// The words for true, in any case.
const TRUE: &[&str] = &["true", "yes", "on"];
/// The words for false, in any case.
const FALSE: &[&str] = &["false", "no", "off"];

/// Why a text is not a value of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The expectation, for a sentence that begins with "must be".
    pub expected: String,
    /// The remedy.
    pub help: Option<String>,
}

impl Unfit {
    /// A remedy besides the expectation.
    pub fn new(expected: impl Into<String>, help: impl Into<String>) -> Self {
        Self { expected: expected.into(), help: Some(help.into()) }
    }

    /// Without a remedy: the expectation says it all.
    pub fn bare(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), help: None }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be {}", self.expected)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The sentence for a value that a key cannot have; both the key and the value are shown as the caller gives them.
pub fn must_be(key: &str, expected: &str, given: &str) -> String {
    format!("{key} must be {expected}, not {given}")
}

/// `true` or `false`. The other words of YAML 1.1 (`yes`, `no`, `on`, `off`) are read as well, because the CodeDeploy
/// agent reads them in an appspec.
///
/// # Errors
/// For any other text.
pub fn boolean(text: &str) -> Result<bool, Unfit> {
    let given = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| given.eq_ignore_ascii_case(word));
    match (is(TRUE), is(FALSE)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Unfit::bare("true or false")),
    }
}

/// A whole number in decimal digits; leading zeros and a plus sign count as nothing.
///
/// # Errors
/// For any other text, and for a number out of these bounds.
pub fn whole(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Unfit> {
    let digits = text.trim();
    let number = quantity::digits(digits.strip_prefix('+').unwrap_or(digits)).filter(|number| bounds.contains(number));
    number.ok_or_else(|| Unfit::bare(whole_expected(bounds)))
}

fn whole_expected(bounds: &RangeInclusive<u64>) -> String {
    match (bounds.start(), bounds.end()) {
        (least, &u64::MAX) => format!("a whole number from {least}"),
        (least, most) => format!("a whole number from {least} to {most}"),
    }
}

/// One of some words, as written.
///
/// # Errors
/// For any other text, with the nearest of the words.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Unfit> {
    let found = words.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| not_a_word(text, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>()))
}

/// What a text that is not one of some words should have been.
pub fn not_a_word(text: &str, words: &[&str]) -> Unfit {
    let help = nearest(text, words).map(|word| format!("did you mean `{word}`?"));
    Unfit { expected: listed(words, "or"), help }
}

/// Words as a sentence lists them: `a, b or c`.
pub fn listed(words: &[&str], last: &str) -> String {
    match words {
        [first @ .., end] if !first.is_empty() => format!("{} {last} {end}", first.join(", ")),
        _ => words.join(", "),
    }
}

/// An absolute path.
///
/// # Errors
/// For a text that does not begin with `/`.
pub fn absolute(text: &str) -> Result<PathBuf, Unfit> {
    if text.starts_with('/') { Ok(text.into()) } else { Err(Unfit::bare("an absolute path")) }
}

/// The help for a key that a mapping does not have.
pub fn known_keys_help(key: &str, keys: &[&str]) -> String {
    match nearest(key, keys) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys are {}", keys.join(", ")),
    }
}
