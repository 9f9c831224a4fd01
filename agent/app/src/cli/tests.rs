//! The commands of the documents for users that need AWS: the command line takes each as it is written there.
// A test reports a failure by panicking.
#![allow(clippy::unwrap_used)]

#[path = "../../../../tests/documents/blocks.rs"]
mod blocks;
mod commands;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use super::Cli;

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
    let refused = |words: Vec<String>| Cli::try_parse_from(words).err().filter(|error| error.use_stderr());
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
    Cli::command().debug_assert();
}
