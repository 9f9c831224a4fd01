//! The directories of a group's deployments: their list, their size, and the deletion of one.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_host::install;
use hostler_host::remove_tree::remove_tree;

use crate::setup::Setup;

/// Bytes on disk of everything below a directory; unreadable files count as nothing.
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// The deployments in a group's directory: directories with an id as name. Files that a user put there are left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn deployments_in(directory: &Path) -> Result<Vec<(DeploymentId, Metadata)>, String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A first deployment was refused before it made the directory.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot look for old revisions in {}: {error}", directory.display())),
    };
    let found = entries.flatten().filter_map(|entry| {
        let id: DeploymentId = entry.file_name().to_str()?.parse().ok()?;
        let metadata = entry.path().metadata().ok()?;
        (id.as_str().starts_with("d-") && metadata.is_dir()).then_some((id, metadata))
    });
    Ok(found.collect())
}

/// Deletes a deployment's directory; returns why it remains, if it does.
pub fn delete(setup: &Setup, key: &GroupKey, id: &DeploymentId) -> Option<String> {
    let paths = setup.layout.deployment(key, id);
    let path = paths.directory().display();
    if let Some(left) = install::left_behind(&paths.journal()).first() {
        return Some(format!(
            "the old revision {path} is not deleted: {} holds files that could not be put back; take out what is needed, then delete it",
            left.display()
        ));
    }
    let problem = remove_tree(paths.directory()).err()?;
    Some(format!("the old revision {path} could not be deleted: {problem}"))
}
