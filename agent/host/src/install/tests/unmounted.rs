//! The destination is on a file system of its own, which is not mounted when an Install is settled.

use super::*;
use crate::test_support::skip;

/// An update whose destinations are on a volume that is mounted at `/srv`.
struct Volume {
    world: World,
    mounted: bool,
}

impl Volume {
    fn update() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("mounting takes root");
            return None;
        }
        let world = World::update();
        std::fs::rename(world.host("/srv"), world.dir.path().join("volume")).unwrap();
        std::fs::create_dir(world.host("/srv")).unwrap();
        let mut volume = Self { world, mounted: false };
        volume.mount("volume").then_some(volume)
    }

    fn mount(&mut self, what: &str) -> bool {
        let what = self.world.dir.path().join(what);
        let mounted = Command::new("mount").arg("--bind").arg(what).arg(self.world.host("/srv")).output().unwrap();
        if !mounted.status.success() {
            skip(format_args!("cannot mount here: {mounted:?}"));
            return false;
        }
        self.mounted = true;
        true
    }

    fn unmount(&mut self) {
        let unmounted = Command::new("umount").arg(self.world.host("/srv")).output().unwrap();
        assert!(unmounted.status.success(), "{unmounted:?}");
        self.mounted = false;
    }

    /// A run that is killed when about half of the actions have taken effect.
    fn kill_half_way(&self) {
        let all = Faulty::never();
        World::update().run(&all).unwrap();
        let steps = all.steps().into_iter().enumerate();
        let swaps: Vec<usize> = steps.filter(|(_, step)| matches!(step, Step::Swap(_))).map(|(at, _)| at).collect();
        let half = swaps[swaps.len() / 2];
        assert!(matches!(self.world.run(&Faulty::at(half, Fault::Kill)), Err(InstallError::Killed)));
    }

    /// Turns the journal into one of an agent that did not record file systems.
    fn forget_file_systems(&self) {
        for entry in std::fs::read_dir(self.world.journal()).unwrap() {
            let path = entry.unwrap().path();
            let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(&std::fs::read(&path).unwrap()) else {
                continue;
            };
            let Some(record) = document.as_object_mut() else { continue };
            assert!(record.remove("file_systems").is_some(), "{}", path.display());
            for list in ["anchors", "directories"] {
                for item in record[list].as_array_mut().unwrap() {
                    assert!(item.as_object_mut().unwrap().remove("file_system").is_some());
                }
            }
            std::fs::write(&path, document.to_string()).unwrap();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.world.host("/srv")).status();
        }
    }
}

fn not_mounted(found: Result<impl std::fmt::Debug, InstallError>) {
    match found {
        Err(error @ InstallError::NotMounted { .. }) => assert!(error.to_string().contains("/srv"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interrupted_install_waits_for_its_file_system_and_is_undone_then() {
    let Some(mut volume) = Volume::update() else { return };
    let before = volume.world.tree();
    volume.kill_half_way();
    volume.unmount();
    for _ in 0..2 {
        not_mounted(settle(&volume.world.journal()));
        assert_eq!(volume.world.state(), JournalState::Open);
        assert_eq!(std::fs::read_dir(volume.world.host("/srv")).unwrap().count(), 0, "nothing is made below");
    }
    assert!(volume.mount("volume"));
    assert_eq!(volume.world.settle(), Settled::Undone(Undone::default()));
    assert_same(&volume.world.tree(), &before, "after the mount");
}

#[test]
fn a_file_system_mounted_over_the_destination_hides_it_and_is_waited_for() {
    let Some(mut volume) = Volume::update() else { return };
    volume.unmount();
    let world = &volume.world;
    std::fs::remove_dir(world.host("/srv")).unwrap();
    std::fs::rename(world.dir.path().join("volume"), world.host("/srv")).unwrap();
    let before = world.tree();
    volume.kill_half_way();
    std::fs::create_dir(volume.world.dir.path().join("empty")).unwrap();
    assert!(volume.mount("empty"));
    not_mounted(settle(&volume.world.journal()));
    volume.unmount();
    assert_eq!(volume.world.settle(), Settled::Undone(Undone::default()));
    assert_same(&volume.world.tree(), &before, "when it is seen again");
}

#[test]
fn an_undo_and_a_commit_wait_too_and_nothing_of_them_is_lost() {
    let Some(mut volume) = Volume::update() else { return };
    let before = volume.world.tree();
    volume.world.run(&Faulty::never()).unwrap();
    volume.unmount();
    not_mounted(undo(&volume.world.journal()));
    assert_eq!(volume.world.state(), JournalState::Installed);
    assert!(volume.mount("volume"));
    assert_eq!(undo(&volume.world.journal()).unwrap(), Undone::default());
    assert_same(&volume.world.tree(), &before, "undone");

    volume.world.run(&Faulty::never()).unwrap();
    volume.unmount();
    for _ in 0..2 {
        not_mounted(commit(&volume.world.journal()));
        assert_eq!(volume.world.state(), JournalState::Committing);
    }
    assert!(volume.mount("volume"));
    assert_eq!(commit(&volume.world.journal()).unwrap(), Committed::default());
    let left = paths(&volume.world.root()).into_iter().filter(|path| path.to_string_lossy().contains(".hostler-"));
    assert_eq!(left.count(), 0, "every backup is deleted");
}

#[test]
fn what_is_gone_with_its_file_system_mounted_is_nothing_to_wait_for() {
    let Some(mut volume) = Volume::update() else { return };
    volume.kill_half_way();
    std::fs::remove_dir_all(volume.world.host("/srv/app")).unwrap();
    assert!(matches!(volume.world.settle(), Settled::Undone(_)));

    // Another file system in the same place: an administrator has replaced the volume.
    let Some(mut replaced) = Volume::update() else { return };
    replaced.kill_half_way();
    replaced.unmount();
    std::fs::create_dir(replaced.world.dir.path().join("new")).unwrap();
    assert!(replaced.mount("new"));
    assert!(matches!(replaced.world.settle(), Settled::Undone(_)));
    volume.unmount();
}

#[test]
fn a_journal_without_file_systems_is_settled_as_it_was_meant() {
    let Some(volume) = Volume::update() else { return };
    let before = volume.world.tree();
    volume.kill_half_way();
    volume.forget_file_systems();
    assert_eq!(volume.world.settle(), Settled::Undone(Undone::default()));
    assert_same(&volume.world.tree(), &before, "an older agent's journal");
    assert_eq!(lost_mounts(&volume.world.journal()).unwrap(), []);
}

#[test]
fn a_mount_that_is_lost_is_known_until_it_is_given_up() {
    let Some(mut volume) = Volume::update() else { return };
    volume.world.run(&Faulty::never()).unwrap();
    assert_eq!(lost_mounts(&volume.world.journal()).unwrap(), []);
    volume.unmount();
    let lost = lost_mounts(&volume.world.journal()).unwrap();
    assert_eq!(lost.iter().map(|lost| &lost.point).collect::<Vec<_>>(), [&volume.world.host("/srv")]);
    give_up(&volume.world.journal()).unwrap();
    assert_eq!(lost_mounts(&volume.world.journal()).unwrap(), []);
    assert!(matches!(commit(&volume.world.journal()), Ok(Committed { .. })), "the backups are lost with it");
}

#[test]
fn an_open_install_that_is_given_up_counts_as_undone_and_says_so() {
    let Some(mut volume) = Volume::update() else { return };
    volume.kill_half_way();
    volume.unmount();
    not_mounted(settle(&volume.world.journal()));
    give_up(&volume.world.journal()).unwrap();
    let Settled::Undone(undone) = volume.world.settle() else { panic!("it is not undone") };
    assert!(undone.left[0].why.contains("given up"), "{undone:?}");
    assert!(matches!(give_up(&volume.world.journal()), Err(InstallError::State { .. })));
}

/// `/srv/app` is a link to `/data/app`, where the Install works.
fn behind_a_link() -> World {
    let mut world = World::empty();
    world.old_file("/data/app/x", "old");
    world.old_link("/srv/app", "../data/app");
    world.links = vec!["/srv/app".into()];
    world.put("/srv/app/x", "new", true);
    world.run(&Faulty::never()).unwrap();
    std::fs::remove_dir_all(world.host("/data/app")).unwrap();
    // The file system may give the number of a deleted directory to this one.
    world.old_directory("/data/other");
    world.old_file("/data/app/theirs", "theirs");
    world
}

#[test]
fn a_links_target_that_was_made_anew_holds_neither_a_commit_nor_an_undo() {
    let world = behind_a_link();
    let committed = commit(&world.journal()).unwrap();
    assert!(committed.left[0].path.ends_with("data/app"), "{committed:?}");
    assert_eq!(world.state(), JournalState::Committed);

    let world = behind_a_link();
    let undone = undo(&world.journal()).unwrap();
    assert_eq!(undone.left[0].path, Path::new("/srv/app/x"));
    assert_eq!(world.read("/data/app/theirs"), "theirs");
    assert!(!world.host("/data/app/x").exists());
}

#[test]
fn what_could_not_be_put_back_is_known_also_to_who_asks_later() {
    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    world.old_file("/srv/app/gone.d/b/c/d", "in the way");
    let undone = undo(&world.journal()).unwrap();
    assert!(!undone.left.is_empty());
    assert_eq!(undo(&world.journal()).unwrap(), undone);
    assert_eq!(world.settle(), Settled::Undone(undone));
}
