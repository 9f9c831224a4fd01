//! Every verdict of the CodeDeploy agent in the corpus of appspec files is met, or SEMANTICS-appspec.md says why not.
#![allow(clippy::disallowed_methods, reason = "a test reads its corpus")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are test code too, which clippy does not see in this kind of crate"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostler_core::appspec::codes::Code;
use hostler_core::appspec::spec::{AclEntry, AclTag, AppSpec, FileExistsBehavior, HookScript, Permission};
use hostler_core::appspec::{self, Reading};
use hostler_core::limits::Limits;
use serde_json::{Value, json};

const TABLE: &str = "## Deliberate deviations from the CodeDeploy agent: appspec";

/// Deviations that no file of the corpus shows; facts about the agent from the corpus's list of its quirks.
const INLINE: &[(&str, &str, Expected)] = &[
    (
        "inline-date-owner",
        "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    owner: 2024-01-01\n",
        Expected::Rejected,
    ),
    (
        "inline-files-text-entry",
        "version: 0.0\nos: linux\nfiles:\n  - 'source: / destination: /srv'\n",
        Expected::Accepted,
    ),
    (
        "inline-mode-0755",
        "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    mode: 0755\n",
        Expected::Rejected,
    ),
];

#[derive(Clone, Copy)]
enum Expected {
    Accepted,
    Rejected,
}

#[test]
fn every_verdict_is_met_or_its_difference_is_in_the_table() {
    let Some(corpus) = corpus() else { return };
    let table = table();
    let documented: BTreeMap<&str, &str> =
        table.iter().flat_map(|(row, cases)| cases.iter().map(|case| (case.as_str(), row.as_str()))).collect();
    let mut deviating = BTreeMap::new();
    let mut seen = 0;
    for (id, file, expected) in cases(&corpus) {
        seen += 1;
        if let Some(difference) = difference(&appspec::read("appspec.yml", &file, &Limits::default()), &expected) {
            deviating.insert(id, difference);
        }
    }
    for (id, text, expected) in INLINE {
        let reading = appspec::read("appspec.yml", text.as_bytes(), &Limits::default());
        if reading.spec.is_some() != matches!(expected, Expected::Accepted) {
            deviating.insert((*id).to_owned(), "verdict".to_owned());
        }
    }
    assert!(seen >= 180, "only {seen} cases were found in {}", corpus.display());
    let undocumented: Vec<_> = deviating.iter().filter(|(id, _)| !documented.contains_key(id.as_str())).collect();
    assert!(undocumented.is_empty(), "no row of the table names these cases: {undocumented:#?}");
    let idle: Vec<_> = documented.iter().filter(|(id, _)| !deviating.contains_key(**id)).collect();
    assert!(idle.is_empty(), "these cases of the table do not deviate: {idle:#?}");
}

#[test]
fn an_error_means_no_spec_and_no_error_means_one() {
    let Some(corpus) = corpus() else { return };
    for (id, file, _) in cases(&corpus) {
        let reading = appspec::read("appspec.yml", &file, &Limits::default());
        let has_error = reading.diagnostics.iter().any(|d| d.severity == appspec::diagnose::Severity::Error);
        assert_eq!(reading.spec.is_none(), has_error, "{id}: {:#?}", reading.diagnostics);
        let text = String::from_utf8_lossy(&file);
        let rendered = appspec::diagnose::render(&reading.diagnostics, &text);
        for diagnostic in &reading.diagnostics {
            assert!(rendered.contains(diagnostic.code.name()), "{id}: {rendered}");
            assert!(diagnostic.help.is_some(), "{id}: {diagnostic:?} does not say what to do");
        }
    }
}

/// The rows of the table: id of the row, and the cases that need it.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SEMANTICS-appspec.md");
    let text = std::fs::read_to_string(&path)
        .or_else(|_| std::fs::read_to_string(path.with_file_name("SEMANTICS.md")))
        .expect("the file with the table");
    let section = text.split_once(TABLE).expect("the section with the table").1;
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| D-"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 5, "a row has five cells: {line}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
            let cases = cells[1].split(',').map(|case| case.trim().trim_matches('`').to_owned()).collect();
            (cells[0].to_owned(), cases)
        })
        .collect();
    let ids: BTreeSet<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "two rows have one id");
    rows
}

fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("HOSTLER_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        println!("skipped: no corpus at {}", corpus.display());
        return None;
    }
    Some(corpus)
}

/// Every case: its id, the file, and what the agent makes of it.
fn cases(corpus: &Path) -> Vec<(String, Vec<u8>, Value)> {
    let mut cases = Vec::new();
    for set in std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for case in std::fs::read_dir(&set).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(expected) = std::fs::read(case.join("expected.json")) else { continue };
            let id = case.file_name().unwrap().to_str().unwrap().to_owned();
            let file = ["appspec.yml", "appspec.yaml", "appspec.json"]
                .iter()
                .find_map(|name| std::fs::read(case.join(name)).ok())
                .or_else(|| generated(&id))
                .unwrap_or_else(|| panic!("{id} has no appspec"));
            cases.push((id, file, serde_json::from_slice(&expected).unwrap()));
        }
    }
    cases
}

/// The large cases, which the corpus does not store.
fn generated(id: &str) -> Option<Vec<u8>> {
    const MIB: usize = 1 << 20;
    let rest = match id {
        "big-blank" => "\n".repeat(10 * MIB),
        "big-list" => format!("x:\n{}", "  - aaaaaaaa\n".repeat(10 * MIB / 13)),
        "deep-flow-1000" => format!("x: {}{}\n", "[".repeat(1000), "]".repeat(1000)),
        _ => return None,
    };
    Some(format!("version: 0.0\nos: linux\n{rest}").into_bytes())
}

/// In what the reading differs from the agent's; `None` where it does not.
fn difference(reading: &Reading, expected: &Value) -> Option<String> {
    let accepted = expected["accepted"].as_bool().expect("a verdict");
    let Some(spec) = &reading.spec else {
        return accepted.then(|| format!("refused: {:?}", reading.diagnostics));
    };
    if !accepted {
        return Some("accepted".to_owned());
    }
    let theirs = normal(&expected["parsed"]);
    let ours = plain(spec);
    for key in ["files", "file_exists_behavior", "permissions", "hooks"] {
        if ours[key] != theirs[key] {
            return Some(format!("{key} differ: {} instead of {}", ours[key], theirs[key]));
        }
    }
    // The agent's second check, at Install: an unknown event name fails the deployment there.
    let warned = reading.diagnostics.iter().any(|diagnostic| diagnostic.code == Code::UnknownEvent);
    let refused_later = expected["lifecycle_check"]["ok"] == json!(false);
    assert_eq!(warned, refused_later, "unknown events are warned of exactly where the agent refuses them");
    refused_later.then(|| "an unknown event is a warning".to_owned())
}

fn plain(spec: &AppSpec) -> Value {
    let hooks: serde_json::Map<String, Value> = spec
        .hooks
        .iter()
        .map(|hooks| {
            let script = |s: &HookScript| {
                json!({"location": s.location, "runas": s.runas, "timeout": s.timeout_seconds, "sudo": s.sudo})
            };
            (hooks.event.clone(), hooks.scripts.iter().map(script).collect())
        })
        .filter(|(_, scripts): &(String, Value)| scripts != &json!([]))
        .collect();
    json!({
        "files": spec.files.iter().map(|f| json!({"source": f.source, "destination": f.destination})).collect::<Vec<_>>(),
        "file_exists_behavior": spec.file_exists_behavior.map(|behavior| match behavior {
            FileExistsBehavior::Disallow => "DISALLOW",
            FileExistsBehavior::Overwrite => "OVERWRITE",
            FileExistsBehavior::Retain => "RETAIN",
        }),
        "permissions": spec.permissions.iter().map(plain_permission).collect::<Vec<_>>(),
        "hooks": hooks,
    })
}

fn plain_permission(permission: &Permission) -> Value {
    let types: Vec<&str> = [("directory", permission.directories), ("file", permission.files)]
        .iter()
        .filter(|t| t.1)
        .map(|t| t.0)
        .collect();
    json!({
        "object": permission.object,
        "pattern": permission.pattern,
        "except": permission.except,
        "type": types,
        "owner": permission.owner,
        "group": permission.group,
        "mode": permission.mode,
        "acls": permission.acls.iter().map(plain_acl).collect::<Vec<_>>(),
        "context": permission.context.as_ref().map(|c| json!({"user": c.user, "type": c.context_type, "range": c.range})),
    })
}

fn plain_acl(acl: &AclEntry) -> String {
    let (tag, name) = match &acl.tag {
        AclTag::UserOwner => ("user", ""),
        AclTag::User(name) => ("user", name.as_str()),
        AclTag::GroupOwner => ("group", ""),
        AclTag::Group(name) => ("group", name.as_str()),
        AclTag::Mask => ("mask", ""),
        AclTag::Other => ("other", ""),
    };
    let letter = |bit, letter| if acl.permissions & bit == 0 { '-' } else { letter };
    let default = if acl.default { "default:" } else { "" };
    format!("{default}{tag}:{name}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x'))
}

/// The agent's values, with what means the same written the same.
fn normal(parsed: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::Null => Value::Null,
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let files = list(&parsed["files"])
        .iter()
        .map(|f| json!({"source": text(&f["source"]), "destination": text(&f["destination"])}))
        .collect::<Vec<_>>();
    let permissions = list(&parsed["permissions"])
        .iter()
        .map(|p| {
            let mut types = list(&p["type"]);
            types.sort_by_key(|t| t.as_str().unwrap().to_owned());
            json!({
                "object": p["object"],
                "pattern": text(&p["pattern"]),
                "except": list(&p["except"]).iter().map(text).collect::<Vec<_>>(),
                "type": types,
                "owner": text(&p["owner"]),
                "group": text(&p["group"]),
                "mode": p["mode"].as_str().map(|mode| u32::from_str_radix(mode, 8).unwrap()),
                "acls": list(&p["acls"]),
                "context": p["context"],
            })
        })
        .collect::<Vec<_>>();
    let hooks: serde_json::Map<String, Value> = parsed["hooks"]
        .as_object()
        .expect("hooks")
        .iter()
        .map(|(event, scripts)| {
            let script = |s: &Value| {
                let sudo = !matches!(s["sudo"], Value::Null | Value::Bool(false));
                json!({"location": s["location"], "runas": s["runas"], "timeout": s["timeout"], "sudo": sudo})
            };
            (event.clone(), json!(list(scripts).iter().map(script).collect::<Vec<_>>()))
        })
        .filter(|(_, scripts): &(String, Value)| scripts != &json!([]))
        .collect();
    json!({
        "files": files,
        "file_exists_behavior": parsed["file_exists_behavior"],
        "permissions": permissions,
        "hooks": hooks,
    })
}
