//! Compares the Install with usual tools; run by hand on a quiet machine:
//! `cargo test --release -p hostler-host -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use hostler_core::shared_path::SharedPath;

use super::*;

const FILES: usize = 5000;

fn bundle(top: &Path, content: &str) {
    for n in 0..FILES {
        let path = top.join(format!("d{:02}/f{n}", n % 50));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.repeat(40)).unwrap();
    }
}

fn plan(archive: &Path, update: bool) -> Plan {
    let mut plan = Plan::default();
    let mut all = paths(archive);
    all.reverse();
    for source in all.into_iter().filter(|path| !path.as_os_str().is_empty() || !update) {
        let path = Path::new("/app").join(&source);
        let path = SharedPath::from(path.components().collect::<PathBuf>());
        let attributes = Attributes::default().into();
        if archive.join(&source).is_dir() {
            if !update {
                plan.actions.push(Action::MakeDirectory { path, attributes });
            }
        } else {
            plan.installed.push(InstalledEntry { path: path.clone(), kind: InstalledKind::File });
            plan.actions.push(Action::PutFile { source: source.into(), path, replaces: update, attributes });
        }
    }
    plan
}

fn succeed(command: &mut Command) {
    assert!(command.status().unwrap().success());
}

fn timed(mut what: impl FnMut()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn best(round: impl Fn() -> Duration) -> Duration {
    (0..7).map(|_| round()).min().unwrap()
}

fn install(world: &World, id: &str, archive: &Path, plan: &Plan) -> Duration {
    let (root, journal, deployment) = (world.root(), world.dir.path().join(id), id.parse().unwrap());
    let (deployment, root, journal) = (&deployment, &root, &journal);
    let request = InstallRequest { deployment, archive, root, journal, links: &[], destinations: &[], plan };
    timed(|| {
        run(&request).unwrap();
        commit(journal).unwrap();
    })
}

#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_5000_small_files() {
    let fresh = best(|| {
        let world = World::empty();
        bundle(&world.archive(), "one ");
        install(&world, "d-1", &world.archive(), &plan(&world.archive(), false))
    });
    let cp = best(|| {
        let world = World::empty();
        bundle(&world.archive(), "one ");
        timed(|| succeed(Command::new("cp").arg("-a").arg(world.archive()).arg(world.host("/app"))))
    });
    let update = best(|| {
        let world = World::empty();
        bundle(&world.archive(), "one ");
        install(&world, "d-1", &world.archive(), &plan(&world.archive(), false));
        let second = world.dir.path().join("second");
        bundle(&second, "other");
        install(&world, "d-2", &second, &plan(&second, true))
    });
    println!("fresh {fresh:?}, cp -a {cp:?}; update {update:?}");
    if Command::new("rsync").arg("--version").output().is_err() {
        println!("no rsync here to compare with");
        return;
    }
    let rsync = best(|| {
        let world = World::empty();
        bundle(&world.archive(), "one ");
        succeed(Command::new("cp").arg("-a").arg(world.archive()).arg(world.host("/app")));
        let second = world.dir.path().join("second");
        bundle(&second, "other");
        let from = format!("{}/", second.display());
        timed(|| succeed(Command::new("rsync").args(["-a", "--delete", &from]).arg(world.host("/app"))))
    });
    println!("rsync -a --delete {rsync:?}");
}
