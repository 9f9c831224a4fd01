//! Ended deployments: the installed revisions, the followed channels, and the history.

use std::fs;

use serde_json::Value;

use super::age;
use super::disk::{Boot, kept};
use super::{SEEN, history_goes_on, once, status_of};
use crate::support::host::{Bundle, Host, hook_lines_of};

/// The host follows releases signed by its key.
pub fn configure(host: &Host) {
    let pem = fs::read_to_string(host.path("ci.pub")).unwrap();
    let key: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    host.configure(&format!("instance_id: i-1\nsignatures:\n  channel: {{threshold: 1, keys: [{key}]}}\n"));
}

fn seen(host: &Host) -> Value {
    let seen = fs::read_to_string(host.path(SEEN)).unwrap();
    serde_json::from_str(&age::later(&seen, age::moved_ms(host))).unwrap()
}

fn release(host: &Host, version: &str) {
    let key = host.path("ci");
    let bundle = Bundle::new(host, version).app().all_hooks().write();
    host.release(&bundle, &["--key", key.to_str().unwrap()]);
}

#[test]
fn what_was_deployed_is_known_as_it_was() {
    let Some(host) = kept("deployments", Boot::Another) else { return };
    let before = seen(&host);
    for name in ["web", "jobs"] {
        let (before, mut now) = (&before[name], status_of(&host, name));
        // The old version did not say the purpose; its state did.
        let purpose = now["last"].as_object_mut().unwrap().remove("purpose").unwrap();
        assert_eq!(purpose, if name == "web" { "rollback_by_hand" } else { "by_hand" });
        for key in ["installed", "last", "highest_sequence", "signature", "held"] {
            assert_eq!(before[key], now[key], "{name}: {key}");
        }
    }
    assert!(status_of(&host, "web")["held"].is_string());
    assert_eq!(status_of(&host, "web")["highest_sequence"], 3);
    assert_eq!(status_of(&host, "jobs")["condition"], "failed");
    history_goes_on(&host);
    let history = host.history();
    assert_eq!(history[0]["kind"], "sealed", "{:?}", history[0]);
    let failed = |event: &str| history.iter().any(|record| record["outcome"] == "failed" && record["event"] == event);
    assert!(failed("ApplicationStart"), "of v2: {history:?}");
    let last = status_of(&host, "jobs")["last"].clone();
    assert_eq!(last["failure"]["tail"], serde_json::json!(["[stdout]no"]), "{last}");
    let id = last["id"].as_str().unwrap();
    host.ok(&["logs", id, "--application", "shop", "--group", "jobs"]).saying(&["[stdout] no"]);
}

#[test]
fn the_next_revision_replaces_what_was_installed_and_is_returned_from() {
    let Some(host) = kept("deployments", Boot::Another) else { return };
    assert_eq!(host.version(), "v1", "v3 was rolled back from");
    host.clear_hook_lines();
    // Nothing is deployed again, and a held release stays held.
    host.run(&once(&host)).with_code(3).saying(&["held"]);
    assert_eq!(host.hook_lines(), [""; 0]);
    release(&host, "v4");
    host.ok(&once(&host));
    assert_eq!(host.version(), "v4");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v4"), "the old revision's own scripts stop it");
    assert!(!host.at("srv/app/only-v1").exists(), "what v1 installed is known");
    assert_eq!(fs::read_to_string(host.at("srv/app/made-by-the-application")).unwrap(), "data\n");
    host.clear_hook_lines();
    host.ok(&["rollback"]);
    assert_eq!((host.version().as_str(), host.hook_lines()), ("v1", hook_lines_of(Some("v4"), "v1")));
    assert!(host.at("srv/app/only-v1").exists() && !host.at("srv/app/only-v4").exists());
    history_goes_on(&host);
    // The groups' directories have new names, and the old paths still work.
    let root = host.state().join("deployment-root");
    let link = fs::read_link(root.join("shop~web")).unwrap();
    assert!(link.to_str().unwrap().starts_with("g-") && root.join("shop~web").is_dir(), "{link:?}");
}

#[test]
fn a_release_that_was_followed_before_the_takeover_cannot_be_replayed_after_it() {
    let Some(host) = kept("deployments", Boot::Another) else { return };
    fs::copy(host.path("release-1.json"), host.store().join("shop/web/release.json")).unwrap();
    host.ok(&["resume"]);
    host.run(&once(&host)).with_code(6).saying(&["3"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_revision_that_failed_by_hand_is_replaced_and_its_predecessor_returned_to() {
    let Some(host) = kept("deployments", Boot::Another) else { return };
    let jobs = ["--application", "shop", "--group", "jobs"];
    let job = || fs::read_to_string(host.at("srv/job/run")).unwrap();
    assert_eq!(job(), "j2");
    let ended = host.run(&[&["rollback"][..], &jobs].concat()).with_code(0);
    assert_eq!(job(), "j1", "{ended:?}");
    let bundle = Bundle::new(&host, "j3").content("job/run", "j3").files("job", "/srv/job").write();
    host.deploy(&bundle, &jobs).with_code(0);
    assert_eq!(job(), "j3");
    host.ok(&[&["remove"][..], &jobs].concat());
    assert!(!host.at("srv/job").exists());
    assert_eq!(host.version(), "v1", "the other group's files stay");
    history_goes_on(&host);
}
