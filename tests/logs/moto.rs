//! A round trip with a service written by others.

use super::{APP, Agent};
use crate::support::eventually;
use crate::support::host::{Host, PATIENCE};
use crate::support::moto::Moto;

#[test]
fn what_was_shipped_can_be_read_back() {
    let Some(moto) = Moto::start_or_skip() else { return };
    // moto takes no compressed requests; the real service does, as both of AWS's agents send them.
    let agent = Agent::at(
        Host::new(),
        &moto.url(),
        None,
        &format!("  compress: false\n  retention_in_days: 30\n  tags: {{team: shop}}\n{APP}"),
    );
    let daemon = agent.start();
    agent.append("app.log", "one\nzw\u{f6}lf \"quoted\" \\ \t end\n");
    eventually("moto has the lines", PATIENCE, || {
        let input = serde_json::json!({"logGroupName": "/app", "logStreamName": "app", "startFromHead": true});
        let found = moto.json("logs", "Logs_20140328.GetLogEvents", &input)?;
        let events = found["events"].as_array().cloned().unwrap_or_default();
        let messages: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
        if messages == ["one", "zw\u{f6}lf \"quoted\" \\ \t end"] {
            Ok(())
        } else {
            Err(format!("{found}\n{}", agent.lag()))
        }
    });
    let ask = |operation: &str, input| moto.json("logs", &format!("Logs_20140328.{operation}"), &input).unwrap();
    let by_prefix = serde_json::json!({"logGroupNamePrefix": "/app"});
    eventually("the group is as it was wished", PATIENCE, || {
        let found = ask("DescribeLogGroups", by_prefix.clone());
        let group = &found["logGroups"][0];
        let is_wished = group["logGroupName"] == "/app" && group["retentionInDays"] == 30;
        if is_wished { Ok(()) } else { Err(found.to_string()) }
    });
    let of_group = serde_json::json!({"logGroupName": "/app"});
    assert_eq!(ask("ListTagsLogGroup", of_group.clone())["tags"], serde_json::json!({"team": "shop"}));
    let streams = ask("DescribeLogStreams", of_group);
    assert_eq!(streams["logStreams"].as_array().unwrap().len(), 1, "{streams}");
    assert_eq!(streams["logStreams"][0]["logStreamName"], "app");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}
