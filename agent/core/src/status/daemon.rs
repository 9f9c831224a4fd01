//! The status that only a running daemon has.

use serde::{Deserialize, Serialize};

use crate::ids::GroupKey;
use crate::logs::lag::LogsSummary;

use super::Health;

/// The daemon that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its version.
    pub agent_version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, milliseconds since 1970.
    pub started_ms: u64,
    /// The condition that it waits for before it works; it answers questions meanwhile.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Why the agent does not follow the CodeDeploy service now, although it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_followed: Option<String>,
    /// The results of polling the channels, by group name.
    #[serde(default)]
    pub channels: Vec<ChannelStatus>,
    /// The progress of log shipping; `None` when no logs are shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsSummary>,
    /// The results of writing this host's reports.
    #[serde(default)]
    pub reports: Vec<ReportStatus>,
    /// The reports of the health checks; the status shows them with each group.
    #[serde(skip)]
    pub health: Health,
}

/// The results of polling a group's channel since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// The group.
    #[serde(flatten)]
    pub key: GroupKey,
    /// The store.
    pub channel: String,
    /// Seconds between two polls.
    pub poll_seconds: u64,
    /// When the last poll was, milliseconds since 1970.
    pub last_poll_ms: Option<u64>,
    /// When the last successful poll was.
    pub last_success_ms: Option<u64>,
    /// Number of polls.
    pub polls: u64,
    /// Number of failed polls.
    pub errors: u64,
    /// The error of the last poll.
    pub error: Option<String>,
}

impl ChannelStatus {
    /// Whether the last successful poll is so old that an operator should know: three intervals, and at least five
    /// minutes. `since_ms` is when polling began.
    pub fn is_stale(&self, since_ms: u64, now_ms: u64) -> bool {
        let patience_ms = self.poll_seconds.saturating_mul(3000).max(300_000);
        now_ms.saturating_sub(self.last_success_ms.unwrap_or(since_ms)) > patience_ms
    }
}

/// The results of writing one of this host's reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportStatus {
    /// The group.
    #[serde(flatten)]
    pub key: GroupKey,
    /// Where the document is; `None` until the host's user id is known.
    pub place: Option<String>,
    /// When it was written last, milliseconds since 1970.
    pub written_ms: Option<u64>,
    /// Why the last try failed.
    pub error: Option<String>,
}
