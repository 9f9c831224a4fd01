//! Journals of hostler versions before backups were kept apart: an updated agent settles them.

use super::*;

/// An Install of the first version on the host, in this phase: names were exchanged, so that old files have the
/// temporary names, or (`moved`) old files were first moved to names of their own.
fn installed_before(phase: &str, moved: bool) -> (World, Tree) {
    let mut world = World::empty();
    world.old_file("/srv/app/index.html", "old index");
    world.old_file("/srv/app/gone.d/gone", "a leftover");
    world.age();
    let before = world.tree();
    world.put("/srv/app/index.html", "new index", true);
    world.put("/srv/app/new", "new", false);
    world.remove("/srv/app/gone.d/gone", InstalledKind::File);
    world.remove("/srv/app/gone.d", InstalledKind::Directory);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let seen = |path: &str| {
        let seen = &before[Path::new(path)];
        serde_json::json!({ "path": format!("/{path}"), "inode": seen.inode, "modified": seen.modified })
    };
    let directories = [seen("srv/app"), seen("srv/app/gone.d")];
    let root = std::fs::canonicalize(world.root()).unwrap();
    let app = world.host("/srv/app");
    let temporary = |n: u32| app.join(format!(".hostler-d-TEST1~{n}"));
    let old = if moved { app.join(".hostler-d-TEST1~0.old") } else { temporary(0) };
    std::fs::rename(app.join("index.html"), &old).unwrap();
    std::fs::write(app.join("index.html"), "new index").unwrap();
    std::fs::write(app.join("new"), "new").unwrap();
    std::fs::rename(app.join("gone.d/gone"), app.join("gone.d/.hostler-d-TEST1~2")).unwrap();
    std::fs::rename(app.join("gone.d"), temporary(3)).unwrap();
    let record = serde_json::json!({
        "version": 1,
        "deployment": "d-TEST1",
        "plan": &world.plan,
        "anchors": [{ "path": "/", "real": &root, "inode": inode(&root) }],
        "directories": directories,
    });
    let staged = [inode(&app.join("index.html")), inode(&app.join("new")), 0, 0];
    std::fs::create_dir(world.journal()).unwrap();
    let write = |name: String, value: Vec<u8>| std::fs::write(world.journal().join(name), value).unwrap();
    write(format!("install.{phase}.json"), serde_json::to_vec(&record).unwrap());
    write("install.staged.json".to_owned(), serde_json::to_vec(&staged).unwrap());
    (world, before)
}

#[test]
fn one_that_was_interrupted_is_undone() {
    for moved in [false, true] {
        for phase in ["swapping", "undoing"] {
            for at in 0.. {
                let (world, before) = installed_before(phase, moved);
                let stopped = settle_with(&world.journal(), &Faulty::at(at, Fault::Kill));
                assert_eq!(world.settle(), Settled::Undone(Undone::default()), "{phase}, stopped at {at}");
                assert_same(&world.tree(), &before, &format!("{phase}, moved {moved}, stopped at {at}"));
                if stopped.is_ok() {
                    break;
                }
            }
        }
    }
}

#[test]
fn one_that_had_swapped_nothing_loses_what_was_staged() {
    let (world, before) = installed_before("swapping", false);
    let app = world.host("/srv/app");
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let (at, file) = (std::fs::File::open(&app).unwrap(), "index.html");
    rustix::fs::renameat_with(&at, ".hostler-d-TEST1~0", &at, file, exchange).unwrap();
    std::fs::rename(app.join("new"), app.join(".hostler-d-TEST1~1")).unwrap();
    assert_eq!(world.settle(), Settled::Undone(Undone::default()));
    assert_same(&world.tree(), &before, "settled");
}

#[test]
fn one_that_stands_is_undone_or_committed() {
    for moved in [false, true] {
        let (world, before) = installed_before("installed", moved);
        assert_eq!(installed(&world.journal()).unwrap(), world.plan.installed);
        assert_eq!(undo(&world.journal()).unwrap(), Undone::default());
        assert_same(&world.tree(), &before, "undone");
        let (world, _) = installed_before("installed", moved);
        assert_eq!(commit(&world.journal()).unwrap(), Committed::default());
        let left: Vec<_> = world.tree().into_keys().map(|path| path.display().to_string()).collect();
        assert_eq!(left, ["", "srv", "srv/app", "srv/app/index.html", "srv/app/new"]);
        assert_eq!(world.read("/srv/app/index.html"), "new index");
    }
}

#[test]
fn what_stands_in_the_way_of_one_is_said() {
    let (world, _) = installed_before("installed", false);
    std::fs::remove_file(world.host("/srv/app/index.html")).unwrap();
    world.old_file("/srv/app/index.html/somebody's", "x");
    let undone = undo(&world.journal()).unwrap();
    assert_eq!(undone.left.len(), 1, "{undone:?}");
    assert!(undone.left[0].why.ends_with("kept beside it as .saved.hostler-d-TEST1~0"), "{undone:?}");
    assert_eq!(world.read("/srv/app/.saved.hostler-d-TEST1~0"), "old index");
}
