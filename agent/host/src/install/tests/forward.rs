//! The results of a successful run, commit and undo.

use super::*;
use crate::test_support::skip;

#[test]
fn an_update_brings_everything_that_the_plan_says() {
    let world = World::update();
    let before = world.tree();
    let done = world.run(&Faulty::never()).unwrap();
    assert_eq!((done.entries.as_slice(), done.already), (world.plan.installed.as_slice(), false));
    assert_eq!(world.state(), JournalState::Installed);
    assert_eq!(installed(&world.journal()).unwrap(), world.plan.installed);
    commit(&world.journal()).unwrap();
    assert_eq!(world.state(), JournalState::Committed);
    let after = world.tree();
    let seen: Vec<_> =
        after.iter().map(|(path, seen)| format!("{} {:o} {}", path.display(), seen.mode, seen.what)).collect();
    let expected = " 40755 directory
srv 40755 directory
srv/app 40750 directory
srv/app/conf.d 40755 directory
srv/app/conf.d/other 100640 file new other
srv/app/conf.d/site 100640 file new site
srv/app/data 40755 directory
srv/app/data/theirs 100644 file never touched
srv/app/data/two 100644 file twice linked
srv/app/gone-but-used 40755 directory
srv/app/gone-but-used/theirs 100644 file theirs
srv/app/index.html 100640 file new index
srv/app/link 120777 link new-target
srv/app/new 40755 directory
srv/app/new/deep 40755 directory
srv/app/new/deep/file 100640 file deep
srv/app/new/link 120777 link deep/file
srv/app/new-link 120777 link index.html
srv/app/now-a-directory 40755 directory
srv/app/now-a-directory/inside 100640 file inside
srv/app/now-a-file 100640 file a file
srv/app/now-below-a-link 40755 directory
srv/app/now-below-a-link/inside 100640 file inside
srv/app/one 100640 file new one";
    assert_eq!(seen.join("\n"), expected);
    let source = std::fs::metadata(world.archive().join("s9")).unwrap();
    let put = &after[Path::new("srv/app/index.html")];
    assert_eq!(put.modified, (source.mtime(), source.mtime_nsec()), "a file keeps the bundle's time");
    assert_eq!(after[Path::new("srv/app/data/two")].inode, before[Path::new("srv/app/data/two")].inode);
}

#[test]
fn undo_puts_everything_back_and_may_be_repeated() {
    for links in Links::BOTH {
        let world = World::update();
        let before = world.tree();
        world.run(&Faulty::on(links)).unwrap();
        for _ in 0..2 {
            assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
            assert_same(&world.tree(), &before, "after undo");
            assert_eq!(world.state(), JournalState::Undone);
        }
        assert!(commit(&world.journal()).is_err());
        assert!(installed(&world.journal()).is_err());
        // An undone deployment may be tried again.
        assert!(!world.run(&Faulty::never()).unwrap().already);
        assert_eq!(world.state(), JournalState::Installed);
    }
}

#[test]
fn a_second_run_returns_what_the_first_recorded() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    let after = world.tree();
    let again = world.run(&Faulty::never()).unwrap();
    assert_eq!((again.entries, again.already), (world.plan.installed.clone(), true));
    assert_same(&world.tree(), &after, "a second run");
    commit(&world.journal()).unwrap();
    let after = world.tree();
    assert!(world.run(&Faulty::never()).unwrap().already);
    assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
    assert_eq!(world.settle(), Settled::Committed(Committed::default()));
    assert_same(&world.tree(), &after, "a second commit");
    assert!(undo(&world.journal()).unwrap_err().to_string().contains("is committed"));
}

#[test]
fn another_deployments_journal_is_refused() {
    let mut world = World::update();
    world.run(&Faulty::never()).unwrap();
    world.deployment = "d-OTHER".parse().unwrap();
    assert!(matches!(world.run(&Faulty::never()), Err(InstallError::OtherDeployment { .. })));
}

#[test]
fn a_damaged_journal_is_named() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    let file = world.journal().join("install.installed.json");
    std::fs::write(&file, "{").unwrap();
    let error = undo(&world.journal()).unwrap_err().to_string();
    assert!(error.contains("install.installed.json") && error.contains("damaged"), "{error}");
}

#[test]
fn nothing_to_do_and_nothing_there() {
    let world = World::empty();
    assert_eq!(world.state(), JournalState::None);
    assert_eq!(world.settle(), Settled::None);
    assert!(undo(&world.journal()).is_err() && commit(&world.journal()).is_err());
    world.run(&Faulty::never()).unwrap();
    assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
}

#[test]
fn a_staged_tree_gets_permissions_with_everything_in_it() {
    if !nix::unistd::geteuid().is_root() {
        skip("giving files away takes root");
        return;
    }
    let mut world = World::empty();
    world.old_directory("/srv");
    world.make("/srv/app");
    world.put("/srv/app/tool", "x", false);
    world.put_link("/srv/app/link", "tool", false);
    for action in &mut world.plan.actions {
        let (attributes, [uid, gid, mode]) = match action {
            Action::MakeDirectory { attributes, .. } => (attributes, [Some(7), None, Some(0o2770)]),
            Action::PutFile { attributes, .. } => (attributes, [Some(7), Some(8), Some(0o4711)]),
            Action::PutLink { attributes, .. } => (attributes, [Some(9), Some(10), None]),
            _ => continue,
        };
        *attributes = Attributes { uid, gid, mode, ..Attributes::default() }.into();
    }
    world.run(&Faulty::never()).unwrap();
    let tree = world.tree();
    let seen = |path: &str| (tree[Path::new(path)].mode & 0o7777, tree[Path::new(path)].owner);
    assert_eq!(seen("srv/app"), (0o2770, (7, 0)));
    // A setgid directory sets the group of a new file when it is made; this directory became setgid afterwards.
    assert_eq!(seen("srv/app/tool"), (0o4711, (7, 8)));
    assert_eq!(seen("srv/app/link"), (0o777, (9, 10)));
}

#[test]
fn links_that_the_plan_follows_are_followed_within_the_root_and_only_once() {
    let mut world = World::empty();
    world.old_directory("/disk/srv/real");
    world.old_link("/data", "disk");
    world.old_link("/srv", "data/srv");
    world.old_link("/disk/srv/app", "../srv/./real");
    world.links = vec!["/srv/app".into(), "/srv".into(), "/not/there".into()];
    world.put("/srv/x", "x", false);
    world.make("/srv/app/new");
    world.put("/srv/app/new/y", "y", false);
    let before = world.tree();
    world.run(&Faulty::never()).unwrap();
    assert_eq!((world.read("/disk/srv/x"), world.read("/disk/srv/real/new/y")), ("x".to_owned(), "y".to_owned()));
    // Turning the link meanwhile does not turn the undo.
    std::fs::remove_file(world.host("/srv")).unwrap();
    world.old_link("/srv", "/elsewhere");
    undo(&world.journal()).unwrap();
    let after = world.tree();
    for path in ["disk", "disk/srv", "disk/srv/real"] {
        assert_eq!(after[Path::new(path)], before[Path::new(path)]);
    }
    assert!(!world.host("/disk/srv/x").exists() && !world.host("/disk/srv/real/new").exists());
}

#[test]
fn a_link_that_the_plan_does_not_follow_is_refused() {
    for through in ["/srv/app/sub/x", "/srv/app/sub/deep/x"] {
        let mut world = World::empty();
        world.old_directory("/outside/deep");
        world.old_directory("/srv/app");
        world.old_link("/srv/app/sub", "/outside");
        world.put("/srv/app/y", "y", false);
        world.put(through, "x", false);
        let before = world.tree();
        let error = world.run(&Faulty::never()).unwrap_err();
        assert!(matches!(error, InstallError::LinkInTheWay { .. }), "{error}");
        assert_same(&world.tree(), &before, "nothing was done");
    }
    // Nor is a link on the way to a followed link.
    let mut world = World::empty();
    world.old_directory("/outside/real");
    world.old_link("/srv", "outside");
    world.old_link("/outside/app", "real");
    world.links = vec!["/srv/app".into()];
    world.put("/srv/app/x", "x", false);
    let error = world.run(&Faulty::never()).unwrap_err();
    assert!(matches!(error, InstallError::LinkInTheWay { .. }), "{error}");
}

#[test]
fn a_mode_that_shuts_the_agent_out_comes_last_and_is_taken_back_first() {
    let mut world = World::empty();
    world.old_file("/srv/app/sub/x", "old");
    world.age();
    world.keep("/srv/app", 0o500);
    world.keep("/srv/app/sub", 0o500);
    world.put("/srv/app/sub/x", "new", true);
    world.put("/srv/app/y", "new", false);
    let before = world.tree();
    world.run(&Faulty::never()).unwrap();
    assert_eq!(world.tree()[Path::new("srv/app/sub")].mode & 0o7777, 0o500);
    undo(&world.journal()).unwrap();
    assert_same(&world.tree(), &before, "undone");
}
