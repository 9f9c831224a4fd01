//! The files that are kept for the way back: where and how.

use super::*;
use crate::test_support::skip;

/// Names of ours below the root.
fn ours(world: &World) -> Vec<PathBuf> {
    paths(&world.root()).into_iter().filter(|path| path.to_string_lossy().contains("hostler")).collect()
}

#[test]
fn nothing_of_ours_is_in_the_tree_once_an_install_has_ended() {
    for links in Links::BOTH {
        let world = World::update();
        world.run(&Faulty::on(links)).unwrap();
        assert_eq!(ours(&world), Vec::<PathBuf>::new(), "installed");
        let mode = std::fs::metadata(world.backups()).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "nobody else gets at the old content");
        undo(&world.journal()).unwrap();
        assert_eq!(ours(&world), Vec::<PathBuf>::new(), "undone");
        assert!(!world.backups().exists());
        world.run(&Faulty::on(links)).unwrap();
        commit(&world.journal()).unwrap();
        assert_eq!(ours(&world), Vec::<PathBuf>::new(), "committed");
        assert!(!world.backups().exists());
        assert_eq!(left_behind(&world.journal()), Vec::<PathBuf>::new());
    }
    let world = World::update();
    let steps = Faulty::never();
    world.run(&steps).unwrap();
    for at in 0..steps.steps().len() {
        let world = World::update();
        world.run(&Faulty::at(at, Fault::Fail)).unwrap_err();
        assert_eq!(ours(&world), Vec::<PathBuf>::new(), "failed at step {at}");
        assert!(!world.backups().exists(), "failed at step {at}");
    }
}

#[test]
fn other_links_to_a_replaced_file_stay_and_are_counted_right() {
    for links in Links::BOTH {
        let world = World::update();
        let count = |path: &str| std::fs::metadata(world.host(path)).unwrap().nlink();
        let inode = |path: &str| std::fs::metadata(world.host(path)).unwrap().ino();
        let old = inode("/srv/app/one");
        world.run(&Faulty::on(links)).unwrap();
        assert_eq!((count("/srv/app/one"), count("/srv/app/data/two")), (1, 2));
        undo(&world.journal()).unwrap();
        assert_eq!((count("/srv/app/one"), count("/srv/app/data/two"), inode("/srv/app/one")), (2, 2, old));
        assert_eq!(count("/srv/app/index.html"), 1);
        world.run(&Faulty::on(links)).unwrap();
        commit(&world.journal()).unwrap();
        assert_eq!((count("/srv/app/one"), count("/srv/app/data/two")), (1, 1));
        assert_eq!(world.read("/srv/app/data/two"), "twice linked");
    }
}

#[test]
fn a_program_that_runs_is_found_by_the_path_of_the_file_that_was_replaced_or_removed() {
    let mut world = World::empty();
    world.old_directory("/srv/app");
    for name in ["replaced", "removed"] {
        std::fs::copy("/bin/sleep", world.host("/srv/app").join(name)).unwrap();
    }
    world.put("/srv/app/replaced", "#!/bin/sh\n", true);
    world.remove("/srv/app/removed", InstalledKind::File);
    let paths = ["/srv/app/replaced", "/srv/app/removed"].map(|path| world.host(path));
    let mut children = paths.clone().map(|path| Command::new(path).arg("1000").spawn().unwrap());
    let run = world.run(&Faulty::never());
    let seen = [0, 1].map(|n: usize| std::fs::read_link(format!("/proc/{}/exe", children[n].id())));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run.unwrap();
    for (seen, path) in seen.into_iter().zip(&paths) {
        assert_eq!(seen.unwrap(), PathBuf::from(format!("{} (deleted)", path.display())));
    }
}

/// Another program replaces a file just before the first swap.
struct Replaces<'a>(&'a World, Faulty, Mutex<bool>);

impl Steps for Replaces<'_> {
    fn before(&self, step: Step) -> Result<(), InstallError> {
        let mut done = self.2.lock().unwrap();
        if step == Step::Sync && !*done {
            *done = true;
            for path in ["/srv/app/index.html", "/srv/app/gone"] {
                self.0.old_file("/srv/app/new-content", "saved by the application");
                std::fs::rename(self.0.host("/srv/app/new-content"), self.0.host(path)).unwrap();
            }
        }
        self.1.before(step)
    }
}

#[test]
fn what_another_program_saves_while_everything_is_staged_is_what_comes_back() {
    let saved = |world: &World, path: &str, when: &str| {
        assert_eq!(world.read(path), "saved by the application", "{path}: {when}");
    };
    let world = World::update();
    let all = Replaces(&world, Faulty::never(), Mutex::default());
    world.run(&all).unwrap();
    assert_eq!(world.read("/srv/app/index.html"), "new index");
    assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
    saved(&world, "/srv/app/index.html", "undone");
    saved(&world, "/srv/app/gone", "undone");
    let steps = all.1.steps();
    let first = steps.iter().position(|step| matches!(step, Step::Swap(_))).unwrap();
    for (at, step) in steps.iter().enumerate().skip(first) {
        let world = World::update();
        world.run(&Replaces(&world, Faulty::at(at, Fault::Kill), Mutex::default())).unwrap_err();
        let when = format!("killed at {step:?}");
        assert!(matches!(world.settle(), Settled::Undone(_)), "{when}");
        saved(&world, "/srv/app/index.html", &when);
    }
}

#[test]
fn what_is_staged_is_known_again_where_inodes_are_not_stable() {
    let all = Faulty::never();
    World::update().run(&all).unwrap();
    for at in 0..all.steps().len() {
        let world = World::update();
        let before = world.tree();
        world.run(&Faulty::at(at, Fault::Kill)).unwrap_err();
        let list = world.journal().join("install.staged.json");
        if let Ok(mut staged) =
            serde_json::from_slice::<Vec<journal::Staged>>(&std::fs::read(&list).unwrap_or_default())
        {
            for staged in &mut staged {
                staged.inode += 1 << 40;
            }
            std::fs::write(&list, serde_json::to_vec(&staged).unwrap()).unwrap();
        }
        world.settle();
        assert_same(&world.tree(), &before, &format!("killed at step {at}, {:?}", all.steps()[at]));
    }
}

#[test]
fn an_immutable_file_is_named_and_everything_stays() {
    let world = World::update();
    for path in ["/srv/app/index.html", "/srv/app/gone"] {
        let attribute = |change: &str| {
            let done = Command::new("chattr").arg(change).arg(world.host(path)).output();
            done.is_ok_and(|done| done.status.success())
        };
        if !attribute("+i") {
            skip("no file can be made immutable here");
            return;
        }
        let before = world.tree();
        let result = world.run(&Faulty::never());
        let after = world.tree();
        assert!(attribute("-i"));
        let error = result.unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("chattr -i"), "{error}");
        assert_same(&after, &before, &error);
        assert_eq!(world.state(), JournalState::Undone);
    }
}

#[test]
fn backups_that_somebody_deleted_are_said_to_be_gone() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    std::fs::remove_dir_all(world.backups()).unwrap();
    let undone = undo(&world.journal()).unwrap();
    assert!(undone.left.iter().any(|left| left.path == world.backups()), "{undone:?}");
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    std::fs::remove_dir_all(world.backups()).unwrap();
    assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
}

#[test]
fn a_directory_that_is_not_the_one_for_backups_is_not_used_and_does_not_block_a_commit() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    std::fs::rename(world.backups(), world.dir.path().join("moved")).unwrap();
    symlink("/etc", world.backups()).unwrap();
    assert!(matches!(undo(&world.journal()), Err(InstallError::Moved { path }) if path == world.backups()));
    assert_eq!(world.read("/srv/app/index.html"), "new index");
    let committed = commit(&world.journal()).unwrap();
    assert_eq!(committed.left.len(), 1, "{committed:?}");
    assert_eq!(world.state(), JournalState::Committed);
}

/// Fills a staged directory with a tree of 5,000 levels before the first action takes effect, which fails.
struct Digs<'a>(&'a World);

impl Steps for Digs<'_> {
    fn before(&self, step: Step) -> Result<(), InstallError> {
        let Step::Swap(_) = step else { return Ok(()) };
        let staged = ours(self.0).into_iter().map(|path| self.0.root().join(path)).find(|path| path.is_dir());
        crate::test_support::build_deep(&staged.expect("a staged directory"), 5_000);
        let source = std::io::Error::from_raw_os_error(28);
        Err(InstallError::NoSpace { path: "injected".into(), source })
    }
}

#[test]
fn a_deep_tree_in_a_staged_directory_does_not_keep_an_install_from_being_undone() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // As many open files as a process has by default.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
    let mut world = World::empty();
    world.old_directory("/srv");
    world.make("/srv/app");
    world.put("/srv/app/file", "new", false);
    let before = paths(&world.root());
    let error = world.run(&Digs(&world)).unwrap_err();
    assert!(matches!(error, InstallError::NoSpace { .. }), "{error:?}");
    assert_eq!(paths(&world.root()), before);
}
