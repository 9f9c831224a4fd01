//! What a health check asks and how its answers are counted.

use serde::{Deserialize, Serialize};

/// One health check of an installed application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name for reports; made from the probe where none is written.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Seconds between two probes.
    pub interval_seconds: u64,
    /// Seconds for one probe.
    pub timeout_seconds: u64,
    /// Successes in a row that make it healthy.
    pub successes: u64,
    /// Failures in a row that make it unhealthy.
    pub failures: u64,
    /// Seconds after the first probe in which failures make nothing unhealthy that was not healthy yet.
    pub grace_seconds: u64,
    /// Seconds after ApplicationStart until it must be healthy.
    pub deadline_seconds: u64,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Probe {
    /// An HTTP GET.
    Http(HttpProbe),
    /// A TCP connection to `host:port`.
    Tcp {
        /// Host and port.
        address: String,
    },
    /// A script that ends with 0.
    Command {
        /// Path in the bundle for a check of an appspec, absolute for one of the configuration.
        location: String,
        /// The user to run as; `None` is the agent's user.
        runas: Option<String>,
    },
    /// A systemd unit that is active.
    Unit {
        /// Name of the unit.
        unit: String,
    },
    /// A process that runs.
    Process(ProcessProbe),
}

/// An HTTP GET and what its answer must be. Redirections are answers, not followed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Address, with `http://` or `https://`.
    pub url: String,
    /// The status that counts as success; `None` is any from 200 to 299.
    pub status: Option<u16>,
    /// Text that the beginning of the body must hold.
    pub body: Option<String>,
    /// Headers that are sent, in the order written.
    pub headers: Vec<(String, String)>,
    /// Headers that the answer must have, with these values.
    pub response_headers: Vec<(String, String)>,
    /// The name that the server's certificate must be for; `None` is the host of the address.
    pub tls_name: Option<String>,
    /// PEM file with the only certificate authorities that count; `None` is those of the host.
    pub ca_file: Option<String>,
}

/// How a process is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessProbe {
    /// By the process id in a file.
    PidFile(String),
    /// By the file name of the program that it executes.
    Name(String),
}

impl Probe {
    /// What is asked, in a few words: as a name, and in causes.
    pub fn target(&self) -> &str {
        match self {
            Self::Http(http) => &http.url,
            Self::Tcp { address } => address,
            Self::Command { location, .. } => location,
            Self::Unit { unit } => unit,
            Self::Process(ProcessProbe::PidFile(what) | ProcessProbe::Name(what)) => what,
        }
    }
}
