//! An application swaps its directories for links to a place outside while installs and undos run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::RenameFlags;

use super::*;

#[test]
fn nothing_outside_is_touched_while_directories_are_swapped_for_links() {
    let mut world = World::empty();
    for n in 0..4 {
        for file in ["x", "y", "gone"] {
            world.old_file(&format!("/srv/app/d{n}/{file}"), "old");
            world.old_file(&format!("/outside/{file}"), "outside");
        }
        world.old_link(&format!("/srv/app/swap{n}"), "../../outside");
    }
    world.old_file("/srv/app/top", "old");
    let root = nix::unistd::geteuid().is_root();
    for n in 0..4 {
        let mut attributes = Attributes { mode: Some(0o700), ..Attributes::default() };
        if root {
            (attributes.uid, attributes.gid) = (Some(1234), Some(1234));
        }
        world.plan.actions.push(Action::KeepDirectory { path: format!("/srv/app/d{n}").into(), attributes });
    }
    world.put("/srv/app/top", "new", true);
    for n in 0..4 {
        world.put(&format!("/srv/app/d{n}/x"), "new", true);
        world.put(&format!("/srv/app/d{n}/new"), "new", false);
        world.put_link(&format!("/srv/app/d{n}/y"), "new", true);
        world.make(&format!("/srv/app/d{n}/made"));
        world.put(&format!("/srv/app/d{n}/made/z"), "new", false);
        world.remove(&format!("/srv/app/d{n}/gone"), InstalledKind::File);
    }
    let outside = tree(&world.host("/outside"));
    let stop = AtomicBool::new(false);
    let (swaps, refused, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let app = std::fs::File::open(world.host("/srv/app")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let n = swaps.fetch_add(1, Ordering::Relaxed) % 4;
                let (a, b) = (format!("d{n}"), format!("swap{n}"));
                rustix::fs::renameat_with(&app, a, &app, b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _stop = StopAtEnd(&stop);
        for round in 0..300 {
            let journal = world.dir.path().join(format!("journal{round}"));
            let deployment = format!("d-{round}").parse().unwrap();
            let (archive, root) = (world.archive(), world.root());
            let request = InstallRequest {
                deployment: &deployment,
                archive: &archive,
                root: &root,
                journal: &journal,
                destinations: &["/srv/app".into()],
                plan: &world.plan,
            };
            match run(&request) {
                Ok(_) => drop((done.fetch_add(1, Ordering::Relaxed), undo(&journal))),
                Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
            }
            assert_eq!(tree(&world.host("/outside")), outside, "round {round}");
        }
    });
    let refused = refused.into_inner();
    println!("{} swaps, {refused} installs refused, {} done", swaps.into_inner(), done.into_inner());
    assert!(refused > 0, "the race was never met");
}

/// The other thread ends even when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
