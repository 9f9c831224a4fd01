//! Whole deployments by `hostler run --once`, from a directory channel into a scratch root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{
    self, Measured, fastest, has, hostler_at, measure, memory_directory, output, publish, script, verdict,
};

const ROUNDS: usize = 7;
const PEAK_KIB: i64 = 32 << 10;

/// The events with hooks in the tiny bundle; they run in a first deployment.
pub const TINY_EVENTS: [&str; 5] =
    ["BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService", "AfterAllowTraffic"];

/// A file and five hooks that do nothing.
pub fn tiny_bundle(bundle: &Path) -> PathBuf {
    let mut appspec =
        "version: 0.0\nos: linux\nfiles:\n  - source: page.html\n    destination: /srv/tiny\nhooks:\n".to_owned();
    for event in TINY_EVENTS {
        script(&bundle.join(format!("hooks/{event}.sh")), "#!/bin/sh\nexit 0\n");
        appspec.push_str(&format!("  {event}:\n    - location: hooks/{event}.sh\n      timeout: 30\n"));
    }
    fs::write(bundle.join("page.html"), "hello\n").expect("a file");
    fs::write(bundle.join("appspec.yml"), appspec).expect("the appspec");
    bundle.join("hooks")
}

/// `hostler run --once` on a host without anything yet.
pub fn run_once(root: &Path, store: &Path) -> Command {
    let mut command = hostler_at(root, "run");
    command.args(["--once", "--instance-id", "i-figures", "--json", "--channel"]).arg(store);
    command.stdout(std::process::Stdio::null());
    command
}

/// The agent's own time around five trivial hooks.
pub fn tiny() -> bool {
    let room = memory_directory();
    let [bundle, store, root] = ["bundle", "store", "root"].map(|name| room.path().join(name));
    let hooks = tiny_bundle(&bundle);
    fs::create_dir(&store).expect("the store");
    publish(&bundle, &store);
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fs::create_dir(&root).expect("the root");
        ours.push(measure(&mut run_once(&root, &store)));
        let ran = output(Command::new("find").arg(&root).args(["-name", "result.json"])).lines().count();
        assert_eq!(ran, TINY_EVENTS.len(), "hooks that ran");
        fs::remove_dir_all(&root).expect("the root");
        alone.push(TINY_EVENTS.map(|event| measure(&mut Command::new(hooks.join(format!("{event}.sh")))).wall));
    }
    let ours = fastest(&ours);
    let hooks = alone.iter().map(|scripts| scripts.iter().sum::<Duration>()).min().expect("a round");
    let beyond = (ours.wall.saturating_sub(hooks)).as_secs_f64() * 1e3;
    println!("  run --once, five trivial hooks  {ours}");
    println!("  the five hooks alone            {:6.3} s wall", hooks.as_secs_f64());
    let quick = verdict("the agent beyond the hooks", beyond, "ms", beyond < 100.0, "under 100");
    quick & peak(&[ours])
}

/// Five thousand small files beside `tar -xzf` and `cp -a`.
pub fn small_files() -> bool {
    let room = memory_directory();
    let [bundle, store, root, peer] = ["bundle", "store", "root", "peer"].map(|name| room.path().join(name));
    support::small_files(&bundle, 1);
    fs::create_dir(&store).expect("the store");
    publish(&bundle, &store);
    if !has("tar") {
        return true;
    }
    let packed = room.path().join("bundle.tgz");
    output(Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&bundle).arg("."));
    fs::remove_dir_all(&bundle).expect("the bundle");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fs::create_dir(&root).expect("the root");
        ours.push(measure(&mut run_once(&root, &store)));
        assert!(root.join("srv/app/lib-99/module-4999.js").exists(), "the last file");
        fs::remove_dir_all(&root).expect("the root");
        fs::create_dir_all(peer.join("unpacked")).expect("a directory for tar");
        let both = "tar -xzf \"$1\" -C unpacked && cp -a unpacked/app installed";
        theirs.push(measure(Command::new("sh").args(["-c", both, "sh"]).arg(&packed).current_dir(&peer)));
        fs::remove_dir_all(&peer).expect("the peer's result");
    }
    let (fast, peer) = (fastest(&ours), fastest(&theirs));
    println!("  run --once, {} files  {fast}", support::SMALL_FILES);
    println!("  tar -xzf, cp -a       {peer}");
    let ratio = peer.wall.as_secs_f64() / fast.wall.as_secs_f64();
    verdict("as fast as tar and cp", ratio, "times", ratio >= 1.0, "1.0") & peak(&ours)
}

fn peak(runs: &[Measured]) -> bool {
    let kib = runs.iter().map(|run| run.peak_kib).max().unwrap_or(0);
    verdict("peak memory", kib as f64 / 1024.0, "MiB", kib < PEAK_KIB, "under 32")
}
