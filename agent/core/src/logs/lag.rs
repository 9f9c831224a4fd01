//! What is shown of the shipping: how far each source is, and all of them in short.

use serde::{Deserialize, Serialize};

/// Version of [`LogsReport`].
pub const LOGS_REPORT_VERSION: u32 = 1;

/// What `hostler logs --lag --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsReport {
    /// Version of this document.
    pub version: u32,
    /// Every file and journal that is followed.
    pub sources: Vec<SourceReport>,
    /// Since the daemon started.
    pub totals: Totals,
}

/// One file or journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The path now, or the journal's matches.
    pub source: String,
    /// Its group.
    pub log_group: String,
    /// Its stream.
    pub log_stream: String,
    /// How far the service has acknowledged: a byte of the file, or the journal's cursor.
    pub position: String,
    /// Bytes that are there and not acknowledged; 0 for a journal, which does not say.
    pub lag_bytes: u64,
    /// Seconds for which the oldest of them has waited.
    pub lag_seconds: u64,
    /// What went wrong last, until something goes right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The file has been deleted or renamed away and is read to its end.
    pub rotated: bool,
}

/// Sums since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Events that the service took.
    pub events: u64,
    /// Batches that it took.
    pub batches: u64,
    /// Batches sent again that it may have taken already.
    pub repeated_batches: u64,
    /// Events that it did not keep: too old, too new, or past the group's retention.
    pub rejected_events: u64,
    /// Events that it would refuse a batch for and that were left out.
    pub refused_events: u64,
    /// Events left out because they are older than 14 days.
    pub too_old_events: u64,
    /// Bytes that were lost before they could be read: destroyed by a rotation, or skipped because the disk filled up.
    pub lost_bytes: u64,
    /// Requests that the service throttled.
    pub throttled: u64,
    /// Requests that failed otherwise.
    pub failed: u64,
}

/// The shipping in short, for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsSummary {
    /// Files and journals that are followed.
    pub sources: u64,
    /// Files and directories that are there and not read: the path rule refuses them, or they are no logs.
    #[serde(default)]
    pub not_shipped: u64,
    /// Bytes of files that are there and not acknowledged.
    pub lag_bytes: u64,
    /// Since when the oldest of what is not acknowledged has waited, milliseconds since 1970; `None` when nothing waits.
    pub waiting_since_ms: Option<u64>,
    /// Sums since the daemon started.
    pub totals: Totals,
}
