//! `hostler logs --lag`: how far the daemon has shipped each log, and the losses.

use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::logs::lag::{LogsReport, SourceReport, Totals};

use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;

pub fn run(setup: &Setup) -> Outcome {
    crate::verbs::block_on(async {
        let Some(mut client) = Client::connect(setup).await else {
            return Err(Failure::say(ExitCode::Refused, "no daemon runs on this state, and so no logs are shipped"));
        };
        let Some(report) = client.logs().await? else {
            return Err(Failure::say(ExitCode::NotFound, "the daemon ships no logs")
                .hint("a section `logs:` in the configuration turns it on"));
        };
        if setup.json {
            output::json(&report)?;
        } else {
            output::text(&text(&report))?;
        }
        Ok(ExitCode::Ok)
    })
}

fn text(report: &LogsReport) -> String {
    let mut rows = vec![["SOURCE", "GROUP", "STREAM", "POSITION", "LAG"].map(str::to_owned)];
    rows.extend(report.sources.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().enumerate() {
            let _ = write!(text, "{:<width$}  ", row[column]);
        }
        let _ = writeln!(text, "{}", row[4]);
        let source = at.checked_sub(1).and_then(|at| report.sources.get(at));
        if let Some(error) = source.and_then(|source| source.last_error.as_ref()) {
            let _ = writeln!(text, "  last error: {error}");
        }
    }
    totals_text(&mut text, &report.totals);
    text
}

fn row(source: &SourceReport) -> [String; 5] {
    let rotated = if source.rotated { " (rotated)" } else { "" };
    let lag = match (source.lag_bytes, source.lag_seconds) {
        (0, 0) => "none".to_owned(),
        (0, seconds) => format!("{seconds} s"),
        (bytes, seconds) => format!("{bytes} bytes, {seconds} s"),
    };
    // A journal's cursor is long, and useless outside its journal.
    let position = source.position.chars().take(20).collect();
    [format!("{}{rotated}", source.source), source.log_group.clone(), source.log_stream.clone(), position, lag]
}

fn totals_text(text: &mut String, totals: &Totals) {
    let _ = writeln!(text, "\nsince the daemon started: {} events in {} batches", totals.events, totals.batches);
    for (count, what) in [
        (totals.repeated_batches, "batches sent again that may have arrived before"),
        (totals.rejected_events, "events not kept by the service (too old or too new)"),
        (totals.too_old_events, "events older than 14 days, not sent"),
        (totals.refused_events, "events that the service refuses, left out"),
        (totals.lost_bytes, "bytes lost before they could be read"),
        (totals.throttled, "requests throttled"),
        (totals.failed, "requests failed"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "  {count} {what}");
        }
    }
}
