//! The plans of the corpus: the work of the CodeDeploy agent's installer for appspec files, compared with hostler's
//! plan. Every difference is a row of CONFORMANCE.md, and every row is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{
    AclEntry, AclTag, AppSpec, FileExistsBehavior, FileMapping, Permission, Position, SelinuxContext,
};
use hostler_documents::bundle::{BundleListing, EntryKind};
use hostler_documents::plan::actions::{Action, Attributes, Plan};
use hostler_documents::plan::{
    DirectoryFact, HostFacts, PathFact, Problem, ProblemCode, Wanted, WantedKind, plan, wanted,
};
use serde_json::Value;

use super::reference::{self, listing, outside, table, tag_and_name};

const BEHAVIORS: [(&str, FileExistsBehavior); 3] = [
    ("DISALLOW", FileExistsBehavior::Disallow),
    ("OVERWRITE", FileExistsBehavior::Overwrite),
    ("RETAIN", FileExistsBehavior::Retain),
];

/// Steps in the incumbent's forms, as text, without their order.
type Steps = BTreeSet<String>;

struct Case {
    id: String,
    spec: AppSpec,
    listing: BundleListing,
    expected: Value,
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn cases() -> Vec<Case> {
    let with_plan = |directory: &PathBuf| directory.join("install-plan.json").is_file();
    let read = |directory: PathBuf| Case {
        id: reference::id(&directory),
        spec: spec(&json(&directory.join("expected.json"))["parsed"]),
        listing: listing(&directory),
        expected: json(&directory.join("install-plan.json")),
    };
    reference::cases().into_iter().filter(with_plan).map(read).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn spec(parsed: &Value) -> AppSpec {
    let at = |index: usize| Position { line: index as u32 + 1, column: 1, ..Position::default() };
    let files = list(&parsed["files"]).iter().enumerate().map(|(i, f)| FileMapping {
        source: text(&f["source"]).unwrap(),
        destination: text(&f["destination"]).unwrap(),
        source_at: at(i),
        destination_at: at(i),
    });
    let permissions = list(&parsed["permissions"]).iter().enumerate().map(|(i, p)| {
        let types: Vec<_> = list(&p["type"]).iter().filter_map(text).collect();
        Permission {
            object: text(&p["object"]).unwrap(),
            pattern: text(&p["pattern"]).unwrap(),
            except: list(&p["except"]).iter().filter_map(text).collect(),
            files: types.iter().any(|t| t == "file"),
            directories: types.iter().any(|t| t == "directory"),
            owner: text(&p["owner"]),
            group: text(&p["group"]),
            mode: text(&p["mode"]).map(|mode| u32::from_str_radix(&mode, 8).unwrap()),
            acls: list(&p["acls"]).iter().filter_map(text).map(|acl| read_acl(&acl)).collect(),
            context: p["context"].as_object().map(|context| SelinuxContext {
                user: text(&context["user"]),
                context_type: text(&context["type"]).unwrap(),
                range: text(&context["range"]),
            }),
            at: at(i),
            owner_at: None,
            group_at: None,
        }
    });
    let behavior =
        text(&parsed["file_exists_behavior"]).map(|name| BEHAVIORS.iter().find(|(known, _)| *known == name).unwrap().1);
    AppSpec {
        files: files.collect(),
        permissions: permissions.collect(),
        file_exists_behavior: behavior,
        ..AppSpec::default()
    }
}

/// Reads the incumbent's own rendering, `[default:]tag:name:rwx`.
fn read_acl(text: &str) -> AclEntry {
    let (default, rest) = text.strip_prefix("default:").map_or((false, text), |rest| (true, rest));
    let mut parts = rest.split(':');
    let (tag, name, bits) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let tag = match (tag, name) {
        ("user", "") => AclTag::UserOwner,
        ("user", name) => AclTag::User(name.into()),
        ("group", "") => AclTag::GroupOwner,
        ("group", name) => AclTag::Group(name.into()),
        ("mask", _) => AclTag::Mask,
        ("other", _) => AclTag::Other,
        other => panic!("{other:?}"),
    };
    let bit = |letter, value| if bits.contains(letter) { value } else { 0 };
    AclEntry { default, tag, permissions: bit('r', 4) | bit('w', 2) | bit('x', 1) }
}

fn write_acl(acl: &AclEntry) -> String {
    let (tag, name) = tag_and_name(acl);
    let bits: String = [(4, 'r'), (2, 'w'), (1, 'x')]
        .map(|(bit, c)| if acl.permissions & bit == 0 { '-' } else { c })
        .iter()
        .collect();
    format!("{}{tag}:{name}:{bits}", if acl.default { "default:" } else { "" })
}

/// A host that has these files, all directories if `directories`, and nothing else.
fn host(wanted: &Wanted, directories: bool, files: &BTreeSet<PathBuf>) -> HostFacts {
    let directory = PathFact::Directory(DirectoryFact { mode: 0o755, writable: true, device: 1 });
    let mut facts = HostFacts::default();
    facts.paths.insert("/", directory.clone());
    for object in wanted.objects() {
        if files.contains(object.path.as_path()) {
            facts.paths.insert(object.path.clone(), PathFact::File);
        } else if directories && matches!(object.kind, WantedKind::Directory { .. }) {
            facts.paths.insert(object.path.clone(), directory.clone());
        }
    }
    let ids = |names: &BTreeSet<String>| names.iter().cloned().zip(5000..).collect();
    (facts.users, facts.groups) = (ids(&wanted.users), ids(&wanted.groups));
    facts
}

fn steps(plan: &Plan, facts: &HostFacts) -> Steps {
    let name = |known: &BTreeMap<String, u32>, id: Option<u32>| {
        let id = id?;
        Some(known.iter().find(|(_, known)| **known == id).map_or_else(|| id.to_string(), |(name, _)| name.clone()))
    };
    let mut steps = Steps::new();
    for action in &plan.actions {
        let path = action.path().display();
        let (step, attributes) = match action {
            Action::MakeDirectory { attributes, .. } => (format!("mkdir {path}"), attributes.clone()),
            Action::PutFile { source, attributes, .. } => {
                (format!("copy {} to {path}", source.display()), attributes.clone())
            }
            Action::PutLink { target, attributes, .. } => (format!("link {target} at {path}"), attributes.clone()),
            other => panic!("no plan of the corpus has {other:?}"),
        };
        let Attributes { mode, uid, gid, acls, context } = Attributes::clone(&attributes);
        // The incumbent makes directories with the mode that the umask leaves, which is the same one.
        let given = mode.filter(|mode| !(step.starts_with("mkdir") && *mode == 0o755));
        steps.insert(step);
        steps.extend(given.map(|mode| format!("chmod {mode:o} {path}")));
        if uid.is_some() || gid.is_some() {
            steps.insert(chown(name(&facts.users, uid), name(&facts.groups, gid), &path.to_string()));
        }
        if !acls.is_empty() {
            let acls: Vec<_> = acls.iter().map(write_acl).collect();
            steps.insert(format!("setfacl {} {path}", acls.join(",")));
        }
        steps.extend(context.map(|c| semanage(c.user, Some(c.context_type), c.range, &path.to_string())));
    }
    steps
}

fn chown(owner: Option<String>, group: Option<String>, path: &str) -> String {
    format!("chown {}:{} {path}", owner.unwrap_or_default(), group.unwrap_or_default())
}

fn semanage(user: Option<String>, kind: Option<String>, range: Option<String>, path: &str) -> String {
    format!("semanage {user:?} {kind:?} {range:?} {path}")
}

fn incumbent_steps(instructions: &Value, listing: &BundleListing) -> Steps {
    let made: BTreeSet<_> = list(instructions).iter().filter_map(|i| i["directory"].as_str()).collect();
    let step = |i: &Value| {
        let file = text(&i["file"]).unwrap_or_default();
        Some(match i["command"].as_str().unwrap() {
            "mkdir" => format!("mkdir {}", i["directory"].as_str().unwrap()),
            "copy" => {
                let source = i["source"].as_str().unwrap().strip_prefix("{archive}/").unwrap();
                let source: PathBuf = Path::new(source).components().filter(|c| c.as_os_str() != ".").collect();
                let to = i["destination"].as_str().unwrap();
                match listing.get(&source).map(|e| &e.kind) {
                    Some(EntryKind::Symlink { target }) => format!("link {} at {to}", target.to_str().unwrap()),
                    _ => format!("copy {} to {to}", source.display()),
                }
            }
            "chmod" => {
                let mode = u32::from_str_radix(i["mode"].as_str().unwrap(), 8).unwrap();
                if mode == 0o755 && made.contains(file.as_str()) {
                    return None;
                }
                format!("chmod {mode:o} {file}")
            }
            "chown" => chown(text(&i["owner"]), text(&i["group"]), &file),
            "setfacl" => {
                format!("setfacl {} {file}", list(&i["acl"]).iter().filter_map(text).collect::<Vec<_>>().join(","))
            }
            "semanage" => {
                let context = &i["context"];
                semanage(text(&context["user"]), text(&context["type"]), text(&context["range"]), &file)
            }
            other => panic!("unknown command {other}"),
        })
    };
    list(instructions).iter().filter_map(step).collect()
}

/// The names of the deviations between a plan and the incumbent's work in the same case.
fn deviations(expected: &Value, case: &Case, ours: &Result<(Plan, HostFacts), Vec<Problem>>) -> BTreeSet<String> {
    let refused = expected["error"]["message"].as_str();
    match (ours, refused) {
        (Err(problems), Some(message)) if problems.iter().any(|p| agrees(p, message)) => BTreeSet::new(),
        (Err(problems), _) => problems.iter().map(|p| format!("P-{}", p.code.as_str().replace('_', "-"))).collect(),
        (Ok(_), Some(message)) => BTreeSet::from([format!("P-accepted: {message}")]),
        (Ok((plan, facts)), None) => {
            let (ours, theirs) = (steps(plan, facts), incumbent_steps(&expected["instructions"], &case.listing));
            ours.symmetric_difference(&theirs).map(|step| explain(step, &case.listing, &ours)).collect()
        }
    }
}

/// Whether the plan for the existing sources differs from the incumbent's, apart from the directories.
fn rest_differs(case: &Case) -> BTreeSet<String> {
    let problems = wanted(&case.spec, &case.listing, None).unwrap_err();
    let mut rest = AppSpec { ..case.spec.clone() };
    rest.files.retain(|f| !problems.iter().any(|p| p.at == Some(f.source_at)));
    let rest = Case { id: case.id.clone(), spec: rest, listing: case.listing.clone(), expected: Value::Null };
    let (plan, facts) = ours(&rest, FileExistsBehavior::Disallow, None).unwrap();
    let missing: Vec<_> = list(&case.expected["copy_sources_that_do_not_exist"]).iter().filter_map(text).collect();
    let instructions = list(&case.expected["instructions"]);
    let gone: Vec<_> = instructions
        .iter()
        .filter(|i| text(&i["source"]).is_some_and(|s| missing.contains(&s)))
        .filter_map(|i| text(&i["destination"]))
        .collect();
    let about =
        |step: &String| step.starts_with("mkdir") || gone.iter().any(|path| step.ends_with(&format!(" {path}")));
    let (ours, theirs) = (steps(&plan, &facts), incumbent_steps(&case.expected["instructions"], &case.listing));
    let different = ours.symmetric_difference(&theirs).filter(|step| !about(step));
    different.map(|step| explain(step, &case.listing, &ours)).collect()
}

fn agrees(problem: &Problem, message: &str) -> bool {
    let about = match problem.code {
        ProblemCode::FileExists => "a specified file already exists",
        ProblemCode::TwoSources => "specifies two source files",
        ProblemCode::PermissionTwice => "is specified more than once",
        _ => return false,
    };
    message.contains(about)
}

fn explain(step: &str, listing: &BundleListing, ours: &Steps) -> String {
    for entry in listing.entries() {
        let EntryKind::Symlink { target } = &entry.kind else { continue };
        let name = entry.path.as_path().display();
        let is_directory = matches!(listing.get(Path::new(target)), Some(e) if e.kind == EntryKind::Directory);
        let put = ours.iter().any(|s| s.starts_with(&format!("link {} at", target.display())));
        if is_directory && put && (step.contains(&format!("/{name}")) || step.contains(&format!(" {name}/"))) {
            return "P-directory-link".into();
        }
    }
    format!("P-unexplained: {step}")
}

fn ours(
    case: &Case,
    behavior: FileExistsBehavior,
    files: Option<&BTreeSet<PathBuf>>,
) -> Result<(Plan, HostFacts), Vec<Problem>> {
    let wanted = wanted(&case.spec, &case.listing, None)?;
    let none = BTreeSet::new();
    let facts = host(&wanted, files.is_some(), files.unwrap_or(&none));
    let plan = plan(&wanted, &facts, behavior, true)?;
    check_order(&case.id, &plan);
    Ok((plan, facts))
}

/// Parents come before their children: the comparison of steps is without order.
fn check_order(id: &str, plan: &Plan) {
    let mut made: BTreeSet<&Path> = BTreeSet::new();
    for action in &plan.actions {
        for above in action.path().ancestors().skip(1) {
            let later = plan.actions.iter().any(|a| a.path().as_path() == above) && !made.contains(above);
            assert!(!later, "{id}: {} comes before {}", action.path().display(), above.display());
        }
        made.insert(action.path());
    }
}

#[test]
fn plans_are_the_incumbents_but_for_the_deviations_listed() {
    let cases = cases();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut compared = 0;
    for case in &cases {
        let mut names = deviations(&case.expected, case, &ours(case, FileExistsBehavior::Disallow, None));
        compared += 1;
        let redeploy = &case.expected["redeploy"];
        let files = list(&redeploy["existing_files"]).iter().filter_map(text).map(PathBuf::from).collect();
        for (name, behavior) in BEHAVIORS.iter().filter(|_| redeploy.is_object()) {
            names.extend(deviations(&redeploy[name], case, &ours(case, *behavior, Some(&files))));
            compared += 1;
        }
        if names.remove("P-source-missing") {
            found.entry("P-source-missing".into()).or_default().insert(case.id.clone());
            names.extend(rest_differs(case));
        }
        for name in names {
            found.entry(name).or_default().insert(case.id.clone());
        }
    }
    println!("{} cases, {compared} plans compared", cases.len());
    let expected = if outside().is_some() { 100 } else { 30 };
    assert!(cases.len() >= expected, "only {} cases with a plan were found", cases.len());
    let table = table("| P-");
    for (id, cases) in &found {
        let listed = table.get(id).cloned().unwrap_or_default();
        let missing: Vec<_> = cases.difference(&listed).map(String::as_str).collect();
        assert!(missing.is_empty(), "{id}: not in CONFORMANCE.md: {}", missing.join(", "));
    }
    for (id, cases) in &table {
        let found = found.get(id).cloned().unwrap_or_default();
        let idle: Vec<_> = cases.difference(&found).map(String::as_str).collect();
        assert!(idle.is_empty(), "{id}: in CONFORMANCE.md, and no deviation: {}", idle.join(", "));
    }
}
