//! Values below `hostler:`, each read strictly.

use super::super::codes::Code;
use super::super::diagnose::{Diagnostic, Findings, quoted};
use super::super::interpret::place;
use super::super::keys;
use super::super::scalar::{Resolved, resolve};
use crate::yaml::{Entry, Mapping, Position};

/// The mapping of an entry, with its keys checked. `None` with an error for any other value, and without one for null.
pub(super) fn mapping<'e>(entry: &'e Entry, known: &[&str], findings: &mut Findings) -> Option<&'e Mapping> {
    let mapping = any_mapping(entry, findings)?;
    known_keys(mapping, known, &entry.key.text, findings);
    Some(mapping)
}

pub(super) fn any_mapping<'e>(entry: &'e Entry, findings: &mut Findings) -> Option<&'e Mapping> {
    if entry.value.is_null() {
        return None;
    }
    let mapping = entry.value.as_mapping();
    if mapping.is_none() {
        invalid(entry, "not a mapping of keys", findings).help("write its keys below it, indented");
    }
    mapping
}

pub(super) fn known_keys(mapping: &Mapping, known: &[&str], of: &str, findings: &mut Findings) {
    for entry in mapping.entries().iter().filter(|entry| !known.contains(&entry.key.text.as_str())) {
        let message = format!("{} is no key of {}", quoted(&entry.key.text), quoted(of));
        let found = findings.add(Code::UnknownExtensionKey, Some(entry.key_at), message);
        match keys::nearest(&entry.key.text, known) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("known keys: {}", known.join(", "))),
        };
    }
}

pub(super) fn invalid<'f>(entry: &Entry, expected: &str, findings: &'f mut Findings) -> &'f mut Diagnostic {
    let shown = match entry.value.as_scalar() {
        Some(scalar) if !scalar.is_null() => quoted(&scalar.text),
        _ => entry.value.kind().to_owned(),
    };
    let message = format!("{} is {shown}, {expected}", quoted(&entry.key.text));
    findings.add(Code::InvalidExtension, Some(place(entry)), message)
}

/// Text for a variable. Numbers and truth values count as written; an empty value is refused.
pub(super) fn scalar_text(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let text = entry.value.as_scalar().filter(|scalar| !scalar.is_null()).map(|scalar| scalar.text.clone());
    if text.is_none() {
        invalid(entry, "not text", findings).help("write the value after the colon; `''` is the empty text");
    }
    text
}

pub(super) fn boolean(mapping: &Mapping, key: &str, findings: &mut Findings) -> bool {
    let Some(entry) = mapping.get(key) else { return false };
    match entry.value.as_scalar().map(resolve) {
        Some(Resolved::Bool(value)) => value,
        _ => {
            invalid(entry, "neither true nor false", findings).help("write true or false, without quotes");
            false
        }
    }
}

/// A whole number above 0, written in plain digits.
pub(super) fn number(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    let entry = mapping.get(key)?;
    let digits = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let number = plain_number(digits);
    if number.is_none() {
        invalid(entry, "not a whole number above 0", findings).help("write plain digits");
    }
    number
}

fn plain_number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// Seconds: plain digits, or digits and one of s, m, h.
pub(super) fn seconds(mapping: &Mapping, key: &str, otherwise: u64, findings: &mut Findings) -> u64 {
    /// Thirty days: a longer time is more likely a mistake.
    const MOST: u64 = 30 * 24 * 3600;
    let Some(entry) = mapping.get(key) else { return otherwise };
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let (digits, factor) = match text.char_indices().next_back() {
        Some((place, 's')) => (text.get(..place), 1),
        Some((place, 'm')) => (text.get(..place), 60),
        Some((place, 'h')) => (text.get(..place), 3600),
        _ => (Some(text), 1),
    };
    let seconds = digits.and_then(plain_number).and_then(|number| number.checked_mul(factor));
    match seconds.filter(|seconds| *seconds <= MOST) {
        Some(seconds) => seconds,
        None => {
            invalid(entry, "not a duration of up to 30 days", findings)
                .help("write `30s`, `5m`, `1h` or plain seconds");
            otherwise
        }
    }
}

/// Bytes: plain digits, or digits and one of K, M, G (powers of 1024).
pub(super) fn bytes(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    let entry = mapping.get(key)?;
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let (digits, shift) = match text.char_indices().next_back() {
        Some((place, 'K')) => (text.get(..place), 10),
        Some((place, 'M')) => (text.get(..place), 20),
        Some((place, 'G')) => (text.get(..place), 30),
        _ => (Some(text), 0),
    };
    let bytes = digits.and_then(plain_number).and_then(|number| number.checked_mul(1 << shift));
    if bytes.is_none() {
        invalid(entry, "not a size", findings).help("write `512M`, `2G` or plain bytes");
    }
    bytes
}

pub(super) fn texts(mapping: &Mapping, key: &str, findings: &mut Findings) -> Vec<(String, Position)> {
    let Some(entry) = mapping.get(key).filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let items = entry.value.as_sequence().map(|items| {
        items.iter().map(|item| item.as_scalar().filter(|s| !s.is_null()).map(|s| (s.text.clone(), item.at))).collect()
    });
    match items {
        Some(Some(texts)) => texts,
        Some(None) | None => {
            invalid(entry, "not a list of texts", findings).help(format!("write `{key}: [one, two]`"));
            Vec::new()
        }
    }
}

pub(super) fn required<'m>(
    mapping: &'m Mapping,
    parent: &Entry,
    key: &str,
    findings: &mut Findings,
) -> Option<(String, &'m Entry)> {
    let Some(entry) = mapping.get(key) else {
        let message = format!("{} has no `{key}`", quoted(&parent.key.text));
        findings.add(Code::InvalidExtension, Some(parent.key_at), message).help(format!("write `{key}:` below it"));
        return None;
    };
    scalar_text(entry, findings).map(|text| (text, entry))
}
