//! Lines of a group that depend on what was released and deployed before.

use serde_json::{Value, json};

use super::*;

fn group(changes: &Value) -> GroupStatus {
    let revision = json!({ "location": "/tmp/web", "digest": null, "size": null, "bundle_type": null });
    let installed =
        json!({ "deployment": "d-2", "archive": "d-1", "revision": revision, "sequence": null, "at_ms": 0 });
    let mut document = json!({
        "application": "shop", "group": "web", "condition": "good", "installed": installed, "last_good": null,
        "signature": hostler_core::release::Trust::default(), "highest_sequence": 3, "held": null, "active": null,
        "last": null,
    });
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn released(changes: &Value) -> String {
    let mut text = String::new();
    released_text(&mut text, &group(changes));
    text
}

#[test]
fn what_was_released_stands_beside_what_runs_only_where_they_differ() {
    let by_a_rollback = "  released:  3 in its channel; what is installed was deployed by a rollback\n";
    let failed = "  released:  3 in its channel; it failed here and is not tried again until `hostler resume` or a higher \
                  release; what is installed was deployed by a rollback\n";
    let held = "  released:  3 in its channel; it failed here; what is installed was deployed by a rollback\n";
    for (changes, expected) in [
        (json!({ "release": "installed" }), ""),
        (json!({ "release": "replaced" }), by_a_rollback),
        (json!({ "release": "not_tried" }), by_a_rollback),
        (json!({ "release": "failed" }), failed),
        (json!({ "release": "failed", "held": "root rolled back" }), held),
        // A daemon of an earlier version.
        (json!({}), by_a_rollback),
        (json!({ "highest_sequence": null }), ""),
    ] {
        assert_eq!(released(&changes), expected, "{changes}");
    }
}

#[test]
fn revisions_of_one_directory_are_told_apart_by_their_times() {
    let earlier = |id: &str, at_ms: u64, left: bool| json!({ "deployment": id, "revision": null, "name": "/tmp/web", "location": "/tmp/web", "at_ms": at_ms, "left": left });
    let all = json!({ "earlier": [earlier("d-3", 3000, false), earlier("d-1", 1000, true), earlier("d-0", 0, false)] });
    let mut text = String::new();
    earlier_text(&mut text, &group(&all));
    let at = clock::local_time;
    let expected = [
        format!("  earlier:   /tmp/web, d-3, last installed {}\n", at(3000)),
        format!("             /tmp/web, d-1, last installed {}; the host went back past it\n", at(1000)),
        format!("             /tmp/web, d-0, last installed {}\n", at(0)),
    ];
    assert_eq!(text, expected.concat());
}
