//! The deadline and the request to end: no process escapes, and nothing holds up the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hostler_core::hook::{HookOutcome, HookResult};

use super::{Bench, await_end, eventually, is_root, lives, pid_in};

/// Runs a script with a deadline of one second, and checks that it ended within the deadline and its grace.
fn timed_out(bench: &mut Bench, grace: u64) -> (Vec<String>, HookResult) {
    bench.run.timeout_seconds = 1;
    bench.run.grace_seconds = grace;
    let before = Instant::now();
    let result = bench.result();
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(990), "{took:?}: {result:?}");
    // Generous, because the machine may be busy; without enforcement it would take forever.
    assert!(took < Duration::from_secs(1 + grace + 15), "{took:?}");
    let HookOutcome::TimedOut { killed } = &result.outcome else { panic!("{result:?}") };
    (killed.clone(), result)
}

fn pids_in(directory: &Path) -> Vec<i32> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_script_that_obeys_is_not_killed() {
    let mut bench = Bench::new("trap 'echo cleaning; exit 0' TERM; echo ready; sleep 1000 & wait");
    let (killed, result) = timed_out(&mut bench, 20);
    assert_eq!(killed, Vec::<String>::new());
    assert_eq!(result.tail, ["[stdout]ready", "[stdout]cleaning"]);
    assert_eq!(bench.entries().last().unwrap(), "[hostler]timed out, after 1 seconds");
}

#[test]
fn a_script_that_ignores_sigterm_is_killed_and_named() {
    let mut bench = Bench::new("trap '' TERM; echo $$ > $(dirname $0)/pid; while :; do sleep 0.2; done");
    let (killed, _) = timed_out(&mut bench, 1);
    let pid = pid_in(&bench.run.archive.join("pid"));
    assert!(killed.contains(&format!("{pid} hook.sh")), "{killed:?}");
    assert!(!lives(pid));
}

#[test]
fn a_supervisor_that_is_stopped_does_not_hold_the_agent_for_ever() {
    let mut bench = Bench::new("echo $$ > $(dirname $0)/pid; kill -STOP $PPID; sleep 1000");
    bench.run.overdue_seconds = 1;
    let (killed, result) = timed_out(&mut bench, 1);
    // Stopped in the script's first moment, before the supervisor has recorded its child, or later.
    let (script, supervisor) = (pid_in(&bench.run.archive.join("pid")), bench.supervisor());
    assert!(killed.contains(&format!("{supervisor} (its supervisor, which did not keep the deadline)")), "{killed:?}");
    assert!(killed.contains(&format!("{script} hook.sh")), "{killed:?}");
    await_end(script);
    await_end(supervisor);
    assert_eq!(bench.result(), result, "it is found again");
}

#[test]
fn daemons_that_the_script_made_do_not_get_away() {
    // The inner shell forks twice, in its own session, ignores SIGTERM and closes its outputs.
    let mut bench = Bench::new(
        "dir=$(dirname $0)\n\
         setsid sh -c 'trap \"\" TERM; (sh -c \"echo \\$\\$ > '$dir'/pid; while :; do sleep 0.2; done\" &) &' \
         </dev/null >/dev/null 2>&1 &\n\
         sleep 1000",
    );
    let (killed, _) = timed_out(&mut bench, 1);
    let pid = pid_in(&bench.run.archive.join("pid"));
    assert!(killed.contains(&format!("{pid} sh")), "{killed:?}");
    assert!(!lives(pid));
}

#[test]
fn a_script_that_stopped_itself_hears_sigterm() {
    let mut bench = Bench::new("trap 'echo heard; exit 1' TERM; kill -STOP $$; sleep 1000");
    let (killed, result) = timed_out(&mut bench, 20);
    assert_eq!(killed, Vec::<String>::new());
    assert_eq!(result.tail, ["[stdout]heard"]);
}

#[test]
fn a_script_that_stops_itself_again_is_killed() {
    let mut bench = Bench::new("trap 'kill -STOP $$' TERM CONT; kill -STOP $$; sleep 1000");
    let (killed, _) = timed_out(&mut bench, 1);
    assert!(killed.iter().any(|process| process.ends_with(" hook.sh")), "{killed:?}");
}

#[test]
fn a_script_that_floods_or_closes_its_outputs_is_ended() {
    for script in ["trap '' TERM; yes", "trap '' TERM; exec >&- 2>&-; sleep 1000; sleep 1000"] {
        let mut bench = Bench::new(script);
        bench.run.log_bytes = 1000;
        timed_out(&mut bench, 1);
    }
}

/// Makes a file when dropped. The chains end once the file exists, or their directory does not.
struct End(PathBuf);

impl Drop for End {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "");
    }
}

#[test]
fn a_script_that_forks_without_end_is_ended() {
    // Each generation starts a new session, ignores SIGTERM and starts the next before it ends; eight at a time.
    let mut bench = Bench::new(
        "trap '' TERM\n\
         export dir=$(dirname $0)/pids; mkdir $dir\n\
         export next='echo > $dir/$$; [ -d $dir -a ! -e $dir/../end ] && setsid sh -c \"$next\" & sleep 0.01'\n\
         for n in 1 2 3 4 5 6 7 8; do setsid sh -c \"$next\" & done\n\
         sleep 1000",
    );
    // Also if this test fails: an endless storm of processes takes the machine.
    let _end = End(bench.run.archive.join("end"));
    timed_out(&mut bench, 0);
    let pids = bench.run.archive.join("pids");
    let seen = pids_in(&pids);
    assert!(seen.len() > 20, "it did not fork: {seen:?}");
    // Other processes may reuse the numbers; but there must be no new ones.
    let before = pids_in(&pids).len();
    let living = || {
        fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let environment = fs::read(path.join("environ")).ok()?;
            let marked = format!("dir={}", pids.display());
            environment.split(|b| *b == 0).any(|variable| variable == marked.as_bytes()).then_some(path)
        })
    };
    assert_eq!(living().count(), 0, "{:?}", living().collect::<Vec<_>>());
    assert_eq!(pids_in(&pids).len(), before);
}

#[test]
fn a_script_of_another_user_is_ended() {
    if !is_root("running as another user") {
        return;
    }
    let mut bench = Bench::new("trap '' TERM; setsid sleep 1000 & sleep 1000; sleep 1000");
    bench.run.user = Some("daemon".into());
    let (killed, _) = timed_out(&mut bench, 1);
    assert!(killed.iter().any(|process| process.ends_with(" hook.sh")), "{killed:?}");
}

#[test]
fn a_background_child_after_the_scripts_end_outlives_the_deadline() {
    let mut bench = Bench::new("sleep 1000 & echo $! > $(dirname $0)/child");
    bench.run.timeout_seconds = 1;
    assert_eq!(bench.result().outcome, HookOutcome::Exited { code: 0 });
    let child = pid_in(&bench.run.archive.join("child"));
    let since = Instant::now();
    eventually("the deadline", || {
        assert!(lives(child), "the child of a finished hook was ended");
        if since.elapsed() > Duration::from_millis(1500) { Ok(()) } else { Err("not yet".into()) }
    });
    super::kill_hard(child);
    await_end(bench.supervisor());
}

#[test]
fn a_request_ends_what_runs() {
    // The child gets the signal only once it runs its own program: a shell that has just forked may take the signal for
    // the trap that it inherited, and lose it.
    let bench =
        Bench::new("trap 'echo asked; exit 9' TERM; sh -c 'echo $$ > '$(dirname $0)'/child; exec sleep 1000' & wait");
    bench.begin();
    pid_in(&bench.run.archive.join("child"));
    hostler_host::hooks::cancel(&bench.run_directory()).unwrap();
    let result = bench.result();
    assert_eq!(result.outcome, HookOutcome::Aborted { killed: Vec::new() });
    assert_eq!(result.tail, ["[stdout]asked"]);
}

#[test]
fn a_request_before_the_start_prevents_it() {
    let bench = Bench::new("touch $(dirname $0)/ran");
    fs::create_dir(bench.run_directory()).unwrap();
    hostler_host::hooks::cancel(&bench.run_directory()).unwrap();
    assert_eq!(bench.result().outcome, HookOutcome::Cancelled);
    assert!(!bench.run.archive.join("ran").exists());
}

#[test]
fn a_supervisor_that_is_stopped_ends_its_script() {
    let bench = Bench::new("echo $$ > $(dirname $0)/pid; sleep 1000");
    bench.begin();
    let pid = pid_in(&bench.run.archive.join("pid"));
    let supervisor = nix::unistd::Pid::from_raw(bench.supervisor());
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(bench.result().outcome, HookOutcome::Interrupted);
    assert!(!lives(pid));
}

#[test]
fn a_signal_that_ends_the_script_is_its_outcome() {
    assert_eq!(Bench::new("kill -9 $$").result().outcome, HookOutcome::Signaled { signal: 9 });
}
