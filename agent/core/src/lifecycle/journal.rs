//! What is remembered of the group's wishes, in the ledger: it is durable before anything is done about them.

use serde::{Deserialize, Serialize};

use super::decide::MARGIN_MS;
use super::notices::Notice;
use crate::text::bounded;

/// Notices that are remembered as handled, also across a reboot. EC2 has at most a few at a time.
const REMEMBERED_NOTICES: usize = 32;

/// Bytes of why an action ended as it did. Prevents: a failure's text that fills the ledger.
const MOST_OF_TEXT: usize = 1 << 10;

/// How often an action that the group says it does not know is completed again while the instance still waits for a
/// hook: it may not be there yet, or it has ended and the wait is for somebody else's hook.
pub const MOST_UNKNOWN_ANSWERS: u32 = 20;

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Number of the last action.
    pub entries: u64,
    /// What the group's wishes leave to deployments.
    #[serde(alias = "posture")]
    pub instance_state: InstanceState,
    /// Whether the instance was in service, or on its way there, since it last was in the warm pool: its applications may
    /// run.
    pub served: bool,
    /// What is being done for the group.
    pub action: Option<Action>,
    /// What was done last, and how it ended.
    pub last: Option<Closed>,
    /// Ids of the notices that were handled.
    pub notices: Vec<String>,
    /// What EC2 announced when it was asked last.
    #[serde(default)]
    pub announced: Vec<Notice>,
}

/// What may be done on this host, as the group sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Everything: in service, on the way there, or in no group.
    #[default]
    #[serde(alias = "free")]
    InService,
    /// In the warm pool: nothing is deployed or started.
    #[serde(alias = "pooled")]
    WarmPool,
    /// In a Standby that somebody else asked for: nothing new is deployed.
    #[serde(alias = "parked")]
    Standby,
    /// In service, and EC2 recommends another instance: nothing new is deployed.
    #[serde(alias = "at_risk")]
    RebalanceHold,
    /// On the way out: nothing new begins.
    #[serde(alias = "leaving")]
    Terminating,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its number. The same hook in the same state a second time is another action.
    pub entry: u64,
    /// What.
    pub kind: ActionKind,
    /// The group, where a hook waits.
    pub group: Option<String>,
    /// The hooks that this agent completes.
    pub hooks: Vec<Hook>,
    /// When it was seen first, milliseconds since 1970.
    pub begun_ms: u64,
    /// When the work must have ended, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Whether applications are stopped for it.
    pub stops: bool,
    /// What came of the work.
    pub decided: Option<Decided>,
}

/// What is done for a hook or a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Deploy the desired revision and prove that it is healthy.
    Launch,
    /// Into the warm pool: nothing is started, and what still runs is stopped.
    Prepare,
    /// Stop the applications: the instance ends.
    Shutdown,
    /// Stop the applications: the instance goes back into the warm pool with its files.
    ReturnToPool,
}

impl ActionKind {
    /// Whether a launch hook waits for it, and not a termination hook.
    pub fn launches(self) -> bool {
        matches!(self, Self::Launch | Self::Prepare)
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Prepare => "preparing for the warm pool",
            Self::Shutdown => "shutdown",
            Self::ReturnToPool => "return to the warm pool",
        }
    }
}

/// A hook that this agent completes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Seconds that one heartbeat buys.
    pub heartbeat_seconds: u64,
    /// Seconds after which no heartbeat helps.
    pub global_seconds: u64,
    /// The group took its completion.
    pub completed: bool,
    /// How often the group knew no such action when it was completed.
    pub unknown_answers: u32,
}

impl Hook {
    /// Whether its completion is still to be sent.
    pub fn is_open(&self) -> bool {
        !self.completed && self.unknown_answers < MOST_UNKNOWN_ANSWERS
    }
}

/// A result with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What the hooks are completed with.
    pub result: HookOutcome,
    /// Why, in words.
    pub why: String,
}

/// What a hook is completed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookOutcome {
    /// Go on.
    Continue,
    /// A launch is given up: the group replaces the instance. A termination leaves out the other hooks.
    Abandon,
}

impl HookOutcome {
    /// As CompleteLifecycleAction has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// An action that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The action.
    pub action: Action,
    /// How it ended, in words.
    pub how: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something begins. The number is given by the journal.
    Open(Opening),
    /// The instance was found in this instance state; `served` where it says something about that.
    Found(InstanceState, Option<bool>),
    /// A deadline came nearer: a notice while a hook waits.
    Hurry(u64),
    /// The work of this action has ended.
    Decide(u64, Decided),
    /// The group took the completion of this hook.
    Completed(u64, String),
    /// The group knew no such action.
    UnknownToGroup(u64, String),
    /// The action ended.
    Close(u64, String),
    /// A notice was handled.
    Handled(String),
    /// EC2 announces this, and nothing else.
    Announced(Vec<Notice>),
    /// Somebody set the clock by so many milliseconds.
    ClockSet(i64),
}

/// An action that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What.
    pub kind: ActionKind,
    /// The group, where a hook waits.
    pub group: Option<String>,
    /// The hooks that this agent completes.
    pub hooks: Vec<Hook>,
    /// When the work must have ended.
    pub deadline_ms: Option<u64>,
}

impl Opening {
    /// What begins for hooks that wait. It ends before the first of their times is over, and a launch also within the time
    /// that is wished for it.
    pub fn for_hooks(
        kind: ActionKind,
        group: String,
        hooks: Vec<Hook>,
        launch_timeout_seconds: u64,
        now_ms: u64,
    ) -> Self {
        let global_ms = hooks.iter().map(|hook| hook.global_seconds.saturating_mul(1000)).min();
        let wished_ms = kind.launches().then_some(launch_timeout_seconds.saturating_mul(1000));
        let most_ms = [global_ms, wished_ms].into_iter().flatten().min();
        let deadline_ms = most_ms.map(|most| now_ms.saturating_add(most.saturating_sub(MARGIN_MS)));
        Self { kind, group: Some(group), hooks, deadline_ms }
    }
}

impl Lifecycle {
    /// Takes a change in. One that names another action than the open one changes nothing: it came late.
    pub fn take(&mut self, change: Change, now_ms: u64) {
        match change {
            Change::Open(opening) => self.open(opening, now_ms),
            Change::Found(instance_state, served) => {
                self.instance_state = instance_state;
                self.served = served.unwrap_or(self.served);
            }
            Change::Hurry(deadline_ms) => {
                if let Some(action) = &mut self.action {
                    action.deadline_ms = Some(action.deadline_ms.map_or(deadline_ms, |now| now.min(deadline_ms)));
                }
            }
            Change::Decide(entry, decided) => {
                // The first word stands: a second one would complete a hook with another result.
                if let Some(action) = self.open_action(entry) {
                    let why = bounded(&decided.why, MOST_OF_TEXT, "");
                    action.decided.get_or_insert(Decided { why, ..decided });
                }
            }
            Change::Completed(entry, name) => {
                if let Some(hook) = self.open_hook(entry, &name) {
                    hook.completed = true;
                }
            }
            Change::UnknownToGroup(entry, name) => {
                if let Some(hook) = self.open_hook(entry, &name) {
                    hook.unknown_answers = hook.unknown_answers.saturating_add(1);
                }
            }
            Change::Close(entry, how) => {
                if self.open_action(entry).is_some()
                    && let Some(action) = self.action.take()
                {
                    let how = bounded(&how, MOST_OF_TEXT, "");
                    self.last = Some(Closed { action, how, at_ms: now_ms });
                }
            }
            Change::Handled(id) => {
                if !self.notices.contains(&id) {
                    self.notices.push(id);
                }
                let surplus = self.notices.len().saturating_sub(REMEMBERED_NOTICES);
                self.notices.drain(..surplus);
            }
            Change::Announced(notices) => {
                self.announced = notices;
                self.announced.truncate(REMEMBERED_NOTICES);
            }
            Change::ClockSet(by_ms) => {
                // What is done for a notice alone has EC2's own time, which no clock of this host moves.
                if let Some(action) = self.action.as_mut().filter(|action| action.group.is_some()) {
                    action.begun_ms = action.begun_ms.saturating_add_signed(by_ms);
                    action.deadline_ms = action.deadline_ms.map(|at| at.saturating_add_signed(by_ms));
                }
            }
        }
    }

    fn open(&mut self, opening: Opening, now_ms: u64) {
        if self.action.is_some() {
            return;
        }
        self.entries += 1;
        if opening.kind == ActionKind::Shutdown {
            self.instance_state = InstanceState::Terminating;
        } else if opening.kind != ActionKind::Launch {
            self.instance_state = InstanceState::WarmPool;
        } else {
            (self.instance_state, self.served) = (InstanceState::InService, true);
        }
        self.action = Some(Action {
            entry: self.entries,
            kind: opening.kind,
            group: opening.group,
            hooks: opening.hooks,
            begun_ms: now_ms,
            deadline_ms: opening.deadline_ms,
            stops: match opening.kind {
                ActionKind::Launch => false,
                ActionKind::Shutdown | ActionKind::ReturnToPool => true,
                // What never served runs nothing yet.
                ActionKind::Prepare => self.served,
            },
            decided: None,
        });
    }

    fn open_action(&mut self, entry: u64) -> Option<&mut Action> {
        self.action.as_mut().filter(|action| action.entry == entry)
    }

    fn open_hook(&mut self, entry: u64, name: &str) -> Option<&mut Hook> {
        self.open_action(entry)?.hooks.iter_mut().find(|hook| hook.name == name)
    }
}
