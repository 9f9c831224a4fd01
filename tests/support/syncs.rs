//! How often a traced run syncs the disk, by lifecycle event. Used by the tests and by the figures.
//!
//! Each of the engine's steps ends with the ledger's sync, which also lets the next step begin: all syncs after one of
//! them, up to and including the next, are one step's cost. An event with one script is one step.

/// Every call that waits for the disk.
pub const SYNC_CALLS: &str = "trace=fsync,fdatasync,syncfs,sync_file_range,msync,sync";

/// One step of the engine.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The lifecycle event, or `start` and `end` of the agent or a deployment.
    pub event: String,
    /// The synced files: the last two names of each path.
    pub paths: Vec<String>,
}

impl Step {
    /// Whether it is a lifecycle event.
    pub fn is_event(&self) -> bool {
        !["start", "end"].contains(&self.event.as_str())
    }
}

/// The steps in the output of `strace -f -y -e SYNC_CALLS`.
pub fn steps(trace: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut whole: Vec<&str> = Vec::new();
    // If other calls interrupt a call, it has a second line without arguments.
    for call in trace.lines().filter(|line| line.contains("sync") && !line.contains(" resumed>")) {
        let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("all", |(path, _)| path);
        whole.push(path);
        if path.ends_with("/ledger") {
            steps.push(step(&std::mem::take(&mut whole), steps.is_empty()));
        }
    }
    if !whole.is_empty() {
        steps.push(step(&whole, steps.is_empty()));
    }
    steps
}

fn step(paths: &[&str], first: bool) -> Step {
    let script = paths.iter().find_map(|path| path.split_once("/hook-runs/"));
    let hook = script.and_then(|(_, run)| run.split('-').next()).filter(|event| !event.is_empty());
    let below = |part: &str| paths.iter().any(|path| path.contains(part));
    let event = if let Some(hook) = hook {
        hook
    } else if below("/install.staging.json") {
        "Install"
    } else if paths.iter().any(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("d-"))) {
        "DownloadBundle"
    } else if first {
        "start"
    } else {
        "end"
    };
    let short = |path: &&str| {
        let last: Vec<_> = path.rsplit('/').take(2).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("/")
    };
    Step { event: event.to_owned(), paths: paths.iter().map(short).collect() }
}
