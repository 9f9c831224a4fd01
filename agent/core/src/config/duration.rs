//! Durations as people write them: `90`, `90s`, `5m`, `2h`, `1d`.

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write a number of seconds, or a number with s, m, h or d, for example 90s or 5m")]
pub struct NotADuration(pub String);

/// The duration in seconds, at least one.
///
/// # Errors
/// For anything but a whole number with at most one unit letter, for zero, and for more than a year.
pub fn seconds(text: &str) -> Result<u64, NotADuration> {
    let wrong = || NotADuration(text.to_owned());
    let trimmed = text.trim();
    let (digits, unit) = match trimmed.char_indices().last() {
        Some((at, 's')) => (&trimmed[..at], 1),
        Some((at, 'm')) => (&trimmed[..at], 60),
        Some((at, 'h')) => (&trimmed[..at], 3600),
        Some((at, 'd')) => (&trimmed[..at], 86_400),
        _ => (trimmed, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
    if (1..=366 * 86_400).contains(&seconds) { Ok(seconds) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        for (text, expected) in [("90", 90), ("90s", 90), ("5m", 300), (" 2h ", 7200), ("1d", 86_400)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "0", "-1", "1.5m", "5 m", "5w", "99999999999999999999", "400d"] {
            assert!(seconds(text).is_err(), "{text:?} was accepted");
        }
    }
}
