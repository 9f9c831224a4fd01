//! Typed readers of values: the value, or a finding with its place, the value as given, the expectation and a remedy.
//!
//! The `hostler:` block and the configuration both stand on them, and differ in the codes of their findings alone. The
//! grammar of each type is `crate::values`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;

use super::codes::Code;
use super::diagnose::{Diagnostic, Findings, quoted};
use super::interpret::place;
use crate::store::without_secrets;
use crate::values::{self, Unfit, must_be};
use crate::yaml::{Entry, Mapping, Node, Position};

/// The readers of one kind of document.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    /// A value that cannot be used.
    invalid: Code,
    /// A list where a mapping is needed, and the like.
    wrong_type: Code,
    /// A key that does not exist.
    unknown: Code,
}

impl Values {
    /// The agent's configuration.
    pub const CONFIGURATION: Self = Self {
        invalid: Code::InvalidConfiguration,
        wrong_type: Code::WrongType,
        unknown: Code::UnknownConfigurationKey,
    };
    /// The `hostler:` block of an appspec, and health checks wherever they are.
    pub const EXTENSION: Self = Self {
        invalid: Code::InvalidExtension,
        wrong_type: Code::InvalidExtension,
        unknown: Code::UnknownExtensionKey,
    };

    /// The entries with known keys; every other key is a finding that names the nearest known one.
    pub fn known<'m>(self, mapping: &'m Mapping, keys: &[&str], of: &str, findings: &mut Findings) -> Vec<&'m Entry> {
        let (good, bad): (Vec<&Entry>, Vec<&Entry>) =
            mapping.entries().iter().partition(|entry| keys.contains(&entry.key.text.as_str()));
        for entry in bad {
            self.unknown(entry, of, values::known_keys_help(&entry.key.text, keys), findings);
        }
        good
    }

    /// Refuses a key that `of` does not have.
    pub fn unknown(self, entry: &Entry, of: &str, help: String, findings: &mut Findings) {
        let message = format!("{} is not a key of {of}", quoted(&entry.key.text));
        findings.add(self.unknown, Some(entry.key_at), message).help(help);
    }

    /// The keys and values of an entry.
    pub fn mapping<'e>(self, entry: &'e Entry, findings: &mut Findings) -> Option<&'e Mapping> {
        self.mapping_of(&entry.value, &quoted(&entry.key.text), place(entry), findings)
    }

    /// The keys and values of a node that a message calls `name`.
    pub fn mapping_of<'n>(
        self,
        node: &'n Node,
        name: &str,
        at: Position,
        findings: &mut Findings,
    ) -> Option<&'n Mapping> {
        let found = node.as_mapping();
        if found.is_none() {
            let message = must_be(name, "keys with values", node.kind());
            findings.add(self.wrong_type, Some(at), message).help("write its keys below it, indented");
        }
        found
    }

    /// The items of a list.
    pub fn list<'e>(self, entry: &'e Entry, of: &str, findings: &mut Findings) -> Option<&'e [Rc<Node>]> {
        let found = entry.value.as_sequence();
        if found.is_none() {
            let help = "write each entry below the key, after a dash: `- …`";
            self.refuse(entry, &Unfit::new(format!("a list of {of}"), help), findings);
        }
        found
    }

    /// Text as written: a number and a truth value are text too, and `''` is the empty text.
    pub fn text<'e>(self, entry: &'e Entry, findings: &mut Findings) -> Option<&'e str> {
        let found = entry.value.as_scalar().filter(|scalar| !scalar.is_null());
        if found.is_none() {
            let help = "write the value after the colon; `''` is the empty text";
            self.refuse(entry, &Unfit::new("text", help), findings);
        }
        found.map(|scalar| scalar.text.as_str())
    }

    /// Texts: a list of them, or one.
    pub fn texts<'e>(self, entry: &'e Entry, findings: &mut Findings) -> Option<Vec<(&'e str, Position)>> {
        let text = |node: &'e Node| Some((node.as_scalar().filter(|s| !s.is_null())?.text.as_str(), node.at));
        let found: Option<Vec<_>> = match entry.value.as_sequence() {
            Some(items) => items.iter().map(|item| text(item)).collect(),
            None => text(&entry.value).map(|one| vec![one]),
        };
        if found.is_none() {
            let help = format!("write `{}: [one, two]`", entry.key.text);
            self.refuse(entry, &Unfit::new("a list of texts", help), findings);
        }
        found
    }

    /// A duration in seconds.
    pub fn duration(self, entry: &Entry, bounds: &RangeInclusive<u64>, findings: &mut Findings) -> Option<u64> {
        self.read(entry, findings, |text| values::duration(text, bounds))
    }

    /// A size in bytes.
    pub fn size(self, entry: &Entry, bounds: &RangeInclusive<u64>, findings: &mut Findings) -> Option<u64> {
        self.read(entry, findings, |text| values::size(text, bounds))
    }

    /// A whole number.
    pub fn whole(self, entry: &Entry, bounds: &RangeInclusive<u64>, findings: &mut Findings) -> Option<u64> {
        self.read(entry, findings, |text| values::whole(text, bounds))
    }

    /// A truth value.
    pub fn boolean(self, entry: &Entry, findings: &mut Findings) -> Option<bool> {
        self.read(entry, findings, values::boolean)
    }

    /// One of some words.
    pub fn word<T: Copy>(self, entry: &Entry, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        self.read(entry, findings, |text| values::word(text, words))
    }

    /// An absolute path.
    pub fn absolute(self, entry: &Entry, findings: &mut Findings) -> Option<PathBuf> {
        self.read(entry, findings, values::absolute)
    }

    /// A value of some other grammar; the empty text must not fit it.
    pub fn read<T>(
        self,
        entry: &Entry,
        findings: &mut Findings,
        grammar: impl FnOnce(&str) -> Result<T, Unfit>,
    ) -> Option<T> {
        let scalar = entry.value.as_scalar().filter(|scalar| !scalar.is_null());
        // Nothing in the place of a list is told as any other value there.
        match grammar(scalar.map_or("", |scalar| scalar.text.as_str())) {
            Ok(value) => Some(value),
            Err(unfit) => {
                self.refuse(entry, &unfit, findings);
                None
            }
        }
    }

    /// As [`Self::read`], for a value that may be a secret: no message and no excerpt shows it.
    pub fn read_secret<T>(
        self,
        entry: &Entry,
        findings: &mut Findings,
        grammar: impl FnOnce(&str) -> Result<T, Unfit>,
    ) -> Option<T> {
        let text = entry.value.as_scalar().filter(|scalar| !scalar.is_null()).map(|scalar| scalar.text.as_str());
        let unfit = match grammar(text.unwrap_or_default()) {
            Ok(value) => return Some(value),
            Err(unfit) => unfit,
        };
        let shown = if text.is_some() { "this value".to_owned() } else { entry.value.kind().to_owned() };
        let message = must_be(&quoted(&entry.key.text), &unfit.expected, &shown);
        finding(self.invalid, entry.key_at, message, &unfit, true, findings);
        None
    }

    /// Refuses the value of an entry. The message shows no password and no signature of an address, and then its
    /// excerpt does not show the line.
    pub fn refuse<'f>(self, entry: &Entry, unfit: &Unfit, findings: &'f mut Findings) -> &'f mut Diagnostic {
        let given = Given::of(&entry.value);
        let code = if entry.value.as_scalar().is_some_and(|scalar| !scalar.is_null()) {
            self.invalid
        } else {
            self.wrong_type
        };
        let message = must_be(&quoted(&entry.key.text), &unfit.expected, &given.shown);
        let at = if given.is_secret { entry.key_at } else { place(entry) };
        finding(code, at, message, unfit, given.is_secret, findings)
    }

    /// Refuses one of the texts of an entry, at its place; `unfit` says what each of them must be.
    pub fn refuse_item<'f>(
        self,
        entry: &Entry,
        text: &str,
        at: Position,
        unfit: &Unfit,
        findings: &'f mut Findings,
    ) -> &'f mut Diagnostic {
        let given = Given::of_text(text);
        let name = if entry.value.as_sequence().is_some() { "each of " } else { "" };
        let message = must_be(&format!("{name}{}", quoted(&entry.key.text)), &unfit.expected, &given.shown);
        let at = if given.is_secret { entry.key_at } else { at };
        finding(self.invalid, at, message, unfit, given.is_secret, findings)
    }

    /// A finding about the value of an entry, in words of its own.
    pub fn say<'f>(self, entry: &Entry, message: String, findings: &'f mut Findings) -> &'f mut Diagnostic {
        findings.add(self.invalid, Some(place(entry)), message)
    }
}

/// A value as a message shows it.
struct Given {
    shown: String,
    is_secret: bool,
}

impl Given {
    fn of(node: &Node) -> Self {
        match node.as_scalar().filter(|scalar| !scalar.is_null()) {
            Some(scalar) => Self::of_text(&scalar.text),
            None => Self { shown: node.kind().to_owned(), is_secret: false },
        }
    }

    fn of_text(text: &str) -> Self {
        let shown = without_secrets(text);
        Self { is_secret: shown != text, shown: quoted(&shown) }
    }
}

fn finding<'f>(
    code: Code,
    at: Position,
    message: String,
    unfit: &Unfit,
    is_secret: bool,
    findings: &'f mut Findings,
) -> &'f mut Diagnostic {
    let finding = findings.add(code, Some(at), message);
    finding.help.clone_from(&unfit.help);
    if is_secret {
        finding.conceal();
    }
    finding
}
