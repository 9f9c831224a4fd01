//! The promises about a deployment with more records than the ledger holds.

use std::fs;
use std::path::{Path, PathBuf};

use hostler_core::limits::Limits;
use hostler_host::ledger::{self, Ledger};
use serde_json::{Value, json};

use crate::support::host::{Bundle, Ended, Host, write};

const FILES: usize = 2000;

/// A bundle over a directory in which all of its files exist already, none of them the group's.
fn conflicting(host: &Host, version: &str) -> Bundle {
    let mut bundle = Bundle::new(host, version).files("many", "/srv/many");
    for number in 0..FILES {
        let name = format!("some-file-with-a-usual-name-{number}.js");
        bundle = bundle.content(&format!("many/{name}"), "new");
        write(&host.at("srv/many").join(&name), "the host's");
    }
    bundle
}

fn state_bytes(host: &Host) -> usize {
    ledger::peek(&host.state(), &Limits::default()).unwrap().unwrap().state.len()
}

/// One bounded failure, with the full text in a file that it names.
fn assert_bounded(host: &Host, failure: &Value) {
    let message = failure["message"].as_str().unwrap();
    assert!(message.len() < 4500, "{} bytes", message.len());
    assert!(message.contains("some-file-with-a-usual-name-0.js is there already"), "{message}");
    let (_, file) = message.rsplit_once("; all of it is in ").unwrap();
    let whole = fs::read_to_string(file).unwrap();
    assert_eq!(whole.lines().count(), FILES);
    assert!(state_bytes(host) < 64 << 10, "{} bytes", state_bytes(host));
}

fn assert_nothing_was_touched(host: &Host) {
    let untouched = |entry: fs::DirEntry| fs::read(entry.path()).unwrap() == b"the host's";
    assert!(fs::read_dir(host.at("srv/many")).unwrap().all(|entry| untouched(entry.unwrap())));
}

fn failure(host: &Host) -> Value {
    host.status()["last"]["failure"].clone()
}

#[test]
fn thousands_of_conflicts_are_one_failure_and_the_next_deployment_goes_on() {
    let host = Host::new();
    let bundle = conflicting(&host, "v1").write();
    for _ in 0..2 {
        let ended = host.deploy(&bundle, &[]).with_code(1);
        assert!(ended.out.len() < 5 << 10 && ended.err.len() < 5 << 10, "{ended:?}");
        ended.saying(&["DownloadBundle", "is there already", "more lines; all of it is in /"]);
        assert_bounded(&host, &failure(&host));
    }
    assert_nothing_was_touched(&host);
    host.run(&["doctor", "--json"]).saying(&["\"ledger-room\",\"severity\":\"ok\""]);
    host.deploy(&bundle, &["--group", "other", "--application", "shop"]).with_code(1);
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    host.ok(&["history", "--verify"]);
}

#[test]
fn a_channel_goes_on_after_a_release_with_thousands_of_conflicts() {
    let host = Host::new();
    host.release(&conflicting(&host, "v1").write(), &[]);
    let _daemon = host.daemon(&[]);
    host.status_when("the release has failed", |status| !status["last"]["failure"].is_null());
    assert_bounded(&host, &failure(&host));
    assert_nothing_was_touched(&host);
    host.release(&Bundle::new(&host, "v2").app().write(), &[]);
    host.status_when("the next release is deployed", |status| status["last"]["outcome"] == "succeeded");
    assert_eq!(fs::read(host.at("srv/app/version")).unwrap(), b"v2\n");
}

#[test]
fn conflicts_that_before_install_takes_away_are_a_bounded_warning() {
    let host = Host::new();
    let bundle = conflicting(&host, "v1").extension("  install:\n    recheck_after: BeforeInstall\n");
    let away = format!("rm -rf {}", host.at("srv/many").display());
    host.deploy(&bundle.hook("BeforeInstall", &away).write(), &[]).with_code(0).saying(&["checked again"]);
    assert_eq!(fs::read_dir(host.at("srv/many")).unwrap().count(), FILES);
    let warnings = host.status()["last"]["warnings"].to_string();
    assert!(warnings.len() < 9000 && warnings.contains("/warnings.txt"), "{warnings}");
    assert!(state_bytes(&host) < 64 << 10, "{} bytes", state_bytes(&host));
}

#[test]
fn what_scripts_print_when_they_fail_does_not_add_up() {
    let host = Host::new();
    let lines = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do\n\
                 awk 'BEGIN { for (i = 0; i < 300; i++) printf \"{\\\"key\\\":\\\"value\\\"}\"; print \"\" }'\ndone\nexit 1";
    let bundle = Bundle::new(&host, "v1").app().hook("ValidateService", lines).write();
    let mut sizes: Vec<usize> = Vec::new();
    for _ in 0..6 {
        host.deploy(&bundle, &[]).with_code(1).saying(&["ValidateService"]);
        assert!(!failure(&host)["tail"].as_array().unwrap().is_empty());
        sizes.push(state_bytes(&host));
    }
    // Each remembered failure costs less than its script's output, which is kept for two failures.
    assert!(sizes[5] - sizes[2] < 3 * (6 << 10), "{sizes:?}");
}

/// A ledger that an agent left because it could not continue: full of scripts' output, with a DownloadBundle in flight
/// whose outcome did not fit.
fn fill_ledger(host: &Host, bundle: &Path) {
    let mut ledger = Ledger::open(&host.state(), &Limits::default()).unwrap();
    let mut state: Value = serde_json::from_slice(&ledger.current().state).unwrap();
    let next_effect = state["next_effect"].as_u64().unwrap();
    state["next_effect"] = json!(next_effect + 1);
    let group = state["groups"].as_object_mut().unwrap().values_mut().next().unwrap();
    let finished = group["finished"].as_array_mut().unwrap();
    let good = finished[0].clone();
    let mut active = good.clone();
    active["id"] = json!("d-INFLIGHT1");
    active["request"]["source"]["path"] = json!(bundle);
    (active["finished_ms"], active["outcome"], active["installed"]) = (Value::Null, Value::Null, json!(false));
    for step in active["steps"].as_array_mut().unwrap() {
        *step = json!({ "event": step["event"], "status": "pending" });
    }
    active["steps"][0]["status"] = json!("running");
    active["in_flight"] =
        json!({ "number": next_effect, "work": { "work": "prepare" }, "begun_ms": 1, "boot_id": "before" });
    for number in 0..27 {
        let mut failed = good.clone();
        failed["id"] = json!(format!("d-FAILED{number:03}"));
        failed["outcome"] = json!("failed");
        failed["request"]["policy"]["max_revisions"] = json!(100);
        let tail = vec!["{\"key\":\"value\"}".repeat(90); 20];
        failed["failure"] = json!({
            "event": "ValidateService", "script": "x", "message": "exit status 1", "tail": tail, "verification": false
        });
        finished.push(failed);
    }
    group["active"] = active;
    let mut bytes = serde_json::to_vec(&state).unwrap();
    let room = 1 << 20;
    assert!(bytes.len() > room - (150 << 10) && bytes.len() < room, "{} bytes", bytes.len());
    // As full as possible.
    let more = "y".repeat(room - bytes.len() - 1);
    let group = state["groups"].as_object_mut().unwrap().values_mut().next().unwrap();
    let message = &mut group["finished"][1]["failure"]["message"];
    *message = json!(format!("{}{more}", message.as_str().unwrap()));
    bytes = serde_json::to_vec(&state).unwrap();
    assert_eq!(bytes.len(), room - 1);
    ledger.persist(&bytes).unwrap();
}

fn ids(status: &Value) -> String {
    status["last"]["id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_host_whose_ledger_was_filled_by_an_earlier_agent_goes_on() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let bundle: PathBuf = conflicting(&host, "many").write();
    fill_ledger(&host, &bundle);
    host.run(&["doctor", "--json"]).saying(&["\"ledger-room\",\"severity\":\"warning\""]);
    // Another group deploys, and with that the work in flight ends.
    let other = Bundle::new(&host, "other").content("x/y", "z").files("x", "/srv/other").write();
    let settled: Ended = host.deploy(&other, &["--group", "other", "--application", "shop"]);
    settled.with_code(0);
    let groups = host.ok(&["status", "--json"]).json()["groups"].clone();
    let web = groups.as_array().unwrap().iter().find(|group| ids(group) == "d-INFLIGHT1").unwrap().clone();
    assert_eq!(web["last"]["failure"]["event"], "DownloadBundle", "{web}");
    assert_eq!(fs::read(host.at("srv/app/version")).unwrap(), b"v1\n");
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    assert_eq!(fs::read(host.at("srv/app/version")).unwrap(), b"v2\n");
    host.ok(&["history", "--verify"]);
}
