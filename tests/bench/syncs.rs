//! The number of disk syncs in a deployment of the tiny bundle, counted by `strace`.

use std::fs;
use std::process::Command;

use crate::deployment::{run_once, tiny_bundle};
use crate::support::{has, measure, memory_directory, publish, verdict};
use crate::trace::{SYNC_CALLS, steps};

const MOST: usize = 4;

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
    traced.args(["-f", "-y", "-qq", "-e", SYNC_CALLS, "-e", "signal=none", "-o"]).arg(&log);
    measure(traced.arg(once.get_program()).args(once.get_args()).stdout(std::process::Stdio::null()));
    let steps = steps(&fs::read_to_string(&log).expect("what strace saw"));
    for step in &steps {
        println!("  {:20} {} ({})", step.event, step.paths.len(), step.paths.join(" "));
    }
    let all: usize = steps.iter().map(|step| step.paths.len()).sum();
    println!("  {all} in all, start and end of the agent included");
    let most = steps.iter().filter(|step| step.is_event()).map(|step| step.paths.len()).max().expect("an event");
    verdict("the most in a lifecycle event", most as f64, "syncs", most <= MOST, "4")
}
