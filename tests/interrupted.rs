//! Commands that carry out a deployment themselves and are asked to end; the output and work of the next command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::eventually;
use crate::support::host::{Bundle, Gate, HOSTLER, Host, PATIENCE, hook_lines_of};

/// A bundle with a script that waits until the gate is open, and the gate.
fn gated(host: &Host, version: &str, event: &str) -> (PathBuf, Gate) {
    let gate = Gate::new(host, version);
    let body = gate.wait();
    (Bundle::new(host, version).app().hook(event, &body).all_hooks().write(), gate)
}

fn wait_for_line(host: &Host, line: &str) {
    eventually(&format!("the hook line {line:?}"), PATIENCE, || {
        let lines = host.hook_lines();
        if lines.iter().any(|l| l == line) { Ok(()) } else { Err(format!("{lines:?}")) }
    });
}

fn deploy<'a>(bundle: &'a Path, group: &'a str) -> [&'a str; 6] {
    ["deploy", bundle.to_str().unwrap(), "--application", "shop", "--group", group]
}

#[test]
fn a_command_that_is_told_to_end_leaves_with_a_word_and_the_next_one_goes_on() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let host = Host::new();
        let (bundle, gate) = gated(&host, "v1", "ApplicationStart");
        let running = host.start(&deploy(&bundle, "web"));
        wait_for_line(&host, "v1 ApplicationStart");
        running.signal(signal);
        let ended = running.end().with_code(1);
        let id = host.status()["active"]["id"].as_str().unwrap().to_owned();
        let left = format!("{id} of shop/web is interrupted in ApplicationStart");
        ended.saying(&[&left, "which goes on meanwhile", "`hostler run --once`"]);
        assert_eq!(host.ok(&["status", "--json"]).json()["interrupted"], true, "{signal}");
        host.ok(&["status"]).saying(&["shop/web: interrupted", &id, "no process works on it"]);

        gate.open();
        let next = Bundle::new(&host, "v2").app().all_hooks().write();
        let first = format!("{id} of shop/web was interrupted; it is brought to its end first");
        let became = format!("{id} of shop/web was interrupted; taken up again, it succeeded");
        host.deploy(&next, &[]).with_code(0).saying(&[&first, &became]);
        assert_eq!(host.hook_lines(), [hook_lines_of(None, "v1"), hook_lines_of(Some("v1"), "v2")].concat());
        assert_eq!(host.ok(&["status", "--json"]).json()["interrupted"], serde_json::Value::Null);
    }
}

#[test]
fn a_command_that_was_started_by_nohup_outlives_its_terminal() {
    let host = Host::new();
    let (bundle, gate) = gated(&host, "v1", "ApplicationStart");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", HOSTLER, "--root"])
        .arg(host.root())
        .args(deploy(&bundle, "web"));
    let running = host.start_command(command);
    wait_for_line(&host, "v1 ApplicationStart");
    running.signal(Signal::SIGHUP);
    gate.open();
    running.end().with_code(0).saying(&["succeeded after"]);
}

#[test]
fn a_pass_that_is_told_to_end_leaves_with_a_word_too() {
    let host = Host::new();
    let (bundle, gate) = gated(&host, "v1", "BeforeInstall");
    host.release(&bundle, &[]);
    let store = host.store();
    let once = ["run", "--once", "--channel", store.to_str().unwrap()];
    let running = host.start(&once);
    wait_for_line(&host, "v1 BeforeInstall");
    running.signal(Signal::SIGTERM);
    running.end().with_code(1).saying(&["of shop/web is interrupted in BeforeInstall"]);
    gate.open();
    host.ok(&once).saying(&["taken up again, it succeeded", "runs release 1"]);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
}

#[test]
fn a_command_that_is_told_twice_ends_in_the_middle_of_a_step() {
    let host = Host::new();
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}/bundle.tgz", silent.local_addr().unwrap());
    let running = host.start(&deploy(Path::new(&address), "web"));
    host.status_when("the bundle is fetched", |status| status["active"]["event"] == "DownloadBundle");
    running.signal(Signal::SIGINT);
    running.says("this command ends, and a script that is running goes on");
    running.signal(Signal::SIGINT);
    running.end().with_code(1).saying(&["of shop/web is interrupted in DownloadBundle"]);
}

#[test]
fn a_deployment_does_not_wait_for_what_was_interrupted_in_another_group() {
    let host = Host::new();
    let (bundle, gate) = gated(&host, "v1", "ApplicationStart");
    let running = host.start(&deploy(&bundle, "other"));
    wait_for_line(&host, "v1 ApplicationStart");
    running.signal(Signal::SIGINT);
    running.end().with_code(1);
    let own = host.path("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("file"), "own").unwrap();
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: file\n    destination: /srv/own\n";
    fs::write(own.join("appspec.yml"), appspec).unwrap();
    let running = host.start(&deploy(&own, "web"));
    running.says("of shop/other goes on, and this command ends with it");
    assert!(running.out().contains("succeeded after"), "{}", running.said());
    assert_eq!(fs::read_to_string(host.at("srv/own/file")).unwrap(), "own");
    gate.open();
    running.end().with_code(0).saying(&["of shop/other was interrupted; taken up again, it succeeded"]);
}

#[test]
fn a_pass_beside_a_daemon_says_that_the_daemon_does_it() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let store = host.store();
    let ended = host.run(&["run", "--once", "--channel", store.to_str().unwrap()]).with_code(4);
    let ended = ended.saying(&["follows the channels already", "`hostler status`", &daemon.pid().to_string()]);
    assert!(!ended.err.contains("locked"), "{ended:?}");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn a_pass_says_what_runs_after_a_deployment_by_hand() {
    let host = Host::new();
    let store = host.store();
    let once = ["run", "--once", "--channel", store.to_str().unwrap()];
    host.release(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]);
    host.ok(&once);
    let lines = host.hook_lines().len();
    host.run(&["resume"]).with_code(3).saying(&["follows its channel already"]);
    host.ok(&once).saying(&["shop/web runs release 1"]);
    assert_eq!(host.hook_lines().len(), lines, "what runs is not deployed again");
    host.deploy(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]).with_code(0);
    let by_hand = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    host.ok(&once).saying(&["release 1 of shop/web was deployed, and", &by_hand, "by hand since"]);
    host.ok(&["resume"]);
    host.ok(&once);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}

#[test]
fn a_hold_does_not_hide_that_the_revision_on_the_host_failed() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    for version in ["v1", "v2"] {
        host.release(&Bundle::new(&host, version).app().write(), &[]);
        let sequence = if version == "v1" { 1 } else { 2 };
        host.status_when(version, |s| s["condition"] == "good" && s["highest_sequence"] == sequence);
    }
    host.ok(&["rollback"]);
    host.ok(&["status"]).saying(&["shop/web: rolled back, held", "releases up to 2 are not followed"]);
    host.ok(&["status", "--health"]).saying(&["ok"]);
    let bad = Bundle::new(&host, "v3").app().hook("ApplicationStart", "exit 1").write();
    host.deploy(&bad, &["--no-rollback"]).with_code(1);
    host.ok(&["status"]).saying(&["shop/web: FAILED, held"]);
    host.run(&["status", "--health"]).with_code(1).saying(&["shop/web: the last deployment failed"]);
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn a_revision_whose_appspec_has_another_name_is_returned_to() {
    let renamed = |host: &Host, version: &str, name: &str| {
        let bundle = Bundle::new(host, version).app().all_hooks().write();
        fs::rename(bundle.join("appspec.yml"), bundle.join(name)).unwrap();
        bundle
    };
    let host = Host::new();
    host.deploy(&renamed(&host, "v1", "third.yml"), &["-A", "third.yml"]).with_code(0);
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 1").all_hooks().write();
    host.deploy(&bad, &[]).with_code(1);
    assert_eq!((host.version().as_str(), &host.status()["condition"]), ("v1", &"rolled_back".into()));
    host.deploy(&renamed(&host, "v3", "other.yml"), &["-A", "other.yml"]).with_code(0);
    host.clear_hook_lines();
    host.ok(&["rollback"]);
    assert_eq!(host.version(), "v1");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v3"), "v1"), "the scripts of both are found");
    host.clear_hook_lines();
    host.ok(&["remove"]);
    assert!(host.hook_lines().contains(&"v1 ApplicationStop".to_owned()), "{:?}", host.hook_lines());
}
