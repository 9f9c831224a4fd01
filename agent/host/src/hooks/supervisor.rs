//! The supervisor of one script: a separate process, with a single thread besides the writer of its logs.

use std::ffi::OsStr;
use std::fs::{File, read_dir};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hostler_core::hook::output::{event_entry, note_entry, script_entry};
use hostler_core::hook::{HookOutcome, HookResult, HookRun};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;

use super::DETACH;
use super::directory::{Lock, ProcessId, Processes, RunDirectory, Started};
use super::launch;
use super::limits::Limits;
use super::output::Output;
use super::processes::{self, ControlGroup, ProcessTree};
use super::script::{self, ScriptError};
use super::spawn::{self, Spawned};
use super::supervision::Supervision;
use crate::clock::{now_ms, read_boot_id};
use crate::users::{self, User};

/// How often a result that could not be written is tried again.
const RESULT_RETRY: Duration = Duration::from_secs(1);

/// Runs the script of a run directory to its end, for `hostler-hook-supervisor RUN_DIR [detach]` and the verb of
/// the same name.
///
/// The module describes the directory's format, and why a script cannot run twice. Call it before the first thread
/// starts.
pub fn supervise(run_directory: &Path, how: &OsStr) -> ExitCode {
    let detached = if how == DETACH { launch::detach() } else { Ok(()) };
    match detached.and_then(|()| supervise_directory(&RunDirectory::new(run_directory))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the run directory's supervisor.log, or the journal.
            let _ = writeln!(io::stderr(), "hook supervisor of {}: {error}", run_directory.display());
            ExitCode::FAILURE
        }
    }
}

fn supervise_directory(directory: &RunDirectory) -> io::Result<()> {
    close_inherited();
    // Whatever the agent's umask is, the logs are as readable as the CodeDeploy agent's; private files set their own
    // mode.
    umask(Mode::from_bits_truncate(0o022));
    let signals = block_signals()?;
    let lock = directory.lock()?;
    if directory.is_settled()? {
        return Ok(());
    }
    let could_not = |message, error: &io::Error| never_started(HookOutcome::could_not_start_because(message, error));
    let reserved = match directory.reserve_result() {
        Ok(reserved) => reserved,
        Err(error) => {
            // Its name ends the wait even if the disk has no room for its content.
            let message = format!("no room for its result in {}: {error}", directory.path().display());
            return directory.write_cancelled(&lock, &could_not(message, &error));
        }
    };
    let run = match directory.read_run() {
        Ok(run) => run,
        Err(error) => {
            let message = format!("cannot read {}: {error}", directory.file("run.json").display());
            return directory.write_result(&reserved, &could_not(message, &error));
        }
    };
    if directory.cancel_requested() {
        return directory.write_result(&reserved, &never_started(HookOutcome::Cancelled));
    }
    let mut output = match Output::start(&run, directory) {
        Ok(output) => output,
        Err(error) => {
            let message = format!("cannot start {:?}: its output cannot be logged: {error}", run.location);
            return directory.write_result(&reserved, &could_not(message, &error));
        }
    };
    if run.first_of_event {
        output.log(event_entry(&run.event));
    }
    match start(directory, &lock, &run, &mut output) {
        Ok((spawned, tree, started)) => {
            let supervision = Supervision::new(directory, &run, signals, spawned, tree, started, output)?;
            supervision.watch_to_the_end(lock, &reserved)
        }
        Err(outcome) => {
            output.log(note_entry(&outcome.to_string()));
            output.settle();
            write_result(directory, &reserved, &never_started(outcome));
            Ok(())
        }
    }
}

fn never_started(outcome: HookOutcome) -> HookResult {
    let now = now_ms();
    HookResult::without_output(outcome, now, now)
}

/// The script inherits no descriptor of the launching process.
#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: called first, in a process of one thread that has opened nothing yet: no descriptor from 3 on is owned.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Kernels before 5.9.
    let open: Vec<i32> = read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: as above; the directory's own descriptor is closed by now, and closing it again is an error at most.
        unsafe { libc::close(descriptor) };
    }
}

/// Signals arrive as events, in every thread that is started later.
fn block_signals() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Makes all possible checks, writes `started`, and executes the script.
fn start(
    directory: &RunDirectory,
    lock: &Lock,
    run: &HookRun,
    output: &mut Output,
) -> Result<(Spawned, ProcessTree, Started), HookOutcome> {
    let path = script::prepare(&run.archive, &run.location).map_err(|error| match error {
        ScriptError::Missing { .. } => HookOutcome::ScriptMissing { message: error.to_string() },
        ScriptError::NotExecutable { .. } => HookOutcome::NotExecutable { message: error.to_string() },
    })?;
    let user = user_of(run).map_err(HookOutcome::could_not_start)?;
    let inherited = if run.inherit_environment {
        let could_not = |error| HookOutcome::could_not_start(format!("cannot read the saved environment: {error}"));
        directory.read_environment().map_err(could_not)?
    } else {
        Vec::new()
    };
    // A process that loses its parent becomes this process's child: then the process table shows the whole family.
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| {
        HookOutcome::could_not_start(format!("cannot become the subreaper of the script's processes: {error}"))
    })?;
    let control_group = ControlGroup::create().map_err(|error| {
        let message = format!("cannot make a control group for the script: {error}");
        HookOutcome::could_not_start_because(message, &error)
    })?;
    output.log(script_entry(&run.location));
    let started = Started { started_ms: now_ms() };
    directory.write_started(lock, &started).map_err(|error| {
        let message = format!("cannot write {}: {error}", directory.file("started").display());
        HookOutcome::could_not_start_because(message, &error)
    })?;
    let (limits, faults) = Limits::of(run, &user);
    if let Some(first) = faults.first() {
        let more = if faults.len() > 1 { format!(" (and {} more)", faults.len() - 1) } else { String::new() };
        output.log(note_entry(&format!("of the limits of {} this is left out: {first}{more}", user.name)));
    }
    let own = nix::unistd::getpid().as_raw();
    // Before the script exists, because it may stop its supervisor in its first moment: the supervisor is recorded by
    // then.
    note_processes(directory, own, own, control_group.as_ref());
    let spawned = spawn::spawn(&path, run, &inherited, &user, limits, control_group.as_ref())
        .map_err(HookOutcome::could_not_start)?;
    if !spawned.unset.is_empty() {
        let unset = spawned.unset.join(", ");
        output.log(note_entry(&format!("limits that this host does not let the agent set for {}: {unset}", user.name)));
    }
    note_processes(directory, own, spawned.pid, control_group.as_ref());
    let tree = ProcessTree::new(own, spawned.pid, control_group);
    Ok((spawned, tree, started))
}

fn user_of(run: &HookRun) -> Result<User, String> {
    let current = || users::current().map_err(|error| error.to_string());
    let Some(name) = &run.user else { return run.account.clone().map_or_else(current, Ok) };
    let wanted = match &run.account {
        Some(account) => account.clone(),
        None => users::lookup(name).map_err(|error| match &error {
            users::UserError::Lookup { source, .. } => format!("{error}: {source}"),
            users::UserError::Unknown { .. } => error.to_string(),
        })?,
    };
    if !Uid::effective().is_root() && wanted.uid != Uid::effective().as_raw() {
        let own = current()?.name;
        return Err(format!(
            "cannot run {:?} as user {name}: hostler runs as {own}, and only root can change to another user",
            run.location
        ));
    }
    Ok(wanted)
}

/// For an agent that finds the script without its supervisor. Best effort: the script is running already.
fn note_processes(directory: &RunDirectory, own: i32, script: i32, control_group: Option<&ControlGroup>) {
    let identity = |pid| processes::identify(pid).unwrap_or(ProcessId { pid, start_time: u64::MAX });
    let processes = Processes {
        boot_id: read_boot_id().unwrap_or_default(),
        pid_namespace: processes::pid_namespace(),
        supervisor: identity(own),
        script: identity(script),
        control_group: control_group.map(|group| group.path().to_owned()),
    };
    let _ = directory.write_processes(&processes);
}

/// Tries until it is written: with the room reserved before the script started, a full disk is no obstacle.
pub(super) fn write_result(directory: &RunDirectory, reserved: &File, result: &HookResult) {
    let mut said = false;
    while let Err(error) = directory.write_result(reserved, result) {
        if !directory.path().exists() {
            // The directory was removed: no reader will ask.
            return;
        }
        if !said {
            let _ = writeln!(io::stderr(), "cannot write the result, trying again every second: {error}");
            said = true;
        }
        std::thread::sleep(RESULT_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_that_the_agent_found_is_not_looked_up_again() {
        let found = users::current().unwrap();
        let run = |account: Option<&User>| -> HookRun {
            serde_json::from_value(serde_json::json!({
                "version": 1, "deployment": "d-ABCDEFGHI", "event": "e", "first_of_event": true, "location": "a.sh",
                "archive": "/a", "working_directory": "/", "user": "no-such-user", "account": account, "environment": [],
                "inherit_environment": false, "timeout_seconds": 60, "grace_seconds": 5, "start_seconds": 30, "umask": 18,
                "tasks_max": null, "scripts_log": "/l", "deployments_log": null, "log_bytes": 1, "log_bytes_per_second": 0,
                "line_bytes": 1, "tail_lines": 1
            }))
            .unwrap()
        };
        assert_eq!(user_of(&run(Some(&found))), Ok(found));
        let unknown = user_of(&run(None)).unwrap_err();
        assert!(unknown.contains("no-such-user"), "{unknown}");
    }
}
