//! The records of a daemon: sentences that stand without their fields. `tests/golden/records` has those of usual work and
//! of usual trouble.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::eventually;
use crate::support::golden;
use crate::support::host::{Bundle, Host, PATIENCE, Running, own_user};

/// The records of a daemon without their times, with ids, digests, durations and the host's directory masked.
fn records(host: &Host, daemon: &Running) -> String {
    let directory = host.path("").display().to_string();
    let directory = directory.trim_end_matches('/');
    let text = daemon.err();
    // The host's report may meet the moment in which the store is away, or not.
    let lines = text.lines().filter(|line| !line.contains("this host's report is not written"));
    // A record about a file shows the line of the file below it.
    let records = lines.map(|line| match line.starts_with("20") {
        true => masked(line, directory),
        false => line.replace(directory, "HOST"),
    });
    records.map(|record| format!("{record}\n")).collect()
}

fn masked(line: &str, directory: &str) -> String {
    // `2026-11-30 14:48:00+00:00 `
    let (time, record) = line.split_at_checked(26).unwrap_or_else(|| panic!("no time in {line:?}"));
    let is_time = time.starts_with("20") && time.as_bytes()[10] == b' ' && time.as_bytes()[22] == b':';
    assert!(is_time, "{line:?} does not begin with a time and its zone");
    let record = record.replace(directory, "HOST").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let record = record.replace(&format!("(user {})", own_user()), "(user root)");
    record.split(' ').map(masked_word).collect::<Vec<_>>().join(" ")
}

fn masked_word(word: &str) -> String {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let (name, rest) = word.split_at(word.find(ends).unwrap_or(word.len()));
    if name.len() > 8 && name.starts_with("d-") {
        return format!("d-ID{rest}");
    }
    if name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("DIGEST{rest}");
    }
    let is_seconds = word.split_once('.').is_some_and(|(whole, part)| {
        part.len() == 2 && [whole, part].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if is_seconds { "N.NN".to_owned() } else { word.to_owned() }
}

/// Waits until the daemon has written so many records with this text.
fn says_times(daemon: &Running, text: &str, times: usize) {
    eventually(&format!("it says {text:?} {times} times"), PATIENCE, || {
        if daemon.err().matches(text).count() >= times { Ok(()) } else { Err(daemon.err()) }
    });
}

#[test]
fn the_records_of_a_daemon_say_by_themselves_what_happened() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    host.release(&Bundle::new(&host, "v1").app().hook("AfterInstall", "").write(), &[]);
    says_times(&daemon, "deployment succeeded", 1);
    // It fails, and the last good revision comes back.
    host.release(&Bundle::new(&host, "v2").app().hook("ValidateService", "exit 3").write(), &[]);
    says_times(&daemon, "the last good revision is on the host again", 1);
    // It hangs.
    let hangs = Bundle::new(&host, "v3").app().hook("ApplicationStart", "sleep 600").write();
    let appspec = fs::read_to_string(hangs.join("appspec.yml")).unwrap();
    assert_eq!(appspec.matches("timeout: 60\n").count(), 1, "{appspec}");
    fs::write(hangs.join("appspec.yml"), appspec.replace("timeout: 60\n", "timeout: 1\n")).unwrap();
    host.release(&hangs, &[]);
    says_times(&daemon, "the last good revision is on the host again", 2);
    // The configuration is read again, and refused.
    host.configure("poll: 2s\n");
    daemon.signal(Signal::SIGHUP);
    says_times(&daemon, "the configuration was read again: ", 1);
    host.configure("pol: 2s\n");
    daemon.signal(Signal::SIGHUP);
    says_times(&daemon, "is refused", 1);
    host.configure("poll: 2s\n");
    // The store cannot be reached for a while.
    fs::rename(host.store(), host.path("away")).unwrap();
    says_times(&daemon, "the channel is not followed", 1);
    fs::rename(host.path("away"), host.store()).unwrap();
    says_times(&daemon, "can be read again", 1);
    host.ok(&["remove"]);
    says_times(&daemon, "removal succeeded", 1);
    daemon.signal(Signal::SIGTERM);
    says_times(&daemon, "hostler stops", 1);
    let records = records(&host, &daemon);
    for record in records.lines() {
        for debug in [" {", "Some(", "=\"", "hostler_event", "Ok(", "Err("] {
            assert!(!record.contains(debug), "{record:?} has {debug:?}");
        }
    }
    golden("records/daemon.txt", &records);
    daemon.end().with_code(0);
}

#[test]
fn the_configuration_says_which_records_a_daemon_writes_and_a_reload_changes_it() {
    let host = Host::new();
    host.configure("log_level: error\n");
    let daemon = host.daemon(&[]);
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    host.status_when("release 1 is deployed", |status| status["condition"] == "good");
    assert_eq!(daemon.err(), "");
    // What operators alert on is written at every level, also where it is a warning.
    host.release(&Bundle::new(&host, "bad").app().hook("ValidateService", "exit 3").write(), &[]);
    says_times(&daemon, "is on the host again", 1);
    let said = daemon.err();
    let levels: Vec<&str> = said.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(levels, ["error", "warn"], "{said}");
    host.configure("log_level: debug\n");
    host.ok(&["reload"]);
    host.release(&Bundle::new(&host, "v2").app().write(), &[]);
    host.status_when("release 3 is deployed", |status| {
        status["highest_sequence"] == 3 && status["condition"] == "good"
    });
    says_times(&daemon, "deployment succeeded", 1);
    let said = daemon.err();
    // For debugging, the fields that the message does not say follow it.
    assert!(said.contains("hostler_event=deployment-ended"), "{said}");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
    // A flag wins.
    let daemon = host.daemon(&["--quiet"]);
    host.release(&Bundle::new(&host, "v3").app().write(), &[]);
    host.status_when("release 4 is deployed", |status| {
        status["highest_sequence"] == 4 && status["condition"] == "good"
    });
    assert_eq!(daemon.err(), "");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
    // A wrong value of the variable must not leave the host without an agent.
    let store = host.store();
    let mut command = host.command(&["run", "--channel", store.to_str().unwrap(), "--poll", "1s"]);
    command.env("HOSTLER_LOG", "loud");
    let daemon = host.start_command(command);
    says_times(&daemon, "HOSTLER_LOG must be error, warn, info or debug, not `loud`: the usual level is in force", 1);
    says_times(&daemon, "hostler runs: version", 1);
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}
