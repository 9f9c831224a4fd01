//! The daemon and its control socket: channels, commands while it runs, its end, and peers that misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::eventually;
use crate::support::host::{Bundle, Gate, Host, PATIENCE, Running, hook_lines_of, root_or_skip};

/// A script that waits until the gate is open, and the gate.
fn gate(host: &Host, name: &str) -> (String, Gate) {
    let gate = Gate::new(host, name);
    let body = format!("{}; echo through the gate", gate.wait());
    (body, gate)
}

/// Waits until a hook has written this line.
fn wait_for_line(host: &Host, line: &str) {
    eventually(&format!("the hook line {line:?}"), PATIENCE, || {
        let lines = host.hook_lines();
        if lines.iter().any(|l| l == line) { Ok(()) } else { Err(format!("{lines:?}")) }
    });
}

fn socket(host: &Host) -> PathBuf {
    host.at("run/hostler/hostler.sock")
}

#[test]
fn the_daemon_follows_its_channel() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    host.release(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good" && s["highest_sequence"] == 1);
    assert_eq!(host.version(), "v1");
    host.clear_hook_lines();
    let revision = host.release(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]);
    let status = host.status_when("release 2 is deployed", |s| s["condition"] == "good" && s["highest_sequence"] == 2);
    assert_eq!(status["installed"]["revision"]["digest"], revision, "{status}");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    let document = host.ok(&["status", "--json"]).json();
    assert_eq!((&document["version"], &document["daemon"]["pid"]), (&1.into(), &daemon.pid().into()), "{document}");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
    host.ok(&["status"]).saying(&["no daemon runs"]);
    host.run(&["stop"]).with_code(3);
    host.ok(&["history", "--verify"]);
}

#[test]
fn commands_go_through_the_door_and_their_progress_is_streamed() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let (body, the_gate) = gate(&host, "a");
    let first = Bundle::new(&host, "v1").app().hook("AfterInstall", &body).all_hooks().write();
    let deploy = host.start(&["deploy", first.to_str().unwrap()]);
    deploy.says("Install ");
    assert!(!deploy.out().contains("AfterInstall "), "{}", deploy.said());
    let status = host.status_when("the hook is shown", |s| s["active"]["script"] == "hooks/AfterInstall-1.sh");
    assert_eq!((&status["condition"], &status["active"]["event"]), (&"deploying".into(), &"AfterInstall".into()));
    the_gate.open();
    deploy.end().with_code(0).saying(&["ApplicationStart", "succeeded"]);

    let second = Bundle::new(&host, "v2").app().all_hooks().write();
    let lines = host.deploy(&second, &["--json"]).with_code(0).out;
    let pieces: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(pieces.first().unwrap()["progress"], "started", "{lines}");
    assert_eq!(pieces.last().unwrap()["outcome"], "succeeded", "{lines}");
    let bad = Bundle::new(&host, "v3").app().hook("AfterInstall", "echo sorry; exit 5").write();
    host.deploy(&bad, &[]).with_code(1).saying(&[
        "AfterInstall failed",
        "| [stdout] sorry",
        "returning to",
        "succeeded",
    ]);
    host.ok(&["rollback"]).saying(&["succeeded"]);
    assert_eq!(host.version(), "v1");
    assert_eq!(host.status()["condition"], "rolled_back");
    assert_eq!(host.status()["held"], serde_json::Value::Null, "this group follows no channel");
    host.run(&["resume"]).with_code(3).saying(&["has followed no channel yet"]);
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn a_client_that_is_interrupted_only_detaches() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let (body, the_gate) = gate(&host, "a");
    let bundle = Bundle::new(&host, "v1").app().hook("ApplicationStart", &body).all_hooks().write();
    let deploy = host.start(&["deploy", bundle.to_str().unwrap()]);
    wait_for_line(&host, "v1 ApplicationStart");
    deploy.signal(Signal::SIGINT);
    deploy.end().with_code(1).saying(&["is not watched any more and goes on", "`hostler status`"]);
    the_gate.open();
    host.status_when("the deployment goes on to its end", |s| s["condition"] == "good");
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    daemon.signal(Signal::SIGINT);
    daemon.end().with_code(0);
}

#[test]
fn a_daemon_that_is_terminated_leaves_the_hook_running_and_the_next_one_takes_its_result() {
    for ends_meanwhile in [false, true] {
        let host = Host::new();
        let daemon = host.daemon(&[]);
        let (body, the_gate) = gate(&host, "a");
        let done = host.path("hook-done");
        let body = format!("{body}; echo > {}", done.display());
        let bundle = Bundle::new(&host, "v1").app().hook("BeforeInstall", &body).all_hooks().write();
        let deploy = host.start(&["deploy", bundle.to_str().unwrap()]);
        wait_for_line(&host, "v1 BeforeInstall");
        daemon.signal(Signal::SIGTERM);
        daemon.end().with_code(0);
        deploy.end().with_code(1).saying(&["it goes on at the next start"]);
        let status = host.status();
        assert_eq!((&status["condition"], &status["active"]["event"]), (&"deploying".into(), &"BeforeInstall".into()));
        if ends_meanwhile {
            the_gate.open();
            eventually("the hook ends without a daemon", PATIENCE, || {
                if done.exists() { Ok(()) } else { Err("it goes on".to_owned()) }
            });
        }
        let again = host.daemon(&[]);
        the_gate.open();
        let status = host.status_when("the deployment ends", |s| s["active"].is_null());
        assert_eq!(status["condition"], "good", "{status}");
        assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
        drop(again);
    }
}

#[test]
fn a_second_daemon_does_not_start() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let pid = format!("process {}", daemon.pid());
    host.run(&["run"]).with_code(4).saying(&["is locked by", &pid]);
    host.run(&["run", "--once"]).with_code(4).saying(&["follows the channels already", &pid]);
    host.run(&["run", "--recover"]).with_code(4).saying(&["the agent is at work"]);
    daemon.kill();
    // The state is free again; without a group there is nothing to do, and a cron job notices.
    host.run(&["run", "--once"]).with_code(2).saying(&["no deployment group is configured", "--channel"]);
}

#[test]
fn one_deployment_of_a_group_at_a_time_and_groups_beside_each_other() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let (body, the_gate) = gate(&host, "a");
    let one = Bundle::new(&host, "one").app().hook("BeforeInstall", &body).all_hooks().write();
    let first = host.start(&["deploy", one.to_str().unwrap()]);
    wait_for_line(&host, "one BeforeInstall");
    let refused = host.deploy(&one, &[]).with_code(3);
    refused.saying(&["of shop/web is going on (BeforeInstall)", "wait for its end"]);
    host.run(&["rollback"]).with_code(3).saying(&["going on"]);

    let other = Bundle::new(&host, "other").content("x", "y").files("x", "/srv/other").all_hooks().write();
    host.deploy(&other, &["--application", "shop", "--group", "other"]).with_code(0);
    assert!(host.at("srv/other/x").exists() && !host.at("srv/app").exists());
    the_gate.open();
    first.end().with_code(0);
    drop(daemon);
}

#[test]
fn only_one_group_installs_at_a_time() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let mut clients = Vec::new();
    let gates: Vec<_> = ["a", "b", "c"].into_iter().map(|name| (name, gate(&host, "all"))).collect();
    for (name, (body, _)) in &gates {
        let mut bundle = Bundle::new(&host, name).hook("BeforeInstall", body).files("many", &format!("/srv/{name}"));
        for number in 0..200 {
            bundle = bundle.content(&format!("many/{number}"), "x");
        }
        let bundle = bundle.write();
        clients.push(host.start(&["deploy", bundle.to_str().unwrap(), "--application", "shop", "--group", name]));
    }
    for (name, _) in &gates {
        wait_for_line(&host, &format!("{name} BeforeInstall"));
    }
    gates[0].1.1.open();
    for client in clients {
        client.end().with_code(0);
    }
    let log = daemon.err();
    let mut installing = 0;
    let mut seen = 0;
    for line in log.lines().filter(|line| line.contains("Install") && !line.contains("BeforeInstall")) {
        if line.contains("Install started") {
            installing += 1;
            seen += 1;
        } else if line.contains("Install succeeded") {
            installing -= 1;
        }
        assert!((0..=1).contains(&installing), "{log}");
    }
    assert_eq!(seen, 3, "{log}");
}

#[test]
fn without_a_daemon_a_deployment_goes_through_the_door_of_the_one_that_goes_on() {
    let host = Host::new();
    let (body, the_gate) = gate(&host, "a");
    let one = Bundle::new(&host, "one").app().hook("BeforeInstall", &body).all_hooks().write();
    let first = host.start(&["deploy", one.to_str().unwrap()]);
    wait_for_line(&host, "one BeforeInstall");
    host.deploy(&one, &[]).with_code(3).saying(&["is going on"]);
    host.run(&["stop"]).with_code(3).saying(&["no daemon runs"]);
    let (other_body, other_gate) = gate(&host, "other");
    let other = Bundle::new(&host, "other").content("x", "y").files("x", "/srv/other");
    let other = other.hook("AfterInstall", &other_body).all_hooks().write();
    let other = ["deploy", other.to_str().unwrap(), "--application", "shop", "--group", "other"];
    let second = host.start(&other);
    wait_for_line(&host, "other AfterInstall");
    // The first one stays until the guest's deployment has ended too.
    the_gate.open();
    first.says("succeeded");
    other_gate.open();
    second.end().with_code(0).saying(&["succeeded"]);
    first.end().with_code(0);
}

#[test]
fn deployments_that_come_and_go_never_meet_a_closed_door() {
    let host = Host::new();
    let bundles: Vec<_> = (0..3)
        .map(|n| {
            let name = format!("g{n}");
            let bundle = Bundle::new(&host, &name).content("x", "y").files("x", &format!("/srv/{name}"));
            (name, bundle.write())
        })
        .collect();
    std::thread::scope(|scope| {
        for (name, bundle) in &bundles {
            let host = &host;
            scope.spawn(move || {
                for _ in 0..5 {
                    let group = ["--application", "shop", "--group", name];
                    host.deploy(bundle, &group).with_code(0).saying(&["succeeded"]);
                }
            });
        }
    });
    let started = host.history().iter().filter(|r| r["kind"] == "deployment_started").count();
    assert_eq!(started, 15, "none was done twice");
    host.ok(&["history", "--verify"]);
}

/// Writes a text to the socket and returns the first line of the answer.
fn say(host: &Host, text: &[u8]) -> Option<String> {
    let mut stream = UnixStream::connect(socket(host)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The daemon may have closed its end before everything was written.
    let _ = stream.write_all(text);
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(answer),
    }
}

#[test]
fn guests_that_do_not_behave_do_not_disturb_the_daemon() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    for text in [&b"hello\n"[..], b"{}\n", b"[1]\n", b"{\"version\":1,\"request\":\"dance\"}\n"] {
        let answer = say(&host, text).unwrap_or_else(|| panic!("no answer to {:?}", text.escape_ascii().to_string()));
        assert!(answer.contains("\"refused\"") && answer.contains("\"code\":2"), "{answer}");
    }
    let newer = say(&host, b"{\"version\":999,\"request\":\"status\"}\n").unwrap();
    assert!(newer.contains("version 1, not 999"), "{newer}");
    assert_eq!(say(&host, &[0xff, 0xfe, 0x00, b'\n']), None);
    assert_eq!(say(&host, &vec![b'x'; 3 << 20]), None);
    // One peer stops in the middle of a word, the other asks for a deployment and disconnects.
    let mut silent = UnixStream::connect(socket(&host)).unwrap();
    silent.write_all(b"{\"version\":").unwrap();
    let bundle = Bundle::new(&host, "v1").app().all_hooks().write();
    let wish = serde_json::json!({
        "version": 1, "request": "deploy", "key": {"application": "shop", "group": "web"}, "source": {"kind": "path", "path": bundle},
        "file_exists_behavior": null, "appspec_name": null, "ignore_application_stop_failures": false,
        "no_cleanup": false, "no_rollback": false,
    });
    let mut gone = UnixStream::connect(socket(&host)).unwrap();
    gone.write_all(format!("{wish}\n").as_bytes()).unwrap();
    let mut first = [0; 8];
    gone.read_exact(&mut first).unwrap();
    drop(gone);
    host.status_when("the deployment goes on to its end", |s| s["condition"] == "good");
    // The daemon disconnects the silent peer.
    let begun = Instant::now();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut first).unwrap(), 0, "after {:?}", begun.elapsed());
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn users_who_may_only_look_cannot_keep_others_from_the_door() {
    if !root_or_skip("connecting as another user") {
        return;
    }
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let path = socket(&host);
    let crowd = std::thread::spawn(move || {
        become_nobody();
        // More connections than a process has descriptors, by default.
        let crowd: Vec<UnixStream> = (0..1500).filter_map(|_| UnixStream::connect(&path).ok()).collect();
        let mut one = UnixStream::connect(&path).unwrap();
        let _ = one.write_all(b"{\"version\":1,\"request\":\"stop\"}\n");
        crowd
    });
    let crowd = crowd.join().unwrap();
    assert!(crowd.len() > 900, "{}", crowd.len());
    let bundle = Bundle::new(&host, "v1").app().all_hooks().write();
    host.deploy(&bundle, &[]).with_code(0);
    drop(crowd);

    // They may only read.
    let path = socket(&host);
    let answers = std::thread::spawn(move || {
        become_nobody();
        ["status", "stop"].map(|ask| {
            let mut answer = String::new();
            let deadline = Instant::now() + PATIENCE;
            // A place is free again once the daemon has noticed that the crowd is gone.
            while answer.is_empty() && Instant::now() < deadline {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let _ = stream.write_all(format!("{{\"version\":1,\"request\":\"{ask}\"}}\n").as_bytes());
                let _ = BufReader::new(stream).read_line(&mut answer);
            }
            answer
        })
    });
    let [status, stop] = answers.join().unwrap();
    assert!(status.contains("\"good\""), "{status}");
    assert!(stop.contains("may read only") && stop.contains("\"code\":3"), "{stop}");
    drop(daemon);
}

/// Only root and the service group may read the output of hooks. Other users see that something failed, but no output.
#[test]
fn what_hooks_print_is_not_for_every_user_of_the_host() {
    if !root_or_skip("looking as another user") {
        return;
    }
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "echo password is swordfish; exit 1").write();
    host.deploy(&bundle, &[]).with_code(1).saying(&["swordfish"]);
    let id = host.status()["last"]["id"].as_str().unwrap().to_owned();
    let logs = [
        host.deployment(&id).join("logs/scripts.log"),
        host.state().join("deployment-root/deployment-logs/codedeploy-agent-deployments.log"),
    ];
    for log in &logs {
        assert!(fs::read_to_string(log).unwrap().contains("swordfish"), "{}", log.display());
        let mode = fs::metadata(log).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o640, "{}", log.display());
    }
    assert!(host.status().to_string().contains("swordfish"), "root sees the script's last lines");
    let path = socket(&host);
    let status = std::thread::spawn(move || {
        become_nobody();
        for log in &logs {
            assert_eq!(fs::File::open(log).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"version\":1,\"request\":\"status\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    });
    let status = status.join().unwrap();
    assert!(
        status.contains("\"failed\"") && status.contains("AfterInstall") && !status.contains("swordfish"),
        "{status}"
    );
    drop(daemon);
}

/// Makes this thread act as `nobody`; the thread ends soon after.
#[allow(unsafe_code)]
fn become_nobody() {
    // SAFETY: system calls that read no memory (no groups are given); raw calls change this thread alone.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            libc::syscall(libc::SYS_setresgid, -1, 65534, -1),
            libc::syscall(libc::SYS_setresuid, -1, 65534, -1),
        ]
    };
    assert_eq!(results, [0; 3]);
}

fn lines_with(daemon: &Running, text: &str) -> Vec<String> {
    daemon.err().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[test]
fn a_channel_may_go_away_and_come_back() {
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let daemon = host.daemon(&[]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good");
    let away = host.path("away");
    fs::rename(host.store(), &away).unwrap();
    daemon.says("the channel is not followed");
    // A deployment by hand needs no channel.
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    fs::rename(&away, host.store()).unwrap();
    daemon.says("the channel can be read again");
    assert_eq!(lines_with(&daemon, "the channel is not followed").len(), 1, "{}", daemon.err());
    host.release(&Bundle::new(&host, "v3").app().write(), &[]);
    host.status_when("release 2 is deployed", |s| s["condition"] == "good" && s["highest_sequence"] == 2);
    assert_eq!(host.version(), "v3");
}

#[test]
fn a_bad_release_is_reported_once_and_stops_nothing() {
    let host = Host::new();
    let store = host.store();
    let group = |name: &str| format!("  - application: shop\n    group: {name}\n    channel: {}\n", store.display());
    host.configure(&format!("poll: 1s\ngroups:\n{}{}", group("web"), group("other")));
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let daemon = host.start(&["run", "--group", "web", "--application", "shop"]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good");
    let document = store.join("shop/web/release.json");
    let good = fs::read(&document).unwrap();
    let bad: BTreeMap<&str, Vec<u8>> = [
        ("not JSON", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("cut", good[..good.len() / 2].to_vec()),
        ("too long", vec![b' '; 1 << 20]),
    ]
    .into();
    for (number, (what, bytes)) in bad.into_iter().enumerate() {
        let before = lines_with(&daemon, "the channel is not followed").len();
        fs::write(&document, bytes).unwrap();
        eventually(&format!("a release that is {what} is reported"), PATIENCE, || {
            let seen = lines_with(&daemon, "the channel is not followed");
            if seen.len() > before { Ok(()) } else { Err(daemon.err()) }
        });
        // The other group is polled at the same interval: several polls pass.
        for round in 0..2 {
            let bundle = Bundle::new(&host, &format!("o{number}-{round}")).content("x", "y").files("x", "/srv/other");
            release_to_other(&host, bundle);
        }
        let seen = lines_with(&daemon, "the channel is not followed");
        assert_eq!(seen.len(), before + 1, "{what}: {seen:#?}");
        assert!(seen.last().unwrap().contains("shop/web"), "{seen:?}");
    }
    assert_eq!(host.version(), "v1");
    fs::write(&document, &good).unwrap();
    daemon.says("the channel can be read again");
    host.release(&Bundle::new(&host, "v2").app().write(), &[]);
    host.status_when("release 2 is deployed", |s| s["condition"] == "good" && s["highest_sequence"] == 2);
    assert_eq!(host.version(), "v2");
}

/// Releases a bundle to the group `other` and waits until it is deployed.
fn release_to_other(host: &Host, bundle: Bundle) {
    let bundle = bundle.write();
    let store = host.store();
    let store = store.to_str().unwrap();
    let other = ["--application", "shop", "--group", "other"];
    let pushed = host.ok(&["push", bundle.to_str().unwrap(), store, "--json"]).json();
    let revision = pushed["revision"].as_str().unwrap().to_owned();
    let release = host.ok(&[&["release", store, &revision, "--json"], &other[..]].concat()).json();
    eventually("the other group follows its channel", PATIENCE, || {
        let document = host.ok(&[&["status", "--json"], &other[..]].concat()).json();
        let status = &document["groups"][0];
        let there = status["condition"] == "good" && status["highest_sequence"] == release["sequence"];
        if there { Ok(()) } else { Err(document.to_string()) }
    });
}
