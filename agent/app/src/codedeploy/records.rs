//! The files by which the CodeDeploy agent and hostler tell each other the state of the host
//! (docs/protocols/codedeploy.md#files-on-disk, docs/protocols/codedeploy.md#records-of-an-install).

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use hostler_core::codedeploy::exposure::{By, Exposed, Rule};
use hostler_core::codedeploy::instructions::{InstallInstructions, cleanup_file, is_cleanup_file, read_cleanup};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::WorkFailure;
use hostler_core::plan::actions::{InstalledEntry, InstalledKind, Plan};
use hostler_host::codedeploy_agent::files;
use hostler_host::codedeploy_agent::places::{self, owner_of};
use hostler_host::{atomic, users};

use crate::codedeploy::exposure::text as text_of;
use crate::setup::Setup;
use crate::work::old_hooks::is_gone;
use crate::work::ports::LastEntries;

const LAST_SUCCESSFUL: &str = "_last_successful_install";
const MOST_RECENT: &str = "_most_recent_install";
const CLEANUP: &str = "-cleanup";
const INSTALL: &str = "-install.json";

/// The most bytes of a file that names a deployment's directory.
const MOST_NAME_BYTES: u64 = 16 << 10;
/// The most bytes of a cleanup file: far more paths than a bundle may have.
const MOST_CLEANUP_BYTES: u64 = 128 << 20;

/// The deployment of the last successful Install, by either agent.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn last_successful(setup: &Setup, key: &GroupKey) -> Result<Option<DeploymentId>, String> {
    named_in(&setup.layout.instructions(key, LAST_SUCCESSFUL), &setup.layout.group(key))
}

/// The deployment of the last DownloadBundle, by either agent.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn most_recent(setup: &Setup, key: &GroupKey) -> Result<Option<DeploymentId>, String> {
    named_in(&setup.layout.instructions(key, MOST_RECENT), &setup.layout.group(key))
}

/// The groups to which an agent has deployed, by the service's ids, with the deployment that is on the host.
///
/// # Errors
/// When the agents' files cannot be read.
pub fn groups(setup: &Setup) -> Result<Vec<(String, DeploymentId)>, String> {
    let directory = setup.layout.codedeploy("deployment-instructions");
    let failed = |error: io::Error| format!("cannot read {}: {error}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut groups = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(LAST_SUCCESSFUL)) else { continue };
        groups.extend(
            named_in(&entry.path(), &setup.layout.codedeploy(id))?.map(|deployment| (id.to_owned(), deployment)),
        );
    }
    groups.sort();
    Ok(groups)
}

/// Reads the deployment's directory from the file; its last component is the id. `group` is the directory of the
/// group's deployments. A file written by a user counts only if that user also made the deployment's directory, whose
/// own check comes before any use.
fn named_in(file: &Path, group: &Path) -> Result<Option<DeploymentId>, String> {
    let read =
        files::read(file, MOST_NAME_BYTES).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let Some((bytes, place)) = read else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let name = Path::new(text.trim()).file_name().and_then(|name| name.to_str());
    let Some(named) = name.and_then(|name| name.parse::<DeploymentId>().ok()) else { return Ok(None) };
    match places::agent().judge(Rule::Own, &place) {
        None => Ok(Some(named)),
        Some(Exposed { by: By::Owner, .. }) if owner_of(&group.join(named.as_str())) == Some(place.uid) => {
            Ok(Some(named))
        }
        Some(exposed) => {
            log::warn!("{} is not believed: {}", file.display(), text_of(&exposed));
            Ok(None)
        }
    }
}

/// Records that this deployment's bundle is unpacked.
///
/// # Errors
/// When the record cannot be written.
pub fn write_most_recent(setup: &Setup, key: &GroupKey, deployment: &DeploymentId) -> Result<(), WorkFailure> {
    write_directory(setup, key, deployment, MOST_RECENT)
}

fn write_directory(setup: &Setup, key: &GroupKey, id: &DeploymentId, ending: &str) -> Result<(), WorkFailure> {
    let directory = setup.layout.deployment(key, id).directory().to_owned();
    write(setup, key, ending, directory.as_os_str().as_bytes())
}

fn write(setup: &Setup, key: &GroupKey, ending: &str, bytes: &[u8]) -> Result<(), WorkFailure> {
    write_with(setup, key, ending, |file| file.write_all(bytes))
}

fn write_with(
    setup: &Setup,
    key: &GroupKey,
    ending: &str,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), WorkFailure> {
    let path = setup.layout.instructions(key, ending);
    if let Some(directory) = path.parent() {
        atomic::create_directories(directory, 0o755).map_err(|e| WorkFailure::from(&e))?;
    }
    atomic::replace_with(&path, 0o644, content).map_err(|e| WorkFailure::from(&e))
}

/// Records the plan of an Install before it begins.
///
/// # Errors
/// When the record cannot be written.
pub fn write_plan(setup: &Setup, key: &GroupKey, plan: &Plan, archive: &Path) -> Result<(), WorkFailure> {
    write_with(setup, key, INSTALL, |file| Ok(serde_json::to_writer(file, &InstallInstructions { plan, archive })?))
}

/// Records the entries on the host after an Install, and its success.
///
/// # Errors
/// When the record cannot be written.
pub fn write_installed(
    setup: &Setup,
    key: &GroupKey,
    deployment: &DeploymentId,
    installed: &[InstalledEntry],
) -> Result<(), WorkFailure> {
    write_with(setup, key, CLEANUP, |file| cleanup_file(installed).try_for_each(|piece| file.write_all(piece)))?;
    write_directory(setup, key, deployment, LAST_SUCCESSFUL)
}

/// The entries of the last Install, if the CodeDeploy agent made it; `ours` are the entries of this agent's last
/// Install. The cleanup file decides, because every agent writes it on Install. If a user may have written it, only
/// entries that this user owns count.
///
/// # Errors
/// When the file cannot be read, is a link, or is no regular file.
pub fn last_install(
    setup: &Setup,
    key: &GroupKey,
    ours: Option<Vec<InstalledEntry>>,
) -> Result<Option<LastEntries>, String> {
    let path = setup.layout.instructions(key, CLEANUP);
    let read = files::read(&path, MOST_CLEANUP_BYTES).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    // The CodeDeploy agent has removed the listed files, and went down before it installed new ones.
    let Some((bytes, place)) = read else { return Ok(None) };
    let exposed = places::agent().judge(Rule::Own, &place);
    if let Some(exposed) = exposed.as_ref().filter(|exposed| exposed.by != By::Owner) {
        log::warn!("the cleanup file {} is not believed: {}", path.display(), text_of(exposed));
        return Ok(ours.map(|entries| LastEntries { entries, ours: true }));
    }
    let writer = exposed.map(|exposed| exposed.place.uid);
    if let Some(ours) = ours.filter(|ours| is_cleanup_file(&bytes, ours)) {
        return Ok(Some(LastEntries { entries: ours, ours: true }));
    }
    let cleanup = read_cleanup(&bytes);
    for path in &cleanup.selinux_rules {
        log::warn!(
            "the CodeDeploy agent's SELinux rule for {0} stays; semanage fcontext -d {0} removes it",
            path.display()
        );
    }
    let root = setup.layout.root();
    let named = cleanup.paths.len();
    let entries = cleanup.paths.into_iter().filter_map(|path| entry(root, &path, writer).transpose());
    let mut entries = entries.collect::<Result<Vec<InstalledEntry>, String>>()?;
    if let Some(writer) = writer {
        log::warn!(
            "{} wrote the cleanup file {}: of the {named} paths that it names the {} count that are that user's own; other files \
             of the last Install are in the way of the next one, or stay",
            users::describe(writer),
            path.display(),
            entries.len()
        );
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(LastEntries { entries, ours: false }))
}

/// The entry that the CodeDeploy agent would remove: a file or link, or a directory if it is empty. A missing or
/// different entry is left alone. An entry that cannot be examined must not be forgotten. If the user `writer` wrote
/// the list, only entries that this user could also remove count.
fn entry(root: &Path, path: &Path, writer: Option<u32>) -> Result<Option<InstalledEntry>, String> {
    // Under another root than `/` the lines hold the paths that the CodeDeploy agent saw, which are the paths on the
    // host.
    let on_host = root.join(path.strip_prefix("/").unwrap_or(path));
    let metadata = match fs::symlink_metadata(&on_host) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => {
            return Err(format!("cannot look at {}, which the last Install put there: {error}", path.display()));
        }
    };
    let owns = |writer: u32| metadata.uid() == writer && on_host.parent().and_then(owner_of) == Some(writer);
    if writer.is_some_and(|writer| !owns(writer)) {
        return Ok(None);
    }
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        InstalledKind::Directory
    } else if file_type.is_symlink() {
        InstalledKind::Link
    } else if file_type.is_block_device() || file_type.is_char_device() || file_type.is_fifo() || file_type.is_socket()
    {
        return Ok(None);
    } else {
        InstalledKind::File
    };
    Ok(Some(InstalledEntry { path: path.into(), kind }))
}
