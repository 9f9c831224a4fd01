//! The control socket of a running daemon: requests and responses on the local socket, one line of JSON each.

pub mod client;
mod connection_limits;
pub mod listening;
mod scrape;
pub mod server;
pub mod server_context;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::logs::lag::LogsReport;
use hostler_core::machine::{Moment, Progress};
use hostler_core::status::Status;
use serde::{Deserialize, Serialize};

use crate::requests::DeployRequest;

/// Version of the protocol; a daemon refuses a version that it does not know.
pub const PROTOCOL_VERSION: u32 = 1;

/// A request with its protocol version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionedRequest {
    /// Version of the protocol.
    pub version: u32,
    /// Whether the peer shows on a terminal what goes on in the deployment that it asks for: [`ControlResponse::Moment`].
    #[serde(default)]
    pub moments: bool,
    /// The request.
    #[serde(flatten)]
    pub request: ControlRequest,
}

/// The most records of the history that one answer has: the daemon holds them in memory meanwhile.
pub const MOST_HISTORY_RECORDS: usize = 5000;

/// The requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// The status document.
    Status,
    /// The metrics as OpenMetrics text.
    Metrics,
    /// The current problems.
    Health,
    /// Read the configuration again.
    Reload,
    /// Deploy; progress responses follow.
    Deploy(DeployRequest),
    /// Roll back; progress responses follow.
    Rollback {
        /// The group.
        key: GroupKey,
        /// The deployment to return to.
        to: Option<DeploymentId>,
        /// Whether that deployment may be one that failed.
        #[serde(default)]
        force: bool,
    },
    /// Remove a group; progress responses follow.
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
    /// The newest records of the history, for members of the service group, who may not read its file.
    History,
    /// Drain and stop.
    Stop,
}

impl ControlRequest {
    /// The group that the request is about.
    pub fn group(&self) -> Option<&GroupKey> {
        match self {
            Self::Deploy(wish) => Some(&wish.key),
            Self::Rollback { key, .. } | Self::Remove { key, .. } | Self::Resume { key } => Some(key),
            Self::Status | Self::Metrics | Self::Health | Self::Reload | Self::Logs | Self::History | Self::Stop => {
                None
            }
        }
    }

    /// Whether the request changes something or shows what not every user may see, so that not every user may send it.
    pub fn acts(&self) -> bool {
        !matches!(self, Self::Status | Self::Metrics | Self::Health | Self::Logs)
    }
}

/// The responses. A deployment is followed by its progress; every other request has one response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum ControlResponse {
    /// The status document.
    Status(Box<Status>),
    /// How far the logs are shipped.
    Logs {
        /// `None` when the daemon ships no logs.
        report: Option<Box<LogsReport>>,
    },
    /// One record of the history, oldest first; [`Self::Done`] follows the last one.
    History {
        /// The line of the file.
        line: String,
    },
    /// The metrics.
    Metrics {
        /// OpenMetrics text.
        text: String,
    },
    /// The current problems.
    Health {
        /// One text for each problem; empty when the daemon is healthy.
        problems: Vec<String>,
    },
    /// The deployment was accepted.
    Accepted {
        /// Its id.
        deployment: DeploymentId,
    },
    /// A step of the deployment.
    Progress(Box<Progress>),
    /// What goes on in the deployment now, each time that it has changed; only for peers that ask for it.
    Moment(Moment),
    /// The request was done. After a deployment: no more progress follows.
    Done,
    /// Not done: the daemon takes no more requests. Ask again, or do it yourself once the daemon is gone.
    Stopping,
    /// The request was not done.
    Refused {
        /// The exit code for the caller.
        code: u8,
        /// The reason.
        message: String,
    },
}
