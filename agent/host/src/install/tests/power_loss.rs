//! Power loss at every moment: unsynchronised data is lost, all of it, each part of it, all but one part of it, and in
//! random selections; of contents also the half. Recovery is interrupted the same way. Recovery does an agent's work at
//! its start: it confirms the Installs that stand by its ledger, then it settles the journal.

use std::collections::BTreeSet;

use hostler_core::appspec::spec::{AclEntry, AclTag};

use super::disk::{Change, Disk, Image, Point, Tops};
use super::*;
use crate::test_support::skip;

/// Random selections at each moment; a failure's message has the seed.
const SELECTIONS: u64 = 4;
const SEED: u64 = 0x5eed_0021;
/// Up to this many unwritten changes, each pair of them is lost and kept.
const PAIRS: usize = 6;

const ALL_LOST: &str = "all is lost";
const NOTHING_LOST: &str = "nothing is lost";

/// The operation that was running when the power failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Run,
    Undo,
    Commit,
}

/// How far it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    OnTheWay,
    /// The last mark is made, and may or may not be on disk.
    Marked,
    /// The operation has returned to the caller.
    Done,
    /// The caller has persisted in its ledger that the Install stands.
    Persisted,
}

/// One Install with the three possible states after it.
struct Trial {
    world: World,
    disk: Disk,
    tops: Tops,
    /// The journal's file system, if it has its own.
    _elsewhere: Option<tempfile::TempDir>,
    before: BTreeMap<PathBuf, String>,
    after: BTreeMap<PathBuf, String>,
    seen: BTreeSet<(Moment, Image)>,
    /// The settled states, to see that the test tried more than nothing.
    settled: BTreeMap<&'static str, usize>,
}

/// Every kind of action, each once or twice: the number of states grows with the square of the number of actions.
fn small() -> World {
    let mut world = World::empty();
    for (path, content) in [
        ("/srv/app/index.html", "old index"),
        ("/srv/app/data/theirs", "never touched"),
        ("/srv/app/conf.d/site", "old site"),
        ("/srv/app/now-a-directory", "was a file"),
        ("/srv/app/gone", "a leftover"),
        ("/srv/app/now-a-file/x", "in a directory"),
    ] {
        world.old_file(path, content);
    }
    std::fs::hard_link(world.host("/srv/app/index.html"), world.host("/srv/app/data/linked")).unwrap();
    world.old_link("/srv/app/link", "old-target");
    world.age();
    use InstalledKind::{Directory, File};
    world.remove("/srv/app/now-a-directory", File);
    world.remove("/srv/app/now-a-file/x", File);
    world.remove("/srv/app/now-a-file", Directory);
    world.keep("/srv/app", 0o750);
    world.make("/srv/app/new");
    world.make("/srv/app/now-a-directory");
    world.put("/srv/app/index.html", "new index", true);
    world.put("/srv/app/conf.d/site", "new site", true);
    world.put("/srv/app/conf.d/other", "new other", false);
    world.put("/srv/app/new/file", "deep", false);
    world.put("/srv/app/now-a-directory/inside", "inside", false);
    world.put("/srv/app/now-a-file", "a file", false);
    world.put_link("/srv/app/link", "new-target", true);
    world.remove("/srv/app/gone", File);
    give_permissions(&mut world);
    world
}

/// Gives every file an owner, if the test may, and a list, if the file system has lists.
fn give_permissions(world: &mut World) {
    let entry = |default| AclEntry { default, tag: AclTag::User("root".to_owned()), permissions: 7 };
    let mut lists = vec![entry(false), entry(true)];
    let top = std::fs::File::open(world.archive()).unwrap();
    let attributes = Attributes { acls: lists.clone(), ..Attributes::default() };
    if perms::apply(top.as_fd(), perms::Object::Directory, 0o755, &attributes, &Names::default()).is_err() {
        skip("no access control lists here: tried without");
        lists.clear();
    }
    let owner = nix::unistd::Uid::effective().is_root().then_some(12);
    for action in &mut world.plan.actions {
        let (attributes, wanted) = match action {
            Action::KeepDirectory { attributes, .. } | Action::MakeDirectory { attributes, .. } => {
                (attributes, &lists[..])
            }
            Action::PutFile { attributes, .. } => (attributes, &lists[..lists.len().min(1)]),
            Action::PutLink { attributes, .. } => (attributes, &[][..]),
            Action::Remove { .. } => continue,
        };
        let attributes = std::sync::Arc::make_mut(attributes);
        attributes.acls = wanted.to_vec();
        (attributes.uid, attributes.gid) = (owner, owner.map(|_| 34));
    }
}

/// A directory on another file system than that of `temporary`: where temporary files are, or where they outlive a restart.
fn on_another_file_system() -> Option<tempfile::TempDir> {
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    let temporary = temporary();
    let places = [std::env::temp_dir(), "/var/tmp".into()];
    let mut made = places.iter().filter_map(|place| tempfile::tempdir_in(place).ok());
    made.find(|directory| device(directory.path()) != device(temporary.path()))
}

impl Trial {
    fn new(links: Links, prepared: bool, elsewhere: Option<tempfile::TempDir>) -> Self {
        let world = small();
        let parent = elsewhere.as_ref().map_or(world.dir.path(), |elsewhere| elsewhere.path()).join("state");
        std::fs::create_dir(&parent).unwrap();
        if prepared {
            prepare(&parent.join("journal")).unwrap();
        }
        let tops = [world.root(), parent];
        let disk = Disk::new(&tops, links);
        let before = disk.image().root();
        let (after, seen, settled) = Default::default();
        Self { world, disk, tops, _elsewhere: elsewhere, before, after, seen, settled }
    }

    fn run(&self) {
        let (archive, journal) = (self.world.archive(), self.tops[1].join("journal"));
        let request = InstallRequest {
            deployment: &self.world.deployment,
            archive: &archive,
            root: &self.tops[0],
            journal: &journal,
            links: &[],
            destinations: &self.world.destinations,
            plan: &self.world.plan,
        };
        assert!(!run_with(&request, &self.disk).unwrap().already);
    }

    /// Fails the power at each moment since the last call.
    fn check(&mut self, doing: Doing) {
        let points = self.disk.points();
        let Some((end, on_the_way)) = points.split_last() else { unreachable!() };
        assert!(on_the_way.len() > 10, "{} moments are too few", on_the_way.len());
        let last_mark = on_the_way.iter().rposition(|point| point.when.starts_with("Mark"));
        for (at, point) in on_the_way.iter().enumerate() {
            let moment = if Some(at) > last_mark { Moment::Marked } else { Moment::OnTheWay };
            self.check_point(doing, moment, point);
        }
        self.check_point(doing, Moment::Done, end);
        if doing == Doing::Run {
            self.check_point(doing, Moment::Persisted, end);
        }
    }

    fn check_point(&mut self, doing: Doing, moment: Moment, point: &Point) {
        for (what, image) in states(&self.disk, point) {
            if self.seen.insert((moment, image.clone())) {
                let interrupts = [ALL_LOST, NOTHING_LOST].contains(&what.as_str());
                let when = format!("{doing:?}, before {}: {what}", point.when);
                self.check_state(doing, moment, &image, &when, interrupts);
            }
        }
    }

    fn check_state(&mut self, doing: Doing, moment: Moment, image: &Image, when: &str, interrupts: bool) {
        let places = Places::new(self._elsewhere.is_some());
        let disk = self.disk.copy(image, &places.tops, interrupts);
        let settled = recover(doing, moment, &places.journal(), &disk);
        let settled = settled.unwrap_or_else(|error| panic!("{when}: {error}: {:?}", image.root()));
        self.check_end(doing, moment, &settled, &disk, &places, when);
        if interrupts {
            let points = disk.points();
            for point in &points {
                let states = [(ALL_LOST, point.pending.len()), (NOTHING_LOST, 0)];
                for (what, lost) in states {
                    let kept = point.pending.iter().take(point.pending.len() - lost);
                    let image = disk.after(point, kept);
                    if self.seen.insert((moment, image.clone())) {
                        let when = format!("{when}; then in recovery, before {}: {what}", point.when);
                        self.check_copy(doing, moment, &disk, &image, &when);
                    }
                }
            }
        }
    }

    /// As `check_state`, of a disk that is itself a copy.
    fn check_copy(&mut self, doing: Doing, moment: Moment, of: &Disk, image: &Image, when: &str) {
        let places = Places::new(self._elsewhere.is_some());
        let disk = of.copy(image, &places.tops, false);
        let settled = recover(doing, moment, &places.journal(), &disk);
        let settled = settled.unwrap_or_else(|error| panic!("{when}: {error}"));
        self.check_end(doing, moment, &settled, &disk, &places, when);
    }

    fn check_end(&mut self, doing: Doing, moment: Moment, settled: &Settled, disk: &Disk, places: &Places, when: &str) {
        let journal = places.journal();
        let image = disk.image();
        let name = match (doing, moment, settled) {
            (Doing::Run, Moment::OnTheWay, Settled::None) => "nothing began",
            (Doing::Run, Moment::OnTheWay | Moment::Done, Settled::Undone(undone))
            | (Doing::Undo, _, Settled::Undone(undone))
                if undone.left.is_empty() =>
            {
                "undone"
            }
            (Doing::Run, Moment::Done | Moment::Persisted, Settled::Installed)
            | (Doing::Undo | Doing::Commit, Moment::OnTheWay, Settled::Installed) => "installed",
            (Doing::Commit, _, Settled::Committed(committed)) if committed.left.is_empty() => "committed",
            (_, _, other) => panic!("{when}: {other:?}"),
        };
        *self.settled.entry(name).or_default() += 1;
        let owned = installed(&journal).ok();
        match name {
            "installed" => {
                assert_eq!(image.root(), self.after, "{when}");
                assert_eq!(owned.as_ref(), Some(&self.world.plan.installed), "{when}");
                self.check_both_ways(disk, &image, when);
            }
            "committed" => {
                assert_eq!(without_backups(image.root()), without_backups(self.after.clone()), "{when}");
                assert!(image.root().keys().all(|path| !path.to_string_lossy().contains(".hostler")), "{when}");
                assert_eq!(owned.as_ref(), Some(&self.world.plan.installed), "{when}");
            }
            _ => {
                assert_eq!(image.root(), self.before, "{when}");
                assert_eq!(owned, None, "{when}");
            }
        }
        let again = settle_with(&journal, disk).unwrap();
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(settled), "{when}: settled again");
        assert_eq!(disk.image(), image, "{when}: settled again");
    }

    /// A confirmed Install can be undone and committed.
    fn check_both_ways(&self, disk: &Disk, image: &Image, when: &str) {
        let places = Places::new(self._elsewhere.is_some());
        let copy = disk.copy(image, &places.tops, false);
        assert_eq!(undo_with(&places.journal(), &copy).unwrap(), Undone::default(), "{when}: undone");
        assert_eq!(copy.image().root(), self.before, "{when}: undone");
        let places = Places::new(self._elsewhere.is_some());
        let copy = disk.copy(image, &places.tops, false);
        assert_eq!(commit_with(&places.journal(), &copy).unwrap(), Committed::default(), "{when}: committed");
        assert_eq!(without_backups(copy.image().root()), without_backups(self.after.clone()), "{when}: committed");
    }
}

/// The work of an agent at its start. An agent that undoes or commits has it in its ledger that the Install stands.
fn recover(doing: Doing, moment: Moment, journal: &Path, disk: &Disk) -> Result<Settled, InstallError> {
    if doing != Doing::Run || moment == Moment::Persisted {
        confirm_with(journal, disk)?;
    }
    settle_with(journal, disk)
}

/// Where a state of the disk is made.
struct Places {
    tops: Tops,
    _held: (tempfile::TempDir, Option<tempfile::TempDir>),
}

impl Places {
    fn new(elsewhere: bool) -> Self {
        let root = temporary();
        let other = elsewhere.then(|| tempfile::tempdir().unwrap());
        let parent = other.as_ref().map_or(root.path(), |other| other.path());
        Self { tops: [root.path().join("root"), parent.join("state")], _held: (root, other) }
    }

    fn journal(&self) -> PathBuf {
        self.tops[1].join("journal")
    }
}

/// Without temporary names, and without the times of directories, which deleting a backup changes.
fn without_backups(tree: BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    let time = |seen: String| match seen.contains("Directory") {
        true => seen.split(" (").next().unwrap_or_default().to_owned(),
        false => seen,
    };
    let stays = |path: &PathBuf| !path.to_string_lossy().contains("/.hostler-");
    tree.into_iter().filter(|(path, _)| stays(path)).map(|(path, seen)| (path, time(seen))).collect()
}

/// The possible contents of the disk after the power loss.
fn states(disk: &Disk, point: &Point) -> BTreeMap<String, Image> {
    let pending = &point.pending;
    let count = pending.len();
    let mut states = BTreeMap::new();
    let mut add = |what: String, kept: Vec<bool>| {
        let changes = pending.iter().zip(kept).filter(|(_, kept)| *kept).map(|(change, _)| change);
        states.insert(what, disk.after(point, changes));
    };
    let name = |at: usize| format!("{:?}", pending[at].items.iter().map(|(cell, _)| cell).collect::<Vec<_>>());
    add(ALL_LOST.to_owned(), vec![false; count]);
    add(NOTHING_LOST.to_owned(), vec![true; count]);
    add("all contents are lost".to_owned(), pending.iter().map(|change| !change.has_data()).collect());
    for at in 0..count {
        add(format!("{} is lost", name(at)), kept(pending, |other| other != at));
        add(format!("only {} is kept", name(at)), needed(pending, &[at]));
        for other in (at + 1..count).take_while(|_| count <= PAIRS) {
            let pair = format!("{} and {}", name(at), name(other));
            add(format!("{pair} are lost"), kept(pending, |change| change != at && change != other));
            add(format!("only {pair} are kept"), needed(pending, &[at, other]));
        }
    }
    for selection in 0..SELECTIONS {
        let seed = SEED ^ (selection << 32) ^ count as u64;
        let random = |at: usize| (seed.wrapping_add(at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) & 1 == 1;
        add(format!("selection of seed {seed:#x}"), kept(pending, random));
    }
    for at in (0..count).filter(|at| pending[*at].has_data()) {
        let half = pending[at].truncated();
        let changes = pending.iter().enumerate().map(|(other, change)| if other == at { &half } else { change });
        states.insert(format!("half of {} is lost", name(at)), disk.after(point, changes));
    }
    states
}

/// The part of a wish that is kept: no change whose forerunner is lost.
fn kept(pending: &[Change], wish: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut kept: Vec<bool> = Vec::with_capacity(pending.len());
    for (at, change) in pending.iter().enumerate() {
        let lost_before = (0..at).any(|earlier| !kept[earlier] && change.follows(&pending[earlier]));
        kept.push(wish(at) && !lost_before);
    }
    kept
}

/// These changes, and those that must be on disk before them.
fn needed(pending: &[Change], wish: &[usize]) -> Vec<bool> {
    let mut needed: Vec<bool> = (0..pending.len()).map(|at| wish.contains(&at)).collect();
    for at in (0..pending.len()).rev() {
        for earlier in 0..at {
            needed[earlier] |= needed[at] && pending[at].follows(&pending[earlier]);
        }
    }
    needed
}

fn power_fails_everywhere(links: Links, prepared: bool, two_file_systems: bool) {
    for commits in [false, true] {
        let elsewhere = two_file_systems.then(on_another_file_system).flatten();
        if two_file_systems && elsewhere.is_none() {
            skip("there are no two file systems for temporary files here");
            return;
        }
        let mut trial = Trial::new(links, prepared, elsewhere);
        trial.run();
        trial.after = trial.disk.image().root();
        if !commits {
            trial.check(Doing::Run);
            undo_with(&trial.tops[1].join("journal"), &trial.disk).unwrap();
            trial.check(Doing::Undo);
            for end in ["nothing began", "undone", "installed"] {
                assert!(trial.settled.contains_key(end), "{:?}", trial.settled);
            }
        } else {
            drop(trial.disk.points());
            commit_with(&trial.tops[1].join("journal"), &trial.disk).unwrap();
            trial.check(Doing::Commit);
        }
        let states: usize = trial.settled.values().sum();
        eprintln!("{states} states on disk: {:?}", trial.settled);
        assert!(states > 50, "{states}");
    }
}

#[test]
fn a_journal_directory_that_a_killed_run_left_is_made_durable_by_the_next() {
    let Some(elsewhere) = on_another_file_system() else {
        skip("there are no two file systems for temporary files here");
        return;
    };
    let trial = Trial::new(Links::Yes, false, Some(elsewhere));
    std::fs::create_dir(trial.tops[1].join("journal")).unwrap();
    trial.run();
    let points = trial.disk.points();
    let lost = trial.disk.after(points.last().unwrap(), std::iter::empty());
    let places = Places::new(true);
    let disk = trial.disk.copy(&lost, &places.tops, false);
    let settled = recover(Doing::Run, Moment::Persisted, &places.journal(), &disk);
    assert_eq!(settled.unwrap(), Settled::Installed);
}

#[test]
fn power_fails_everywhere_where_old_files_are_linked() {
    power_fails_everywhere(Links::Yes, true, false);
}

#[test]
fn power_fails_everywhere_where_there_are_no_links() {
    power_fails_everywhere(Links::No, true, false);
}

#[test]
fn power_fails_everywhere_where_no_journal_was_prepared() {
    power_fails_everywhere(Links::Yes, false, false);
}

#[test]
fn power_fails_everywhere_with_the_journal_on_a_file_system_of_its_own() {
    power_fails_everywhere(Links::Yes, true, true);
}
