//! The steps before the meaning: bytes to text, and the YAML reader's findings.

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::{Use, keys};
use crate::limits::Limits;
use crate::yaml::{Document, Note, Position, YamlError, YamlProblem};

pub(super) fn decode<'b>(bytes: &'b [u8], limits: &Limits, findings: &mut Findings) -> Option<&'b str> {
    if bytes.len() > limits.appspec_bytes {
        let message = format!("the appspec has {} bytes; {} are allowed", bytes.len(), limits.appspec_bytes);
        findings.add(Code::TooLarge, None, message).help("check that it is the right file");
        return None;
    }
    let content = bytes.strip_prefix(b"\xef\xbb\xbf");
    if content.is_some() {
        findings
            .add(
                Code::ByteOrderMark,
                None,
                "the file begins with a byte-order mark, with which the CodeDeploy agent refuses it",
            )
            .help("save it as UTF-8 without byte-order mark");
    }
    let content = content.unwrap_or(bytes);
    match std::str::from_utf8(content) {
        Ok(text) => Some(text),
        Err(error) => {
            let before = content.get(..error.valid_up_to()).unwrap_or_default();
            let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
            let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count();
            let line = before.iter().filter(|b| **b == b'\n').count();
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
            let at = Position { line: number(line), column: number(column), width: 1 };
            let utf16 = content.starts_with(&[0xfe, 0xff]) || content.starts_with(&[0xff, 0xfe]);
            let (what, help) = if utf16 {
                ("the file is UTF-16, not UTF-8", "save it as UTF-8")
            } else {
                ("the file is not UTF-8", "save it as UTF-8; older editors write Latin-1")
            };
            findings.add(Code::NotUtf8, Some(at), what).help(help);
            None
        }
    }
}

/// Reports the parser's error, and looks for the mistakes behind most such errors.
pub(super) fn syntax(error: &YamlError, text: &str, findings: &mut Findings) {
    let code = match &error.problem {
        YamlProblem::Syntax(_) | YamlProblem::Tab | YamlProblem::AliasInsideItself => Code::YamlSyntax,
        YamlProblem::TooDeep(_) | YamlProblem::TooManyNodes(_) | YamlProblem::TooMuchText(_) => Code::YamlLimit,
    };
    let message = match code {
        Code::YamlSyntax => format!("this is not YAML: {}", error.problem),
        _ => error.problem.to_string(),
    };
    let found = findings.add(code, Some(error.at), message);
    if code == Code::YamlLimit {
        found.help("no appspec needs so much: check that it is the right file, and what its aliases stand for");
        return;
    }
    match slip(text, error.at.line) {
        Some((at, help)) => {
            found.help(help);
            if at.line != error.at.line {
                found.related(at, "probably here");
            }
        }
        None => {
            found.help("check the indentation and the quotes here and in the lines before");
        }
    }
}

/// The likeliest mistake at or a few lines before the line of a syntax error.
fn slip(text: &str, line: u32) -> Option<(Position, String)> {
    const BEFORE: usize = 4;
    let line = usize::try_from(line).ok()?;
    let lines = text.lines().enumerate().skip(line.saturating_sub(BEFORE)).take(BEFORE.min(line));
    let candidates: Vec<(usize, &str)> = lines.collect();
    for (index, content) in candidates.into_iter().rev() {
        let trimmed = content.trim_start();
        let indent = content.chars().count() - trimmed.chars().count();
        let at = Position {
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: u32::try_from(indent + 1).unwrap_or(u32::MAX),
            width: u32::try_from(trimmed.trim_end().chars().count()).unwrap_or(u32::MAX),
        };
        if content.chars().take(indent).any(|c| c == '\t') {
            return Some((at, "indent with spaces: YAML allows no tabs there".into()));
        }
        if trimmed.starts_with("@'") || trimmed.starts_with("@\"") {
            return Some((at, "remove the mark of a PowerShell here-string".into()));
        }
        let item = trimmed.trim_start_matches("- ");
        if item.split_once(": ").is_some_and(|(_, value)| value.trim_start().starts_with('*')) {
            return Some((at, "quote a value that begins with `*`: bare, it names an anchor".into()));
        }
        if let Some((key, value)) = glued(item) {
            return Some((at, format!("write a space after the colon: `{key}: {}`", quoted(value).trim_matches('`'))));
        }
    }
    // A value goes on in the next line for the parser, which then meets the tab.
    let next = text.lines().nth(line).unwrap_or_default();
    let indent = next.chars().take_while(|c| c.is_whitespace()).collect::<String>();
    let at = Position { line: u32::try_from(line + 1).ok()?, column: 1, width: 1 };
    indent.contains('\t').then(|| (at, "indent with spaces: YAML allows no tabs there".into()))
}

/// A known key without a blank after its colon: `runas:root`.
pub(super) fn glued(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let known = [keys::TOP, keys::FILE, keys::SCRIPT, keys::PERMISSION].iter().any(|names| names.contains(&key));
    (known && value.starts_with(|c: char| !c.is_whitespace())).then_some((key, value))
}

fn unknown_tag(tag: &str, at: Position, findings: &mut Findings) {
    let message = format!("the tag {} makes something else of this than an appspec holds", quoted(tag));
    findings.add(Code::UnknownTag, Some(at), message).help("remove the tag, and write plain lists, keys and text");
}

pub(super) fn notes(document: &Document, use_of: Use, findings: &mut Findings) {
    for note in &document.notes {
        match note {
            Note::DuplicateKey { key, first, again } => {
                let message = format!("the key {} is written twice; the last one counts", quoted(key));
                findings
                    .add(Code::DuplicateKey, Some(*again), message)
                    .help("remove one of them")
                    .related(*first, "this one is ignored");
            }
            Note::KeyIsNotText(at) => {
                let message = "a list or mapping stands where a key is expected; it is ignored with its value";
                findings.add(Code::KeyIsNotText, Some(*at), message).help("quote it if it is meant as text");
            }
            Note::Alias(at) => {
                let message = "anchors and aliases: the CodeDeploy agent refuses them on Ruby 3.1 and later";
                findings
                    .add(Code::Aliases, Some(*at), message)
                    .help("write the values out if that agent reads the file too");
            }
            Note::Tag { tag, at } if use_of == Use::Again => {
                // Earlier versions ignored it.
                findings.harmless(|findings| unknown_tag(tag, *at, findings));
            }
            Note::Tag { tag, at } => unknown_tag(tag, *at, findings),
            Note::BeforeMerge { key, at, merge } => {
                let message = format!("{} is written before `<<`, which brings another value for it", quoted(key));
                findings
                    .add(Code::KeyBeforeMerge, Some(*at), message)
                    .help("this value counts here; the CodeDeploy agent takes the merged one: write `<<` first")
                    .related(*merge, "merged here");
            }
            Note::AnotherDocument(at) => {
                let message = "only the first document of the file is read";
                findings.add(Code::AnotherDocument, Some(*at), message).help("remove everything from here on");
            }
        }
    }
}
