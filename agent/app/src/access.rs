//! Access to the files that deployments leave on the disk: for root, and for the users of a revision's scripts.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hostler_core::config::settings::BundleAccess;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::State;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::Group;
use hostler_host::layout::Layout;
use hostler_host::perms::passage::{self, EVERYONE_PASSES, Passage};
use hostler_host::users::User;
use hostler_host::{atomic, group_directory, users};

use crate::setup::Setup;
use crate::threads::brief;

/// The CodeDeploy agent's mode, so that it and its tools can still use the directories.
const AS_THE_CODEDEPLOY_AGENT: u32 = 0o755;

/// Makes the directory of a group and its parents. The users of scripts can pass through them but not list them. The
/// service group can list them, because it finds logs there.
///
/// # Errors
/// One of the directories cannot be made.
pub fn make_group_directory(layout: &Layout, key: &GroupKey) -> Result<(), WorkFailure> {
    let directory = layout.group(key);
    if key.codedeploy_group_id.is_some() {
        return make(&directory, |path| passage::set_mode(path, AS_THE_CODEDEPLOY_AGENT));
    }
    let root = layout.deployment_root();
    make(&root, passage::share)?;
    make(&directory, passage::share)?;
    tell_of_name(key, group_directory::link(&root, key));
    Ok(())
}

/// Gives the directories that an older agent made their names of today. Leaves a group alone while work is in progress
/// in it: the older agent's hook supervisor writes down its own path.
pub fn rename_group_directories(setup: &Setup, state: &State) {
    let root = setup.layout.deployment_root();
    let idle = state.groups.values().filter(|group| group.key.codedeploy_group_id.is_none() && group.active.is_none());
    for group in idle {
        tell_of_name(&group.key, group_directory::take_over(&root, &group.key));
    }
}

fn tell_of_name(key: &GroupKey, done: io::Result<()>) {
    if let Err(error) = done {
        log::warn!("the directory of {key} does not have its name, and is used as it is: {error}");
    }
}

/// Makes a directory and its parents. New directories get their mode whatever the umask; existing ones keep theirs.
fn make(path: &Path, give_mode: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), WorkFailure> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.and_then(|()| give_mode(path)).map_err(cannot("create", path))
}

fn cannot<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> WorkFailure + 'a {
    move |error| WorkFailure::because(format!("cannot {what} the directory {}: {error}", path.display()), &error)
}

/// Makes the directory of a deployment, closed as configured.
///
/// # Errors
/// It or one above it cannot be made.
pub fn make_deployment_directory(setup: &Setup, key: &GroupKey, id: &DeploymentId) -> Result<(), WorkFailure> {
    let paths = setup.layout.deployment(key, id);
    let directory = paths.directory();
    if directory.is_dir() {
        return Ok(());
    }
    make_group_directory(&setup.layout, key)?;
    let made = match setup.settings.bundle_access(key) {
        BundleAccess::Scripts => passage::make_closed(directory),
        BundleAccess::Everyone => {
            let mode = if key.codedeploy_group_id.is_some() { AS_THE_CODEDEPLOY_AGENT } else { EVERYONE_PASSES };
            DirBuilder::new().mode(mode).create(directory).and_then(|()| passage::set_mode(directory, mode))
        }
    };
    made.map_err(cannot("create", directory))
}

/// Makes the directory as [`make_deployment_directory`] does, so that it survives a power loss.
///
/// # Errors
/// The directory or one of its parents cannot be made, or the disk fails.
pub fn make_lasting_directory(setup: &Setup, key: &GroupKey, id: &DeploymentId) -> Result<(), WorkFailure> {
    let paths = setup.layout.deployment(key, id);
    if paths.directory().is_dir() {
        return Ok(());
    }
    make_deployment_directory(setup, key, id)?;
    atomic::sync_file_system(paths.directory()).map_err(|e| WorkFailure::from(&e))
}

/// Makes the directory of packed bundles, or a directory beside it, for root alone.
///
/// # Errors
/// It or one above it cannot be made.
pub fn make_private(layout: &Layout, key: &GroupKey, directory: &Path) -> Result<(), WorkFailure> {
    make_group_directory(layout, key)?;
    make(directory, |path| passage::set_mode(path, 0o700))
}

/// The path to the unpacked bundle of a deployment.
#[derive(Debug, Clone)]
pub struct Way {
    directory: PathBuf,
    access: BundleAccess,
}

impl Way {
    /// The way to this deployment's bundle.
    pub fn to(setup: &Setup, key: &GroupKey, id: &DeploymentId) -> Self {
        let directory = setup.layout.deployment(key, id).directory().to_owned();
        Self { directory, access: setup.settings.bundle_access(key) }
    }

    /// Opens the path to the user of a script (`None` is the agent's own user), and to every user where the configuration
    /// says so. Returns the user, if there is one: an unknown user and a missing bundle are no errors here, because the
    /// script itself fails.
    ///
    /// # Errors
    /// The access rights of the directory cannot be set.
    pub async fn admit(&self, user: Option<&str>) -> Result<Option<User>, WorkFailure> {
        let (way, user) = (self.clone(), user.map(str::to_owned));
        brief(move || {
            let found = user.as_deref().map_or_else(users::current, users::lookup).ok();
            match way.admit_now(found.as_ref().filter(|_| user.is_some())) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(cannot("open the way through", &way.directory)(error))
                }
                _ => Ok(found),
            }
        })
        .await
    }

    fn admit_now(&self, user: Option<&User>) -> io::Result<()> {
        if self.access == BundleAccess::Everyone {
            return passage::let_everyone_pass(&self.directory);
        }
        let Some(user) = user else { return Ok(()) };
        if let Passage::ForEveryone { why } = passage::let_pass(&self.directory, user)? {
            log::warn!(
                user = user.name, directory:% = self.directory.display();
                "every user of this host reaches the unpacked bundle in {}: it has no access control list for {}: {why}",
                self.directory.display(), user.name
            );
        }
        Ok(())
    }
}

/// Closes directories that an older agent or another configuration left open. It touches only the agent's own
/// directories, and only at the top: everything below is reached through them.
pub fn tighten(setup: &Setup, state: &State) {
    if users::own_uid() != 0 {
        return;
    }
    let root = setup.layout.deployment_root();
    for group in state.groups.values() {
        tighten_group(setup, group);
        if group.key.codedeploy_group_id.is_none() {
            said(&root, passage::share(&root));
        }
    }
}

fn tighten_group(setup: &Setup, group: &Group) {
    let (layout, key) = (&setup.layout, &group.key);
    let directory = layout.group(key);
    let bundles = layout.bundles(key);
    said(&bundles, passage::set_mode(&bundles, 0o700));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries.flatten(),
        Err(error) => return said(&directory, Err(error)),
    };
    if key.codedeploy_group_id.is_none() {
        said(&directory, passage::share(&directory));
    }
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<DeploymentId>().ok());
    for paths in ids.filter(|id| id.as_str().starts_with("d-")).map(|id| layout.deployment(key, &id)) {
        said(&paths.journal(), passage::set_mode(&paths.journal(), 0o700));
        // A script that an older agent started may still run in there; the next start closes it.
        if group.active.is_none() && setup.settings.bundle_access(key) == BundleAccess::Scripts {
            said(paths.directory(), passage::close(paths.directory()));
        }
    }
}

fn said(path: &Path, done: io::Result<()>) {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("{} is not closed to other users: {error}", path.display());
        }
        _ => {}
    }
}
