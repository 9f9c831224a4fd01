//! Runs the scripts of the machine events in the engine's journal, one at a time. Each has its own run directory, so
//! that the next agent after a crash finds the script there and runs none twice.

mod membership;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::hook::{HOOK_DOCUMENT_VERSION, HookOutcome, HookResult, HookRun, with_defaults};
use hostler_core::ids::{DeploymentId, InstanceId};
use hostler_core::machine::{Event, State};
use hostler_core::machine_events::{Change, MachineEvent, Run, environment};
use hostler_core::operator_events::OperatorEvent;
use hostler_host::hooks::{self, Launcher};
use hostler_host::remove_tree::remove_tree;
use hostler_host::{atomic, clock, machine_scripts};

use crate::controller::{Controller, View, Wake};
use crate::engine::Handle;
use crate::failure::chain;
use crate::log_output::operator_event;
use crate::setup::Setup;
use crate::work::hook::locale_of_scripts;

pub use membership::Members;

/// The number of ended runs whose directories are kept, so that a user can read the scripts' output.
const KEPT_RUNS: u64 = 20;

/// Runs the scripts.
#[derive(Debug, Clone)]
pub struct Runner {
    handle: Handle,
    instance: InstanceId,
    launcher: Launcher,
    /// This program, beside which a script's supervisor lies.
    program: PathBuf,
    /// The setup of the last call.
    setup: Option<Arc<Setup>>,
    /// The deployments that were active then.
    deploying: BTreeSet<DeploymentId>,
}

/// The events that have scripts now.
pub fn present(setup: &Setup) -> BTreeSet<MachineEvent> {
    // A script that must not run counts as present: its turn reports its name.
    let has = |event: &MachineEvent| {
        machine_scripts::list(&setup.layout.machine_scripts(*event)).map_or(true, |names| !names.is_empty())
    };
    MachineEvent::ALL.into_iter().filter(has).collect()
}

/// Begins Setup, once for each instance.
pub async fn set_up(setup: &Setup, handle: &Handle) {
    warn_of_unknown(setup);
    let is_new = !handle.state().borrow().machine_events.set_up;
    if is_new && present(setup).contains(&MachineEvent::Setup) {
        // If the engine has ended, the next start asks it.
        let _ = handle.ask(Event::Machine(Change::SetUp)).await;
    }
}

/// It waits for each script, so that a reload and the next run wait for it too: scripts run one at a time. What ends a
/// script early is watched beside it.
impl Controller for Runner {
    const NAME: &'static str = "machine events";

    async fn reconcile(&mut self, View { state, setup, now, .. }: &View) -> Wake {
        let is_reload = self.setup.replace(Arc::clone(setup)).is_some_and(|before| !Arc::ptr_eq(&before, setup));
        let active: BTreeSet<DeploymentId> = state.all_active().map(|(_, d)| d.id.clone()).collect();
        if is_reload || !active.is_subset(&self.deploying) {
            // Checked before the run can end: scripts may have come with an image, a package, or an administrator.
            self.note_present(setup, state).await;
        }
        if is_reload {
            set_up(setup, &self.handle).await;
        }
        self.deploying = active;
        match state.machine_events.queue.first() {
            None => Wake::on_state(),
            Some(run) if self.push_on(setup, run).await => Wake::on_state().at(*now),
            // The next agent takes the run up.
            Some(_) => Wake::on_reload(),
        }
    }
}

impl Runner {
    /// A runner that starts scripts by the same means as hooks.
    pub fn new(handle: Handle, instance: InstanceId, launcher: Launcher, program: PathBuf) -> Self {
        Self { handle, instance, launcher, program, setup: None, deploying: BTreeSet::new() }
    }

    async fn note_present(&self, setup: &Setup, state: &State) {
        let found = present(setup);
        if found != state.machine_events.present {
            self.change(Change::Present(found)).await;
        }
    }

    /// Advances a run by one step. Returns false when the agent is stopping.
    async fn push_on(&self, setup: &Setup, run: &Run) -> bool {
        let change = match run.script() {
            None => match begin(setup, run) {
                Ok(names) => {
                    log::info!(hostler_event = "machine-event-started", event:% = run.event, scripts = names.len(); "the machine event {} started, with {} scripts", run.event, names.len());
                    Change::Begin(run.number, names)
                }
                Err(error) => Change::Refused(run.number, format!("{error:#}")),
            },
            Some((index, script)) => {
                let hook_run = self.hook_run(setup, run, &script.name);
                let directory = setup.layout.machine_run(run.event, run.number);
                let attempt = directory.join(format!("run-{}-{}", index + 1, script.attempts));
                let result = match atomic::create_directories(&directory, 0o750) {
                    Ok(()) => self.run(&attempt, &hook_run).await,
                    Err(error) => could_not_start(HookOutcome::could_not_start_because(chain(&error), &error)),
                };
                Change::ScriptEnded(run.number, index, result.outcome, hook_run.timeout_seconds)
            }
        };
        let going_on = self.change(change).await;
        self.tell_end(setup, run);
        going_on
    }

    /// Waits for a script. Ends it if it delays the end of the instance.
    async fn run(&self, directory: &Path, run: &HookRun) -> HookResult {
        let mut state = self.handle.state();
        let mut hurried = false;
        let script = hooks::run(&self.launcher, &self.program, directory, run);
        tokio::pin!(script);
        loop {
            tokio::select! {
                // Polled first: it makes the directory through which the script is cancelled.
                biased;
                result = &mut script => return result,
                Ok(_) = state.wait_for(|state| state.machine_events.is_hurried()), if !hurried => {
                    hurried = true;
                    if let Err(error) = hooks::cancel(directory) {
                        log::warn!(error:%; "a script that is in the way of the instance's end cannot be ended: {error}");
                    }
                }
            }
        }
    }

    fn hook_run(&self, setup: &Setup, run: &Run, name: &str) -> HookRun {
        let timeout_seconds = run.timeout_seconds(setup.settings.machine_events.timeout_seconds, clock::now_ms());
        let members = run.members.map(|digest| setup.layout.members(&digest));
        let members = members.as_ref().and_then(|path| path.to_str());
        let root = setup.layout.root_prefix().map(|root| root.to_string_lossy());
        let limits = &setup.limits;
        let logs = setup.settings.logs.as_ref();
        HookRun {
            version: HOOK_DOCUMENT_VERSION,
            deployment: run.id(),
            event: run.event.name().to_owned(),
            first_of_event: run.script().is_some_and(|(index, _)| index == 0),
            location: name.to_owned(),
            archive: setup.layout.machine_scripts(run.event),
            working_directory: "/".into(),
            user: None,
            account: None,
            environment: with_defaults(
                environment(run, &self.instance, members, timeout_seconds, root.as_deref()),
                locale_of_scripts(setup),
            ),
            inherit_environment: setup.settings.hooks.inherit_environment,
            timeout_seconds,
            grace_seconds: limits.kill_grace_seconds,
            start_seconds: limits.supervisor_start_seconds,
            overdue_seconds: limits.supervisor_overdue_seconds,
            umask: 0o022,
            tasks_max: None,
            memory_max: None,
            scripts_log: setup.layout.machine_run(run.event, run.number).join("scripts.log"),
            deployments_log: None,
            log_bytes: limits.hook_log_bytes,
            log_bytes_per_second: limits.hook_log_bytes_per_second,
            line_bytes: limits.log_line_bytes,
            tail_lines: limits.tail_lines,
            redact_patterns: logs.map(|logs| logs.redact.clone()).unwrap_or_default(),
            redact_values_from: logs.map(|logs| logs.redact_values_from.clone()).unwrap_or_default(),
            secret_file_bytes: limits.secret_file_bytes,
            unsafe_paths: setup.settings.unsafe_paths,
            open_files: hooks::open_files(),
            security: None,
        }
    }

    /// Logs how a run ended, and removes the remains of old ones.
    fn tell_end(&self, setup: &Setup, run: &Run) {
        let state = Arc::clone(&self.handle.state().borrow());
        let Some(ended) = state.machine_events.last.get(&run.event).filter(|ended| ended.number == run.number) else {
            return;
        };
        if ended.failures.is_empty() {
            log::info!(hostler_event = "machine-event-ended", event:% = run.event; "the machine event {} succeeded", run.event);
        } else {
            let log = setup.layout.machine_run(run.event, run.number).join("scripts.log");
            let output = if log.exists() { format!("; its output is in {}", log.display()) } else { String::new() };
            operator_event!(Error, OperatorEvent::MachineEventFailed, event = run.event;
                "the machine event {} failed: {}{output}", run.event, ended.failures.join("; "));
        }
        forget_old(setup, &state);
    }

    /// Persists a change. Returns false when the agent is stopping.
    async fn change(&self, change: Change) -> bool {
        self.handle.ask(Event::Machine(change)).await.is_ok()
    }
}

/// The run's scripts. Removes older outcomes: files from before the run belong to another instance's disk, or to a lost
/// ledger.
fn begin(setup: &Setup, run: &Run) -> anyhow::Result<Vec<String>> {
    let directory = setup.layout.machine_run(run.event, run.number);
    if directory.exists() {
        remove_tree(&directory).with_context(|| format!("cannot take away {}", directory.display()))?;
    }
    Ok(machine_scripts::list(&setup.layout.machine_scripts(run.event))?)
}

/// Warns of directories beside those of the events: the agent never runs their files.
fn warn_of_unknown(setup: &Setup) {
    let names = MachineEvent::ALL.map(MachineEvent::name);
    let directory = setup.layout.machine_scripts(MachineEvent::Setup);
    let Some(entries) = directory.parent().and_then(|above| fs::read_dir(above).ok()) else { return };
    for entry in entries.flatten() {
        if !names.iter().any(|name| entry.file_name() == *name) {
            log::warn!(
                "{} is no machine event, and nothing of it is run; they are {}",
                entry.path().display(),
                names.join(", ")
            );
        }
    }
}

fn could_not_start(outcome: HookOutcome) -> HookResult {
    let now = clock::now_ms();
    HookResult::without_output(outcome, now, now)
}

/// Removes directories of runs that ended long ago, and documents of members that are no longer needed. After a failure
/// the next run tries again.
fn forget_old(setup: &Setup, state: &State) {
    let events = &state.machine_events;
    let before = events.entries.saturating_sub(KEPT_RUNS);
    let known = events.queue.iter().filter_map(|run| run.members).chain(events.members);
    let known: BTreeSet<PathBuf> = known.map(|digest| setup.layout.members(&digest)).collect();
    for entry in fs::read_dir(setup.layout.machine_events()).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let number: Option<u64> = name.split_once('-').and_then(|(number, _)| number.parse().ok());
        let goes_on = number.is_some_and(|number| events.queue.iter().any(|run| run.number == number));
        let gone = match number {
            Some(number) if number <= before && !goes_on => remove_tree(&path),
            None if name.starts_with("members-") && !known.contains(&path) => fs::remove_file(&path),
            _ => Ok(()),
        };
        if let Err(error) = gone {
            log::warn!(error:%; "{} cannot be deleted: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests;
