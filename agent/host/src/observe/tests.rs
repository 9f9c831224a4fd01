use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use hostler_core::appspec::spec::{FileMapping, Permission, Position};
use hostler_core::bundle::{BundleEntry, BundlePath, EntryKind};
use hostler_core::plan::actions::{Action, InstalledKind};
use hostler_core::plan::{Change, ProblemCode, Summary};

mod guarded;

use super::*;
use crate::test_support::{skip, without_root};

fn spec(files: &[(&str, &str)]) -> AppSpec {
    let mapping = |(source, destination): &(&str, &str)| FileMapping {
        source: (*source).into(),
        destination: (*destination).into(),
        source_at: Position::default(),
        destination_at: Position::default(),
    };
    AppSpec { files: files.iter().map(mapping).collect(), ..AppSpec::default() }
}

fn listing(files: &[&str]) -> BundleListing {
    let mut entries = BTreeMap::new();
    for file in files {
        let path = Path::new(file);
        for above in path.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()) {
            entries.insert(above.to_owned(), EntryKind::Directory);
        }
        entries.insert(path.to_owned(), EntryKind::File { size: 3 });
    }
    let entry = |(path, kind): (PathBuf, _)| BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode: 0o644 };
    BundleListing::new(entries.into_iter().map(entry).collect())
}

fn make(root: &Path, spec: &AppSpec, listing: &BundleListing, last: &[InstalledEntry]) -> Result<Plan, Problems> {
    match observe_and_plan(spec, listing, Some(last), root, FileExistsBehavior::Disallow, true) {
        Ok(plan) => Ok(plan),
        Err(PlanError::Problems(problems)) => Err(problems),
        Err(other) => panic!("{other:?}"),
    }
}

fn codes(result: Result<Plan, Problems>) -> Vec<ProblemCode> {
    result.unwrap_err().into_iter().map(|p| p.code).collect()
}

fn file(path: &str) -> InstalledEntry {
    InstalledEntry { path: path.into(), kind: InstalledKind::File }
}

fn directory(path: &str) -> InstalledEntry {
    InstalledEntry { path: path.into(), kind: InstalledKind::Directory }
}

fn actions(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| {
            let path = action.path().display();
            match action {
                Action::Remove { .. } => format!("remove {path}"),
                Action::MakeDirectory { .. } => format!("make {path}"),
                Action::KeepDirectory { .. } => format!("keep {path}"),
                Action::PutFile { replaces: false, .. } => format!("put {path}"),
                Action::PutFile { .. } => format!("replace {path}"),
                Action::PutLink { .. } => format!("link {path}"),
            }
        })
        .collect()
}

#[test]
fn an_empty_root_gets_directories_and_then_files() {
    let root = tempfile::tempdir().unwrap();
    let plan = make(root.path(), &spec(&[("/", "/srv/app")]), &listing(&["a", "b/c"]), &[]).unwrap();
    assert_eq!(actions(&plan), ["make /srv", "make /srv/app", "make /srv/app/b", "put /srv/app/a", "put /srv/app/b/c"]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "planning left something behind");
}

#[test]
fn a_root_prefix_that_does_not_exist_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let wanted = wanted(&spec(&[]), &listing(&[]), None).unwrap();
    let error = observe(&wanted, &missing).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn what_is_there_is_seen_for_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    let srv = root.path().join("srv");
    fs::create_dir(&srv).unwrap();
    fs::write(srv.join("file"), "12345").unwrap();
    fs::set_permissions(srv.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("nowhere", srv.join("dangling")).unwrap();
    fs::create_dir(srv.join("directory")).unwrap();
    nix::unistd::mkfifo(&srv.join("pipe"), Mode::S_IRWXU).unwrap();
    let names = ["absent", "dangling", "directory", "file", "pipe"];
    let wanted = wanted(&spec(&[("/", "/srv")]), &listing(&names), None).unwrap();
    let facts = observe(&wanted, root.path()).unwrap();
    let at = |name: &str| facts.at(&Path::new("/srv").join(name)).clone();
    assert_eq!(at("absent"), PathFact::Absent);
    assert_eq!(at("pipe"), PathFact::Other);
    assert_eq!(at("dangling"), PathFact::Symlink { target: "nowhere".into(), leads: Leads::NotFollowed });
    assert!(matches!(at("file"), PathFact::File), "{:?}", at("file"));
    assert!(matches!(at("directory"), PathFact::Directory(d) if d.writable), "{:?}", at("directory"));
    let mut found = codes(make(root.path(), &spec(&[("/", "/srv")]), &listing(&names), &[]));
    found.sort();
    let expected = [
        ProblemCode::FileExists,
        ProblemCode::FileExists,
        ProblemCode::DirectoryInTheWay,
        ProblemCode::SpecialFileInTheWay,
    ];
    assert_eq!(found, expected);
}

#[test]
fn links_are_followed_at_destinations_below_the_root_and_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let in_root = |path: &str| root.path().join(path);
    fs::create_dir_all(in_root("data/app/sub")).unwrap();
    fs::create_dir(in_root("srv")).unwrap();
    symlink("../data/app", in_root("srv/app")).unwrap();
    let bundle = listing(&["sub/x"]);
    let plan = make(root.path(), &spec(&[("/", "/srv/app")]), &bundle, &[]).unwrap();
    assert_eq!(actions(&plan), ["put /srv/app/sub/x"]);
    assert_eq!(plan.links, [Path::new("/srv/app")]);

    symlink(outside.path(), in_root("srv/out")).unwrap();
    assert_eq!(codes(make(root.path(), &spec(&[("/", "/srv/out")]), &bundle, &[])), [ProblemCode::LinkLeavesRoot]);
    symlink("nowhere", in_root("srv/nowhere")).unwrap();
    assert_eq!(
        codes(make(root.path(), &spec(&[("/", "/srv/nowhere/x")]), &bundle, &[])),
        [ProblemCode::LinkLeadsNowhere]
    );

    fs::create_dir(in_root("srv/tree")).unwrap();
    symlink("../../data/app/sub", in_root("srv/tree/sub")).unwrap();
    let found = codes(make(root.path(), &spec(&[("/", "/srv/tree")]), &bundle, &[]));
    assert_eq!(found, [ProblemCode::LinkBelowDestination]);

    // Two names of one place.
    let both = spec(&[("sub", "/srv/app"), ("sub", "/data/app")]);
    assert_eq!(codes(make(root.path(), &both, &bundle, &[])), [ProblemCode::SamePlace]);
}

#[test]
fn a_destination_that_is_now_named_without_its_link_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("data/app")).unwrap();
    fs::create_dir(root.path().join("srv")).unwrap();
    symlink("../data/app", root.path().join("srv/app")).unwrap();
    fs::write(root.path().join("data/app/x"), "old").unwrap();
    fs::write(root.path().join("data/app/y"), "old").unwrap();
    let last = [file("/srv/app/x"), file("/srv/app/y")];
    let plan = make(root.path(), &spec(&[("x", "/data/app")]), &listing(&["x"]), &last).unwrap();
    assert_eq!(actions(&plan), ["replace /data/app/x", "remove /srv/app/y"]);
    assert_eq!(plan.links, [Path::new("/srv/app")]);
}

#[test]
fn a_directory_is_removed_only_if_nothing_else_is_in_it() {
    let root = tempfile::tempdir().unwrap();
    let old = root.path().join("srv/old");
    fs::create_dir_all(old.join("sub")).unwrap();
    fs::write(old.join("sub/x"), "").unwrap();
    let last = [directory("/srv/old"), directory("/srv/old/sub"), file("/srv/old/sub/x")];
    let plan = make(root.path(), &spec(&[]), &listing(&[]), &last).unwrap();
    assert_eq!(actions(&plan), ["remove /srv/old/sub/x", "remove /srv/old/sub", "remove /srv/old"]);
    assert!(plan.installed.is_empty());

    fs::write(old.join("theirs"), "").unwrap();
    let plan = make(root.path(), &spec(&[]), &listing(&[]), &last).unwrap();
    assert_eq!(actions(&plan), ["remove /srv/old/sub/x", "remove /srv/old/sub"]);
    assert_eq!(plan.kept, [Path::new("/srv/old")]);
    assert_eq!(plan.installed, [directory("/srv/old")]);
}

#[test]
fn a_removal_is_not_redirected_by_a_link_below_what_was_installed() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("srv/app")).unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "").unwrap();
    symlink("../../etc", root.path().join("srv/app/conf")).unwrap();
    // The directory was there before the first install, so that it is not in the list.
    let last = [directory("/srv/app"), file("/srv/app/conf/passwd")];
    let plan = make(root.path(), &spec(&[]), &listing(&[]), &last).unwrap();
    assert_eq!(actions(&plan), Vec::<String>::new());
}

#[test]
fn a_link_that_somebody_else_made_does_not_redirect_a_removal() {
    if !geteuid().is_root() {
        skip("only root can make another user's link");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("data")).unwrap();
    fs::create_dir(root.path().join("srv")).unwrap();
    fs::write(root.path().join("data/x"), "").unwrap();
    let link = root.path().join("srv/app");
    symlink("../data", &link).unwrap();
    let last = [file("/srv/app/x")];
    let removals = || actions(&make(root.path(), &spec(&[]), &listing(&[]), &last).unwrap());
    assert_eq!(removals(), ["remove /srv/app/x"]);
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    assert_eq!(removals(), Vec::<String>::new());
}

#[test]
fn a_directory_in_which_the_agent_may_not_write_is_a_problem() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let locked = root.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let look = || make(root.path(), &spec(&[("/", "/locked")]), &listing(&["a", "b"]), &[]);
    let problems = without_root(look).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].code, problems[0].path.as_deref()), (ProblemCode::NotWritable, Some(Path::new("/locked"))));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_are_looked_up_and_unknown_ones_are_told_once() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = spec(&[("/", "/srv")]);
    let entry = |pattern: &str, owner: &str| Permission {
        object: "/srv".into(),
        pattern: pattern.into(),
        except: Vec::new(),
        files: true,
        directories: true,
        owner: Some(owner.into()),
        group: None,
        mode: None,
        acls: Vec::new(),
        context: None,
        at: Position { line: 7, column: 1, ..Position::default() },
        owner_at: None,
        group_at: None,
    };
    spec.permissions = vec![entry("a", "no-such-user"), entry("b", "no-such-user"), entry("c", "root")];
    let problems = make(root.path(), &spec, &listing(&["a", "b", "c"]), &[]).unwrap_err();
    let unknown: Vec<_> = problems.iter().filter(|p| p.code == ProblemCode::UnknownUser).collect();
    assert_eq!(unknown.len(), 1, "{problems:?}");
    assert!(unknown[0].message.contains("no-such-user"));
    let wanted = wanted(&spec, &listing(&["a", "b", "c"]), None).unwrap();
    assert_eq!(observe(&wanted, root.path()).unwrap().users, BTreeMap::from([("root".into(), 0)]));
}

#[test]
fn contents_are_compared_by_size_and_then_by_bytes() {
    let (root, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(root.path().join("srv")).unwrap();
    let large = vec![7; 200 << 10];
    let mut other = large.clone();
    *other.last_mut().unwrap() = 8;
    let full_buffers = vec![1; 128 << 10];
    for (name, new, old) in [
        ("same", b"abc".as_slice(), Some(b"abc".as_slice())),
        ("size", b"abc", Some(b"abcd")),
        ("bytes", b"abc", Some(b"abd")),
        ("large", &large, Some(&large)),
        ("last", &large, Some(&other)),
        ("full", &full_buffers, Some(&full_buffers)),
        ("empty", b"", Some(b"")),
        ("new", b"abc", None),
    ] {
        fs::write(archive.path().join(name), new).unwrap();
        if let Some(old) = old {
            fs::write(root.path().join("srv").join(name), old).unwrap();
        }
    }
    let names = ["same", "size", "bytes", "large", "last", "full", "empty", "new"];
    let last: Vec<_> = names.iter().map(|name| file(&format!("/srv/{name}"))).collect();
    let plan = make(root.path(), &spec(&[("/", "/srv")]), &listing(&names), &last).unwrap();
    let compared = compare_contents(&plan, archive.path(), root.path()).unwrap();
    let paths = |names: &[&str]| names.iter().map(|n| Path::new("/srv").join(n).into()).collect::<BTreeSet<_>>();
    assert_eq!(compared.same, paths(&["same", "large", "full", "empty"]));
    assert_eq!(compared.different, paths(&["size", "bytes", "last"]));
    let totals = Summary::new(&plan, &compared).totals;
    assert_eq!(totals, BTreeMap::from([(Change::Added, 1), (Change::Changed, 3), (Change::Unchanged, 4)]));
}

/// 5,000 files in 100 directories, all of them there already: the slowest case of looking.
#[test]
fn five_thousand_files_are_planned_quickly() {
    let root = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..5000).map(|i| format!("directory-{:03}/some-file-name-{i:05}.js", i / 50)).collect();
    for name in &names {
        let path = root.path().join("srv/app").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "abc").unwrap();
    }
    let bundle = listing(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let spec = spec(&[("/", "/srv/app")]);
    let last: Vec<_> = names.iter().map(|name| file(&format!("/srv/app/{name}"))).collect();
    // Processor time of this thread, so that a busy machine does not count.
    let used = || {
        let line = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
    };
    let mut best = [Duration::MAX; 3];
    for _ in 0..10 {
        let start = used();
        let wanted = wanted(&spec, &bundle, Some(last.to_vec())).unwrap();
        let want = used();
        let facts = observe(&wanted, root.path()).unwrap();
        let look = used();
        let plan = plan(&wanted, &facts, FileExistsBehavior::Disallow, true).unwrap();
        let all = used();
        assert_eq!(plan.actions.len(), 5000);
        for (best, now) in best.iter_mut().zip([want - start, look - want, all - look]) {
            *best = now.min(*best);
        }
    }
    let sum: Duration = best.iter().sum();
    println!("5,000 files that are there: wanted, observe, plan {best:?}, together {sum:?} (best of ten)");
    // The promise is 50 ms, optimised. Without optimisation only a change of order can be found.
    assert!(sum.as_millis() < if cfg!(debug_assertions) { 500 } else { 50 }, "took {sum:?}");
}
