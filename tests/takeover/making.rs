//! Makes the disks, by `tests/state-0844db3/make OLD_PROGRAM`. The README there describes the steps.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{SEEN, SEEN_HISTORY, codedeploy, disk, hooks, install, logs, machine, once, status_of};
use crate::support::eventually;
use crate::support::host::{Bundle, Gate, Host, PATIENCE};

/// The program that makes the disks.
const OLD_PROGRAM: &str = "HOSTLER_OLD_PROGRAM";

fn make(name: &str, leave: impl FnMut(Host, u32) -> bool) {
    let old_program = PathBuf::from(std::env::var_os(OLD_PROGRAM).expect("the old program's path"));
    disk::make(name, &old_program, leave);
}

/// Saves the program's status and history, and deletes files that the store or the state has already.
fn finish(host: &Host) {
    let groups = ["web", "jobs"].map(|name| (name.to_owned(), status_of(host, name)));
    fs::write(host.path(SEEN), Value::Object(groups.into_iter().collect()).to_string()).unwrap();
    fs::write(host.path(SEEN_HISTORY), host.ok(&["history", "--json"]).out).unwrap();
    for entry in fs::read_dir(host.path("")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if ["bundle-", "out-", "err-"].iter().any(|start| name.starts_with(start)) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    }
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn deployments() {
    make("deployments", |host, _| {
        let host = &host;
        // The disk comes from the image of another instance.
        host.configure("instance_id: i-image\n");
        host.deploy(&Bundle::new(host, "v0").app().write(), &[]).with_code(0);
        host.ok(&["seal"]);
        let key = host.path("ci");
        host.ok(&["keygen", key.to_str().unwrap()]);
        super::deployments::configure(host);
        let sign = ["--key", key.to_str().unwrap()];
        let release = host.store().join("shop/web/release.json");
        host.release(&Bundle::new(host, "v1").app().all_hooks().write(), &sign);
        host.ok(&once(host));
        fs::copy(&release, host.path("release-1.json")).unwrap();
        let away = "echo the database is away; echo and stays away >&2; exit 7";
        let bad = Bundle::new(host, "v2").app().hook("ApplicationStart", away).all_hooks();
        host.release(&bad.write(), &sign);
        host.run(&once(host)).with_code(1);
        host.release(&Bundle::new(host, "v3").app().all_hooks().write(), &sign);
        host.ok(&once(host));
        host.ok(&["rollback"]);
        // A second group, by hand: the second revision fails and stays.
        let job = |version: &str| {
            let bundle = Bundle::new(host, version).content("job/run", version).files("job", "/srv/job");
            bundle.hook("AfterInstall", if version == "j2" { "echo no; exit 1" } else { "" }).write()
        };
        host.deploy(&job("j1"), &["--application", "shop", "--group", "jobs"]).with_code(0);
        host.deploy(&job("j2"), &["--application", "shop", "--group", "jobs", "--no-rollback"]).with_code(1);
        fs::write(host.at("srv/app/made-by-the-application"), "data\n").unwrap();
        finish(host);
        true
    });
}

/// v1 runs and v2 is released, with enough files that a kill finds a mixture.
fn before_an_install(host: &Host) {
    let bundle = |version: &str| {
        let files = (0..8)
            .fold(Bundle::new(host, version).app(), |bundle, number| bundle.content(&format!("app/{number}"), version));
        files.all_hooks().write()
    };
    host.configure("instance_id: i-1\n");
    host.release(&bundle("v1"), &[]);
    host.ok(&once(host));
    host.clear_hook_lines();
    host.release(&bundle("v2"), &[]);
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn install_swapping() {
    make("install-swapping", |host, number| {
        let host = &host;
        before_an_install(host);
        let traced = host.command(&once(host));
        let killed = crate::crash::kill_before(&traced, &["-f"], "renameat,renameat2", number).is_none();
        assert!(killed, "no rename {number}");
        let (versions, phase) = (install::versions(host), install::open_phase(host));
        finish(host);
        versions.len() == 2 && phase.as_deref() == Some("swapping")
    });
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn install_committing() {
    make("install-committing", |host, number| {
        let host = &host;
        before_an_install(host);
        let traced = host.command(&once(host));
        let killed = crate::crash::kill_before(&traced, &["-f"], "unlinkat,unlink", number).is_none();
        assert!(killed, "no unlink {number}");
        let (versions, phase) = (install::versions(host), install::open_phase(host));
        finish(host);
        versions.len() == 1 && versions.contains("v2") && phase.as_deref() == Some("committing")
    });
}

/// The daemon is killed while AfterInstall of v2 runs in both groups. Then the scripts end by themselves, or with the
/// host.
fn hook_in_flight(host: &Host, ends_by_itself: bool) -> bool {
    host.configure("instance_id: i-1\n");
    let groups = [("web", "v1", "v2"), ("jobs", "j1", "j2")];
    for (group, first, _) in groups {
        let bundle = hooks::bundle(host, first, "");
        host.deploy(&bundle, &["--application", "shop", "--group", group]).with_code(0);
    }
    host.clear_hook_lines();
    let daemon = host.daemon(&[]);
    let gate = Gate::at(host.path("gate"));
    let body = format!("echo worked; {}; echo ended", gate.wait());
    let asking = groups.map(|(group, _, second)| {
        let bundle = hooks::bundle(host, second, &body);
        host.start(&["deploy", bundle.to_str().unwrap(), "--application", "shop", "--group", group])
    });
    eventually("both scripts run", PATIENCE, || {
        let lines = host.hook_lines();
        let running = lines.iter().filter(|line| line.ends_with("2 AfterInstall")).count();
        if running == 2 { Ok(()) } else { Err(format!("{lines:?}\n{}", daemon.said())) }
    });
    let runs = eventually("both runs are written down", PATIENCE, || {
        let runs = hooks::running(host);
        let whole = runs.iter().all(|run| run["script"]["pid"] != run["supervisor"]["pid"]);
        if runs.len() == 2 && whole { Ok(runs) } else { Err(format!("{runs:?}")) }
    });
    daemon.kill();
    drop(asking);
    if ends_by_itself {
        gate.open();
        eventually("both results are there", PATIENCE, || {
            let still = hooks::running(host).len();
            if still == 0 { Ok(()) } else { Err(still.to_string()) }
        });
    } else {
        for process in runs.iter().flat_map(|run| [&run["supervisor"], &run["script"]]) {
            let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    finish(host);
    true
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn hook_ended() {
    make("hook-ended", |host, _| hook_in_flight(&host, true));
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn hook_interrupted() {
    make("hook-interrupted", |host, _| hook_in_flight(&host, false));
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn log_positions() {
    make("log-positions", |host, _| {
        finish(&logs::leave(host));
        true
    });
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn codedeploy_acknowledged() {
    make("codedeploy-acknowledged", |host, _| {
        finish(&codedeploy::leave(host, "PutHostCommandAcknowledgement", codedeploy::AFTER));
        true
    });
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn codedeploy_unreported() {
    make("codedeploy-unreported", |host, _| {
        finish(&codedeploy::leave(host, "PutHostCommandComplete", codedeploy::BEFORE));
        true
    });
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn lifecycle() {
    make("lifecycle", |host, _| {
        finish(&machine::leave_a_termination(host));
        true
    });
}

#[test]
#[ignore = "makes the disk again, with the old program"]
fn signals_and_events() {
    make("signals-and-events", |host, _| {
        finish(&machine::leave_a_signal_and_an_event(host));
        true
    });
}
