use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use hostler_core::history::{Entry, EventOutcome, Kind, Recovered};

use super::*;
use crate::ledger::{Ledger, LedgerError};

mod power;

fn limits() -> Limits {
    Limits { ledger_bytes: 64 << 10, ..Limits::default() }
}

fn context() -> Context {
    Context { host: "i-1".parse().unwrap(), boot_id: "b".to_owned(), time_ms: 5, agent_version: "1.2.3".to_owned() }
}

fn event(number: u64) -> Kind {
    Kind::EventFinished {
        deployment: "d-1".parse().unwrap(),
        event: format!("Event{number}"),
        outcome: EventOutcome::Succeeded,
        message: None,
    }
}

/// A host's ledger and history together, as the engine uses them.
struct Host {
    ledger: Ledger,
    state: HistoryState,
    file: HistoryFile,
    recovered: bool,
}

impl Host {
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, &limits())
    }

    fn start_with(directory: &Path, limits: &Limits) -> Self {
        // Another test's process that is just starting has this one's lock until it executes its program.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut ledger = loop {
            match Ledger::open(directory, limits) {
                Err(LedgerError::LockHeld { .. }) if std::time::Instant::now() < until => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        let saved: Option<HistoryState> =
            Some(&ledger.current().state).filter(|s| !s.is_empty()).map(|s| serde_json::from_slice(s).unwrap());
        let reconciled = survey(ledger.lock(), saved.as_ref(), &context(), limits).unwrap();
        ledger.persist(&serde_json::to_vec(&reconciled.state).unwrap()).unwrap();
        let mut file = HistoryFile::open(ledger.lock(), &reconciled).unwrap();
        for record in &reconciled.append {
            file.append(record).unwrap();
        }
        file.sync().unwrap();
        let mut state = reconciled.state;
        state.settled();
        Self { ledger, state, file, recovered: reconciled.recovered.is_some() }
    }

    fn persist(&mut self) {
        self.ledger.persist(&serde_json::to_vec(&self.state).unwrap()).unwrap();
    }

    fn record(&mut self, kind: Kind) -> Record {
        let record = self.state.append(&context(), kind).unwrap();
        self.persist();
        self.file.append(&record).unwrap();
        record
    }

    fn end_deployment(&mut self) {
        self.file.sync().unwrap();
        self.state.settled();
        self.persist();
    }

    fn findings(&self) -> Vec<Finding> {
        verify(self.ledger.lock().directory(), self.state.chain.anchor(), &limits()).unwrap()
    }
}

fn entries(directory: &Path) -> Vec<Entry> {
    entries_with(directory, &limits())
}

fn entries_with(directory: &Path, limits: &Limits) -> Vec<Entry> {
    let mut entries = Vec::new();
    read(directory, limits, |line| entries.push(Entry::parse(line).unwrap())).unwrap();
    entries
}

#[test]
fn records_are_appended_and_survive_restarts() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut host = Host::start(directory.path());
        assert!(!host.recovered);
        let syncs = host.file.syncs();
        for i in 0..4 {
            host.record(event(round * 4 + i));
        }
        host.end_deployment();
        assert_eq!(host.file.syncs() - syncs, 1, "one sync a deployment");
        assert_eq!(host.findings(), []);
    }
    let entries = entries(directory.path());
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(entries.iter().enumerate().all(|(i, e)| e.kind == event(i as u64)));
}

#[test]
fn a_power_loss_at_any_length_of_the_unsynced_end_loses_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.ndjson");
    let mut host = Host::start(directory.path());
    host.record(event(0));
    host.end_deployment();
    let synced = fs::metadata(&path).unwrap().len();
    host.record(event(1));
    host.record(event(2));
    drop(host);
    let whole = fs::read(&path).unwrap();
    let ledger = fs::read(directory.path().join("ledger")).unwrap();
    for length in synced..=whole.len() as u64 {
        fs::write(&path, &whole[..length as usize]).unwrap();
        fs::write(directory.path().join("ledger"), &ledger).unwrap();
        let host = Host::start(directory.path());
        assert_eq!(host.findings(), [], "{length}");
        let kinds: Vec<Kind> = entries(directory.path()).into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds[..3], [event(0), event(1), event(2)], "{length}");
        let torn = !whole[..length as usize].ends_with(b"\n");
        assert_eq!(matches!(kinds[3..], [Kind::Recovered(r)] if r.lost_bytes > 0), torn, "{length}: {:?}", &kinds[3..]);
        assert!(kinds.len() <= 4);
    }
}

#[test]
fn a_line_longer_than_any_record_is_kept_found_and_needs_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.ndjson");
    let mut host = Host::start(directory.path());
    host.record(event(0));
    host.end_deployment();
    drop(host);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![b'x'; 300 << 10]).unwrap();
    file.write_all(b"\n").unwrap();
    let found = verify(directory.path(), None, &limits()).unwrap();
    assert!(matches!(found[..], [Finding::NotARecord { line: 2, .. }]), "{found:?}");
    // The agent never synced it, so a start cuts it and logs that.
    let host = Host::start(directory.path());
    assert!(host.recovered);
    assert_eq!(host.findings(), []);
    let Kind::Recovered(recovered) = entries(directory.path())[1].kind else { panic!("no recovered record") };
    assert_eq!(recovered.lost_bytes, (300 << 10) + 1);
}

#[test]
fn a_lost_ledger_does_not_repeat_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = Host::start(directory.path());
    for i in 0..5 {
        host.record(event(i));
    }
    drop(host);
    fs::remove_file(directory.path().join("ledger")).unwrap();
    let mut host = Host::start(directory.path());
    assert!(host.recovered);
    assert_eq!(host.record(event(9)).seq, 6);
    assert_eq!(host.findings(), []);
}

#[test]
fn edits_of_the_file_are_found_by_the_ledgers_own_anchor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.ndjson");
    let mut host = Host::start(directory.path());
    for i in 0..5 {
        host.record(event(i));
    }
    host.end_deployment();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Event4", "Event7")).unwrap();
    assert_eq!(host.findings(), [Finding::NotAsAnchored { seq: 4 }]);
    fs::remove_file(&path).unwrap();
    assert_eq!(host.findings(), [Finding::Cut { anchored: 4, highest: None }]);
}

const WRITER: &str = "HOSTLER_TEST_HISTORY_WRITER";

/// Not a test of its own: the process that the next test kills.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(WRITER) else { return };
    let mut host = Host::start(Path::new(&directory));
    loop {
        for _ in 0..3 {
            let record = host.record(event(0));
            println!("\nACKNOWLEDGED {}", record.seq);
        }
        host.end_deployment();
    }
}

#[test]
fn a_killed_writer_loses_nothing_and_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 1..=12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "history_file::tests::writer_process", "--nocapture", "--test-threads=1"])
            .env(WRITER, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut count = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(seq) = line.unwrap().strip_prefix("ACKNOWLEDGED ") {
                least = seq.parse::<u64>().unwrap() + 1;
                count += 1;
                if count == round * 2 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(count >= round * 2, "the writer ended by itself after {count} records");
        let host = Host::start(directory.path());
        assert_eq!(host.findings(), []);
        let numbers: Vec<u64> = entries(directory.path()).iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        assert!(numbers.len() as u64 >= least, "{} records, {least} acknowledged", numbers.len());
    }
}
