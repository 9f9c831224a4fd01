//! A user who owns the directory above the destination, and one below it, swaps every name there during deployments,
//! rollbacks and removals: no file outside is touched, nor any file that root keeps in that user's own directories.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, lchown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hostler_core::appspec::spec::{AppSpec, FileExistsBehavior, FileMapping, Position};
use hostler_core::path_rule::UnsafePaths;
use hostler_core::plan::{LastPlaces, plan, wanted};
use rustix::fs::RenameFlags;

use super::*;
use crate::archive;
use crate::install::outcome::installed_places;
use crate::observe::observe;
use crate::test_support::skip;

const NOBODY: u32 = 65534;
/// Rounds of the ordinary suite; `HOSTLER_ATTACK_ROUNDS` sets another number.
const ROUNDS: usize = 40;

/// A canary and its contents, inodes, owners, modes, access control lists and times, including change times.
struct Canary {
    top: OwnedFd,
    before: Vec<String>,
    /// Whether the attacker may change its name.
    renamed: bool,
}

impl Canary {
    fn of(path: &Path, renamed: bool) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let mut canary = Self { top, before: Vec::new(), renamed };
        canary.before = canary.seen();
        canary
    }

    fn seen(&self) -> Vec<String> {
        let top = PathBuf::from(format!("/proc/self/fd/{}", self.top.as_raw_fd()));
        let line = |(path, seen): (PathBuf, Seen)| {
            let whole = top.join(&path);
            let meta = std::fs::symlink_metadata(&whole).unwrap();
            let changed = (!self.renamed || path != Path::new("")).then(|| (meta.ctime(), meta.ctime_nsec()));
            let mut list = [0; 256];
            let list = rustix::fs::lgetxattr(&whole, "system.posix_acl_access", &mut list[..]).ok();
            format!("{} {seen:?} {changed:?} {list:?}", path.display())
        };
        tree(&top).into_iter().map(line).collect()
    }

    fn is_untouched(&self, when: &str) {
        assert_eq!(self.seen(), self.before, "{when}");
    }
}

/// One host: the user `nobody` owns `/srv/site`, root the destination in it, and `nobody` again `www` in that.
struct Scene {
    world: World,
    last: Vec<InstalledEntry>,
    places: LastPlaces,
}

enum Done {
    /// There was no plan.
    Refused,
    /// The Install failed; says whether it could be undone.
    Failed {
        undone: bool,
    },
    Stands(PathBuf),
}

impl Scene {
    /// Before the first deployment.
    fn bare() -> Self {
        let world = World::empty();
        std::fs::set_permissions(world.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for top in ["/canary", "/srv/site/other"] {
            for file in ["version", "only-1", "lib/x", "www/d/x", "www/only-1", "theirs"] {
                world.old_file(&format!("{top}/{file}"), "root's");
            }
        }
        std::fs::set_permissions(world.host("/srv/site/other"), PermissionsExt::from_mode(0o700)).unwrap();
        world.old_directory("/srv/site/mine/lib");
        world.old_link("/srv/site/link", "../../canary");
        for path in ["/srv/site", "/srv/site/mine", "/srv/site/mine/lib", "/srv/site/link"] {
            lchown(world.host(path), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // A file that is older than a deployment is not the deployment's: the clock of the file system has to go on.
        let clock = world.dir.path().join("clock");
        let now = || {
            std::fs::write(&clock, "now").unwrap();
            std::fs::metadata(&clock).unwrap().modified().unwrap()
        };
        let made = now();
        while now() == made {}
        Self { world, last: Vec::new(), places: LastPlaces::Unknown }
    }

    fn new() -> Self {
        let mut scene = Self::bare();
        let Done::Stands(journal) = scene.deploy(1) else { panic!("the first deployment did not succeed") };
        commit(&journal).unwrap();
        scene.last = installed(&journal).unwrap();
        scene.places = installed_places(&journal).unwrap();
        let www = |path: &str| scene.world.host(&format!("/srv/site/app/www{path}"));
        std::fs::create_dir(www("/other")).unwrap();
        std::fs::write(www("/other/x"), "root's").unwrap();
        symlink("../../../../canary/www/d", www("/link")).unwrap();
        for path in ["", "/link"] {
            lchown(www(path), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        scene
    }

    fn canaries(&self) -> Vec<Canary> {
        let canary = |path: &str, renamed| Canary::of(&self.world.host(path), renamed);
        let below = self.world.host("/srv/site/app/www/other").exists().then_some("/srv/site/app/www/other");
        let renamed = std::iter::once("/srv/site/other").chain(below).map(|path| canary(path, true));
        std::iter::once(canary("/canary", false)).chain(renamed).collect()
    }

    fn deploy(&self, version: u32) -> Done {
        self.deploy_with(version, &RealSyscalls)
    }

    /// Deploys a version; version 0 is a removal.
    fn deploy_with(&self, version: u32, steps: &impl Steps) -> Done {
        let archive = self.world.dir.path().join(format!("archive{version}"));
        std::fs::create_dir_all(archive.join("app")).unwrap();
        let files = [format!("only-{version}"), format!("www/only-{version}"), format!("new-{version}/x")];
        let same = ["version", "lib/x", "www/d/x"].map(str::to_owned);
        for file in same.iter().chain(&files) {
            std::fs::create_dir_all(archive.join("app").join(file).parent().unwrap()).unwrap();
            std::fs::write(archive.join("app").join(file), format!("{version}")).unwrap();
        }
        let at = Position::default();
        let (source, destination) = ("app".to_owned(), "/srv/site/app".to_owned());
        let mapping = FileMapping { source, destination, source_at: at, destination_at: at };
        let files = if version == 0 { Vec::new() } else { vec![mapping] };
        let spec = AppSpec { files, ..AppSpec::default() };
        let listing = archive::list(&archive).unwrap();
        let wanted = wanted(&spec, &listing, Some(self.last.clone())).unwrap();
        let wanted = wanted.entering(self.places.clone(), UnsafePaths::Refuse);
        let facts = observe(&wanted, &self.world.root()).unwrap();
        let plan = match plan(&wanted, &facts, FileExistsBehavior::Overwrite, true) {
            Ok(plan) => plan,
            Err(_) => return Done::Refused,
        };
        let (root, journal) = (self.world.root(), self.world.dir.path().join(format!("journal{version}")));
        let deployment = format!("d-{version}").parse().unwrap();
        let request = InstallRequest {
            deployment: &deployment,
            archive: &archive,
            root: &root,
            journal: &journal,
            links: &plan.links,
            destinations: &["/srv/site/app".into()],
            plan: &plan,
        };
        match run_with(&request, steps) {
            Ok(_) => Done::Stands(journal),
            Err(error) => Done::Failed { undone: !matches!(error, InstallError::NotUndone { .. }) },
        }
    }
}

/// Swaps names until `stop`, each for a moment.
fn attack(world: &World, stop: &AtomicBool, swaps: &AtomicUsize, seed: u64) {
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = File::options().read(true).custom_flags(flags.bits() as i32).open(world.host(path)).unwrap();
        Arc::new(directory)
    };
    let (site, www) = (open("/srv/site"), open("/srv/site/app/www"));
    nix::unistd::setfsgid(NOBODY.into());
    nix::unistd::setfsuid(NOBODY.into());
    let mut dice = seed | 1;
    let mut below = |bound: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % bound as u64) as usize
    };
    while !stop.load(Ordering::Relaxed) {
        let (directory, victims, baits): (_, &[&str], &[&str]) = match below(3) {
            0 => (&www, &["d"], &["link", "other"]),
            _ => (&site, &["app"], &["link", "other", "mine"]),
        };
        // A staged file has a name of its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let listed = rustix::fs::openat(directory, ".", flags, Mode::empty()).unwrap();
        let names = crate::remove_tree::entries(&listed).unwrap().into_iter();
        let staged: Vec<String> =
            names.filter_map(|name| name.into_string().ok().filter(|name| name.starts_with(".hostler-"))).collect();
        let victim = match staged.as_slice() {
            [] => victims[0].to_owned(),
            staged => staged[below(staged.len())].clone(),
        };
        let bait = baits[below(baits.len())];
        let exchange = || rustix::fs::renameat_with(directory, &victim, directory, bait, RenameFlags::EXCHANGE);
        if exchange().is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
            for _ in 0..below(60) {
                directory.metadata().unwrap();
            }
            let _ = exchange();
        }
        for _ in 0..below(200) {
            directory.metadata().unwrap();
        }
    }
}

/// The attacker ends even when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_canary_is_untouched_while_a_user_swaps_every_step() {
    if !nix::unistd::geteuid().is_root() {
        skip("only root can be led anywhere");
        return;
    }
    let rounds = std::env::var("HOSTLER_ATTACK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let (swaps, mut refused, mut failed, mut stood, mut open) = (AtomicUsize::new(0), 0, 0, 0, 0);
    for round in 0..rounds {
        let scene = Scene::new();
        let canaries = scene.canaries();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (world, stop, swaps) = (&scene.world, &stop, &swaps);
            let seed = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            scope.spawn(move || attack(world, stop, swaps, seed));
            let _stop = StopAtEnd(stop);
            for (step, version) in [2, 3, 0].into_iter().enumerate() {
                let when = format!("round {round}, step {step}");
                match scene.deploy(version) {
                    Done::Refused => refused += 1,
                    Done::Failed { undone: false } => open += 1,
                    Done::Failed { undone: true } => failed += 1,
                    Done::Stands(journal) => {
                        stood += 1;
                        canaries.iter().for_each(|canary| canary.is_untouched(&format!("{when}, installed")));
                        // It leaves the files that it cannot reach.
                        drop(undo(&journal));
                    }
                }
                canaries.iter().for_each(|canary| canary.is_untouched(&when));
            }
        });
    }
    let swaps = swaps.into_inner();
    println!(
        "{rounds} rounds: {swaps} swaps, {refused} plans refused, {failed} installs failed, {open} left open, {stood} stood"
    );
    assert!(refused + failed > 0 && stood > 0, "the race was never met");
}

/// Swaps a name in the user's directory for a bait before one step, and back before another.
struct Swaps {
    site: File,
    bait: &'static str,
    at: usize,
    back: usize,
    seen: Mutex<(usize, Option<String>)>,
}

impl Swaps {
    fn new(world: &World, bait: &'static str, at: usize, back: usize) -> Self {
        Self { site: File::open(world.host("/srv/site")).unwrap(), bait, at, back, seen: Mutex::default() }
    }

    fn exchange(&self, victim: &str) -> bool {
        rustix::fs::renameat_with(&self.site, victim, &self.site, self.bait, RenameFlags::EXCHANGE).is_ok()
    }

    /// A staged file, or else the destination.
    fn victim(&self) -> String {
        let listed = rustix::fs::openat(&self.site, ".", OFlags::RDONLY, Mode::empty()).unwrap();
        let names = crate::remove_tree::entries(&listed).unwrap().into_iter();
        let mut staged = names.filter_map(|name| name.into_string().ok().filter(|name| name.starts_with(".hostler-")));
        staged.next().unwrap_or_else(|| "app".to_owned())
    }

    fn steps(&self) -> usize {
        self.seen.lock().unwrap().0
    }
}

impl Steps for Swaps {
    fn before(&self, _: Step) -> Result<(), InstallError> {
        let mut seen = self.seen.lock().unwrap();
        if seen.0 == self.at {
            let victim = self.victim();
            seen.1 = self.exchange(&victim).then_some(victim);
        } else if let (true, Some(victim)) = (seen.0 == self.back, seen.1.take()) {
            self.exchange(&victim);
        }
        seen.0 += 1;
        Ok(())
    }
}

#[test]
fn a_canary_is_untouched_whichever_step_meets_a_swap() {
    if !nix::unistd::geteuid().is_root() {
        skip("only root can be led anywhere");
        return;
    }
    let (mut met, mut stood) = (0, 0);
    for (scene, version) in [(Scene::bare as fn() -> Scene, 2), (Scene::new, 2), (Scene::new, 0)] {
        for bait in ["other", "link", "mine"] {
            let (mut at, mut steps) = (0, 1);
            while at < steps {
                let backs = [usize::MAX, at + 1, at + 5];
                for back in backs.into_iter().take(if bait == "other" { 3 } else { 1 }) {
                    let scene = scene();
                    let canaries = scene.canaries();
                    let when = format!("version {version}, {bait} at step {at}, back at {back}");
                    let swaps = Swaps::new(&scene.world, bait, at, back);
                    let done = scene.deploy_with(version, &swaps);
                    steps = steps.max(swaps.steps().min(200));
                    canaries.iter().for_each(|canary| canary.is_untouched(&when));
                    let Done::Stands(journal) = done else {
                        met += 1;
                        continue;
                    };
                    stood += 1;
                    let swaps = Swaps::new(&scene.world, bait, at / 2, back / 2);
                    drop(undo_with(&journal, &swaps));
                    canaries.iter().for_each(|canary| canary.is_untouched(&format!("{when}, undone")));
                }
                at += 1;
            }
        }
    }
    println!("{met} met a swap and failed, {stood} stood and were undone");
    assert!(met > 100 && stood > 100, "{met} failed, {stood} stood");
}
