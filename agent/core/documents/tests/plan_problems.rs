//! Every reason that no other test covers, and the text of a plan for users.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{
    AclEntry, AclTag, AppSpec, FileExistsBehavior, FileMapping, Permission, Position,
};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_documents::plan::actions::{Action, InstalledEntry, InstalledKind, Plan};
use hostler_documents::plan::{
    ContentComparison, DeviceFact, DirectoryFact, Fact, Guard, HostFacts, PathFact, Problem, ProblemCode, Summary,
    plan, wanted,
};

fn spec(files: &[(&str, &str)]) -> AppSpec {
    let mapping = |(line, (source, destination)): (usize, &(&str, &str))| FileMapping {
        source: (*source).into(),
        destination: (*destination).into(),
        source_at: Position { line: line as u32 + 1, column: 5, ..Position::default() },
        destination_at: Position { line: line as u32 + 1, column: 20, ..Position::default() },
    };
    AppSpec { files: files.iter().enumerate().map(mapping).collect(), ..AppSpec::default() }
}

fn permission(object: &str) -> Permission {
    Permission {
        object: object.into(),
        pattern: "**".into(),
        except: Vec::new(),
        files: true,
        directories: true,
        owner: None,
        group: None,
        mode: None,
        acls: Vec::new(),
        context: None,
        at: Position { line: 9, column: 3, ..Position::default() },
        owner_at: None,
        group_at: None,
    }
}

/// Files of 5,000 bytes, with the directories above them.
fn listing(files: &[&str]) -> BundleListing {
    let mut directories = BTreeSet::new();
    for file in files {
        directories.extend(Path::new(file).ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()));
    }
    let entry = |path: &Path, kind| BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode: 0o644 };
    let directories = directories.into_iter().map(|path| entry(path, EntryKind::Directory));
    let files = files.iter().map(|path| entry(Path::new(path), EntryKind::File { size: 5000 }));
    BundleListing::new(directories.chain(files).collect())
}

fn host(directories: &[&str]) -> HostFacts {
    let directory = PathFact::Directory(DirectoryFact { mode: 0o755, writable: true, device: 1 });
    let mut facts = HostFacts::default();
    facts.paths.extend(directories.iter().chain(&["/"]).map(|path| (PathBuf::from(path), directory.clone())));
    facts.devices.insert(1, DeviceFact { free_bytes: 1 << 30, free_inodes: Some(1000) });
    facts
}

fn make(spec: &AppSpec, listing: &BundleListing, facts: &HostFacts) -> Result<Plan, Vec<Problem>> {
    Ok(plan(&wanted(spec, listing, None)?, facts, FileExistsBehavior::Disallow, true)?)
}

fn codes(result: Result<Plan, Vec<Problem>>) -> Vec<&'static str> {
    result.unwrap_err().iter().map(|p| p.code.as_str()).collect()
}

#[test]
fn all_faults_of_a_bundle_are_told_at_once_with_their_places() {
    let spec = spec(&[("nothing", "~/x"), ("../x", "/srv"), ("a", "/srv"), ("a", "/srv"), ("b", "/srv/a")]);
    let problems = wanted(&spec, &listing(&["a", "b"]), None).unwrap_err();
    let told: Vec<_> = problems.iter().map(|p| (p.code.as_str(), p.at.map(|at| at.line))).collect();
    let expected = [
        ("source_missing", Some(1)),
        ("destination_invalid", Some(1)),
        ("source_escapes", Some(2)),
        ("file_and_directory", Some(5)),
        ("two_sources", Some(4)),
    ];
    assert_eq!(told, expected);
    assert!(problems.iter().all(|p| p.fact == Fact::Bundle && !p.hint.is_empty()));
    let text = problems[0].to_string();
    assert!(
        text.starts_with(
            "appspec line 1, column 5: the bundle does not hold the source \"nothing\" (source_missing); "
        ),
        "{text}"
    );
}

#[test]
fn permissions_that_contradict_each_other_or_a_file_are_refused() {
    let bundle = listing(&["a", "b/c"]);
    let with = |permissions: Vec<Permission>| {
        let spec = AppSpec { permissions, ..spec(&[("/", "/srv/app")]) };
        make(&spec, &bundle, &host(&["/srv"]))
    };
    assert_eq!(
        codes(with(vec![permission("/srv/app/a"), Permission { directories: false, ..permission("/srv/app") }])),
        ["permission_twice"]
    );
    assert_eq!(codes(with(vec![Permission { pattern: "*".into(), ..permission("/srv/app/a") }])), ["pattern_on_file"]);
    assert_eq!(
        codes(with(vec![Permission { except: vec!["x".into()], ..permission("/srv/app/a") }])),
        ["pattern_on_file"]
    );
    assert_eq!(codes(with(vec![permission("~/a")])), ["object_invalid"]);
    let default = AclEntry { default: true, tag: AclTag::Mask, permissions: 7 };
    let acls = vec![default];
    assert_eq!(
        codes(with(vec![Permission { acls: acls.clone(), directories: false, ..permission("/srv/app/b") }])),
        ["default_acl_on_file"]
    );
    assert!(with(vec![Permission { acls, files: false, ..permission("/srv/app") }]).is_ok());
}

#[test]
fn two_entries_for_a_directory_above_matter_only_where_it_is_made() {
    let permissions =
        vec![Permission { files: false, ..permission("/") }, Permission { files: false, ..permission("/srv") }];
    let spec = AppSpec { permissions, ..spec(&[("a", "/srv/app")]) };
    let problems = make(&spec, &listing(&["a"]), &host(&[])).unwrap_err();
    assert_eq!(
        problems.iter().map(|p| (p.code, p.fact)).collect::<Vec<_>>(),
        [(ProblemCode::PermissionTwice, Fact::Bundle)]
    );
    assert!(make(&spec, &listing(&["a"]), &host(&["/srv", "/srv/app"])).is_ok());
}

#[test]
fn an_entry_that_matches_nothing_is_a_warning() {
    let permissions = vec![
        permission("/srv/app"),
        permission("/other"),
        Permission { pattern: "*/c".into(), ..permission("/srv/app") },
    ];
    let spec = AppSpec { permissions, ..spec(&[("/", "/srv/app")]) };
    let wanted = wanted(&spec, &listing(&["b/c"]), None).unwrap();
    assert_eq!(wanted.warnings.len(), 2, "{:?}", wanted.warnings);
}

#[test]
fn owners_may_be_names_or_numbers_and_only_root_gives_files_away() {
    let with = |owner: &str| AppSpec {
        permissions: vec![Permission { owner: Some(owner.into()), mode: Some(0o4755), ..permission("/srv") }],
        ..spec(&[("/", "/srv")])
    };
    let bundle = listing(&["a"]);
    let mut facts = host(&["/srv"]);
    facts.users.insert("web".into(), 33);
    facts.users.insert("44".into(), 1044);
    for (owner, uid) in [("web", 33), ("44", 1044), ("45", 45)] {
        let plan = make(&with(owner), &bundle, &facts).unwrap();
        let [Action::PutFile { attributes, .. }] = plan.actions.as_slice() else { panic!("{plan:?}") };
        assert_eq!((attributes.uid, attributes.mode), (Some(uid), Some(0o4755)), "{owner}");
    }
    for unknown in ["nobody-here", "-1", "4294967295", "99999999999", ""] {
        assert_eq!(codes(make(&with(unknown), &bundle, &facts)), ["unknown_user"], "{unknown:?}");
    }
    facts.agent.uid = 33;
    assert!(make(&with("web"), &bundle, &facts).is_ok());
    assert_eq!(codes(make(&with("45"), &bundle, &facts)), ["owner_not_permitted"]);
}

#[test]
fn room_is_counted_in_blocks_and_inodes_on_each_file_system() {
    let (spec, bundle) = (spec(&[("/", "/srv/app")]), listing(&["a", "b/c"]));
    // /srv/app and b are made, and two files of two blocks each.
    let device = |free_bytes, free_inodes| DeviceFact { free_bytes, free_inodes };
    let with = |fact| {
        let mut facts = host(&["/srv"]);
        facts.devices.insert(1, fact);
        make(&spec, &bundle, &facts)
    };
    assert!(with(device(6 * 4096, Some(4))).is_ok());
    assert!(with(device(6 * 4096, None)).is_ok());
    assert_eq!(codes(with(device(6 * 4096 - 1, Some(3)))), ["no_space", "no_inodes"]);
}

/// A host with the directories of `/srv/app`, in which the agent may write or not.
fn host_with_app(writable: bool) -> HostFacts {
    let mut facts = host(&["/srv"]);
    let directory = PathFact::Directory(DirectoryFact { mode: 0o755, writable, device: 1 });
    facts.paths.extend(["/srv/app", "/srv/app/b"].map(|path| (path, directory.clone())));
    facts
}

#[test]
fn a_read_only_mount_is_told_once_by_its_name_and_nothing_of_its_space() {
    let (spec, bundle) = (spec(&[("/", "/srv/app")]), listing(&["a", "b/c"]));
    let mut facts = host_with_app(false);
    facts.devices.insert(1, DeviceFact { free_bytes: 0, free_inodes: Some(0) });
    for directory in ["/srv/app", "/srv/app/b"] {
        facts.read_only.insert(directory.into(), "/srv/app".into());
    }
    let problems = make(&spec, &bundle, &facts).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].code, ProblemCode::ReadOnlyFileSystem);
    assert_eq!(problems[0].message, "/srv/app is mounted read-only");
    facts.read_only.remove(Path::new("/srv/app/b"));
    assert_eq!(codes(make(&spec, &bundle, &facts)), ["not_writable", "read_only_file_system"]);
}

#[test]
fn guarded_files_and_directories_are_told_with_the_command_that_helps() {
    let (spec, bundle) = (spec(&[("/", "/srv/app")]), listing(&["a", "b/c"]));
    let immutable = Guard { immutable: true, ..Guard::default() };
    let append_only = Guard { append_only: true, ..Guard::default() };
    let mounted = Guard { mount_point: true, ..Guard::default() };
    let file = || PathFact::File;
    let entry = |path: &str, kind| InstalledEntry { path: path.into(), kind };
    let last = [
        entry("/srv/app/a", InstalledKind::File),
        entry("/srv/app/gone", InstalledKind::File),
        entry("/srv/app/old", InstalledKind::Directory),
    ];
    let told = |path: &str, guard: Guard, cleanup: bool| {
        let mut facts = host_with_app(true);
        facts.paths.extend(["/srv/app/a", "/srv/app/gone", "/srv/app/theirs"].map(|path| (path, file())));
        let app = facts.at(Path::new("/srv/app")).clone();
        facts.paths.insert("/srv/app/old", app);
        facts.listings.insert("/srv/app/old".into(), Vec::new());
        facts.guards.insert(path.into(), guard);
        let wanted = wanted(&spec, &bundle, Some(last.to_vec())).unwrap();
        let problems = plan(&wanted, &facts, FileExistsBehavior::Disallow, cleanup).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (path, guard, expected) in [
        ("/srv/app/a", immutable, "/srv/app/a is immutable (chattr +i) (immutable); run `chattr -i /srv/app/a`"),
        ("/srv/app/a", append_only, "/srv/app/a is append-only (chattr +a) (append_only); run `chattr -a /srv/app/a`"),
        (
            "/srv/app/gone",
            immutable,
            "/srv/app/gone is immutable (chattr +i) (immutable); run `chattr -i /srv/app/gone`",
        ),
        ("/srv/app/old", immutable, "/srv/app/old is immutable (chattr +i) (immutable); run `chattr -i /srv/app/old`"),
        // An untouched path may be protected, and a directory that became a mount point stays.
        ("/srv/app/theirs", immutable, ""),
        ("/srv/app/b", mounted, ""),
        ("/srv/app/old", mounted, ""),
    ] {
        assert_eq!(told(path, guard, true), expected, "{path}");
    }
    for path in ["/srv/app/a", "/srv/app/gone"] {
        let said = told(path, mounted, true);
        assert!(said.contains("something is mounted on it (mount_point_in_the_way)"), "{said}");
        assert!(said.contains(&format!("umount {path}")), "{said}");
    }
    assert_eq!(told("/srv/app/gone", immutable, false), "");
}

#[test]
fn a_guarded_directory_in_which_something_changes_or_that_gets_attributes_is_told_as_such() {
    let (spec, bundle) = (spec(&[("/", "/srv/app")]), listing(&["a", "b/c"]));
    for (guard, code) in [
        (Guard { immutable: true, ..Guard::default() }, "immutable"),
        (Guard { append_only: true, ..Guard::default() }, "append_only"),
    ] {
        let mut facts = host_with_app(true);
        let locked = PathFact::Directory(DirectoryFact { mode: 0o755, writable: false, device: 1 });
        facts.paths.insert("/srv/app/b", locked);
        facts.guards.insert("/srv/app/b".into(), guard);
        assert_eq!(codes(make(&spec, &bundle, &facts)), [code]);
        // An owned directory whose content stays and that gets a mode.
        let last = [InstalledEntry { path: "/srv/app/b".into(), kind: InstalledKind::Directory }];
        let permissions = vec![Permission { mode: Some(0o750), pattern: "b".into(), ..permission("/srv/app") }];
        let mut with_mode = AppSpec { permissions, file_exists_behavior: None, ..spec.clone() };
        with_mode.file_exists_behavior = Some(FileExistsBehavior::Retain);
        facts.paths.insert("/srv/app/b/c", PathFact::File);
        let made = |spec: &AppSpec| {
            let wanted = wanted(spec, &bundle, Some(last.to_vec())).unwrap();
            plan(&wanted, &facts, FileExistsBehavior::Disallow, true).map_err(Vec::from)
        };
        assert_eq!(codes(made(&with_mode)), [code]);
        with_mode.permissions.clear();
        assert!(made(&with_mode).is_ok());
    }
}

#[test]
fn a_host_fact_is_told_once_for_all_that_is_below_it() {
    let (spec, bundle) = (spec(&[("/", "/srv/app")]), listing(&["a", "b/c", "b/d"]));
    let mut facts = host(&["/srv"]);
    facts.paths.insert("/srv/app", PathFact::File);
    assert_eq!(codes(make(&spec, &bundle, &facts)), ["file_in_the_way"]);
    facts.paths.insert("/srv/app", PathFact::Unreadable { reason: "Permission denied".into() });
    assert_eq!(codes(make(&spec, &bundle, &facts)), ["cannot_look"]);
    facts.paths.insert("/srv/app", PathFact::Directory(DirectoryFact { mode: 0o555, writable: false, device: 1 }));
    assert_eq!(codes(make(&spec, &bundle, &facts)), ["not_writable"]);
}

#[test]
fn a_plan_and_its_summary_can_be_stored_and_read() {
    let file = |path: &str| (PathBuf::from(path), PathFact::File);
    let entry = |path: &str, kind| InstalledEntry { path: path.into(), kind };
    let mut facts = host(&["/srv", "/srv/own"]);
    facts.paths.extend(["/srv/same", "/srv/other", "/srv/gone", "/srv/theirs"].map(file));
    facts.listings.insert("/srv/own".into(), vec!["x".into()]);
    let last = [
        entry("/srv/same", InstalledKind::File),
        entry("/srv/other", InstalledKind::File),
        entry("/srv/gone", InstalledKind::File),
        entry("/srv/own", InstalledKind::Directory),
    ];
    let permissions = vec![Permission { mode: Some(0o640), files: true, pattern: "n*".into(), ..permission("/srv") }];
    let spec =
        AppSpec { permissions, file_exists_behavior: Some(FileExistsBehavior::Retain), ..spec(&[("/", "/srv")]) };
    let wanted = wanted(&spec, &listing(&["d/new", "new\n", "other", "same", "theirs"]), Some(last.to_vec())).unwrap();
    let plan = plan(&wanted, &facts, FileExistsBehavior::Disallow, true).unwrap();
    assert_eq!(serde_json::from_slice::<Plan>(&serde_json::to_vec(&plan).unwrap()).unwrap(), plan);
    let compared = ContentComparison {
        same: BTreeSet::from(["/srv/same".into()]),
        different: BTreeSet::from(["/srv/other".into()]),
    };
    let summary = Summary::new(&plan, &compared);
    assert_eq!(
        summary.to_string().trim_end(),
        r"added      /srv/d/  (mode 0755)
added      /srv/d/new
removed    /srv/gone
added      /srv/new\n  (mode 0640)
changed    /srv/other
kept       /srv/own/
unchanged  /srv/same
retained   /srv/theirs
3 added, 1 changed, 1 unchanged, 1 removed, 1 kept, 1 retained"
    );
    let json = serde_json::to_string(&summary).unwrap();
    assert!(json.starts_with(r#"{"totals":{"added":3,"changed":1,"#), "{json}");
    assert_eq!(serde_json::from_slice::<Summary>(json.as_bytes()).unwrap(), summary);
}
