//! The controller beside a store that is away for a while.

use std::fs;

use hostler_core::health::{Colour, HealthReport};

use super::*;
use crate::controller::start;
use crate::test_support::{Host, listen, logged, setup};

fn configured(channel: &std::path::Path) -> String {
    format!("groups: [{{application: web, group: blue, channel: '{}'}}]", channel.display())
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_not_written_is_tried_again_and_logged_once_and_its_end_once() {
    listen();
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("store");
    let host = Host::new(setup(root.path(), &configured(&store)));
    let statuses = ReportStatuses::default();
    let given = statuses.clone();
    start(&host.sources, move || HostReports::new("i-1".parse().unwrap(), given.clone()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(statuses.list()[0].error.as_ref().is_some_and(|error| error.contains("store")), "{:?}", statuses.list());
    let away = logged();
    assert_eq!(away.len(), 1, "{away:?}");
    assert!(away[0].starts_with("WARN: web/blue: this host's report is not written into "), "{away:?}");
    fs::create_dir(&store).unwrap();
    // The longest wait is fifteen minutes.
    tokio::time::sleep(Duration::from_secs(901)).await;
    assert_eq!(logged(), ["INFO: web/blue: the host's report is written again"]);
    let status = statuses.list().remove(0);
    assert_eq!(status.error, None);
    let document = fs::read_to_string(status.place.unwrap()).unwrap();
    assert!(document.contains("\"i-1\""), "{document}");
    host.reload("");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(statuses.list().is_empty(), "a group that is not followed has no report");
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_fast_are_one_write_in_five_seconds() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("store");
    fs::create_dir(&store).unwrap();
    let host = Host::new(setup(root.path(), &configured(&store)));
    let statuses = ReportStatuses::default();
    let given = statuses.clone();
    start(&host.sources, move || HostReports::new("i-1".parse().unwrap(), given.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let place = statuses.list().remove(0).place.unwrap();
    let first = fs::read(&place).unwrap();
    let key = GroupKey::new("web".parse().unwrap(), "blue".parse().unwrap());
    for colour in [Colour::Red, Colour::Yellow, Colour::Red] {
        let report = HealthReport { colour, since_ms: 1, causes: Vec::new(), checks: Vec::new() };
        host.health.send_modify(|health| _ = health.insert(key.id(), report));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fs::read(&place).unwrap(), first, "not yet");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(fs::read(&place).unwrap(), first);
}
