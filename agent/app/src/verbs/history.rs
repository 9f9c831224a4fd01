//! `hostler history`: the deployments of this host, one line each or with their events, and whether the record of them
//! is complete.

use hostler_core::codes::ExitCode;
use hostler_core::history::{Entry, Finding, Selection, Wanted};
use hostler_core::machine::State;
use hostler_core::text::counted;
use hostler_host::history_file::HistoryFileError;
use hostler_host::{history_file, journal, ledger};

use crate::cli::{HistoryArgs, Shared};
use crate::control::MOST_HISTORY_RECORDS;
use crate::control::client::Client;
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
    let each = |line: &mut dyn FnMut(&[u8])| history_file::read(setup.layout.state(), &setup.limits, line);
    match Gathered::of(wanted.clone(), each) {
        Ok(gathered) => show(&setup, &gathered, &wanted, arguments, each),
        Err(error) if error.is_closed() => super::block_on(of_daemon(&setup, wanted, arguments, error)),
        Err(error) => Err(Failure::from(error)),
    }
}

/// Members of the service group may not read the file, and ask the daemon.
async fn of_daemon(setup: &Setup, wanted: Wanted, arguments: &HistoryArgs, closed: HistoryFileError) -> Outcome {
    let Some(mut client) = Client::connect(setup).await else {
        return Err(Failure::new(ExitCode::Failed, closed).hint(WHO_READS));
    };
    let lines = client.history().await?;
    if lines.len() == MOST_HISTORY_RECORDS {
        output::notice(&format!("these are the newest {MOST_HISTORY_RECORDS} records; root reads all of them"));
    }
    let each = |line: &mut dyn FnMut(&[u8])| {
        lines.iter().for_each(|text| line(text.as_bytes()));
        Ok(())
    };
    show(setup, &Gathered::of(wanted.clone(), each)?, &wanted, arguments, each)
}

/// What the records say together. The file is never cut, so its lines are not kept: those to show are read again.
struct Gathered {
    selection: Selection,
    lines: usize,
    unreadable: usize,
}

impl Gathered {
    fn of(wanted: Wanted, each: impl EachLine) -> Result<Self, HistoryFileError> {
        let mut gathered = Self { selection: Selection::new(wanted), lines: 0, unreadable: 0 };
        each(&mut |line| {
            gathered.lines += 1;
            match Entry::parse(line) {
                Ok(entry) => gathered.selection.add(&entry),
                Err(_) => gathered.unreadable += 1,
            }
        })?;
        Ok(gathered)
    }

    /// What a view of some records, or of deployments alone, does not show.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.unreadable > 0 {
            let lines = counted(self.unreadable, "unreadable line");
            warnings.push(format!("the history has {lines}: `hostler history --verify` tells which"));
        }
        if self.selection.left_out() > 0 {
            let records = counted(usize::try_from(self.selection.left_out()).unwrap_or(usize::MAX), "record");
            warnings.push(format!("the history lacks {records}: the disk was full for too long"));
        }
        warnings
    }
}

/// Reads the lines of the history, oldest first.
trait EachLine: Fn(&mut dyn FnMut(&[u8])) -> Result<(), HistoryFileError> {}

impl<F: Fn(&mut dyn FnMut(&[u8])) -> Result<(), HistoryFileError>> EachLine for F {}

fn show(setup: &Setup, gathered: &Gathered, wanted: &Wanted, arguments: &HistoryArgs, each: impl EachLine) -> Outcome {
    let selection = &gathered.selection;
    if selection.deployments().next().is_none() {
        let by_name = wanted.application.is_some() || wanted.group.is_some();
        let groups: Vec<String> = selection.groups().map(ToString::to_string).collect();
        match &wanted.deployment {
            Some(id) => return Err(unknown(format!("the history of this host has no deployment {id}"), &[])),
            None if by_name && !groups.is_empty() => {
                return Err(unknown("nothing was deployed to such a group on this host".to_owned(), &groups));
            }
            None => {}
        }
    }
    if gathered.lines == 0 && !setup.json {
        output::notice("nothing was done on this host yet");
    }
    let by_record = setup.json || arguments.events || arguments.deployment.is_some();
    let is_all = by_record && *wanted == Wanted::default();
    if !is_all {
        gathered.warnings().iter().for_each(|warning| output::notice(&format!("warning: {warning}")));
    }
    if by_record {
        show_records(setup, selection, is_all, each)?;
    } else {
        output::text(&table::text(selection.deployments()))?;
    }
    Ok(ExitCode::Ok)
}

fn show_records(setup: &Setup, selection: &Selection, is_all: bool, each: impl EachLine) -> Result<(), Failure> {
    let mut shown = Ok(());
    each(&mut |line| {
        // The reader of the output may be gone.
        if shown.is_ok() {
            shown = show_record(setup, selection, is_all, line);
        }
    })?;
    shown
}

fn show_record(setup: &Setup, selection: &Selection, is_all: bool, line: &[u8]) -> Result<(), Failure> {
    match Entry::parse(line) {
        Ok(entry) if !selection.takes(&entry) => Ok(()),
        Err(_) if !is_all => Ok(()),
        _ if setup.json => output::text(&format!("{}\n", String::from_utf8_lossy(line))),
        Ok(entry) => output::text(&events::text(&entry)),
        Err(error) => output::text(&format!("(not a record: {error})\n")),
    }
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

#[cfg(test)]
mod tests {
    use hostler_core::history::{Chain, Context, Kind};

    use super::*;

    #[test]
    fn unreadable_lines_and_records_that_were_not_made_are_told() {
        let context = Context {
            host: "i-1".parse().unwrap(),
            boot_id: "b".to_owned(),
            time_ms: 1,
            agent_version: "0.1.0".to_owned(),
        };
        let record = Chain::default().append(&context, Kind::RecordsLeftOut { records: 3 }).unwrap().line;
        let gathered = |lines: &[&str]| {
            let each = |line: &mut dyn FnMut(&[u8])| {
                lines.iter().for_each(|text| line(text.as_bytes()));
                Ok(())
            };
            Gathered::of(Wanted::default(), each).unwrap()
        };
        let found = gathered(&["garbage", &record, "{}"]);
        assert_eq!(found.lines, 3);
        assert_eq!(
            found.warnings(),
            [
                "the history has 2 unreadable lines: `hostler history --verify` tells which",
                "the history lacks 3 records: the disk was full for too long",
            ]
        );
        let seal = Kind::Sealed { former: None, former_seq: None, former_hash: None };
        let whole = Chain::default().append(&context, seal).unwrap().line;
        assert!(gathered(&[&whole]).warnings().is_empty());
    }
}
