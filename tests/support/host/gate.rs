//! A gate at which a script waits until the test opens it.

use std::fs;
use std::path::{Path, PathBuf};

use super::Host;

/// A gate of one test.
#[derive(Debug, Clone)]
pub struct Gate {
    path: PathBuf,
}

impl Gate {
    /// A closed gate in the host's directory. Gates of one host need different names.
    pub fn new(host: &Host, name: &str) -> Self {
        Self::at(host.path(format!("gate-{name}")))
    }

    /// A gate at this path; it is closed while nothing lies there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The shell's words that wait until the gate is open.
    pub fn wait(&self) -> String {
        format!("until [ -e {} ]; do sleep 0.02; done", self.path.display())
    }

    /// Opens the gate.
    pub fn open(&self) {
        fs::write(&self.path, "").unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }

    /// Where the gate lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
