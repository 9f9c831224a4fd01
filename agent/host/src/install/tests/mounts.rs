//! Destinations on mounts of their own: a link and a rename stay within one.

use super::*;
use crate::test_support::skip;

/// A mount, until it is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory of so many bytes.
    pub fn memory(at: &Path, size: usize) -> Option<Self> {
        Self::mount(at, &["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"])
    }

    fn mount(at: &Path, what: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("mounting takes root");
            return None;
        }
        match Command::new("mount").args(what).arg(at).output() {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                skip(format_args!("cannot mount here: {other:?}"));
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const SIZE: usize = 1 << 20;

/// An update of /data/app, whose directories exist, on the mounted file system.
fn data() -> World {
    let mut world = World::empty();
    world.destinations = vec!["/data/app".into()];
    world.old_directory("/data");
    world
}

fn fill(world: &mut World) {
    world.old_file("/data/app/sub/file", "old");
    world.old_file("/data/app/sub/gone", "leftover");
    world.old_directory("/data/app/gone.d");
    world.age();
    world.put("/data/app/sub/file", "new", true);
    world.remove("/data/app/sub/gone", InstalledKind::File);
    world.remove("/data/app/gone.d", InstalledKind::Directory);
}

/// Our files in the tree.
fn ours(world: &World) -> Vec<String> {
    let all = paths(&world.root()).into_iter().map(|path| path.display().to_string());
    all.filter(|path| path.contains("hostler")).collect()
}

/// Runs the Install in this world; the directory for backups must be this one, and no file of ours may be left after an
/// undo and after a commit.
fn kept_in(world: &World, expected: &str) {
    let before = world.tree();
    world.run(&Faulty::never()).unwrap();
    assert_eq!(world.read("/data/app/sub/file"), "new");
    assert!(!world.host("/data/app/sub/gone").exists() && !world.host("/data/app/gone.d").exists());
    let top = world.host(expected);
    assert_eq!(std::fs::metadata(&top).unwrap().permissions().mode() & 0o7777, 0o700, "{}", top.display());
    let of_it = |path: &String| Path::new("/").join(path).starts_with(expected);
    assert!(ours(world).iter().all(of_it), "{:?}", ours(world));
    assert_eq!(std::fs::read_dir(&top).unwrap().count(), 3);
    assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
    assert_same(&world.tree(), &before, "undone");
    world.run(&Faulty::never()).unwrap();
    assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
    assert_eq!(ours(world), Vec::<String>::new());
}

#[test]
fn backups_lie_above_a_destination_on_another_mount() {
    let mut world = data();
    let Some(_mounted) = Mounted::memory(&world.host("/data"), SIZE) else { return };
    fill(&mut world);
    kept_in(&world, "/data/.hostler-d-TEST1~backups");
}

#[test]
fn backups_lie_above_a_destination_that_is_bind_mounted_from_the_same_device() {
    let mut world = data();
    let source = world.dir.path().join("volume");
    std::fs::create_dir(&source).unwrap();
    let Some(_mounted) = Mounted::mount(&world.host("/data"), &["--bind", source.to_str().unwrap()]) else { return };
    fill(&mut world);
    kept_in(&world, "/data/.hostler-d-TEST1~backups");
}

#[test]
fn backups_lie_in_a_destination_that_is_a_mount_point_itself() {
    let mut world = data();
    world.destinations = vec!["/data".into()];
    let Some(_mounted) = Mounted::memory(&world.host("/data"), SIZE) else { return };
    fill(&mut world);
    kept_in(&world, "/data/.hostler-d-TEST1~backups");
    // Also with a mount below a destination.
    let mut world = data();
    world.old_directory("/data/app/sub");
    let Some(_mounted) = Mounted::memory(&world.host("/data/app"), SIZE) else { return };
    world.destinations = vec!["/data".into()];
    fill(&mut world);
    kept_in(&world, "/data/app/.hostler-d-TEST1~backups");
}

#[test]
fn backups_do_not_lie_where_others_could_take_them_away() {
    let mut world = data();
    let Some(_mounted) = Mounted::memory(&world.host("/data"), SIZE) else { return };
    world.destinations = vec!["/data/team/app".into()];
    world.old_file("/data/team/app/file", "old");
    std::fs::set_permissions(world.host("/data/team"), PermissionsExt::from_mode(0o775)).unwrap();
    world.put("/data/team/app/file", "new", true);
    world.run(&Faulty::never()).unwrap();
    assert_eq!(ours(&world), ["data/.hostler-d-TEST1~backups/0", "data/.hostler-d-TEST1~backups"]);
}

#[test]
fn a_tree_that_no_link_leaves_keeps_its_backups_itself() {
    for root_of_quota in ["/data/app", "/data"] {
        let mut world = data();
        fill(&mut world);
        world.destinations = vec![root_of_quota.into()];
        let before = world.tree();
        let steps = Faulty { no_links: Some(Errno::XDEV), ..Faulty::never() };
        world.run(&steps).unwrap();
        assert_eq!(world.read("/data/app/sub/file"), "new");
        let top = format!("{root_of_quota}/.hostler-d-TEST1~backups");
        assert!(world.host(&top).is_dir(), "{:?}", ours(&world));
        assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
        assert_same(&world.tree(), &before, "undone");
    }
}

/// As on EFS access points, squashed NFS exports and Windows shares: all new files belong to one user.
#[test]
fn a_file_system_that_decides_owners_keeps_backups_as_every_other() {
    let mut world = data();
    let source = world.dir.path().join("export");
    std::fs::create_dir(&source).unwrap();
    let options = ["--force-user=daemon", "--force-group=daemon", "--chown-ignore", "--chgrp-ignore"];
    if !succeeds(Command::new("bindfs").args(options).arg(&source).arg(world.host("/data"))) {
        skip("there is no bindfs here");
        return;
    }
    let _mounted = Mounted(world.host("/data"));
    fill(&mut world);
    world.make("/data/app/new.d");
    world.put("/data/app/new.d/file", "new", false);
    let before = world.tree();
    world.run(&Faulty::never()).unwrap();
    assert_eq!((world.read("/data/app/sub/file"), world.read("/data/app/new.d/file")), ("new".into(), "new".into()));
    assert!(!world.host("/data/app/sub/gone").exists());
    assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
    assert_same(&without_inodes(world.tree()), &without_inodes(before), "undone");
    world.run(&Faulty::never()).unwrap();
    assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
    assert_eq!(ours(&world), Vec::<String>::new());
}

/// Some file systems keep an inode number only as long as they remember the file.
fn without_inodes(tree: Tree) -> Tree {
    tree.into_iter().map(|(path, seen)| (path, Seen { inode: 0, ..seen })).collect()
}

#[test]
fn a_file_that_is_a_mount_point_is_named_and_everything_stays() {
    for path in ["/data/app/sub/file", "/data/app/sub/gone"] {
        let mut world = data();
        fill(&mut world);
        let source = world.dir.path().join("bound");
        std::fs::write(&source, "bound").unwrap();
        let Some(_mounted) = Mounted::mount(&world.host(path), &["--bind", source.to_str().unwrap()]) else { return };
        let before = world.tree();
        let error = world.run(&Faulty::never()).unwrap_err();
        assert!(matches!(&error, InstallError::MountPoint { path: named } if *named == Path::new(path)), "{error}");
        assert_same(&world.tree(), &before, &error.to_string());
        assert_eq!(ours(&world), Vec::<String>::new());
    }
}

#[test]
fn projects_bound_such_trees() {
    let mut world = data();
    let image = world.dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(320 << 20).unwrap();
    if !succeeds(Command::new("mkfs.xfs").arg("-q").arg(&image)) {
        skip("no xfs can be made here");
        return;
    }
    let Some(_mounted) = Mounted::mount(&world.host("/data"), &["-o", "loop", image.to_str().unwrap()]) else { return };
    world.old_directory("/data/app");
    for (directory, project) in [("/data", "8"), ("/data/app", "7")] {
        if !succeeds(Command::new("chattr").args(["-p", project, "+P"]).arg(world.host(directory))) {
            skip("there are no projects here");
            return;
        }
    }
    fill(&mut world);
    kept_in(&world, "/data/app/.hostler-d-TEST1~backups");
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|ended| ended.success())
}

#[test]
fn what_an_image_brought_is_replaced_and_removed_in_an_overlay() {
    for commits in [false, true] {
        let world = World::update();
        let (lower, upper, work) =
            (world.dir.path().join("lower"), world.dir.path().join("upper"), world.dir.path().join("work"));
        std::fs::rename(world.root(), &lower).unwrap();
        for made in [&upper, &work, &world.root()] {
            std::fs::create_dir(made).unwrap();
        }
        let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let Some(_mounted) = Mounted::mount(&world.root(), &["-t", "overlay", "-o", &layers, "overlay"]) else {
            return;
        };
        // An overlay splits a file with two names when it copies one of them up.
        std::fs::remove_file(world.host("/srv/app/data/two")).unwrap();
        std::fs::set_permissions(world.host("/srv/app/gone.d"), PermissionsExt::from_mode(0o710)).unwrap();
        world.age();
        let before = world.tree();
        world.run(&Faulty::never()).unwrap();
        for gone in ["/srv/app/gone.d", "/srv/app/gone"] {
            assert!(!world.host(gone).exists(), "{gone}");
        }
        if commits {
            assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
            assert_eq!(ours(&world), Vec::<String>::new());
            continue;
        }
        // Also in parts: every try stops one step later.
        for at in 0.. {
            match undo_with(&world.journal(), &Faulty::at(at, Fault::Kill)) {
                Err(InstallError::Killed) => {}
                done => {
                    assert_eq!(done.unwrap(), Undone::default());
                    break;
                }
            }
        }
        // A removed directory is made anew: it is like the old one except for its inode.
        assert_same(&without_inodes(world.tree()), &without_inodes(before), "undone");
    }
}

#[test]
fn what_a_hook_mounted_in_a_new_directory_outlives_an_undo() {
    // With a name of ours in it, alone and beside other names.
    for more in [None, Some("other")] {
        let mut world = World::empty();
        world.destinations = vec!["/srv/app".into()];
        world.old_directory("/srv/app");
        world.old_file("/shared/app.db", "live");
        if let Some(more) = more {
            world.old_file(&format!("/shared/{more}"), "live");
        }
        world.age();
        world.make("/srv/app/storage");
        world.put("/srv/app/storage/app.db", "seed", false);
        world.run(&Faulty::never()).unwrap();
        let shared = world.host("/shared");
        let Some(mounted) = Mounted::mount(&world.host("/srv/app/storage"), &["--bind", shared.to_str().unwrap()])
        else {
            return;
        };
        let undone = undo(&world.journal()).unwrap();
        assert!(!undone.left.is_empty(), "it says what stays");
        drop(mounted);
        assert_eq!(world.read("/shared/app.db"), "live", "{more:?}");
        assert!(more.is_none_or(|more| world.read(&format!("/shared/{more}")) == "live"));
    }
}
