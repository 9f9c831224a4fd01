//! Every key of the configuration, in one table: its type, bounds and default, one sentence and an example.
//!
//! The reader (`input`) knows a key only by the table and takes its bounds from there. The JSON Schema for editors
//! (`packaging/schema/config.schema.json`), the reference (`docs/usage/configuration.md`) and the help for an unknown
//! key come from it too; tests hold them to it.

mod aws;
mod groups;
mod host;
mod logs;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

pub(super) use logs::PRIORITIES;

use crate::values::{known_keys_help, nearest, spelled_duration, spelled_size};

/// The table, section by section.
pub const TABLE: &[&[Key]] = &[
    host::TOP,
    groups::GROUPS,
    groups::TRAFFIC,
    host::HOOKS,
    host::SIGNATURES,
    host::SIGNALS,
    host::MACHINE_EVENTS,
    host::AUTO_SCALING,
    host::CODEDEPLOY,
    aws::AWS,
    aws::S3,
    aws::DOWNLOADS,
    logs::LOGS,
    logs::DEPLOYMENTS,
    logs::AGENT,
    logs::METRICS,
    logs::FILES,
    logs::FILE_TARGETS,
    logs::JOURNAL,
    logs::JOURNAL_TARGETS,
];

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its place: names joined by dots, and `[]` after a list: `groups[].traffic.mode`.
    pub path: &'static str,
    /// Its type, with the bounds.
    pub kind: Kind,
    /// Its meaning, in one sentence.
    pub says: &'static str,
    /// A value, as the configuration writes it.
    pub example: &'static str,
    /// The value without it.
    pub default: Usual,
    /// The keys beside it without which it is refused, as lines of YAML; empty for none.
    pub needs: &'static str,
    /// A remedy for values that do not fit; empty for none.
    pub hint: &'static str,
    /// Whether its value may be a secret that no message shows.
    pub is_secret: bool,
}

/// The value of a key that is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// None: the key has no effect without a value.
    Nothing,
    /// This value, as the configuration writes it.
    Value(&'static str),
    /// A value that depends on something else, in words.
    Words(&'static str),
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keys with values.
    Section,
    /// Keys with values, or nothing at all.
    OpenSection,
    /// A list of sections.
    Sections,
    /// Any names with texts.
    Names,
    /// A list of health checks, as in an appspec.
    Checks,
    /// Text.
    Text,
    /// A text with a form of its own, in words.
    Form(&'static str),
    /// A list of texts, or one.
    Texts,
    /// `true` or `false`.
    Boolean,
    /// A duration, at least and at most so many seconds.
    Duration(u64, u64),
    /// A duration in milliseconds, at least and at most.
    Milliseconds(u64, u64),
    /// A size, at least and at most so many bytes.
    Size(u64, u64),
    /// A whole number, at least and at most.
    Whole(u64, u64),
    /// One of some numbers.
    Numbers(&'static [u32]),
    /// One of some words.
    Word(&'static [&'static str]),
    /// A list of some words.
    Words(&'static [&'static str]),
    /// An absolute path.
    Path,
    /// A list of absolute paths, or one.
    Paths,
    /// The one or the other.
    Either(&'static Kind, &'static Kind),
}

impl Key {
    /// A key without default.
    const fn new(path: &'static str, kind: Kind, says: &'static str, example: &'static str) -> Self {
        Self { path, kind, says, example, default: Usual::Nothing, needs: "", hint: "", is_secret: false }
    }

    /// With a value that it has if it is not written.
    const fn usually(self, value: &'static str) -> Self {
        Self { default: Usual::Value(value), ..self }
    }

    /// With words for the value that it has if it is not written.
    const fn otherwise(self, words: &'static str) -> Self {
        Self { default: Usual::Words(words), ..self }
    }

    /// Only beside these keys.
    const fn beside(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    /// With a remedy for values that do not fit.
    const fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// With a value that may be a secret.
    const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// Its name, without the place.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The place that it belongs to: empty at the top.
    pub fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

impl Kind {
    /// The type in words.
    pub fn words(&self) -> String {
        let listed = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Section => "keys with values".to_owned(),
            Self::OpenSection => "keys with values, or nothing".to_owned(),
            Self::Sections => "list of keys with values".to_owned(),
            Self::Names => "names with texts".to_owned(),
            Self::Checks => "list of health checks".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Form(form) => (*form).to_owned(),
            Self::Texts => "list of texts, or one text".to_owned(),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Duration(least, most) => {
                format!("duration, {} to {}", spelled_duration(*least), spelled_duration(*most))
            }
            Self::Milliseconds(least, most) => format!("milliseconds or a duration, {least} to {most} milliseconds"),
            Self::Size(0, u64::MAX) => "size".to_owned(),
            Self::Size(least, u64::MAX) => format!("size, at least {}", spelled_size(*least)),
            Self::Size(least, most) => format!("size, {} to {}", spelled_size(*least), spelled_size(*most)),
            // A bound that is only the type's would tell a reader nothing.
            Self::Whole(0, most) if *most >= u64::from(u32::MAX) => "whole number".to_owned(),
            Self::Whole(least, most) => format!("whole number, {least} to {most}"),
            Self::Numbers(numbers) => {
                format!("one of {}", numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Word(words) => listed(words),
            Self::Words(words) => format!("list of {}", listed(words)),
            Self::Path => "absolute path".to_owned(),
            Self::Paths => "list of absolute paths, or one".to_owned(),
            Self::Either(one, other) => format!("{}, or {}", one.words(), other.words()),
        }
    }
}

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    TABLE.iter().copied().flatten()
}

/// The keys of a place, in the table's order.
pub fn below(place: &str) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.parent() == place)
}

/// The name of a place in messages.
pub fn place_name(place: &str) -> String {
    if place.is_empty() { "the configuration".to_owned() } else { format!("`{}`", place.replace("[]", "")) }
}

/// The help for a key that a place does not have: the nearest name there, or else the place that has this name.
pub fn unknown_help(name: &str, place: &str) -> String {
    let here: Vec<&str> = below(place).map(Key::name).collect();
    let elsewhere = all().find(|key| key.name() == name);
    match elsewhere.filter(|_| nearest(name, &here).is_none()) {
        Some(key) if key.parent().is_empty() => format!("`{name}` is a key at the top of the configuration"),
        Some(key) => format!("`{name}` is a key of {}", place_name(key.parent())),
        None => known_keys_help(name, &here),
    }
}
