//! What an operator sees who acts by hand: groups that need no name, what can be returned to, answers and failures.

use std::fs;

use crate::support::host::{Bundle, Ended, HOSTLER, Host};

/// The program without the flags that name a group.
fn without_names(host: &Host, arguments: &[&str]) -> Ended {
    let mut command = std::process::Command::new(HOSTLER);
    command.args(arguments).arg("--root").arg(host.root()).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    Ended::of(command)
}

#[test]
fn with_one_group_on_the_host_no_verb_needs_its_name() {
    let host = Host::new();
    for verb in ["rollback", "remove", "resume"] {
        without_names(&host, &[verb]).with_code(2).saying(&["which deployment group?"]);
    }
    for version in ["v1", "v2"] {
        host.deploy(&Bundle::new(&host, version).app().write(), &[]).with_code(0);
    }
    without_names(&host, &["rollback"]).with_code(0).saying(&["of shop/web", "succeeded"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    without_names(&host, &["resume"]).with_code(3).saying(&["shop/web has followed no channel yet"]);
    let other = Bundle::new(&host, "other").content("x", "").files("x", "/srv/other").write();
    host.run(&["deploy", other.to_str().unwrap(), "--application", "shop", "--group", "b"]).with_code(0);
    for arguments in [&["rollback"][..], &["remove"], &["resume"], &["remove", "--application", "shop"]] {
        without_names(&host, arguments).with_code(2).saying(&["this host has", "shop/b, shop/web", "--group"]);
    }
    without_names(&host, &["remove", "--group", "b"]).with_code(0);
    assert!(!host.at("srv/other/x").exists() && host.at("srv/app/version").exists());
    // A group that no deployment reached is refused, and leaves nothing behind.
    for verb in ["rollback", "resume", "remove"] {
        let ended = host.run(&[verb, "--application", "shop", "--group", "typo"]);
        assert!(matches!(ended.code, Some(3 | 5)), "{ended:?}");
    }
    assert!(!without_names(&host, &["status"]).with_code(0).out.contains("typo"));
}

#[test]
fn a_rollback_says_what_there_is_to_return_to_and_not_to_a_failed_deployment_without_force() {
    let host = Host::new();
    let id = |status: &serde_json::Value, which: &str| status[which]["deployment"].as_str().unwrap().to_owned();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let first = id(&host.status(), "installed");
    host.run(&["rollback"])
        .with_code(3)
        .saying(&["no other good revision", &format!("the one of {first} is installed")]);
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 1").write();
    host.deploy(&bad, &[]).with_code(1);
    let failed = host.status()["failed"]["id"].as_str().unwrap().to_owned();
    host.run(&["rollback"]).with_code(3).saying(&["no other good revision"]);
    host.deploy(&Bundle::new(&host, "v3").app().write(), &[]).with_code(0);
    let status = host.status();
    assert_eq!(status["earlier"][0]["deployment"], first, "{status}");
    assert_eq!(
        status["earlier"].as_array().unwrap().len(),
        1,
        "what failed and what is installed is not there: {status}"
    );
    host.ok(&["status"]).saying(&["earlier:", &format!(", {first}")]);
    host.run(&["rollback", "--to", "d-NOBODY"]).with_code(5).saying(&[&format!("the group can return to {first}")]);
    host.run(&["rollback", "--to", &failed])
        .with_code(3)
        .saying(&["failed, so a rollback returns to its revision only with --force", &format!("return to {first}")]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v3\n", "nothing was touched");
    host.run(&["rollback", "--to", &failed, "--force"]).with_code(1).saying(&["ValidateService failed"]);
    host.ok(&["rollback", "--to", &first]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}

#[test]
fn status_shows_the_channels_release_and_groups_without_a_deployment() {
    let host = Host::new();
    let store = host.store();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let daemon = host.daemon(&[]);
    host.status_when("the release is installed", |status| status["condition"] == "good");
    assert!(!host.ok(&["status"]).out.contains("released:"));
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    host.ok(&["status"]).saying(&["released:  1 in its channel; what is installed was deployed by hand"]);
    host.ok(&["rollback"]);
    assert!(!host.ok(&["status"]).out.contains("released:"), "the rollback brought the release's revision back");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.end();

    let group = |name: &str| format!("  - application: shop\n    group: {name}\n    channel: {}\n", store.display());
    host.configure(&format!("groups:\n{}{}", group("web"), group("empty")));
    let daemon = host.daemon(&[]);
    let status = without_names(&host, &["status"]).with_code(0);
    let line = format!("shop/empty: nothing deployed\n  channel:   {}\n", store.display());
    assert!(status.out.contains(&line) && status.out.contains("shop/web: rolled back"), "{}", status.out);
    assert!(!host.ok(&["status"]).out.contains("shop/empty"), "it was not asked for");
    drop(daemon);
}

#[test]
fn status_says_that_its_root_does_not_exist() {
    let host = Host::new();
    let absent = host.path("typo");
    let mut command = std::process::Command::new(HOSTLER);
    command.arg("status").arg("--root").arg(&absent).env_clear();
    Ended::of(command).saying(&[&format!("note: there is no directory {}", absent.display())]);
    assert!(!absent.exists());
}

#[test]
fn what_a_reader_closes_ends_quietly_and_a_failure_is_printed_once() {
    let host = Host::new();
    let bad = Bundle::new(&host, "v1").app().hook("AfterInstall", "exit 7").write();
    let ended = host.deploy(&bad, &[]).with_code(1);
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(said.matches("AfterInstall-1.sh: exit status 7").count(), 1, "{said}");
    let unread = |mut command: std::process::Command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let running = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = running.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(unread(host.command(&["history"])), (Some(0), String::new()));
    host.release(&bad, &[]);
    let (bundle, store) = (bad.to_str().unwrap(), host.store());
    let store = store.to_str().unwrap();
    let shows: [&[&str]; 5] =
        [&["revisions", store], &["releases", store], &["validate", bundle], &["plan", bundle], &["doctor"]];
    for verb in shows {
        let code = host.run(verb).code;
        assert_eq!(unread(host.command(verb)), (code, String::new()), "{verb:?}");
    }
    let invalid = host.write("appspec.yml", "version: 0.0\nos: windows\n");
    assert_eq!(unread(host.command(&["validate", invalid.to_str().unwrap()])), (Some(1), String::new()));
    // The exit code is the deployment's all the same, and a failure that is shown nowhere else is in the log.
    let good = Bundle::new(&host, "v2").app().write();
    assert_eq!(unread(host.command(&["deploy", good.to_str().unwrap()])), (Some(0), String::new()));
    let (code, said) = unread(host.command(&["deploy", bad.to_str().unwrap()]));
    assert!(code == Some(1) && said.contains("AfterInstall-1.sh: exit status 7"), "{code:?} {said}");
}

#[test]
fn every_verb_that_acts_says_what_it_did_as_json() {
    let host = Host::new();
    let store = host.store();
    for version in ["v1", "v2"] {
        host.release(&Bundle::new(&host, version).app().write(), &[]);
        host.ok(&["run", "--once", "--channel", store.to_str().unwrap()]);
    }
    host.ok(&["rollback"]);
    let resumed = host.ok(&["resume", "--json"]).json();
    assert_eq!(resumed, serde_json::json!({"version": 1, "application": "shop", "group": "web"}));
    host.ok(&["run", "--once", "--channel", store.to_str().unwrap()]);
    host.ok(&["rollback"]);
    host.ok(&["resume"]).saying(&["shop/web follows its channel again"]);
    let daemon = host.daemon(&[]);
    assert_eq!(host.ok(&["reload", "--json"]).json(), serde_json::json!({"version": 1, "reloaded": true}));
    assert_eq!(host.ok(&["stop", "--json"]).json(), serde_json::json!({"version": 1, "stopped": true}));
    daemon.end().with_code(0);
    let version = host.ok(&["version", "--json"]).json();
    assert_eq!((&version["version"], &version["hostler"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()), "{version}");
    assert!(version["target"].as_str().is_some_and(|target| target.contains("linux")), "{version}");
    // A release build names its commit and date; HOSTLER_COMMIT and SOURCE_DATE_EPOCH name them in every build.
    let facts: Vec<&str> = ["commit", "built"].iter().filter_map(|fact| version[*fact].as_str()).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    let line = format!("hostler {}{facts}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(host.ok(&["version"]).out, line);
    assert_eq!(host.ok(&["--version"]).out, line);
    assert_eq!(host.ok(&["--version", "--json"]).json(), version);
    assert_eq!(host.ok(&["--json", "-V"]).json(), version);
}

#[test]
fn failures_do_not_use_up_the_revisions_to_return_to() {
    let host = Host::new();
    for version in ["v1", "v2", "v3"] {
        host.deploy(&Bundle::new(&host, version).app().write(), &[]).with_code(0);
    }
    let earlier = || {
        let listed = host.status()["earlier"].as_array().cloned().unwrap_or_default();
        listed.iter().map(|one| one["deployment"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = earlier();
    assert_eq!(before.len(), 2, "{before:?}");
    let failing = Bundle::new(&host, "bad").app().hook("AfterInstall", "exit 7").write();
    for _ in 0..3 {
        host.deploy(&failing, &[]).with_code(1);
    }
    let unfit =
        host.write("unfit/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: absent, destination: /srv}\n");
    for _ in 0..9 {
        host.deploy(unfit.parent().unwrap(), &[]).with_code(1);
    }
    assert_eq!(earlier(), before);
    host.ok(&["rollback", "--to", &before[1]]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_failure_says_what_is_installed_and_quietly_also_how_the_rollback_ended() {
    let host = Host::new();
    let bad = |name: &str| Bundle::new(&host, name).app().hook("AfterInstall", "exit 7").write();
    let first = bad("first");
    // Revisions of one directory look alike but for their deployments.
    let there = format!("{} as of d-", first.display());
    host.deploy(&first, &[]).with_code(1).saying(&["no rollback follows: no revision has succeeded", &there]);
    let good = Bundle::new(&host, "good").app().write();
    host.deploy(&good, &[]).with_code(0);
    let unfit =
        host.write("unfit/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: absent, destination: /srv}\n");
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let as_before = format!("nothing was touched: {} as of {id} is installed as before", good.display());
    host.deploy(unfit.parent().unwrap(), &[]).with_code(1).saying(&[&as_before]);
    let quiet = host.deploy(&bad("second"), &["-q"]).with_code(1);
    assert_eq!(quiet.out, "");
    let again = format!(" succeeded\n{} as of {id} is installed again\n", good.display());
    quiet.saying(&["failed in AfterInstall: ", "returning to the last good revision (d-", &again]);
}

#[test]
fn the_same_bundle_again_and_again_displaces_no_revision_to_return_to() {
    let host = Host::new();
    host.configure("groups:\n  - application: shop\n    group: web\n    max_revisions: 2\n");
    let store = host.store();
    let once = ["run", "--once", "--channel", store.to_str().unwrap()];
    let release = |version: &str| {
        host.release(&Bundle::new(&host, version).app().write(), &[]);
        host.ok(&once);
    };
    release("v1");
    // More often than deployments are remembered.
    (0..12).for_each(|_| release("v2"));
    let status = host.status();
    assert_eq!(status["earlier"].as_array().map(Vec::len), Some(1), "{status}");
    host.ok(&["rollback"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn status_lists_revisions_by_when_they_were_last_installed_and_a_rollback_takes_the_first_that_was_not_left() {
    let host = Host::new();
    let mut ids = Vec::new();
    for version in ["v1", "v2", "v3"] {
        host.deploy(&Bundle::new(&host, version).app().write(), &[]).with_code(0);
        ids.push(host.status()["installed"]["deployment"].as_str().unwrap().to_owned());
    }
    let listed = || {
        let status = host.status();
        let rows = status["earlier"].as_array().cloned().unwrap_or_default();
        let times: Vec<u64> = rows.iter().map(|row| row["at_ms"].as_u64().unwrap()).collect();
        assert!(times.is_sorted_by(|one, next| one > next), "{status}");
        let row = |row: &serde_json::Value| (row["deployment"].clone(), row["left"] == true);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let [v1, v2, v3] = [&ids[0], &ids[1], &ids[2]].map(String::as_str);
    assert_eq!(listed(), [(v2.into(), false), (v1.into(), false)]);
    host.ok(&["rollback", "--to", v1]);
    assert_eq!(listed(), [(v3.into(), true), (v2.into(), true)]);
    host.ok(&["rollback", "--to", v3]);
    assert_eq!(listed(), [(v1.into(), false), (v2.into(), true)], "v1 was there just before");
    let shown = host.ok(&["status"]).out;
    let rows: Vec<&str> = shown.lines().filter(|line| line.contains(", last installed ")).collect();
    assert!(rows.len() == 2 && rows[0].contains(v1) && rows[0].starts_with("  earlier:"), "{shown}");
    assert!(rows[1].contains(v2) && rows[1].ends_with("; the host went back past it"), "{shown}");
    host.ok(&["rollback"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_group_that_was_removed_is_gone_from_status_and_no_verb_asks_which_one_is_meant() {
    let host = Host::new();
    let trial = Bundle::new(&host, "v1").app().write();
    let local = ["--application", "local", "--group", "local"];
    host.run(&[&["deploy", trial.to_str().unwrap()][..], &local].concat()).with_code(0);
    // What was tried is in the way of the real group, and the refusal says how it goes.
    host.deploy(&trial, &[]).with_code(1).saying(&["`hostler remove --application local --group local`"]);
    host.run(&[&["remove"][..], &local].concat()).with_code(0);
    without_names(&host, &["status"]).with_code(0).saying(&["shop/web: FAILED"]);
    assert!(!without_names(&host, &["status"]).out.contains("\nlocal/local: "));
    host.deploy(&trial, &[]).with_code(0);
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    without_names(&host, &["rollback"]).with_code(0).saying(&["of shop/web"]);
    // By its name, and as JSON, it can be looked at.
    without_names(&host, &[&["status"][..], &local].concat()).with_code(0).saying(&["local/local: nothing deployed"]);
    assert_eq!(without_names(&host, &["status", "--json"]).json()["groups"].as_array().unwrap().len(), 2);
    without_names(&host, &["remove"]).with_code(0);
    without_names(&host, &["status"]).with_code(0).saying(&["nothing is deployed on this host"]);
}
