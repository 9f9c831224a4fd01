//! A deployment: its progress and its result.

use serde::{Deserialize, Serialize};

use super::{Installed, NotUndone, Request, Source};
use crate::appspec::spec::HookScript;
use crate::event_order::LifecycleEvent;
use crate::health::Check;
use crate::hook::{HookOutcome, HookResult, script_user};
use crate::ids::DeploymentId;
use crate::machine::checks::ProbePhase;
use crate::machine::command::Commanded;
use crate::machine::event::Effect;
use crate::machine::failure::Failure;

/// One attempt to put one revision on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The request.
    pub request: Request,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    pub finished_ms: Option<u64>,
    /// When it began, on the clock that cannot be set. Cleared at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BootTime>,
    /// How many milliseconds it took, set at its end. Older agents did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasted_ms: Option<u64>,
    /// Its lifecycle events in order.
    pub steps: Vec<Step>,
    /// The running effect; at most one.
    pub in_flight: Option<Effect>,
    /// Why the Install in flight cannot be undone yet, once a try has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_undone: Option<NotUndone>,
    /// Whether keys that signed its release were withdrawn since, so that the remaining signatures are not enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated_keys: bool,
    /// Whether a script asked for a reboot that has not happened yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebooting: bool,
    /// Whether Install put its files in place (and it was not undone).
    pub installed: bool,
    /// The health checks of its appspec, known once the bundle was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
    /// Problems that did not stop it.
    pub warnings: Vec<String>,
    /// Number of warnings that were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warnings_left_out: u64,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The command that a deployment of the CodeDeploy service carries out. Every commanded deployment has it, and no
    /// other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commanded: Option<Commanded>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Deployment {
    /// Its record as the installed revision, from `at_ms` (milliseconds since 1970).
    pub fn to_installed(&self, at_ms: u64) -> Installed {
        Installed {
            deployment: self.id.clone(),
            archive: self.archive().clone(),
            revision: self.request.revision.clone(),
            appspec_name: self.request.policy.appspec_name.clone(),
            sequence: self.request.sequence(),
            trust: self.request.trust.clone(),
            at_ms,
            health: self.health.clone(),
        }
    }

    /// Whether it needs a command of the CodeDeploy service to continue.
    pub fn waits_for_command(&self) -> bool {
        let waits = self.commanded.as_ref().is_some_and(|c| c.command.is_none() && !c.over);
        waits && self.in_flight.is_none() && self.failure.is_none()
    }

    /// Why its Install cannot be undone yet, while it waits for the next try.
    pub fn waits_to_be_undone(&self) -> Option<&NotUndone> {
        self.not_undone.as_ref().filter(|not_undone| not_undone.waits && self.in_flight.is_some())
    }

    /// Whether its bundle is unpacked where hooks find it.
    pub fn is_unpacked(&self) -> bool {
        self.step(LifecycleEvent::DownloadBundle).is_some_and(|s| s.status == StepStatus::Succeeded)
    }

    /// Whether it succeeded with a bundle of its own, so that the group can return to its revision. A rollback has none.
    pub fn brought_good_revision(&self) -> bool {
        self.outcome == Some(Outcome::Succeeded) && self.archive() == &self.id
    }

    /// The deployment whose directory holds the unpacked bundle: an earlier one for a rollback.
    pub fn archive(&self) -> &DeploymentId {
        match &self.request.source {
            Source::Kept { deployment } => deployment,
            Source::Store { .. } | Source::Location { .. } | Source::Path { .. } | Source::CodeDeploy { .. } => {
                &self.id
            }
        }
    }

    /// The first event that has neither ended nor been skipped.
    pub fn current(&self) -> Option<&Step> {
        self.steps.iter().find(|s| !s.status.is_final())
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Step> {
        self.steps.iter_mut().find(|s| !s.status.is_final())
    }

    /// The step of an event. A rollback or a restart of the old revision does not have all events.
    pub fn step(&self, event: LifecycleEvent) -> Option<&Step> {
        self.steps.iter().find(|s| s.event == event)
    }

    /// Whether it got further than fetching and checking.
    pub fn has_touched_the_host(&self) -> bool {
        self.steps.iter().any(|s| s.event != LifecycleEvent::DownloadBundle && s.started_ms.is_some())
    }

    /// Whether this event has begun.
    pub fn began(&self, event: LifecycleEvent) -> bool {
        self.step(event).is_some_and(|s| s.started_ms.is_some())
    }
}

/// A time on the clock of one boot, which cannot be set. It measures durations as long as the boot lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// The kernel's boot id.
    pub boot_id: String,
    /// Milliseconds since the boot, suspension included.
    pub ms: u64,
}

impl BootTime {
    /// Milliseconds from a beginning to this time. Across a boot, or without a recorded beginning, the wall clock
    /// counts.
    pub fn lasted_ms(&self, begun: Option<&Self>, started_ms: u64, now_ms: u64) -> u64 {
        match begun.filter(|begun| begun.boot_id == self.boot_id) {
            Some(begun) => self.ms.saturating_sub(begun.ms),
            None => now_ms.saturating_sub(started_ms),
        }
    }
}

/// One lifecycle event of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The event.
    pub event: LifecycleEvent,
    /// Its status.
    pub status: StepStatus,
    /// When it began, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
    /// When it began, on the clock that cannot be set. Cleared at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BootTime>,
    /// How many milliseconds it took, set at its end. Older agents did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasted_ms: Option<u64>,
    /// Its scripts, known once the bundle was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// What the health checks must show after the scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbePhase>,
}

impl Step {
    /// An event that has not begun, with its scripts unknown.
    pub fn new(event: LifecycleEvent) -> Self {
        Self {
            event,
            status: StepStatus::Pending,
            started_ms: None,
            finished_ms: None,
            begun: None,
            lasted_ms: None,
            scripts: Vec::new(),
            probe: None,
        }
    }
}

/// The status of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed.
    Failed,
    /// Failed, and the policy says to continue.
    Ignored,
    /// Nothing to do, or not reached.
    Skipped,
}

impl StepStatus {
    /// Whether the status is final.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The word for users: the one that JSON has, too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::Skipped => "skipped",
        }
    }
}

/// One script of an event in this deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The deployment whose unpacked bundle holds it.
    pub archive: DeploymentId,
    /// Path in that bundle, as the appspec writes it.
    pub location: String,
    /// Seconds until its deadline.
    pub timeout_seconds: u64,
    /// The line of the appspec that says so, from 1; `None` where the appspec leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_line: Option<u32>,
    /// The user that the appspec names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runas: Option<String>,
    /// Whether it runs as root if the appspec names no user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sudo: bool,
    /// Whether it may run again after an interruption.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeatable: bool,
    /// Variables that the appspec gives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// Most bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// How many times it was started.
    #[serde(default)]
    pub attempts: u32,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<HookOutcome>,
}

impl Script {
    /// A script of a bundle that was unpacked by `archive`, not begun.
    pub fn new(archive: DeploymentId, hook: &HookScript) -> Self {
        Self {
            archive,
            location: hook.location.clone(),
            timeout_seconds: hook.timeout_seconds,
            timeout_line: hook.timeout_line,
            runas: hook.runas.clone(),
            sudo: hook.sudo,
            repeatable: hook.options.repeatable,
            environment: hook.options.environment.clone(),
            tasks_max: hook.options.tasks_max,
            memory_max: hook.options.memory_max,
            attempts: 0,
            outcome: None,
        }
    }
}

impl Script {
    /// The user to run as; `None` is the agent's user.
    pub fn user(&self) -> Option<&str> {
        script_user(self.runas.as_deref(), self.sudo)
    }

    /// How a run of it ended, for people: after a deadline with its seconds, and with the line of the appspec that gave it
    /// no more.
    pub fn result_text(&self, result: &HookResult) -> String {
        let HookOutcome::TimedOut { killed } = &result.outcome else { return result.outcome.to_string() };
        let (given, passed) = (self.timeout_seconds, result.finished_ms.saturating_sub(result.started_ms) / 1000);
        // A host that has to be gone ends its scripts earlier than the appspec says.
        let mut text = format!("timed out after {} s", given.min(passed.max(1)));
        if let Some(line) = self.timeout_line.filter(|_| passed >= given) {
            text.push_str(&format!(" (timeout: {given}, line {line} of the appspec)"));
        }
        if !killed.is_empty() {
            text.push_str(&format!("; had to be killed: {}", killed.join(", ")));
        }
        text
    }
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every event succeeded.
    Succeeded,
    /// An event failed.
    Failed,
}
