//! Reads the time in a line with a `datetime_format` of the awslogs agent (strptime).

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use regex::bytes::{Captures, Regex};

/// Bytes at the beginning of a line that are searched for a time. Prevents: searching a megabyte for a date.
const WITHIN: usize = 512;

/// The name of a zone, which can be an offset ("+03").
const ZONE: &str = r"(?P<zone>(?:[A-Za-z]{1,5}|[+-]\d{2}(?:\d{2})?)\b)";

/// What blanks of a format match.
const BLANKS: &str = r"\s+";

/// A format that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format:?} is no format of a date and time: {reason}")]
pub struct BadFormat {
    /// The format.
    pub format: String,
    /// The reason.
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
    /// A format such as `%Y-%m-%d %H:%M:%S,%f`; times without an offset are in `zone`.
    ///
    /// # Errors
    /// For an unknown directive, and for a second `%Z`.
    pub fn new(format: &str, zone: TimeZone) -> Result<Self, BadFormat> {
        let bad = |reason: String| BadFormat { format: format.to_owned(), reason };
        let mut pattern = String::new();
        let mut read = String::new();
        let mut names_a_zone = false;
        let mut signs = format.trim_end().chars();
        while let Some(sign) = signs.next() {
            match sign {
                '%' => match signs.next().ok_or_else(|| bad("it ends with %".to_owned()))? {
                    'Z' if names_a_zone => return Err(bad("it has %Z twice".to_owned())),
                    'Z' => {
                        names_a_zone = true;
                        push_zone(&mut pattern, signs.as_str().is_empty());
                    }
                    directive => {
                        let known = expression(directive).ok_or_else(|| bad(format!("%{directive} is not known")))?;
                        pattern.push_str(known);
                        read.extend(['%', directive]);
                    }
                },
                sign if sign.is_whitespace() => {
                    pattern.push_str(BLANKS);
                    read.push(sign);
                }
                sign => {
                    pattern.push_str(&regex::escape(&sign.to_string()));
                    read.push(sign);
                }
            }
        }
        if read.trim().is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        let finder = Regex::new(&pattern).map_err(|error| bad(error.to_string()))?;
        Ok(Self { finder, format: read.trim_end().to_owned(), zone })
    }

    /// Whether a line has a time in this format.
    pub fn is_in(&self, line: &[u8]) -> bool {
        self.finder.is_match(&line[..line.len().min(WITHIN)])
    }

    /// The time in a line, milliseconds since 1970. Parts that the format lacks (a year, a date) are chosen so that the
    /// time is nearest to the base time. `None` for a line without a time, or with an invalid one (a 31st of June).
    pub fn find(&self, line: &[u8], base_ms: i64) -> Option<i64> {
        let found = self.finder.captures(&line[..line.len().min(WITHIN)])?;
        let (text, zone) = self.without_zone(&found)?;
        let mut time = BrokenDownTime::parse(&self.format, &text).ok()?;
        if let Ok(timestamp) = time.to_timestamp() {
            return Some(timestamp.as_millisecond());
        }
        let base = Timestamp::from_millisecond(base_ms).ok()?.to_zoned(zone.clone());
        time.set_weekday(None);
        if time.month().is_none() && time.day().is_none() && time.day_of_year().is_none() {
            return nearest_day(&mut time, base.date(), &zone, base_ms);
        }
        if time.year().is_none() {
            return nearest_year(&mut time, base.year(), &zone, base_ms);
        }
        milliseconds(&time, &zone)
    }

    /// The match without the name of its zone, and the zone of its time. Most names do not identify an offset ("CST"),
    /// and awslogs too knows only UTC and local.
    fn without_zone(&self, found: &Captures<'_>) -> Option<(String, TimeZone)> {
        let whole = found.get(0)?;
        let text = std::str::from_utf8(whole.as_bytes()).ok()?;
        let Some(name) = found.name("zone") else { return Some((text.to_owned(), self.zone.clone())) };
        let before = text.get(..name.start() - whole.start())?;
        let behind = text.get(name.end() - whole.start()..)?;
        let zone = match name.as_bytes() {
            b"UTC" | b"GMT" | b"UT" | b"Z" => TimeZone::UTC,
            _ => self.zone.clone(),
        };
        Some((format!("{before}{behind}").trim_end().to_owned(), zone))
    }
}

/// Adds the expression of a `%Z`. At a format's end the name may be absent, together with the blanks before it.
fn push_zone(pattern: &mut String, is_last: bool) {
    if is_last {
        pattern.truncate(pattern.trim_end_matches(BLANKS).len());
        pattern.push_str(&format!(r"(?:\s*{ZONE})?"));
    } else {
        pattern.push_str(ZONE);
    }
}

/// A time without a date is from yesterday, today or tomorrow.
fn nearest_day(time: &mut BrokenDownTime, today: Date, zone: &TimeZone, base_ms: i64) -> Option<i64> {
    let days = [Some(today), today.yesterday().ok(), today.tomorrow().ok()];
    let times = days.into_iter().flatten().filter_map(|day| {
        time.set_year(Some(day.year())).ok()?;
        time.set_month(Some(day.month())).ok()?;
        time.set_day(Some(day.day())).ok()?;
        milliseconds(time, zone)
    });
    times.min_by_key(|at| at.abs_diff(base_ms))
}

/// A time without a year is from last year, this year or next year: December's lines are read in January, and at New
/// Year a clock may be behind the lines.
fn nearest_year(time: &mut BrokenDownTime, this: i16, zone: &TimeZone, base_ms: i64) -> Option<i64> {
    let times = [this, this.saturating_sub(1), this.saturating_add(1)].into_iter().filter_map(|year| {
        time.set_year(Some(year)).ok()?;
        milliseconds(time, zone)
    });
    times.min_by_key(|at| at.abs_diff(base_ms))
}

fn milliseconds(time: &BrokenDownTime, zone: &TimeZone) -> Option<i64> {
    if time.offset().is_some() {
        return Some(time.to_timestamp().ok()?.as_millisecond());
    }
    let zoned = time.to_datetime().ok()?.to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// The expression that a directive matches in a line.
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
