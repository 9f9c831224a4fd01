//! The words of messages: constructions that readers stumble over do not come back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::source::strings;

/// A construction, and what stands in its place.
const BANNED: &[(&str, &str)] = &[
    ("is none of", "`KEY` must be A, B or C, not `D`"),
    ("no good answer", "temporary failure"),
    ("whoever", "a named subject: the agent, a process, another user"),
    ("nobody", "a named subject: no process, no other host"),
    ("somebody", "a named subject: another user, an operator"),
    ("with blanks", "spaces"),
    ("a blank after", "a space after"),
    ("and a blank", "and a space"),
    ("without blanks", "without spaces"),
    ("is no key of", "is not a key of"),
    ("may only look", "may read only …"),
    ("unix line ends", "Unix line endings"),
    ("see what the", "the next step"),
    ("without an end", "does not expire"),
    ("lifecycle event started", "the event's name, the deployment and its group"),
    ("(s)", "`1 group`, `2 groups`; or the number last: `groups: 2`"),
    ("told again", "a second ^C, a second signal"),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !name.contains("tests") {
            found.push(path);
        }
    }
}

#[test]
fn no_message_has_a_construction_that_readers_stumble_over() {
    let mut paths = Vec::new();
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    sources(&agent, &mut paths);
    let (mut faults, mut read) = (Vec::new(), 0);
    for path in paths {
        for (line, text) in strings(&fs::read_to_string(&path).unwrap()) {
            read += 1;
            let lower = text.to_lowercase();
            for (banned, better) in BANNED.iter().filter(|(banned, _)| lower.contains(banned)) {
                faults.push(format!("{}:{line}: `{banned}`; write {better}", path.display()));
            }
        }
    }
    assert!(read > 3000, "only {read} texts were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn texts_are_found_and_comments_are_not() {
    let source = "// \"a\"\nlet b = \"c \\\" d\"; let e = '\"';\nlet f = \"g\";\n#[cfg(test)]\nlet h = \"i\";\n";
    assert_eq!(strings(source), [(2, "\"c \\\" d\"".to_owned()), (3, "\"g\"".to_owned())]);
}

/// The calls of the log's macros in a source, with the lines on which they begin.
fn records(source: &str) -> Vec<(usize, &str)> {
    let calls = ["log::error!(", "log::warn!(", "log::info!(", "log::debug!(", "operator_event!("];
    let mut found = Vec::new();
    for call in calls {
        for (at, _) in source.match_indices(call) {
            let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
            let end = source[at..].char_indices().find(|(_, letter)| {
                match letter {
                    _ if escaped => escaped = false,
                    '\\' if in_text => escaped = true,
                    '"' => in_text = !in_text,
                    '(' if !in_text => depth += 1,
                    ')' if !in_text => depth -= 1,
                    _ => {}
                }
                *letter == ')' && depth == 0
            });
            let end = end.map_or(source.len(), |(end, _)| at + end);
            found.push((source[..at].lines().count(), &source[at..end]));
        }
    }
    found
}

#[test]
fn no_record_of_the_log_is_in_the_debug_form() {
    let mut paths = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut paths);
    let (mut faults, mut read) = (Vec::new(), 0);
    for path in paths {
        let source = fs::read_to_string(&path).unwrap();
        for (line, record) in records(&source) {
            read += 1;
            // Fields come first; the message's texts have the braces.
            if strings(record).iter().any(|(_, text)| text.contains(":?}") || text.contains(":#?}")) {
                faults.push(format!("{}:{line}: {record}", path.display()));
            }
        }
    }
    assert!(read > 150, "only {read} records were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(records("a; log::info!(b:?; \"(c) {d:?}\"); e")[0].1, "log::info!(b:?; \"(c) {d:?}\"");
}
