//! YAML as a tree of what was written: raw text, whether it was quoted, and where it stands.
//!
//! Nothing is resolved here: `0644`, `yes` and `1:30` stay text, because what they mean differs between readers and is
//! decided by the document's own room. Promises, for any input: no panic; no more nodes, text or nesting than
//! [`Limits`] allows, counted after aliases are expanded, so that a small document cannot stand for a huge one;
//! of two equal keys the last wins, and a [`Note`] tells.
//!
//! It is built of the events of granit-parser, because serde's model has no place for positions and quoting. It reads
//! appspecs and hostler's own configuration; files of other programs are read through serde (`flat_yaml`).

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

mod build;
pub(crate) mod tabs;
#[cfg(test)]
mod tests;

/// Where something stands in a text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1; 0 where it stands nowhere.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters of this line belong to it; 0 where that is not known.
    #[serde(default)]
    pub width: u32,
}

/// One value and where it stands. What an alias names keeps the place of its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values.
    Mapping(Mapping),
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bare: a reader may take it for a number, a truth value or nothing.
    Plain,
    /// In single or double quotes: always text.
    Quoted,
    /// After `|` or `>`: always text.
    Block,
}

/// A single value as written, escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text; `~` where nothing is written.
    pub text: String,
    /// How it is written.
    pub style: Style,
    /// Its tag, if it has one: `tag:yaml.org,2002:str` for `!!str`.
    pub tag: Option<String>,
}

impl Scalar {
    /// Whether it stands for text whatever it looks like.
    pub fn is_text(&self) -> bool {
        self.style != Style::Plain || self.tag.as_deref() == Some("tag:yaml.org,2002:str")
    }

    /// Whether it stands for nothing: empty, `~` or `null`, bare.
    pub fn is_null(&self) -> bool {
        !self.is_text() && (self.text.is_empty() || self.text == "~" || self.text.eq_ignore_ascii_case("null"))
    }
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Scalar,
    /// Where the key stands.
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
    /// The entries in order; of a key that is written twice, the last value at the place of the first.
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

    /// Whether it stands for nothing.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(Scalar::is_null)
    }

    /// Whether it says the same, wherever it stands.
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

    /// What it is, for messages: "a mapping", "a list", "nothing", "text".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
        }
    }
}

/// Something in a document that parses and may surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A key is written twice in one mapping; the last one counts.
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands first.
        first: Position,
        /// Where it stands again.
        again: Position,
    },
    /// A list or mapping stands where a key is expected; it and its value are left out.
    KeyIsNotText(Position),
    /// An alias is used for the first time.
    Alias(Position),
    /// A tag that makes something else of what it stands before, for the readers that know it.
    Tag {
        /// As it is written in short: `!!set`, `!ruby/range`.
        tag: String,
        /// Where what it stands before begins.
        at: Position,
    },
    /// A key stands before a merge key that brings another value for it. Here it wins, as YAML's merge key says; for
    /// readers that go by the order, what is merged later wins.
    BeforeMerge {
        /// The key.
        key: String,
        /// Where it stands.
        at: Position,
        /// Where the merge key stands.
        merge: Position,
    },
    /// Another document follows, which is not read.
    AnotherDocument(Position),
}

/// The first document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its content; `None` when there is no document at all.
    pub root: Option<Rc<Node>>,
    /// What may surprise, in the order written.
    pub notes: Vec<Note>,
}

/// Why a text is not a document that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct YamlError {
    /// Where it was noticed.
    pub at: Position,
    /// What is wrong.
    pub problem: YamlProblem,
}

/// What is wrong with a text that is not accepted as YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlProblem {
    /// It is not YAML; what the parser says.
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
    /// An alias inside what it names.
    #[error("an alias stands inside of what it names")]
    AliasInsideItself,
}

/// Reads the first document of `text`.
///
/// # Errors
/// The first problem found: YAML cannot be read further after one.
pub fn parse(text: &str, limits: &Limits) -> Result<Document, YamlError> {
    build::Builder::new(text, limits).document()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
