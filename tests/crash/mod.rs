//! The promises at `kill -9`, on full disks and without permissions.

mod full_disk;
mod full_ledger;
mod mounts;
mod owners;
mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::host::{Bundle, Ended, Host, hook_lines_of, tree};
use crate::support::skip;

type Tree = BTreeMap<PathBuf, String>;

/// The files as an application sees them.
fn seen(host: &Host) -> Tree {
    tree(&host.at("srv"))
}

/// Numbers that look random and repeat with the same seed.
struct Dice(u64);

impl Dice {
    /// The seed from the environment, or a new one, which is printed.
    fn new() -> Self {
        let seed = std::env::var("HOSTLER_TEST_SEED").ok().and_then(|text| text.parse::<u64>().ok());
        let seed = seed.unwrap_or_else(|| std::process::id().into());
        eprintln!("HOSTLER_TEST_SEED={seed}");
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Bytes that cannot be compressed.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.number().to_le_bytes()).flatten().take(count).collect()
    }
}

/// A revision large enough that fetching, unpacking and installing take time, with hooks at every event.
fn big_bundle(host: &Host, version: &str, dice: &mut Dice) -> Bundle {
    let mut bundle = Bundle::new(host, version).app();
    for number in 0..60 {
        bundle = bundle.content(&format!("app/{}/{number}", number % 5), dice.bytes(2000));
    }
    for number in 0..4 {
        bundle = bundle.content(&format!("app/{version}/large-{number}"), dice.bytes(400_000));
    }
    bundle
}

/// The revisions of the kill tests in the store, and the result of each.
struct Revisions {
    /// Two good revisions, and one that fails at its start.
    names: [&'static str; 3],
    directories: Vec<PathBuf>,
    trees: Vec<Tree>,
}

impl Revisions {
    fn new(host: &Host) -> Self {
        let mut dice = Dice(7);
        let names = ["a", "b", "bad"];
        let mut directories = Vec::new();
        for name in names {
            let mut bundle = big_bundle(host, name, &mut dice);
            if name == "bad" {
                bundle = bundle.hook("ApplicationStart", "exit 1");
            }
            for event in ["ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart"] {
                if !(name == "bad" && event == "ApplicationStart") {
                    bundle = bundle.hook(event, "");
                }
            }
            directories.push(bundle.write());
        }
        // The files after an undisturbed deployment: another host with the same bundles.
        let trees = directories.iter().map(|directory| {
            let undisturbed = Host::new();
            undisturbed.deploy(directory, &[]);
            seen(&undisturbed)
        });
        let trees = trees.collect();
        Self { names, directories, trees }
    }

    /// The hooks of a whole deployment of `new` over `old`, with the rollback if it fails.
    fn lines(&self, old: Option<usize>, new: usize) -> Vec<String> {
        let events =
            |version: &str, events: &[&str]| events.iter().map(|e| format!("{version} {e}")).collect::<Vec<_>>();
        let whole = |old: Option<usize>, new: usize| {
            let mut lines = old.map_or_else(Vec::new, |old| events(self.names[old], &["ApplicationStop"]));
            lines.extend(events(self.names[new], &["BeforeInstall", "AfterInstall", "ApplicationStart"]));
            lines
        };
        let mut lines = whole(old, new);
        if let (Some(old), 2) = (old, new) {
            lines.extend(whole(Some(new), old));
        }
        lines
    }
}

/// A host of the kill tests, with its current revision.
struct Killed {
    host: Host,
    revisions: Revisions,
    runs: Option<usize>,
    deployments: usize,
    kills: usize,
}

impl Killed {
    fn new() -> Self {
        let host = Host::new();
        let revisions = Revisions::new(&host);
        Self { host, revisions, runs: None, deployments: 0, kills: 0 }
    }

    fn once(&self) -> Command {
        let store = self.host.store();
        self.host.command(&["run", "--once", "--channel", store.to_str().unwrap()])
    }

    /// Releases a revision; `attempt` runs the agent and returns its end, unless it was killed.
    fn deploy(&mut self, new: usize, mut attempt: impl FnMut(&Self) -> Option<Ended>) {
        self.host.release(&self.revisions.directories[new], &[]);
        self.host.clear_hook_lines();
        let empty = Tree::new();
        let old_tree = self.runs.map_or(&empty, |old| &self.revisions.trees[old]).clone();
        let new_tree = self.revisions.trees[new].clone();
        let ended = loop {
            match attempt(self) {
                Some(ended) => break ended,
                None => self.kills += 1,
            }
            // As at boot, before application units start.
            self.host.ok(&["run", "--recover"]);
            let found = seen(&self.host);
            assert!(found == old_tree || found == new_tree, "a mix:\n{}", differences(&found, &old_tree, &new_tree));
        };
        self.deployments += 1;
        let fails = self.revisions.names[new] == "bad";
        let wanted = if fails { &old_tree } else { &new_tree };
        // A pass that came after the failure only completes the rollback, and does not try the release again.
        let failed_now = ended.out.contains("taken up again, it failed");
        let was_tried_before = fails && ended.out.contains("was tried and failed") && !failed_now;
        let code = if was_tried_before { 3 } else { i32::from(fails) };
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let found = tree(&self.host.at("srv"));
        assert!(found == *wanted, "{}\n{ended:?}", differences(&found, &old_tree, &new_tree));
        assert_eq!(self.host.hook_lines(), self.revisions.lines(self.runs, new), "after {} kills", self.kills);
        let status = self.host.status();
        assert_eq!(status["condition"], if fails { "rolled_back" } else { "good" }, "{status}");
        if fails {
            self.deployments += 1;
        } else {
            self.runs = Some(new);
        }
    }

    /// Checks the record at the end.
    fn check_the_record(&self) {
        self.host.ok(&["history", "--verify"]);
        let history = self.host.history();
        let count = |kind: &str| history.iter().filter(|record| record["kind"] == kind).count();
        assert_eq!((count("deployment_started"), count("deployment_finished")), (self.deployments, self.deployments));
        assert_eq!(count("recovered"), 0, "{history:#?}");
        // No half-made files stay in the state directory either.
        for id in self.host.kept_deployments() {
            let directory = self.host.deployment(&id);
            let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
            let partial = names.iter().any(|name| name.to_string_lossy().ends_with(".partial"));
            assert!(!partial, "{}: {names:?}", directory.display());
        }
    }
}

fn differences(found: &Tree, old: &Tree, new: &Tree) -> String {
    let differs = |wanted: &Tree| {
        let missing = wanted.iter().filter(|(path, _)| !found.contains_key(*path)).map(|(path, _)| path);
        let other = found.iter().filter(|(path, text)| wanted.get(*path) != Some(text)).map(|(path, _)| path);
        format!("missing {:?}\nother {:?}", missing.collect::<Vec<_>>(), other.collect::<Vec<_>>())
    };
    format!("against the old:\n{}\nagainst the new:\n{}", differs(old), differs(new))
}

#[test]
fn killed_at_any_time_the_agent_loses_nothing_and_repeats_nothing() {
    const KILLS: usize = 60;
    let mut dice = Dice::new();
    let mut killed = Killed::new();
    let begun = Instant::now();
    killed.deploy(0, |killed| Some(Ended::of(killed.once())));
    let whole = begun.elapsed();
    let mut order = [1, 2, 0].into_iter().cycle();
    while killed.kills < KILLS {
        killed.deploy(order.next().unwrap(), |killed| {
            let mut running = killed.host.start_command(killed.once());
            let delay = Duration::from_micros(dice.below(u64::try_from(whole.as_micros()).unwrap()));
            // Not a wait for anything: the test varies the moment of the kill.
            std::thread::sleep(delay);
            match running.try_end() {
                Some(_) => Some(running.end()),
                None => {
                    running.kill();
                    None
                }
            }
        });
    }
    eprintln!("{} kills in {} deployments, {whole:?} for one without", killed.kills, killed.deployments);
    killed.check_the_record();
}

/// Kills the command before its n-th system call of these kinds: `None` when it was killed.
pub fn kill_before(command: &Command, strace: &[&str], calls: &str, number: u32) -> Option<Ended> {
    let mut traced = Command::new("strace");
    traced.args(["-qq", "-o", "/dev/null"]).args(strace).args(["-e", &format!("trace={calls}"), "-e"]);
    traced.arg(format!("inject={calls}:signal=KILL:when={number}"));
    traced.arg(command.get_program()).args(command.get_args()).current_dir("/");
    let ended = Ended::of(traced);
    assert!(!ended.err.contains("strace:"), "{ended:?}");
    ended.code.is_some().then_some(ended)
}

/// Whether strace exists, which kills at a chosen system call; prints a reason if not.
pub fn strace_or_skip() -> bool {
    let there = Command::new("strace").arg("-V").output().is_ok();
    if !there {
        skip("there is no strace");
    }
    there
}

/// The thread that owns the state syncs for each state that it persists and for the history. The test kills it before
/// the first sync, before the second, and so on.
#[test]
fn killed_before_every_sync_of_the_ledger_the_outcome_is_the_same() {
    if !strace_or_skip() {
        return;
    }
    let mut killed = Killed::new();
    killed.deploy(0, |killed| Some(Ended::of(killed.once())));
    for (first, revision) in (1..).zip([1, 2, 0, 2].into_iter().cycle()) {
        let before = killed.kills;
        // The same deployment reaches later syncs when it is resumed.
        let mut numbers = (first..).step_by(4);
        killed.deploy(revision, |killed| kill_before(&killed.once(), &[], "fsync,fdatasync", numbers.next().unwrap()));
        if killed.kills == before {
            break;
        }
    }
    eprintln!("{} kills in {} deployments", killed.kills, killed.deployments);
    assert!(killed.kills > 15, "{}", killed.kills);
    killed.check_the_record();
}

/// Kills in the middle of an Install, of its undo, and of the rollback's Install.
#[test]
fn killed_between_the_renames_of_an_install_the_files_are_old_or_new() {
    if !strace_or_skip() {
        return;
    }
    let mut killed = Killed::new();
    killed.deploy(0, |killed| Some(Ended::of(killed.once())));
    for (first, revision) in [(2, 2), (9, 1), (17, 2)] {
        let mut numbers = (first..).step_by(15);
        killed.deploy(revision, |killed| {
            kill_before(&killed.once(), &["-f"], "renameat,renameat2", numbers.next().unwrap())
        });
    }
    eprintln!("{} kills in {} deployments", killed.kills, killed.deployments);
    assert!(killed.kills > 10, "{}", killed.kills);
    killed.check_the_record();
}

/// The next boot finds the good revision whole, before anything starts, and the rollback ends.
#[test]
fn killed_in_a_rollbacks_install_recovery_completes_it_before_the_application_starts() {
    if !strace_or_skip() {
        return;
    }
    let mut met = 0;
    for number in 1.. {
        let host = Host::new();
        let [good, bad] = ["good", "bad"].map(|version| Bundle::new(&host, version).app().all_hooks());
        let (good, bad) = (good.write(), bad.hook("ValidateService", "exit 1").write());
        host.deploy(&good, &[]).with_code(0);
        let before = seen(&host);
        if kill_before(&host.command(&["deploy", bad.to_str().unwrap()]), &["-f"], "renameat,renameat2", number)
            .is_some()
        {
            break;
        }
        let active = host.status()["active"].clone();
        if active["creator"] != "rollback" || active["event"] != "Install" {
            continue;
        }
        met += 1;
        host.clear_hook_lines();
        host.ok(&["run", "--recover"]).saying(&["was completed; the good revision's files are in place"]);
        assert_eq!(seen(&host), before, "killed before rename {number}");
        assert!(host.hook_lines().is_empty(), "recovery runs no scripts");
        host.ok(&["run", "--once"]);
        let status = host.status();
        assert_eq!(status["condition"], "rolled_back", "{status}");
        assert_eq!(seen(&host), before, "killed before rename {number}");
        let after: Vec<String> =
            hook_lines_of(None, "good").into_iter().filter(|line| !line.contains("BeforeInstall")).collect();
        assert_eq!(host.hook_lines(), after);
        host.ok(&["history", "--verify"]);
    }
    // strace counts per thread, so the number of matched renames varies.
    assert!(met > 0, "no kill in a rollback's Install");
}
