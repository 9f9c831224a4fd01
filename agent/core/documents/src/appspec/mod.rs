//! The appspec file: text in, [`spec::AppSpec`] or diagnostics out.
//!
//! ```text
//! source, yaml (nodes as written) -> interpret, hooks, permissions, extension -> spec
//!                                            \-> diagnose (findings) <- lint (spec + bundle + host)
//! ```
//!
//! [`read`] needs only the text. [`lint::lint_bundle`] and [`lint::lint_host`] look for what the text alone cannot
//! show; they never change the meaning of a file. Where the verdict differs from the CodeDeploy agent's,
//! SEMANTICS.md has a row with the reason.

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

#[cfg(test)]
mod tests;

use crate::limits::Limits;
use diagnose::Diagnostic;
use spec::AppSpec;

/// What came of reading an appspec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its meaning; `None` exactly where one of the diagnostics is an error.
    pub spec: Option<AppSpec>,
    /// Everything that was found, errors and warnings, by position.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads an appspec. `name` is what the diagnostics call the file.
///
/// Never panics and always ends, whatever the bytes; `limits` bounds size, nesting, aliases and diagnostics.
pub fn read(name: &str, bytes: &[u8], limits: &Limits) -> Reading {
    interpret::read(name, bytes, limits, Use::New)
}

/// Reads the appspec of a bundle that was let in before, as [`read`] does. A host must be able to stop what it runs and to
/// return to what it ran: what only earlier versions of hostler, and the CodeDeploy agent, let pass is a warning, and means
/// what it meant to them.
pub fn read_again(name: &str, bytes: &[u8], limits: &Limits) -> Reading {
    interpret::read(name, bytes, limits, Use::Again)
}

/// What an appspec is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Whether its bundle is let in.
    New,
    /// To go on with a bundle that was let in.
    Again,
}

/// Which appspec of a bundle is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppspecName<'a> {
    name: Option<&'a str>,
    only: bool,
}

impl<'a> AppspecName<'a> {
    /// The one of this name, or else of a usual one: what the CodeDeploy service or a group's settings name.
    pub fn or_usual(name: Option<&'a str>) -> Self {
        Self { name, only: false }
    }

    /// The one of this name and no other: somebody has named it for this one deployment, and a slip must not deploy
    /// something else.
    pub fn only(name: Option<&'a str>) -> Self {
        Self { name, only: true }
    }

    /// The names under which it is looked for, first match wins: the one that is named, then `appspec.yml`, then
    /// `appspec.yaml`; for every event alike.
    ///
    /// The CodeDeploy agent falls back only in Install, so that a bundle with `appspec.yaml` alone fails at its first hook.
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
