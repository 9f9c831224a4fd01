//! Checks of a hook script's text.

use super::super::codes::Code;
use super::super::diagnose::{Findings, quoted};
use super::super::spec::HookScript;
use crate::elf;

pub(super) fn check(script: &HookScript, head: &[u8], findings: &mut Findings) {
    let location = quoted(&script.location);
    let at = Some(script.at);
    if head.starts_with(b"\x7fELF") {
        return;
    }
    let Some(line) = interpreter_line(head) else {
        let (what, help) = match head {
            [b'#', b'!', ..] => (
                "has a first line whose interpreter is longer than the kernel reads (256 bytes)",
                "name the interpreter by a shorter path or a link, or find it by `#!/usr/bin/env`",
            ),
            [0xef, 0xbb, 0xbf, b'#', b'!', ..] => {
                ("does not begin with `#!`", "save it without byte-order mark: the two signs must be the first bytes")
            }
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("is text in UTF-16", "save it in UTF-8 without byte-order mark"),
            _ => ("does not begin with `#!`", "begin it with `#!/bin/bash` or what it is written for"),
        };
        let message = format!("the script {location} {what}, so it runs in sh");
        findings.add(Code::ScriptWithoutInterpreter, at, message).help(help);
        background(script, head, findings);
        return;
    };
    carriage_return(script, &line, findings);
    let is_shell = interpreters(head).iter().any(|interpreter| {
        matches!(interpreter.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ksh" | "zsh" | "ash"))
    });
    if is_shell {
        background(script, head, findings);
    }
}

/// The kernel takes a carriage return as part of the interpreter's name, or passes it on as part of an argument.
fn carriage_return(script: &HookScript, line: &str, findings: &mut Findings) {
    if !line.ends_with('\r') {
        return;
    }
    let location = quoted(&script.location);
    let help = "save it with Unix line endings (`sed -i 's/\\r$//'`), or write `*.sh text eol=lf` into .gitattributes";
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let interpreter = words.next().unwrap_or_default();
    let mut arguments = words.peekable();
    let is_env = interpreter.rsplit('/').next() == Some("env");
    let has_options = arguments.peek().is_some_and(|word| word.starts_with('-'));
    if is_env && has_options {
        // `env -S` takes a carriage return for a blank.
        return;
    }
    if interpreter.ends_with('\r') || is_env {
        let message = format!("line 1 of {location} ends in a carriage return: its interpreter will not be found");
        findings.add(Code::ScriptHasCarriageReturns, Some(script.at), message).help(help);
    } else {
        let message = format!("line 1 of {location} ends in a carriage return, which its interpreter is handed");
        findings.add(Code::ArgumentHasCarriageReturn, Some(script.at), message).help(help);
    }
}

/// The text after `#!` in the first line; `None` also if the kernel does not accept the line.
fn interpreter_line(head: &[u8]) -> Option<String> {
    let rest = head.strip_prefix(b"#!").filter(|rest| interpreter_fits(rest))?;
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    Some(String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned())
}

/// The kernel reads 256 bytes of a script, and refuses it if the interpreter's name does not end there; it cuts off a
/// longer argument (fs/binfmt_script.c, since Linux 5.1).
fn interpreter_fits(rest: &[u8]) -> bool {
    let Some(read) = rest.get(..256 - b"#!".len()) else { return true };
    let name = read.iter().skip_while(|byte| matches!(byte, b' ' | b'\t'));
    read.contains(&b'\n') || name.copied().any(|byte| matches!(byte, b' ' | b'\t' | 0))
}

/// The programs that a script's first line needs: a path, and after `env` a name to find in PATH. A program in place of
/// a script needs its loader.
pub(crate) fn interpreters(head: &[u8]) -> Vec<String> {
    if let Some(program) = elf::read(head) {
        return program.loader.into_iter().collect();
    }
    let Some(line) = interpreter_line(head) else { return Vec::new() };
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { return Vec::new() };
    let mut needed = vec![program.to_owned()];
    if program.rsplit('/').next() == Some("env") {
        needed.extend(words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned));
    }
    needed
}

/// Warns of the first background process that keeps the script's own output.
fn background(script: &HookScript, head: &[u8], findings: &mut Findings) {
    let text = String::from_utf8_lossy(head);
    let mut command = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if command.is_empty() && line.starts_with('#') {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            command.push_str(part);
            continue;
        }
        command.push_str(line);
        if keeps_output(&command) {
            let message = format!(
                "line {} of {} starts {} in the background with the hook's output",
                index + 1,
                quoted(&script.location),
                quoted(command.trim())
            );
            findings
                .add(Code::BackgroundKeepsOutput, Some(script.at), message)
                .help("redirect it, `> /var/log/app.log 2>&1 < /dev/null &`, or let systemd run it: the CodeDeploy agent waits for it and fails the event");
            return;
        }
        command.clear();
    }
}

fn keeps_output(command: &str) -> bool {
    let command = command.split(" #").next().unwrap_or_default().trim_end();
    let Some(before) = command.strip_suffix('&') else { return false };
    !before.ends_with(['&', '>', '<', '|']) && !before.trim().is_empty() && !before.contains('>')
}
