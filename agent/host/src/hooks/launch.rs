//! Starts a supervisor so that it outlives the agent.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use hostler_core::hook::HookRun;
use nix::unistd::{ForkResult, fork, setsid};

use super::directory::{RunDirectory, SUPERVISOR_LOG};
use super::{DETACH, SUPERVISOR_VERB};
use crate::clock;

/// The first part of a supervisor unit's name, before the part that makes it unique.
pub(super) const UNIT_PREFIX: &str = "hostler-hook-";

/// The first systemd that appends output to a file.
const APPEND_SINCE: u32 = 240;

/// The first systemd that knows OOMPolicy.
const OOM_POLICY_SINCE: u32 = 243;

/// The first systemd of a supported distribution that takes RefuseManualStop for a transient service.
const REFUSE_STOP_SINCE: u32 = 239;

/// Where the supervisor's own program lies, seen from the directory of `hostler`: in a package, and in a build.
const SUPERVISOR_PROGRAMS: [&str; 2] = ["../libexec/hostler/hook-supervisor", "hostler-hook-supervisor"];

/// The way to start a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// By systemd, as a transient service: with a control group of its own, without the agent's hardening, and not part
    /// of the agent's unit, so that it does not stop or restart with that.
    Systemd {
        /// systemd's version, which decides which properties it knows.
        version: u32,
    },
    /// By this process: fork and a session of its own. Descendants are found by the process table.
    Plain,
}

/// Why a supervisor could not be launched. If it comes up nevertheless, it finds that it was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// systemd did not take the service.
    #[error("systemd did not start the hook's supervisor: {message}")]
    Refused {
        /// The output of systemd-run.
        message: String,
    },
}

/// A supervisor that was begun.
pub(super) struct Begun(Option<Child>);

impl Begun {
    /// Waits for the process that was begun here, which ends as soon as the supervisor has left it.
    pub fn reap(self) {
        if let Some(mut child) = self.0 {
            let _ = child.wait();
        }
    }
}

impl Launcher {
    /// Finds out whether systemd manages this host and takes transient services from this process.
    ///
    /// Asks systemd for a service that does nothing; blocks for as long as it takes to answer, so ask once, at start.
    pub fn detect() -> Self {
        // The test that sd_booted(3) documents.
        let booted = Path::new("/run/systemd/system").is_dir();
        if !booted || !nix::unistd::Uid::effective().is_root() {
            return Self::Plain;
        }
        let version = Command::new("systemd-run").arg("--version").stdin(Stdio::null()).output();
        let Some(version) = version.ok().and_then(|output| parse_version(&output.stdout)) else { return Self::Plain };
        let unit = format!("--unit=hostler-probe-{}-{}", std::process::id(), clock::now_ms());
        let probe = Command::new("systemd-run")
            .args(["--quiet", "--no-block", "--collect", &unit, "--", "/bin/true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if probe.is_ok_and(|status| status.success()) { Self::Systemd { version } } else { Self::Plain }
    }

    /// Starts a supervisor on a run directory and does not wait for it. Blocks while systemd answers.
    pub(super) fn launch(self, program: &Path, directory: &RunDirectory, run: &HookRun) -> Result<Begun, LaunchError> {
        match self {
            Self::Systemd { version } => {
                static LAUNCHES: AtomicU64 = AtomicU64::new(0);
                let unit = unit_name(run, clock::now_ms(), LAUNCHES.fetch_add(1, Ordering::Relaxed));
                launch_by_systemd(&systemd_arguments(version, &unit, &command(program), directory.path(), run))?;
                Ok(Begun(None))
            }
            Self::Plain => launch_here(program, directory)
                .map(|child| Begun(Some(child)))
                .map_err(|source| LaunchError::Run { program: program.display().to_string(), source }),
        }
    }
}

/// The command of a supervisor, before its run directory: a small program, or `hostler` itself where it was copied alone. It is
/// looked for each time, because a package may have been replaced.
fn command(hostler: &Path) -> Vec<OsString> {
    let small = SUPERVISOR_PROGRAMS.iter().map(|place| hostler.with_file_name(place)).find(|path| path.is_file());
    match small {
        Some(program) => vec![program.into()],
        None => vec![hostler.into(), SUPERVISOR_VERB.into()],
    }
}

/// The version in the first line of `systemd-run --version`: `systemd 252 (252.39-1~deb12u1)`.
fn parse_version(output: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(output);
    let number = text.strip_prefix("systemd ")?.split(|c: char| !c.is_ascii_digit()).next()?;
    number.parse().ok()
}

/// A unit name that no other run has: systemd keeps the old unit while children of a finished hook live in it. The
/// time, this process and the number of its launches make it unique.
fn unit_name(run: &HookRun, now_ms: u64, launches: u64) -> String {
    let event: String = run.event.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let process = std::process::id();
    format!("{UNIT_PREFIX}{}-{event}-{now_ms:x}-{process:x}-{launches:x}.service", run.deployment)
}

/// The arguments of systemd-run that bring up a supervisor.
fn systemd_arguments(
    version: u32,
    unit: &str,
    command: &[OsString],
    run_directory: &Path,
    run: &HookRun,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--quiet",
        "--no-block",
        // Also after a failure: the agent does not reset the state of these units.
        "--collect",
        &format!("--unit={unit}"),
        &format!("--description=hostler: {} of deployment {}", printable(&run.event), run.deployment),
        // Processes that a finished hook left running go on, also when the host's unit is stopped.
        "--property=KillMode=process",
        // The script gets a group below the supervisor's, so that killing it spares the supervisor, which reports it.
        "--property=Delegate=yes",
        // At SIGTERM the supervisor ends the script, which may take the grace period and more.
        &format!("--property=TimeoutStopSec={}", clock::seconds(run.grace_seconds).as_secs() + 15),
    ]
    .map(OsString::from)
    .into();
    if version >= REFUSE_STOP_SINCE {
        // needrestart restarts services that use an old library, and so would end a hook that installs packages, and an
        // application that a hook left running. The agent ends hooks by signals and by their control group.
        arguments.push("--property=RefuseManualStop=yes".into());
    }
    if version >= OOM_POLICY_SINCE {
        // If one process runs out of memory, the script has to deal with it; the default would stop the supervisor.
        arguments.push("--property=OOMPolicy=continue".into());
    }
    if version >= APPEND_SINCE {
        // Here the waiting agent finds why the supervisor did not come up; older versions of systemd leave it in the
        // journal.
        let mut log = OsString::from("--property=StandardError=append:");
        log.push(run_directory.join(SUPERVISOR_LOG));
        arguments.push(log);
    }
    if let Some(most) = run.tasks_max {
        arguments.push(format!("--property=TasksMax={most}").into());
    }
    if let Some(most) = run.memory_max {
        // The supervisor, which has less than a mebibyte, is in it too. With the first cgroups systemd makes
        // MemoryLimit of it.
        arguments.push(format!("--property=MemoryMax={most}").into());
    }
    arguments.push("--".into());
    // systemd expands no part of a program's path.
    arguments.extend_from_slice(command);
    arguments.push(without_expansion(run_directory.as_os_str()));
    arguments
}

/// systemd expands `$` in the arguments of a service, and `$$` to `$`.
fn without_expansion(argument: &OsStr) -> OsString {
    let doubled = argument.as_bytes().iter().flat_map(|b| if *b == b'$' { vec![b'$'; 2] } else { vec![*b] });
    OsString::from_vec(doubled.collect())
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(64).collect()
}

fn launch_by_systemd(arguments: &[OsString]) -> Result<(), LaunchError> {
    let output = Command::new("systemd-run")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| LaunchError::Run { program: "systemd-run".into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(LaunchError::Refused { message: format!("{} ({})", said.trim(), output.status) })
}

/// The supervisor leaves this process's family by itself ([`detach`]). Nothing is done between fork and exec, so that the C
/// library makes the process without a copy of this one's page tables.
fn launch_here(program: &Path, directory: &RunDirectory) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(directory.file(SUPERVISOR_LOG))?;
    let parts = command(program);
    let (program, verb) = parts.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(verb).arg(directory.path()).arg(DETACH).env_clear();
    // The log's local time is in the agent's zone.
    command.envs(std::env::var_os("TZ").map(|zone| ("TZ", zone)));
    // Ctrl-C at the terminal of the agent is not for it.
    command.process_group(0);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
}

/// Makes this process's child go on in a session of its own, and ends this process: the supervisor is no child of the
/// agent, so neither this agent nor a later one has to reap it. Call it before the first thread starts.
///
/// # Errors
/// When there can be no child or no session.
#[allow(unsafe_code, reason = "a fork without an exec has no safe way")]
pub(super) fn detach() -> io::Result<()> {
    // SAFETY: this process has one thread, so its child may do anything.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        // SAFETY: ends this process without running what is the child's to run.
        unsafe { nix::libc::_exit(0) };
    }
    setsid()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> HookRun {
        serde_json::from_value(serde_json::json!({
            "version": 1, "deployment": "d-ABCDEFGHI", "event": "AfterInstall", "first_of_event": true,
            "location": "a.sh", "archive": "/a", "working_directory": "/", "user": null, "environment": [],
            "inherit_environment": false, "timeout_seconds": 60, "grace_seconds": 5, "start_seconds": 30, "umask": 18,
            "tasks_max": 4096, "memory_max": 1_048_576, "scripts_log": "/l", "deployments_log": null, "log_bytes": 1,
            "log_bytes_per_second": 0, "line_bytes": 1, "tail_lines": 1
        }))
        .unwrap()
    }

    #[test]
    fn the_command_line_for_systemd() {
        let unit = unit_name(&run(), 0xabc, 7);
        assert!(
            unit.starts_with("hostler-hook-d-ABCDEFGHI-AfterInstall-abc-") && unit.ends_with("-7.service"),
            "{unit}"
        );
        let command = command(Path::new("/nowhere/hostler"));
        let arguments = systemd_arguments(252, "U.service", &command, Path::new("/run/a $HOME"), &run());
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(
            arguments,
            [
                "--quiet",
                "--no-block",
                "--collect",
                "--unit=U.service",
                "--description=hostler: AfterInstall of deployment d-ABCDEFGHI",
                "--property=KillMode=process",
                "--property=Delegate=yes",
                "--property=TimeoutStopSec=20",
                "--property=RefuseManualStop=yes",
                "--property=OOMPolicy=continue",
                "--property=StandardError=append:/run/a $HOME/supervisor.log",
                "--property=TasksMax=4096",
                "--property=MemoryMax=1048576",
                "--",
                "/nowhere/hostler",
                "hook-supervisor",
                "/run/a $$HOME",
            ]
        );
    }

    #[test]
    fn the_small_program_is_taken_where_a_package_or_a_build_has_it() {
        let top = tempfile::tempdir().unwrap();
        let place = |path: &str| top.path().join(path);
        for directory in ["bin", "libexec/hostler"] {
            std::fs::create_dir_all(place(directory)).unwrap();
        }
        let hostler = place("bin/hostler");
        assert_eq!(command(&hostler), [hostler.clone().into(), OsString::from("hook-supervisor")]);
        for small in ["bin/hostler-hook-supervisor", "bin/../libexec/hostler/hook-supervisor"] {
            std::fs::write(place(small), "").unwrap();
            assert_eq!(command(&hostler), [place(small)]);
        }
    }

    #[test]
    fn an_old_systemd_is_not_asked_for_what_it_does_not_know() {
        let run = HookRun { tasks_max: None, ..run() };
        let arguments = |version| systemd_arguments(version, "U.service", &["/h".into()], Path::new("/r"), &run);
        let knows = |version, name: &str| arguments(version).iter().any(|found| found.to_string_lossy().contains(name));
        for name in ["OOMPolicy", "append", "TasksMax"] {
            assert!(!knows(239, name), "{name}");
        }
        assert!(knows(239, "KillMode") && knows(239, "RefuseManualStop") && !knows(238, "RefuseManualStop"));
    }

    #[test]
    fn the_version_of_systemd_is_read() {
        assert_eq!(parse_version(b"systemd 252 (252.39-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(parse_version(b"systemd 239\n"), Some(239));
        assert_eq!(parse_version(b"systemd 257.9-1.amzn2023 (x)"), Some(257));
        assert_eq!(parse_version(b""), None);
    }
}
