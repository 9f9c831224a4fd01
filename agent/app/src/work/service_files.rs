//! The files in which the CodeDeploy agent and hostler tell each other what is on the host (specs/codedeploy.md §3.1, §5).

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use hostler_core::codedeploy::instructions::{InstallInstructions, cleanup_file, is_cleanup_file, read_cleanup};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::WorkFailure;
use hostler_core::plan::actions::{InstalledEntry, InstalledKind, Plan};
use hostler_host::atomic;

use crate::setup::Setup;
use crate::work::old_hooks::is_gone;
use crate::work::{chain, fail};

const LAST_SUCCESSFUL: &str = "_last_successful_install";
const MOST_RECENT: &str = "_most_recent_install";
const CLEANUP: &str = "-cleanup";
const INSTALL: &str = "-install.json";

/// The deployment of the last Install that succeeded, by whichever agent.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn last_successful(setup: &Setup, key: &GroupKey) -> Result<Option<DeploymentId>, String> {
    named_in(&setup.layout.instructions(key, LAST_SUCCESSFUL))
}

/// The deployment of the last DownloadBundle, by whichever agent.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn most_recent(setup: &Setup, key: &GroupKey) -> Result<Option<DeploymentId>, String> {
    named_in(&setup.layout.instructions(key, MOST_RECENT))
}

/// The groups that some agent has deployed to, by the service's ids, with the deployment that is on the host.
///
/// # Errors
/// When what they left cannot be read.
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
        groups.extend(named_in(&entry.path())?.map(|deployment| (id.to_owned(), deployment)));
    }
    groups.sort();
    Ok(groups)
}

/// The file holds the deployment's directory, whose name is its id.
fn named_in(file: &Path) -> Result<Option<DeploymentId>, String> {
    let text = match fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    let name = Path::new(text.trim()).file_name().and_then(|name| name.to_str());
    Ok(name.and_then(|name| name.parse().ok()))
}

/// Says that this deployment's bundle is unpacked.
///
/// # Errors
/// When that cannot be written.
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
        atomic::create_directories(directory, 0o755).map_err(|e| fail(chain(&e)))?;
    }
    atomic::replace_with(&path, 0o644, content).map_err(|e| fail(chain(&e)))
}

/// Writes down what an Install is about to do.
///
/// # Errors
/// When that cannot be written.
pub fn write_plan(setup: &Setup, key: &GroupKey, plan: &Plan, archive: &Path) -> Result<(), WorkFailure> {
    write_with(setup, key, INSTALL, |file| Ok(serde_json::to_writer(file, &InstallInstructions { plan, archive })?))
}

/// Writes down what is on the host after an Install, and that it succeeded.
///
/// # Errors
/// When that cannot be written.
pub fn write_installed(
    setup: &Setup,
    key: &GroupKey,
    deployment: &DeploymentId,
    installed: &[InstalledEntry],
) -> Result<(), WorkFailure> {
    write_with(setup, key, CLEANUP, |file| cleanup_file(installed).try_for_each(|piece| file.write_all(piece)))?;
    write_directory(setup, key, deployment, LAST_SUCCESSFUL)
}

/// What the last Install put on the host, by whichever agent.
#[derive(Debug, Default)]
pub struct LastEntries {
    /// What it put there.
    pub entries: Vec<InstalledEntry>,
    /// Whether it was this agent's.
    pub ours: bool,
}

/// What the last Install put on the host, if the CodeDeploy agent made it: `ours` is what this agent's last Install
/// left. The cleanup file decides: whoever installs writes it.
///
/// # Errors
/// When the file cannot be read.
pub fn last_install(
    setup: &Setup,
    key: &GroupKey,
    ours: Option<Vec<InstalledEntry>>,
) -> Result<Option<LastEntries>, String> {
    let path = setup.layout.instructions(key, CLEANUP);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // The CodeDeploy agent has removed what it says, and went down before it had put anything in its place.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
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
    let entries = cleanup.paths.into_iter().filter_map(|path| entry(root, &path).transpose());
    let mut entries = entries.collect::<Result<Vec<InstalledEntry>, String>>()?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(LastEntries { entries, ours: false }))
}

/// What the CodeDeploy agent would take away: a file or link is deleted, a directory if it is empty, and what is gone or
/// something else is left alone. What cannot be looked at must not be forgotten.
fn entry(root: &Path, path: &Path) -> Result<Option<InstalledEntry>, String> {
    // Under another root than `/` the lines hold what that agent saw, which is the path on the host.
    let metadata = match fs::symlink_metadata(root.join(path.strip_prefix("/").unwrap_or(path))) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => {
            return Err(format!("cannot look at {}, which the last Install put there: {error}", path.display()));
        }
    };
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
