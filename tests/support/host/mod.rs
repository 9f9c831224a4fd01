//! One host in a temporary directory: its root, the bundles for it, and the program running on it.

mod bundle;
mod files;
mod gate;
mod program;
mod relative;
mod users;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use self::bundle::{Bundle, EVENTS_WITH_HOOKS, hook_lines_of};
pub use self::files::{Mount, tree, tree_with_times, write};
pub use self::gate::Gate;
pub use self::program::{Ended, Running, ended_with_input};
use super::eventually;
use super::skip;

/// Far more than any operation here takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const HOSTLER: &str = env!("CARGO_BIN_EXE_hostler");

/// The group that tests deploy to.
/// The verbs that act on a group or show one.
const OF_A_GROUP: [&str; 12] = [
    "run",
    "deploy",
    "rollback",
    "resume",
    "remove",
    "status",
    "logs",
    "plan",
    "release",
    "sign",
    "rotate-keys",
    "doctor",
];

pub const GROUP: [&str; 4] = ["--application", "shop", "--group", "web"];

/// Whether the test has the rights of root; if not, prints why it is skipped.
pub fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        skip(format_args!("{what} needs root"));
    }
    root
}

/// The name of the user who runs the tests, as the agent tells who acted.
pub fn own_user() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name
}

/// A separate host for one test.
pub struct Host {
    directory: tempfile::TempDir,
    /// The user that the program runs as, if it is another one.
    user: Option<u32>,
    /// Whether the program runs in its own mount namespace, with the files `passwd` and `group` of the directory.
    own_users: bool,
}

impl Host {
    pub fn new() -> Self {
        Self::in_directory(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A host in memory, for a test of many thousand files: after other tests have deleted as many, ext4 checks the
    /// place of each before it makes a new file, and a test of seconds takes minutes.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self::in_directory(directory.expect("a temporary directory"))
    }

    /// A host in this directory; existing files stay.
    pub fn in_directory(directory: tempfile::TempDir) -> Self {
        // In some tests other users read it.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("opening the directory");
        let host = Self { directory, user: None, own_users: false };
        fs::create_dir_all(host.root()).expect("the root");
        fs::create_dir_all(host.store()).expect("the store");
        fs::create_dir_all(host.path("tmp")).expect("the directory of temporary files");
        fs::set_permissions(host.path("tmp"), Permissions::from_mode(0o1777)).expect("opening it to all users");
        host
    }

    /// The same host, used by another user.
    pub fn used_by(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(below)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A path of the host as an appspec names it, with or without the leading slash.
    pub fn at(&self, below: impl AsRef<Path>) -> PathBuf {
        let below = below.as_ref();
        self.root().join(below.strip_prefix("/").unwrap_or(below))
    }

    pub fn state(&self) -> PathBuf {
        self.at("var/lib/hostler")
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The version of [`Bundle::app`] that is installed; empty without one.
    pub fn version(&self) -> String {
        fs::read_to_string(self.at("srv/app/version")).unwrap_or_default().trim().to_owned()
    }

    /// The file to which every hook of [`Bundle`] writes its line: `VERSION EVENT DEPLOYMENT`.
    pub fn hook_lines_file(&self) -> PathBuf {
        self.path("hook-lines")
    }

    /// The lines of hooks so far, without the deployments.
    pub fn hook_lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.hook_lines_file()).unwrap_or_default();
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(rest, _)| rest).to_owned()).collect()
    }

    /// Deletes the lines of hooks.
    pub fn clear_hook_lines(&self) {
        let _ = fs::remove_file(self.hook_lines_file());
    }

    /// Writes a configuration file.
    pub fn configure(&self, text: &str) {
        write(&self.at("etc/hostler/config.yaml"), text);
    }

    /// The program with arguments, for the group shop/web if the verb is about one and the arguments name no other.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(HOSTLER);
        command.args(arguments).arg("--root").arg(self.root());
        let is_of_a_group =
            arguments.first().is_some_and(|verb| OF_A_GROUP.iter().any(|known| verb.as_ref() == *known));
        if is_of_a_group && !arguments.iter().any(|a| a.as_ref() == "--group") {
            command.args(GROUP);
        }
        self.surround(&mut command);
        command.current_dir("/");
        command
    }

    /// Gives a command the user, the environment and the input of every program on this host.
    fn surround(&self, command: &mut Command) {
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").stdin(Stdio::null());
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ended {
        Ended::of(self.command(arguments))
    }

    /// Runs the program to its end, which must be a success.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ended {
        self.run(arguments).with_code(0)
    }

    /// Deploys a bundle's directory to its end.
    pub fn deploy(&self, bundle: &Path, more: &[&str]) -> Ended {
        let mut arguments = vec!["deploy", bundle.to_str().unwrap()];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Starts the program and does not wait for its end. Its output goes to files.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        self.start_command(self.command(arguments))
    }

    /// Starts a command and does not wait for its end.
    pub fn start_command(&self, command: Command) -> Running {
        Running::start(command, self.directory.path())
    }

    /// Starts the daemon on the host's store and waits until its control socket is open.
    pub fn daemon(&self, more: &[&str]) -> Running {
        let store = self.store();
        let mut arguments = vec!["run", "--channel", store.to_str().unwrap(), "--poll", "1s"];
        arguments.extend(more);
        let running = self.start(&arguments);
        eventually("the daemon listens on its control socket", PATIENCE, || {
            let status = self.run(&["status", "--json"]);
            let pid = format!("\"pid\":{},", running.pid());
            if status.out.contains(&pid) { Ok(()) } else { Err(format!("{status:?}\n{}", running.said())) }
        });
        running
    }

    /// Puts a bundle into the store and releases it to shop/web.
    pub fn release(&self, bundle: &Path, more: &[&str]) -> String {
        let store = self.store();
        let store = store.to_str().unwrap();
        let pushed = self.ok(&["push", bundle.to_str().unwrap(), store, "--json"]);
        let revision = pushed.json()["revision"].as_str().expect("a revision").to_owned();
        let mut arguments = vec!["release", store, &revision];
        arguments.extend(more);
        self.ok(&arguments);
        revision
    }

    /// The status document of the group shop/web.
    pub fn status(&self) -> serde_json::Value {
        self.ok(&["status", "--json"]).json()["groups"][0].clone()
    }

    /// Waits until the status of shop/web is as `wanted` requires.
    pub fn status_when(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually(what, PATIENCE, || {
            let status = self.status();
            if wanted(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// The directories of all groups; their names are links to them.
    pub fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state().join("deployment-root")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| !path.is_symlink()).collect()
    }

    /// The directory of a deployment of shop/web.
    pub fn deployment(&self, id: &str) -> PathBuf {
        let mut found = self.groups().into_iter().map(|group| group.join(id)).filter(|path| path.exists());
        found.next().unwrap_or_else(|| panic!("no directory of {id}"))
    }

    /// The ids of the kept deployments, of all groups.
    pub fn kept_deployments(&self) -> Vec<String> {
        let entries = self.groups().into_iter().flat_map(|group| fs::read_dir(group).unwrap());
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("d-")).collect()
    }

    /// The history as documents.
    pub fn history(&self) -> Vec<serde_json::Value> {
        let printed = self.ok(&["history", "--json"]);
        printed.out.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }
}
