//! The rules of CloudWatch Logs (API model of service `logs` 2014-03-28; docs/protocols/logs.md#limits).

/// Bytes of a batch: the UTF-8 bytes of its messages and [`EVENT_OVERHEAD`] for each.
pub const BATCH_BYTES: usize = 1_048_576;

/// Bytes that each event counts in addition to its message.
pub const EVENT_OVERHEAD: usize = 26;

/// Events of a batch.
pub const BATCH_EVENTS: usize = 10_000;

/// Bytes of the longest message: alone in its batch.
pub const MESSAGE_BYTES: usize = BATCH_BYTES - EVENT_OVERHEAD;

/// Milliseconds between a batch's first and last event: less than 24 hours.
pub const SPAN_MS: i64 = 24 * 3600 * 1000;

/// Milliseconds after which an event is too old: 14 days.
pub const OLDEST_MS: i64 = 14 * 24 * 3600 * 1000;

/// Milliseconds from which an event is too far ahead: 2 hours.
pub const NEWEST_MS: i64 = 2 * 3600 * 1000;

/// Days that a group may keep its events (API reference of PutRetentionPolicy).
pub const RETENTION_DAYS: &[u32] =
    &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// Characters of the name of a group or stream.
const NAME_LENGTH: usize = 512;

/// A group's name with the characters that the service refuses replaced by `_`; `None` if nothing is left.
pub fn group_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#');
    let name: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).take(NAME_LENGTH).collect();
    // Reserved for the service's own groups.
    let name = if name.starts_with("aws/") { format!("_{name}").chars().take(NAME_LENGTH).collect() } else { name };
    (!name.is_empty()).then_some(name)
}

/// A stream's name with `:`, `*` and control characters replaced by `_`; `None` for an empty one.
pub fn stream_name(text: &str) -> Option<String> {
    let refused = |c: char| c == ':' || c == '*' || c.is_control();
    let name: String = text.chars().map(|c| if refused(c) { '_' } else { c }).take(NAME_LENGTH).collect();
    (!name.is_empty()).then_some(name)
}
