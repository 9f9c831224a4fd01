//! Random trees and plans for them.

use proptest::prelude::*;

use super::*;

/// The file at one path before, and the new one.
#[derive(Debug, Clone)]
enum Old {
    Nothing,
    File(String),
    Link,
}

fn old() -> impl Strategy<Value = Old> {
    prop_oneof![Just(Old::Nothing), "[a-z]{0,9}".prop_map(Old::File), Just(Old::Link)]
}

#[derive(Debug, Clone)]
enum New {
    Nothing,
    File(String),
    Link,
    Tree(Vec<String>),
}

fn new() -> impl Strategy<Value = New> {
    prop_oneof![
        Just(New::Nothing),
        "[a-z]{0,9}".prop_map(New::File),
        Just(New::Link),
        proptest::collection::vec("[a-z]{1,9}", 0..4).prop_map(New::Tree)
    ]
}

/// One world: for each of a few directories, its paths with the old and the new file.
fn world(directories: &[Vec<(Old, New)>]) -> World {
    let mut world = World::empty();
    let (mut make_way, mut make, mut put, mut leftovers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (d, entries) in directories.iter().enumerate() {
        let directory = format!("/srv/d{d}");
        world.old_directory(&directory);
        for (n, (old, new)) in entries.iter().enumerate() {
            let path = format!("{directory}/{n}");
            let kind = match old {
                Old::Nothing => None,
                Old::File(content) => {
                    world.old_file(&path, content);
                    Some(InstalledKind::File)
                }
                Old::Link => {
                    world.old_link(&path, "target");
                    Some(InstalledKind::Link)
                }
            };
            match (new, kind) {
                (New::Nothing, Some(kind)) => leftovers.push((path, kind)),
                (New::Tree(_), Some(kind)) => make_way.push((path.clone(), kind)),
                _ => {}
            }
            let path = format!("{directory}/{n}");
            match new {
                New::Nothing => {}
                New::File(content) => put.push((path, Some(content.clone()), kind.is_some())),
                New::Link => put.push((path, None, kind.is_some())),
                New::Tree(files) => {
                    make.push(path.clone());
                    put.extend(files.iter().enumerate().map(|(f, c)| (format!("{path}/{f}"), Some(c.clone()), false)));
                }
            }
        }
    }
    world.age();
    for (path, kind) in make_way {
        world.remove(&path, kind);
    }
    for (d, _) in directories.iter().enumerate() {
        world.keep(&format!("/srv/d{d}"), 0o711);
    }
    for path in make {
        world.make(&path);
    }
    for (path, content, replaces) in put {
        match content {
            Some(content) => world.put(&path, &content, replaces),
            None => world.put_link(&path, "new-target", replaces),
        }
    }
    for (path, kind) in leftovers {
        world.remove(&path, kind);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn run_then_undo_is_nothing_and_run_twice_is_run_once(
        directories in proptest::collection::vec(proptest::collection::vec((old(), new()), 0..6), 1..4),
        step in 0_usize..60,
    ) {
        let world = world(&directories);
        let before = world.tree();
        let killed = world.run(&Faulty::at(step, Fault::Kill));
        if killed.is_err() {
            world.settle();
            assert_same(&world.tree(), &before, "killed and settled");
        } else {
            undo(&world.journal()).unwrap();
            assert_same(&world.tree(), &before, "run and undone");
        }
        world.run(&Faulty::never()).unwrap();
        let once = world.tree();
        world.run(&Faulty::never()).unwrap();
        assert_same(&world.tree(), &once, "run twice");
        undo(&world.journal()).unwrap();
        assert_same(&world.tree(), &before, "run again and undone");
    }
}
