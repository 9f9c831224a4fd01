//! Links where a bundle has a directory: links that replaced an object of the last install, and links that existed
//! before it.

use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{AppSpec, FileExistsBehavior, FileMapping, Position};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_documents::ids::GroupKey;
use hostler_documents::path_rule::UnsafeStep;
use hostler_documents::plan::actions::{Action, InstalledEntry, InstalledKind, Plan};
use hostler_documents::plan::{
    DeviceFact, DirectoryFact, Follow, HostFacts, Leads, PathFact, Problem, Wanted, plan, wanted, warnings,
};

use InstalledKind::{Directory, File, Link};

const DIRECTORY: DirectoryFact = DirectoryFact { mode: 0o755, writable: true, device: 1 };

/// The bundle's `/` goes to /srv/app; names with a slash at the end are directories.
fn bundle(names: &[&str]) -> (AppSpec, BundleListing) {
    let at = Position { line: 4, column: 5, ..Position::default() };
    let mapping = FileMapping { source: "/".into(), destination: "/srv/app".into(), source_at: at, destination_at: at };
    let entry = |name: &&str| BundleEntry {
        path: BundlePath::new(Path::new(name.trim_end_matches('/'))).unwrap(),
        kind: match (name.ends_with('/'), name.contains("link")) {
            (true, _) => EntryKind::Directory,
            (_, true) => EntryKind::Symlink { target: "there".into() },
            _ => EntryKind::File { size: 1 },
        },
        mode: 0o644,
    };
    (AppSpec { files: vec![mapping], ..AppSpec::default() }, BundleListing::new(names.iter().map(entry).collect()))
}

fn host(facts: &[(&str, PathFact)]) -> HostFacts {
    let mut host = HostFacts::default();
    for path in ["/", "/srv", "/srv/app"] {
        host.paths.insert(path, PathFact::Directory(DIRECTORY));
    }
    host.devices.insert(1, DeviceFact { free_bytes: 1 << 30, free_inodes: None });
    for (path, fact) in facts {
        host.paths.insert(*path, fact.clone());
    }
    // Every path examined as a directory was listed.
    let directories: Vec<PathBuf> =
        host.paths.iter().filter(|(_, f)| matches!(f, PathFact::Directory(_))).map(|(p, _)| p.to_path_buf()).collect();
    for directory in directories {
        let children = host.paths.iter().map(|(p, _)| p).filter(|p| p.parent() == Some(&directory));
        let names = children.map(|p| p.file_name().unwrap().to_owned()).collect();
        host.listings.insert(directory, names);
    }
    host
}

fn link(leads: Leads) -> PathFact {
    PathFact::Symlink { target: "/mnt/storage".into(), leads }
}

fn file() -> PathFact {
    PathFact::File
}

fn last(entries: &[(&str, InstalledKind)]) -> Vec<InstalledEntry> {
    let app = ("/srv/app", Directory);
    let all = std::iter::once(&app).chain(entries);
    all.map(|(path, kind)| InstalledEntry { path: (*path).into(), kind: *kind }).collect()
}

fn make(names: &[&str], last: &[InstalledEntry], facts: &HostFacts, cleanup: bool) -> Result<Plan, Vec<Problem>> {
    let (spec, listing) = bundle(names);
    Ok(plan(&wanted(&spec, &listing, Some(last.to_vec()))?, facts, FileExistsBehavior::Disallow, cleanup)?)
}

/// Each action as a word and its path below /srv/app.
fn steps(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Remove { kind, .. } => format!("remove {kind:?}"),
        Action::MakeDirectory { .. } => "make".to_owned(),
        Action::KeepDirectory { .. } => "keep".to_owned(),
        Action::PutFile { replaces, .. } | Action::PutLink { replaces, .. } => {
            if *replaces { "replace" } else { "put" }.to_owned()
        }
    };
    let below = |action: &Action| action.path().strip_prefix("/srv/app").unwrap().display().to_string();
    plan.actions.iter().map(|action| format!("{} {}", word(action), below(action))).collect()
}

fn owned(plan: &Plan) -> Vec<(&str, InstalledKind)> {
    plan.installed.iter().map(|entry| (entry.path.to_str().unwrap(), entry.kind)).collect()
}

const STORAGE: &[(&str, InstalledKind)] = &[("/srv/app/storage", Directory), ("/srv/app/storage/.gitkeep", File)];

#[test]
fn what_took_the_place_of_a_directory_of_the_last_install_makes_way() {
    // Links to a directory, to a file and to nothing are treated alike: the plan follows none of them.
    for (there, kind) in [(link(Leads::NotFollowed), "Link"), (file(), "File")] {
        for cleanup in [true, false] {
            let facts = host(&[("/srv/app/storage", there.clone())]);
            let plan = make(&["storage/", "storage/.gitkeep"], &last(STORAGE), &facts, cleanup).unwrap();
            let remove = format!("remove {kind} storage");
            assert_eq!(steps(&plan), [&remove, "make storage", "put storage/.gitkeep"]);
            assert_eq!(owned(&plan), [&[("/srv/app", Directory)], STORAGE].concat());
            assert!(plan.links.is_empty() && plan.kept.is_empty(), "{plan:?}");
        }
    }
}

#[test]
fn nested_directories_come_back_below_a_link_that_makes_way() {
    let entries = [("/srv/app/a", Directory), ("/srv/app/a/b", Directory), ("/srv/app/a/b/c", File)];
    let names = ["a/", "a/b/", "a/b/c"];
    let plan = make(&names, &last(&entries), &host(&[("/srv/app/a", link(Leads::NotFollowed))]), true).unwrap();
    assert_eq!(steps(&plan), ["remove Link a", "make a", "make a/b", "put a/b/c"]);
    let facts = host(&[("/srv/app/a", PathFact::Directory(DIRECTORY)), ("/srv/app/a/b", link(Leads::NotFollowed))]);
    let plan = make(&names, &last(&entries), &facts, true).unwrap();
    assert_eq!(steps(&plan), ["remove Link a/b", "make a/b", "put a/b/c"]);
    // `a` becomes a file: the link in it is in its way, and goes too.
    let plan = make(&["a"], &last(&entries), &facts, true).unwrap();
    assert_eq!(steps(&plan), ["remove Link a/b", "remove Directory a", "put a"]);
}

#[test]
fn a_file_or_link_of_the_bundle_takes_the_place_of_such_a_link() {
    let facts = host(&[("/srv/app/storage", link(Leads::NotFollowed))]);
    let plan = make(&["storage"], &last(STORAGE), &facts, true).unwrap();
    assert_eq!(steps(&plan), ["replace storage"]);
    assert_eq!(owned(&plan), [("/srv/app", Directory), ("/srv/app/storage", File)]);
    let facts = host(&[("/srv/app/link", link(Leads::NotFollowed))]);
    let plan = make(&["link"], &last(&[("/srv/app/link", Directory)]), &facts, true).unwrap();
    assert_eq!((steps(&plan), owned(&plan)[1]), (vec!["replace link".to_owned()], ("/srv/app/link", Link)));
}

#[test]
fn where_no_directory_is_wanted_any_more_the_link_stays_and_its_place_stays_the_groups() {
    let facts = host(&[("/srv/app/storage", link(Leads::NotFollowed)), ("/srv/app/x", file())]);
    let before = last(&[STORAGE, &[("/srv/app/x", File)]].concat());
    let plan = make(&["x"], &before, &facts, true).unwrap();
    assert_eq!(steps(&plan), ["replace x"]);
    assert_eq!(owned(&plan), [("/srv/app", Directory), ("/srv/app/storage", Directory), ("/srv/app/x", File)]);
    assert_eq!(plan.kept, [Path::new("/srv/app/storage")]);
    // So a later revision with that directory, or a rollback to one, is not refused.
    let again = make(&["storage/", "storage/.gitkeep", "x"], &plan.installed, &facts, true).unwrap();
    assert_eq!(steps(&again), ["remove Link storage", "make storage", "put storage/.gitkeep", "replace x"]);
    // A removal takes it away, so that a later first deployment does not find it.
    let (nothing, empty) = (AppSpec::default(), BundleListing::default());
    let gone = wanted(&nothing, &empty, Some(plan.installed)).unwrap();
    let gone = plan_of(&gone, &facts);
    assert_eq!(steps(&gone), ["remove File x", "remove Link storage", "remove Directory "]);
    // Without clean-up the group owns none of the leftovers.
    let plan = make(&["x"], &before, &facts, false).unwrap();
    assert_eq!((plan.kept.len(), plan.installed.len()), (1, 2));
}

fn plan_of(wanted: &Wanted, facts: &HostFacts) -> Plan {
    plan(wanted, facts, FileExistsBehavior::Disallow, true).unwrap()
}

#[test]
fn what_could_not_be_looked_at_stays_owned() {
    let unreadable = || PathFact::Unreadable { reason: "Input/output error".into() };
    let before = last(&[("/srv/app/d", Directory), ("/srv/app/d/x", File), ("/srv/app/y", File)]);
    for facts in [
        // The directory itself is unreadable, and so is its content.
        host(&[("/srv/app/d", unreadable()), ("/srv/app/y", unreadable())]),
        host(&[
            ("/srv/app/d", PathFact::Directory(DIRECTORY)),
            ("/srv/app/d/x", unreadable()),
            ("/srv/app/y", unreadable()),
        ]),
    ] {
        let plan = make(&["z"], &before, &facts, true).unwrap();
        assert_eq!(steps(&plan), ["put z"]);
        let expected = [&before[..], &last(&[("/srv/app/z", File)])[1..]].concat();
        assert_eq!(plan.installed, expected);
        // Only a wanted file needs the facts about its path.
        let problems = make(&["y"], &before, &facts, true).unwrap_err();
        assert_eq!(problems.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["cannot_look"]);
    }
}

#[test]
fn a_root_that_cannot_be_looked_at_is_one_problem() {
    let facts = host(&[("/", PathFact::Unreadable { reason: "Stale file handle".into() })]);
    let problems = make(&["x"], &last(&[]), &facts, true).unwrap_err();
    assert_eq!(problems.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["cannot_look"]);
}

/// The message about a link that existed before the first deployment.
fn refused(leads: Leads, in_agents_place: bool) -> Problem {
    let (spec, listing) = bundle(&["storage/", "storage/.gitkeep"]);
    let mut wanted = wanted(&spec, &listing, None).unwrap();
    if in_agents_place {
        wanted = wanted.following_safe_links();
    }
    let facts = host(&[("/srv/app/storage", link(leads))]);
    let problems = plan(&wanted, &facts, FileExistsBehavior::Overwrite, true).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn a_link_that_was_there_before_is_refused_with_what_helps() {
    let problem = refused(Leads::NotFollowed, false);
    assert_eq!(problem.code.as_str(), "link_below_destination");
    for words in ["leave that directory out of the bundle", "with the link as destination", "recheck_after"] {
        assert!(problem.hint.contains(words), "{problem}");
    }
    let step = UnsafeStep { from: "/srv/app".into(), from_owner: 33, to: "/srv/app/storage".into(), to_owner: 0 };
    let problem = refused(Leads::Unsafe(step), true);
    assert_eq!(problem.code.as_str(), "link_below_destination");
    assert!(problem.message.contains("user 33 owns /srv/app and"), "{problem}");
    assert_eq!(refused(Leads::Elsewhere, true).code.as_str(), "link_leads_nowhere");
    assert_eq!(refused(Leads::OutOfRoot, true).code.as_str(), "link_leaves_root");
}

#[test]
fn in_the_agents_place_links_are_followed_where_the_path_rule_allows() {
    let (spec, listing) = bundle(&["file", "storage/", "storage/.gitkeep"]);
    let leads = || Leads::Directory { directory: DIRECTORY, real: "/mnt/storage".into() };
    let facts = host(&[("/srv/app/storage", link(leads()))]);
    let first = wanted(&spec, &listing, None).unwrap().following_safe_links();
    let how = |wanted: &Wanted, path: &str| wanted.look_at.iter().find(|l| l.path == Path::new(path)).unwrap().follow;
    assert_eq!(how(&first, "/srv/app/storage"), Follow::BySafeSteps);
    assert_eq!((how(&first, "/srv/app"), how(&first, "/srv/app/file")), (Follow::Always, Follow::Never));
    let plan = plan_of(&first, &facts);
    assert_eq!(steps(&plan), ["put file", "put storage/.gitkeep"]);
    assert_eq!(plan.links, [Path::new("/srv/app/storage")]);
    assert_eq!(plan.links_below, plan.links);
    assert_eq!(owned(&plan), [("/srv/app/file", File), ("/srv/app/storage/.gitkeep", File)]);

    // The next bundle has nothing there: the files behind the link are found again.
    let (spec, listing) = bundle(&["file"]);
    let mut before = last(&[]);
    before.extend(plan.installed);
    let second = wanted(&spec, &listing, Some(before)).unwrap().following_safe_links();
    assert_eq!(how(&second, "/srv/app/storage"), Follow::BySafeSteps);
    let facts =
        host(&[("/srv/app/storage", link(leads())), ("/srv/app/storage/.gitkeep", file()), ("/srv/app/file", file())]);
    assert_eq!(steps(&plan_of(&second, &facts)), ["replace file", "remove File storage/.gitkeep"]);

    // A link that replaced an object of the last install is not followed there either.
    let (spec, listing) = bundle(&["storage/", "storage/.gitkeep"]);
    let third = wanted(&spec, &listing, Some(last(STORAGE))).unwrap().following_safe_links();
    assert_eq!(how(&third, "/srv/app/storage"), Follow::Never);
}

#[test]
fn what_another_group_installed_too_is_never_removed() {
    let theirs = |paths: &[&str]| -> Vec<InstalledEntry> {
        paths.iter().map(|path| InstalledEntry { path: (*path).into(), kind: File }).collect()
    };
    let before = last(&[("/srv/app/common", File), ("/srv/app/mine", File)]);
    let (spec, listing) = bundle(&["new"]);
    let wanted_of = |last: &[InstalledEntry]| wanted(&spec, &listing, Some(last.to_vec())).unwrap();
    let wanted_now = wanted_of(&before);
    let mut facts = host(&[("/srv/app/common", file()), ("/srv/app/mine", file())]);
    facts.note_group(&wanted_now, &shop_b(), theirs(&["/srv/app/common", "/elsewhere"]));
    assert_eq!(facts.others.len(), 1, "only what the plan is about is kept: {:?}", facts.others);
    let plan = plan_of(&wanted_now, &facts);
    assert_eq!(steps(&plan), ["put new", "remove File mine"]);
    assert_eq!(owned(&plan), [("/srv/app", Directory), ("/srv/app/new", File)]);
    assert_eq!(plan.kept, [Path::new("/srv/app/common")]);
    let said: Vec<_> = warnings(&wanted_now, &facts).iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("/srv/app/common") && said[0].contains("shop/b installed them too"), "{said:?}");
    // It does not make room for a directory either.
    let (spec, listing) = bundle(&["common/", "common/x"]);
    let wanted_now = wanted(&spec, &listing, Some(before)).unwrap();
    let problems = plan_result(&wanted_now, &facts).unwrap_err();
    let said: Vec<_> = problems.iter().map(|p| (p.code.as_str(), p.message.contains("shop/b"))).collect();
    assert_eq!(said, [("file_in_the_way", true)]);
}

fn shop_b() -> GroupKey {
    GroupKey::new("shop".parse().unwrap(), "b".parse().unwrap())
}

#[test]
fn another_groups_file_is_known_through_a_link_too() {
    // /srv/app is a link to /data/app, where the other group has its destination.
    let (spec, listing) = bundle(&["common"]);
    let before = [InstalledEntry { path: "/srv/app/old".into(), kind: File }];
    let wanted_now = wanted(&spec, &listing, Some(before.to_vec())).unwrap();
    let leads = Leads::Directory { directory: DIRECTORY, real: "/data/app".into() };
    let mut facts = host(&[("/srv/app", link(leads)), ("/srv/app/common", file()), ("/srv/app/old", file())]);
    let theirs = ["/data/app/common", "/data/app/old", "/data/app/other"];
    let theirs = theirs.map(|path| InstalledEntry { path: path.into(), kind: File }).to_vec();
    facts.note_group(&wanted_now, &shop_b(), theirs);
    let problems = plan_result(&wanted_now, &facts).unwrap_err();
    assert!(problems.len() == 1 && problems[0].message.contains("shop/b installed it"), "{problems:?}");
    assert!(problems[0].hint.contains("`hostler remove --application shop --group b`"), "{problems:?}");
    let plan = plan(&wanted_now, &facts, FileExistsBehavior::Overwrite, true).unwrap();
    assert_eq!(steps_of_all(&plan), ["/srv/app/common"]);
    let said: Vec<_> = warnings(&wanted_now, &facts).iter().map(|p| p.code.as_str()).collect();
    assert_eq!(said, ["shared_path", "shared_path"]);
}

fn plan_result(wanted: &Wanted, facts: &HostFacts) -> Result<Plan, Vec<Problem>> {
    Ok(plan(wanted, facts, FileExistsBehavior::Disallow, true)?)
}

fn steps_of_all(plan: &Plan) -> Vec<&str> {
    plan.actions.iter().map(|action| action.path().to_str().unwrap()).collect()
}
