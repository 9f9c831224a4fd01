//! `hostler version` and `hostler --version`: which program this is.

use hostler_core::codes::ExitCode;
use serde::Serialize;

use crate::cli::Shared;
use crate::failure::Outcome;
use crate::output;

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    hostler: &'static str,
    commit: Option<&'static str>,
    /// The day in UTC, as `2026-11-30`.
    built: Option<&'static str>,
    target: &'static str,
}

/// What the build script did not find out is empty.
fn known(fact: &'static str) -> Option<&'static str> {
    Some(fact).filter(|fact| !fact.is_empty())
}

pub fn run(shared: &Shared) -> Outcome {
    if shared.json {
        output::json(&Document {
            version: 1,
            hostler: env!("CARGO_PKG_VERSION"),
            commit: known(env!("HOSTLER_COMMIT")),
            built: known(env!("HOSTLER_BUILT")),
            target: env!("HOSTLER_TARGET"),
        })?;
    } else {
        output::text(concat!("hostler ", env!("HOSTLER_VERSION"), "\n"))?;
    }
    Ok(ExitCode::Ok)
}
