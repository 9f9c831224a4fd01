//! YAML files of other programs: keys with single values, as in codedeployagent.yml and the on-premises file.
//!
//! They are read through serde. No type of serde shows how the file's own reader understands `1:20`, `010` or `:key`,
//! so each value is kept as written: with its tag, from the position that the library reports. The file's own module
//! decides what it means.
//!
//! Promises, for any input: no panic; no more values, text or nesting than [`Limits`] allows, counted after aliases are
//! expanded; of two equal keys the last counts; only the first document is read; an error shows a line number and never
//! the text, which may hold keys.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, Location, Options, Spanned, Tagged};

use crate::limits::Limits;
use crate::yaml::tabs::Tabs;
use crate::yaml::{Scalar, Style};

#[cfg(test)]
mod tests;

/// Levels of nesting, even if [`Limits`] allows more. serde recurses, with kilobytes of stack for each level; keys with
/// single values need one level.
const DEPTH: usize = 32;

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatEntry {
    /// The key.
    pub key: Scalar,
    /// The value; `None` for a list or a mapping.
    pub value: Option<Scalar>,
    /// Line of the value, from 1; for an alias, the line of its anchor.
    pub line: u32,
}

/// Why a text is not a list of keys with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlatYamlError {
    /// It is not YAML, or exceeds the limits.
    #[error("line {0}: this is not YAML")]
    NotYaml(u32),
    /// A tag contradicts its value, as in `!!int x`.
    #[error("line {0}: the tag does not fit its value")]
    Tag(u32),
    /// Its top is a list or a single value.
    #[error("it must hold keys with values")]
    NoKeys,
}

/// Reads the first document of `text`: its keys in the order written, each once; `None` for an empty one. It leaves out
/// keys that are lists or mappings, and applies merge keys.
///
/// # Errors
/// See [`FlatYamlError`].
pub fn read(text: &str, limits: &Limits) -> Result<Option<Vec<FlatEntry>>, FlatYamlError> {
    let mut text = first_document(text.strip_prefix('\u{feff}').unwrap_or(text)).to_owned();
    if !text.ends_with('\n') {
        // The end of its last line distinguishes block text from plain text.
        text.push('\n');
    }
    let top: Tagged<Spanned<Top>> =
        serde_yaml::from_str_with_options(&text, options(limits)).map_err(|error| refused(&error))?;
    let top = top.0;
    let pairs = match top.value.0 {
        Written::Nothing => None,
        Written::Keys(pairs) => Some(pairs),
        Written::Text(_) | Written::Typed | Written::Several => return Err(FlatYamlError::NoKeys),
    };
    check(&text, &top.defined, pairs.as_deref().unwrap_or_default())?;
    let entries = |pairs: Vec<(Node, Node)>| pairs.iter().filter_map(|(key, value)| entry(&text, key, value)).collect();
    Ok(pairs.map(|pairs| last_of_each(entries(pairs))))
}

/// The text before the second document. A document cannot contain a line of `---` or `...`.
fn first_document(text: &str) -> &str {
    let mut begun = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_mark = ["---", "..."].iter().any(|mark| {
            line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        });
        if is_mark && begun {
            return text.get(..at).unwrap_or(text);
        }
        begun = begun || !(line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%'));
        at += line.len();
    }
    text
}

fn options(limits: &Limits) -> Options {
    let depth = limits.yaml_depth.min(DEPTH);
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: limits.yaml_nodes,
            max_total_scalar_bytes: limits.yaml_bytes,
            max_depth: depth,
            flow_nesting_limit: depth,
            max_recorded_anchor_events: limits.yaml_nodes,
            max_recorded_anchor_bytes: limits.yaml_bytes,
            // An estimate from the number of aliases; the bounds above are exact.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: limits.yaml_nodes.saturating_mul(2),
            max_replay_stack_depth: depth,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        // The text may hold keys.
        with_snippet: false,
    }
}

fn refused(error: &Error) -> FlatYamlError {
    let line = error.location().map_or(1, |at| line(&at));
    match error {
        Error::InvalidScalar { .. }
        | Error::UnsupportedTag { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => FlatYamlError::Tag(line),
        _ => FlatYamlError::NotYaml(line),
    }
}

/// Refuses text that the library accepts and libyaml does not: lines indented with a tab, and a colon without a key.
fn check(text: &str, top: &Location, pairs: &[(Node, Node)]) -> Result<(), FlatYamlError> {
    let mut tabs = Tabs::default();
    let is_flow = begins(text, top, '{');
    if is_flow {
        tabs.allow(start(top), usize::MAX);
    }
    for (index, (key, value)) in pairs.iter().enumerate() {
        let place = key.0.defined;
        if matches!(key.0.value, Written::Nothing) && key.1.is_none() && source(text, &place).is_empty() && !is_flow {
            return Err(FlatYamlError::NotYaml(line(&place)));
        }
        for Tagged(node, tag) in [key, value] {
            let written = source(text, &node.defined);
            let style = style_of(&node.value, written, tag.is_some());
            if style.is_some_and(|style| style != Style::Plain) {
                tabs.allow(start(&node.defined), start(&node.defined) + written.trim_end().matches('\n').count());
            } else if begins(text, &node.defined, '[') || begins(text, &node.defined, '{') {
                let next = pairs.get(index + 1).map_or(usize::MAX, |(key, _)| start(&key.0.defined));
                tabs.allow(start(&node.defined), next.saturating_sub(1));
            }
        }
    }
    match tabs.first_refused(text, usize::MAX) {
        Some(at) => Err(FlatYamlError::NotYaml(at.line)),
        None => Ok(()),
    }
}

fn entry(text: &str, key: &Node, value: &Node) -> Option<FlatEntry> {
    Some(FlatEntry { key: scalar(text, key)?, value: scalar(text, value), line: line(&value.0.defined) })
}

/// For keys that are written twice, keeps the last value at the place of the first.
fn last_of_each(entries: Vec<FlatEntry>) -> Vec<FlatEntry> {
    let mut places = HashMap::new();
    let mut kept: Vec<FlatEntry> = Vec::new();
    for entry in entries {
        let place = *places.entry(entry.key.text.clone()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(known) => *known = entry,
            None => kept.push(entry),
        }
    }
    kept
}

/// A single value as written; `None` for a list or a mapping.
fn scalar(text: &str, Tagged(node, tag): &Node) -> Option<Scalar> {
    let written = source(text, &node.defined);
    let style = style_of(&node.value, written, tag.is_some())?;
    let text = match &node.value {
        Written::Text(text) => text.clone(),
        // A quoted number with the tag of a number: it has no escapes.
        _ if style == Style::Quoted => written.trim_matches(['"', '\'']).to_owned(),
        _ if written.is_empty() && tag.is_none() => "~".to_owned(),
        _ => written.to_owned(),
    };
    Some(Scalar { text, style, tag: tag.clone() })
}

fn style_of(value: &Written, written: &str, has_tag: bool) -> Option<Style> {
    match value {
        Written::Several | Written::Keys(_) => None,
        Written::Text(_) if written.ends_with('\n') => Some(Style::Block),
        // An empty value is text if it is block text or if its tag says so.
        Written::Text(_) if written.is_empty() && !has_tag => Some(Style::Block),
        _ if written.starts_with(['"', '\'']) => Some(Style::Quoted),
        _ => Some(Style::Plain),
    }
}

/// The text at a place, without tag and anchor.
fn source<'t>(text: &'t str, at: &Location) -> &'t str {
    let range = || {
        let start = usize::try_from(at.span().byte_offset()?).ok()?;
        Some(start..start.checked_add(usize::try_from(at.span().byte_len()?).ok()?)?)
    };
    range().and_then(|range| text.get(range)).unwrap_or_default()
}

fn begins(text: &str, at: &Location, with: char) -> bool {
    let start = at.span().byte_offset().and_then(|start| usize::try_from(start).ok());
    start.and_then(|start| text.get(start..)).is_some_and(|rest| rest.starts_with(with))
}

fn line(at: &Location) -> u32 {
    u32::try_from(at.line()).unwrap_or(u32::MAX)
}

fn start(at: &Location) -> usize {
    usize::try_from(at.line()).unwrap_or(usize::MAX)
}

type Node = Tagged<Spanned<Written>>;

/// The library's view of a node, as far as it matters.
enum Written {
    /// Text.
    Text(String),
    /// A number or a truth value, which the file's own reader may understand differently.
    Typed,
    /// Nothing.
    Nothing,
    /// A list, or a mapping below the top.
    Several,
    /// The mapping at the top.
    Keys(Vec<(Node, Node)>),
}

/// The top of a document.
struct Top(Written);

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look { keeps_keys: true }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look { keeps_keys: false })
    }
}

struct Look {
    keeps_keys: bool,
}

impl<'de> Visitor<'de> for Look {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys with single values")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Written, E> {
        Ok(Written::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Written, E> {
        Ok(Written::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Written, E> {
        Ok(Written::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Written, E> {
        Ok(Written::Typed)
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Written::Several)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        if !self.keeps_keys {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Written::Several);
        }
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Written::Keys(pairs))
    }
}
