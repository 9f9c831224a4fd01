//! One host in a temporary directory: its root, the bundles that are deployed to it, and the program at work on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;

/// Far more than anything here takes, also on a machine that does other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const HOSTLER: &str = env!("CARGO_BIN_EXE_hostler");

/// Whether the test may do what only root may; prints why it is skipped otherwise.
pub fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("skipped: {what} needs root");
    }
    root
}

/// A host of its own for one test.
pub struct Host {
    directory: tempfile::TempDir,
    /// The user that the program runs as, where it is another one.
    user: Option<u32>,
}

impl Host {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Other users look into it, in some tests.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("opening the directory");
        let host = Self { directory, user: None };
        fs::create_dir(host.root()).expect("the root");
        fs::create_dir(host.store()).expect("the store");
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

    /// Where every hook of [`Bundle`] writes its line: `VERSION EVENT DEPLOYMENT`.
    pub fn hook_lines_file(&self) -> PathBuf {
        self.path("hook-lines")
    }

    /// The lines that hooks wrote so far, without the deployments.
    pub fn hook_lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.hook_lines_file()).unwrap_or_default();
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(rest, _)| rest).to_owned()).collect()
    }

    /// Forgets the lines that hooks wrote.
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

    /// Runs the program to its end; it succeeds.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ended {
        self.run(arguments).with_code(0)
    }

    /// Deploys a bundle's directory to its end.
    pub fn deploy(&self, bundle: &Path, more: &[&str]) -> Ended {
        let mut arguments = vec!["deploy", bundle.to_str().unwrap()];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Starts the program and does not wait for its end. What it prints is in files.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        self.start_command(self.command(arguments))
    }

    /// Starts a command and does not wait for its end.
    pub fn start_command(&self, command: Command) -> Running {
        Running::start(command, self.directory.path())
    }

    /// Starts the daemon on the host's store and waits until its door is open.
    pub fn daemon(&self, more: &[&str]) -> Running {
        let store = self.store();
        let mut arguments = vec!["run", "--channel", store.to_str().unwrap(), "--poll", "1s"];
        arguments.extend(more);
        let running = self.start(&arguments);
        eventually("the daemon opens its door", PATIENCE, || {
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

    /// Waits until the status of shop/web is as `wanted` says.
    pub fn status_when(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually(what, PATIENCE, || {
            let status = self.status();
            if wanted(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// The directory of a deployment of shop/web.
    pub fn deployment(&self, id: &str) -> PathBuf {
        let groups = fs::read_dir(self.state().join("deployment-root")).expect("the deployment root");
        let mut found = groups.map(|entry| entry.unwrap().path().join(id)).filter(|path| path.exists());
        found.next().unwrap_or_else(|| panic!("no directory of {id}"))
    }

    /// The ids of the deployments that are kept, of all groups.
    pub fn kept_deployments(&self) -> Vec<String> {
        let groups = fs::read_dir(self.state().join("deployment-root")).into_iter().flatten();
        let entries = groups.flat_map(|group| fs::read_dir(group.unwrap().path()).unwrap());
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

    /// Itself, when it ended with this code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Itself, when it said all of this somewhere.
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

/// A program that goes on. It is killed at the latest when this is dropped.
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

    /// Everything that it has said, for a message.
    pub fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.out(), self.err())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("sending a signal");
    }

    /// Its end if it has ended.
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

    /// Waits until it has said this.
    pub fn says(&self, text: &str) {
        eventually(&format!("it says {text:?}"), PATIENCE, || {
            let said = self.said();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bundle's directory in the making.
pub struct Bundle {
    directory: PathBuf,
    version: String,
    lines: PathBuf,
    files: String,
    permissions: String,
    extension: String,
    hooks: BTreeMap<String, Vec<String>>,
}

impl Bundle {
    /// A bundle of this version. Its hooks write `VERSION EVENT DEPLOYMENT` into the host's file of hook lines.
    pub fn new(host: &Host, version: &str) -> Self {
        let directory = host.path(format!("bundle-{version}"));
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            version: version.to_owned(),
            lines: host.hook_lines_file(),
            files: String::new(),
            permissions: String::new(),
            extension: String::new(),
            hooks: BTreeMap::new(),
        }
    }

    /// A file of the bundle.
    pub fn content(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        write(&self.directory.join(path), content);
        self
    }

    /// A symbolic link of the bundle.
    pub fn link(self, path: &str, target: &str) -> Self {
        fs::create_dir_all(self.directory.join(path).parent().unwrap()).unwrap();
        symlink(target, self.directory.join(path)).unwrap();
        self
    }

    /// An entry of `files`.
    pub fn files(mut self, source: &str, destination: &str) -> Self {
        let _ = writeln!(self.files, "  - source: {source}\n    destination: {destination}");
        self
    }

    /// The application of most tests: a directory `app` that comes to `/srv/app`, with the version in a file.
    pub fn app(self) -> Self {
        let version = self.version.clone();
        self.content("app/version", format!("{version}\n"))
            .content(&format!("app/only-{version}"), "of this version\n")
            .content("app/lib/same", "of every version\n")
            .files("app", "/srv/app")
    }

    /// Lines below `permissions`.
    pub fn permissions(mut self, lines: &str) -> Self {
        self.permissions.push_str(lines);
        self
    }

    /// Lines below `hostler`.
    pub fn extension(mut self, lines: &str) -> Self {
        self.extension.push_str(lines);
        self
    }

    /// A hook that writes its line and then does this.
    pub fn hook(mut self, event: &str, body: &str) -> Self {
        let scripts = self.hooks.entry(event.to_owned()).or_default();
        let name = format!("hooks/{event}-{}.sh", scripts.len() + 1);
        let lines = self.lines.display();
        let script =
            format!("#!/bin/sh\necho \"{} $LIFECYCLE_EVENT $DEPLOYMENT_ID\" >> {lines}\n{body}\n", self.version);
        write(&self.directory.join(&name), script);
        fs::set_permissions(self.directory.join(&name), Permissions::from_mode(0o755)).unwrap();
        scripts.push(name);
        self
    }

    /// Hooks that only write their lines, at every event that may have one and has none yet.
    pub fn all_hooks(mut self) -> Self {
        for event in EVENTS_WITH_HOOKS {
            if !self.hooks.contains_key(event) {
                self = self.hook(event, "");
            }
        }
        self
    }

    /// Writes the appspec and returns the directory.
    pub fn write(self) -> PathBuf {
        let mut text = "version: 0.0\nos: linux\n".to_owned();
        let sections = [("files", &self.files), ("permissions", &self.permissions), ("hostler", &self.extension)];
        for (key, lines) in sections {
            if !lines.is_empty() {
                let _ = write!(text, "{key}:\n{lines}");
            }
        }
        if !self.hooks.is_empty() {
            text.push_str("hooks:\n");
        }
        for (event, scripts) in &self.hooks {
            let _ = writeln!(text, "  {event}:");
            for script in scripts {
                let _ = writeln!(text, "    - location: {script}\n      timeout: 60");
            }
        }
        write(&self.directory.join("appspec.yml"), text);
        self.directory
    }
}

/// The events that scripts are bound to, in their order; the first three belong to the old revision.
pub const EVENTS_WITH_HOOKS: [&str; 9] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

/// The lines of hooks of a whole deployment of `new` over `old`.
pub fn hook_lines_of(old: Option<&str>, new: &str) -> Vec<String> {
    let stop = EVENTS_WITH_HOOKS[..3].iter().filter_map(|event| old.map(|old| format!("{old} {event}")));
    stop.chain(EVENTS_WITH_HOOKS[3..].iter().map(|event| format!("{new} {event}"))).collect()
}

/// Writes a file and the directories above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path)
        .and_then(|mut file| file.write_all(content.as_ref()))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Everything below a directory: path → kind, mode, owner and content.
pub fn tree(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![top.to_owned()];
    while let Some(directory) = ahead.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
            let text = if metadata.is_dir() {
                ahead.push(path.clone());
                format!("directory {mode:o} {owner}")
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("file {mode:o} {owner} {}", shown(&fs::read(&path).unwrap()))
            };
            found.insert(path.strip_prefix(top).unwrap().to_owned(), text);
        }
    }
    found
}

/// A content that can be compared and, where it is short, read.
fn shown(content: &[u8]) -> String {
    if content.len() <= 64 {
        return content.escape_ascii().to_string();
    }
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{} bytes {:x}", content.len(), hasher.finish())
}

/// A small file system of its own, gone when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs on a directory, which is made; `None` with a printed reason where this may not be done.
    pub fn tmpfs(path: &Path, bytes: u64) -> Option<Self> {
        use nix::mount::{MsFlags, mount};
        fs::create_dir_all(path).expect("the mount point");
        let options = format!("size={bytes},mode=755");
        match mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                eprintln!("skipped: cannot mount a tmpfs: {error}");
                None
            }
        }
    }

    /// Takes all space but so many bytes, with the file that is returned.
    pub fn leave_free(&self, bytes: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("the filler");
        let page = [0xff; 4096];
        while self.free() > bytes && file.write_all(&page).is_ok() {}
        path
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.0).expect("statvfs");
        found.blocks_available() * found.fragment_size()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}
