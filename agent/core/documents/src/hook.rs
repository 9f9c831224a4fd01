//! One run of one hook script: the instructions for its supervisor and the supervisor's answer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error_chain::is_for_want_of_space;
use crate::ids::{DeploymentId, Sha256Digest};
use crate::limits::Limits;
use crate::path_rule::UnsafePaths;
use crate::text::bounded;

mod environment;
mod locale;
pub mod output;
mod scripts_log;
pub mod user_limits;

pub use environment::{BundleOrigin, DEFAULT_PATH, HookFacts, environment, may_inherit, with_defaults, with_own};
pub use locale::parse_locale;
pub use scripts_log::{ScriptsLog, ScriptsLogLine};
pub use user_limits::{LimitedUser, UNLIMITED, UserLimits};

/// Everything the supervisor needs to run one script, stored in the run directory as `run.json` (mode 0600).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// Version of this document; a supervisor refuses an unknown one.
    pub version: u32,
    /// The deployment for which it runs.
    pub deployment: DeploymentId,
    /// The lifecycle event, as the appspec names it.
    pub event: String,
    /// Whether it is the first script of its event; the logs name the event before it.
    pub first_of_event: bool,
    /// The script as the appspec writes it, for the logs.
    pub location: String,
    /// The directory of the unpacked bundle that must contain the script, absolute.
    pub archive: PathBuf,
    /// The working directory, absolute.
    pub working_directory: PathBuf,
    /// The user to run as; `None` is the agent's own user.
    pub user: Option<String>,
    /// That user as the agent found it in the user database. `None` where the agent did not find it, and for a run that an
    /// older agent began: then the supervisor looks it up.
    #[serde(default)]
    pub account: Option<User>,
    /// The whole environment except HOME, USER, LOGNAME and SHELL, which come from the user database.
    pub environment: Vec<(String, String)>,
    /// Whether to pass the agent's own environment too (`hooks.inherit_environment`).
    pub inherit_environment: bool,
    /// Seconds until the deadline.
    pub timeout_seconds: u64,
    /// Seconds between SIGTERM and SIGKILL at the deadline.
    pub grace_seconds: u64,
    /// Seconds within which the supervisor must start; a later one finds itself cancelled.
    pub start_seconds: u64,
    /// Seconds after the deadline and the grace at which the agent itself ends a run that its supervisor has not ended.
    #[serde(default = "overdue_seconds")]
    pub overdue_seconds: u64,
    /// File mode creation mask.
    pub umask: u32,
    /// Most processes and threads in the hook's control group; `None` is the system's limit.
    pub tasks_max: Option<u64>,
    /// Most bytes of memory of the hook's control group; `None` is no limit.
    #[serde(default)]
    pub memory_max: Option<u64>,
    /// `scripts.log` of the deployment, absolute.
    pub scripts_log: PathBuf,
    /// The log of all deployments, absolute; `None` if it is turned off.
    pub deployments_log: Option<PathBuf>,
    /// Most bytes of output of this run to log; further ones are counted.
    pub log_bytes: u64,
    /// Most bytes of output to log per second, on average; 0 is no limit.
    pub log_bytes_per_second: u64,
    /// Most bytes of one line; longer lines are cut and marked.
    pub line_bytes: usize,
    /// Most lines in the result's tail.
    pub tail_lines: usize,
    /// Patterns that are removed from the output before it is written anywhere.
    #[serde(default)]
    pub redact_patterns: Vec<String>,
    /// Files whose lines are secrets. They are read when the script starts, and removed from its output.
    #[serde(default)]
    pub redact_values_from: Vec<PathBuf>,
    /// Most bytes to read of each of them.
    #[serde(default)]
    pub secret_file_bytes: u64,
    /// What to do about unsafe paths to them.
    #[serde(default)]
    pub unsafe_paths: UnsafePaths,
    /// The soft and the hard limit of open files of the agent's service; the script has no lower ones. `None` for a run
    /// that an older agent began.
    #[serde(default)]
    pub open_files: Option<(u64, u64)>,
    /// The directory of limits.conf, for a user that the appspec names: `/etc/security`.
    #[serde(default)]
    pub security: Option<PathBuf>,
}

/// A user as a process needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The login name; the number as text if the user database has no entry.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All group ids, including the primary one.
    pub groups: Vec<u32>,
    /// Home directory; `/` if the user database has no entry.
    pub home: PathBuf,
    /// Login shell, which may refuse logins; `/bin/sh` where the user database has no entry.
    pub shell: PathBuf,
}

impl User {
    /// Whether JSON can hold it: the paths are UTF-8.
    pub fn is_text(&self) -> bool {
        self.home.to_str().is_some() && self.shell.to_str().is_some()
    }
}

/// The default for runs that older agents began.
fn overdue_seconds() -> u64 {
    Limits::default().supervisor_overdue_seconds
}

/// The user that a script of an appspec runs as; `None` is the agent's own user.
///
/// `runas` decides. `sudo` alone is root. With both, the CodeDeploy agent 1.8.1 runs `sudo su USER -c SCRIPT`
/// (`hook_executor.rb`, `linux_util.rb`): the user is `runas`, and `sudo` is only the means.
pub fn script_user(runas: Option<&str>, sudo: bool) -> Option<&str> {
    runas.or(if sudo { Some("root") } else { None })
}

/// The current version of [`HookRun`] and [`HookResult`].
pub const HOOK_DOCUMENT_VERSION: u32 = 1;

/// Bytes of the kept reason why a script could not start. Prevents: a failure's text that fills the ledger.
const MOST_OF_MESSAGE: usize = 1 << 10;

/// Most killed processes that are named, and the bytes of each name. Prevents: the same, by a script that forks without
/// end.
const MOST_KILLED: usize = 20;
const MOST_OF_NAME: usize = 64;

/// The supervisor's result, stored in the run directory as `result.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookResult {
    /// Version of this document.
    pub version: u32,
    /// How it ended.
    pub outcome: HookOutcome,
    /// When the script was started, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended, milliseconds since 1970.
    pub finished_ms: u64,
    /// The last lines, as `[stdout]…` and `[stderr]…`.
    pub tail: Vec<String>,
    /// Bytes that the script wrote until it ended.
    pub output_bytes: u64,
    /// Lines that were not logged because a bound was reached.
    pub dropped_lines: u64,
    /// Digest of the output that was logged until the script ended.
    pub output_digest: Option<Sha256Digest>,
}

/// How one run of a script ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HookOutcome {
    /// The script ended by itself.
    Exited {
        /// Its exit status.
        code: i32,
    },
    /// A signal that did not come from the supervisor ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// The deadline passed, and the supervisor ended everything in the hook's process group or control group.
    TimedOut {
        /// The processes that did not end at SIGTERM, as `pid name`.
        killed: Vec<String>,
    },
    /// The file is not in the bundle, or leads out of it.
    ScriptMissing {
        /// The expected and the found file.
        message: String,
    },
    /// The script is not executable and the agent could not make it so.
    NotExecutable {
        /// The failure and its reason.
        message: String,
    },
    /// The script could not be started: no such user, bad interpreter …
    CouldNotStart {
        /// The failure and its reason.
        message: String,
        /// Whether the agent or the supervisor had no space for what they write down of the run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_space: bool,
    },
    /// The operator aborted the running script, and the supervisor ended everything in its process group or control
    /// group.
    Aborted {
        /// The processes that did not end at SIGTERM, as `pid name`.
        killed: Vec<String>,
    },
    /// It was started and has no result: the supervisor was killed or the host lost power.
    Interrupted,
    /// It was cancelled before the script started.
    Cancelled,
}

impl HookResult {
    /// The result of a script without known output; both times in milliseconds since 1970.
    pub fn without_output(outcome: HookOutcome, started_ms: u64, finished_ms: u64) -> Self {
        Self {
            version: HOOK_DOCUMENT_VERSION,
            outcome,
            started_ms,
            finished_ms,
            tail: Vec::new(),
            output_bytes: 0,
            dropped_lines: 0,
            output_digest: None,
        }
    }
}

impl HookOutcome {
    /// A script that could not be started, for a reason other than want of space.
    pub fn could_not_start(message: String) -> Self {
        Self::CouldNotStart { message, no_space: false }
    }

    /// A script that could not be started because of this error.
    pub fn could_not_start_because(message: String, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::CouldNotStart { message, no_space: is_for_want_of_space(error) }
    }

    /// Whether the event may continue.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }

    /// The same, with texts and names cut to the room that the agent's state has.
    #[must_use]
    pub fn bounded(self) -> Self {
        let killed = |mut names: Vec<String>| {
            let more = names.len().saturating_sub(MOST_KILLED);
            names.truncate(MOST_KILLED);
            names.iter_mut().for_each(|name| *name = bounded(name, MOST_OF_NAME, ""));
            names.extend((more > 0).then(|| format!("and {more} more")));
            names
        };
        let message = |message: String| bounded(&message, MOST_OF_MESSAGE, "");
        match self {
            Self::TimedOut { killed: names } => Self::TimedOut { killed: killed(names) },
            Self::Aborted { killed: names } => Self::Aborted { killed: killed(names) },
            Self::ScriptMissing { message: text } => Self::ScriptMissing { message: message(text) },
            Self::NotExecutable { message: text } => Self::NotExecutable { message: message(text) },
            Self::CouldNotStart { message: text, no_space } => Self::CouldNotStart { message: message(text), no_space },
            short @ (Self::Exited { .. } | Self::Signaled { .. } | Self::Interrupted | Self::Cancelled) => short,
        }
    }
}

impl HookOutcome {
    /// How a run ended, for people; `seconds` is how long it may run, which a run that timed out says.
    pub fn text_after(&self, seconds: u64) -> String {
        match self {
            Self::TimedOut { killed } if killed.is_empty() => format!("timed out after {seconds} s"),
            Self::TimedOut { killed } => {
                format!("timed out after {seconds} s; had to be killed: {}", killed.join(", "))
            }
            _ => self.to_string(),
        }
    }
}

impl std::fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exit status {code}"),
            Self::Signaled { signal } => write!(f, "ended by signal {signal}"),
            Self::TimedOut { killed } if killed.is_empty() => write!(f, "timed out"),
            Self::TimedOut { killed } => write!(f, "timed out; had to be killed: {}", killed.join(", ")),
            Self::Aborted { killed } if killed.is_empty() => write!(f, "aborted on request"),
            Self::Aborted { killed } => write!(f, "aborted on request; had to be killed: {}", killed.join(", ")),
            Self::ScriptMissing { message } | Self::NotExecutable { message } | Self::CouldNotStart { message, .. } => {
                f.write_str(message)
            }
            Self::Interrupted => write!(
                f,
                "interrupted: it was started and left no result (the host stopped, or its supervisor was killed)"
            ),
            Self::Cancelled => write!(f, "cancelled before it started"),
        }
    }
}
