//! The one control socket to a running daemon's state: what is asked and answered on the local socket, a line of JSON each.

pub mod client;
mod connection_limits;
pub mod listening;
mod scrape;
pub mod server;
pub mod server_context;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::logs::lag::LogsReport;
use hostler_core::machine::Progress;
use hostler_core::status::Status;
use serde::{Deserialize, Serialize};

use crate::requests::DeployRequest;

/// Version of the words on the socket; a daemon refuses one that it does not know.
pub const PROTOCOL_VERSION: u32 = 1;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionedRequest {
    /// Version of these words.
    pub version: u32,
    /// What.
    #[serde(flatten)]
    pub request: ControlRequest,
}

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// The status document.
    Status,
    /// The metrics as OpenMetrics text.
    Metrics,
    /// What is wrong now.
    Health,
    /// Read the configuration again.
    Reload,
    /// A deployment; its progress follows.
    Deploy(DeployRequest),
    /// A rollback; its progress follows.
    Rollback {
        /// The group.
        key: GroupKey,
        /// The deployment to return to.
        to: Option<DeploymentId>,
    },
    /// The removal of a group; its progress follows.
    Remove {
        /// The group.
        key: GroupKey,
        /// Go on when its ApplicationStop fails.
        ignore_application_stop_failures: bool,
    },
    /// Follow the channel again.
    Resume {
        /// The group.
        key: GroupKey,
    },
    /// How far the logs are shipped.
    Logs,
    /// Drain and stop.
    Stop,
}

impl ControlRequest {
    /// The group that it is about.
    pub fn group(&self) -> Option<&GroupKey> {
        match self {
            Self::Deploy(wish) => Some(&wish.key),
            Self::Rollback { key, .. } | Self::Remove { key, .. } | Self::Resume { key } => Some(key),
            Self::Status | Self::Metrics | Self::Health | Self::Reload | Self::Logs | Self::Stop => None,
        }
    }

    /// Whether it changes something, so that not everyone may ask it.
    pub fn acts(&self) -> bool {
        !matches!(self, Self::Status | Self::Metrics | Self::Health | Self::Logs)
    }
}

/// What is answered; a deployment is followed by its progress, everything else has one answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum ControlResponse {
    /// The status document.
    Status(Box<Status>),
    /// How far the logs are shipped.
    Logs {
        /// Nothing when they are not.
        report: Option<Box<LogsReport>>,
    },
    /// The metrics.
    Metrics {
        /// OpenMetrics text.
        text: String,
    },
    /// What is wrong; nothing when the daemon is healthy.
    Health {
        /// One text for each.
        problems: Vec<String>,
    },
    /// The deployment was accepted.
    Accepted {
        /// Its id.
        deployment: DeploymentId,
    },
    /// What happens.
    Progress(Box<Progress>),
    /// It was done; of a deployment: there is no more to follow.
    Done,
    /// It was not done: the daemon takes no requests any more. Ask again, or do it yourself once it is gone.
    Stopping,
    /// It was not done.
    Refused {
        /// The exit code that it means.
        code: u8,
        /// Why.
        message: String,
    },
}
