//! The effect Finish: the install journal is settled and old revisions are deleted. Nothing here fails a deployment.

use std::fs;

use hostler_core::ids::DeploymentId;
use hostler_host::install::{self, JournalState};

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::chain;

/// Settles and cleans up; what could not be done is returned for people to know.
pub fn finish(setup: &Setup, job: &Job, commit: bool, keep: &[DeploymentId]) -> Vec<String> {
    let mut warnings = Vec::new();
    if commit {
        warnings.extend(commit_install(setup, job));
    }
    warnings.extend(delete_others(setup, job, keep));
    warnings
}

/// Gives up the replaced files, which were kept beside the new ones until now.
fn commit_install(setup: &Setup, job: &Job) -> Vec<String> {
    let journal = setup.layout.deployment(&job.group.key, &job.deployment.id).journal();
    let committed = match install::state(&journal) {
        Ok(JournalState::Installed | JournalState::Committed) => install::commit(&journal),
        Ok(JournalState::None | JournalState::Open | JournalState::Undone) => return Vec::new(),
        Err(error) => Err(error),
    };
    match committed {
        Ok(committed) => committed
            .left
            .iter()
            .map(|left| format!("the replaced file at {} was not deleted: {}", left.path.display(), left.why))
            .collect(),
        Err(error) => vec![format!("the replaced files were not deleted: {}", chain(&error))],
    }
}

fn delete_others(setup: &Setup, job: &Job, keep: &[DeploymentId]) -> Vec<String> {
    let directory = setup.layout.group(&job.group.key);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => return vec![format!("cannot look for old revisions in {}: {error}", directory.display())],
    };
    let old = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        // Only what a deployment made: an id, and not a file that somebody put there.
        let id = name.to_str().and_then(|n| n.parse::<DeploymentId>().ok());
        id.is_some_and(|id| id.as_str().starts_with("d-") && !keep.contains(&id)) && entry.path().is_dir()
    });
    old.filter_map(|entry| {
        let path = entry.path();
        let problem = fs::remove_dir_all(&path).err()?;
        Some(format!("the old revision {} could not be deleted: {problem}", path.display()))
    })
    .collect()
}
