//! The report of log shipping: the position of each source, and a summary.

use serde::{Deserialize, Serialize};

/// Version of [`LogsReport`].
pub const LOGS_REPORT_VERSION: u32 = 1;

/// What `hostler logs --lag --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsReport {
    /// Version of this document.
    pub version: u32,
    /// Every followed file and journal.
    pub sources: Vec<SourceReport>,
    /// Since the daemon started.
    pub totals: Totals,
}

/// One file or journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The current path, or the journal's matches.
    pub source: String,
    /// Its group.
    pub log_group: String,
    /// Its stream.
    pub log_stream: String,
    /// The position that the service has acknowledged: a byte of the file, or the journal's cursor.
    pub position: String,
    /// Unacknowledged bytes; 0 for a journal, which does not tell.
    pub lag_bytes: u64,
    /// Seconds for which the oldest of them has waited.
    pub lag_seconds: u64,
    /// The last error, until the next success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The file has been deleted or renamed away and is read to its end.
    pub rotated: bool,
}

/// Sums since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Events that the service accepted.
    pub events: u64,
    /// Batches that the service accepted.
    pub batches: u64,
    /// Batches sent again that the service may have accepted before.
    pub repeated_batches: u64,
    /// Events that the service did not keep: too old, too new, or past the group's retention.
    pub rejected_events: u64,
    /// Events left out because the service would refuse their batch.
    pub refused_events: u64,
    /// Events left out because they are older than 14 days.
    pub too_old_events: u64,
    /// Bytes lost before the agent could read them: destroyed by a rotation, or skipped because the disk filled up.
    pub lost_bytes: u64,
    /// Requests that the service throttled.
    pub throttled: u64,
    /// Requests that failed for another reason.
    pub failed: u64,
}

/// A summary of the shipping, for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsSummary {
    /// Number of followed files and journals.
    pub sources: u64,
    /// Existing files and directories that the agent does not read: the path rule refuses them, or they are no logs.
    #[serde(default)]
    pub not_shipped: u64,
    /// Unacknowledged bytes of files.
    pub lag_bytes: u64,
    /// Since when the oldest unacknowledged byte has waited, milliseconds since 1970; `None` when nothing waits.
    pub waiting_since_ms: Option<u64>,
    /// Sums since the daemon started.
    pub totals: Totals,
}
