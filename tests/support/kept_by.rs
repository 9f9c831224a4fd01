//! Tables whose rows name their tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every test function below `tests` and `agent`.
fn tests_of_the_project() -> BTreeSet<String> {
    let mut grep = Command::new("grep");
    // The attribute, with any lines between it and the function.
    grep.args(["-rh", "--include=*.rs", "-A4", "-E", r"#\[(tokio::)?test\b", "tests", "agent"]).current_dir(project());
    let found = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    let names = found.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())).collect()
}

/// The names between backticks that are tests, or look like one; without their modules.
fn names<'r>(row: &'r str, known: &BTreeSet<String>) -> impl Iterator<Item = &'r str> {
    let quoted = row.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or(name));
    quoted.filter(|name| {
        let looks_like_one = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
        known.contains(*name) || (name.contains('_') && looks_like_one)
    })
}

/// The table with this header of a page at the top of the project.
///
/// # Panics
/// When it does not exist.
pub fn table_of(page: &str, head: &str) -> String {
    let text = std::fs::read_to_string(project().join(page)).unwrap();
    let table = text.split(head).nth(1).unwrap_or_else(|| panic!("{page} has no table {head}"));
    table.split("\n\n").next().unwrap().to_owned()
}

/// Checks the rows of tables, without headers and rules: each names an existing test in its last `columns` cells, or
/// says `none:` with a reason. Returns the first cells.
///
/// # Panics
/// When a row does not.
pub fn kept_rows(text: &str, columns: usize) -> Vec<String> {
    let known = tests_of_the_project();
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("//! ").trim()).collect();
    let is_rule = |line: &str| line.starts_with("|---");
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with('|') && !is_rule(line)) {
        if lines.get(at + 1).is_some_and(|next| is_rule(next)) {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let by = cells[cells.len() - columns..].join(" ");
        let mut tests = names(&by, &known).peekable();
        assert!(tests.peek().is_some() || by.starts_with("none: "), "nothing keeps {line}");
        for name in tests {
            assert!(known.contains(name), "{line}: there is no test {name}");
        }
        rows.push(cells[0].to_owned());
    }
    rows
}
