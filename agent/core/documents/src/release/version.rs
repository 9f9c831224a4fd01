//! Versions of the agent, as a release can require them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of the agent: three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentVersion {
    /// Incompatible changes.
    pub major: u32,
    /// Additions.
    pub minor: u32,
    /// Fixes.
    pub patch: u32,
}

impl AgentVersion {
    /// The version of the program that this crate is part of.
    ///
    /// # Errors
    /// The package's version is not three numbers, which a test of this crate rules out.
    pub fn current() -> Result<Self, InvalidVersion> {
        env!("CARGO_PKG_VERSION").parse()
    }
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0:?} must be three numbers, as 1.2.3")]
pub struct InvalidVersion(String);

impl FromStr for AgentVersion {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let mut numbers = text.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u32>().ok() } else { None }
        });
        match (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten(), numbers.next()) {
            (Some(major), Some(minor), Some(patch), None) => Ok(Self { major, minor, patch }),
            _ => Err(InvalidVersion(text.to_owned())),
        }
    }
}

impl TryFrom<String> for AgentVersion {
    type Error = InvalidVersion;
    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<AgentVersion> for String {
    fn from(version: AgentVersion) -> String {
        version.to_string()
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
