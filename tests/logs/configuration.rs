//! A configuration that changes while logs are shipped.

use super::{APP, Agent, arrive};
use crate::support::logs_service::LogsService;

const BOTH: &str = "  agent: false\n  redact: ['pin=(?<secret>\\d+)']\n  files:\n    \
                    - {file: LOGS/app.log, log_group_name: /app, log_stream_name: app}\n    \
                    - {file: LOGS/other.log, log_group_name: /other, log_stream_name: other}\n";

#[test]
fn changed_settings_are_taken_in_and_positions_are_kept() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let daemon = agent.start();
    agent.append("app.log", "one pin=1234\n");
    arrive(&service, "app", &["one pin=1234"]);
    agent.append("other.log", "not followed yet\n");

    agent.configure(BOTH);
    agent.append("app.log", "two\n");
    agent.host.ok(&["reload"]);
    agent.append("app.log", "three pin=1234\n");
    arrive(&service, "app", &["one pin=1234", "two", "three pin=[redacted]"]);
    arrive(&service, "other", &["not followed yet"]);

    agent.configure(
        "  agent: false\n  files: [{file: LOGS/other.log, log_group_name: /other, log_stream_name: other}]\n",
    );
    agent.host.ok(&["reload"]);
    agent.append("app.log", "not followed any more\n");
    agent.append("other.log", "the last\n");
    arrive(&service, "other", &["not followed yet", "the last"]);
    assert_eq!(service.messages("app").len(), 3);

    agent.configure(APP);
    agent.host.ok(&["reload"]);
    arrive(&service, "app", &["one pin=1234", "two", "three pin=[redacted]", "not followed any more"]);
    assert_eq!((service.repeats("app"), service.repeats("other")), (0, 0));
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn settings_that_cannot_be_used_leave_the_ones_before_in_force() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let daemon = agent.start();
    for (logs, why) in [
        ("  redact: ['(']\n", "redact"),
        ("  awslogs_config: [LOGS/none.conf]\n", "none.conf"),
        ("  redact_values_from: [LOGS]\n", "cannot read the secrets"),
    ] {
        agent.configure(logs);
        agent.host.run(&["reload"]).with_code(2).saying(&[why]);
    }
    agent.host.configure("instance_id: i-1\naws: {region: us-east-1}\n");
    agent.host.run(&["reload"]).with_code(2).saying(&["logs was added or removed"]);
    agent.append("app.log", "one\n");
    arrive(&service, "app", &["one"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}
