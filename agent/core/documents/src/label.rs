//! What people call a revision: a label beside the digest, and a message that says why it was published. Publishers
//! write them. Agents show them, and decide nothing by them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, Sha256Digest};
use crate::text::{is_invisible, printable};

macro_rules! one_line {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $most:literal, $length:literal, $refused:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let problem = match check(text, $refused) {
                    Ok(()) if text.len() <= $most => return Ok(Self(text.to_owned())),
                    Ok(()) => $length,
                    Err(problem) => problem,
                };
                // A text of any length came with a document or the command line.
                let shown = text.chars().take($most).collect();
                Err(InvalidId { kind: $kind, text: shown, problem })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// `is_refused` names characters that the text must not hold because they are not seen.
fn check(text: &str, is_refused: fn(char) -> bool) -> Result<(), &'static str> {
    if text.is_empty() || text.trim() != text {
        return Err("must not be empty, nor begin or end with a space");
    }
    // Texts with line breaks are printable, and still no single line.
    if text.chars().any(char::is_control) || printable(text) != text {
        return Err(
            "must be one line without control characters and without characters that change the direction of writing",
        );
    }
    if text.chars().any(is_refused) {
        return Err("must hold no invisible character");
    }
    Ok(())
}

one_line!(
    /// The human name of a revision: a version, or the commit that it was built from. At most 64 bytes of one line, all of
    /// them seen: two labels that look alike are the same.
    Label, "label", 64, "must have at most 64 bytes", is_invisible
);
one_line!(
    /// Why a revision was pushed or released. At most 256 bytes of one line.
    // Emoji hold characters that are not seen.
    Message, "message", 256, "must have at most 256 bytes", |_| false
);

impl Label {
    /// Whether it holds digits in brackets as those by which people know a revision: `1.0 (4d8271e2)`. Publishers cannot
    /// choose such a label. Releases from before may have one.
    pub fn imitates_a_digest(&self) -> bool {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
        let closes = |rest: &str| rest.starts_with([')', '\u{ff09}']);
        let after = self.0.split(['(', '\u{ff08}']).skip(1);
        after.into_iter().any(|text| digits(text) >= 7 && closes(&text[digits(text)..]))
    }
}

/// Most bytes of a [`RevisionLabel`] that are read. Prevents: an arbitrary object in memory.
pub const REVISION_LABEL_BYTES: usize = 4 << 10;

/// What publishers call a bundle, as the store keeps it beside the bundle. Fields of later versions are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionLabel {
    /// Version of this document: 1.
    pub version: u32,
    /// The label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Why it was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

impl RevisionLabel {
    /// A document of this version.
    pub fn new(label: Option<Label>, message: Option<Message>) -> Self {
        Self { version: 1, label, message }
    }

    /// What to store after a push: what its caller `given`, then what is stored, then the `default`. `None` if nothing
    /// changes.
    pub fn after(stored: Option<&Self>, given: Self, default: Option<Label>) -> Option<Self> {
        let kept = |stored: &Self| (stored.label.clone(), stored.message.clone());
        let (label, message) = stored.map(kept).unwrap_or_default();
        let next = Self::new(given.label.or(label).or(default), given.message.or(message));
        let is_empty = next.label.is_none() && next.message.is_none();
        (!is_empty && Some(&next) != stored).then_some(next)
    }
}

/// A revision for people: `1.4.2 (4d8271e2)`, and without a label `4d8271e2`.
pub fn revision_name(label: Option<&Label>, digest: &Sha256Digest) -> String {
    match label {
        Some(label) => format!("{label} ({})", digest.short()),
        None => digest.short(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_short_line() {
        for good in ["1.4.2", "4d8271e2-dirty", "release of May", "größer 値", &"x".repeat(64)] {
            let label: Label = good.parse().unwrap();
            let written = serde_json::to_string(&label).unwrap();
            assert_eq!((label.as_str(), serde_json::from_str(&written).unwrap()), (good, label.clone()));
        }
        let invisible = ["\u{200b}", "\u{200d}", "\u{feff}", "\u{ad}", "\u{fe0f}", "\u{3164}", "\u{e0061}", "\u{2060}"];
        for bad in invisible {
            let problem = format!("9.9.9{bad}9").parse::<Label>().unwrap_err().problem;
            assert_eq!(problem, "must hold no invisible character", "{bad:?}");
        }
        let turned = ["a\u{202e}b", "a\u{61c}b", "a\u{2028}b", "a\u{2029}b"];
        for bad in ["", " 1", "1 ", "a\nb", "a\u{1b}[2Jb", &"x".repeat(65), &"ä".repeat(33)].into_iter().chain(turned)
        {
            assert!(bad.parse::<Label>().is_err(), "{bad:?} was accepted");
            assert!(serde_json::from_value::<Label>(bad.into()).is_err(), "{bad:?} was accepted");
        }
        for bad in ["a\nb", "a\u{61c}b", "a\u{2028}b"] {
            assert!(bad.parse::<Message>().is_err(), "{bad:?} was accepted");
        }
        assert!("♻\u{fe0f} refactor".parse::<Message>().is_ok());
        assert!("x".repeat(256).parse::<Message>().is_ok());
        let long = "x".repeat(100_000).parse::<Message>().unwrap_err().to_string();
        assert!(long.ends_with("must have at most 256 bytes") && long.len() < 400, "{long}");
    }

    #[test]
    fn a_default_label_replaces_none_that_was_given() {
        let of = |label: &str, message: &str| {
            let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
            let label = text(label).map(|label| label.parse().unwrap());
            RevisionLabel::new(label, text(message).map(|message| message.parse().unwrap()))
        };
        let after = |stored: Option<&RevisionLabel>, given, default: &str| {
            RevisionLabel::after(stored, given, Some(default).filter(|d| !d.is_empty()).map(|d| d.parse().unwrap()))
        };
        assert_eq!(after(None, of("", ""), ""), None);
        assert_eq!(after(None, of("", ""), "4d8271e"), Some(of("4d8271e", "")));
        let stored = of("1.4.2", "sale");
        assert_eq!(after(Some(&stored), of("", ""), "4d8271e"), None);
        assert_eq!(after(Some(&stored), of("1.4.2", ""), ""), None, "nothing changes");
        assert_eq!(after(Some(&stored), of("1.4.3", ""), "4d8271e"), Some(of("1.4.3", "sale")));
        assert_eq!(after(Some(&stored), of("", "other"), ""), Some(of("1.4.2", "other")));
        let later = r#"{"version":2,"label":"x","built_by":"ci"}"#;
        assert_eq!(serde_json::from_str::<RevisionLabel>(later).unwrap().label, Some("x".parse().unwrap()));
    }

    #[test]
    fn a_revision_is_named_by_its_label_and_the_beginning_of_its_digest() {
        let digest = Sha256Digest::of(b"");
        assert_eq!(revision_name(Some(&"1.4.2".parse().unwrap()), &digest), "1.4.2 (e3b0c442)");
        assert_eq!(revision_name(None, &digest), "e3b0c442");
    }
}
