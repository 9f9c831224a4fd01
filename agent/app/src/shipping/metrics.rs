//! Metrics in the embedded metric format, written to a file that is shipped like every other. They are for graphs and
//! alarms: events without a running daemon are not in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostler_core::health::{Colour, HealthReport};
use hostler_core::ids::{DeploymentId, InstanceId};
use hostler_core::logs::embedded_metrics;
use hostler_core::machine::State;
use hostler_core::status::Health;
use tokio::time::Instant;

use crate::controller::{Controller, LogOnce, View, Wake};
use crate::log_output::RecordFile;
use crate::setup::Setup;

/// An alarm without data for longer than this has no state.
const BETWEEN_HEALTH: Duration = Duration::from_secs(60);

/// Writes a line for each deployment that ends, and for each group's health when its colour changes and every minute,
/// while the configuration asks for them.
pub struct Metrics {
    instance: InstanceId,
    file: Option<RecordFile>,
    log: LogOnce,
    /// The ended deployments, once a first look was taken: those that ended before have their lines.
    ended: Option<BTreeSet<DeploymentId>>,
    colours: BTreeMap<String, Colour>,
    health_due: Option<Instant>,
}

impl Metrics {
    /// Nothing is written yet.
    pub fn new(instance: InstanceId) -> Self {
        let (file, log, ended) = (None, LogOnce::default(), None);
        Self { instance, file, log, ended, colours: BTreeMap::new(), health_due: None }
    }

    /// The lines that are due.
    fn lines(&mut self, view: &View) -> Vec<String> {
        let mut lines = self.of_ended(&view.state);
        let changed = of_other_colour(&mut self.colours, &view.health);
        let all_due = self.health_due.is_none_or(|due| view.now >= due);
        if all_due {
            self.health_due = Some(view.now + BETWEEN_HEALTH);
        }
        let reported = if all_due { &view.health } else { &changed };
        lines.extend(of_health(&view.state, reported, &self.instance, view.now_ms));
        lines
    }

    fn of_ended(&mut self, state: &State) -> Vec<String> {
        let finished = || state.groups.values().flat_map(|group| &group.finished);
        let now: BTreeSet<DeploymentId> = finished().map(|ended| ended.id.clone()).collect();
        let Some(before) = self.ended.replace(now) else { return Vec::new() };
        let new = finished().filter(|ended| !before.contains(&ended.id));
        new.filter_map(|ended| embedded_metrics::deployment(ended, &self.instance)).collect()
    }

    fn write(&mut self, setup: &Setup, lines: &[String]) {
        if self.file.is_none() {
            let path = setup.layout.metrics_log();
            match RecordFile::open(&path, setup.limits.agent_log_bytes) {
                Ok(opened) => self.file = Some(opened),
                Err(error) if self.log.differs(&error.to_string()) => {
                    log::warn!(error:%; "metrics are not written to {}: {error}", path.display());
                }
                Err(_) => {}
            }
        }
        let Some(file) = &mut self.file else { return };
        if self.log.ends() {
            log::info!("metrics are written");
        }
        for line in lines {
            // On a full disk a point of a graph is lost.
            let _ = file.write(&format!("{line}\n"));
        }
    }
}

impl Controller for Metrics {
    const NAME: &'static str = "metrics";

    async fn reconcile(&mut self, view: &View) -> Wake {
        if view.setup.settings.logs.as_ref().is_none_or(|logs| logs.metrics.is_none()) {
            (self.file, self.health_due) = (None, None);
            // What ends meanwhile gets no line later.
            self.ended = None;
            return Wake::on_reload();
        }
        let lines = self.lines(view);
        self.write(&view.setup, &lines);
        Wake::on_change().at(self.health_due)
    }
}

/// The groups whose colour has changed since the last call.
fn of_other_colour(colours: &mut BTreeMap<String, Colour>, now: &Health) -> Health {
    let is_other = |(id, report): &(&String, &HealthReport)| colours.get(*id) != Some(&report.colour);
    let changed = now.iter().filter(is_other).map(|(id, report)| (id.clone(), report.clone())).collect();
    *colours = now.iter().map(|(id, report)| (id.clone(), report.colour)).collect();
    changed
}

fn of_health(state: &State, health: &Health, instance: &InstanceId, now_ms: u64) -> Vec<String> {
    let named = health.iter().filter_map(|(id, report)| Some((&state.groups.get(id)?.key, report)));
    named.map(|(key, report)| embedded_metrics::health(key, instance, report, now_ms)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::controller::start;
    use crate::engine;
    use crate::setup::SetupWatch;
    use crate::test_support::{Host, listen, logged, setup};

    const ON: &str = "logs: {files: [], metrics: true}\n";

    /// The kinds of the points in the file so far.
    fn points(path: &std::path::Path) -> Vec<&'static str> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| if line.contains("DeploymentsFailed") { "deployment" } else { "health" }).collect()
    }

    fn red() -> HealthReport {
        HealthReport { colour: Colour::Red, since_ms: 1, causes: Vec::new(), checks: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deployment_that_ends_is_one_point_and_the_health_one_each_minute_and_at_each_change() {
        let root = tempfile::tempdir().unwrap();
        let setup = setup(root.path(), ON);
        let path = setup.layout.metrics_log();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let handle = engine::doubles::start(State::default());
        let deploy = async |id| {
            handle.ask(engine::doubles::deploy(id, "blue")).await.unwrap();
            handle.state().wait_for(|state| !state.is_busy()).await.unwrap();
        };
        deploy("d-1").await;
        let group = handle.state().borrow().groups.keys().next().unwrap().clone();
        let (_setups, setup_watch) = SetupWatch::new(std::sync::Arc::new(setup));
        let health = tokio::sync::watch::Sender::new(Health::new());
        let sources = crate::controller::Sources::new(setup_watch, handle.state(), health.subscribe());
        start(&sources, || Metrics::new("i-1".parse().unwrap()));
        let seconds = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds(1).await;
        assert_eq!(points(&path), [""; 0], "what ended before has its point");
        deploy("d-2").await;
        seconds(1).await;
        assert_eq!(points(&path), ["deployment"]);
        health.send_modify(|health| _ = health.insert(group.clone(), red()));
        seconds(1).await;
        health.send_modify(|_| {});
        seconds(1).await;
        assert_eq!(points(&path), ["deployment", "health"], "a change, and nothing new");
        seconds(120).await;
        assert_eq!(points(&path), ["deployment", "health", "health", "health"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_written_is_logged_once_and_its_end_once() {
        listen();
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(setup(root.path(), ON));
        let path = host.setups.borrow().layout.metrics_log();
        start(&host.sources, || Metrics::new("i-1".parse().unwrap()));
        tokio::time::sleep(Duration::from_secs(600)).await;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(path.exists());
        let logged = logged();
        assert_eq!(logged.len(), 2, "{logged:?}");
        assert!(logged[0].starts_with("WARN: metrics are not written to "), "{logged:?}");
        assert_eq!(logged[1], "INFO: metrics are written");
        host.reload("logs: {files: []}\n");
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}
