//! The promises about full disks.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Dice, seen};
use crate::support::host::{Bundle, Ended, HOSTLER, Host, Mount, hook_lines_of, root_or_skip, tree};

/// Whether the command succeeded, or reported the full disk and its place.
fn full_or_fine(ended: &Ended, places: &[&Path]) -> bool {
    match ended.code {
        Some(0) => true,
        Some(1) => {
            let said = format!("{}{}", ended.out, ended.err);
            let space = ["no space left", "(no_space)"].iter().any(|text| said.to_lowercase().contains(text));
            assert!(space, "no word of space: {ended:?}");
            let place = places.iter().any(|place| said.contains(place.to_str().unwrap()));
            assert!(place, "no place is named: {ended:?}");
            false
        }
        _ => panic!("{ended:?}"),
    }
}

#[test]
fn a_full_state_directory_fails_deployments_and_loses_nothing() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.state(), 12 << 20) else { return };
    let mut dice = Dice::new();
    let random = |dice: &mut Dice, version: &str| {
        Bundle::new(&host, version).app().content("app/large", dice.bytes(300_000)).all_hooks().write()
    };
    let bundles = [random(&mut dice, "a"), random(&mut dice, "b")];
    host.deploy(&bundles[0], &[]).with_code(0);
    let mut deployments = 1;
    let mut failed = 0;
    for (round, free) in [0, 4 << 10, 40 << 10, 200 << 10, 340 << 10, 360 << 10, 500 << 10].into_iter().enumerate() {
        let new = &bundles[(round + 1) % 2];
        let old_tree = seen(&host);
        let filler = disk.leave_free(free);
        let ended = host.deploy(new, &[]);
        let fine = full_or_fine(&ended, &[&host.state()]);
        deployments += 1;
        if !fine {
            failed += 1;
            let status = host.status();
            assert!(status["active"].is_null(), "{status}");
            assert!(["failed", "rolled_back"].contains(&status["condition"].as_str().unwrap()), "{status}");
            let reason = status["last"]["failure"].to_string() + &status["failed"]["failure"].to_string();
            assert!(reason.to_lowercase().contains("no space left"), "{status}");
        }
        fs::remove_file(filler).unwrap();
        if !fine && host.status()["condition"] != "failed" {
            assert_eq!(seen(&host), old_tree, "{free} bytes free: {ended:?}");
        }
        let reported = host.history();
        deployments = deployments.max(reported.iter().filter(|r| r["kind"] == "deployment_started").count());
        host.deploy(new, &[]).with_code(0);
        deployments += 1;
        assert_eq!(fs::read(host.at("srv/app/large")).unwrap(), fs::read(new.join("app/large")).unwrap());
        host.ok(&["history", "--verify"]);
    }
    assert!(failed >= 3, "the disk was not full often enough: {failed}");
    let history = host.history();
    let count = |kind: &str| history.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("deployment_started"), count("deployment_finished")), (deployments, deployments));
}

#[test]
fn a_full_destination_fails_the_deployment_and_the_old_files_stay() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.at("srv"), 4 << 20) else { return };
    let mut dice = Dice::new();
    let random = |dice: &mut Dice, version: &str| {
        let mut bundle = Bundle::new(&host, version).app().content("app/large", dice.bytes(300_000));
        for number in 0..20 {
            bundle = bundle.content(&format!("app/small/{version}-{number}"), dice.bytes(5000));
        }
        bundle.all_hooks().write()
    };
    let bundles = [random(&mut dice, "a"), random(&mut dice, "b")];
    host.deploy(&bundles[0], &[]).with_code(0);
    let mut failed = 0;
    for free in [0, 4 << 10, 64 << 10, 300 << 10, 400 << 10, 460 << 10, 600 << 10] {
        let old = tree(&host.at("srv/app"));
        let filler = disk.leave_free(free);
        let ended = host.deploy(&bundles[1], &[]);
        if full_or_fine(&ended, &[Path::new("/srv"), &host.at("srv")]) {
            host.deploy(&bundles[0], &[]).with_code(0);
        } else {
            failed += 1;
            assert_eq!(tree(&host.at("srv/app")), old, "{free} bytes free: {ended:?}");
        }
        fs::remove_file(filler).unwrap();
    }
    assert!(failed >= 4, "{failed}");
    host.deploy(&bundles[1], &[]).with_code(0);
    assert_eq!(fs::read(host.at("srv/app/large")).unwrap(), fs::read(bundles[1].join("app/large")).unwrap());
    host.ok(&["history", "--verify"]);
}

/// The destination fills up while the files are put in place: the earlier facts were right.
#[test]
fn a_destination_that_fills_up_before_install_is_noticed_and_undone() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.at("srv"), 4 << 20) else { return };
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    let old = tree(&host.at("srv/app"));
    host.clear_hook_lines();
    let fill = format!("cat /dev/zero > {} 2>/dev/null || true", host.at("srv/filler").display());
    let new = Bundle::new(&host, "v2").app().content("app/large", [7; 100_000]).hook("BeforeInstall", &fill);
    let ended = host.deploy(&new.all_hooks().write(), &[]).with_code(1).saying(&["Install failed"]);
    assert!(!full_or_fine(&ended, &[Path::new("/srv"), &host.at("srv")]));
    assert!(disk.free() < 4096);
    assert_eq!(tree(&host.at("srv/app")), old);
    assert_eq!(host.status()["condition"], "rolled_back");
    let back = hook_lines_of(None, "v1").split_off(2);
    assert_eq!(host.hook_lines(), [hook_lines_of(Some("v1"), "v2")[..4].to_vec(), back].concat());
}

#[test]
fn a_ledger_that_cannot_be_written_stops_the_agent_before_it_does_anything() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    let next = Bundle::new(&host, "v2").app().all_hooks().write();
    // The second slot lies beyond this process's file size limit.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$@\"", "sh", HOSTLER, "deploy"]).arg(&next);
    limited.args(["--application", "shop", "--group", "web", "--root"]).arg(host.root());
    let ended = Ended::of(limited).with_code(1);
    let ledger = host.state().join("ledger");
    let ended = ended.saying(&["error: cannot write", ledger.to_str().unwrap(), "File too large"]);
    assert!(!ended.err.contains("panicked"), "{ended:?}");
    assert_eq!(host.hook_lines(), Vec::<String>::new());
    // An accepted deployment continues at the next start; a refused one did not happen, and leaves nothing to do.
    host.run(&["run", "--once"]).with_code(2).saying(&["has nothing to follow"]);
    host.deploy(&next, &[]).with_code(0);
    let expected = hook_lines_of(Some("v1"), "v2");
    assert!(host.hook_lines().starts_with(&expected), "{:?}", host.hook_lines());
    host.ok(&["history", "--verify"]);
}

/// One disk for everything, which fills up when the old application is stopped: the space for a rollback was reserved.
#[test]
fn on_a_full_disk_the_old_application_is_started_again() {
    if !root_or_skip("a small file system") {
        return;
    }
    for event in ["BeforeInstall", "AfterInstall"] {
        let host = Host::new();
        let Some(disk) = Mount::tmpfs(&host.root(), 24 << 20) else { return };
        host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
        host.clear_hook_lines();
        let fill = format!("cat /dev/zero > {} 2>/dev/null || true", host.at("filler").display());
        let new = Bundle::new(&host, "v2").app().content("app/large", [7; 100_000]).hook(event, &fill);
        let ended = host.deploy(&new.all_hooks().write(), &[]).with_code(1);
        assert!(!full_or_fine(&ended, &[&host.root(), Path::new("/srv")]), "{event}");
        assert!(disk.free() < 4 << 20, "{event}: the disk is not full");
        assert_eq!(host.status()["condition"], "rolled_back", "{event}: {ended:?}");
        assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n", "{event}");
        assert!(!host.at("srv/app/large").exists(), "{event}");
        let lines = host.hook_lines();
        assert_eq!(lines.last().unwrap(), "v1 AfterAllowTraffic", "{event}: {lines:?}");
        assert!(lines.contains(&"v1 ApplicationStart".to_owned()), "{event}: {lines:?}");
        // The used reserve cannot be restored, so nothing is stopped.
        host.clear_hook_lines();
        let next = Bundle::new(&host, "v3").app().all_hooks().write();
        let ended = host.deploy(&next, &[]).with_code(1).saying(&["DownloadBundle failed"]);
        assert!(!full_or_fine(&ended, &[&host.root(), Path::new("/srv")]), "{event}");
        assert_eq!(host.hook_lines(), Vec::<String>::new(), "{event}");
        fs::remove_file(host.at("filler")).unwrap();
        host.deploy(&next, &[]).with_code(0);
        host.ok(&["history", "--verify"]);
    }
}

/// A rollback without space, and the file that takes the space.
fn rollback_without_space(host: &Host) -> Option<(Mount, std::path::PathBuf)> {
    let disk = Mount::tmpfs(&host.at("srv"), 4 << 20)?;
    let old = Bundle::new(host, "v1").app().content("app/large", [7; 400_000]);
    host.deploy(&old.all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    let filler = host.at("srv/filler");
    let fill = format!("cat /dev/zero > {} 2>/dev/null || true; exit 1", filler.display());
    let new = Bundle::new(host, "v2").app().hook("ApplicationStart", &fill).all_hooks().write();
    host.deploy(&new, &[]).with_code(1).saying(&["Install failed", "(no_space)"]);
    let status = host.status();
    assert_eq!(status["condition"], "failed", "{status}");
    assert!(status["rollback_again_ms"].is_u64(), "{status}");
    assert!(!host.hook_lines().contains(&"v1 ApplicationStart".to_owned()), "{:?}", host.hook_lines());
    host.ok(&["status"]).saying(&["shop/web: FAILED", "the rollback had no space", "`hostler run --once`"]);
    Some((disk, filler))
}

#[test]
fn a_rollback_that_had_no_space_is_tried_again_by_run_once() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some((_disk, filler)) = rollback_without_space(&host) else { return };
    host.run(&["run", "--once"]).with_code(1).saying(&["rollback d-", "(no_space)"]);
    assert!(host.status()["rollback_again_ms"].is_u64());
    fs::remove_file(filler).unwrap();
    host.ok(&["run", "--once"]).saying(&["rollback d-", "succeeded"]);
    assert_eq!(host.status()["condition"], "rolled_back");
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    assert!(host.hook_lines().contains(&"v1 ApplicationStart".to_owned()), "{:?}", host.hook_lines());
    host.ok(&["history", "--verify"]);
}

#[test]
fn a_rollback_that_had_no_space_is_tried_again_by_the_daemon() {
    if !root_or_skip("a small file system") {
        return;
    }
    let host = Host::new();
    let Some((_disk, filler)) = rollback_without_space(&host) else { return };
    let daemon = host.daemon(&[]);
    daemon.says("the rollback has no space and is tried again");
    let again = host.status_when("it is tried at the start", |s| s["rollback_again_ms"].is_u64());
    host.run(&["status", "--health"]).with_code(1).saying(&["shop/web: the rollback has no space, and is tried again"]);
    fs::remove_file(filler).unwrap();
    host.status_when(&format!("it is tried again by itself after {again}"), |s| s["condition"] == "rolled_back");
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    assert!(host.hook_lines().contains(&"v1 ApplicationStart".to_owned()), "{:?}", host.hook_lines());
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}
