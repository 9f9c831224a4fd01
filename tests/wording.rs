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
