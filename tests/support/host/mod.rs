//! One host in a temporary directory: its root, the bundles for it, and the program running on it.

mod bundle;
mod files;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use self::bundle::{Bundle, EVENTS_WITH_HOOKS, hook_lines_of};
pub use self::files::{Mount, tree, write};
use super::eventually;
use super::skip;

/// Far more than any operation here takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const HOSTLER: &str = env!("CARGO_BIN_EXE_hostler");

/// Whether the test has the rights of root; if not, prints why it is skipped.
pub fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        skip(format_args!("{what} needs root"));
    }
    root
}

/// A separate host for one test.
pub struct Host {
    directory: tempfile::TempDir,
    /// The user that the program runs as, if it is another one.
    user: Option<u32>,
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
        let host = Self { directory, user: None };
        fs::create_dir_all(host.root()).expect("the root");
        fs::create_dir_all(host.store()).expect("the store");
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

    /// A path of the host as the appspec names it, without the leading slash.
    pub fn at(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub fn state(&self) -> PathBuf {
        self.at("var/lib/hostler")
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
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

    /// The program with arguments, for the group shop/web unless they name another.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(HOSTLER);
        command.args(arguments).arg("--root").arg(self.root());
        if !arguments.iter().any(|a| a.as_ref() == "--group") {
            command.args(["--application", "shop", "--group", "web"]);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").stdin(Stdio::null()).current_dir("/");
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
        command
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

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(mut command: Command) -> Self {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Itself, if it ended with this code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Itself, if its output contains all of these texts.
    #[track_caller]
    pub fn saying(self, texts: &[&str]) -> Self {
        let said = format!("{}{}", self.out, self.err);
        for text in texts {
            assert!(said.contains(text), "{text:?} is not in\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }

    /// Its output as one document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs a command to its end with this standard input.
pub fn ended_with_input(mut command: Command, input: &str) -> Ended {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    command.stdin(Stdio::from(file));
    Ended::of(command)
}

/// A running program. It is killed at the latest when this is dropped.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    fn start(mut command: Command, directory: &Path) -> Self {
        let new = |name: &str| tempfile::Builder::new().prefix(name).tempfile_in(directory).unwrap().keep().unwrap();
        let ((out_file, out), (err_file, err)) = (new("out-"), new("err-"));
        command.stdout(Stdio::from(out_file)).stderr(Stdio::from(err_file));
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// All of its output, for a message.
    pub fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.out(), self.err())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("sending a signal");
    }

    /// Its exit status if it has ended.
    pub fn try_end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a child")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = eventually("the program ends", PATIENCE, || {
            self.child.try_wait().expect("waiting for a child").ok_or_else(|| self.said())
        });
        Ended { code: status.code(), out: self.out(), err: self.err() }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("killing");
        self.child.wait().expect("waiting for a child");
    }

    /// Waits until its output contains this text.
    pub fn says(&self, text: &str) {
        eventually(&format!("it says {text:?}"), PATIENCE, || {
            let said = self.said();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
