//! The effect Finish: the install journal is settled and old revisions are deleted. No failure here fails a deployment.

use std::fs;
use std::io::ErrorKind;

use hostler_core::ids::DeploymentId;
use hostler_core::machine::retention::Kept;
use hostler_core::machine::state::Purpose;
use hostler_host::install::{self, Committed, JournalState};

use crate::failure::chain;
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::bundle_cache::{Bundles, has_room};
use crate::work::ports::Ports;
use crate::work::revisions::{bytes_below, delete, deployments_in};
use crate::work::{stage, unsettled};

/// Settles and cleans up; returns warnings about the rest, for people.
pub fn finish(setup: &Setup, ports: &dyn Ports, job: &Job, commit: bool, keep: &Kept) -> Vec<String> {
    let mut warnings = Vec::new();
    if commit {
        warnings.extend(commit_install(setup, job));
    }
    warnings.extend(put_away_bundle(setup, ports, job));
    warnings.extend(clear_staging(setup, job));
    // Installs that an earlier agent left open are undone before the next Install.
    let open = unsettled::left_open(setup, &job.group);
    warnings.extend(ports.compatibility(&job.group.key).finished(setup, job, keep, open));
    warnings
}

/// Hooks and rollbacks use the unpacked bundle. The packed bundle of a remote store is kept, so that the next
/// deployment fetches only the differences; any other would only take the same room again.
fn put_away_bundle(setup: &Setup, ports: &dyn Ports, job: &Job) -> Option<String> {
    let packed = setup.layout.deployment(&job.group.key, &job.deployment.id).bundle();
    let request = &job.deployment.request;
    let is_remote = ports.bundles(&request.source).is_remote(&request.source);
    let digest = request.revision.digest.filter(|_| is_remote && packed.exists());
    let bundles = Bundles::of(&setup.layout, &job.group.key);
    if !request.policy.keep_bundle || request.purpose == Purpose::Remove {
        bundles.drop_cached();
    }
    let done = match digest.filter(|_| request.policy.keep_bundle && has_room(&packed)) {
        Some(digest) => bundles.keep(&packed, &digest),
        None => fs::remove_file(&packed),
    };
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Some(format!("the packed bundle {} could not be put away: {error}", packed.display()))
        }
        _ => None,
    }
}

/// A bundle fetched ahead of its deployment is no longer needed.
fn clear_staging(setup: &Setup, job: &Job) -> Option<String> {
    let staging = setup.layout.staging(&job.group.key);
    let error = stage::clear(&staging).err()?;
    Some(format!("{} could not be deleted: {error}", staging.display()))
}

/// Deletes the replaced files, which were kept until now.
fn commit_install(setup: &Setup, job: &Job) -> Vec<String> {
    let journal = setup.layout.deployment(&job.group.key, &job.deployment.id).journal();
    let committed = match install::state(&journal) {
        Ok(JournalState::Installed | JournalState::Committing | JournalState::Committed) => install::commit(&journal),
        Ok(JournalState::None | JournalState::Open | JournalState::Undone) => return Vec::new(),
        Err(error) => Err(error),
    };
    match committed {
        Ok(committed) => not_deleted(&committed).collect(),
        Err(error) => {
            vec![format!("the replaced files are not deleted yet, which the daemon tries again: {}", chain(&error))]
        }
    }
}

/// The replaced files that remain, for people.
pub fn not_deleted(committed: &Committed) -> impl Iterator<Item = String> {
    committed
        .left
        .iter()
        .map(|left| format!("the replaced file at {} was not deleted: {}", left.path.display(), left.why))
}

/// The deployments to keep: those in use, and others as long as all together fit in their room.
fn within_room(setup: &Setup, job: &Job, kept: &Kept) -> Vec<DeploymentId> {
    let mut keep = kept.always.clone();
    let Some(most) = kept.most_bytes else {
        keep.extend(kept.while_room.iter().cloned());
        return keep;
    };
    let size = |id: &DeploymentId| bytes_below(setup.layout.deployment(&job.group.key, id).directory());
    let mut bytes: u64 = kept.always.iter().map(size).sum();
    for id in &kept.while_room {
        bytes += size(id);
        if bytes > most {
            break;
        }
        keep.push(id.clone());
    }
    keep
}

/// Deletes the group's old revisions, except those in `kept` as far as there is room for them, and those in `open`.
/// Returns warnings for people.
pub fn delete_by_retention(setup: &Setup, job: &Job, kept: &Kept, open: Vec<DeploymentId>) -> Vec<String> {
    let keep = [within_room(setup, job, kept), open].concat();
    match deployments_in(&setup.layout.group(&job.group.key)) {
        Ok(found) => {
            let old = found.iter().filter(|(id, _)| !keep.contains(id));
            old.filter_map(|(id, _)| delete(setup, &job.group.key, id)).collect()
        }
        Err(problem) => vec![problem],
    }
}
