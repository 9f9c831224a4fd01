//! The report at the end of a command (docs/protocols/codedeploy.md#diagnostics).

use serde::{Deserialize, Serialize};

use crate::codedeploy::wire::{CommandStatus, Envelope, MOST_PAYLOAD_BYTES};
use crate::event_order::LifecycleEvent;
use crate::hook::HookOutcome;
use crate::text::{escaped_bytes, head_that_fits, tail_that_fits};

/// The codes of the CodeDeploy agent. It also has 6, for output left open by a background child; hostler's events do
/// not wait for such a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum ErrorCode {
    /// Nothing went wrong.
    Succeeded = 0,
    /// The script is not in the bundle.
    ScriptMissing = 1,
    /// The script could not be made executable.
    NotExecutable = 2,
    /// The script did not end by its deadline.
    TimedOut = 3,
    /// The script ended badly or could not be started.
    ScriptFailed = 4,
    /// Any failure outside a script.
    Unknown = 5,
    /// The agent or the host went down in the middle, and the script may not be run again.
    FailedAfterRestart = 7,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `Succeeded` or `Failed`.
    pub status: CommandStatus,
    /// The diagnostics to send: at most [`MOST_PAYLOAD_BYTES`].
    pub payload: String,
}

impl Report {
    /// A command that succeeded; the note names special circumstances and is usually empty.
    pub fn succeeded(note: &str) -> Self {
        let message = format!("Succeeded: {note}");
        Self { status: CommandStatus::Succeeded, payload: payload(ErrorCode::Succeeded, "", &message, &[]) }
    }

    /// A command that failed outside a script.
    pub fn failed(message: &str) -> Self {
        Self { status: CommandStatus::Failed, payload: payload(ErrorCode::Unknown, "", message, &[]) }
    }

    /// A command that the CodeDeploy agent was executing when it went down.
    pub fn failed_after_restart() -> Self {
        let message = "Failed: Failing in-progress lifecycle event after an agent restart.";
        Self { status: CommandStatus::Failed, payload: payload(ErrorCode::FailedAfterRestart, "", message, &[]) }
    }

    /// A command whose script failed.
    pub fn script_failed(event: LifecycleEvent, script: &FailedScript<'_>) -> Self {
        let (code, message) = script.code_and_message();
        let mut log = vec![format!("LifecycleEvent - {event}"), format!("Script - {}", script.location)];
        log.extend(script.tail.iter().cloned());
        Self { status: CommandStatus::Failed, payload: payload(code, script.location, &message, &log) }
    }

    /// The diagnostics in the form for the service.
    pub fn envelope(&self) -> Envelope {
        Envelope::json(self.payload.clone())
    }
}

/// A script that did not succeed.
#[derive(Debug, Clone)]
pub struct FailedScript<'a> {
    /// The script as the appspec writes it.
    pub location: &'a str,
    /// The user that it ran as, if the appspec names one.
    pub runas: Option<&'a str>,
    /// Its deadline.
    pub timeout_seconds: u64,
    /// How it ended.
    pub outcome: &'a HookOutcome,
    /// Its last lines, as `[stdout]…` and `[stderr]…`.
    pub tail: &'a [String],
}

impl FailedScript<'_> {
    /// The code, and the CodeDeploy agent's words, for which users search in consoles and alarms.
    fn code_and_message(&self) -> (ErrorCode, String) {
        let location = self.location;
        let script = match self.runas {
            Some(user) => format!("Script at specified location: {location} run as user {user}"),
            None => format!("Script at specified location: {location}"),
        };
        match self.outcome {
            HookOutcome::Exited { code } => (ErrorCode::ScriptFailed, format!("{script} failed with exit code {code}")),
            HookOutcome::Signaled { signal } => (
                ErrorCode::ScriptFailed,
                format!("{script} failed with exit code {} (ended by signal {signal})", 128 + signal),
            ),
            HookOutcome::TimedOut { killed } => {
                let seconds = self.timeout_seconds;
                let killed = match killed.as_slice() {
                    [] => String::new(),
                    killed => format!("; it had to be killed: {}", killed.join(", ")),
                };
                (ErrorCode::TimedOut, format!("{script} failed to complete in {seconds} seconds{killed}"))
            }
            HookOutcome::ScriptMissing { message } => (
                ErrorCode::ScriptMissing,
                format!("Script does not exist at specified location: {location}: {message}"),
            ),
            HookOutcome::NotExecutable { message } => {
                let script = format!("Unable to set script at specified location: {location} as executable");
                (ErrorCode::NotExecutable, format!("{script}: {message}"))
            }
            HookOutcome::CouldNotStart { message, .. } => {
                (ErrorCode::ScriptFailed, format!("{script} could not be started: {message}"))
            }
            HookOutcome::Interrupted => (
                ErrorCode::FailedAfterRestart,
                format!(
                    "Failed: {script} was interrupted: the host stopped, or what watches over the script was killed"
                ),
            ),
            HookOutcome::Aborted { .. } | HookOutcome::Cancelled => {
                (ErrorCode::ScriptFailed, format!("{script}: {}", self.outcome))
            }
        }
    }
}

/// The diagnostics' JSON. It keeps the newest part of the log that fits, in whole lines except the oldest. A message
/// that leaves the log too little room is cut.
fn payload(code: ErrorCode, script: &str, message: &str, log: &[String]) -> String {
    /// Bytes that a long message leaves for the log.
    const ROOM_FOR_LOG: usize = 2048;
    /// Most bytes of a script's name.
    const MOST_OF_SCRIPT: usize = 1024;
    let script = head_that_fits(script, MOST_OF_SCRIPT);
    let fixed = document(code, script, "", "").len();
    let room = MOST_PAYLOAD_BYTES.saturating_sub(fixed);
    let message = head_that_fits(message, room.saturating_sub(ROOM_FOR_LOG));
    let log: String = log.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let log = tail_that_fits(&log, room.saturating_sub(escaped_bytes(message)));
    document(code, script, message, log)
}

fn document(code: ErrorCode, script: &str, message: &str, log: &str) -> String {
    #[derive(Serialize)]
    struct Diagnostics<'a> {
        error_code: u8,
        script_name: &'a str,
        message: &'a str,
        log: &'a str,
    }
    let diagnostics = Diagnostics { error_code: code as u8, script_name: script, message, log };
    // Texts and a number always serialize to JSON.
    serde_json::to_string(&diagnostics).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed<'a>(outcome: &'a HookOutcome, tail: &'a [String]) -> FailedScript<'a> {
        FailedScript { location: "s.sh", runas: None, timeout_seconds: 5, outcome, tail }
    }

    fn read(report: &Report) -> (i64, String, String, String) {
        let value: serde_json::Value = serde_json::from_str(&report.payload).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        (value["error_code"].as_i64().unwrap(), text("script_name"), text("message"), text("log"))
    }

    #[test]
    fn success_is_said_byte_for_byte() {
        let expected = r#"{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}"#;
        assert_eq!(Report::succeeded("").payload, expected);
        assert!(Report::succeeded("CompletedNoopCommand").payload.contains(r#""Succeeded: CompletedNoopCommand""#));
    }

    #[test]
    fn every_end_of_a_script_has_the_codedeploy_agents_code() {
        let message = || "why".to_owned();
        let cases = [
            (HookOutcome::ScriptMissing { message: message() }, 1, "does not exist at specified location: s.sh"),
            (HookOutcome::NotExecutable { message: message() }, 2, "Unable to set script"),
            (HookOutcome::TimedOut { killed: vec![] }, 3, "failed to complete in 5 seconds"),
            (HookOutcome::Exited { code: 9 }, 4, "Script at specified location: s.sh failed with exit code 9"),
            (HookOutcome::Signaled { signal: 9 }, 4, "failed with exit code 137"),
            (HookOutcome::could_not_start(message()), 4, "could not be started: why"),
            (HookOutcome::Interrupted, 7, "Failed: "),
        ];
        for (outcome, code, words) in cases {
            let report = Report::script_failed(LifecycleEvent::AfterInstall, &failed(&outcome, &[]));
            let (found, script, message, log) = read(&report);
            assert_eq!((found, script.as_str(), report.status), (code, "s.sh", CommandStatus::Failed), "{outcome:?}");
            assert!(message.contains(words), "{message}");
            assert_eq!(log, "LifecycleEvent - AfterInstall\nScript - s.sh\n");
        }
        assert_eq!(read(&Report::failed("no appspec")), (5, String::new(), "no appspec".to_owned(), String::new()));
    }

    #[test]
    fn the_user_is_named_where_the_appspec_names_one() {
        let outcome = HookOutcome::Exited { code: 1 };
        let script = FailedScript { runas: Some("web"), ..failed(&outcome, &[]) };
        let (_, _, message, _) = read(&Report::script_failed(LifecycleEvent::AfterInstall, &script));
        assert_eq!(message, "Script at specified location: s.sh run as user web failed with exit code 1");
    }

    #[test]
    fn one_long_line_leaves_its_end() {
        let outcome = HookOutcome::Exited { code: 1 };
        let tail = [format!("[stderr]{}the end", "x".repeat(20_000))];
        let report = Report::script_failed(LifecycleEvent::AfterInstall, &failed(&outcome, &tail));
        let (_, _, _, log) = read(&report);
        assert!(log.ends_with("xthe end\n") && log.len() > 7000, "{} bytes", log.len());
    }

    #[test]
    fn lines_are_kept_whole() {
        let outcome = HookOutcome::Exited { code: 1 };
        let tail: Vec<String> = (0..500).map(|n| format!("[stdout]line {n} {}", "y".repeat(80))).collect();
        let (_, _, _, log) = read(&Report::script_failed(LifecycleEvent::AfterInstall, &failed(&outcome, &tail)));
        assert!(log.starts_with("[stdout]line ") && log.contains("line 499 "), "{log}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

        #[test]
        fn whatever_is_written_fits_and_is_json(
            message in "\\PC{0,3000}|[\u{0}-\u{1f}\"\\\\ä€𝄞]{0,3000}",
            tail in prop::collection::vec("[\u{0}-\u{ff}\"\\\\ä€𝄞]{0,400}", 0..60),
        ) {
            let outcome = HookOutcome::could_not_start(message);
            let report = Report::script_failed(LifecycleEvent::AfterInstall, &failed(&outcome, &tail));
            prop_assert!(report.payload.len() <= MOST_PAYLOAD_BYTES, "{} bytes", report.payload.len());
            let (code, _, _, log) = read(&report);
            prop_assert_eq!(code, 4);
            let last = tail.last().map_or("", |line| line.as_str());
            let last = last.chars().last().map_or(String::new(), String::from) + "\n";
            prop_assert!(log.ends_with(&last), "{:?}", log);
        }
    }
}
