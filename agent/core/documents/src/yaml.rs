//! YAML as a tree of the written text: raw text, its quoting, and its position.
//!
//! Nothing is resolved here: `0644`, `yes` and `1:30` stay text, because their meaning differs between readers and the
//! document's own module decides it. Promises, for any input: no panic; no more nodes, text or nesting than [`Limits`]
//! allows, counted after aliases are expanded, so that a small document cannot stand for a huge one; of two equal keys
//! the last wins, and a [`Note`] reports it.
//!
//! The tree is built from the events of granit-parser, because serde's model has no positions and quoting. It serves
//! for appspecs and hostler's own configuration; files of other programs are read through serde (`flat_yaml`).

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

mod build;
pub(crate) mod tabs;
#[cfg(test)]
mod tests;

/// A position in a text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1; 0 without a position.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The number of characters on this line that belong to it; 0 if unknown.
    #[serde(default)]
    pub width: u32,
}

/// One value and its position. An alias's value keeps the position of its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The position of its beginning.
    pub at: Position,
    /// Its value.
    pub value: Value,
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values.
    Mapping(Mapping),
}

/// The style of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bare: a reader may take it for a number, a truth value or null.
    Plain,
    /// In single or double quotes: always text.
    Quoted,
    /// After `|` or `>`: always text.
    Block,
}

/// A single value as written, with escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text; `~` for an empty value.
    pub text: String,
    /// Its style.
    pub style: Style,
    /// Its tag, if it has one: `tag:yaml.org,2002:str` for `!!str`.
    pub tag: Option<String>,
}

impl Scalar {
    /// Whether it is text regardless of its look.
    pub fn is_text(&self) -> bool {
        self.style != Style::Plain || self.tag.as_deref() == Some("tag:yaml.org,2002:str")
    }

    /// Whether it is null: empty, `~` or `null`, bare.
    pub fn is_null(&self) -> bool {
        !self.is_text() && (self.text.is_empty() || self.text == "~" || self.text.eq_ignore_ascii_case("null"))
    }
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Scalar,
    /// The position of the key.
    pub key_at: Position,
    /// The value.
    pub value: Rc<Node>,
}

/// Keys and values in the order written, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    entries: Vec<Entry>,
}

impl Mapping {
    /// The entries in order; for a key that is written twice, the last value at the place of the first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.text == key)
    }
}

impl Node {
    /// The keys and values, if it is a mapping.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Rc<Node>]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            Value::Scalar(_) | Value::Mapping(_) => None,
        }
    }

    /// The single value, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(Scalar::is_null)
    }

    /// Whether it has the same content, at any position.
    fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar(one), Value::Scalar(other)) => one == other,
            (Value::Sequence(one), Value::Sequence(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.says_the_same(other))
            }
            (Value::Mapping(one), Value::Mapping(other)) => {
                let same =
                    |entry: &Entry| other.get(&entry.key.text).is_some_and(|o| entry.value.says_the_same(&o.value));
                one.entries.len() == other.entries.len() && one.entries.iter().all(same)
            }
            _ => false,
        }
    }

    /// Its kind, for messages: "a mapping", "a list", "nothing", "text".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
        }
    }
}

/// A surprise in a document that parses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A key is written twice in one mapping; the last one counts.
    DuplicateKey {
        /// The key.
        key: String,
        /// Its first position.
        first: Position,
        /// Its second position.
        again: Position,
    },
    /// A list or mapping is in the place of a key; it and its value are left out.
    KeyIsNotText(Position),
    /// An alias is used for the first time.
    Alias(Position),
    /// A tag that changes the meaning of its value for readers that know it.
    Tag {
        /// The short form: `!!set`, `!ruby/range`.
        tag: String,
        /// The position of its value.
        at: Position,
    },
    /// A key comes before a merge key that has another value for it. Here the key wins, as YAML's merge key specifies;
    /// for readers that go by the order, the merged value wins.
    BeforeMerge {
        /// The key.
        key: String,
        /// Its position.
        at: Position,
        /// The position of the merge key.
        merge: Position,
    },
    /// Another document follows, and is not read.
    AnotherDocument(Position),
}

/// The first document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its content; `None` when there is no document at all.
    pub root: Option<Rc<Node>>,
    /// The surprises, in the order written.
    pub notes: Vec<Note>,
}

/// Why a text is not an acceptable document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct YamlError {
    /// The position at which the parser noticed.
    pub at: Position,
    /// The problem.
    pub problem: YamlProblem,
}

/// The problem of a text that is not accepted as YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlProblem {
    /// It is not YAML; the parser's message.
    #[error("{0}")]
    Syntax(String),
    /// A line that is indented with a tab.
    #[error("a tab indents this line")]
    Tab,
    /// More nesting than allowed.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// More nodes than allowed.
    #[error("more than {0} values, counting what aliases stand for")]
    TooManyNodes(usize),
    /// More text than allowed.
    #[error("more than {0} bytes of text, counting what aliases stand for")]
    TooMuchText(usize),
    /// An alias inside its own anchor.
    #[error("an alias stands inside of what it names")]
    AliasInsideItself,
}

/// Reads the first document of `text`.
///
/// # Errors
/// The first problem: after one, YAML cannot be read further.
pub fn parse(text: &str, limits: &Limits) -> Result<Document, YamlError> {
    build::Builder::new(text, limits).document()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
