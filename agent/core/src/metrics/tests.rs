use super::*;
use crate::golden::assert_golden;
use crate::logs::lag::{LogsSummary, Totals};
use crate::status::tests::Host;

#[test]
fn a_scrape_shows_what_the_state_holds() {
    let mut host = Host::new();
    host.deploy("a", 1);
    host.install(false);
    host.deploy("a", 2);
    host.install(true);
    host.prepare();
    host.finish(crate::machine::WorkResult::Finished { warnings: vec![] });
    host.deploy("b", 3);
    let key = GroupKey::new("web".parse().unwrap(), "a".parse().unwrap());
    let channel = ChannelStatus {
        key,
        channel: "file:///srv".to_owned(),
        poll_seconds: 60,
        last_poll_ms: Some(1_700_000_000_123),
        last_success_ms: None,
        polls: 7,
        errors: 7,
        error: Some("no".to_owned()),
    };
    let daemon = Daemon {
        agent_version: "1.2\"3".to_owned(),
        pid: 1,
        started_ms: 1_700_000_000_000,
        waiting: None,
        not_followed: None,
        channels: vec![channel],
        logs: Some(LogsSummary {
            sources: 2,
            not_shipped: 0,
            lag_bytes: 300,
            waiting_since_ms: Some(1_700_000_000_500),
            totals: Totals { events: 9, lost_bytes: 7, too_old_events: 1, throttled: 4, ..Totals::default() },
        }),
        reports: Vec::new(),
        health: Health::new(),
    };
    assert_golden("metrics", &text(&host.state, &daemon));
}
