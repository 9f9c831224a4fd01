//! Hooks that outlive the agent: each script runs under a supervisor process of its own, which leaves the script's
//! state in its run directory for any later agent to read.
//!
//! # The run directory (version 1)
//!
//! One directory for one run of one script, mode 0700, never used for a second run.
//!
//! | file | written by | how | means |
//! |---|---|---|---|
//! | `launch` | agents | flock only | the agent that holds it is launching the supervisor |
//! | `environment` | agent | renamed | the agent's environment for the script to inherit, mode 0600 |
//! | `run.json` | agent | renamed | a launch was attempted: [`HookRun`], mode 0600 |
//! | `lock` | supervisor; agents to look | flock only | held: a supervisor lives. Liveness is this lock, never a pid |
//! | `cancelled` | agent | created once, its name synced | the script never started and never will: a [`HookResult`] |
//! | `started` | supervisor | created once, its name synced | the script is about to be executed, or was |
//! | `processes.json` | supervisor | renamed | processes to end if the supervisor dies: pids, start times, boot id |
//! | `cancel` | [`cancel`] | created | a request to end the run |
//! | `result.json` | supervisor; agent that ended a stuck one | renamed, synced | a [`HookResult`]; overrides all |
//! | `result.json.new` | agent | preallocated | room for the result, so that a full disk cannot lose it |
//! | `supervisor.log` | supervisor | appended | its standard error, where it is not the journal's |
//!
//! A reader asks in this order: `result.json` → that result. `lock` held → running. Then, while the reader holds
//! `lock`: `result.json` again; `cancelled` → its result; `started` → interrupted; none of them → nothing has begun.
//!
//! A script cannot run twice, nor after it was declared cancelled:
//!
//! 1. A process creates `started` or `cancelled` only while it holds `lock`, after it saw under that lock that neither
//!    of them nor a result exists. So at most one of the two ever exists, and it never goes away.
//! 2. The script is executed only by the process that created `started`, after it is on disk, once.
//! 3. An agent launches only while it holds `launch` and there is no `run.json`, and writes `run.json` first. A second
//!    agent that meets `run.json`, no lock and no `started` waits while another agent holds `launch`; if no agent does,
//!    the launching agent died or gave up, and the second one writes `cancelled`. A supervisor that comes up later
//!    finds it and leaves.
//! 4. After a power loss nothing is running. `started` and its directory were on disk before the script was executed,
//!    so if `started` is absent the script did not run.
//!
//! Three syncs a run: the directory's name, the name of `started`, the result.
//!
//! # What the script gets
//!
//! A session, a process group and, under systemd, a control group of its own; the user's groups; the environment from
//! [`HookRun`] with HOME, USER, LOGNAME and SHELL; `/dev/null` and two pipes that the user owns; default signal
//! dispositions; no other descriptor. The supervisor executes it by its path, never through a shell, except that
//! `/bin/sh` reads a file without `#!`. The script dies with its supervisor.
//!
//! A supervisor that is stopped or waits for a device keeps no deadline. The agent does, [`HookRun::overdue_seconds`]
//! later: it kills the script's processes and the supervisor, each identified by its start time, and says so in the
//! result.
//!
//! At the deadline, and on request, the script's processes get SIGTERM and SIGCONT, and after the grace SIGKILL. They
//! are the descendants of the supervisor (a subreaper, so double forks and new sessions do not get away) and the whole
//! control group. When the script ends by itself, its remaining processes go on: the supervisor writes the result with
//! the output that is in the pipes at that moment, lets the lock go, and stays as the pipes' reader until they are
//! closed.

mod directory;
mod follow;
mod launch;
mod leftovers;
mod limits;
mod log;
mod output;
mod processes;
mod script;
mod spawn;
mod supervision;
mod supervisor;
mod wait;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use hostler_core::error_chain::{chain, is_for_want_of_space};
use hostler_core::hook::{HookOutcome, HookResult, HookRun};

use tokio::sync::oneshot;

use directory::{Lock, RunDirectory, Started, State};
pub use follow::LogFollower;
pub use launch::{LaunchError, Launcher};
pub use limits::open_files;
pub(crate) use script::prepare as script_of_bundle;
pub(crate) use spawn::reset_priorities;
pub use supervisor::supervise;
use wait::Watch;

use crate::clock;

/// The hidden verb that makes `hostler` a supervisor where it was copied alone: `hostler hook-supervisor RUN_DIR [detach]`.
pub const SUPERVISOR_VERB: &str = "hook-supervisor";

/// The argument after the run directory that makes the supervisor leave its parent's family. Under systemd it is the
/// process of a unit, and stays.
const DETACH: &str = "detach";

/// Runs a script, or finds out its outcome: for any number of calls on one run directory, by any agents, one after
/// another or at once, the script is executed at most once and all get the same outcome.
///
/// `program` is the `hostler` binary, absolute; its supervisor is looked for beside it. `run_directory` is made if it does not exist; its parent must be
/// durable. A result that says [`HookOutcome::Cancelled`] proves that the script did not run and will not: it may be
/// run again in another directory. Dropping the future leaves the hook running.
///
/// Never fails: an error before the script starts is [`HookOutcome::CouldNotStart`]. While the agent cannot know
/// whether the script started (the directory cannot be read), it asks again.
pub async fn run(launcher: &Launcher, program: &Path, run_directory: &Path, run: &HookRun) -> HookResult {
    let began = clock::now_ms();
    let attempt = Attempt { launcher: *launcher, program, run, directory: RunDirectory::new(run_directory) };
    attempt.run().await.unwrap_or_else(|error| {
        let message = format!("cannot prepare the hook's run directory {}: {}", run_directory.display(), chain(&error));
        let outcome = HookOutcome::could_not_start_because(message, &error);
        HookResult::without_output(outcome, began, clock::now_ms())
    })
}

/// Asks for the end of a run. A running script is ended as at its deadline ([`HookOutcome::Aborted`]); a script that
/// has not started does not start. The caller of [`run`] gets the outcome.
///
/// # Errors
/// When the request cannot be written to the run directory.
pub fn cancel(run_directory: &Path) -> io::Result<()> {
    RunDirectory::new(run_directory).request_cancel()
}

struct Attempt<'a> {
    launcher: Launcher,
    program: &'a Path,
    run: &'a HookRun,
    directory: RunDirectory,
}

/// The steps that this agent took for a run.
#[derive(Default)]
struct Attempts {
    launched: Option<Launched>,
    late: Option<Late>,
    overdue: Option<Overdue>,
    /// Whether the agent found no space for its own files of the run.
    had_no_space: bool,
}

/// A run that goes on beyond its deadline, on a clock that stops while the host is suspended.
struct Late {
    since: Instant,
    said: bool,
}

/// A run that the agent ended without its supervisor; the agent waits for the supervisor until then.
struct Overdue {
    result: HookResult,
    until: Instant,
}

/// How long a killed supervisor may take to disappear.
const GONE_PATIENCE: Duration = Duration::from_secs(10);

/// A launch that this agent made.
struct Launched {
    _lock: Lock,
    until: Instant,
    failure: Option<LaunchError>,
}

impl Attempt<'_> {
    /// An error means that the script certainly does not run.
    async fn run(&self) -> io::Result<HookResult> {
        self.directory.create()?;
        let mut watch = Watch::new(self.directory.path());
        let mut attempts = Attempts::default();
        loop {
            match self.step(&mut attempts).await {
                Ok(Some(result)) => return Ok(result),
                Ok(None) if attempts.launched.as_ref().is_some_and(|launched| launched.failure.is_some()) => {
                    watch.look_soon();
                }
                Ok(None) => {}
                Err(error) if attempts.launched.is_none() && self.directory.has_run().is_ok_and(|has| !has) => {
                    return Err(error);
                }
                Err(error) => {
                    attempts.had_no_space |= is_for_want_of_space(&error);
                    ::log::warn!(
                        directory = self.directory.path().display().to_string(), error = error.to_string();
                        "the state of the hook in {} cannot be read, asking again: {error}", self.directory.path().display()
                    );
                }
            }
            watch.wait().await;
        }
    }

    async fn step(&self, attempts: &mut Attempts) -> io::Result<Option<HookResult>> {
        let idle = match self.directory.inspect()? {
            State::Finished(result) | State::Cancelled(result) => return Ok(Some(result)),
            State::Running => {
                attempts.overdue = attempts.overdue.take().or_else(|| self.keep_deadline(&mut attempts.late));
                // A process that waits for a device ends when the device answers; it runs no code until then.
                let given_up = attempts.overdue.as_ref().filter(|overdue| Instant::now() >= overdue.until);
                return Ok(given_up.map(|overdue| overdue.result.clone()));
            }
            State::Interrupted(started) => {
                let ended = attempts.overdue.as_ref().map(|overdue| self.overdue(overdue));
                return Ok(Some(ended.unwrap_or_else(|| self.interrupted(started))));
            }
            State::Idle(lock) => lock,
        };
        if let Some(launched) = &attempts.launched {
            return self.give_up_if_late(&idle, launched, attempts.had_no_space);
        }
        let Some(launch) = self.directory.try_launch_lock()? else { return Ok(None) };
        if self.directory.has_run()? {
            let now = clock::now_ms();
            let result = HookResult::without_output(HookOutcome::Cancelled, now, now);
            self.directory.write_cancelled(&idle, &result)?;
            return Ok(Some(result));
        }
        self.directory.reserve_result()?;
        // A supervisor can only come up after this, so it cannot miss the lock.
        drop(idle);
        let inherited = self.run.inherit_environment.then(spawn::inheritable);
        self.directory.write_run(self.run, inherited.as_deref())?;
        attempts.launched = Some(self.launch(launch).await);
        Ok(None)
    }

    async fn launch(&self, lock: Lock) -> Launched {
        let patience = clock::seconds(self.run.start_seconds);
        let began = Instant::now();
        let (launcher, program) = (self.launcher, self.program.to_owned());
        let (directory, run) = (self.directory.clone(), self.run.clone());
        let (send, answer) = oneshot::channel();
        // systemd may take its time, and the calling loop has other work to do. This is a separate thread, because
        // other blocking work may hold the runtime's threads for longer than this may wait.
        let thread = std::thread::Builder::new().name("hook-launch".into()).stack_size(256 << 10);
        let started = thread.spawn(move || match launcher.launch(&program, &directory, &run) {
            Ok(launched) => {
                let _ = send.send(Ok(()));
                launched.reap();
            }
            Err(failure) => drop(send.send(Err(failure))),
        });
        let (failure, until) = match started {
            Err(source) => (Some(LaunchError::Run { program: "a thread".to_owned(), source }), began),
            Ok(_) => match tokio::time::timeout(patience, answer).await {
                Ok(Ok(Err(failure))) => (Some(failure), began),
                // Launched, or not answered yet: the supervisor has the rest of its time.
                _ => (None, began + patience),
            },
        };
        Launched { _lock: lock, until, failure }
    }

    fn give_up_if_late(&self, idle: &Lock, launched: &Launched, had_no_space: bool) -> io::Result<Option<HookResult>> {
        if Instant::now() < launched.until {
            return Ok(None);
        }
        let why = match &launched.failure {
            Some(failure) => chain(failure),
            None => format!("its supervisor did not come up in {} seconds", self.run.start_seconds),
        };
        let said = std::fs::read_to_string(self.directory.file(directory::SUPERVISOR_LOG)).unwrap_or_default();
        let said = said.trim().lines().last().map(|line| format!("; it said: {line}")).unwrap_or_default();
        let message = format!("cannot start {:?}: {why}{said}", self.run.location);
        let now = clock::now_ms();
        // A supervisor without space for its files has none to write why; the agent then saw the same.
        let no_space = had_no_space || launched.failure.as_ref().is_some_and(|e| is_for_want_of_space(e));
        let result = HookResult::without_output(HookOutcome::CouldNotStart { message, no_space }, now, now);
        self.directory.write_cancelled(idle, &result)?;
        Ok(Some(result))
    }

    /// Ends a run whose supervisor is stuck, long after it should have ended it.
    fn keep_deadline(&self, late: &mut Option<Late>) -> Option<Overdue> {
        let processes = self.directory.read_processes().ok()??;
        let run = self.directory.read_run().ok()?;
        let age = leftovers::age(&processes)?;
        if age <= clock::seconds(run.timeout_seconds) + clock::seconds(run.grace_seconds) {
            return None;
        }
        // Counted from here: a suspended host wakes up with deadlines that passed in its sleep.
        let late = late.get_or_insert_with(|| Late { since: Instant::now(), said: false });
        let patience = clock::seconds(run.overdue_seconds);
        let (directory, supervisor) = (self.directory.path().display().to_string(), processes.supervisor.pid);
        if late.since.elapsed() < patience {
            if !late.said && late.since.elapsed() >= patience / 4 {
                ::log::warn!(directory, supervisor; "the deadline of the hook in {directory} is over and its supervisor (process {supervisor}) has not ended it yet");
                late.said = true;
            }
            return None;
        }
        ::log::error!(
            directory, supervisor;
            "the supervisor (process {supervisor}) of the hook in {directory} does not keep the deadline (it is stopped, or waits for a device): the agent ends the hook"
        );
        let killed = leftovers::end_overdue(&processes);
        let now = clock::now_ms();
        let started = now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let result = HookResult::without_output(HookOutcome::TimedOut { killed }, started, now);
        Some(Overdue { result, until: Instant::now() + GONE_PATIENCE })
    }

    /// The outcome of a run that the agent ended itself.
    fn overdue(&self, overdue: &Overdue) -> HookResult {
        let reserved = self.directory.reserve_result();
        if let Err(error) = reserved.and_then(|reserved| self.directory.write_result(&reserved, &overdue.result)) {
            ::log::warn!(error = error.to_string(); "the result of a hook that was ended is not written: {error}");
        }
        overdue.result.clone()
    }

    fn interrupted(&self, started: Option<Started>) -> HookResult {
        let run = self.directory.read_run().ok();
        match self.directory.read_processes() {
            Ok(Some(processes)) => leftovers::end_leftovers(&processes, run.as_ref()),
            Ok(None) => {}
            Err(error) => ::log::warn!(
                directory = self.directory.path().display().to_string(), error = error.to_string();
                "what the interrupted hook in {} left running is not known: {error}", self.directory.path().display()
            ),
        }
        let now = clock::now_ms();
        HookResult::without_output(HookOutcome::Interrupted, started.map_or(now, |started| started.started_ms), now)
    }
}
