//! `hostler history`: the deployments of this host, and whether their record is complete.

use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::history::{DeploymentOutcome, Entry, EventOutcome, Finding, Kind, Recovered, Requester};
use hostler_core::label::revision_name;
use hostler_core::machine::State;
use hostler_host::history_file::HistoryFileError;
use hostler_host::{clock, history_file, journal, ledger};

use crate::cli::{HistoryArgs, Shared};
use crate::control::MOST_HISTORY_RECORDS;
use crate::control::client::Client;
use crate::control::server::newest_records;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::state_file::{WHO_READS, ledger_failure, read_state};

pub fn run(shared: &Shared, arguments: &HistoryArgs) -> Outcome {
    let setup = Setup::of_flags(shared)?;
    if arguments.verify {
        return verify(&setup);
    }
    let most = arguments.newest.unwrap_or(usize::MAX);
    match newest_records(&setup, most) {
        Ok(lines) => show(&setup, lines),
        Err(error) if error.is_closed() => super::block_on(of_daemon(&setup, most, error)),
        Err(error) => Err(Failure::from(error)),
    }
}

/// Members of the service group may not read the file, and ask the daemon.
async fn of_daemon(setup: &Setup, most: usize, closed: HistoryFileError) -> Outcome {
    let Some(mut client) = Client::connect(setup).await else {
        return Err(Failure::new(ExitCode::Failed, closed).hint(WHO_READS));
    };
    let lines = client.history().await?;
    if lines.len() == MOST_HISTORY_RECORDS && most > MOST_HISTORY_RECORDS {
        output::notice(&format!("these are the newest {MOST_HISTORY_RECORDS} records; root reads all of them"));
    }
    let surplus = lines.len().saturating_sub(most);
    show(setup, lines.into_iter().skip(surplus).map(String::into_bytes))
}

fn show(setup: &Setup, lines: impl IntoIterator<Item = Vec<u8>>) -> Outcome {
    for line in lines {
        if setup.json {
            output::text(&format!("{}\n", String::from_utf8_lossy(&line)))?;
        } else {
            output::text(&text(&line))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// The end of the chain in the ledger is the anchor that always exists: it reveals a cut tail. The anchors in the
/// journal reveal a tail that was cut together with the ledger.
fn verify(setup: &Setup) -> Outcome {
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
    let sent = match &state.instance {
        // Without a ledger every anchor in the journal counts: both files may have been deleted.
        None if state == State::default() => journal::anchors(setup.layout.state(), None),
        // Sealed: the anchors in the journal are another host's.
        None => Vec::new(),
        Some(host) => journal::anchors(setup.layout.state(), Some(host)),
    };
    let anchors = state.history.anchor().into_iter().chain(sent);
    let findings: Vec<Finding> = history_file::verify(setup.layout.state(), anchors, &setup.limits)?;
    if setup.json {
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        output::json(&serde_json::json!({ "version": 1, "whole": findings.is_empty(), "findings": shown }))?;
    } else if findings.is_empty() {
        output::text(&format!("the history is whole: {} records\n", state.history.chain.next_seq))?;
    } else {
        for finding in &findings {
            output::text(&format!("{finding}\n"))?;
        }
    }
    Ok(if findings.is_empty() { ExitCode::Ok } else { ExitCode::VerificationFailed })
}

fn text(line: &[u8]) -> String {
    match Entry::parse(line) {
        Ok(entry) => format!("{} {}\n", clock::local_time(entry.time_ms), kind_text(&entry.kind)),
        Err(error) => format!("(not a record: {error})\n"),
    }
}

fn kind_text(kind: &Kind) -> String {
    match kind {
        Kind::DeploymentStarted { deployment, group, revision, label, location, sequence, requested, .. } => {
            let mut text = format!("{deployment} deployment of {group} started{}", by(requested));
            if let Some(sequence) = sequence {
                let _ = write!(text, ", release {sequence}");
            }
            let what = revision.map_or_else(|| location.clone(), |digest| revision_name(label.as_ref(), &digest));
            format!("{text}: {what}")
        }
        Kind::EventFinished { deployment, event, outcome, message } => {
            let word = match outcome {
                EventOutcome::Succeeded => "ok",
                EventOutcome::Failed => "FAILED",
                EventOutcome::FailedAndIgnored => "failed, ignored",
                EventOutcome::Skipped => "nothing to do",
            };
            let message = message.as_ref().map_or_else(String::new, |m| format!(": {}", m.replace('\n', " ")));
            format!("{deployment}   {event}: {word}{message}")
        }
        Kind::HookFinished { deployment, event, location, outcome, started_ms, finished_ms, .. } => {
            let took = crate::progress::seconds(finished_ms.saturating_sub(*started_ms));
            format!("{deployment}   {event}: {location}: {outcome} after {took}")
        }
        Kind::InstallFinished { deployment, entries, .. } => {
            format!("{deployment}   Install: {entries} paths installed")
        }
        Kind::InstallUndone { deployment, reason } => format!("{deployment}   Install was undone: {reason}"),
        Kind::DeploymentFinished { deployment, outcome, .. } => {
            let word = match outcome {
                DeploymentOutcome::Succeeded => "succeeded",
                DeploymentOutcome::Failed => "FAILED",
                DeploymentOutcome::Stopped => "stopped",
            };
            format!("{deployment} {word}")
        }
        Kind::Rollback { failed, group, to, requested, .. } => {
            let why = failed.as_ref().map_or_else(|| by(requested), |id| format!(" because {id} failed"));
            format!("{group} returns to the revision of {to}{why}")
        }
        Kind::Hold { group, sequence, requested } => format!("{group} is held at release {sequence}{}", by(requested)),
        Kind::Resume { group, requested } => format!("{group} follows its channel again{}", by(requested)),
        Kind::KeysAccepted { group, version, threshold, key_ids } => {
            let names: Vec<String> = key_ids.iter().map(|id| id.short()).collect();
            format!("{group}: key policy {version}, {threshold} of {} must sign releases", names.join(", "))
        }
        Kind::Removed { group, requested } => format!("{group} was removed from this host{}", by(requested)),
        Kind::Sealed { former: Some(former), .. } => {
            format!("the history begins: this host was started from an image of {former}")
        }
        Kind::Sealed { former: None, .. } => "the history begins: this host was started from a sealed image".to_owned(),
        Kind::RecordsLeftOut { records } => {
            format!("{records} records before this one were not made: the disk was full for too long")
        }
        Kind::Recovered(recovered) => recovered_text(recovered),
        Kind::Unknown => "(a newer version of hostler wrote this)".to_owned(),
    }
}

fn by(requested: &Requester) -> String {
    requested.name.as_ref().map_or_else(String::new, |name| format!(" by {name}"))
}

fn recovered_text(recovered: &Recovered) -> String {
    format!(
        "the history was repaired after a crash: {} bytes cut, {} records unknown to the ledger",
        recovered.lost_bytes, recovered.unknown_to_ledger
    )
}
