//! From nodes to their meaning: the top of the file, and `files`.

use std::rc::Rc;

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::scalar::{Resolved, resolve};
use super::source::{decode, glued, notes, syntax};
use super::spec::{AppSpec, FileExistsBehavior, FileMapping};
use super::{Reading, Use, extension, hooks, keys, lint, permissions};
use crate::limits::Limits;
use crate::values::known_keys_help;
use crate::yaml::{self, Entry, Mapping, Node, Position, Scalar, Value};

pub(super) fn read(name: &str, bytes: &[u8], limits: &Limits, use_of: Use) -> Reading {
    let mut findings = Findings::new(name, limits.diagnostics);
    findings.refuse_misspelt = use_of == Use::New;
    let spec = interpret(bytes, limits, use_of, &mut findings);
    let spec = spec.filter(|_| !findings.has_errors());
    Reading { spec, diagnostics: findings.into_list() }
}

fn interpret(bytes: &[u8], limits: &Limits, use_of: Use, findings: &mut Findings) -> Option<AppSpec> {
    let text = decode(bytes, limits, findings)?;
    let document = match yaml::parse(text, limits) {
        Ok(document) => document,
        Err(error) => {
            syntax(&error, text, findings);
            return None;
        }
    };
    notes(&document, use_of, findings);
    let root = document.root.filter(|root| !root.is_null());
    let Some(root) = root else {
        let message = "the appspec is empty";
        findings.add(Code::Empty, None, message).help("it needs at least `version: 0.0` and `os: linux`");
        return None;
    };
    let Some(top) = root.as_mapping() else {
        let message = format!("the appspec is {}, not a mapping of keys", root.kind());
        findings.add(Code::WrongType, Some(root.at), message).help("begin with `version: 0.0` and `os: linux`");
        return None;
    };
    appspec(top, findings)
}

fn appspec(top: &Mapping, findings: &mut Findings) -> Option<AppSpec> {
    if is_for_another_platform(top, findings) {
        return None;
    }
    version(top, findings);
    if !os(top, findings) {
        return None;
    }
    top_keys(top, findings);
    let extension = top.get("hostler").map(|entry| extension::read(entry, findings)).unwrap_or_default();
    let mut spec = AppSpec {
        files: list(top, "files", findings).iter().filter_map(|node| file(node, findings)).collect(),
        file_exists_behavior: file_exists_behavior(top, findings),
        permissions: list(top, "permissions", findings)
            .iter()
            .filter_map(|node| permissions::permission(node, findings))
            .collect(),
        hooks: hooks::hooks(top, findings),
        extension,
    };
    hooks::resolve_options(&mut spec, findings);
    lint::lint_spec(&spec, findings);
    Some(spec)
}

/// Whether it is the name of a lifecycle event, with or without hooks.
fn is_event(name: &str) -> bool {
    keys::EVENTS.contains(&name) || keys::EVENTS_WITHOUT_HOOKS.contains(&name)
}

/// Whether it is an appspec of ECS or Lambda, which no host can execute.
fn is_for_another_platform(top: &Mapping, findings: &mut Findings) -> bool {
    let has_os = top.get("os").is_some_and(|entry| !entry.value.is_null());
    let Some(resources) = top.entries().iter().find(|entry| entry.key.text.eq_ignore_ascii_case("resources")) else {
        return false;
    };
    if has_os {
        return false;
    }
    let platform = match resource_type(resources) {
        Some(kind) if kind.starts_with("AWS::ECS") => "for ECS",
        Some(kind) if kind.starts_with("AWS::Lambda") => "for Lambda",
        _ => "for ECS or Lambda",
    };
    let message = format!("this appspec is {platform}, not for hosts: it has `Resources` and no `os`");
    findings
        .add(Code::NotForHosts, Some(resources.key_at), message)
        .help("deploy it with CodeDeploy itself; an appspec for hosts has `os: linux`, `files` and `hooks`");
    true
}

fn resource_type(resources: &Entry) -> Option<&str> {
    resources
        .value
        .as_sequence()?
        .iter()
        .filter_map(|resource| resource.as_mapping())
        .flat_map(Mapping::entries)
        .filter_map(|resource| resource.value.as_mapping()?.get("Type")?.value.as_scalar())
        .map(|kind| kind.text.as_str())
        .next()
}

fn version(top: &Mapping, findings: &mut Findings) {
    let help = "write `version: 0.0`, the only version there is";
    let Some(entry) = top.get("version") else {
        findings.add(Code::UnsupportedVersion, None, "`version` is missing").help(help);
        return;
    };
    let is_zero = entry.value.as_scalar().is_some_and(|scalar| match resolve(scalar) {
        Resolved::Integer(number) => number == 0,
        Resolved::Float(number) => number == 0.0,
        Resolved::Null | Resolved::Bool(_) | Resolved::Text => false,
    });
    if is_zero {
        return;
    }
    let found = match entry.value.as_scalar() {
        Some(scalar) if !scalar.is_null() => quoted(&scalar.text),
        _ => entry.value.kind().to_owned(),
    };
    let text = entry.value.as_scalar().is_some_and(Scalar::is_text);
    let message = format!("`version` is {}{found}, not the number 0.0", if text { "the text " } else { "" });
    let help = if text { "write `version: 0.0` without quotes" } else { help };
    findings.add(Code::UnsupportedVersion, Some(place(entry)), message).help(help);
}

/// Whether the rest can be read as an appspec for Linux.
fn os(top: &Mapping, findings: &mut Findings) -> bool {
    let Some(entry) = top.get("os").filter(|entry| !entry.value.is_null()) else {
        let at = top.get("os").map(|entry| entry.key_at);
        findings.add(Code::UnsupportedOs, at, "`os` is missing").help("write `os: linux`");
        return true;
    };
    let name = entry.value.as_scalar().map(|scalar| scalar.text.as_str());
    match name {
        Some("linux") => true,
        Some("windows") => {
            findings
                .add(Code::WindowsAppspec, Some(entry.value.at), "this appspec is for Windows; hostler runs on Linux")
                .help("deploy it with the CodeDeploy agent for Windows");
            false
        }
        Some(other) => {
            let message = format!("`os` is {}; the only one supported is `linux`", quoted(other));
            let help = if other.eq_ignore_ascii_case("linux") {
                "write it in lower case: `os: linux`"
            } else {
                "write `os: linux` for every distribution"
            };
            findings.add(Code::UnsupportedOs, Some(entry.value.at), message).help(help);
            true
        }
        None => {
            findings.add(Code::UnsupportedOs, Some(place(entry)), "`os` is not a name").help("write `os: linux`");
            true
        }
    }
}

fn top_keys(top: &Mapping, findings: &mut Findings) {
    for entry in top.entries() {
        let key = entry.key.text.as_str();
        if is_event(key) {
            let message = format!("{} stands outside of `hooks`, so its scripts never run", quoted(key));
            findings.add(Code::MisplacedEvent, Some(entry.key_at), message).help("indent it below `hooks:`");
        } else {
            unknown_key(entry, top, keys::TOP, "an appspec", findings);
        }
    }
}

/// Warns of a key without a meaning. The incumbent ignores it too. One that plainly means a known key, which is not beside
/// it, is an error: without that key the deployment does something else than its author wrote.
pub(super) fn unknown_key(entry: &Entry, beside: &Mapping, known: &[&str], of: &str, findings: &mut Findings) {
    let key = entry.key.text.as_str();
    if known.contains(&key) {
        return;
    }
    lookalike(key, entry.key_at, findings);
    if let Some(meant) = findings.misspelt(key, beside, known) {
        let message = format!("{} is not a key of {of}, and looks like `{meant}`", quoted(key));
        findings.add(Code::MisspeltKey, Some(entry.key_at), message).help(format!("write `{meant}`"));
        return;
    }
    let message = format!("{} is not a key of {of}; it is ignored", quoted(key));
    let found = findings.add(Code::UnknownKey, Some(entry.key_at), message);
    found.help(known_keys_help(key, known));
}

/// The items of a list at the top; empty if it is absent, null or false, as for the incumbent.
fn list<'n>(top: &'n Mapping, key: &str, findings: &mut Findings) -> &'n [Rc<Node>] {
    let Some(entry) = top.get(key) else { return &[] };
    match &entry.value.value {
        Value::Sequence(items) => items,
        Value::Mapping(mapping) if mapping.entries().is_empty() => &[],
        Value::Scalar(scalar) if matches!(resolve(scalar), Resolved::Null | Resolved::Bool(false)) => &[],
        Value::Scalar(_) | Value::Mapping(_) => {
            let message = format!("`{key}` is {}, not a list", entry.value.kind());
            findings
                .add(Code::WrongType, Some(entry.key_at), message)
                .help(format!("write each entry of `{key}` on its own line after a dash and a space"));
            &[]
        }
    }
}

fn file(node: &Rc<Node>, findings: &mut Findings) -> Option<FileMapping> {
    let Some(entry) = node.as_mapping() else {
        let message = format!("an entry of `files` is {}, not a mapping", node.kind());
        let found = findings.add(Code::WrongType, Some(node.at), message);
        found.help("write `- source: …` and below it `destination: …`");
        return None;
    };
    for key in entry.entries() {
        match key.key.text.as_str() {
            "overwrite" => {
                let message = "`overwrite` is not a key of a files entry; it is ignored";
                findings
                    .add(Code::OverwriteIgnored, Some(key.key_at), message)
                    .help("write `file_exists_behavior: OVERWRITE` at the top of the file");
            }
            name if name == "permissions" || (keys::PERMISSION.contains(&name) && !keys::FILE.contains(&name)) => {
                let message = format!("{} has no meaning inside of a files entry; it is ignored", quoted(name));
                findings
                    .add(Code::MisplacedPermission, Some(key.key_at), message)
                    .help("write an entry below `permissions:` at the top, with `object:` as the destination");
            }
            _ => unknown_key(key, entry, keys::FILE, "a files entry", findings),
        }
    }
    let source = required_text(entry, node, "source", Code::MissingSource, findings);
    let destination = required_text(entry, node, "destination", Code::MissingDestination, findings);
    let ((source, source_at), (destination, destination_at)) = (source?, destination?);
    Some(FileMapping { source, destination, source_at, destination_at })
}

/// The text of a required key.
pub(super) fn required_text(
    mapping: &Mapping,
    node: &Node,
    key: &str,
    missing: Code,
    findings: &mut Findings,
) -> Option<(String, Position)> {
    match mapping.get(key).filter(|entry| !entry.value.is_null()) {
        Some(entry) => text(entry, findings).map(|text| (text, entry.value.at)),
        None => {
            let at = mapping.entries().first().map_or(node.at, |entry| entry.key_at);
            findings.add(missing, Some(at), format!("this entry has no `{key}`")).help(format!("add `{key}: …` to it"));
            None
        }
    }
}

/// The text of a key that needs a single value; the caller has handled null.
pub(super) fn text(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let Some(scalar) = entry.value.as_scalar() else {
        let message = format!("{} is {}, not text", quoted(&entry.key.text), entry.value.kind());
        let found = findings.add(Code::WrongType, Some(place(entry)), message);
        found.help("quote the value if it begins with { or [");
        return None;
    };
    lookalike(&scalar.text, entry.value.at, findings);
    if !scalar.is_text()
        && let Some((key, _)) = scalar.text.split_whitespace().skip(1).find_map(glued_or_bare)
    {
        let message = format!("the value of {} goes on with what looks like the key `{key}`", quoted(&entry.key.text));
        findings.add(Code::KeyInValue, Some(entry.value.at), message).help(format!(
            "put `{key}` on a line of its own, a space after the colon, indented like `{}`",
            entry.key.text
        ));
    }
    Some(scalar.text.clone())
}

/// `runas:root`, or `runas:` before a blank.
fn glued_or_bare(word: &str) -> Option<(&str, &str)> {
    glued(word).or_else(|| word.strip_suffix(':').filter(|key| keys::SCRIPT.contains(key)).map(|key| (key, "")))
}

/// The position to report for an entry: its value, or its key if the value is empty or begins elsewhere.
pub(super) fn place(entry: &Entry) -> Position {
    match &entry.value.value {
        Value::Scalar(scalar) if !scalar.is_null() => entry.value.at,
        _ => entry.key_at,
    }
}

/// Warns of characters that look like plain ones but are not: word processors and web pages leave them behind.
pub(super) fn lookalike(text: &str, at: Position, findings: &mut Findings) {
    let odd = text.chars().find(|c| {
        matches!(c, '\u{a0}' | '\u{2000}'..='\u{200d}' | '\u{2010}'..='\u{2015}' | '\u{2018}'..='\u{201f}' | '\u{2028}'..='\u{202f}' | '\u{3000}' | '\u{feff}')
    });
    if let Some(odd) = odd {
        let message = format!("the character U+{:04X} in {} looks like another one", u32::from(odd), quoted(text));
        findings
            .add(Code::LookalikeCharacter, Some(at), message)
            .help("retype it: a typographic quote, dash or no-break blank becomes part of the name");
    }
}

fn file_exists_behavior(top: &Mapping, findings: &mut Findings) -> Option<FileExistsBehavior> {
    let entry = top.get("file_exists_behavior").filter(|entry| !entry.value.is_null())?;
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str());
    match text {
        Some("DISALLOW") => Some(FileExistsBehavior::Disallow),
        Some("OVERWRITE") => Some(FileExistsBehavior::Overwrite),
        Some("RETAIN") => Some(FileExistsBehavior::Retain),
        _ => {
            let shown = text.map_or_else(|| entry.value.kind().to_owned(), quoted);
            let message = format!("`file_exists_behavior` is {shown}");
            findings
                .add(Code::InvalidFileExistsBehavior, Some(place(entry)), message)
                .help("write DISALLOW, OVERWRITE or RETAIN, in upper case");
            None
        }
    }
}
