//! The commands of the documents for users that need AWS: the command line takes each as it is written there.
// A test reports a failure by panicking.
#![allow(clippy::unwrap_used)]

#[path = "../../../../tests/documents/blocks.rs"]
mod blocks;
mod commands;

use std::fs;
use std::path::{Path, PathBuf};

use super::of_verbs::try_parse_from;
use super::{command, examples};

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![top.join("README.md")];
    if let Ok(entries) = fs::read_dir(top.join("docs/usage")) {
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages
}

/// The faults of a block's commands, with the line of the page.
fn faults(block: &blocks::Block) -> Vec<(usize, String)> {
    let refused = |words: Vec<String>| try_parse_from(words).err().filter(|error| error.use_stderr());
    let commands = commands::of(&block.text, "hostler").into_iter();
    // The shell's exit status of the command before, which is a number.
    let expanded = commands.map(|(line, words)| (line, words.iter().map(|word| word.replace("$?", "0")).collect()));
    expanded.filter_map(|(line, words)| Some((block.line + line, refused(words)?.to_string()))).collect()
}

#[test]
fn commands_for_aws_in_the_documents_are_taken() {
    let mut found = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // Another test tells of pages that are not well formed.
        let blocks = blocks::blocks(&text).unwrap_or_default();
        for block in blocks.iter().filter(|block| block.label == "sh aws") {
            found.extend(faults(block).into_iter().map(|(line, fault)| format!("{}:{line}: {fault}", page.display())));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_command_with_a_wrong_flag_is_told_with_its_line() {
    let page =
        "# Page\n```sh aws\naws s3 ls\nhostler run \\\n  --channel s3://b/p --once\nhostler push web --bucket b\n```\n";
    let faults = faults(&blocks::blocks(page).unwrap()[0]);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].0, 6);
    assert!(faults[0].1.contains("--bucket"), "{faults:?}");
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn the_examples_in_the_help_are_taken() {
    let mut found = 0;
    for verb in command().get_subcommands() {
        let name = verb.get_name();
        let text = examples::of(name);
        assert!(!text.is_empty() || ["version", "man-pages"].contains(&name), "{name} has no example");
        for line in text.lines().skip(1).filter(|line| line.contains("hostler")) {
            // What stands behind a wide gap says what the command is for.
            let call = line.trim().split("   ").next().unwrap();
            for (_, words) in
                commands::of(&call.replace("$?", "0").replace('\\', "--application a --group b"), "hostler")
            {
                let taken = try_parse_from(words);
                assert!(taken.is_ok(), "{name}: {line}: {}", taken.err().unwrap());
                found += 1;
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn a_verb_takes_only_the_flags_that_it_uses() {
    let said = |words: &[&str]| try_parse_from(words.iter().copied()).err().map(|error| error.to_string());
    for words in [
        &["hostler", "push", "web", "store", "--group", "x"][..],
        &["hostler", "--group", "x", "push", "web", "store"],
        &["hostler", "keygen", "ci.key", "--state-dir", "x"],
        &["hostler", "history", "--channel", "x"],
        &["hostler", "stop", "--application", "x"],
    ] {
        let refused = said(words).unwrap();
        assert!(refused.contains("does not use --") && refused.contains("Usage:"), "{words:?}: {refused}");
    }
    let taken = said(&["hostler", "--json", "--root", "x", "--application", "a", "history", "--group", "b"]);
    assert_eq!(taken, None);
    assert_eq!(said(&["hostler", "--root", "x", "version"]), None, "where it does no harm it is taken");
}
