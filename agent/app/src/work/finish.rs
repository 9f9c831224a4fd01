//! The effect Finish: the install journal is settled and old revisions are deleted. Nothing here fails a deployment.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::retention::Kept;
use hostler_host::install::{self, Committed, JournalState};
use hostler_host::remove_tree::remove_tree;

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::fetch::{Bundles, is_remote};
use crate::work::{chain, recover, service_revisions, stage};

/// Settles and cleans up; what could not be done is returned for people to know.
pub fn finish(setup: &Setup, job: &Job, commit: bool, keep: &Kept) -> Vec<String> {
    let mut warnings = Vec::new();
    if commit {
        warnings.extend(commit_install(setup, job));
    }
    warnings.extend(put_away_bundle(setup, job));
    warnings.extend(clear_staging(setup, job));
    if let Some(drop_in) = &setup.drop_in {
        drop_in.tokens.forget(&job.deployment.id);
    }
    // What an earlier agent left open is undone before the next Install.
    let open = recover::left_open(setup, &job.group);
    warnings.extend(match job.group.key.service_id {
        Some(_) => service_revisions::delete_oldest(setup, job, [keep.always.clone(), open].concat()),
        None => delete_others(setup, job, &[within_room(setup, job, keep), open].concat()),
    });
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
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn delete_others(setup: &Setup, job: &Job, keep: &[DeploymentId]) -> Vec<String> {
    match deployments_in(&setup.layout.group(&job.group.key)) {
        Ok(found) => {
            let old = found.iter().filter(|(id, _)| !keep.contains(id));
            old.filter_map(|(id, _)| delete(setup, &job.group.key, id)).collect()
        }
        Err(problem) => vec![problem],
    }
}

/// What deployments made in a group's directory: directories with an id as name, and no file that somebody put there.
///
/// # Errors
/// When it cannot be read.
pub fn deployments_in(directory: &Path) -> Result<Vec<(DeploymentId, Metadata)>, String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // A first deployment that was refused before it made anything.
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

/// Deletes a deployment's directory; why it is still there.
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
