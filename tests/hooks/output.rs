//! The logged output, and that logging delays nothing.

use std::fs;
use std::time::{Duration, Instant, UNIX_EPOCH};

use hostler_core::hook::HookOutcome;
use hostler_core::ids::Sha256Digest;

use super::{Bench, await_end, eventually, is_root, lives, pid_in};
use crate::support::skip;

const SUCCESS: HookOutcome = HookOutcome::Exited { code: 0 };

fn is_time(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| if p == '0' { c.is_ascii_digit() } else { c == p })
}

#[test]
fn lines_are_logged_as_the_codedeploy_agent_does() {
    let bench = Bench::new("echo one; printf ' two \\n\\nno newline'");
    let result = bench.result();
    assert_eq!(result.outcome, SUCCESS);
    let wanted = [
        "LifecycleEvent - AfterInstall",
        "Script - hook.sh",
        "[stdout]one",
        "[stdout] two ",
        "[stdout]",
        "[stdout]no newline",
    ];
    assert_eq!(bench.entries(), wanted);
    for line in bench.scripts_log().lines() {
        assert!(is_time(&line[..20], "0000-00-00 00:00:00 "), "{line}");
    }
    let deployments = fs::read_to_string(bench.path("deployments.log")).unwrap();
    for (line, wanted) in deployments.lines().zip(wanted) {
        assert!(is_time(&line[..25], "[0000-00-00 00:00:00.000]"), "{line}");
        assert_eq!(&line[25..], format!(" [d-ABCDEFGHI]{}", wanted.trim()));
    }
    assert_eq!(result.tail, wanted[2..]);
    assert_eq!((result.output_bytes, result.dropped_lines), (21, 0));
    let digest = Sha256Digest::of(b"[stdout]one\n[stdout] two \n[stdout]\n[stdout]no newline\n");
    assert_eq!(result.output_digest, Some(digest));
    assert!(result.started_ms > 1_700_000_000_000 && result.finished_ms >= result.started_ms, "{result:?}");
}

#[test]
fn the_event_is_named_once_and_both_streams_are_marked() {
    let mut bench = Bench::new("echo out; echo err >&2; exit 7");
    bench.run.first_of_event = false;
    bench.run.deployments_log = None;
    assert_eq!(bench.result().outcome, HookOutcome::Exited { code: 7 });
    let mut entries = bench.entries();
    entries.sort();
    assert_eq!(entries, ["Script - hook.sh", "[stderr]err", "[stdout]out"]);
    assert!(!bench.path("deployments.log").exists());
}

#[test]
fn escapes_bad_bytes_and_long_lines_do_not_reach_the_log() {
    let mut bench = Bench::new(
        r"printf '\033[31mred\033[0m\n'; printf '\377\n'; head -c 5000 /dev/zero | tr '\0' x; echo; echo end",
    );
    bench.run.line_bytes = 100;
    assert_eq!(bench.result().outcome, SUCCESS);
    let cut = format!("{} [cut: 4900 more bytes]", "x".repeat(100));
    assert_eq!(bench.stdout(), ["red", "\u{fffd}", &cut, "end"]);
}

#[test]
fn a_flood_is_bounded_counted_and_holds_nothing_up() {
    let mut bench = Bench::new("seq 1 2000000; echo last >&2");
    bench.run.log_bytes = 10_000;
    let result = bench.result();
    assert_eq!(result.outcome, SUCCESS);
    assert_eq!(result.output_bytes, 14_888_896 + 5);
    assert!(result.dropped_lines > 1_990_000, "{result:?}");
    assert!(fs::metadata(&bench.run.scripts_log).unwrap().len() < 40_000);
    assert!(result.tail.contains(&"[stdout]2000000".to_owned()), "the last lines are kept: {result:?}");
    let note = format!("[hostler]{} lines were dropped: more output than is logged", result.dropped_lines);
    assert_eq!(bench.entries().last(), Some(&note));
}

#[test]
fn the_rate_is_bounded() {
    let mut bench = Bench::new("seq 1 100000");
    bench.run.log_bytes_per_second = 1000;
    let result = bench.result();
    assert_eq!(result.outcome, SUCCESS);
    let logged = bench.stdout().len() as u64;
    assert!(logged >= 200 && result.dropped_lines > 90_000, "{logged} {result:?}");
    assert_eq!(logged + result.dropped_lines, 100_000);
}

#[test]
fn output_within_the_bounds_is_complete() {
    let bench = Bench::new("seq 1 200000 & seq 200001 400000 >&2; wait");
    let result = bench.result();
    assert_eq!((result.outcome, result.dropped_lines), (SUCCESS, 0));
    let wanted: Vec<String> = (1..=200_000).map(|n| n.to_string()).collect();
    assert!(bench.stdout() == wanted, "lines are missing or out of order");
}

#[test]
fn a_log_that_hangs_does_not_hold_the_script() {
    let mut bench = Bench::new("seq 1 200000");
    bench.run.scripts_log = bench.path("fifo");
    bench.run.deployments_log = None;
    // The pipe has no reader: opening it hangs.
    nix::unistd::mkfifo(&bench.run.scripts_log, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = Instant::now();
    let result = bench.result();
    assert_eq!(result.outcome, SUCCESS);
    assert!(result.dropped_lines > 100_000, "{result:?}");
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
}

#[test]
fn a_full_disk_costs_lines_and_no_outcome() {
    if !is_root("mounting a small file system") {
        return;
    }
    let mut bench = Bench::new("seq 1 300000; exit 4");
    let small = bench.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip("a tmpfs cannot be mounted here");
        return;
    }
    bench.run.scripts_log = small.join("scripts.log");
    bench.run.deployments_log = None;
    let run = small.join("run");
    let result = super::block_on(hostler_host::hooks::run(&super::launcher(), &bench.program, &run, &bench.run));
    let free = nix::sys::statvfs::statvfs(&small).unwrap().blocks_free();
    nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).unwrap();
    // The room reserved for the result is given back.
    assert!(free <= 32, "the disk was not full: {free} blocks");
    assert_eq!(result.outcome, HookOutcome::Exited { code: 4 });
    assert!(result.dropped_lines > 100_000, "{result:?}");
    assert_eq!(result.tail.last().map(String::as_str), Some("[stdout]300000"));
}

/// The shortest time between a script's last output, which is a time stamp, and its result, over several runs: at least
/// one of them found the machine free.
fn least_wait_for_the_result(script: &str) -> Duration {
    let one = || {
        let bench = Bench::new(&format!("{script}\ndate +%s.%N"));
        let result = bench.result();
        assert_eq!(result.outcome, SUCCESS);
        let written = fs::metadata(bench.run_directory().join("result.json")).unwrap().modified().unwrap();
        let said = result.tail.iter().find_map(|line| line.strip_prefix("[stdout]")?.parse::<f64>().ok()).unwrap();
        if let Ok(child) = fs::read_to_string(bench.run.archive.join("child")) {
            super::kill_hard(child.trim().parse().unwrap());
        }
        await_end(bench.supervisor());
        written.duration_since(UNIX_EPOCH).unwrap().saturating_sub(Duration::from_secs_f64(said))
    };
    (0..5).map(|_| one()).min().unwrap()
}

#[test]
fn the_last_words_of_a_script_whose_output_goes_through_a_process_are_in_the_result() {
    for _ in 0..25 {
        let log = tempfile::NamedTempFile::new().unwrap();
        let script =
            format!("exec > >(sleep 0.01; tee -a {}) 2>&1\necho FATAL: reason\nexit 3\n", log.path().display());
        let bench = Bench::raw(&format!("#!/bin/bash\n{script}"));
        let result = bench.result();
        assert_eq!(result.outcome, HookOutcome::Exited { code: 3 });
        assert_eq!(result.tail, ["[stdout]FATAL: reason"]);
        assert!(result.finished_ms >= result.started_ms);
    }
}

#[test]
fn only_a_child_that_keeps_the_outputs_is_waited_for_and_that_for_a_moment() {
    let none = least_wait_for_the_result("sleep 1000 > /dev/null 2>&1 & echo $! > $(dirname $0)/child");
    assert!(none < Duration::from_millis(400), "{none:?}");
    let stays = least_wait_for_the_result("sleep 1000 & echo $! > $(dirname $0)/child");
    assert!((490..2000).contains(&stays.as_millis()), "{stays:?}");
}

#[test]
fn a_background_child_does_not_hold_the_event_and_is_logged_until_it_ends() {
    let bench = Bench::new(
        "dir=$(dirname $0)\n\
         (echo $BASHPID; while [ ! -e $dir/go ]; do sleep 0.05; done; echo later) & echo $! > $dir/child\n\
         echo now; exit 0",
    );
    let before = Instant::now();
    let result = bench.result();
    assert_eq!(result.outcome, SUCCESS);
    assert!(before.elapsed() < Duration::from_secs(20));
    assert!(bench.stdout().contains(&"now".to_owned()));
    let (child, supervisor) = (pid_in(&bench.run.archive.join("child")), bench.supervisor());
    assert!(lives(child) && lives(supervisor), "both are left alone");
    fs::write(bench.run.archive.join("go"), "").unwrap();
    eventually("the later line", || {
        let shown = bench.stdout();
        if shown.contains(&"later".to_owned()) { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    await_end(supervisor);
}

#[test]
fn a_background_child_that_floods_does_not_hold_the_event() {
    let bench = Bench::new("yes & echo $! > $(dirname $0)/child; exit 0");
    let result = bench.result();
    let child = pid_in(&bench.run.archive.join("child"));
    assert!(lives(child));
    super::kill_hard(child);
    assert_eq!(result.outcome, SUCCESS);
    await_end(bench.supervisor());
}

#[test]
fn a_script_that_closes_its_outputs_is_waited_for() {
    let bench = Bench::new("exec >&- 2>&-; sleep 0.3; exit 5");
    assert_eq!(bench.result().outcome, HookOutcome::Exited { code: 5 });
}

#[test]
fn the_supervisor_is_small_and_syncs_twice() {
    let bench = Bench::new("echo x; while [ ! -e $(dirname $0)/go ]; do sleep 0.05; done");
    bench.begin();
    let supervisor = bench.supervisor();
    let memory = fs::read_to_string(format!("/proc/{supervisor}/smaps_rollup")).unwrap();
    // The other pages are the program's file, which the running agent shares.
    let private: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .map(|rest| rest.trim().trim_end_matches(" kB").parse().unwrap())
        .unwrap();
    let threads = fs::read_dir(format!("/proc/{supervisor}/task")).unwrap().count();
    fs::write(bench.run.archive.join("go"), "").unwrap();
    assert_eq!(bench.result().outcome, SUCCESS);
    println!("private memory of a supervisor: {private} KiB, threads: {threads}");
    // A debug build fills in about 2 MiB of addresses at its start; the figure is the release build's (tests/bench).
    assert!(private < 4096, "{memory}");

    if !crate::crash::strace_or_skip() {
        return;
    }
    let mut bench = Bench::new("echo x");
    let trace = bench.path("trace");
    bench.program = bench.path("traced");
    let text = format!(
        "#!/bin/sh\nexec strace -f -e trace=fsync,fdatasync,syncfs,sync -o '{}' '{}' \"$@\"\n",
        trace.display(),
        super::PROGRAM
    );
    super::write_script(&bench.program, &text);
    assert_eq!(bench.result().outcome, SUCCESS);
    eventually("the end of the trace", || {
        let traced = fs::read_to_string(&trace).unwrap();
        let syncs = traced.lines().filter(|line| line.contains("sync(")).count();
        if traced.contains("+++ exited") && syncs == 2 { Ok(()) } else { Err(traced) }
    });
}
