//! `hostler history`: the deployments of this host, one line each or with their events, and whether the record of them
//! is complete.

use std::collections::BTreeSet;

use hostler_core::codes::ExitCode;
use hostler_core::history::{Entry, Finding, HistoryError, Selection, Wanted, summaries};
use hostler_core::machine::State;
use hostler_host::history_file::HistoryFileError;
use hostler_host::{history_file, journal, ledger};

use crate::cli::{HistoryArgs, Shared};
use crate::control::MOST_HISTORY_RECORDS;
use crate::control::client::Client;
use crate::control::server::newest_records;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::state_file::{WHO_READS, ledger_failure, read_state};

mod events;
mod table;

pub fn run(shared: &Shared, arguments: &HistoryArgs) -> Outcome {
    let setup = Setup::of_flags(shared)?;
    if arguments.verify {
        return verify(&setup);
    }
    let wanted = Wanted {
        application: shared.application.clone(),
        group: shared.group.clone(),
        deployment: arguments.deployment.clone(),
        newest: arguments.newest,
    };
    let with_events = arguments.events || arguments.deployment.is_some();
    match newest_records(&setup, usize::MAX) {
        Ok(lines) => show(&setup, lines, wanted, with_events),
        Err(error) if error.is_closed() => super::block_on(of_daemon(&setup, wanted, with_events, error)),
        Err(error) => Err(Failure::from(error)),
    }
}

/// Members of the service group may not read the file, and ask the daemon.
async fn of_daemon(setup: &Setup, wanted: Wanted, with_events: bool, closed: HistoryFileError) -> Outcome {
    let Some(mut client) = Client::connect(setup).await else {
        return Err(Failure::new(ExitCode::Failed, closed).hint(WHO_READS));
    };
    let lines = client.history().await?;
    if lines.len() == MOST_HISTORY_RECORDS {
        output::notice(&format!("these are the newest {MOST_HISTORY_RECORDS} records; root reads all of them"));
    }
    show(setup, lines.into_iter().map(String::into_bytes), wanted, with_events)
}

/// A line of the history, and the record in it.
type Read = (Vec<u8>, Result<Entry, HistoryError>);

fn show(setup: &Setup, lines: impl IntoIterator<Item = Vec<u8>>, wanted: Wanted, with_events: bool) -> Outcome {
    let records: Vec<Read> = lines.into_iter().map(|line| (line.clone(), Entry::parse(&line))).collect();
    let all = summaries(records.iter().filter_map(|(_, entry)| entry.as_ref().ok()));
    let groups: BTreeSet<String> = all.iter().map(|one| one.group.to_string()).collect();
    let (is_all, by_name) = (wanted == Wanted::default(), wanted.application.is_some() || wanted.group.is_some());
    let deployment = wanted.deployment.clone();
    let selection = Selection::new(wanted, all);
    if selection.deployments().is_empty() {
        match deployment {
            Some(id) => return Err(unknown(format!("the history of this host has no deployment {id}"), &[])),
            None if by_name && !groups.is_empty() => {
                return Err(unknown("nothing was deployed to such a group on this host".to_owned(), &groups));
            }
            None => {}
        }
    }
    if records.is_empty() && !setup.json {
        output::notice("nothing was done on this host yet");
    }
    if !setup.json && !with_events {
        output::text(&table::text(selection.deployments()))?;
        return Ok(ExitCode::Ok);
    }
    for (line, entry) in &records {
        if !entry.as_ref().map_or(is_all, |entry| selection.takes(entry)) {
            continue;
        }
        match entry {
            _ if setup.json => output::text(&format!("{}\n", String::from_utf8_lossy(line)))?,
            Ok(entry) => output::text(&events::text(entry))?,
            Err(error) => output::text(&format!("(not a record: {error})\n"))?,
        }
    }
    Ok(ExitCode::Ok)
}

fn unknown<'g>(message: String, groups: impl IntoIterator<Item = &'g String>) -> Failure {
    let groups: Vec<&str> = groups.into_iter().map(String::as_str).collect();
    let failure = Failure::say(ExitCode::NotFound, message);
    if groups.is_empty() {
        return failure.hint("`hostler history` lists the deployments");
    }
    failure.hint(format!("it has {}", groups.join(", ")))
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
