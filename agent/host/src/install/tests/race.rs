//! An application swaps its directories for links to a place outside while installs and undos run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::RenameFlags;

use super::*;

/// Four directories of an application, each with a link to a place outside beside it, and a plan for all of them.
fn world() -> World {
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
        world
            .plan
            .actions
            .push(Action::KeepDirectory { path: format!("/srv/app/d{n}").into(), attributes: attributes.into() });
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
    world
}

fn request<'a>(world: &'a World, deployment: &'a DeploymentId, places: &'a [PathBuf; 3]) -> InstallRequest<'a> {
    let [archive, root, journal] = places;
    InstallRequest { deployment, archive, root, journal, links: &[], destinations: &[], plan: &world.plan }
}

fn places(world: &World, journal: &str) -> [PathBuf; 3] {
    [world.archive(), world.root(), world.dir.path().join(journal)]
}

/// Makes every directory of the application a link, and its link the directory.
fn swap_all(world: &World) {
    let app = std::fs::File::open(world.host("/srv/app")).unwrap();
    for n in 0..4 {
        rustix::fs::renameat_with(&app, format!("d{n}"), &app, format!("swap{n}"), RenameFlags::EXCHANGE).unwrap();
    }
}

/// Swaps before one step, and back before another.
struct Swaps<'a> {
    world: &'a World,
    at: usize,
    back: usize,
    seen: Mutex<usize>,
}

impl Steps for Swaps<'_> {
    fn before(&self, _: Step) -> Result<(), InstallError> {
        let mut seen = self.seen.lock().unwrap();
        if *seen == self.at || *seen == self.back {
            swap_all(self.world);
        }
        *seen += 1;
        Ok(())
    }
}

#[test]
fn nothing_outside_is_touched_whichever_step_meets_the_links() {
    let reference = world();
    let all = Faulty::never();
    reference.run(&all).unwrap();
    let steps = all.steps().len();
    for at in 0..steps {
        for back in [usize::MAX, at + 1, at + 7] {
            let world = world();
            let outside = tree(&world.host("/outside"));
            let places = places(&world, "journal");
            let swaps = Swaps { world: &world, at, back, seen: Mutex::default() };
            let done = run_with(&request(&world, &world.deployment, &places), &swaps);
            assert_eq!(tree(&world.host("/outside")), outside, "install, links at step {at}, back at {back}");
            if done.is_ok() {
                let swaps = Swaps { world: &world, at: at / 2, back: back / 2, seen: Mutex::default() };
                // It leaves the files that it could not reach; the promise is only that nothing outside changes.
                let _ = undo_with(&places[2], &swaps);
            }
            assert_eq!(tree(&world.host("/outside")), outside, "undo, links at step {at}, back at {back}");
        }
    }
}

#[test]
fn nothing_outside_is_touched_while_directories_are_swapped_for_links() {
    let world = world();
    let outside = tree(&world.host("/outside"));
    let stop = AtomicBool::new(false);
    let (swaps, refused, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let app = std::fs::File::open(world.host("/srv/app")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                // Long enough between swaps that a run makes progress.
                for _ in 0..400 {
                    app.metadata().unwrap();
                }
                let n = swaps.fetch_add(1, Ordering::Relaxed) % 4;
                let (a, b) = (format!("d{n}"), format!("swap{n}"));
                rustix::fs::renameat_with(&app, a, &app, b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _stop = StopAtEnd(&stop);
        for round in 0..300 {
            let deployment = format!("d-{round}").parse().unwrap();
            let places = places(&world, &format!("journal{round}"));
            match run(&request(&world, &deployment, &places)) {
                Ok(_) => drop((done.fetch_add(1, Ordering::Relaxed), undo(&places[2]))),
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
