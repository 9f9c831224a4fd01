//! What only a daemon that runs can say of itself.

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
    /// What it waits for before it does anything; it answers questions meanwhile.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Why the CodeDeploy service is not followed now, although it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_followed: Option<String>,
    /// How the looks at the channels went, by the groups' names.
    #[serde(default)]
    pub channels: Vec<ChannelStatus>,
    /// How the shipping of logs goes; `None` where none are shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsSummary>,
    /// How the writing of this host's reports goes.
    #[serde(default)]
    pub reports: Vec<ReportStatus>,
    /// What the health checks say; shown with each group.
    #[serde(skip)]
    pub health: Health,
}

/// How the looks at a group's channel went since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// The group.
    #[serde(flatten)]
    pub key: GroupKey,
    /// The store.
    pub channel: String,
    /// Seconds between two looks.
    pub poll_seconds: u64,
    /// When it was looked at last, milliseconds since 1970.
    pub last_poll_ms: Option<u64>,
    /// When that went well last.
    pub last_success_ms: Option<u64>,
    /// Looks so far.
    pub polls: u64,
    /// Looks that failed.
    pub errors: u64,
    /// What was wrong with the last look.
    pub error: Option<String>,
}

impl ChannelStatus {
    /// Whether it is so long since a look went well that somebody should know: three intervals, and five minutes at
    /// least. `since_ms` is when looking began.
    pub fn is_stale(&self, since_ms: u64, now_ms: u64) -> bool {
        let patience_ms = self.poll_seconds.saturating_mul(3000).max(300_000);
        now_ms.saturating_sub(self.last_success_ms.unwrap_or(since_ms)) > patience_ms
    }
}

/// How the writing of one of this host's reports goes.
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
