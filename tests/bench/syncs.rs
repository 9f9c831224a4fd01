//! How often the disk is asked to sync in a deployment of the tiny bundle, by `strace`.
//!
//! A step of the engine ends with the ledger's sync, which is also what lets the next one begin: what lies between two
//! of them, with the second, is one event's price.

use std::fs;
use std::process::Command;

use crate::deployment::{run_once, tiny_bundle};
use crate::support::{has, measure, memory_directory, publish, verdict};

const MOST: usize = 4;
const CALLS: &str = "trace=fsync,fdatasync,syncfs,sync_file_range,msync,sync";

pub fn run() -> bool {
    if !has("strace") {
        return true;
    }
    let room = memory_directory();
    let [bundle, store, root, log] = ["bundle", "store", "root", "log"].map(|name| room.path().join(name));
    tiny_bundle(&bundle);
    for directory in [&store, &root] {
        fs::create_dir(directory).expect("a directory");
    }
    publish(&bundle, &store);
    let once = run_once(&root, &store);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-qq", "-e", CALLS, "-e", "signal=none", "-o"]).arg(&log);
    measure(traced.arg(once.get_program()).args(once.get_args()).stdout(std::process::Stdio::null()));
    let calls = fs::read_to_string(&log).expect("what strace saw");
    let steps = steps(calls.lines().filter(|line| line.contains('<')));
    for (step, paths) in steps.iter().enumerate() {
        println!("  {step:2}: {} ({})", paths.len(), paths.join(" "));
    }
    let of_hooks = steps.iter().filter(|paths| paths.iter().any(|path| path.contains("hook-runs")));
    let most = of_hooks.map(Vec::len).max().expect("events with hooks");
    let all: usize = steps.iter().map(Vec::len).sum();
    println!("  {all} in all, start and end of the agent included");
    verdict("the most in an event with a hook", most as f64, "syncs", most <= MOST, "4")
}

/// The paths that were synced, short, cut after each sync of the ledger.
fn steps<'a>(calls: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let mut steps = vec![Vec::new()];
    for call in calls {
        let path = call.split('<').nth(1).and_then(|rest| rest.split('>').next()).expect("a path");
        let short = path.rsplit('/').take(2).collect::<Vec<_>>();
        let step: &mut Vec<String> = steps.last_mut().expect("one step");
        step.push(short.into_iter().rev().collect::<Vec<_>>().join("/"));
        if path.ends_with("/ledger") {
            steps.push(Vec::new());
        }
    }
    steps.retain(|step| !step.is_empty());
    steps
}
