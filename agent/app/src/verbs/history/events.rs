//! The records of the history as text, one line each.

use std::fmt::Write as _;

use hostler_core::history::{Entry, EventOutcome, Kind, Recovered, Requester, RequesterKind, named};
use hostler_host::clock;

/// A record as a line.
pub fn text(entry: &Entry) -> String {
    format!("{} {}\n", clock::local_time(entry.time_ms), kind_text(&entry.kind))
}

fn kind_text(kind: &Kind) -> String {
    match kind {
        Kind::DeploymentStarted {
            deployment, group, purpose, revision, label, location, sequence, requested, ..
        } => {
            let noun = match (purpose, requested.by) {
                (Some(purpose), _) => purpose.noun(),
                (None, RequesterKind::Rollback) => "rollback",
                (None, _) => "deployment",
            };
            let mut text = format!("{deployment} {noun} of {group} started{}", by(requested));
            if let Some(sequence) = sequence {
                let _ = write!(text, ", release {sequence}");
            }
            format!("{text}: {}", named(revision.as_ref(), label.as_ref(), location))
        }
        Kind::EventFinished { deployment, event, outcome, message } => {
            let word = match outcome {
                EventOutcome::Succeeded => "succeeded",
                EventOutcome::Failed => "failed",
                EventOutcome::FailedAndIgnored => "failed, ignored",
                EventOutcome::Skipped => "skipped",
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
            format!("{deployment} {}", outcome.word())
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
