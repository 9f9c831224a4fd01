//! The probe of a health check and the rules for counting its answers.

use serde::{Deserialize, Serialize};

/// One health check of an installed application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name for reports; derived from the probe by default.
    pub name: String,
    /// The probe.
    pub probe: Probe,
    /// Seconds between two probes.
    pub interval_seconds: u64,
    /// Seconds for one probe.
    pub timeout_seconds: u64,
    /// Successes in a row that make it healthy.
    pub successes: u64,
    /// Failures in a row that make it unhealthy.
    pub failures: u64,
    /// Seconds after the first probe during which failures do not make a check unhealthy that was not healthy yet.
    pub grace_seconds: u64,
    /// Seconds after ApplicationStart by which it must be healthy.
    pub deadline_seconds: u64,
}

/// The probe of a health check.
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

/// An HTTP GET and the required answer. Redirections count as answers and are not followed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Address, with `http://` or `https://`.
    pub url: String,
    /// The status that means success; `None` is any from 200 to 299.
    pub status: Option<u16>,
    /// Text that the beginning of the body must contain.
    pub body: Option<String>,
    /// Headers of the request, in the order written.
    pub headers: Vec<(String, String)>,
    /// Headers that the answer must have, with these values.
    pub response_headers: Vec<(String, String)>,
    /// The name that the server's certificate must have; `None` is the host of the address.
    pub tls_name: Option<String>,
    /// PEM file with the only trusted certificate authorities; `None` is those of the host.
    pub ca_file: Option<String>,
}

/// The way to find a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessProbe {
    /// By the process id in a file.
    PidFile(String),
    /// By the file name of the program that it executes.
    Name(String),
}

impl Probe {
    /// The target of the probe in a few words: as a name, and in causes.
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
