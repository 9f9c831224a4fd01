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
    interpret::read(name, bytes, limits)
}

/// The names under which an appspec is looked for in a bundle, first match wins: the one that the deployment names,
/// then `appspec.yml`, then `appspec.yaml`; for every event alike.
///
/// The CodeDeploy agent falls back only in Install, so that a bundle with `appspec.yaml` alone fails at its first hook.
pub fn appspec_names(custom: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in custom.into_iter().filter(|name| !name.is_empty()).chain(["appspec.yml", "appspec.yaml"]) {
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }
    names
}
