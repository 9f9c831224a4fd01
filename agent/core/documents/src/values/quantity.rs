//! Durations and sizes: whole numbers with units.

use std::ops::RangeInclusive;

use super::Unfit;

/// The units of durations, the longest first, in seconds.
const TIMES: &[(&str, u64)] = &[("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// The units of sizes, in bytes; a unit is one of these letters, or a letter and `iB`.
const SIZES: &[(char, u64)] = &[('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)];

/// The number that decimal digits write; leading zeros count as nothing.
pub(super) fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A duration in seconds: plain seconds (`90`), or numbers with the units d, h, m and s, the longest first (`90s`,
/// `5m`, `1h30m`, `1d`).
///
/// # Errors
/// For any other text, and for a duration out of these bounds.
pub fn duration(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Unfit> {
    let seconds = digits(text.trim()).or_else(|| with_units(text.trim()));
    seconds.filter(|seconds| bounds.contains(seconds)).ok_or_else(|| {
        let (least, most) = (spelled_duration(*bounds.start()), spelled_duration(*bounds.end()));
        Unfit::new(format!("a duration from {least} to {most}"), "write `30s`, `5m`, `1h30m`, `1d` or plain seconds")
    })
}

/// A duration in milliseconds: plain milliseconds, as the awslogs agent writes them, or a duration with a unit.
///
/// # Errors
/// As [`duration`].
pub fn milliseconds(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Unfit> {
    let given = text.trim();
    let milliseconds =
        digits(given.strip_prefix('+').unwrap_or(given)).or_else(|| with_units(given)?.checked_mul(1000));
    milliseconds.filter(|milliseconds| bounds.contains(milliseconds)).ok_or_else(|| {
        let expected = format!("{} to {} milliseconds", bounds.start(), bounds.end());
        Unfit::new(expected, "write plain milliseconds, or a duration with a unit such as `5s`")
    })
}

/// Numbers with units, each unit shorter than the one before.
fn with_units(mut text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut units = TIMES.iter();
    let mut total: u64 = 0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at_checked(end)?;
        let (rest, seconds) = units.find_map(|(unit, seconds)| Some((rest.strip_prefix(unit)?, *seconds)))?;
        total = total.checked_add(digits(number)?.checked_mul(seconds)?)?;
        text = rest;
    }
    Some(total)
}

/// A size in bytes: plain bytes, or a number with one of the units K, M, G and T, which are powers of 1024 and may be
/// written KiB, MiB, GiB and TiB.
///
/// # Errors
/// For any other text, and for a size out of these bounds.
pub fn size(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Unfit> {
    let given = text.trim();
    let given = given.strip_prefix('+').unwrap_or(given);
    let bytes = digits(given).or_else(|| with_letter(given.strip_suffix("iB").unwrap_or(given)));
    bytes.filter(|bytes| bounds.contains(bytes)).ok_or_else(|| {
        let expected = match (bounds.start(), bounds.end()) {
            (0, &u64::MAX) => "a size".to_owned(),
            (least, &u64::MAX) => format!("a size from {}", spelled_size(*least)),
            (least, most) => format!("a size from {} to {}", spelled_size(*least), spelled_size(*most)),
        };
        Unfit::new(expected, "write `512M`, `2G` (powers of 1024) or plain bytes")
    })
}

fn with_letter(text: &str) -> Option<u64> {
    SIZES.iter().find_map(|(unit, bytes)| digits(text.strip_suffix(*unit)?)?.checked_mul(*bytes))
}

/// A duration as a configuration writes it, in its longest whole unit: `5m`, `90s`.
pub fn spelled_duration(seconds: u64) -> String {
    let found = TIMES.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    found.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// A size as a configuration writes it, in its largest whole unit: `256M`, `1000`.
pub fn spelled_size(bytes: u64) -> String {
    let found = SIZES.iter().rev().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    found.map_or_else(
        || format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" }),
        |(name, unit)| format!("{}{name}", bytes / unit),
    )
}
