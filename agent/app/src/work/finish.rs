//! The effect Finish: the install journal is settled and old revisions are deleted. Nothing here fails a deployment.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hostler_core::ids::DeploymentId;
use hostler_core::machine::retention::Kept;
use hostler_host::install::{self, Committed, JournalState};
use hostler_host::remove_tree::remove_tree;

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::fetch::{Bundles, is_remote};
use crate::work::{chain, recover, service_files, stage};

/// Settles and cleans up; what could not be done is returned for people to know.
pub fn finish(setup: &Setup, job: &Job, commit: bool, keep: &Kept) -> Vec<String> {
    let mut warnings = Vec::new();
    if commit {
        warnings.extend(commit_install(setup, job));
    }
    warnings.extend(put_away_bundle(setup, job));
    warnings.extend(clear_staging(setup, job));
    let mut keep = within_room(setup, job, keep);
    if let Some(drop_in) = &setup.drop_in {
        drop_in.tokens.forget(&job.deployment.id);
    }
    // What an earlier agent left open is undone before the next Install.
    keep.extend(recover::left_open(setup, &job.group));
    let services = match job.group.key.service_id {
        // Maybe the CodeDeploy agent's, with the scripts that the next ApplicationStop runs.
        Some(_) => service_files::last_successful(setup, &job.group.key)
            .and_then(|last| Ok([last, service_files::most_recent(setup, &job.group.key)?])),
        None => Ok([None, None]),
    };
    match services {
        Ok(services) => {
            keep.extend(services.into_iter().flatten());
            warnings.extend(delete_others(setup, job, &keep));
        }
        Err(problem) => warnings.push(format!("older deployments are not cleaned up: {problem}")),
    }
    warnings
}

/// The unpacked bundle is what hooks and rollbacks use. The packed one of a remote store is kept, so that the next
/// deployment fetches only what differs; any other would only take the same room again.
fn put_away_bundle(setup: &Setup, job: &Job) -> Option<String> {
    let packed = setup.layout.deployment(&job.group.key, &job.deployment.id).bundle();
    let request = &job.deployment.request;
    let digest = request.revision.digest.filter(|_| is_remote(&request.source) && packed.exists());
    let bundles = Bundles::of(&setup.layout, &job.group.key);
    if !request.policy.keep_bundle || request.removes {
        bundles.give_up_kept();
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

/// What was brought before its deployment was asked for is of no use any more.
fn clear_staging(setup: &Setup, job: &Job) -> Option<String> {
    let staging = setup.layout.staging(&job.group.key);
    let error = stage::clear(&staging).err()?;
    Some(format!("{} could not be deleted: {error}", staging.display()))
}

/// Whether the next bundle and its files fit beside this one, by the size of this one.
pub fn has_room(packed: &Path) -> bool {
    let size = fs::metadata(packed).map(|metadata| metadata.len());
    let free = nix::sys::statvfs::statvfs(packed).map(|found| found.blocks_available() * found.fragment_size());
    matches!((size, free), (Ok(size), Ok(free)) if free / 3 >= size)
}

/// Gives up the replaced files, which were kept until now.
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

/// Replaced files that stay, for people.
pub fn not_deleted(committed: &Committed) -> impl Iterator<Item = String> {
    committed
        .left
        .iter()
        .map(|left| format!("the replaced file at {} was not deleted: {}", left.path.display(), left.why))
}

/// The deployments that stay: those in use, and the others as long as all together fit in the room that they have.
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

/// Bytes on disk of everything below a directory; what cannot be read counts nothing.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn delete_others(setup: &Setup, job: &Job, keep: &[DeploymentId]) -> Vec<String> {
    let directory = setup.layout.group(&job.group.key);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        // A first deployment that was refused before it made anything.
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
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
        let id = entry.file_name().to_str()?.parse().ok()?;
        let journal = setup.layout.deployment(&job.group.key, &id).journal();
        if let Some(left) = install::left_behind(&journal).first() {
            return Some(format!(
                "the old revision {} is not deleted: {} holds files that could not be put back; take out what is needed, then delete it",
                path.display(),
                left.display()
            ));
        }
        let problem = remove_tree(&path).err()?;
        Some(format!("the old revision {} could not be deleted: {problem}", path.display()))
    })
    .collect()
}
