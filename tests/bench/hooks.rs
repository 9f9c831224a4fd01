//! The cost of a running hook, and how soon the next agent has it again after a kill.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{hostler_at, memory_directory, output, script, verdict};

const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run() -> bool {
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::new()).collect();
    let least = |value: fn(&Round) -> Duration| rounds.iter().map(value).min().expect("a round").as_secs_f64() * 1e3;
    let kib = |value: fn(&Round) -> u64| rounds.iter().map(value).max().expect("a round") as f64;
    let (beside, alone) = (kib(|round| round.beside_agent_kib), kib(|round| round.alone_kib));
    let (taken, ended) = (least(|round| round.taken_up), least(|round| round.ended));
    verdict("private memory of a supervisor at rest, the agent running", beside, "KiB", beside < 2048.0, "under 2048")
        & verdict("the same, the agent gone", alone, "KiB", alone < 2048.0, "under 2048")
        & verdict("a running hook is taken up again after the agent's start", taken, "ms", taken < 1000.0, "under 1000")
        & verdict("the event ends after its hook", ended, "ms", ended < 1000.0, "under 1000")
}

struct Round {
    beside_agent_kib: u64,
    alone_kib: u64,
    taken_up: Duration,
    ended: Duration,
}

impl Round {
    /// A hook that begins under one agent, which is killed, and ends under the next.
    fn new() -> Self {
        let room = memory_directory();
        let [bundle, root, flag] = ["bundle", "root", "flag"].map(|name| room.path().join(name));
        output(Command::new("mkfifo").arg(&flag));
        script(&bundle.join("wait.sh"), &format!("#!/bin/sh\necho waiting\nread line <{}\n", flag.display()));
        let appspec =
            "version: 0.0\nos: linux\nhooks:\n  ApplicationStart:\n    - location: wait.sh\n      timeout: 600\n";
        fs::write(bundle.join("appspec.yml"), appspec).expect("the appspec");
        let mut deploy = hostler_at(&root, "deploy").arg(&bundle).stdout(Stdio::null()).spawn().expect("hostler");
        let supervisor = supervisor(&root);
        let beside_agent_kib = at_rest_kib(supervisor);
        deploy.kill().expect("the agent");
        deploy.wait().expect("the agent");
        let alone_kib = at_rest_kib(supervisor);

        let start = Instant::now();
        let mut agent = hostler_at(&root, "run").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("hostler");
        let mut said = BufReader::new(agent.stderr.take().expect("its log")).lines();
        let mut until = |agent: &mut Child, text: &str| {
            let line = said.by_ref().map(|line| line.expect("a line")).find(|line| line.contains(text));
            assert!(line.is_some(), "the agent ended without {text:?}: {:?}", agent.wait());
        };
        until(&mut agent, "taken up again");
        let taken_up = start.elapsed();
        let start = Instant::now();
        fs::write(&flag, "go\n").expect("the hook's input");
        until(&mut agent, "deployment succeeded");
        let ended = start.elapsed();
        output(&mut hostler_at(&root, "stop"));
        assert!(agent.wait().expect("the agent").success());
        Self { beside_agent_kib, alone_kib, taken_up, ended }
    }
}

/// The pid of the supervisor of the one hook, once its script has written something.
fn supervisor(root: &Path) -> u32 {
    let state = root.join("var/lib/hostler");
    let begun = Instant::now();
    loop {
        if let Some(run) = find(&state, "processes.json")
            && let Some(log) = find(&state, "scripts.log")
            && fs::read_to_string(&log).is_ok_and(|log| log.contains("waiting"))
        {
            let text = fs::read(&run).expect("the processes");
            let processes: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            return processes["supervisor"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        }
        assert!(begun.elapsed() < PATIENCE, "no hook runs below {}", state.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The first file of this name; `None` while the directory does not exist.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = entries.iter().find(|path| path.file_name().is_some_and(|n| n == name)).cloned();
    here.or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|inner| find(inner, name)))
}

/// The private memory of an idle process: the lowest of several samples.
fn at_rest_kib(pid: u32) -> u64 {
    let begun = Instant::now();
    let mut least = u64::MAX;
    while begun.elapsed() < Duration::from_secs(2) {
        least = least.min(private_kib(pid));
        std::thread::sleep(Duration::from_millis(50));
    }
    least
}

/// Memory that no other process shares.
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the supervisor's memory");
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
