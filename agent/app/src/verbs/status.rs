//! `hostler status`: the revisions on this host, since when, from where, and the failures.

use std::fmt::Write as _;
use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::GroupKey;
use hostler_core::logs::lag::LogsSummary;
use hostler_core::machine::state::Installed;
use hostler_core::machine_events::MachineEvents;
use hostler_core::status::{Condition, DeploymentStatus, GroupStatus, ReleaseStanding, Status, lifecycle_line, status};
use hostler_host::clock;
use hostler_host::ledger;

use crate::cli::{Shared, StatusArgs};
use crate::control::client::Client;
use crate::doctor;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::failure_text;
use crate::setup::Setup;
use crate::state_file::{ledger_failure, read_state};
use crate::terminal::{BAD, CAUTION, GOOD, Paint};

pub fn run(shared: &Shared, arguments: &StatusArgs) -> Outcome {
    let setup = Arc::new(Setup::of_flags(shared)?);
    if arguments.metrics {
        return super::block_on(metrics(&setup));
    }
    if arguments.health {
        return super::block_on(health(&setup));
    }
    if !setup.layout.root().exists() {
        output::notice(&format!("note: there is no directory {}", setup.layout.root().display()));
    }
    super::block_on(async {
        let asked = match Client::connect(&setup).await {
            Some(mut client) => Some(client.status().await),
            None => None,
        };
        let mut document = match asked {
            // The daemon has just stopped.
            Some(Err(failure)) if failure.code == ExitCode::LockHeld => from_ledger(&setup)?,
            Some(answer) => answer?,
            None => from_ledger(&setup)?,
        };
        let named = |group: &GroupStatus| {
            shared.application.as_ref().is_none_or(|a| a == &group.key.application)
                && shared.group.as_ref().is_none_or(|g| g == &group.key.group)
        };
        let of_host: Vec<String> = document.groups.iter().map(|group| group.key.to_string()).collect();
        document.groups.retain(named);
        let is_named = shared.application.is_some() || shared.group.is_some();
        if setup.json {
            output::json(&document)?;
        } else {
            if let Some(daemon) = &mut document.daemon {
                daemon.channels.retain(|channel| {
                    shared.application.as_ref().is_none_or(|a| a == &channel.key.application)
                        && shared.group.as_ref().is_none_or(|g| g == &channel.key.group)
                });
            }
            let channels = document.daemon.iter().flat_map(|daemon| &daemon.channels).count();
            if document.groups.is_empty() && channels == 0 && !of_host.is_empty() {
                let message = format!("no deployment group of this host has that name; it has {}", of_host.join(", "));
                return Err(Failure::say(ExitCode::NotFound, message));
            }
            if !is_named {
                leave_out_removed(&mut document);
            }
            output::painted(&text(&document), CONDITIONS)?;
        }
        if document.daemon.is_some() { Ok(ExitCode::Ok) } else { without_daemon(shared) }
    })
}

/// A group that was removed and follows no channel is gone. By its name, and as JSON, it is shown all the same.
fn leave_out_removed(document: &mut Status) {
    let channels = document.daemon.iter().flat_map(|daemon| &daemon.channels);
    let followed: Vec<String> = channels.map(|channel| channel.key.id()).collect();
    document.groups.retain(|group| {
        let follows = group.highest_sequence.is_some() || followed.contains(&group.key.id());
        follows || group.condition != Condition::Empty
    });
}

/// Says what keeps the daemon from running. A host whose daemon was stopped, or that has none, is in order.
fn without_daemon(shared: &Shared) -> Outcome {
    let why = doctor::why_no_daemon_runs(shared)?;
    for finding in &why {
        output::notice(&format!("error: no daemon runs: {}", finding.message));
    }
    if why.is_empty() {
        return Ok(ExitCode::Ok);
    }
    output::notice("hint: hostler doctor says more");
    Ok(ExitCode::Failed)
}

async fn metrics(setup: &Setup) -> Outcome {
    let Some(mut client) = Client::connect(setup).await else {
        return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state, and metrics are a daemon's"));
    };
    output::text(&client.metrics().await?)?;
    Ok(ExitCode::Ok)
}

async fn health(setup: &Setup) -> Outcome {
    let problems = match Client::connect(setup).await {
        Some(mut client) => client.health().await?,
        None => vec!["no daemon runs".to_owned()],
    };
    if setup.json {
        output::json(&serde_json::json!({ "version": 1, "healthy": problems.is_empty(), "problems": problems }))?;
    } else {
        let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        output::text(if problems.is_empty() { "ok\n" } else { &lines })?;
    }
    Ok(if problems.is_empty() { ExitCode::Ok } else { ExitCode::Failed })
}

fn from_ledger(setup: &Setup) -> Result<Status, Failure> {
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
    let is_active = state.all_active().any(|(_, deployment)| !deployment.waits_for_command());
    let interrupted = is_active && !ledger::is_held(setup.layout.state());
    Ok(Status { interrupted, ..status(&state, None, clock::now_ms()) })
}

/// The words of a status that stand out on a terminal.
const CONDITIONS: &[Paint<'static>] = &[
    (": good", GOOD),
    (": FAILED", BAD),
    (": NOT UNDONE", BAD),
    (": rolled back", CAUTION),
    (": interrupted", CAUTION),
    (", held", CAUTION),
    ("failed:", BAD),
    ("no daemon runs", CAUTION),
];

fn text(document: &Status) -> String {
    let mut text = String::new();
    match &document.daemon {
        Some(daemon) => {
            let since = clock::local_time(daemon.started_ms);
            let _ = writeln!(text, "hostler {} runs (pid {}) since {since}", daemon.agent_version, daemon.pid);
            for why in daemon.waiting.iter().chain(&daemon.not_followed) {
                let _ = writeln!(text, "{why}");
            }
        }
        None => text.push_str("no daemon runs\n"),
    }
    if let Some(logs) = document.daemon.as_ref().and_then(|daemon| daemon.logs.as_ref()).and_then(logs_line) {
        let _ = writeln!(text, "{logs}");
    }
    if let Some(lifecycle) = lifecycle_line(&document.lifecycle) {
        let _ = writeln!(text, "{lifecycle}");
    }
    machine_events_text(&mut text, &document.machine_events);
    for (target, signalled) in document.cfn_signals.iter() {
        let end = signalled.end.as_ref().map_or_else(|| "not taken yet".to_owned(), ToString::to_string);
        let _ = writeln!(text, "signal to {target}: {}, {end}", signalled.verdict.word());
    }
    if let Some(withdrawal) = document.traffic.as_ref().filter(|withdrawal| withdrawal.is_out_of_service()) {
        let _ = writeln!(text, "out of service since {}: {withdrawal}", clock::local_time(withdrawal.since_ms));
    }
    if document.groups.is_empty() {
        text.push_str("nothing is deployed on this host\n");
    }
    let channels = document.daemon.iter().flat_map(|daemon| &daemon.channels);
    for channel in channels {
        if let Some(error) = &channel.error {
            let _ = writeln!(text, "\n{}: its channel {} is not followed: {error}", channel.key, channel.channel);
        }
    }
    for report in document.daemon.iter().flat_map(|daemon| &daemon.reports) {
        if let Some(error) = &report.error {
            let _ = writeln!(text, "\n{}: this host's report is not written: {error}", report.key);
        }
    }
    for group in &document.groups {
        let not_followed = document.daemon.as_ref().is_some_and(|daemon| daemon.not_followed.is_some());
        group_text(&mut text, group, document.interrupted, not_followed && group.key.codedeploy_group_id.is_some());
    }
    let is_new = |key: &GroupKey| document.groups.iter().all(|group| group.key.id() != key.id());
    for channel in document.daemon.iter().flat_map(|daemon| &daemon.channels).filter(|channel| is_new(&channel.key)) {
        let _ = writeln!(text, "\n{}: {}", channel.key, Condition::Empty.word());
        let _ = writeln!(text, "  channel:   {}", channel.channel);
    }
    text
}

/// The logs that are not shipped or were lost; `None` if there are none.
fn logs_line(logs: &LogsSummary) -> Option<String> {
    let totals = logs.totals;
    let counts = [
        (totals.lost_bytes, "bytes lost"),
        (totals.refused_events + totals.rejected_events, "events not taken"),
        (totals.too_old_events, "events too old"),
    ];
    let said: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let lost = (!said.is_empty()).then(|| format!("logs were lost: {}", said.join(", ")));
    let refused = (logs.not_shipped > 0).then(|| format!("{} logs or directories are not shipped", logs.not_shipped));
    let lines: Vec<String> = lost.into_iter().chain(refused).collect();
    (!lines.is_empty()).then(|| format!("{}; `hostler logs --lag` says more", lines.join("; ")))
}

fn machine_events_text(text: &mut String, events: &MachineEvents) {
    for (event, ended) in &events.last {
        let (at, failures) = (clock::local_time(ended.ended_ms), ended.failures.join("; "));
        let word = if failures.is_empty() { "succeeded".to_owned() } else { format!("FAILED: {failures};") };
        let _ = writeln!(text, "machine event {event}: {word} at {at}");
    }
    for run in &events.queue {
        let what = run.script().map_or_else(|| "waits".to_owned(), |(_, script)| format!("is in {}", script.name));
        let _ = writeln!(text, "machine event {}: {what} since {}", run.event, clock::local_time(run.begun_ms));
    }
}

fn group_text(text: &mut String, group: &GroupStatus, interrupted: bool, not_followed: bool) {
    let interrupted = interrupted && group.active.is_some();
    let word = match group.condition {
        // Mixed files matter more than the missing process.
        Condition::Deploying if interrupted => "interrupted",
        Condition::Failed if touched_nothing(group) => "FAILED, and the installed revision was not touched",
        condition => condition.word(),
    };
    let held = if group.held.is_some() { ", held" } else { "" };
    let not_followed = if not_followed { ", not followed" } else { "" };
    let _ = writeln!(text, "\n{}: {word}{held}{not_followed}", group.key);
    if let Some(why) = &group.held {
        let upto = group.highest_sequence.map_or_else(String::new, |sequence| format!(" up to {sequence}"));
        let _ = writeln!(
            text,
            "  held:      {why}; releases{upto} are not followed until a higher one or `hostler resume`"
        );
    }
    if let Some(installed) = &group.installed {
        let since = clock::local_time(installed.at_ms);
        let _ = writeln!(text, "  installed: {}, {}", installed.revision.name(), group.signature);
        let _ = writeln!(
            text,
            "             since {since} by {}, from {}",
            installed.deployment, installed.revision.location
        );
    }
    released_text(text, group);
    if let Some(version) = group.key_policy {
        let _ = writeln!(text, "  keys:      key policy {version} of the channel");
    }
    match (&group.installed, &group.last_good) {
        (Some(installed), Some(good)) if installed.deployment != good.deployment => {
            let _ = writeln!(text, "  last good: {}, {}", good.revision.name(), good.deployment);
        }
        _ => {}
    }
    if let Some(health) = &group.health {
        let _ = writeln!(text, "  health:    {} since {}", health.colour.word(), clock::local_time(health.since_ms));
        for cause in &health.causes {
            let _ = writeln!(text, "             {cause}");
        }
    }
    if let Some(not_undone) = &group.not_undone {
        let since = clock::local_time(not_undone.since_ms);
        let _ = writeln!(text, "  not undone since {since}: {not_undone}");
        let _ = writeln!(text, "             {}", not_undone.remedy());
    }
    if let Some(active) = &group.active {
        let _ = writeln!(text, "  deploying: {}", deployment_text(active));
        if interrupted {
            text.push_str(
                "             interrupted: no process works on it; `hostler run --once` or the daemon goes on\n",
            );
        }
    }
    if let Some(at) = group.rollback_again_ms {
        let at = clock::local_time(at);
        let _ = writeln!(
            text,
            "  again:     the rollback had no space; the daemon tries it again from {at} on, `hostler run --once` now"
        );
    }
    earlier_text(text, group);
    for (label, deployment) in [("failed:", &group.failed), ("last:", &group.last)] {
        let Some(deployment) = deployment else { continue };
        let _ = writeln!(text, "  {label:<10} {}", deployment_text(deployment));
        for line in deployment.failure.as_ref().map(failure_text).unwrap_or_default().lines() {
            let _ = writeln!(text, "           {line}");
        }
        warnings_text(text, &deployment.warnings);
    }
}

/// Whether the last deployment failed while it was checked, and a good revision is installed.
fn touched_nothing(group: &GroupStatus) -> bool {
    let failed = group.last.as_ref().and_then(|last| last.failure.as_ref());
    let in_check = failed.is_some_and(|failure| failure.event == LifecycleEvent::DownloadBundle);
    let id = |installed: &Installed| installed.deployment.clone();
    in_check && group.installed.is_some() && group.installed.as_ref().map(id) == group.last_good.as_ref().map(id)
}

/// The channel's release, where it failed or something else is installed.
fn released_text(text: &mut String, group: &GroupStatus) {
    let (Some(released), Some(installed)) = (group.highest_sequence, &group.installed) else { return };
    let by = match installed.sequence {
        Some(sequence) => format!("by release {sequence}"),
        None if installed.archive != installed.deployment => "by a rollback".to_owned(),
        None => "by hand".to_owned(),
    };
    let deployed = || format!("what is installed was deployed {by}");
    let is_its = installed.sequence == Some(released);
    let said = match group.release {
        Some(ReleaseStanding::Installed) => return,
        Some(ReleaseStanding::Failed) => {
            // The line of a hold says until when.
            let until = match group.held {
                Some(_) => "",
                None => " and is not tried again until `hostler resume` or a higher release",
            };
            let installed = if is_its { String::new() } else { format!("; {}", deployed()) };
            format!("it failed here{until}{installed}")
        }
        None if is_its => return,
        Some(ReleaseStanding::Replaced | ReleaseStanding::NotTried) | None => deployed(),
    };
    let _ = writeln!(text, "  released:  {released} in its channel; {said}");
}

/// The most earlier revisions of a group that are shown; `--json` has all of them.
const SHOWN_EARLIER: usize = 5;

/// What `hostler rollback --to` can return to, by when it was last installed.
fn earlier_text(text: &mut String, group: &GroupStatus) {
    for (number, earlier) in group.earlier.iter().take(SHOWN_EARLIER).enumerate() {
        let head = if number == 0 { "earlier:" } else { "" };
        let at = earlier.at_ms.map_or_else(String::new, |at| format!(", last installed {}", clock::local_time(at)));
        let left = if earlier.left { "; the host went back past it" } else { "" };
        let _ = writeln!(text, "  {head:<10} {}, {}{at}{left}", earlier.name, earlier.deployment);
    }
}

/// The most warnings of a deployment that are shown; `--json` and the history have all of them.
const SHOWN_WARNINGS: usize = 5;

fn warnings_text(text: &mut String, warnings: &[String]) {
    for warning in warnings.iter().take(SHOWN_WARNINGS) {
        let _ = writeln!(text, "             warning: {}", warning.lines().next().unwrap_or_default());
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(SHOWN_WARNINGS) {
        let _ = writeln!(text, "             and {more} more warnings");
    }
}

fn deployment_text(deployment: &DeploymentStatus) -> String {
    let noun = match deployment.purpose.noun() {
        "deployment" => String::new(),
        noun => format!("{noun} "),
    };
    let mut text = format!("{noun}{} ({})", deployment.id, deployment.asked_by);
    let since = clock::local_time(deployment.event_started_ms.unwrap_or(deployment.started_ms));
    match (deployment.event, &deployment.script, deployment.finished_ms) {
        (Some(event), Some(script), _) => {
            let _ = write!(text, " is in {event}, {script}, since {since}");
        }
        (Some(event), None, _) => {
            let _ = write!(text, " is in {event}, since {since}");
        }
        (None, _, Some(at)) => {
            let word = if deployment.failure.is_some() { "failed" } else { "succeeded" };
            let _ = write!(text, " {word} at {}", clock::local_time(at));
        }
        (None, ..) => {}
    }
    text
}

#[cfg(test)]
mod tests;
