//! The state as OpenMetrics text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): derived from it, with no
//! separate counters.

use std::fmt::Write as _;

use crate::ids::GroupKey;
use crate::logs::lag::LogsSummary;
use crate::machine::state::{Group, State, StepStatus};
use crate::status::{ChannelStatus, Condition, Daemon, Health, condition};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a daemon. Times are seconds since 1970.
pub fn text(state: &State, daemon: &Daemon) -> String {
    let mut text = Text(String::new());
    text.family("hostler_build", "info", "The agent.");
    text.sample("hostler_build_info", &[("version", &daemon.agent_version)], "1");
    text.family("process_start_time_seconds", "gauge", "When the daemon started.");
    text.sample("process_start_time_seconds", &[], &seconds(daemon.started_ms));
    text.family("hostler_waiting", "gauge", "Whether the daemon still waits to know which host this is.");
    text.sample("hostler_waiting", &[], if daemon.waiting.is_some() { "1" } else { "0" });
    let groups: Vec<&Group> = state.groups.values().collect();
    deployments(&mut text, &groups, &daemon.health);
    durations(&mut text, &groups);
    channels(&mut text, &daemon.channels);
    if let Some(summary) = &daemon.logs {
        logs(&mut text, summary);
    }
    text.0.push_str("# EOF\n");
    text.0
}

fn deployments(text: &mut Text, groups: &[&Group], health: &Health) {
    text.family("hostler_deployments", "counter", "Deployments that ended on this instance.");
    for group in groups {
        let totals = group.totals;
        let counts = [
            ("succeeded", totals.succeeded),
            ("failed", totals.failed),
            ("rolled_back", totals.rolled_back),
            ("rollback_failed", totals.rollback_failed),
        ];
        for (outcome, count) in counts {
            text.of_group("hostler_deployments_total", &group.key, &[("outcome", outcome)], &count.to_string());
        }
    }
    text.family("hostler_deployment_active", "gauge", "Whether a deployment of the group is going on.");
    for group in groups {
        text.flag("hostler_deployment_active", &group.key, group.active.is_some());
    }
    text.family("hostler_group_failed", "gauge", "Whether the last deployment failed and nothing made it good.");
    for group in groups {
        text.flag(
            "hostler_group_failed",
            &group.key,
            matches!(condition(group), Condition::Failed | Condition::NotUndone),
        );
    }
    text.family("hostler_group_healthy", "gauge", "Whether every health check of the group is healthy.");
    for group in groups {
        if let Some(report) = health.get(&group.key.id()) {
            text.flag("hostler_group_healthy", &group.key, report.is_healthy());
        }
    }
    text.family(
        "hostler_group_held",
        "gauge",
        "Whether an operator holds the group, so that its channel is not followed.",
    );
    for group in groups {
        text.flag("hostler_group_held", &group.key, group.following.hold().is_some());
    }
    text.family("hostler_release_sequence", "gauge", "Sequence of the release whose files are on the host.");
    for group in groups {
        if let Some(sequence) = group.installed.as_ref().and_then(|installed| installed.sequence) {
            text.of_group("hostler_release_sequence", &group.key, &[], &sequence.to_string());
        }
    }
    text.family("hostler_last_success_timestamp_seconds", "gauge", "When a deployment succeeded last.");
    for group in groups {
        if let Some(at) = group.totals.last_success_ms {
            text.of_group("hostler_last_success_timestamp_seconds", &group.key, &[], &seconds(at));
        }
    }
}

fn durations(text: &mut Text, groups: &[&Group]) {
    text.family("hostler_event_duration_seconds", "gauge", "How long each event of the last deployment took.");
    for group in groups {
        for step in group.finished.last().into_iter().flat_map(|deployment| &deployment.steps) {
            if let (Some(from), Some(to), true) =
                (step.started_ms, step.finished_ms, step.status != StepStatus::Skipped)
            {
                let took = seconds(to.saturating_sub(from));
                text.of_group("hostler_event_duration_seconds", &group.key, &[("event", step.event.name())], &took);
            }
        }
    }
}

fn channels(text: &mut Text, channels: &[ChannelStatus]) {
    text.family("hostler_channel_polls", "counter", "Polls of the channel since the daemon started.");
    for channel in channels {
        text.of_group("hostler_channel_polls_total", &channel.key, &[], &channel.polls.to_string());
    }
    text.family("hostler_channel_errors", "counter", "Polls of the channel that failed.");
    for channel in channels {
        text.of_group("hostler_channel_errors_total", &channel.key, &[], &channel.errors.to_string());
    }
    let last = |text: &mut Text, name: &str, help: &str, at: fn(&ChannelStatus) -> Option<u64>| {
        text.family(name, "gauge", help);
        for channel in channels {
            if let Some(at) = at(channel) {
                text.of_group(name, &channel.key, &[], &seconds(at));
            }
        }
    };
    last(text, "hostler_channel_last_poll_timestamp_seconds", "When the channel was polled last.", |c| c.last_poll_ms);
    last(text, "hostler_channel_last_success_timestamp_seconds", "When that went well last.", |c| c.last_success_ms);
}

fn logs(text: &mut Text, summary: &LogsSummary) {
    let totals = summary.totals;
    text.family("hostler_logs_sources", "gauge", "Log files and journals that are followed.");
    text.sample("hostler_logs_sources", &[], &summary.sources.to_string());
    text.family("hostler_logs_lag_bytes", "gauge", "Bytes of log files that CloudWatch Logs has not acknowledged.");
    text.sample("hostler_logs_lag_bytes", &[], &summary.lag_bytes.to_string());
    text.family("hostler_logs_waiting_since_timestamp_seconds", "gauge", "Since when the oldest of them has waited.");
    if let Some(since) = summary.waiting_since_ms {
        text.sample("hostler_logs_waiting_since_timestamp_seconds", &[], &seconds(since));
    }
    text.family("hostler_logs_events", "counter", "Log events since the daemon started, by what became of them.");
    for (outcome, count) in [
        ("accepted", totals.events),
        ("rejected", totals.rejected_events),
        ("refused", totals.refused_events),
        ("too_old", totals.too_old_events),
    ] {
        text.sample("hostler_logs_events_total", &[("outcome", outcome)], &count.to_string());
    }
    text.family("hostler_logs_lost_bytes", "counter", "Bytes of logs that were destroyed or skipped unread.");
    text.sample("hostler_logs_lost_bytes_total", &[], &totals.lost_bytes.to_string());
    text.family("hostler_logs_batches", "counter", "Batches that CloudWatch Logs took.");
    text.sample("hostler_logs_batches_total", &[], &totals.batches.to_string());
    text.family("hostler_logs_repeated_batches", "counter", "Batches sent again that it may have taken before.");
    text.sample("hostler_logs_repeated_batches_total", &[], &totals.repeated_batches.to_string());
    text.family("hostler_logs_failed_requests", "counter", "Requests to CloudWatch Logs that failed.");
    for (reason, count) in [("throttled", totals.throttled), ("other", totals.failed)] {
        text.sample("hostler_logs_failed_requests_total", &[("reason", reason)], &count.to_string());
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if name.ends_with("_seconds") {
            let _ = writeln!(self.0, "# UNIT {name} seconds");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn flag(&mut self, name: &str, key: &GroupKey, on: bool) {
        self.of_group(name, key, &[], if on { "1" } else { "0" });
    }

    fn of_group(&mut self, name: &str, key: &GroupKey, more: &[(&str, &str)], value: &str) {
        let names = [("application", key.application.as_str()), ("group", key.group.as_str())];
        self.sample(name, &[&names[..], more].concat(), value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests;
