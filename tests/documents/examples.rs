//! What the label of a block promises.

use super::blocks::{Block, blocks};

/// How a block is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole configuration.
    Configuration,
    /// A whole appspec.
    Appspec,
    /// Commands for any machine, run in a scratch directory.
    Shell,
    /// Commands for a booted host that has the package.
    Host,
    /// A program or a script that the page shows.
    Program,
    /// Commands that need an AWS account. Unit tests of `agent/app` parse those of hostler.
    Aws,
    /// JSON documents.
    Json,
    /// Output, and whatever else is only read.
    Text,
}

/// A block of a page, with what its label and the comments before it say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The line of the opening fence, from 1.
    pub line: usize,
    pub kind: Kind,
    pub text: String,
    /// The file that the block is written to.
    pub file: Option<String>,
    /// Commands that run before it and that a reader does not see.
    pub set_up: Vec<String>,
}

/// The blocks of a page.
///
/// # Errors
/// The line of each block without a rule, and its fault.
pub fn examples(page: &str) -> Result<Vec<Example>, Vec<(usize, String)>> {
    let blocks = blocks(page).map_err(|line| vec![(line, "it is not closed".to_owned())])?;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for block in blocks {
        match example(block) {
            Ok(example) => found.push(example),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn example(block: Block) -> Result<Example, (usize, String)> {
    let line = block.line;
    let first = block.text.lines().next().unwrap_or_default().trim();
    let shown = first.strip_prefix("# FILE:").map(|file| file.trim().to_owned());
    let kind = kind(&block.label, first, shown.is_some()).map_err(|fault| (line, fault))?;
    let mut example = Example { line, kind, text: block.text, file: None, set_up: Vec::new() };
    if let Some(file) = shown {
        // The marker is no part of the file: a script begins with its own first line.
        example.text = example.text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        example.file = Some(path(&file).map_err(|fault| (line, fault))?);
    }
    for (line, comment) in block.comments {
        follow(&mut example, &comment).map_err(|fault| (line, fault))?;
    }
    Ok(example)
}

fn kind(label: &str, first: &str, shown: bool) -> Result<Kind, String> {
    Ok(match (label, first) {
        ("yaml", "# hostler.yaml") => Kind::Configuration,
        ("yaml", "# appspec.yml") => Kind::Appspec,
        ("yaml", _) => return Err(format!("YAML begins with `# hostler.yaml` or `# appspec.yml`, not with `{first}`")),
        ("sh", _) if shown => Kind::Program,
        ("sh", _) => Kind::Shell,
        ("sh host", _) => Kind::Host,
        ("sh aws", _) => Kind::Aws,
        ("json", _) => Kind::Json,
        ("text", _) => Kind::Text,
        ("", _) => return Err("the block has no label".to_owned()),
        _ => return Err(format!("no test knows the label `{label}`")),
    })
}

/// Does what a comment before the block says. Comments of other forms are for readers of the source.
fn follow(example: &mut Example, comment: &str) -> Result<(), String> {
    let written = !matches!(example.kind, Kind::Shell | Kind::Host | Kind::Aws | Kind::Program);
    let run = matches!(example.kind, Kind::Shell | Kind::Host);
    if let Some(file) = comment.strip_prefix("file:").filter(|_| written) {
        example.file = Some(path(file.trim())?);
    } else if let Some(commands) = comment.strip_prefix("test:").filter(|_| run) {
        example.set_up.push(commands.trim().to_owned());
    } else if comment.starts_with("file:") || comment.starts_with("test:") {
        return Err(format!("`{comment}` has no meaning before a block of this label"));
    }
    Ok(())
}

/// A path that is the same in every shell, and below the directory of the page unless it is absolute.
fn path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | '@');
    let good = !text.is_empty() && text.chars().all(plain) && text.split('/').all(|part| part != "..");
    if good { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be the path of a file")) }
}

#[test]
fn labels_and_comments_have_their_meaning() {
    let page = include_str!("fixtures/shell.md");
    let found = examples(page).unwrap();
    let kinds: Vec<_> = found.iter().map(|example| example.kind).collect();
    assert_eq!(kinds, [Kind::Appspec, Kind::Text, Kind::Program, Kind::Shell, Kind::Text, Kind::Shell, Kind::Aws]);
    let files: Vec<_> = found.iter().filter_map(|example| example.file.as_deref()).collect();
    assert_eq!(files, ["web/appspec.yml", "web/site/index.html", "web/hooks/start.sh"]);
    assert!(found[2].text.starts_with("#!/bin/sh\n"), "{:?}", found[2]);
    assert_eq!(found[3].set_up, ["mkdir channel"]);
}

#[test]
fn a_block_without_a_rule_is_told_with_its_line() {
    let faults = examples(include_str!("fixtures/labels.md")).unwrap_err();
    let expected = [
        (3, "the block has no label"),
        (7, "no test knows the label `bash`"),
        (11, "YAML begins with `# hostler.yaml` or `# appspec.yml`, not with `files: []`"),
        (15, "`file: start.sh` has no meaning before a block of this label"),
        (20, "`../start.sh` cannot be the path of a file"),
    ];
    assert_eq!(faults, expected.map(|(line, fault)| (line, fault.to_owned())));
    assert_eq!(examples("\n```text\n").unwrap_err(), [(2, "it is not closed".to_owned())]);
}
