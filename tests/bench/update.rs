//! A deployment over an older one beside `rsync -a --delete`, and the rollback beside the deployment.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deployment::run_once;
use crate::support::{
    Measured, SMALL_FILES, fastest, has, hostler_at, measure, memory_directory, output, publish, small_files, verdict,
};

const ROUNDS: usize = 7;

pub fn run() -> bool {
    let room = memory_directory();
    let [first, second, older, newer] = ["first", "second", "older", "newer"].map(|name| room.path().join(name));
    for (bundle, store, seed) in [(&first, &older, 1), (&second, &newer, 2)] {
        small_files(bundle, seed);
        fs::create_dir(store).expect("a store");
    }
    publish(&first, &older);
    publish(&first, &newer);
    publish(&second, &newer);
    let (mut install, mut there, mut back, mut rsync) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let root = room.path().join("root");
        fs::create_dir(&root).expect("the root");
        output(&mut run_once(&root, &older));
        let progress = room.path().join("progress");
        let file = fs::File::create(&progress).expect("a file");
        there.push(measure(run_once(&root, &newer).stdout(file)));
        install.push(event(&fs::read_to_string(&progress).expect("progress"), "Install"));
        same(&second, &root);
        back.push(measure(hostler_at(&root, "rollback").stdout(Stdio::null())));
        same(&first, &root);
        fs::remove_dir_all(&root).expect("the root");
        if has("rsync") {
            rsync.push(sync_over(&first, &second, &root));
            fs::remove_dir_all(&root).expect("the root");
        }
    }
    let (install, there, back) = (*install.iter().min().expect("a round"), fastest(&there), fastest(&back));
    println!("  deployment of {SMALL_FILES} files over older ones  {there}");
    println!("  of it the event Install                 {:6.3} s wall", install.as_secs_f64());
    println!("  rollback                                {back}");
    let ratio = there.wall.as_secs_f64() / back.wall.as_secs_f64();
    let mut within = verdict("the way back", ratio, "times as fast", ratio > 1.0, "over 1.0");
    if !rsync.is_empty() {
        let rsync = fastest(&rsync);
        println!("  rsync -a --delete                       {rsync}");
        let ratio = rsync.wall.as_secs_f64() / install.as_secs_f64();
        within &= verdict("Install as fast as rsync", ratio, "times", ratio >= 1.0, "1.0");
    }
    within
}

fn sync_over(first: &Path, second: &Path, root: &Path) -> Measured {
    fs::create_dir(root).expect("the root");
    let target = root.join("app");
    output(Command::new("cp").arg("-a").arg(first.join("app")).arg(&target));
    let from = format!("{}/", second.join("app").display());
    let measured = measure(Command::new("rsync").args(["-a", "--delete", &from]).arg(&target));
    output(Command::new("diff").arg("-rq").arg(second.join("app")).arg(&target));
    measured
}

/// The duration of an event, from the lines that `--json` prints.
fn event(progress: &str, name: &str) -> Duration {
    let mut pieces = progress.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let ended = |piece: &serde_json::Value| piece["progress"] == "event_finished" && piece["event"] == name;
    let piece = pieces.rfind(ended).expect("the event's end");
    Duration::from_millis(piece["milliseconds"].as_u64().expect("a number"))
}

fn same(bundle: &Path, root: &Path) {
    output(Command::new("diff").arg("-rq").arg(bundle.join("app")).arg(root.join("srv/app")));
}
