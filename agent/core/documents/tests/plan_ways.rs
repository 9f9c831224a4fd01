//! Directories entered by a step that the path rule refuses, and destinations that are different directories now.

use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{AppSpec, FileExistsBehavior, FileMapping, Position};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_documents::path_rule::{UnsafePaths, UnsafeStep};
use hostler_documents::plan::actions::{Action, InstalledEntry, InstalledKind, Plan};
use hostler_documents::plan::{
    DeviceFact, DirectoryFact, HostFacts, Identity, LastPlaces, PathFact, Place, Problem, UnsafeEntry, Wanted, plan,
    refused_ways, wanted, warnings,
};

const OURS: Identity = Identity { kind: 0xef53, inode: 7, born: Some((1000, 1)) };
const OTHER: Identity = Identity { inode: 8, ..OURS };

/// The bundle has `x`, which goes to /home/u/app.
fn want(removes: bool, last: &[&str], places: LastPlaces, unsafe_paths: UnsafePaths) -> Wanted {
    let at = Position::default();
    let (source, destination) = ("/".to_owned(), "/home/u/app".to_owned());
    let mapping = FileMapping { source, destination, source_at: at, destination_at: at };
    let files = if removes { Vec::new() } else { vec![mapping] };
    let file =
        BundleEntry { path: BundlePath::new(Path::new("x")).unwrap(), kind: EntryKind::File { size: 1 }, mode: 0o644 };
    let entry = |path: &&str| InstalledEntry {
        path: path.trim_end_matches('/').into(),
        kind: if path.ends_with('/') { InstalledKind::Directory } else { InstalledKind::File },
    };
    let (spec, listing) = (AppSpec { files, ..AppSpec::default() }, BundleListing::new(vec![file]));
    let last = last.iter().map(entry).collect();
    wanted(&spec, &listing, Some(last)).unwrap().entering(places, unsafe_paths)
}

/// A host with /home/u/app, and the files of it.
fn host(files: &[&str]) -> HostFacts {
    let mut host = HostFacts::default();
    for path in ["/", "/home", "/home/u", "/home/u/app"] {
        let fact = DirectoryFact { mode: 0o755, writable: true, device: 1 };
        host.paths.insert(path, PathFact::Directory(fact));
    }
    host.devices.insert(1, DeviceFact { free_bytes: 1 << 30, free_inodes: None });
    let names = files.iter().map(|name| (*name).into()).collect();
    host.listings.insert("/home/u/app".into(), names);
    for name in files {
        host.paths.insert(Path::new("/home/u/app").join(name), PathFact::File);
    }
    host
}

/// /home/u is user 1000's, and app root's.
fn entry(is: Identity, apart: bool, empty: bool) -> UnsafeEntry {
    let step = UnsafeStep { from: "/home/u".into(), from_owner: 1000, to: "/home/u/app".into(), to_owner: 0 };
    UnsafeEntry { step, is, apart, empty, noted_by_another: false }
}

fn noted(is: Identity) -> LastPlaces {
    LastPlaces::Noted(vec![Place { path: "/home/u/app".into(), is, destination: true }])
}

fn planned(wanted: &Wanted, host: &HostFacts) -> Result<Plan, Vec<Problem>> {
    Ok(plan(wanted, host, FileExistsBehavior::Disallow, true)?)
}

fn steps(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| {
        format!(
            "{} {}",
            if matches!(action, Action::Remove { .. }) { "remove" } else { "put" },
            action.path().display()
        )
    };
    plan.actions.iter().map(word).collect()
}

#[test]
fn a_directory_is_entered_by_an_unsafe_step_only_for_a_reason() {
    use LastPlaces::{NotNoted, Unknown};
    use UnsafePaths::{Refuse, Warn};
    let named: &[&str] = &["/home/u/app/", "/home/u/app/x"];
    let below: &[&str] = &["/home/u/app/x"];
    for (what, places, last, entry, unsafe_paths, expected) in [
        ("noted", noted(OURS), named, entry(OURS, false, false), Refuse, Some("")),
        ("noted, and behind a mount", noted(OURS), named, entry(OURS, true, false), Refuse, Some("")),
        ("another one", noted(OURS), named, entry(OTHER, false, false), Refuse, None),
        ("another one, taken", noted(OURS), named, entry(OTHER, false, false), Warn, Some("is taken because of")),
        ("empty", Unknown, &[][..], entry(OTHER, false, true), Refuse, Some("")),
        ("empty, and elsewhere", Unknown, &[], entry(OTHER, true, true), Refuse, None),
        ("unknown", Unknown, named, entry(OURS, false, false), Refuse, None),
        ("not noted", NotNoted, named, entry(OURS, false, false), Refuse, Some("is taken for the directory")),
        ("not noted, not the group's own", NotNoted, below, entry(OURS, false, false), Refuse, Some("is taken for")),
        ("not noted, and elsewhere", NotNoted, named, entry(OURS, true, false), Refuse, None),
        ("not noted, nothing there", NotNoted, &["/srv/x"], entry(OURS, false, false), Refuse, None),
    ] {
        let mut host = host(&[]);
        host.unsafe_steps.insert("/home/u/app".into(), entry.clone());
        let wanted = want(false, last, places, unsafe_paths);
        let warned: Vec<String> = warnings(&wanted, &host).iter().map(|w| w.to_string()).collect();
        let refused: Vec<_> = refused_ways(&wanted, &host).collect();
        match (planned(&wanted, &host), expected) {
            (Ok(plan), Some(text)) => {
                assert_eq!(steps(&plan), ["put /home/u/app/x"], "{what}");
                let entered = Place { path: "/home/u/app".into(), is: entry.is, destination: false };
                assert_eq!((plan.entered, refused), (vec![entered], vec![]), "{what}");
                assert_eq!(warned.is_empty(), text.is_empty(), "{what}: {warned:?}");
                assert!(warned.iter().all(|warning| warning.contains(text)), "{what}: {warned:?}");
            }
            (Err(problems), None) => {
                let [problem] = problems.as_slice() else { panic!("{what}: {problems:?}") };
                let text = problem.to_string();
                for part in ["/home/u/app is not safe", "user 1000 owns /home/u ", "user 0 owns", "chown -h root"] {
                    assert!(text.contains(part), "{what}: {part}: {text}");
                }
                assert_eq!((problem.code.as_str(), refused.len()), ("unsafe_path", 1), "{what}");
            }
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
}

#[test]
fn what_the_last_install_left_behind_an_unsafe_step_stays() {
    let mut host = host(&["x", "theirs"]);
    host.unsafe_steps.insert("/home/u/app".into(), entry(OTHER, false, false));
    let wanted = want(true, &["/home/u/app/", "/home/u/app/x"], noted(OURS), UnsafePaths::Refuse);
    let plan = planned(&wanted, &host).unwrap();
    assert_eq!((steps(&plan), plan.installed.len()), (vec![], 2), "it stays the group's: the place may come back");
    let [warning] = &warnings(&wanted, &host)[..] else { panic!("one warning") };
    assert!(warning.message.contains("at and below /home/u/app stays"), "{warning}");
}

#[test]
fn nothing_in_a_destination_that_is_another_directory_is_the_groups() {
    let last = ["/home/u/app/", "/home/u/app/old", "/home/u/app/x"];
    for (is, behaves) in [(OURS, true), (Identity { born: None, ..OURS }, true), (OTHER, false)] {
        let mut host = host(&["x", "old"]);
        host.places.insert("/home/u/app".into(), is);
        let wanted = want(false, &last, noted(OURS), UnsafePaths::Refuse);
        match planned(&wanted, &host) {
            Ok(plan) => {
                assert!(behaves);
                assert_eq!(steps(&plan), ["put /home/u/app/x", "remove /home/u/app/old"]);
            }
            Err(problems) => {
                assert!(!behaves, "{problems:?}");
                assert!(problems[0].message.contains("/home/u/app is another directory"), "{problems:?}");
                let warned = warnings(&wanted, &host);
                assert_eq!(warned[0].code.as_str(), "place_changed", "{warned:?}");
            }
        }
        // A removal takes nothing away there.
        let wanted = want(true, &last, noted(OURS), UnsafePaths::Refuse);
        assert_eq!(planned(&wanted, &host).unwrap().actions.is_empty(), !behaves);
    }
    // The identities of other directories only serve to enter them.
    let mut host = host(&["x"]);
    host.places.insert("/home/u/app".into(), OTHER);
    let below = LastPlaces::Noted(vec![Place { path: "/home/u/app".into(), is: OURS, destination: false }]);
    assert!(planned(&want(false, &last, below, UnsafePaths::Refuse), &host).is_ok());
}

#[test]
fn a_directory_is_known_again_by_kind_number_and_birth() {
    assert!(OURS.is(&OURS) && OURS.is(&Identity { born: None, ..OURS }));
    for other in [OTHER, Identity { kind: 0x6573_5546, ..OURS }, Identity { born: Some((1000, 2)), ..OURS }] {
        assert!(!OURS.is(&other) && !other.is(&OURS), "{other:?}");
    }
}

#[test]
fn many_unsafe_ways_are_warned_of_in_few_words() {
    let mut host = host(&[]);
    for number in 0..1000 {
        host.unsafe_steps.insert(PathBuf::from(format!("/home/u/app/{number}")), entry(OTHER, false, false));
    }
    let warned = warnings(&want(false, &[], LastPlaces::Unknown, UnsafePaths::Warn), &host);
    assert_eq!(warned.len(), 11);
    assert!(warned[10].message.starts_with("990 more"), "{}", warned[10]);
}
