//! Which deployment directories of a CodeDeploy group are kept. Those of the CodeDeploy agent, of the daemon and of
//! codedeploy-local lie side by side, and each program's ledger holds only its own deployments.

use std::os::unix::fs::MetadataExt as _;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::retention::{Found, beyond, in_use};
use hostler_host::install::{self, JournalState};
use hostler_host::ledger;

use crate::codedeploy::records;
use crate::ports::Job;
use crate::setup::Setup;
use crate::state_file::{ledger_failure, read_state};
use crate::work::revisions::{bytes_below, delete, deployments_in};

/// Deletes the oldest directories of all programs until `max_revisions` are left; returns why others remain, for
/// people. `keep` are the ones that this process's ledger needs.
pub fn delete_oldest(setup: &Setup, job: &Job, mut keep: Vec<DeploymentId>) -> Vec<String> {
    let key = &job.group.key;
    let all = needed_by_others(setup, key)
        .and_then(|needed| {
            keep.extend(needed);
            deployments_in(&setup.layout.group(key))
        })
        .map_err(|problem| format!("older deployments are not cleaned up: {problem}"));
    let all = match all {
        Ok(all) => all,
        Err(problem) => return vec![problem],
    };
    let holds_files = all.iter().map(|(id, _)| id).filter(|id| holds_files(setup, key, id));
    keep.extend(holds_files.cloned());
    let found = all.into_iter().map(|(id, metadata)| Found { id, modified_ns: modified_ns(&metadata) });
    let found: Vec<Found> = found.collect();
    let policy = &job.deployment.request.policy;
    let most = usize::try_from(policy.max_revisions).unwrap_or(usize::MAX);
    let most = policy.max_revision_bytes.map_or(most, |bytes| most.min(that_fit(setup, key, &found, &keep, bytes)));
    beyond(found, &keep, most).iter().filter_map(|id| delete(setup, key, id)).collect()
}

/// The number of directories that fit in `most_bytes`: the ones to keep, and the newest of the others.
fn that_fit(setup: &Setup, key: &GroupKey, found: &[Found], keep: &[DeploymentId], most_bytes: u64) -> usize {
    let (stay, mut others): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|found| keep.contains(&found.id));
    others.sort_by_key(|found| std::cmp::Reverse(found.modified_ns));
    let size = |found: &&Found| bytes_below(setup.layout.deployment(key, &found.id).directory());
    let mut bytes: u64 = stay.iter().map(size).sum();
    let fits = |found: &&&Found| {
        bytes += size(found);
        bytes <= most_bytes
    };
    stay.len() + others.iter().take_while(fits).count()
}

fn modified_ns(metadata: &std::fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// The deployments that other programs return to: the last successful Install and the last unpacked bundle, from the
/// shared records; and those that the other ledger uses.
fn needed_by_others(setup: &Setup, key: &GroupKey) -> Result<Vec<DeploymentId>, String> {
    let last = records::last_successful(setup, key)?;
    let recent = records::most_recent(setup, key)?;
    let mut needed: Vec<DeploymentId> = last.into_iter().chain(recent).collect();
    let beside = setup.layout.state_beside();
    let snapshot = ledger::peek(&beside, &setup.limits).map_err(|error| ledger_failure(error).one_line())?;
    if let Some(snapshot) = snapshot {
        let state = read_state(&snapshot.state).map_err(|failure| failure.one_line())?;
        needed.extend(state.groups.get(&key.id()).map(in_use).unwrap_or_default());
    }
    Ok(needed)
}

/// Whether a journal holds the places of files that an undo puts back: without it they would stay forever.
fn holds_files(setup: &Setup, key: &GroupKey, id: &DeploymentId) -> bool {
    let journal = setup.layout.deployment(key, id).journal();
    matches!(install::state(&journal), Ok(JournalState::Open | JournalState::Installed))
}
