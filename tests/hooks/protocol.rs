//! The run directory: at most one execution and one outcome, whatever process dies when.

use std::fs;
use std::time::Duration;

use hostler_core::hook::HookOutcome;
use hostler_host::hooks;

use super::{Bench, await_end, eventually, kill_hard, lives, pid_in, write_script};

const SUCCESS: HookOutcome = HookOutcome::Exited { code: 0 };

/// A script that counts its executions in a file.
const COUNT: &str = "echo x >> $(dirname $0)/count";

fn executions(bench: &Bench) -> usize {
    fs::read_to_string(bench.run.archive.join("count")).map_or(0, |text| text.lines().count())
}

#[test]
fn the_result_is_found_again() {
    let bench = Bench::new(COUNT);
    let first = bench.result();
    assert_eq!(first.outcome, SUCCESS);
    assert_eq!(bench.result(), first);
    assert_eq!(executions(&bench), 1);
}

#[test]
fn many_that_attach_at_once_get_one_outcome() {
    let bench = Bench::new(&format!("{COUNT}; sleep 0.2; exit 3"));
    let attached: Vec<_> = (0..6).map(|_| bench.in_background()).collect();
    let results: Vec<_> = attached.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(results[0].outcome, HookOutcome::Exited { code: 3 });
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    assert_eq!(executions(&bench), 1);
}

#[test]
fn an_agent_that_stops_finds_its_hook_again() {
    let bench = Bench::new(&format!("{COUNT}; while [ ! -e $(dirname $0)/go ]; do sleep 0.02; done; echo late"));
    bench.begin();
    let again = bench.in_background();
    fs::write(bench.run.archive.join("go"), "").unwrap();
    let result = again.join().unwrap();
    assert_eq!((result.outcome, result.tail), (SUCCESS, vec!["[stdout]late".to_owned()]));
    assert_eq!(executions(&bench), 1);
}

#[test]
fn a_hook_begins_while_other_work_has_all_threads_that_may_block() {
    let bench = Bench::new(COUNT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let result = runtime.block_on(async {
        // Like other groups' archives that are being unpacked.
        let unpacking = tokio::task::spawn_blocking(move || held.recv());
        let result = tokio::time::timeout(Duration::from_secs(60), bench.attach()).await;
        drop(release);
        assert!(unpacking.await.unwrap().is_err());
        result
    });
    assert_eq!(result.expect("the hook waits for the thread").outcome, SUCCESS);
    assert_eq!(executions(&bench), 1);
}

/// Not a test by itself: the agent that the next test kills.
#[test]
fn agent_process() {
    let Ok(directory) = std::env::var("HOOKS_TEST_AGENT_DIRECTORY") else { return };
    let directory = std::path::PathBuf::from(directory);
    let run = serde_json::from_slice(&fs::read(directory.join("wanted.json")).unwrap()).unwrap();
    let run_directory = directory.join("run");
    super::block_on(hooks::run(&super::launcher(), super::PROGRAM.as_ref(), &run_directory, &run));
}

#[test]
fn an_agent_that_is_killed_leaves_its_hook_running() {
    let bench = Bench::new(&format!("{COUNT}; while [ ! -e $(dirname $0)/go ]; do sleep 0.02; done; exit 6"));
    let mut agent = bench.agent_process().spawn().unwrap();
    let supervisor = bench.supervisor();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(lives(supervisor));
    let again = bench.in_background();
    fs::write(bench.run.archive.join("go"), "").unwrap();
    assert_eq!(again.join().unwrap().outcome, HookOutcome::Exited { code: 6 });
    assert_eq!(executions(&bench), 1);
}

#[test]
fn a_supervisor_that_is_killed_takes_its_script_along_and_the_hook_is_interrupted() {
    let bench = Bench::new(
        "dir=$(dirname $0); echo $$ > $dir/script; trap '' TERM; sleep 1000 & echo $! > $dir/child; while :; do sleep 0.1; done",
    );
    let waiting = bench.in_background();
    let script = pid_in(&bench.run.archive.join("script"));
    let child = pid_in(&bench.run.archive.join("child"));
    kill_hard(bench.supervisor());
    assert_eq!(waiting.join().unwrap().outcome, HookOutcome::Interrupted);
    await_end(script);
    await_end(child);
    assert_eq!(bench.result().outcome, HookOutcome::Interrupted);
}

#[test]
fn a_supervisor_that_comes_after_the_interruption_changes_nothing() {
    let bench = Bench::new(&format!("{COUNT}; sleep 1000"));
    bench.begin();
    let script = bench.process("script");
    kill_hard(bench.supervisor());
    assert_eq!(bench.result().outcome, HookOutcome::Interrupted);
    await_end(script);
    let executed = executions(&bench);
    let late = std::process::Command::new(super::SUPERVISOR).arg(bench.run_directory()).status();
    assert!(late.unwrap().success());
    assert_eq!(bench.result().outcome, HookOutcome::Interrupted);
    assert_eq!(executions(&bench), executed);
}

#[test]
fn killed_at_any_moment_a_supervisor_never_lets_a_script_run_twice() {
    let mut outcomes = Vec::new();
    for round in 0..24u64 {
        let mut bench = Bench::new(&format!("{COUNT}; sleep 0.01"));
        bench.run.start_seconds = 1;
        // The program records its pid before it becomes the supervisor, which does not leave it here.
        bench.program = bench.path("noted");
        let text = format!(
            "#!/bin/sh\necho $$ > '{}'\nexec '{}' \"$1\" \"$2\"\n",
            bench.path("pid").display(),
            super::PROGRAM
        );
        write_script(&bench.program, &text);
        let waiting = bench.in_background();
        let supervisor = pid_in(&bench.path("pid"));
        // A different moment in each round, from before the supervisor starts until after the script's end.
        std::thread::park_timeout(Duration::from_micros(round * 1200));
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGKILL);
        let outcome = waiting.join().unwrap().outcome;
        let again = bench.result().outcome;
        assert_eq!(again, outcome, "the outcome changed");
        let count = executions(&bench);
        match outcome {
            SUCCESS => assert_eq!(count, 1),
            HookOutcome::Interrupted => assert!(count <= 1, "{count}"),
            HookOutcome::CouldNotStart { .. } => assert_eq!(count, 0),
            other => panic!("{other:?}"),
        }
        outcomes.push(again);
    }
    println!("{outcomes:?}");
    assert!(outcomes.contains(&HookOutcome::Interrupted), "no kill hit the run: {outcomes:?}");
}

#[test]
fn a_launch_without_a_supervisor_is_cancelled_and_a_late_one_obeys() {
    let mut bench = Bench::new(COUNT);
    bench.run.start_seconds = 0;
    bench.program = "/bin/true".into();
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.contains("did not come up in 0 seconds"), "{message}");
    let late = std::process::Command::new(super::SUPERVISOR).arg(bench.run_directory()).status();
    assert!(late.unwrap().success());
    assert_eq!(executions(&bench), 0);
    bench.program = super::PROGRAM.into();
    assert_eq!(bench.result(), result);
    assert_eq!(executions(&bench), 0);
}

#[test]
fn a_program_that_cannot_be_run_is_named() {
    let mut bench = Bench::new(COUNT);
    bench.program = bench.path("none");
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.contains("/none") && message.contains("No such file"), "{message}");
}

#[test]
fn what_a_supervisor_says_before_it_dies_is_passed_on() {
    let mut bench = Bench::new(COUNT);
    bench.run.start_seconds = 1;
    bench.program = bench.path("failing");
    write_script(&bench.program, "#!/bin/sh\necho out of luck >&2\nexit 1\n");
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.ends_with("; it said: out of luck"), "{message}");
}

#[test]
fn a_launch_that_an_agent_did_not_live_to_see_is_cancelled() {
    let bench = Bench::new(COUNT);
    fs::create_dir(bench.run_directory()).unwrap();
    fs::write(bench.run_directory().join("run.json"), serde_json::to_vec(&bench.run).unwrap()).unwrap();
    assert_eq!(bench.result().outcome, HookOutcome::Cancelled);
    let late = std::process::Command::new(super::SUPERVISOR).arg(bench.run_directory()).status();
    assert!(late.unwrap().success());
    assert_eq!(bench.result().outcome, HookOutcome::Cancelled);
    assert_eq!(executions(&bench), 0);
}

#[test]
fn late_supervisors_and_cancelling_agents_race_and_one_wins() {
    for _ in 0..30 {
        let bench = Bench::new(COUNT);
        fs::create_dir(bench.run_directory()).unwrap();
        fs::write(bench.run_directory().join("run.json"), serde_json::to_vec(&bench.run).unwrap()).unwrap();
        let start = || std::process::Command::new(super::SUPERVISOR).arg(bench.run_directory()).spawn().unwrap();
        let mut supervisors = [start(), start()];
        let agents = [bench.in_background(), bench.in_background()];
        let outcomes = agents.map(|agent| agent.join().unwrap().outcome);
        for supervisor in &mut supervisors {
            assert!(supervisor.wait().unwrap().success());
        }
        assert_eq!(outcomes[0], outcomes[1]);
        let wanted = if outcomes[0] == SUCCESS { 1 } else { 0 };
        assert!(wanted == 1 || outcomes[0] == HookOutcome::Cancelled, "{outcomes:?}");
        assert_eq!(executions(&bench), wanted);
    }
}

#[test]
fn bounds_without_end_are_bounds() {
    let mut bench = Bench::new(COUNT);
    (bench.run.timeout_seconds, bench.run.grace_seconds, bench.run.start_seconds) = (u64::MAX, u64::MAX, u64::MAX);
    assert_eq!(bench.result().outcome, SUCCESS);
}

#[test]
fn a_document_of_another_version_is_refused() {
    let mut bench = Bench::new(COUNT);
    bench.run.version = 99;
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.contains("version 99 is not known"), "{message}");
    assert_eq!(executions(&bench), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let bench = Bench::new(COUNT);
    fs::write(bench.run_directory(), "a file").unwrap();
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.contains("/run"), "{message}");
}

#[test]
fn the_run_directory_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new("true");
    bench.result();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.run_directory()), 0o700);
    assert_eq!(mode(&bench.run_directory().join("run.json")), 0o600);
    eventually("the supervisor's end", || if lives(bench.supervisor()) { Err("lives".into()) } else { Ok(()) });
}

#[test]
fn where_there_is_no_room_for_a_result_the_run_fails_at_once_and_says_why() {
    if !super::is_root("mounting a small file system") {
        return;
    }
    let bench = Bench::new("echo never");
    let run = bench.run_directory();
    fs::create_dir(&run).unwrap();
    let mount = |arguments: &[&str]| {
        let done = std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(&run).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    };
    // Enough for the small files, but not for the room reserved for the result.
    mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "hostler-test"]);
    let before = std::time::Instant::now();
    let result = std::panic::catch_unwind(|| bench.result());
    mount(&["umount", "-l"]);
    let HookOutcome::CouldNotStart { message, .. } = result.unwrap().outcome else { panic!("it started") };
    assert!(message.contains("No space left on device"), "{message}");
    assert!(before.elapsed() < Duration::from_secs(15), "{message}");
    assert!(!bench.scripts_log().contains("never"));
}

#[test]
fn a_supervisor_that_cannot_begin_says_why_and_the_wait_ends_at_once() {
    let mut bench = Bench::new("echo never");
    bench.run.redact_values_from = vec![bench.path("")];
    bench.run.secret_file_bytes = 100;
    let before = std::time::Instant::now();
    let HookOutcome::CouldNotStart { message, .. } = bench.result().outcome else { panic!("it started") };
    assert!(message.contains("its output cannot be logged"), "{message}");
    assert!(before.elapsed() < Duration::from_secs(15), "{message}");
}
