//! A host on which version 0844db3 ran is taken over: its ledger, its journals, and its unfinished hooks and
//! deliveries. The disks are in `tests/state-0844db3`; `making` made them.

mod age;
mod codedeploy;
mod deployments;
mod disk;
mod hooks;
mod install;
mod logs;
mod machine;
mod making;

use std::fs;

use crate::support::host::Host;

/// The old program's last status of both groups.
const SEEN: &str = "seen-status.json";
/// The old program's last history.
const SEEN_HISTORY: &str = "seen-history.ndjson";

/// One pass of the agent over the channels.
fn once(host: &Host) -> [String; 4] {
    ["run".to_owned(), "--once".to_owned(), "--channel".to_owned(), host.store().display().to_string()]
}

/// The old program's records are unchanged and come first, and the chain is valid.
#[track_caller]
fn history_goes_on(host: &Host) {
    host.ok(&["history", "--verify"]);
    let before = fs::read_to_string(host.path(SEEN_HISTORY)).unwrap();
    let now = host.ok(&["history", "--json"]).out;
    assert!(now.starts_with(&before), "before:\n{before}\nnow:\n{now}");
}

/// The status document of a group of the application `shop`; null without such a group.
fn status_of(host: &Host, group: &str) -> serde_json::Value {
    let document = host.ok(&["status", "--json", "--application", "shop", "--group", group]).json();
    document["groups"][0].clone()
}
