//! The deployments as a table: one line each.

use hostler_core::history::{DeploymentOutcome, Summary};
use hostler_host::clock;

use crate::progress::seconds;

/// The widest that a column gets for one long value; the line itself has the whole value.
const WIDEST: usize = 30;

/// A line for each deployment: when it began, its id, its kind, group, revision, outcome and duration, and who asked
/// for it.
pub fn text<'s>(deployments: impl Iterator<Item = &'s Summary>) -> String {
    let rows: Vec<[String; 8]> = deployments.map(row).collect();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        widths.filter(|width| *width <= WIDEST).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            // The duration stands under its own end.
            6 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(one: &Summary) -> [String; 8] {
    let outcome = match (one.outcome, &one.failed_in) {
        (Some(DeploymentOutcome::Failed), Some(event)) => format!("failed in {event}"),
        (Some(outcome), _) => outcome.word().to_owned(),
        (None, _) => "has not ended".to_owned(),
    };
    let took = one.finished_ms.map_or_else(|| "-".to_owned(), |at| seconds(at.saturating_sub(one.started_ms)));
    [
        clock::local_time(one.started_ms),
        one.deployment.to_string(),
        one.purpose.noun().to_owned(),
        one.group.to_string(),
        one.revision_name(),
        outcome,
        took,
        one.requested.name.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
