//! Removes secrets from text before it is written or leaves the host.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

/// The replacement of a secret.
pub const REDACTED: &str = "[redacted]";

/// Bytes of the shortest value to look for. Prevents: a secret of one letter that makes every log unreadable.
pub const SHORTEST_VALUE: usize = 4;

/// Bytes of memory that a pattern may take. Prevents: a pattern that counts to a million.
const PATTERN_BYTES: usize = 1 << 20;

/// Bytes of memory that all values may take. Prevents: a file of a million secrets.
const VALUES_BYTES: usize = 64 << 20;

/// A pattern that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no regular expression: {reason}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// The reason.
    pub reason: String,
}

/// Finds secrets. The default finds nothing.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    patterns: Vec<Regex>,
    values: Option<Regex>,
}

impl Redactor {
    /// Looks for patterns, and for values exactly as they are. In a pattern with a group named `secret`, only that
    /// group is removed. A value of several lines is looked for line by line; lines and values shorter than
    /// [`SHORTEST_VALUE`] are skipped.
    ///
    /// # Errors
    /// A pattern that is no regular expression, or too many values.
    pub fn new(patterns: &[String], values: &[String]) -> Result<Self, BadPattern> {
        let patterns = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, values: Self::of_values(values)? })
    }

    fn of_values(values: &[String]) -> Result<Option<Regex>, BadPattern> {
        let mut wanted: Vec<String> = Vec::new();
        for line in values.iter().flat_map(|value| value.lines()).map(str::trim) {
            if line.len() < SHORTEST_VALUE {
                continue;
            }
            wanted.push(line.to_owned());
            // The form in the output of a program that logs JSON.
            let quoted = serde_json::to_string(line).unwrap_or_default();
            wanted.push(quoted.trim_matches('"').to_owned());
        }
        // Longest first: when one value begins with another, its end must not stay.
        wanted.sort_by_key(|value| std::cmp::Reverse(value.len()));
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(None);
        }
        let pattern: Vec<String> = wanted.iter().map(|value| regex::escape(value)).collect();
        let built = RegexBuilder::new(&pattern.join("|")).size_limit(VALUES_BYTES).build();
        // The message does not show them.
        let too_many =
            |_| BadPattern { pattern: "the values of secrets".to_owned(), reason: "they are too many".to_owned() };
        built.map(Some).map_err(too_many)
    }

    /// Whether it finds nothing in any text.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.values.is_none()
    }

    /// The text without its secrets.
    pub fn redact<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let mut text = text;
        for pattern in self.values.iter().chain(&self.patterns) {
            if let Some(changed) = replaced(pattern, &text) {
                text = Cow::Owned(changed);
            }
        }
        text
    }
}

/// Compiles a pattern within bounds.
///
/// # Errors
/// When it is no regular expression.
pub fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map_err(|error| BadPattern { pattern: pattern.to_owned(), reason: last_line(&error.to_string()) })
}

/// The regex crate draws the pattern first; its last line names the mistake.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn replaced(pattern: &Regex, text: &str) -> Option<String> {
    if !pattern.is_match(text) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for found in pattern.captures_iter(text) {
        let Some(secret) = found.name("secret").or_else(|| found.get(0)).filter(|part| !part.is_empty()) else {
            continue;
        };
        out.push_str(&text[copied..secret.start()]);
        out.push_str(REDACTED);
        copied = secret.end();
    }
    out.push_str(&text[copied..]);
    Some(out)
}
