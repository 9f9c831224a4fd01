//! The glossary: each name after "in the code:" in an entry exists in the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/development/glossary.md";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An entry: its word, and the text after it.
fn entries(page: &str) -> Vec<(String, String)> {
    let paragraphs = page.split("\n\n").filter_map(|paragraph| paragraph.trim().strip_prefix("**"));
    let entry = |paragraph: &str| {
        let (word, text) =
            paragraph.split_once("**:").unwrap_or_else(|| panic!("an entry without a colon: {paragraph}"));
        (word.to_owned(), text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    paragraphs.map(entry).collect()
}

/// The names in backticks after the words "in the code:".
fn named(text: &str) -> Vec<&str> {
    let (_, names) = text.split_once("in the code:").unwrap_or_default();
    names.split('`').skip(1).step_by(2).collect()
}

/// All sources of the program, without its tests.
fn sources() -> String {
    let mut waiting = vec![top().join("agent")];
    let mut text = String::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() && path.file_name().is_none_or(|name| name != "tests" && name != "target") {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// The names of all types and traits that the sources declare.
fn declared(sources: &str) -> BTreeSet<&str> {
    let is_declaration = |word: &&str| matches!(*word, "struct" | "enum" | "trait" | "type");
    let mut found = BTreeSet::new();
    for line in sources.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut words = line.split_whitespace();
        if words.by_ref().any(|word| is_declaration(&word)) {
            let name = words.next().unwrap_or_default();
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            found.insert(&name[..end]);
        }
    }
    found
}

/// Whether a room exists: a file or directory of the crate that the name begins with.
fn is_room(name: &str) -> bool {
    let Some((member, room)) = name.split_once('/') else { return false };
    let roots: &[&str] = if member == "core" { &["agent/core/src", "agent/core/documents/src"] } else { &[] };
    let own = format!("agent/{member}/src");
    let mut roots = roots.iter().copied().chain([own.as_str()]);
    roots.any(|root| {
        let place = top().join(root).join(room);
        place.is_dir() || place.with_extension("rs").is_file()
    })
}

#[test]
fn every_name_of_the_glossary_leads_into_the_sources() {
    let page = fs::read_to_string(top().join(PAGE)).unwrap();
    let sources = sources();
    let declared = declared(&sources);
    let mut followed = 0;
    let mut faults = Vec::new();
    for (word, text) in entries(&page) {
        for name in named(&text) {
            followed += 1;
            if !(declared.contains(name) || is_room(name)) {
                faults.push(format!("{word}: there is no {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
    assert!(followed >= 40, "only {followed} names were found");
}

#[test]
fn every_word_of_the_glossary_has_one_entry_in_order_and_its_references_lead_to_one() {
    let page = fs::read_to_string(top().join(PAGE)).unwrap();
    let words: BTreeSet<String> = entries(&page).into_iter().map(|(word, _)| word).collect();
    assert!(words.len() >= 60, "only {} entries were found", words.len());
    assert_eq!(words.len(), entries(&page).len(), "a word has two entries");
    for part in page.split("\n## ").skip(1) {
        let here: Vec<String> = entries(part).into_iter().map(|(word, _)| word.to_lowercase()).collect();
        assert!(here.is_sorted(), "not in the order of the alphabet: {here:?}");
    }
    for (word, text) in entries(&page) {
        // `*word*`, which may span two lines.
        for reference in text.split('*').skip(1).step_by(2) {
            assert!(words.contains(reference), "{word}: there is no entry for {reference}");
        }
    }
}

#[test]
fn a_name_that_leads_nowhere_is_found() {
    let text = "A word; in the code: `Plan`, `core/nowhere`, `NoSuchType`.";
    let declared_in_it = "/// struct NoSuchType\npub struct Plan<'a> {}\n";
    let found = declared(declared_in_it);
    let missing: Vec<&str> = named(text).into_iter().filter(|name| !(found.contains(name) || is_room(name))).collect();
    assert_eq!(missing, ["core/nowhere", "NoSuchType"]);
    assert!(is_room("core/machine") && is_room("core/plan") && is_room("host/install") && !is_room("Plan"));
}
