//! hostler matches every verdict of the CodeDeploy agent in the corpus of appspec files, or CONFORMANCE.md
//! gives the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hostler_documents::appspec::codes::Code;
use hostler_documents::appspec::lint::{bundle_path, lint_bundle};
use hostler_documents::appspec::spec::{AclEntry, AppSpec, FileExistsBehavior, HookScript, Permission};
use hostler_documents::appspec::{self, Reading};
use hostler_documents::limits::Limits;
use serde_json::{Value, json};

use super::reference::{self, appspec_of, listing, outside, table, tag_and_name};

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
        "inline-misspelt-event",
        "version: 0.0\nos: linux\nhooks:\n  AfterInstal:\n    - location: a.sh\n",
        Expected::Accepted,
    ),
    (
        "inline-misspelt-key",
        "version: 0.0\nos: linux\nhook:\n  AfterInstall:\n    - location: a.sh\n",
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
    let table = table("| D-");
    let documented: BTreeMap<&str, &str> =
        table.iter().flat_map(|(row, cases)| cases.iter().map(|case| (case.as_str(), row.as_str()))).collect();
    let mut deviating = BTreeMap::new();
    let mut seen = 0;
    for (id, file, expected) in cases() {
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
    let expected = if outside().is_some() { 180 } else { 65 };
    assert!(seen >= expected, "only {seen} cases were found");
    let undocumented: Vec<_> = deviating.iter().filter(|(id, _)| !documented.contains_key(id.as_str())).collect();
    assert!(undocumented.is_empty(), "no row of the table names these cases: {undocumented:#?}");
    let idle: Vec<_> = documented.iter().filter(|(id, _)| !deviating.contains_key(**id)).collect();
    assert!(idle.is_empty(), "these cases of the table do not deviate: {idle:#?}");
}

#[test]
fn an_error_means_no_spec_and_no_error_means_one() {
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, mut file, _) in cases() {
        // The reader stops once it knows that a file is too large.
        file.truncate(Limits::default().appspec_bytes + 1);
        let reading = appspec::read("appspec.yml", &file, &Limits::default());
        let has_error = reading.diagnostics.iter().any(|d| d.severity == appspec::diagnose::Severity::Error);
        assert_eq!(reading.spec.is_none(), has_error, "{id}: {:#?}", reading.diagnostics);
        let unsaid = reading.diagnostics.iter().find(|diagnostic| diagnostic.help.is_none());
        assert_eq!(unsaid, None, "{id}: it does not say what to do");
        // Rendering takes time, and the tenth file with the same finding shows nothing new.
        let names: BTreeSet<_> = reading.diagnostics.iter().map(|diagnostic| diagnostic.code.name()).collect();
        if names.iter().any(|name| shown.get(name).is_none_or(|times| *times < 10)) {
            let rendered = appspec::diagnose::render(&reading.diagnostics, &String::from_utf8_lossy(&file));
            for name in names {
                assert!(rendered.contains(name), "{id}: {rendered}");
                *shown.entry(name).or_default() += 1;
            }
        }
    }
}

#[test]
fn what_a_bundle_lacks_is_found_where_the_agents_plan_fails_to_copy_it() {
    let (mut compared, mut with_absent, mut with_permissions) = (0, 0, 0);
    for directory in reference::cases() {
        let id = reference::id(&directory);
        let Ok(plan) = std::fs::read(directory.join("install-plan.json")) else { continue };
        let plan: Value = serde_json::from_slice(&plan).unwrap();
        let Some((_, file)) = appspec_of(&directory) else { continue };
        let Some(spec) = appspec::read("appspec.yml", &file, &Limits::default()).spec else { continue };
        let listing = listing(&directory);
        let findings = lint_bundle("appspec.yml", &spec, &listing, &BTreeMap::new(), &Limits::default());

        let absent_at: BTreeSet<_> = findings
            .iter()
            .filter(|finding| finding.code == Code::SourceAbsent)
            .filter_map(|finding| finding.at)
            .collect();
        let ours: BTreeSet<_> = spec
            .files
            .iter()
            .filter(|file| absent_at.contains(&file.source_at))
            .map(|file| bundle_path(&file.source).unwrap())
            .collect();
        // A plan that failed has nothing to compare with.
        let Some(absent) = plan["copy_sources_that_do_not_exist"].as_array() else { continue };
        let theirs: BTreeSet<_> = absent
            .iter()
            .map(|path| bundle_path(path.as_str().unwrap().strip_prefix("{archive}").unwrap()).unwrap())
            .collect();
        assert_eq!(ours, theirs, "{id}");
        compared += 1;
        with_absent += usize::from(!ours.is_empty());

        if plan["error"].is_null() && plan["instructions"].is_array() && !spec.permissions.is_empty() && ours.is_empty()
        {
            let idle = [Code::PermissionMatchesNothing, Code::PatternMatchesNothing];
            let warned = findings.iter().filter(|finding| idle.contains(&finding.code)).count();
            let touched = plan["instructions"].as_array().unwrap().iter().any(|instruction| {
                ["chmod", "chown", "setfacl", "semanage"].contains(&instruction["command"].as_str().unwrap())
            });
            let settles = |p: &Permission| {
                p.mode.is_some() || p.owner.is_some() || p.group.is_some() || !p.acls.is_empty() || p.context.is_some()
            };
            if spec.permissions.iter().all(settles) {
                assert_eq!(warned == spec.permissions.len(), !touched, "{id}: {findings:#?}");
                with_permissions += 1;
            }
        }
    }
    let counts = (compared, with_absent, with_permissions);
    let expected = if outside().is_some() { (80, 10, 10) } else { (25, 1, 8) };
    assert!(counts.0 >= expected.0 && counts.1 >= expected.1 && counts.2 >= expected.2, "{counts:?}");
}

/// Every case: its id, the file, and the agent's verdict.
fn cases() -> Vec<(String, Vec<u8>, Value)> {
    let read = |case: PathBuf| {
        let id = reference::id(&case);
        let expected = std::fs::read(case.join("expected.json")).unwrap();
        let file = appspec_of(&case).map(|(_, file)| file).or_else(|| generated(&id));
        let file = file.unwrap_or_else(|| panic!("{id} has no appspec"));
        (id, file, serde_json::from_slice(&expected).unwrap())
    };
    reference::cases().into_iter().map(read).collect()
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

/// The difference between the reading and the agent's; `None` without one.
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
    let (tag, name) = tag_and_name(acl);
    let letter = |bit, letter| if acl.permissions & bit == 0 { '-' } else { letter };
    let default = if acl.default { "default:" } else { "" };
    format!("{default}{tag}:{name}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x'))
}

/// The agent's values, with equal meanings written equally.
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
