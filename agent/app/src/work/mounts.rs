//! Checks that the group's file systems are mounted. Otherwise new files would go to the directory below a mount point,
//! and the mount would hide them and the old application.

use std::path::{Path, PathBuf};

use hostler_core::appspec::spec::AppSpec;
use hostler_core::bundle::BundleListing;
use hostler_core::machine::state::{Group, Purpose};
use hostler_core::plan::wanted;
use hostler_host::install;

use crate::failure::chain;
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::last_install::{last_install, standing_journal};
use crate::work::ports::Ports;

/// Checks the destinations of a bundle's files. Problems of the bundle itself are reported elsewhere.
///
/// # Errors
/// A file system is missing, or the journal that names it cannot be read.
pub fn check_destinations(setup: &Setup, group: &Group, spec: &AppSpec, listing: &BundleListing) -> Result<(), String> {
    let Ok(wanted) = wanted(spec, listing, None) else { return Ok(()) };
    check(setup, group, wanted.objects().iter().map(|object| object.path.as_path()))
}

/// Checks that a removal can reach the group's files.
///
/// # Errors
/// A file system is missing, or the journal that names it cannot be read.
pub fn check_removal(setup: &Setup, ports: &dyn Ports, job: &Job) -> Result<(), String> {
    if job.deployment.request.purpose != Purpose::Remove {
        return Ok(());
    }
    let last = last_install(setup, ports, &job.group)?;
    check(setup, &job.group, last.iter().flat_map(|last| &last.entries).map(|entry| entry.path.as_path()))
}

/// Checks that none of these paths is on a file system that the group's last Install found and that is not mounted now.
///
/// # Errors
/// A file system is missing, or the journal that names it cannot be read.
fn check<'p>(setup: &Setup, group: &Group, paths: impl Iterator<Item = &'p Path>) -> Result<(), String> {
    let Some((deployment, journal)) = standing_journal(setup, group)? else { return Ok(()) };
    let lost = install::lost_mounts(&journal).map_err(|e| chain(&e))?;
    if lost.is_empty() {
        return Ok(());
    }
    let mut parents: Vec<&Path> = paths.filter_map(Path::parent).collect();
    parents.dedup();
    let real: Vec<PathBuf> = parents.into_iter().map(|parent| real(setup.layout.root(), parent)).collect();
    let hit = lost.iter().find_map(|lost| {
        let path = real.iter().find(|path| path.starts_with(&lost.point))?;
        Some((lost, path))
    });
    let Some((lost, path)) = hit else { return Ok(()) };
    Err(format!(
        "{} is not mounted: {} has its files in {} on {}, and new ones would go to the directory below the mount point \
         (not_mounted); mount it, then deploy again; if it is gone for good, stop the agent and run `hostler run --recover \
         --give-up {deployment}`, then deploy again",
        lost.point.display(),
        group.key,
        path.display(),
        lost.was,
    ))
}

/// A path of the host on this machine, with links in its existing part resolved.
fn real(root: &Path, path: &Path) -> PathBuf {
    let whole = root.join(path.strip_prefix("/").unwrap_or(path));
    let resolved = whole.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some(real.join(whole.strip_prefix(ancestor).ok()?))
    });
    resolved.unwrap_or(whole)
}
