//! Deployments without a daemon: first ones, updates, failures, rollbacks and their record.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::host::{Bundle, EVENTS_WITH_HOOKS, Host, hook_lines_of, own_user, root_or_skip, tree, write};

/// A good first revision with all hooks.
fn first(host: &Host) -> std::path::PathBuf {
    let bundle = Bundle::new(host, "v1").app().all_hooks().write();
    host.deploy(&bundle, &[]).with_code(0);
    bundle
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

#[test]
fn a_first_deployment_puts_files_in_place_and_runs_the_hooks_with_their_environment() {
    let host = Host::new();
    let environment = host.path("environment");
    let bundle = Bundle::new(&host, "v1")
        .app()
        .content("app/run", "#!/bin/sh\n")
        .link("app/current", "lib/same")
        .permissions("  - object: /srv/app\n    pattern: run\n    mode: 750\n    type: [file]\n")
        .hook("AfterInstall", &format!("env > {}; echo to the log; echo complaint >&2", environment.display()))
        .all_hooks()
        .write();
    let ended = host.deploy(&bundle, &[]).with_code(0).saying(&["AfterAllowTraffic", "succeeded"]);

    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    assert_eq!(fs::read_link(host.at("srv/app/current")).unwrap(), Path::new("lib/same"));
    assert_eq!(mode(&host.at("srv/app/run")), 0o750);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));

    let status = host.status();
    let id = status["installed"]["deployment"].as_str().unwrap();
    assert_eq!(status["condition"], "good", "{status}");
    assert!(ended.out.contains(id), "{ended:?}");
    let environment = fs::read_to_string(environment).unwrap();
    for (name, value) in [
        ("LIFECYCLE_EVENT", "AfterInstall"),
        ("DEPLOYMENT_ID", id),
        ("APPLICATION_NAME", "shop"),
        ("DEPLOYMENT_GROUP_NAME", "web"),
        ("HOSTLER_DEADLINE", "60"),
        ("HOSTLER_REVISION", bundle.to_str().unwrap()),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ] {
        assert!(environment.lines().any(|line| line == format!("{name}={value}")), "{name}={value}\n{environment}");
    }
    for name in ["DEPLOYMENT_GROUP_ID=", "HOSTLER_INSTANCE_ID=", "HOME=", "USER=", "LOGNAME=", "SHELL="] {
        assert!(environment.lines().any(|line| line.starts_with(name)), "{name}\n{environment}");
    }
    let all = host.state().join("deployment-root/deployment-logs/codedeploy-agent-deployments.log");
    for log in [host.deployment(id).join("logs/scripts.log"), all] {
        let log = fs::read_to_string(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        assert!(log.contains("[stdout]to the log\n") && log.contains("[stderr]complaint\n"), "{log}");
        assert!(log.contains("LifecycleEvent - AfterInstall\n"), "{log}");
    }
    host.ok(&["logs"]).saying(&["[stdout] to the log"]);
    host.ok(&["history", "--verify"]);
}

#[test]
fn limits_that_cannot_be_enforced_are_said() {
    // systemd enforces the limits: the tests on booted hosts check that.
    if Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "true").write();
    let appspec = bundle.join("appspec.yml");
    let text = fs::read_to_string(&appspec).unwrap();
    let script = text.split("location: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let limits = format!("hostler: {{hooks: {{AfterInstall: {{{script}: {{limits: {{tasks_max: 40}}}}}}}}}}\n");
    write(&appspec, format!("{text}{limits}"));
    host.deploy(&bundle, &[]).with_code(0).saying(&[script, "limits are not enforced"]);
}

#[test]
fn an_update_takes_away_what_the_group_installed_and_nothing_else() {
    let host = Host::new();
    first(&host);
    write(&host.at("srv/app/of-somebody-else"), "mine");
    write(&host.at("srv/app/lib/log"), "mine too");
    host.clear_hook_lines();
    let second = Bundle::new(&host, "v2").app().all_hooks().write();
    host.deploy(&second, &[]).with_code(0);
    let there: Vec<_> = tree(&host.at("srv/app")).into_keys().map(|p| p.display().to_string()).collect();
    assert_eq!(there, ["lib", "lib/log", "lib/same", "of-somebody-else", "only-v2", "version"]);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
}

#[test]
fn without_cleanup_the_old_files_stay() {
    for by_configuration in [false, true] {
        let host = Host::new();
        first(&host);
        let second = Bundle::new(&host, "v2").app().write();
        if by_configuration {
            host.configure("groups:\n  - application: shop\n    group: web\n    cleanup: false\n");
            host.deploy(&second, &[]).with_code(0);
        } else {
            host.deploy(&second, &["--no-cleanup"]).with_code(0);
        }
        assert!(host.at("srv/app/only-v1").exists(), "by configuration: {by_configuration}");
        assert!(host.at("srv/app/only-v2").exists());
    }
}

#[test]
fn a_failing_hook_fails_the_deployment_and_its_last_lines_are_shown() {
    let host = Host::new();
    let body = "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; echo it broke >&2; exit 42";
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", body).all_hooks().write();
    let ended = host.deploy(&bundle, &[]).with_code(1);
    let ended = ended.saying(&["AfterInstall         failed", "hooks/AfterInstall-1.sh", "42", "line 49", "it broke"]);
    assert!(!ended.out.contains("line 5\n"), "the whole output is shown: {ended:?}");
    assert_eq!(host.hook_lines(), ["v1 BeforeInstall", "v1 AfterInstall"]);
    let status = host.status();
    assert_eq!(status["condition"], "failed", "{status}");
    assert_eq!(status["last"]["failure"]["event"], "AfterInstall", "{status}");
    assert_eq!(status["last_good"], serde_json::Value::Null);
    host.ok(&["status"]).saying(&["FAILED", "AfterInstall failed", "it broke"]);
    assert_eq!(host.history().iter().filter(|r| r["kind"] == "deployment_started").count(), 1, "nothing to return to");
}

#[test]
fn a_bundle_with_a_fault_touches_nothing() {
    let host = Host::new();
    first(&host);
    let before = tree(&host.at("srv"));
    host.clear_hook_lines();
    let bad = Bundle::new(&host, "v2").app().files("not-there", "/srv/x").all_hooks().write();
    host.deploy(&bad, &[]).with_code(1).saying(&["DownloadBundle", "not-there"]);
    assert_eq!(tree(&host.at("srv")), before);
    assert_eq!(host.hook_lines(), Vec::<String>::new(), "no hook runs, and there is nothing to roll back");
    assert_eq!(host.status()["last"]["creator"], "cli");
}

/// The ways to ignore a failing ApplicationStop.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ignored {
    Not,
    ByDeploy,
    ByConfiguration,
    ByRelease,
    ByRun,
}

#[test]
fn a_failing_application_stop_of_the_old_revision_blocks_unless_it_is_ignored() {
    for ignored in [Ignored::Not, Ignored::ByDeploy, Ignored::ByConfiguration, Ignored::ByRelease, Ignored::ByRun] {
        let host = Host::new();
        let bad = Bundle::new(&host, "v1").app().hook("ApplicationStop", "exit 9").all_hooks().write();
        host.deploy(&bad, &[]).with_code(0);
        host.clear_hook_lines();
        let next = Bundle::new(&host, "v2").app().all_hooks().write();
        let flag = "--ignore-application-stop-failures";
        let store = host.store();
        let once = ["run", "--once", "--channel", store.to_str().unwrap()];
        let ended = match ignored {
            Ignored::Not => host.deploy(&next, &[]),
            Ignored::ByDeploy => host.deploy(&next, &[flag]),
            Ignored::ByConfiguration => {
                let yes = "ignore_application_stop_failures: true";
                host.configure(&format!("groups:\n  - application: shop\n    group: web\n    {yes}\n"));
                host.deploy(&next, &[])
            }
            Ignored::ByRelease => {
                host.release(&next, &[flag]);
                host.run(&once)
            }
            Ignored::ByRun => {
                host.release(&next, &[]);
                host.run(&[&once[..], &[flag]].concat())
            }
        };
        let version = fs::read_to_string(host.at("srv/app/version")).unwrap();
        if ignored == Ignored::Not {
            ended.with_code(1).saying(&["ApplicationStop failed", "ApplicationStop-1.sh", "9"]);
            assert_eq!(version, "v1\n");
            let lines = host.hook_lines();
            assert!(lines.contains(&"v1 ApplicationStart".to_owned()), "the old one is started again: {lines:?}");
        } else {
            ended.with_code(0).saying(&["ignored"]);
            assert_eq!(version, "v2\n", "{ignored:?}");
            assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"), "{ignored:?}");
            let status = host.status();
            assert!(status["last"]["warnings"].to_string().contains("ApplicationStop-1.sh"), "{status}");
        }
    }
}

/// The hooks that run when v2 fails in an event and v1 is restored.
fn lines_of_failure_and_rollback(event: &str, version: &str) -> Vec<String> {
    let whole = hook_lines_of(Some("v1"), version);
    let at = whole.iter().position(|line| line.ends_with(&format!(" {event}"))).unwrap();
    let mut lines = whole[..=at].to_vec();
    let all = hook_lines_of(Some(version), "v1");
    let back = match event {
        // Nothing was installed: the old application is only started again.
        "BeforeBlockTraffic" | "AfterBlockTraffic" | "ApplicationStop" | "BeforeInstall" => &all[5..],
        // The new application was never started.
        "AfterInstall" => &all[3..],
        _ => &all[..],
    };
    lines.extend_from_slice(back);
    lines
}

#[test]
fn a_failure_in_any_event_brings_the_old_revision_back() {
    let host = Host::new();
    let break_old = host.path("break-old");
    let mut old = Bundle::new(&host, "v1").app();
    for event in &EVENTS_WITH_HOOKS[..3] {
        old = old.hook(event, &format!("[ \"$(cat {} 2>/dev/null)\" != {event} ]", break_old.display()));
    }
    host.deploy(&old.all_hooks().write(), &[]).with_code(0);
    write(&host.at("srv/other/settings"), "by hand");
    fs::set_permissions(host.at("srv/other/settings"), fs::Permissions::from_mode(0o604)).unwrap();
    let before = tree(&host.at("srv"));
    for event in EVENTS_WITH_HOOKS {
        let version = format!("v2-{event}");
        let mut new =
            Bundle::new(&host, &version).app().content("settings", "from the bundle").files("settings", "/srv/other");
        if EVENTS_WITH_HOOKS[..3].contains(&event) {
            write(&break_old, event);
        } else {
            new = new.hook(event, "echo no luck; exit 7");
        }
        let new = new.all_hooks().write();
        host.clear_hook_lines();
        host.deploy(&new, &["-b", "overwrite"]).with_code(1).saying(&[
            &format!("{event} failed"),
            "returning to the last good revision",
            "succeeded",
        ]);
        let _ = fs::remove_file(&break_old);
        assert_eq!(tree(&host.at("srv")), before, "after a failure in {event}");
        assert_eq!(host.hook_lines(), lines_of_failure_and_rollback(event, &version), "{event}");
        let status = host.status();
        assert_eq!(status["condition"], "rolled_back", "{status}");
        assert_eq!(status["failed"]["failure"]["event"], event, "{status}");
        assert_eq!(status["installed"]["archive"], status["last_good"]["archive"], "{status}");
        host.ok(&["status"]).saying(&["rolled back", &format!("{event} failed")]);
        host.ok(&["history", "--verify"]);
    }
}

#[test]
fn a_failing_install_is_undone_and_the_old_application_started_again() {
    let host = Host::new();
    first(&host);
    let before = tree(&host.at("srv/app"));
    host.clear_hook_lines();
    // The obstacle appears only after all checks.
    let in_the_way = host.at("srv/late/file");
    let new = Bundle::new(&host, "v2")
        .app()
        .content("file", "x")
        .files("file", "/srv/late")
        .hook("BeforeInstall", &format!("mkdir -p {}", in_the_way.display()))
        .all_hooks()
        .write();
    host.deploy(&new, &[]).with_code(1).saying(&["Install failed", "/srv/late/file"]);
    assert_eq!(tree(&host.at("srv/app")), before);
    let back = hook_lines_of(None, "v1").split_off(2);
    assert_eq!(host.hook_lines(), [hook_lines_of(Some("v1"), "v2")[..4].to_vec(), back].concat());
}

#[test]
fn a_rollback_that_fails_holds_still_and_can_be_repeated_by_hand() {
    let host = Host::new();
    let broken = host.path("broken");
    let old = Bundle::new(&host, "v1").app().hook("ApplicationStart", &format!("[ ! -e {} ]", broken.display()));
    host.deploy(&old.all_hooks().write(), &[]).with_code(0);
    let good = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let before = tree(&host.at("srv"));
    write(&broken, "");
    let new = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 1").all_hooks().write();
    host.deploy(&new, &[]).with_code(1);
    assert_eq!(host.history().iter().filter(|r| r["kind"] == "deployment_started").count(), 3);
    let status = host.status();
    assert_eq!((&status["condition"], &status["last"]["creator"]), (&"failed".into(), &"rollback".into()), "{status}");
    assert_eq!(status["last_good"]["deployment"], good, "{status}");

    // By name and then, after the next failure, without one: both restore the revision.
    host.run(&["rollback", "--to", &good]).with_code(1);
    fs::remove_file(&broken).unwrap();
    host.ok(&["rollback"]);
    assert_eq!(tree(&host.at("srv")), before);
    assert_eq!(host.status()["installed"]["archive"], good);
}

#[test]
fn rollbacks_know_the_files_of_revisions_that_failed_and_stayed() {
    let host = Host::new();
    host.configure("groups:\n  - application: shop\n    group: web\n    max_revisions: 2\n");
    first(&host);
    let before = tree(&host.at("srv/app"));
    let stays = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 1").write();
    host.deploy(&stays, &["--no-rollback"]).with_code(1);
    assert!(host.at("srv/app/only-v2").exists());
    write(&host.at("srv/other/settings"), "by hand");
    let next = Bundle::new(&host, "v3").app().content("settings", "new").files("settings", "/srv/other");
    let next = next.hook("ValidateService", "exit 1").write();
    host.deploy(&next, &["-b", "overwrite"]).with_code(1).saying(&["returning to the last good revision", "succeeded"]);
    assert_eq!(tree(&host.at("srv/app")), before);
    assert_eq!(fs::read_to_string(host.at("srv/other/settings")).unwrap(), "by hand");
}

#[test]
fn one_groups_broken_channel_does_not_keep_the_others_from_theirs() {
    let host = Host::new();
    let store = host.store();
    let group =
        |name: &str, channel: &str| format!("  - application: shop\n    group: {name}\n    channel: {channel}\n");
    let (missing, here) = (store.join("missing"), store.to_str().unwrap().to_owned());
    host.configure(&format!("groups:\n{}{}", group("first", missing.to_str().unwrap()), group("web", &here)));
    let bundle = Bundle::new(&host, "v1").app().write();
    let revision = host.ok(&["push", bundle.to_str().unwrap(), &here]).out;
    host.ok(&["release", &here, revision.trim(), "--application", "shop", "--group", "web"]);
    host.run(&["run", "--once"]).with_code(5).saying(&["missing", "does not exist", "shop/web", "succeeded"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}

#[test]
fn a_rollback_by_hand_holds_the_channel_until_resume() {
    let host = Host::new();
    let store = host.store();
    let once = ["run", "--once", "--channel", store.to_str().unwrap()];
    for version in ["v1", "v2"] {
        host.release(&Bundle::new(&host, version).app().all_hooks().write(), &[]);
        host.ok(&once);
    }
    let second = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    host.clear_hook_lines();
    host.ok(&["rollback"]);
    assert_eq!(host.version(), "v1");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v2"), "v1"));
    assert_eq!(
        (&host.status()["condition"], &host.status()["held"]),
        (&"rolled_back".into(), &format!("user {} rolled back", own_user()).into())
    );
    host.run(&once).with_code(3).saying(&["held", "hostler resume"]);
    assert_eq!(host.version(), "v1");
    host.ok(&["resume"]);
    host.ok(&once);
    assert_eq!(host.version(), "v2");

    host.ok(&["rollback"]);
    host.ok(&["rollback", "--to", &second]);
    assert_eq!(host.version(), "v2");
    host.run(&["rollback", "--to", "d-NOBODY"]).with_code(5).saying(&["d-NOBODY"]);
    // A higher release ends the hold automatically.
    host.release(&Bundle::new(&host, "v3").app().all_hooks().write(), &[]);
    host.ok(&once);
    assert_eq!((host.version().as_str(), &host.status()["condition"]), ("v3", &"good".into()));
    host.ok(&["history", "--verify"]);
}

#[test]
fn a_failed_release_is_not_tried_again_by_itself() {
    let host = Host::new();
    let store = host.store();
    let once = ["run", "--once", "--channel", store.to_str().unwrap()];
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    host.ok(&once);
    let broken = host.path("broken");
    write(&broken, "");
    let new = Bundle::new(&host, "v2").app().hook("ApplicationStart", &format!("[ ! -e {} ]", broken.display()));
    host.release(&new.write(), &[]);
    host.run(&once).with_code(1).saying(&["ApplicationStart failed"]);
    let lines = host.hook_lines();
    host.run(&once).with_code(3).saying(&["was tried and failed"]);
    assert!(!host.at("run/hostler/hostler.sock").exists(), "the socket of a process that ended");
    assert_eq!(host.hook_lines(), lines);
    fs::remove_file(&broken).unwrap();
    host.ok(&["resume"]);
    host.ok(&once);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
}

#[test]
fn a_history_that_somebody_changed_does_not_verify() {
    let host = Host::new();
    first(&host);
    host.deploy(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]).with_code(0);
    host.ok(&["history", "--verify"]).saying(&["whole"]);
    let file = host.state().join("history.ndjson");
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let middle = lines.len() / 2;
    let without =
        |at: usize| lines.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, l)| format!("{l}\n")).collect();
    let mut swapped = lines.clone();
    swapped.swap(middle, middle + 1);
    let changes: [(&str, String); 7] = [
        ("a byte edited", good.replacen("v1", "v7", 1)),
        ("a byte of the last record edited", format!("{}\n", good.trim_end().replacen("succeeded", "succeeder", 99))),
        ("a line removed", without(middle)),
        ("the first line removed", without(0)),
        ("the last line removed", without(lines.len() - 1)),
        ("half of it removed", lines[..middle].iter().map(|l| format!("{l}\n")).collect()),
        ("two lines swapped", swapped.iter().map(|l| format!("{l}\n")).collect()),
    ];
    for (what, text) in changes {
        assert_ne!(text, good, "{what}");
        fs::write(&file, text).unwrap();
        let ended = host.run(&["history", "--verify"]);
        assert_eq!(ended.code, Some(6), "{what}: {ended:?}");
    }
    fs::remove_file(&file).unwrap();
    host.run(&["history", "--verify"]).with_code(6);
    fs::write(&file, good).unwrap();
    host.ok(&["history", "--verify"]);
}

#[test]
fn as_many_revisions_stay_as_the_configuration_says() {
    let host = Host::new();
    host.configure("groups:\n  - application: shop\n    group: web\n    max_revisions: 3\n");
    let mut ids = Vec::new();
    for number in 1..=5 {
        host.deploy(&Bundle::new(&host, &format!("v{number}")).app().write(), &[]).with_code(0);
        ids.push(host.status()["installed"]["deployment"].as_str().unwrap().to_owned());
    }
    let mut kept = host.kept_deployments();
    kept.sort();
    let mut wanted = ids[2..].to_vec();
    wanted.sort();
    assert_eq!(kept, wanted);
    // Many failures do not displace the last good one.
    for number in 6..=9 {
        let bad = Bundle::new(&host, &format!("v{number}")).app().hook("ApplicationStart", "exit 1").write();
        host.deploy(&bad, &["--no-rollback"]).with_code(1);
        let kept = host.kept_deployments();
        assert!(kept.contains(&ids[4]), "{kept:?}");
        // The failed one, the one before it, whose files a rollback restores, and the last good one.
        assert!(kept.len() <= 3, "{kept:?}");
    }
    host.ok(&["rollback"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v5\n");
}

#[test]
fn an_old_revision_that_cannot_be_deleted_is_a_warning() {
    if !root_or_skip("a mount that is in the way") {
        return;
    }
    let host = Host::new();
    host.configure("groups:\n  - application: shop\n    group: web\n    max_revisions: 2\n");
    first(&host);
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let busy = host.deployment(&id).join("deployment-archive/app");
    let Some(_mount) = crate::support::host::Mount::tmpfs(&busy, 1 << 20) else { return };
    for version in ["v2", "v3"] {
        host.deploy(&Bundle::new(&host, version).app().all_hooks().write(), &[]).with_code(0);
    }
    let status = host.status();
    assert_eq!(status["condition"], "good", "{status}");
    let warnings = status["last"]["warnings"].to_string();
    assert!(warnings.contains("could not be deleted") && warnings.contains(&id), "{status}");
}

#[test]
fn scripts_get_the_variables_that_the_appspec_gives_them() {
    let host = Host::new();
    let lines = "  environment: {STAGE: prod, DEPLOYMENT_ID: d-FORGED}\n  hooks:\n    AfterInstall:\n      hooks/AfterInstall-1.sh: {environment: {STAGE: test}}\n";
    let say = format!("echo $STAGE $DEPLOYMENT_ID >> {}", host.path("said").display());
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", &say).hook("ApplicationStart", &say);
    host.deploy(&bundle.extension(lines).write(), &[]).with_code(0);
    let line = fs::read_to_string(host.hook_lines_file()).unwrap();
    let id = line.split_whitespace().nth(2).unwrap();
    assert!(id != "d-FORGED");
    assert_eq!(fs::read_to_string(host.path("said")).unwrap(), format!("test {id}\nprod {id}\n"));
    let bundle = Bundle::new(&host, "v2").app().extension("  traffic: {method: standby}\n").write();
    host.deploy(&bundle, &[]).with_code(0).saying(&["`traffic` has no effect"]);
}
