//! Machine events: an operator's scripts for events of the machine rather than of one application. Their journal is
//! part of the engine's state, so that no event is lost or begun twice. Nothing else waits for their success.

mod environment;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hook::HookOutcome;
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::lifecycle::{Decided, HookOutcome as Completion};
use crate::text::bounded;

pub use environment::environment;
pub(crate) use members::shown;
pub use members::{Member, Membership, look_again_ms, read_again_ms};

/// How often a script that did not run is started before its event fails.
const MOST_ATTEMPTS: u32 = 5;

/// Runs that wait at a time; beyond that the oldest are given up. Prevents: a ledger that grows while a script hangs.
const MOST_WAITING: usize = 16;

/// Failures of one run that are reported. Prevents: the same, by a hundred scripts that all fail.
const MOST_FAILURES: usize = 10;
const MOST_OF_FAILURE: usize = 512;

/// An event of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MachineEvent {
    /// The instance is new.
    Setup,
    /// Other members came or went.
    Configure,
    /// A deployment succeeded.
    Deploy,
    /// An application was removed.
    Undeploy,
    /// The instance ends.
    Shutdown,
}

impl MachineEvent {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Setup, Self::Configure, Self::Deploy, Self::Undeploy, Self::Shutdown];

    /// The name of the directory with its scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "Setup",
            Self::Configure => "Configure",
            Self::Deploy => "Deploy",
            Self::Undeploy => "Undeploy",
            Self::Shutdown => "Shutdown",
        }
    }
}

impl fmt::Display for MachineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineEvents {
    /// Number of the last run.
    pub entries: u64,
    /// Whether Setup was begun on this instance.
    pub set_up: bool,
    /// The members of the last, or the next, run of Configure.
    pub members: Option<Sha256Digest>,
    /// The lifecycle action for which Shutdown was begun.
    pub shut_down: Option<u64>,
    /// The runs to do, in this order; the first one is running.
    pub queue: Vec<Run>,
    /// The last run of each event.
    pub last: BTreeMap<MachineEvent, Ended>,
    /// The events that have scripts, found anew at each start. The journal does not even note an event without any.
    #[serde(skip)]
    pub present: BTreeSet<MachineEvent>,
}

/// One run of an event's scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number on this instance.
    pub number: u64,
    /// The event.
    pub event: MachineEvent,
    /// The deployment that it is for.
    pub about: Option<About>,
    /// When its scripts must have ended, milliseconds since 1970; with `None` each script has its own time limit.
    pub deadline_ms: Option<u64>,
    /// The members at its beginning.
    pub members: Option<Sha256Digest>,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// Its scripts, known once it has begun.
    pub scripts: Option<Vec<Script>>,
}

/// The deployment's data for the event's scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its id.
    pub deployment: DeploymentId,
    /// The group.
    pub key: GroupKey,
    /// The revision's digest, or its location if no digest is known.
    pub revision: String,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Its file's name.
    pub name: String,
    /// The number of the current attempt, from 1; 0 before the first.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Option<HookOutcome>,
    /// The seconds that it had, if it timed out. Agents of earlier versions did not note them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed_out_after: Option<u64>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its number.
    pub number: u64,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// When it ended, milliseconds since 1970.
    pub ended_ms: u64,
    /// The failures, one sentence each; empty for a run that succeeded.
    pub failures: Vec<String>,
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These events have scripts.
    Present(BTreeSet<MachineEvent>),
    /// The instance is new, and there are scripts of Setup.
    SetUp,
    /// These are the members now.
    Members(Sha256Digest),
    /// The instance ends, by the lifecycle action with this number; its scripts must end by this time.
    ShutDown(u64, Option<u64>),
    /// The run with this number begins, with these scripts.
    Begin(u64, Vec<String>),
    /// A script of the run with this number ended.
    ScriptEnded(u64, usize, HookOutcome, u64),
    /// The run with this number cannot begin.
    Refused(u64, String),
}

impl MachineEvents {
    /// Whether no event ever happened.
    pub fn is_empty(&self) -> bool {
        *self == Self { present: self.present.clone(), ..Self::default() }
    }

    /// Whether scripts of a new instance are still to end: its first deployment waits for them.
    pub fn sets_up(&self) -> bool {
        self.queue.iter().any(|run| run.event == MachineEvent::Setup)
    }

    /// Whether the current run must make way, because the instance ends.
    pub fn is_hurried(&self) -> bool {
        self.queue.iter().skip(1).any(|run| run.event == MachineEvent::Shutdown)
    }

    /// The failures of the scripts of Shutdown for a lifecycle action; `None` before they have ended.
    pub fn shutdown(&self, entry: u64) -> Option<&[String]> {
        let goes_on = self.queue.iter().any(|run| run.event == MachineEvent::Shutdown);
        if self.shut_down != Some(entry) || goes_on {
            return None;
        }
        Some(self.last.get(&MachineEvent::Shutdown).map_or(&[], |ended| &ended.failures))
    }

    /// Applies a change. `leaving`: the instance is on its way out, and only Shutdown matters.
    pub fn take(&mut self, change: Change, leaving: bool, now_ms: u64) {
        match change {
            Change::Present(events) => self.present = events,
            Change::SetUp => {
                if !self.set_up && !leaving {
                    self.set_up = true;
                    self.add(MachineEvent::Setup, None, None, now_ms);
                }
            }
            Change::Members(members) => {
                if self.members == Some(members) || leaving {
                    return;
                }
                self.members = Some(members);
                // A waiting run will find the newest members.
                let waits = |run: &Run| run.event == MachineEvent::Configure && run.scripts.is_none();
                if !self.queue.iter().any(waits) {
                    self.add(MachineEvent::Configure, None, None, now_ms);
                }
            }
            Change::ShutDown(entry, deadline_ms) => {
                if self.shut_down != Some(entry) {
                    self.shut_down = Some(entry);
                    self.queue.retain(|run| run.scripts.is_some());
                    self.add(MachineEvent::Shutdown, None, deadline_ms, now_ms);
                }
            }
            Change::Begin(number, names) => self.begin(number, names, now_ms),
            Change::ScriptEnded(number, index, outcome, seconds) => {
                self.script_ended(number, index, (outcome, seconds), now_ms);
            }
            Change::Refused(number, why) => {
                if let Some(run) = self.current(number) {
                    // None of its scripts ran, and a new instance still has to be set up.
                    let set_up = run.event != MachineEvent::Setup;
                    self.set_up &= set_up;
                    self.end(&[why], now_ms);
                }
            }
        }
    }

    /// A deployment succeeded. `removes`: the application is off the host now.
    pub fn deployed(&mut self, about: About, removes: bool, now_ms: u64) {
        let event = if removes { MachineEvent::Undeploy } else { MachineEvent::Deploy };
        let revision = bounded(&about.revision, MOST_OF_FAILURE, "");
        self.add(event, Some(About { revision, ..about }), None, now_ms);
    }

    fn add(&mut self, event: MachineEvent, about: Option<About>, deadline_ms: Option<u64>, now_ms: u64) {
        if !self.present.contains(&event) {
            return;
        }
        let waiting = self.queue.iter().filter(|run| run.scripts.is_none()).count();
        if waiting >= MOST_WAITING
            && let Some(oldest) = self.queue.iter().position(|run| run.scripts.is_none())
        {
            self.queue.remove(oldest);
        }
        self.entries += 1;
        let run =
            Run { number: self.entries, event, about, deadline_ms, members: None, begun_ms: now_ms, scripts: None };
        self.queue.push(run);
    }

    fn current(&mut self, number: u64) -> Option<&mut Run> {
        self.queue.first_mut().filter(|run| run.number == number)
    }

    fn begin(&mut self, number: u64, names: Vec<String>, now_ms: u64) {
        let members = self.members;
        let Some(run) = self.current(number).filter(|run| run.scripts.is_none()) else { return };
        if names.is_empty() {
            // The scripts were removed since: there is nothing to report.
            self.queue.remove(0);
            return;
        }
        (run.begun_ms, run.members) = (now_ms, members);
        let scripts = names.into_iter().enumerate();
        let script =
            |(index, name)| Script { name, attempts: u32::from(index == 0), outcome: None, timed_out_after: None };
        run.scripts = Some(scripts.map(script).collect());
    }

    fn script_ended(&mut self, number: u64, index: usize, (outcome, seconds): (HookOutcome, u64), now_ms: u64) {
        let hurried = self.is_hurried();
        let Some(scripts) = self.current(number).and_then(|run| run.scripts.as_mut()) else { return };
        let Some(script) = scripts.get_mut(index).filter(|script| script.outcome.is_none()) else { return };
        // The script did not run: the agent went down between requesting its supervisor and its start.
        if outcome == HookOutcome::Cancelled && script.attempts < MOST_ATTEMPTS && !hurried {
            script.attempts += 1;
            return;
        }
        script.timed_out_after = matches!(outcome, HookOutcome::TimedOut { .. }).then_some(seconds);
        script.outcome = Some(outcome.bounded());
        match scripts.get_mut(index + 1) {
            Some(next) if !hurried => next.attempts = 1,
            _ => {
                let failures: Vec<String> = scripts.iter().filter_map(failure).collect();
                self.end(&failures, now_ms);
            }
        }
    }

    fn end(&mut self, failures: &[String], now_ms: u64) {
        let run = self.queue.remove(0);
        let more = failures.len().saturating_sub(MOST_FAILURES);
        let shown = failures.iter().take(MOST_FAILURES).map(|failure| bounded(failure, MOST_OF_FAILURE, ""));
        let failures = shown.chain((more > 0).then(|| format!("and {more} more"))).collect();
        let ended = Ended { number: run.number, begun_ms: run.begun_ms, ended_ms: now_ms, failures };
        self.last.insert(run.event, ended);
    }
}

impl Run {
    /// The id in its scripts' supervisor and log names, in the place of a deployment's id.
    pub fn id(&self) -> DeploymentId {
        DeploymentId::of_machine_event(self.number)
    }

    /// The current script and its index; `None` before the run has begun.
    pub fn script(&self) -> Option<(usize, &Script)> {
        self.scripts.as_ref()?.iter().enumerate().find(|(_, script)| script.outcome.is_none())
    }

    /// Seconds that a script has from now on; `own` is its own time limit.
    pub fn timeout_seconds(&self, own: u64, now_ms: u64) -> u64 {
        let left = self.deadline_ms.map(|at| (at.saturating_sub(now_ms) / 1000).max(1));
        left.map_or(own, |left| left.min(own))
    }
}

fn failure(script: &Script) -> Option<String> {
    match &script.outcome {
        Some(outcome) if outcome.is_success() => None,
        Some(outcome) => {
            let how = script.timed_out_after.map_or_else(|| outcome.to_string(), |after| outcome.text_after(after));
            Some(format!("{}: {how}", script.name))
        }
        None => Some(format!("{}: left out, the instance ends", script.name)),
    }
}

/// The result that completes a termination after its machine event: a failure there counts like one of the
/// applications' scripts.
pub fn after_shutdown(decided: Decided, failures: &[String], abandon_failed: bool) -> Decided {
    if failures.is_empty() {
        return decided;
    }
    let result = if abandon_failed { Completion::Abandon } else { decided.result };
    Decided { result, why: format!("{}; Shutdown failed: {}", decided.why, failures.join("; ")) }
}

#[cfg(test)]
mod tests;
