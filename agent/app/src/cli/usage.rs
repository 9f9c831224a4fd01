//! Usage errors: they show what the user wrote once, shortened, and in a form that a terminal shows.

use std::str::FromStr;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use hostler_core::ids::InvalidId;
use hostler_core::label::Label;
use hostler_core::text::printable;

/// The most characters of what the user wrote.
const SHOWN: usize = 60;

/// Reads an identifier. The usage error shows the text itself, so only the problem is returned.
///
/// # Errors
/// The problem, and the allowed form.
pub fn id<T: FromStr<Err = InvalidId>>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|invalid: InvalidId| invalid.problem)
}

/// Reads the label that a publisher chooses.
///
/// # Errors
/// The problem, and the allowed form.
pub fn label(text: &str) -> Result<Label, &'static str> {
    let label: Label = id(text)?;
    if label.imitates_a_digest() {
        return Err("must hold no digits in brackets that look like a revision's: hostler shows the digest there");
    }
    Ok(label)
}

/// The error as it is shown.
pub fn shown(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(given)) = error.get(kind) {
            let short = short(given);
            error.insert(kind, ContextValue::String(short));
        }
    }
    if let Some(ContextValue::StyledStrs(tips)) = error.get(ContextKind::Suggested) {
        let tips = tips.iter().map(|tip| if is_of_a_value(tip) { OF_A_VALUE.into() } else { tip.clone() }).collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Whether a tip says how to pass a word with a hyphen. It names `--`, which does not help a flag's value.
fn is_of_a_value(tip: &StyledStr) -> bool {
    tip.to_string().contains("as a value, use")
}

const OF_A_VALUE: &str = "a flag's value that begins with a hyphen is written --flag=-value, a path ./-path";

fn short(given: &str) -> String {
    let mut text: String = given.chars().take(SHOWN).collect();
    if text.len() < given.len() {
        text.push('…');
    }
    printable(&text).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::super::of_verbs::try_parse_from;

    fn refused(words: &[&str]) -> String {
        let words = ["hostler"].iter().chain(words).map(|word| (*word).to_owned());
        try_parse_from(words).unwrap_err().to_string()
    }

    #[test]
    fn what_is_refused_is_shown_once_and_shortened() {
        let long = "x".repeat(10_000);
        let text = refused(&["push", "web", "store", "--label", &long]);
        let expected =
            format!("error: invalid value '{}…' for '--label <TEXT>': must have at most 64 bytes\n", &long[..60]);
        assert!(text.starts_with(&expected), "{text}");
        let text = refused(&["push", "web", "store", "--label", "a\u{1b}[31mred\nb"]);
        assert!(
            text.starts_with(r"error: invalid value 'a\u{1b}[31mred\nb' for '--label <TEXT>': must be one line"),
            "{text}"
        );
        for words in [["status", "--group", "a b/c"], ["logs", "a b/c", "-f"], ["rollback", "--to", "a b/c"]] {
            let text = refused(&words);
            assert_eq!(text.matches("a b/c").count(), 1, "{text}");
        }
        let unknown = refused(&["push", "web", "store", &format!("--{long}")]);
        assert!(unknown.len() < 400, "{unknown}");
    }

    #[test]
    fn a_value_with_a_hyphen_gets_a_tip_that_works() {
        let text = refused(&["push", "web", "store", "--label", "-x"]);
        assert!(text.contains("--flag=-value") && !text.contains("-- -x"), "{text}");
        let words = ["hostler", "push", "web", "store", "--label=-x"];
        assert!(try_parse_from(words).is_ok());
    }

    #[test]
    fn a_label_does_not_look_like_a_digest_in_brackets() {
        for label in ["(deadbeef)", "1.0 (DEADBEEF12)", "1.0 (4d8271e) x"] {
            let text = refused(&["push", "web", "store", "--label", label]);
            assert!(text.contains("must hold no digits in brackets"), "{text}");
        }
        for label in ["deadbeef", "1.0 (beta)", "1.0 (123456)", "f(deadbeef"] {
            assert!(try_parse_from(["hostler", "push", "web", "store", "--label", label]).is_ok(), "{label}");
        }
    }
}
