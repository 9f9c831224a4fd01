#![doc = include_str!("conformance.md")]

use std::collections::BTreeSet;

use super::*;

/// Every function below `tests` and `agent` that is a test.
fn tests_of_the_project() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut grep = Command::new("grep");
    // The attribute, whatever stands between it and the function.
    grep.args(["-rh", "--include=*.rs", "-A4", "-E", r"#\[(tokio::)?test\b"]).args(["tests", "agent"]).current_dir(top);
    let found = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    let names = found.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

/// The names between backticks in a cell that could be functions.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    })
}

/// The rows of the tables: what is kept, and by what.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let cells = lines.filter_map(|line| line.trim_end_matches(' ').strip_suffix('|')?.rsplit_once('|'));
    cells.filter(|(_, by)| !by.contains("---") && by.trim() != "kept by").collect()
}

#[test]
fn every_line_has_its_test() {
    let known = tests_of_the_project();
    let table = rows(include_str!("conformance.md"));
    assert!(table.len() > 70, "{}", table.len());
    for (what, by) in &table {
        let mut tests = names(by).peekable();
        assert!(tests.peek().is_some() || by.trim_start().starts_with("none: "), "nothing keeps {what}");
        for name in tests {
            assert!(known.contains(name), "{what}: there is no test {name}");
        }
    }
}

#[test]
fn every_fault_of_the_codedeploy_agent_has_its_test() {
    let known = tests_of_the_project();
    let semantics = include_str!("../../SEMANTICS.md");
    let table = semantics.split("| n | the CodeDeploy agent 1.8.1 | kept by |").nth(1).unwrap();
    let end = table.find("\n\n").unwrap();
    let faults = rows(&table[..end]);
    assert_eq!(faults.len(), 20);
    for (number, (fault, by)) in (1..).zip(faults) {
        assert!(fault.starts_with(&format!("| {number} |")), "{fault}");
        assert!(names(by).next().is_some(), "nothing keeps {fault}");
        for name in names(by) {
            assert!(known.contains(name), "{fault}: there is no test {name}");
        }
    }
}
