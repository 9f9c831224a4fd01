//! Metrics in the embedded metric format, written to a file that is shipped like every other. They are for graphs and
//! alarms: events without a running daemon are not in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::health::{Colour, HealthReport};
use hostler_core::ids::InstanceId;
use hostler_core::logs::embedded_metrics;
use hostler_core::machine::{Progress, State};
use hostler_core::status::Health;
use hostler_host::clock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::engine::Handle;
use crate::log_output::RecordFile;
use crate::setup::{Setup, SetupWatch};

/// An alarm without data for longer than this has no state.
const BETWEEN_HEALTH: Duration = Duration::from_secs(60);

/// Writes a line for each deployment that ends, and for each group's health when its colour changes and every minute,
/// while the configuration asks for them, until it is dropped.
pub async fn write_metrics(
    mut setup_watch: SetupWatch,
    instance: InstanceId,
    handle: Handle,
    mut health: watch::Receiver<Health>,
) {
    let mut file = None;
    let mut progress = handle.progress();
    let mut colours: BTreeMap<String, Colour> = BTreeMap::new();
    let mut minutes = tokio::time::interval(BETWEEN_HEALTH);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let setup = setup_watch.now();
        let wanted = setup.settings.logs.as_ref().is_some_and(|logs| logs.metrics.is_some());
        if !wanted {
            file = None;
        }
        let lines = tokio::select! {
            () = setup_watch.changed() => continue,
            piece = progress.recv() => match piece {
                Ok(Progress::Finished { deployment, .. }) => {
                    let state = Arc::clone(&handle.state().borrow());
                    let mut ended = state.groups.values().flat_map(|group| &group.finished);
                    let ended = ended.find(|ended| ended.id == deployment);
                    ended.and_then(|ended| embedded_metrics::deployment(ended, &instance)).into_iter().collect()
                }
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            changed = health.changed() => {
                if changed.is_err() {
                    return;
                }
                let changed = of_other_colour(&mut colours, &health.borrow_and_update());
                of_health(&handle.state().borrow(), &changed, &instance)
            }
            _ = minutes.tick(), if wanted => of_health(&handle.state().borrow(), &health.borrow(), &instance),
        };
        if wanted {
            write(&mut file, &setup, &lines);
        }
    }
}

fn write(file: &mut Option<RecordFile>, setup: &Setup, lines: &[String]) {
    if file.is_none() {
        let path = setup.layout.metrics_log();
        match RecordFile::open(&path, setup.limits.agent_log_bytes) {
            Ok(opened) => *file = Some(opened),
            Err(error) => log::warn!(error:%; "metrics are not written to {}", path.display()),
        }
    }
    let Some(file) = file else { return };
    for line in lines {
        // On a full disk a point of a graph is lost.
        let _ = file.write(&format!("{line}\n"));
    }
}

/// The groups whose colour has changed since the last call.
fn of_other_colour(colours: &mut BTreeMap<String, Colour>, now: &Health) -> Health {
    let is_other = |(id, report): &(&String, &HealthReport)| colours.get(*id) != Some(&report.colour);
    let changed = now.iter().filter(is_other).map(|(id, report)| (id.clone(), report.clone())).collect();
    *colours = now.iter().map(|(id, report)| (id.clone(), report.colour)).collect();
    changed
}

fn of_health(state: &State, health: &Health, instance: &InstanceId) -> Vec<String> {
    let now_ms = clock::now_ms();
    let named = health.iter().filter_map(|(id, report)| Some((&state.groups.get(id)?.key, report)));
    named.map(|(key, report)| embedded_metrics::health(key, instance, report, now_ms)).collect()
}
