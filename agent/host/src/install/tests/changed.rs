//! The host differs from the host of the plan: nothing is clobbered, and everything is undone.

use std::os::unix::fs::FileTypeExt;

use super::*;
use crate::test_support::skip;

/// Changes the host of an update and expects an error that names this path.
fn refused(change: impl FnOnce(&World), path: &str) -> InstallError {
    let world = World::update();
    change(&world);
    let before = world.tree();
    let error = world.run(&Faulty::never()).unwrap_err();
    assert!(error.to_string().contains(path), "{error} does not name {path}");
    assert_same(&world.tree(), &before, &error.to_string());
    error
}

#[test]
fn what_appeared_is_not_clobbered() {
    for path in ["/srv/app/new", "/srv/app/new-link", "/srv/app/conf.d/other"] {
        let error = refused(|world| world.old_file(path, "somebody's"), path);
        assert!(matches!(error, InstallError::Occupied { .. }), "{error}");
        let error = refused(|world| world.old_link(path, "somewhere"), path);
        assert!(matches!(error, InstallError::Occupied { .. }), "{error}");
        let error = refused(|world| world.old_directory(path), path);
        assert!(matches!(error, InstallError::Occupied { .. }), "{error}");
    }
}

#[test]
fn what_vanished_or_changed_its_kind_is_named() {
    let delete = |path: &'static str| move |world: &World| std::fs::remove_file(world.host(path)).unwrap();
    let error = refused(delete("/srv/app/index.html"), "/srv/app/index.html");
    assert!(matches!(error, InstallError::Vanished { .. }), "{error}");
    let error = refused(|world| std::fs::remove_dir_all(world.host("/srv/app/conf.d")).unwrap(), "/srv/app/conf.d");
    assert!(matches!(error, InstallError::Vanished { .. }), "{error}");
    let become_directory = |path: &'static str| {
        move |world: &World| {
            std::fs::remove_file(world.host(path)).unwrap();
            world.old_file(&format!("{path}/inside"), "somebody's");
        }
    };
    for path in ["/srv/app/index.html", "/srv/app/gone", "/srv/app/link"] {
        let error = refused(become_directory(path), path);
        assert!(matches!(error, InstallError::Changed { found: "directory", .. }), "{error}");
    }
    let error = refused(
        |world| {
            std::fs::remove_file(world.host("/srv/app/gone")).unwrap();
            nix::unistd::mkfifo(&world.host("/srv/app/gone"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            let made = std::fs::symlink_metadata(world.host("/srv/app/gone")).unwrap();
            assert!(made.file_type().is_fifo());
            std::fs::remove_file(world.host("/srv/app/gone")).unwrap();
            world.old_link("/srv/app/gone", "elsewhere");
        },
        "/srv/app/gone",
    );
    assert!(matches!(error, InstallError::Changed { found: "symbolic link", .. }), "{error}");
}

#[test]
fn what_was_to_be_removed_and_is_gone_is_no_fault() {
    let world = World::update();
    std::fs::remove_file(world.host("/srv/app/gone")).unwrap();
    std::fs::remove_dir_all(world.host("/srv/app/gone.d")).unwrap();
    let before = world.tree();
    world.run(&Faulty::never()).unwrap();
    assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
    let after = world.tree();
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn a_missing_source_and_an_unknown_name_are_found_before_anything_takes_effect() {
    let world = World::update();
    std::fs::remove_file(world.archive().join("s9")).unwrap();
    let before = world.tree();
    let error = world.run(&Faulty::never()).unwrap_err();
    assert!(matches!(&error, InstallError::Source { path, .. } if path == Path::new("s9")), "{error}");
    assert_same(&world.tree(), &before, "a source is missing");

    let mut world = World::update();
    for action in &mut world.plan.actions {
        if let Action::PutFile { attributes, .. } = action {
            std::sync::Arc::make_mut(attributes).acls = vec![hostler_core::appspec::spec::AclEntry {
                default: false,
                tag: hostler_core::appspec::spec::AclTag::User("nobody-has-this-name".to_owned()),
                permissions: 4,
            }];
        }
    }
    let before = world.tree();
    let error = world.run(&Faulty::never()).unwrap_err();
    assert!(matches!(error, InstallError::Permissions { .. }), "{error}");
    assert_same(&world.tree(), &before, "an unknown user");
}

#[test]
fn a_taken_temporary_name_is_named_and_stays() {
    let world = World::update();
    world.old_file("/srv/app/.hostler-d-TEST1~9", "somebody's");
    let error = world.run(&Faulty::never()).unwrap_err();
    assert!(error.to_string().contains("/srv/app/.hostler-d-TEST1~9 exists now"), "{error}");
    assert_eq!(world.read("/srv/app/.hostler-d-TEST1~9"), "somebody's");
}

#[test]
fn undo_leaves_what_others_made_meanwhile() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    // The application writes into an installed directory, rewrites a file, and takes a removed file's place.
    world.old_file("/srv/app/new/deep/log", "application's log");
    std::fs::write(world.host("/srv/app/rewritten"), "edited").unwrap();
    std::fs::rename(world.host("/srv/app/rewritten"), world.host("/srv/app/index.html")).unwrap();
    world.old_file("/srv/app/gone.d/b/c/d", "in the way");
    let undone = undo(&world.journal()).unwrap();
    assert_eq!(world.read("/srv/app/index.html"), "old index");
    assert_eq!(world.read("/srv/app/new/deep/log"), "application's log");
    assert!(!world.host("/srv/app/new/deep/file").exists(), "what was installed is gone");
    assert_eq!(world.read("/srv/app/gone.d/b/c/d"), "in the way");
    let left: Vec<_> = undone.left.iter().map(|left| left.path.display().to_string()).collect();
    let gone = ["/srv/app/gone.d", "/srv/app/gone.d/a", "/srv/app/gone.d/b", "/srv/app/gone.d/b/c"];
    assert_eq!(left, [gone.as_slice(), &["/srv/app/new"]].concat());
    for (left, kept) in undone.left.iter().zip(["directory", "file", "directory", "file"]) {
        let at = left.why.rsplit(" kept as ").next().unwrap();
        assert!(at.starts_with(world.backups().to_str().unwrap()) && at.ends_with(".saved"), "{}", left.why);
        assert_eq!(Path::new(at).is_dir(), kept == "directory", "{}", left.why);
    }
    let ours = paths(&world.root()).into_iter().filter(|path| path.to_string_lossy().contains("hostler"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    assert_eq!(world.state(), JournalState::Undone);
    assert_eq!(left_behind(&world.journal()), [world.backups()]);
    // A kept file stays kept: the next run of the deployment takes another name.
    std::fs::remove_dir_all(world.host("/srv/app")).unwrap();
    let kept = tree(&world.backups());
    assert!(world.run(&Faulty::never()).is_err());
    assert_same(&tree(&world.backups()), &kept, "after another run");
}

#[test]
fn a_file_that_took_the_place_of_a_removed_one_stays_and_the_removed_one_is_kept() {
    let mut world = World::empty();
    world.old_file("/srv/app/conf", "old");
    world.age();
    world.remove("/srv/app/conf", InstalledKind::File);
    world.run(&Faulty::never()).unwrap();
    world.old_file("/srv/app/conf", "another program's");
    let undone = undo(&world.journal()).unwrap();
    assert_eq!(world.read("/srv/app/conf"), "another program's");
    let [left] = undone.left.as_slice() else { panic!("{:?}", undone.left) };
    assert_eq!(left.path, Path::new("/srv/app/conf"));
    assert!(left.why.contains("another program put a file in its place, which stays"), "{}", left.why);
    let kept = left.why.rsplit(" kept as ").next().unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "old");
}

#[test]
fn a_directory_that_is_another_one_now_is_not_touched() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    std::fs::rename(world.host("/srv/app/conf.d"), world.host("/srv/app/moved")).unwrap();
    world.old_file("/srv/app/conf.d/other", "another directory's");
    world.old_file("/srv/app/conf.d/site", "another directory's");
    let undone = undo(&world.journal()).unwrap();
    let left: Vec<_> = undone.left.iter().map(|left| left.path.display().to_string()).collect();
    assert_eq!(left, ["/srv/app/conf.d/other", "/srv/app/conf.d/site"]);
    assert_eq!(world.read("/srv/app/conf.d/other"), "another directory's");
    assert_eq!(world.read("/srv/app/conf.d/site"), "another directory's");
    assert_eq!(world.read("/srv/app/index.html"), "old index");
}

#[test]
fn a_root_that_is_another_one_now_is_not_touched() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    std::fs::rename(world.root(), world.dir.path().join("moved")).unwrap();
    world.old_file("/srv/app/conf.d/other", "another root's");
    assert!(matches!(undo(&world.journal()), Err(InstallError::Moved { .. })));
    assert_eq!(world.read("/srv/app/conf.d/other"), "another root's");
    assert_eq!(world.state(), JournalState::Installed);
}

/// As a hook does with shared storage: the directory goes, and a link to another place replaces it.
fn links_instead(world: &World, path: &str) {
    std::fs::remove_dir_all(world.host(path)).unwrap();
    symlink(world.dir.path().join("shared"), world.host(path)).unwrap();
}

#[test]
fn undo_takes_back_the_links_that_hooks_put_in_the_place_of_directories() {
    // A tree's top, a directory inside a tree, and a directory for which a link made way; each also without hard links,
    // and with other programs' files beside it.
    for path in ["/srv/app/new", "/srv/app/new/deep", "/srv/app/now-below-a-link"] {
        for (links, beside) in [(Links::Yes, false), (Links::No, false), (Links::Yes, true)] {
            let when = format!("{path}, links {links:?}, something beside it {beside}");
            let world = World::update();
            std::fs::create_dir(world.dir.path().join("shared")).unwrap();
            std::fs::write(world.dir.path().join("shared/inside"), "shared").unwrap();
            let before = world.tree();
            world.run(&Faulty::on(links)).unwrap();
            links_instead(&world, path);
            let beside = beside && path == "/srv/app/new/deep";
            if beside {
                world.old_file("/srv/app/new/log", "application's log");
            }
            let undone = undo_with(&world.journal(), &Faulty::on(links)).unwrap();
            let left: Vec<_> = undone.left.iter().map(|left| left.path.display().to_string()).collect();
            if beside {
                assert_eq!(left, ["/srv/app/new"], "{when}");
                let there: Vec<_> = paths(&world.host("/srv/app/new"));
                assert_eq!(there, [Path::new("log"), Path::new("")], "{when}");
            } else {
                assert_eq!(left, [""; 0], "{when}");
                assert_same(&world.tree(), &before, &when);
            }
            let shared = std::fs::read_to_string(world.dir.path().join("shared/inside")).unwrap();
            assert_eq!(shared, "shared", "{when}");
        }
    }
}

#[test]
fn undo_after_a_kill_takes_back_the_same_links() {
    let mut at = 0;
    loop {
        let world = World::update();
        let before = world.tree();
        world.run(&Faulty::never()).unwrap();
        links_instead(&world, "/srv/app/new/deep");
        links_instead(&world, "/srv/app/now-below-a-link");
        let killed = undo_with(&world.journal(), &Faulty::at(at, Fault::Kill));
        let done = killed.is_ok();
        assert_eq!(undo(&world.journal()).unwrap(), Undone::default(), "killed at step {at}");
        assert_same(&world.tree(), &before, &format!("killed at step {at}"));
        if done {
            break;
        }
        at += 1;
    }
    assert!(at > 30, "only {at} steps");
}

#[test]
fn a_link_below_a_destination_is_followed_by_safe_steps_only() {
    let mut world = World::empty();
    world.old_directory("/srv/app");
    world.old_directory("/mnt/storage");
    world.old_link("/srv/app/storage", "../../mnt/storage");
    world.put("/srv/app/storage/keep", "kept", false);
    world.plan.links_below = vec!["/srv/app/storage".into()];
    world.links = world.plan.links_below.clone();
    world.run(&Faulty::never()).unwrap();
    assert_eq!(world.read("/mnt/storage/keep"), "kept");
    undo(&world.journal()).unwrap();
    assert!(!world.host("/mnt/storage/keep").exists());

    if std::os::unix::fs::lchown(world.host("/srv/app/storage"), Some(33), None).is_err() {
        skip("only root may give files away");
        return;
    }
    let error = world.run(&Faulty::never()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/srv/app/storage is not safe: user 33 owns"), "{text}");
    assert!(!world.host("/mnt/storage/keep").exists());
}
