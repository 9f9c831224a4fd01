//! A store by its name on the command line or in the configuration.

use std::path::{Path, PathBuf};

use hostler_core::codes::ExitCode;
use hostler_core::store::{StoreError, StoreErrorKind};
use hostler_host::store_dir::DirectoryStore;

use crate::failure::Failure;

/// Opens the store that a text names: `file:///DIR` or a path.
///
/// # Errors
/// A usage failure for a text that names no store of a kind that this version has; not found when it is missing.
pub fn open(name: &str) -> Result<DirectoryStore, Failure> {
    DirectoryStore::open(directory(name)?).map_err(failure)
}

fn directory(name: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = name.strip_prefix("file://") {
        if path.starts_with('/') {
            return Ok(PathBuf::from(path));
        }
        return Err(Failure::say(ExitCode::Usage, format!("{name} names no directory")).hint("write file:///DIR"));
    }
    if name.contains("://") {
        return Err(Failure::say(ExitCode::Usage, format!("{name} is not a store that this version can use"))
            .hint("use file:///DIR or a path"));
    }
    Ok(std::path::absolute(Path::new(name))?)
}

/// The exit code that a store's error means.
pub fn failure(error: StoreError) -> Failure {
    let code = match error.kind {
        StoreErrorKind::Absent => ExitCode::NotFound,
        StoreErrorKind::Mismatch => ExitCode::VerificationFailed,
        StoreErrorKind::Denied
        | StoreErrorKind::TooLarge
        | StoreErrorKind::Full
        | StoreErrorKind::Throttled
        | StoreErrorKind::Transient
        | StoreErrorKind::Fatal => ExitCode::Failed,
    };
    Failure::new(code, error)
}
