//! The ledger's record of the group's wishes. It is durable before the agent acts on them.

use serde::{Deserialize, Serialize};

use super::decide::MARGIN_MS;
use super::notices::Notice;
use crate::text::bounded;

/// Notices that are remembered as handled, even across a reboot. EC2 has at most a few at a time.
const REMEMBERED_NOTICES: usize = 32;

/// Bytes of the reason why an action ended. Prevents: a failure's text that fills the ledger.
const MOST_OF_TEXT: usize = 1 << 10;

/// How often the agent completes again an action that the group does not know, while the instance still waits for a
/// hook: the action may not exist yet, or it has ended and the instance waits for another agent's hook.
pub const MOST_UNKNOWN_ANSWERS: u32 = 20;

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Number of the last action.
    pub entries: u64,
    /// What the group allows deployments to do.
    #[serde(alias = "posture")]
    pub instance_state: InstanceState,
    /// Whether the instance has been in service, or on its way there, since it was last in the warm pool: its
    /// applications may run.
    pub served: bool,
    /// The open action.
    pub action: Option<Action>,
    /// The last action and its end.
    pub last: Option<Closed>,
    /// Ids of the notices that were handled.
    pub notices: Vec<String>,
    /// EC2's announcements at the last look.
    #[serde(default)]
    pub announced: Vec<Notice>,
}

/// What may be done on this host, according to the group.
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
    /// In a Standby that another caller asked for: nothing new is deployed.
    #[serde(alias = "parked")]
    Standby,
    /// In service, and EC2 recommends another instance: nothing new is deployed.
    #[serde(alias = "at_risk")]
    RebalanceHold,
    /// On the way out: nothing new begins.
    #[serde(alias = "leaving")]
    Terminating,
}

impl InstanceState {
    /// The state in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::InService => "in service",
            Self::WarmPool => "in the warm pool",
            Self::Standby => "in Standby",
            Self::RebalanceHold => "held because EC2 recommends another instance",
            Self::Terminating => "terminating",
        }
    }
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its number. The same hook in the same state is another action the second time.
    pub entry: u64,
    /// The kind.
    pub kind: ActionKind,
    /// The group, where a hook waits.
    pub group: Option<String>,
    /// The hooks that this agent completes.
    pub hooks: Vec<Hook>,
    /// When the agent first saw it, milliseconds since 1970.
    pub begun_ms: u64,
    /// When the work must have ended, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Whether it stops applications.
    pub stops: bool,
    /// The result of the work.
    pub decided: Option<Decided>,
}

/// The kind of an action for a hook or a notice.
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
    /// Whether a launch hook waits for it, as opposed to a termination hook.
    pub fn launches(self) -> bool {
        matches!(self, Self::Launch | Self::Prepare)
    }

    /// The words for users.
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
    /// Whether the group accepted its completion.
    pub completed: bool,
    /// How often the group did not know the action at its completion.
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
    /// The result that completes the hooks.
    pub result: HookOutcome,
    /// Why, in words.
    pub why: String,
}

/// The result of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookOutcome {
    /// Go on.
    Continue,
    /// A launch is given up: the group replaces the instance. A termination leaves out the other hooks.
    Abandon,
}

impl HookOutcome {
    /// CompleteLifecycleAction's word for it.
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
    /// When it ended, milliseconds since 1970.
    pub at_ms: u64,
}

/// One change of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An action begins. The journal gives it its number.
    Open(Opening),
    /// The instance was found in this state; `served` if that state says whether it served.
    Found(InstanceState, Option<bool>),
    /// A deadline came nearer: a notice arrived while a hook waits.
    Hurry(u64),
    /// The work of this action has ended.
    Decide(u64, Decided),
    /// The group accepted the completion of this hook.
    Completed(u64, String),
    /// The group did not know the action.
    UnknownToGroup(u64, String),
    /// The action ended.
    Close(u64, String),
    /// A notice was handled.
    Handled(String),
    /// EC2 announces exactly these.
    Announced(Vec<Notice>),
    /// The clock was set by this many milliseconds.
    ClockSet(i64),
}

/// An action to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The kind.
    pub kind: ActionKind,
    /// The group, where a hook waits.
    pub group: Option<String>,
    /// The hooks that this agent completes.
    pub hooks: Vec<Hook>,
    /// When the work must have ended.
    pub deadline_ms: Option<u64>,
}

impl Opening {
    /// The action for waiting hooks. It ends before the first of them times out, and a launch also within its own time
    /// limit.
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
    /// Applies a change. A change for an action other than the open one came late and changes nothing.
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
                // The first result stands: a second one would complete a hook with another result.
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
                // An action for a notice alone has EC2's own time, which no clock of this host moves.
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
                // An instance that never served runs nothing yet.
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
