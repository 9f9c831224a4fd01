//! Bundles whose parts are each within their bounds and whose products are not.

use std::path::PathBuf;

use hostler_documents::appspec::spec::{AppSpec, FileExistsBehavior, FileMapping, Permission, Position};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_documents::limits::Limits;
use hostler_documents::plan::{DeviceFact, DirectoryFact, HostFacts, PathFact, ProblemCode, Problems, plan, wanted};

fn at(line: u32) -> Position {
    Position { line, column: 1, ..Position::default() }
}

fn spec(mappings: usize, permissions: Vec<Permission>) -> AppSpec {
    let mapping = |line| FileMapping {
        source: "/".into(),
        destination: "/srv/app".into(),
        source_at: at(line),
        destination_at: at(line),
    };
    AppSpec { files: (1..=mappings as u32).map(mapping).collect(), permissions, ..AppSpec::default() }
}

fn permission(line: u32, pattern: &str) -> Permission {
    Permission {
        object: "/srv/app".into(),
        pattern: pattern.into(),
        except: Vec::new(),
        files: true,
        directories: true,
        owner: None,
        group: None,
        mode: None,
        acls: Vec::new(),
        context: None,
        at: at(line),
        owner_at: None,
        group_at: None,
    }
}

fn listing(files: usize) -> BundleListing {
    let entry = |number: usize| BundleEntry {
        path: BundlePath::new(PathBuf::from(format!("file-with-a-name-{number:06}"))).unwrap(),
        kind: EntryKind::File { size: 1 },
        mode: 0o644,
    };
    BundleListing::new((0..files).map(entry).collect())
}

fn problems(spec: &AppSpec, files: usize) -> Problems {
    wanted(spec, &listing(files), None).unwrap_err()
}

#[test]
fn patterns_that_overlap_are_told_once_for_each_file() {
    let permissions = (0..1000).map(|n| permission(n + 1, "**")).collect();
    let problems = problems(&spec(1, permissions), 1000);
    assert_eq!((problems.len(), problems.left_out()), (1000, 0));
    assert!(problems.iter().all(|p| p.code == ProblemCode::PermissionTwice && p.message.contains("in lines 1 and 2")));
}

#[test]
fn too_many_comparisons_are_refused_with_both_numbers() {
    let permissions = (0..9000).map(|n| permission(n + 1, "*x")).collect();
    let found = problems(&spec(1, permissions), 20_000);
    let message = &found[0].message;
    assert_eq!((found.len(), found[0].code), (1, ProblemCode::TooManyComparisons), "{message}");
    // With /srv and /srv/app.
    assert!(message.contains("9000 entries") && message.contains("20002 paths"), "{message}");
    // The same number of entries without patterns makes no product.
    let each = |n: u32| Permission { object: format!("/srv/app/file-with-a-name-{n:06}"), ..permission(n + 1, "**") };
    assert!(wanted(&spec(1, (0..9000).map(each).collect()), &listing(20_000), None).is_ok());
}

#[test]
fn too_many_paths_are_refused_with_both_numbers() {
    let problems = problems(&spec(300, Vec::new()), 10_000);
    assert_eq!(problems.len(), 1);
    let message = &problems[0].message;
    assert!(message.contains("300 entries") && message.contains("10000 entries"), "{message}");
}

#[test]
fn the_same_reason_for_each_file_is_kept_as_often_as_is_of_use_and_counted() {
    let files = Limits::default().plan_problems + 2000;
    let wanted = wanted(&spec(1, Vec::new()), &listing(files), None).unwrap();
    let mut facts = HostFacts::default();
    let directory = PathFact::Directory(DirectoryFact { mode: 0o755, writable: true, device: 1 });
    for object in wanted.objects() {
        let there = if object.path.starts_with("/srv/app/") && object.path.components().count() == 4 {
            PathFact::File
        } else {
            directory.clone()
        };
        facts.paths.insert(object.path.clone(), there);
    }
    facts.paths.insert("/", directory);
    facts.devices.insert(1, DeviceFact { free_bytes: 1 << 30, free_inodes: None });
    let problems = plan(&wanted, &facts, FileExistsBehavior::Disallow, true).unwrap_err();
    assert_eq!((problems.len(), problems.left_out()), (files - 2000, 2000));
    assert!(problems.are_of_the_host() && problems.iter().all(|p| p.code == ProblemCode::FileExists));
}
