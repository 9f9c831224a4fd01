//! docs/usage/troubleshooting.md explains every code that the program prints, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::iter::successors;
use std::path::{Path, PathBuf};

use hostler_core::appspec::codes::Code;
use hostler_core::appspec::diagnose::Severity;
use hostler_core::codes::ExitCode;
use hostler_core::doctor;
use hostler_core::operator_events::OperatorEvent;
use hostler_core::plan::{Fact, ProblemCode};

const PAGE: &str = include_str!("../docs/usage/troubleshooting.md");

/// The first table after a heading whose header begins with `head`: the cells of its rows, without the marks of code.
fn table(heading: &str, head: &str) -> Vec<Vec<String>> {
    let section = PAGE.lines().skip_while(|line| *line != heading);
    let rows = section.skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

/// Compares the first cells of a table with what the program knows, and looks whether the other cells say something.
fn explains(rows: &[Vec<String>], known: &[Vec<String>], cells: usize) {
    let documented: Vec<&[String]> = rows.iter().map(|row| &row[..known[0].len()]).collect();
    assert_eq!(documented, known);
    for row in rows {
        assert!(row.len() == cells && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_diagnostic_is_explained() {
    let severity = |code: &Code| match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let known: Vec<_> = Code::ALL.iter().map(|code| words(&[code.name(), severity(code)])).collect();
    explains(&table("## Diagnostics of validate", "| code | severity |"), &known, 4);
}

#[test]
fn every_problem_of_a_plan_is_explained() {
    let fact = |code: &ProblemCode| match code.fact() {
        Fact::Bundle => "bundle",
        Fact::Host => "host",
    };
    let known: Vec<_> = ProblemCode::ALL.iter().map(|code| words(&[code.as_str(), fact(code)])).collect();
    explains(&table("## Problems of a plan", "| code | fact |"), &known, 4);
}

#[test]
fn every_finding_of_doctor_is_explained() {
    let known: Vec<_> = doctor::Code::ALL.iter().map(|code| words(&[code.name()])).collect();
    explains(&table("## Findings of doctor", "| code | severities |"), &known, 4);
}

/// The exit code after this one. A new code is an error of the compiler here.
fn next(code: ExitCode) -> Option<ExitCode> {
    match code {
        ExitCode::Ok => Some(ExitCode::Failed),
        ExitCode::Failed => Some(ExitCode::Usage),
        ExitCode::Usage => Some(ExitCode::Refused),
        ExitCode::Refused => Some(ExitCode::LockHeld),
        ExitCode::LockHeld => Some(ExitCode::NotFound),
        ExitCode::NotFound => Some(ExitCode::VerificationFailed),
        ExitCode::VerificationFailed => None,
    }
}

#[test]
fn every_exit_code_is_explained() {
    let codes = successors(Some(ExitCode::Ok), |code| next(*code));
    let known: Vec<_> = codes.map(|code| words(&[&(code as u8).to_string()])).collect();
    let documented = table("## Exit codes", "| code | meaning |");
    // There is nothing to do after success.
    assert_eq!(documented[0], ["0", "done", ""]);
    explains(&documented[1..], &known[1..], 3);
}

/// The names of records in the sources that are no operator events.
fn names_in_sources() -> BTreeSet<String> {
    const MARK: &str = "hostler_event = \"";
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    let mut found = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            waiting.extend(entries.filter(|path: &PathBuf| !path.ends_with("tests") && !path.ends_with("target")));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(path).unwrap();
            found.extend(text.split(MARK).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    found
}

#[test]
fn every_record_of_the_journal_is_explained() {
    let known: Vec<_> = OperatorEvent::ALL.iter().map(|event| words(&[event.name(), event.message_id()])).collect();
    explains(&table("## Records of the journal", "| HOSTLER_EVENT | MESSAGE_ID |"), &known, 5);
    let others = table("## Records of the journal", "| HOSTLER_EVENT | written when |");
    let documented: BTreeSet<String> = others.iter().flat_map(|row| row[0].split(", ").map(str::to_owned)).collect();
    assert_eq!(documented, names_in_sources());
}
