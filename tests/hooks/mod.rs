//! Hooks: real scripts under the real supervisor.

mod deadline;
mod output;
mod protocol;
mod surroundings;
mod unit;

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hostler_core::hook::{HOOK_DOCUMENT_VERSION, HookResult, HookRun};
use hostler_host::hooks::{self, Launcher};

use crate::support::skip;

/// The built program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hostler");
const SUPERVISOR: &str = env!("CARGO_BIN_EXE_hostler-hook-supervisor");

/// As on this host: under systemd if it manages the host and this process is root.
fn launcher() -> Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    *LAUNCHER.get_or_init(Launcher::detect)
}

/// A bundle with one script, and directories for its run and its logs.
struct Bench {
    directory: tempfile::TempDir,
    run: HookRun,
    program: PathBuf,
}

impl Bench {
    /// With a script of `/bin/sh`.
    fn new(script: &str) -> Self {
        Self::raw(&format!("#!/bin/sh\n{script}\n"))
    }

    fn raw(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        // Other users run scripts from here.
        fs::set_permissions(top, fs::Permissions::from_mode(0o755)).unwrap();
        let archive = top.join("archive");
        fs::create_dir(&archive).unwrap();
        write_script(&archive.join("hook.sh"), script);
        let run = HookRun {
            version: HOOK_DOCUMENT_VERSION,
            deployment: "d-ABCDEFGHI".parse().unwrap(),
            event: "AfterInstall".into(),
            first_of_event: true,
            location: "hook.sh".into(),
            archive,
            working_directory: "/".into(),
            user: None,
            account: None,
            environment: [
                ("PATH", "/usr/bin:/bin"),
                ("DEPLOYMENT_ID", "d-ABCDEFGHI"),
                ("LIFECYCLE_EVENT", "AfterInstall"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            inherit_environment: false,
            timeout_seconds: 60,
            grace_seconds: 5,
            start_seconds: 30,
            overdue_seconds: 60,
            umask: 0o022,
            tasks_max: None,
            memory_max: None,
            scripts_log: top.join("logs/scripts.log"),
            deployments_log: Some(top.join("deployments.log")),
            log_bytes: 64 << 20,
            log_bytes_per_second: 0,
            line_bytes: 16 << 10,
            tail_lines: 20,
            redact_patterns: Vec::new(),
            redact_values_from: Vec::new(),
            secret_file_bytes: 0,
            unsafe_paths: hostler_core::path_rule::UnsafePaths::Refuse,
            open_files: None,
            security: None,
        };
        Self { directory, run, program: PROGRAM.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run_directory(&self) -> PathBuf {
        self.path("run")
    }

    /// A directory that every user may write to.
    fn public(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        path
    }

    /// Runs the hook, or attaches to it, until there is a result.
    fn result(&self) -> HookResult {
        block_on(self.attach())
    }

    async fn attach(&self) -> HookResult {
        hooks::run(&launcher(), &self.program, &self.run_directory(), &self.run).await
    }

    /// Another process that runs the hook, like an agent that can be killed.
    fn agent_process(&self) -> Command {
        fs::write(self.path("wanted.json"), serde_json::to_vec(&self.run).unwrap()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hooks::protocol::agent_process"]).stdout(Stdio::null());
        command.env("HOOKS_TEST_AGENT_DIRECTORY", self.directory.path());
        command
    }

    /// Attaches in a separate thread, as another agent would.
    fn in_background(&self) -> std::thread::JoinHandle<HookResult> {
        let (program, directory, run) = (self.program.clone(), self.run_directory(), self.run.clone());
        std::thread::spawn(move || block_on(hooks::run(&launcher(), &program, &directory, &run)))
    }

    /// Begins the run and leaves it, like an agent that stops.
    fn begin(&self) {
        let started = self.run_directory().join("started");
        block_on(async {
            let wait = async {
                while !started.exists() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! { result = self.attach() => panic!("ended already: {result:?}"), () = wait => () }
        });
    }

    fn scripts_log(&self) -> String {
        fs::read_to_string(&self.run.scripts_log).unwrap_or_default()
    }

    /// The entries of scripts.log, without their times.
    fn entries(&self) -> Vec<String> {
        self.scripts_log().lines().map(|line| line.get(20..).unwrap_or(line).to_owned()).collect()
    }

    /// The script's standard output.
    fn stdout(&self) -> Vec<String> {
        self.entries().iter().filter_map(|entry| entry.strip_prefix("[stdout]")).map(str::to_owned).collect()
    }

    /// The supervisor's process, once it has recorded itself.
    fn supervisor(&self) -> i32 {
        self.process("supervisor")
    }

    fn process(&self, which: &str) -> i32 {
        let file = self.run_directory().join("processes.json");
        eventually("processes.json", || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let processes: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            Ok(i32::try_from(processes[which]["pid"].as_i64().unwrap()).unwrap())
        })
    }
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Looks until there is a value; the error has the last observation.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("{what} did not come; last seen: {seen}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

/// Whether a process is alive (a zombie is not).
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

fn await_end(pid: i32) {
    eventually("the end of a process", || if lives(pid) { Err(format!("{pid} lives")) } else { Ok(()) });
}

/// The number that a script wrote to a file.
fn pid_in(path: &Path) -> i32 {
    eventually("a pid", || {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        text.trim().parse().map_err(|_| format!("{text:?}"))
    })
}

fn kill_hard(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Whether this process is root; prints a reason if not.
fn is_root(test: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        skip(format_args!("{test} needs root"));
    }
    root
}
