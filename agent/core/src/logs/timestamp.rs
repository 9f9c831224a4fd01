//! The time in a line, by a `datetime_format` of the awslogs agent (strptime).

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use regex::bytes::Regex;

/// Bytes at the beginning of a line in which a time is looked for. Prevents: searching a megabyte for a date.
const WITHIN: usize = 512;

/// Milliseconds that a time without a year may be ahead of the clock before it is last year's.
const AHEAD_MS: i64 = 7 * 24 * 3600 * 1000;

/// A format that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format:?} is no format of a date and time: {reason}")]
pub struct BadFormat {
    /// The format.
    pub format: String,
    /// Why.
    pub reason: String,
}

/// Finds a time in a line and reads it.
#[derive(Debug, Clone)]
pub struct TimestampFormat {
    finder: Regex,
    format: String,
    zone: TimeZone,
}

impl TimestampFormat {
    /// A format such as `%Y-%m-%d %H:%M:%S,%f`; times without an offset of their own are in `zone`.
    ///
    /// # Errors
    /// For a directive that is not known, and for a `%Z` that is not at the end.
    pub fn new(format: &str, zone: TimeZone) -> Result<Self, BadFormat> {
        let bad = |reason: String| BadFormat { format: format.to_owned(), reason };
        // The name of a zone does not say its offset ("CST"); awslogs knows no more than UTC and local there either.
        let used = format.trim_end().strip_suffix("%Z").map_or(format, str::trim_end);
        let mut pattern = String::new();
        let mut signs = used.chars();
        while let Some(sign) = signs.next() {
            match sign {
                '%' => {
                    let directive = signs.next().ok_or_else(|| bad("it ends with %".to_owned()))?;
                    pattern.push_str(expression(directive).ok_or_else(|| {
                        bad(match directive {
                            'Z' => "%Z can only be at its end".to_owned(),
                            other => format!("%{other} is not known"),
                        })
                    })?);
                }
                sign if sign.is_whitespace() => pattern.push_str(r"\s+"),
                sign => pattern.push_str(&regex::escape(&sign.to_string())),
            }
        }
        if pattern.is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        let finder = Regex::new(&pattern).map_err(|error| bad(error.to_string()))?;
        Ok(Self { finder, format: used.to_owned(), zone })
    }

    /// Whether a line has such a time in it.
    pub fn is_in(&self, line: &[u8]) -> bool {
        self.finder.is_match(&line[..line.len().min(WITHIN)])
    }

    /// The time in a line, milliseconds since 1970. What the format does not have (a year, a date) is taken from the base
    /// time. `None` when there is none or when it is not a time (a 31st of June).
    pub fn find(&self, line: &[u8], base_ms: i64) -> Option<i64> {
        let found = self.finder.find(&line[..line.len().min(WITHIN)])?;
        let text = std::str::from_utf8(found.as_bytes()).ok()?;
        let mut time = BrokenDownTime::parse(&self.format, text).ok()?;
        if let Ok(timestamp) = time.to_timestamp() {
            return Some(timestamp.as_millisecond());
        }
        let base = Timestamp::from_millisecond(base_ms).ok()?.to_zoned(self.zone.clone());
        let has_year = time.year().is_some();
        time.set_weekday(None);
        if time.month().is_none() && time.day().is_none() && time.day_of_year().is_none() {
            self.set_date(&mut time, base.date())?;
        } else if !has_year {
            time.set_year(Some(base.year())).ok()?;
        }
        let milliseconds = self.milliseconds(&time)?;
        if !has_year && milliseconds > base_ms.saturating_add(AHEAD_MS) {
            // December's lines, read in January.
            time.set_year(Some(base.year() - 1)).ok()?;
            return self.milliseconds(&time);
        }
        Some(milliseconds)
    }

    fn set_date(&self, time: &mut BrokenDownTime, date: Date) -> Option<()> {
        time.set_year(Some(date.year())).ok()?;
        time.set_month(Some(date.month())).ok()?;
        time.set_day(Some(date.day())).ok()
    }

    fn milliseconds(&self, time: &BrokenDownTime) -> Option<i64> {
        if time.offset().is_some() {
            return Some(time.to_timestamp().ok()?.as_millisecond());
        }
        let zoned = time.to_datetime().ok()?.to_zoned(self.zone.clone()).ok()?;
        Some(zoned.timestamp().as_millisecond())
    }
}

/// What a directive stands for in a line.
fn expression(directive: char) -> Option<&'static str> {
    Some(match directive {
        'Y' => r"\d{4}",
        'y' | 'C' => r"\d{2}",
        'm' | 'd' | 'H' | 'I' | 'M' | 'S' | 'e' | 'k' | 'l' => r"\s?\d{1,2}",
        'j' => r"\d{1,3}",
        'f' => r"\d{1,9}",
        's' => r"-?\d{1,12}",
        'b' | 'B' | 'h' | 'a' | 'A' => r"[A-Za-z]{3,9}",
        'p' | 'P' => r"[AaPp][Mm]",
        'z' => r"(?:Z|[+-]\d{2}:?\d{2})",
        'T' => r"\d{1,2}:\d{1,2}:\d{1,2}",
        'R' => r"\d{1,2}:\d{1,2}",
        'F' => r"\d{4}-\d{1,2}-\d{1,2}",
        'D' => r"\d{1,2}/\d{1,2}/\d{2}",
        '%' => "%",
        _ => return None,
    })
}
