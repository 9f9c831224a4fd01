//! What is promised at `kill -9`, on full disks and without permissions.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::crash_support::{Bundle, Ended, HOSTLER, Host, Mount, hook_lines_of, root_or_skip, tree, write};

type Tree = BTreeMap<PathBuf, String>;

/// The files as an application sees them: without those that wait beside for a rollback.
fn seen(host: &Host) -> Tree {
    let waits = |path: &Path| path.iter().any(|name| name.to_string_lossy().starts_with(".hostler-"));
    tree(&host.at("srv")).into_iter().filter(|(path, _)| !waits(path)).collect()
}

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    /// The seed of the environment, or a new one, which is printed.
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

/// A revision with enough in it that fetching, unpacking and installing take their time, and with hooks at every event.
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

/// The revisions of the kill tests, as they are in the store, and what each leads to.
struct Revisions {
    /// Two that are good and one that fails when it is started.
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
        // What the files are like when nothing interrupts: another host with the same bundles.
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

/// A host of the kill tests, with the revision that it runs.
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

    /// Releases a revision; `attempt` runs the agent and says whether it came to its end, with the code then.
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
        assert_eq!(ended.code, Some(i32::from(fails)), "{ended:?}");
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

    /// What must be so at the end.
    fn check_the_record(&self) {
        self.host.ok(&["history", "--verify"]);
        let history = self.host.history();
        let count = |kind: &str| history.iter().filter(|record| record["kind"] == kind).count();
        assert_eq!((count("deployment_started"), count("deployment_finished")), (self.deployments, self.deployments));
        assert_eq!(count("recovered"), 0, "{history:#?}");
        // Nothing half-made stays in the state directory either.
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
            // Not a wait for anything: the moment of the kill is what is tried out.
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

/// Kills the agent as it is about to make a system call for the so-and-so-many-th time: `None` when it was killed.
fn kill_before(killed: &Killed, strace: &[&str], calls: &str, number: u32) -> Option<Ended> {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null"]).args(strace).args(["-e", &format!("trace={calls}"), "-e"]);
    command.arg(format!("inject={calls}:signal=KILL:when={number}"));
    command.arg(HOSTLER).args(killed.once().get_args()).current_dir("/");
    let ended = Ended::of(command);
    assert!(!ended.err.contains("strace:"), "{ended:?}");
    ended.code.is_some().then_some(ended)
}

fn strace_or_skip() -> bool {
    let there = Command::new("strace").arg("-V").output().is_ok();
    if !there {
        eprintln!("skipped: there is no strace");
    }
    there
}

/// The thread that owns the state syncs for each state that it persists and for the history. It is killed as it is
/// about to do that for the first time, the second, and so on.
#[test]
fn killed_before_every_sync_of_the_ledger_the_outcome_is_the_same() {
    if !strace_or_skip() {
        return;
    }
    let mut killed = Killed::new();
    killed.deploy(0, |killed| Some(Ended::of(killed.once())));
    for (first, revision) in (1..).zip([1, 2, 0, 2].into_iter().cycle()) {
        let before = killed.kills;
        // Later syncs are met by the same deployment when it is taken up again.
        let mut numbers = (first..).step_by(4);
        killed.deploy(revision, |killed| kill_before(killed, &[], "fsync,fdatasync", numbers.next().unwrap()));
        if killed.kills == before {
            break;
        }
    }
    eprintln!("{} kills in {} deployments", killed.kills, killed.deployments);
    assert!(killed.kills > 15, "{}", killed.kills);
    killed.check_the_record();
}

/// In the middle of an Install, of taking it back, and of the Install of the rollback.
#[test]
fn killed_between_the_renames_of_an_install_the_files_are_old_or_new() {
    if !strace_or_skip() {
        return;
    }
    let mut killed = Killed::new();
    killed.deploy(0, |killed| Some(Ended::of(killed.once())));
    for (first, revision) in [(2, 2), (9, 1), (17, 2)] {
        let mut numbers = (first..).step_by(23);
        killed.deploy(revision, |killed| kill_before(killed, &["-f"], "renameat2", numbers.next().unwrap()));
    }
    eprintln!("{} kills in {} deployments", killed.kills, killed.deployments);
    assert!(killed.kills > 10, "{}", killed.kills);
    killed.check_the_record();
}

/// The boot that follows finds the good revision whole, before anything starts, and the rollback goes on to its end.
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
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-f", "-e", "trace=renameat2", "-e"]);
        command.arg(format!("inject=renameat2:signal=KILL:when={number}"));
        let deploy = host.command(&["deploy", bad.to_str().unwrap()]);
        command.arg(HOSTLER).args(deploy.get_args()).current_dir("/");
        if Ended::of(command).code.is_some() {
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
    assert!(met > 3, "{met} kills in a rollback's Install");
}

/// Whether it ended well or said that there is no space, and where.
fn full_or_fine(ended: &Ended, places: &[&Path]) -> bool {
    match ended.code {
        Some(0) => true,
        Some(1) => {
            let said = format!("{}{}", ended.out, ended.err);
            let space = ["no space left", "(no_space)"].iter().any(|text| said.to_lowercase().contains(text));
            assert!(space, "no word of space: {ended:?}");
            let place = places.iter().any(|place| said.contains(place.to_str().unwrap()));
            assert!(place, "no place is named: {ended:?}");
            false
        }
        _ => panic!("{ended:?}"),
    }
}

#[test]
fn a_full_state_directory_fails_deployments_and_loses_nothing() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.state(), 12 << 20) else { return };
    let mut dice = Dice::new();
    let random = |dice: &mut Dice, version: &str| {
        Bundle::new(&host, version).app().content("app/large", dice.bytes(300_000)).all_hooks().write()
    };
    let bundles = [random(&mut dice, "a"), random(&mut dice, "b")];
    host.deploy(&bundles[0], &[]).with_code(0);
    let mut deployments = 1;
    let mut failed = 0;
    for (round, free) in [0, 4 << 10, 40 << 10, 200 << 10, 340 << 10, 360 << 10, 500 << 10].into_iter().enumerate() {
        let new = &bundles[(round + 1) % 2];
        let old_tree = seen(&host);
        let filler = disk.leave_free(free);
        let ended = host.deploy(new, &[]);
        let fine = full_or_fine(&ended, &[&host.state()]);
        deployments += 1;
        if !fine {
            failed += 1;
            let status = host.status();
            assert!(status["active"].is_null(), "{status}");
            assert!(["failed", "rolled_back"].contains(&status["condition"].as_str().unwrap()), "{status}");
            let reason = status["last"]["failure"].to_string() + &status["failed"]["failure"].to_string();
            assert!(reason.to_lowercase().contains("no space left"), "{status}");
        }
        fs::remove_file(filler).unwrap();
        if !fine && host.status()["condition"] != "failed" {
            assert_eq!(seen(&host), old_tree, "{free} bytes free: {ended:?}");
        }
        let reported = host.history();
        deployments = deployments.max(reported.iter().filter(|r| r["kind"] == "deployment_started").count());
        host.deploy(new, &[]).with_code(0);
        deployments += 1;
        assert_eq!(fs::read(host.at("srv/app/large")).unwrap(), fs::read(new.join("app/large")).unwrap());
        host.ok(&["history", "--verify"]);
    }
    assert!(failed >= 3, "the disk was not full often enough: {failed}");
    let history = host.history();
    let count = |kind: &str| history.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("deployment_started"), count("deployment_finished")), (deployments, deployments));
}

#[test]
fn a_full_destination_fails_the_deployment_and_the_old_files_stay() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.at("srv"), 4 << 20) else { return };
    let mut dice = Dice::new();
    let random = |dice: &mut Dice, version: &str| {
        let mut bundle = Bundle::new(&host, version).app().content("app/large", dice.bytes(300_000));
        for number in 0..20 {
            bundle = bundle.content(&format!("app/small/{version}-{number}"), dice.bytes(5000));
        }
        bundle.all_hooks().write()
    };
    let bundles = [random(&mut dice, "a"), random(&mut dice, "b")];
    host.deploy(&bundles[0], &[]).with_code(0);
    let mut failed = 0;
    for free in [0, 4 << 10, 64 << 10, 300 << 10, 400 << 10, 460 << 10, 600 << 10] {
        let old = tree(&host.at("srv/app"));
        let filler = disk.leave_free(free);
        let ended = host.deploy(&bundles[1], &[]);
        if full_or_fine(&ended, &[Path::new("/srv"), &host.at("srv")]) {
            host.deploy(&bundles[0], &[]).with_code(0);
        } else {
            failed += 1;
            assert_eq!(tree(&host.at("srv/app")), old, "{free} bytes free: {ended:?}");
        }
        fs::remove_file(filler).unwrap();
    }
    assert!(failed >= 4, "{failed}");
    host.deploy(&bundles[1], &[]).with_code(0);
    assert_eq!(fs::read(host.at("srv/app/large")).unwrap(), fs::read(bundles[1].join("app/large")).unwrap());
    host.ok(&["history", "--verify"]);
}

/// The destination gets full while the files are put in place: what was known before was right.
#[test]
fn a_destination_that_fills_up_before_install_is_noticed_and_undone() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.at("srv"), 4 << 20) else { return };
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    let old = tree(&host.at("srv/app"));
    host.clear_hook_lines();
    let fill = format!("cat /dev/zero > {} 2>/dev/null || true", host.at("srv/filler").display());
    let new = Bundle::new(&host, "v2").app().content("app/large", [7; 100_000]).hook("BeforeInstall", &fill);
    let ended = host.deploy(&new.all_hooks().write(), &[]).with_code(1).saying(&["Install failed"]);
    assert!(!full_or_fine(&ended, &[Path::new("/srv"), &host.at("srv")]));
    assert!(disk.free() < 4096);
    assert_eq!(tree(&host.at("srv/app")), old);
    assert_eq!(host.status()["condition"], "rolled_back");
    let back = hook_lines_of(None, "v1").split_off(2);
    assert_eq!(host.hook_lines(), [hook_lines_of(Some("v1"), "v2")[..4].to_vec(), back].concat());
}

#[test]
fn a_ledger_that_cannot_be_written_stops_the_agent_before_it_does_anything() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    let next = Bundle::new(&host, "v2").app().all_hooks().write();
    // The second slot lies behind what this process may write.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$@\"", "sh", HOSTLER, "deploy"]).arg(&next);
    limited.args(["--application", "shop", "--group", "web", "--root"]).arg(host.root());
    let ended = Ended::of(limited).with_code(1);
    let ledger = host.state().join("ledger");
    let ended = ended.saying(&["error: cannot write", ledger.to_str().unwrap(), "File too large"]);
    assert!(!ended.err.contains("panicked"), "{ended:?}");
    assert_eq!(host.hook_lines(), Vec::<String>::new());
    // What was accepted goes on at the next start; what was not did not happen.
    host.ok(&["run", "--once"]);
    host.deploy(&next, &[]).with_code(0);
    let expected = hook_lines_of(Some("v1"), "v2");
    assert!(host.hook_lines().starts_with(&expected), "{:?}", host.hook_lines());
    host.ok(&["history", "--verify"]);
}

/// A host that is used by a user who is not root, or `None` with a printed reason.
fn plain_user() -> Option<Host> {
    let host = Host::new();
    if !nix::unistd::Uid::effective().is_root() {
        return Some(host);
    }
    let host = host.used_by(65534);
    if host.command(&["--version"]).output().is_err() {
        eprintln!("skipped: another user cannot run {HOSTLER}");
        return None;
    }
    Some(host)
}

fn closed(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
}

/// A directory of the host's user.
fn owned(path: &Path) {
    fs::create_dir_all(path).unwrap();
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

#[test]
fn a_state_directory_of_somebody_else_is_named() {
    let Some(host) = plain_user() else { return };
    closed(&host.at("var/lib"));
    let bundle = Bundle::new(&host, "v1").app().write();
    for arguments in [vec!["deploy", bundle.to_str().unwrap()], vec!["run", "--once"], vec!["run"]] {
        let ended = host.run(&arguments).with_code(1);
        ended.saying(&["error: cannot", host.state().to_str().unwrap(), "Permission denied"]);
    }
    assert!(!host.at("srv").exists());
}

#[test]
fn a_destination_that_is_not_writable_is_named_and_nothing_is_touched() {
    let Some(host) = plain_user() else { return };
    for directory in ["state", "root/run/hostler"] {
        owned(&host.path(directory));
    }
    closed(&host.at("srv"));
    owned(&host.at("opt"));
    let state = host.path("state");
    let bundle = Bundle::new(&host, "v1").content("y", "y").files("y", "/opt").app().write();
    let ended = host.deploy(&bundle, &["--state-dir", state.to_str().unwrap()]).with_code(1);
    ended.saying(&["may not write in /srv", "user "]);
    assert_eq!(tree(&host.at("srv")), Tree::new());
    assert_eq!(tree(&host.at("opt")), Tree::new(), "half of it is there");
}

#[test]
fn a_socket_directory_of_somebody_else_is_named() {
    let Some(host) = plain_user() else { return };
    owned(&host.at("var/lib/hostler"));
    closed(&host.at("run/hostler"));
    let ended = host.run(&["run", "--once"]).with_code(1);
    ended.saying(&["cannot listen on", host.at("run/hostler/hostler.sock").to_str().unwrap(), "Permission denied"]);
}

#[test]
fn what_root_keeps_is_not_shown_to_others_as_nothing() {
    if !root_or_skip("a state of root's") {
        return;
    }
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let host = host.used_by(65534);
    if host.command(&["--version"]).output().is_err() {
        eprintln!("skipped: another user cannot run {HOSTLER}");
        return;
    }
    for arguments in [&["status"][..], &["history"], &["logs"]] {
        host.run(arguments).with_code(1).saying(&["Permission denied", host.state().to_str().unwrap()]);
    }
    write(&host.path("bundle-v1/app/version"), "changed\n");
    let bundle = host.path("bundle-v1");
    host.deploy(&bundle, &[]).with_code(1).saying(&["Permission denied", host.state().to_str().unwrap()]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}
