//! The appspec file: text in, [`spec::AppSpec`] or diagnostics out.
//!
//! ```text
//! source, yaml (nodes as written) -> interpret, hooks, permissions, extension (values) -> spec
//!                                            \-> diagnose (findings) <- lint (spec + bundle + host)
//! ```
//!
//! [`read`] needs only the text. [`lint::lint_bundle`] and [`lint::lint_host`] find problems that the text alone cannot
//! show; they never change the meaning of a file. If the verdict differs from the CodeDeploy agent's, CONFORMANCE.md
//! has a row with the reason.

pub mod codes;
pub mod diagnose;
pub mod extension;
mod hooks;
mod interpret;
pub mod keys;
pub mod lint;
mod permissions;
pub mod scalar;
mod source;
pub mod spec;
pub mod starter;
pub mod values;

#[cfg(test)]
mod tests;

use crate::limits::Limits;
use diagnose::Diagnostic;
use spec::AppSpec;

/// The result of reading an appspec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its meaning; `None` exactly when one of the diagnostics is an error.
    pub spec: Option<AppSpec>,
    /// All findings, errors and warnings, by position.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads an appspec. `name` is the file's name in the diagnostics.
///
/// Never panics and always ends, for any bytes; `limits` bounds size, nesting, aliases and diagnostics.
pub fn read(name: &str, bytes: &[u8], limits: &Limits) -> Reading {
    interpret::read(name, bytes, limits, Use::New)
}

/// Reads the appspec of a bundle that was accepted before, as [`read`] does. A host must be able to stop its current
/// revision and to return to an earlier one. So mistakes that only earlier versions of hostler, or the CodeDeploy
/// agent, accepted are warnings, and keep the meaning that they had there.
pub fn read_again(name: &str, bytes: &[u8], limits: &Limits) -> Reading {
    interpret::read(name, bytes, limits, Use::Again)
}

/// Reads an appspec as [`read`] does, but ignores misspelt keys and events with a warning, as the CodeDeploy agent ignores
/// them: for deployments of the CodeDeploy service, for releases of a channel, which were checked where they were published,
/// and for a bundle that its deployment has accepted.
pub fn read_as_accepted(name: &str, bytes: &[u8], limits: &Limits) -> Reading {
    interpret::read(name, bytes, limits, Use::Accepted)
}

/// The purpose of reading an appspec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To decide whether to accept its bundle.
    New,
    /// As a new one, where a misspelt name decides nothing.
    Accepted,
    /// To continue with an accepted bundle.
    Again,
}

/// The choice of a bundle's appspec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppspecName<'a> {
    name: Option<&'a str>,
    only: bool,
}

impl<'a> AppspecName<'a> {
    /// The appspec with this name, or else a usual one: for names from the CodeDeploy service or a group's settings.
    pub fn or_usual(name: Option<&'a str>) -> Self {
        Self { name, only: false }
    }

    /// Only the appspec with this name: a user named it for this one deployment, and a typing error must not deploy
    /// another one.
    pub fn only(name: Option<&'a str>) -> Self {
        Self { name, only: true }
    }

    /// The names to look for, first match wins: the given name, then `appspec.yml`, then `appspec.yaml`; the same for
    /// every event.
    ///
    /// The CodeDeploy agent falls back only in Install, so that a bundle with `appspec.yaml` alone fails at its first
    /// hook.
    pub fn candidates(self) -> Vec<String> {
        let named = self.name.filter(|name| !name.is_empty());
        let usual = ["appspec.yml", "appspec.yaml"].into_iter().filter(|_| named.is_none() || !self.only);
        let mut names: Vec<String> = Vec::new();
        for name in named.into_iter().chain(usual) {
            if names.iter().all(|known| known != name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}
