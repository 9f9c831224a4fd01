//! Asks an application whether it is healthy: one probe, one answer, within its time.

mod command;
mod http;
mod outside;
mod process;
mod unit;

use std::path::Path;
use std::time::Duration;

use hostler_core::health::{Check, Probe};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use outside::{CHECK_RUNNER_VERB, run_checks};

/// A check that is ready to be asked repeatedly.
#[derive(Debug, Clone)]
pub struct Prober {
    way: Way,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Way {
    Http(Box<http::HttpWay>),
    Tcp(String),
    Command(command::CommandWay),
    Unit(String),
    Process(hostler_core::health::ProcessProbe),
    /// The check cannot be asked; its answer says why.
    Impossible(String),
}

impl Prober {
    /// Makes a check ready. `archive` is the unpacked bundle with its script; without a bundle, a script is a file of
    /// this host. If the check itself is invalid, every question gets that as its answer.
    pub fn new(check: &Check, archive: Option<&Path>) -> Self {
        let way = match &check.probe {
            Probe::Http(probe) => match http::HttpWay::new(probe) {
                Ok(way) => Way::Http(Box::new(way)),
                Err(why) => Way::Impossible(why),
            },
            Probe::Tcp { address } => Way::Tcp(address.clone()),
            Probe::Command { location, runas } => {
                Way::Command(command::CommandWay::new(location, runas.as_deref(), archive))
            }
            Probe::Unit { unit } => Way::Unit(unit.clone()),
            Probe::Process(probe) => Way::Process(probe.clone()),
        };
        Self { way, timeout: Duration::from_secs(check.timeout_seconds) }
    }

    /// Asks once.
    ///
    /// # Errors
    /// The failure, in a few words: `HTTP 503`, `connection refused`, `exit status 1`, `no answer in 5 s`.
    pub async fn ask(&self) -> Result<(), String> {
        let asked = async {
            match &self.way {
                Way::Http(way) => way.ask().await,
                Way::Tcp(address) => tcp(address).await,
                Way::Command(way) => way.ask().await,
                Way::Unit(unit) => unit::ask(unit).await,
                Way::Process(probe) => process::ask(probe).await,
                Way::Impossible(why) => Err(why.clone()),
            }
        };
        let late = || format!("no answer in {} s", self.timeout.as_secs());
        timeout(self.timeout, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn tcp(address: &str) -> Result<(), String> {
    TcpStream::connect(address).await.map(drop).map_err(|error| describe(&error))
}

/// An error in a few words.
fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
