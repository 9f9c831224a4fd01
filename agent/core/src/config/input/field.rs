//! One key of the table and its value in a file: the readers take type, bounds and remedy from the table.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

use crate::appspec::diagnose::{Findings, quoted};
use crate::appspec::values::Values;
use crate::config::keys::{self, Key, Kind};
use crate::values::{self, Unfit, YEAR_SECONDS};
use crate::yaml::{Entry, Mapping, Node, Position};

/// The readers of the configuration.
pub(super) const VALUES: Values = Values::CONFIGURATION;

/// A key with its value.
#[derive(Clone, Copy)]
pub(super) struct Field<'n> {
    pub key: &'static Key,
    pub entry: &'n Entry,
}

/// The keys of a place, with their values; every key that the table does not have there is a finding.
pub(super) fn fields<'n>(mapping: &'n Mapping, place: &str, findings: &mut Findings) -> Vec<Field<'n>> {
    let mut found = Vec::new();
    for entry in mapping.entries() {
        let name = entry.key.text.as_str();
        match keys::below(place).find(|key| key.name() == name) {
            Some(key) => found.push(Field { key, entry }),
            None => {
                VALUES.unknown(entry, &keys::place_name(place), keys::unknown_help(name, place), findings);
            }
        }
    }
    found
}

/// The keys of a node.
pub(super) fn fields_of<'n>(node: &'n Node, place: &str, at: Position, findings: &mut Findings) -> Vec<Field<'n>> {
    let mapping = VALUES.mapping_of(node, &keys::place_name(place), at, findings);
    mapping.map(|mapping| fields(mapping, place, findings)).unwrap_or_default()
}

impl<'n> Field<'n> {
    pub(super) fn name(&self) -> &'static str {
        self.key.name()
    }

    /// The keys below this one.
    pub(super) fn fields(&self, findings: &mut Findings) -> Vec<Field<'n>> {
        let mapping = VALUES.mapping(self.entry, findings);
        mapping.map(|mapping| fields(mapping, self.key.path, findings)).unwrap_or_default()
    }

    /// The items of a list.
    pub(super) fn items(&self, of: &str, findings: &mut Findings) -> &'n [Rc<Node>] {
        VALUES.list(self.entry, of, findings).unwrap_or_default()
    }

    /// A value of some other grammar; the empty text must not fit it.
    pub(super) fn read<T>(&self, findings: &mut Findings, grammar: impl FnOnce(&str) -> Result<T, Unfit>) -> Option<T> {
        let hint = self.key.hint;
        let hinted = |unfit: Unfit| match unfit.help {
            _ if hint.is_empty() => unfit,
            Some(help) => Unfit::new(unfit.expected, format!("{help}; {hint}")),
            None => Unfit::new(unfit.expected, hint),
        };
        let grammar = |text: &str| grammar(text).map_err(hinted);
        if self.key.is_secret {
            VALUES.read_secret(self.entry, findings, grammar)
        } else {
            VALUES.read(self.entry, findings, grammar)
        }
    }

    pub(super) fn text(&self, findings: &mut Findings) -> Option<&'n str> {
        VALUES.text(self.entry, findings)
    }

    pub(super) fn owned(&self, findings: &mut Findings) -> Option<String> {
        self.text(findings).map(str::to_owned)
    }

    pub(super) fn texts(&self, findings: &mut Findings) -> Option<Vec<String>> {
        let found = VALUES.texts(self.entry, findings)?;
        Some(found.into_iter().map(|(text, _)| text.to_owned()).collect())
    }

    /// Texts of which each fits a grammar.
    pub(super) fn each<T>(
        &self,
        findings: &mut Findings,
        grammar: impl Fn(&str) -> Result<T, Unfit>,
    ) -> Option<Vec<T>> {
        let (mut good, mut all_good) = (Vec::new(), true);
        for (text, at) in VALUES.texts(self.entry, findings)? {
            match grammar(text) {
                Ok(value) => good.push(value),
                Err(unfit) => {
                    VALUES.refuse_item(self.entry, text, at, &unfit, findings);
                    all_good = false;
                }
            }
        }
        all_good.then_some(good)
    }

    pub(super) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        self.read(findings, values::boolean)
    }

    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        self.read(findings, |text| values::word(text, words))
    }

    pub(super) fn path(&self, findings: &mut Findings) -> Option<PathBuf> {
        self.read(findings, values::absolute)
    }

    /// Seconds.
    pub(super) fn duration(&self, findings: &mut Findings) -> Option<u64> {
        self.read(findings, |text| values::duration(text, &self.bounds(1..=YEAR_SECONDS)))
    }

    pub(super) fn milliseconds(&self, findings: &mut Findings) -> Option<u64> {
        self.read(findings, |text| values::milliseconds(text, &self.bounds(0..=u64::MAX)))
    }

    /// Bytes.
    pub(super) fn size(&self, findings: &mut Findings) -> Option<u64> {
        self.read(findings, |text| values::size(text, &self.bounds(0..=u64::MAX)))
    }

    pub(super) fn whole<T: TryFrom<u64>>(&self, findings: &mut Findings) -> Option<T> {
        let number = self.read(findings, |text| values::whole(text, &self.bounds(0..=u64::MAX)));
        number.and_then(|number| T::try_from(number).ok())
    }

    /// A value whose type names its own faults.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, findings: &mut Findings) -> Option<T> {
        match self.text(findings)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.say(format!("{}: {error}", quoted(self.name())), findings);
                None
            }
        }
    }

    pub(super) fn say(&self, message: String, findings: &mut Findings) {
        VALUES.say(self.entry, message, findings);
    }

    fn bounds(&self, otherwise: RangeInclusive<u64>) -> RangeInclusive<u64> {
        match self.key.kind {
            Kind::Duration(least, most)
            | Kind::Milliseconds(least, most)
            | Kind::Size(least, most)
            | Kind::Whole(least, most) => least..=most,
            _ => otherwise,
        }
    }
}

/// Takes a value that was read; after a finding the old one stays.
pub(super) fn put<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// As [`put`], for a value that may be missing.
pub(super) fn set<T>(target: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *target = value;
    }
}
