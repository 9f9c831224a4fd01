//! This host's report in the store of each group that it follows: one task, on which nothing waits. If a store takes no
//! reports, the agent logs it once and shows it in the status; deployments go on.

mod document;
mod reporter_id;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_core::config::settings::GroupSettings;
use hostler_core::host_report::ReportContent;
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::machine::State;
use hostler_core::status::{Health, ReportStatus};
use hostler_host::clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::setup::{Setup, SetupWatch};
use document::Document;
use reporter_id::Identification;

/// Between two writes of one document: flapping health must not become a stream of requests.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);
/// The longest sleep; the agent notices a changed clock then.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// The status of the documents. Not part of the state: it starts empty with the daemon.
#[derive(Debug, Clone, Default)]
pub struct ReportStatuses(Arc<Mutex<BTreeMap<String, ReportStatus>>>);

impl ReportStatuses {
    /// The status of all documents.
    pub fn list(&self) -> Vec<ReportStatus> {
        self.locked(|health_watch| health_watch.values().cloned().collect())
    }

    fn put(&self, status: ReportStatus) {
        self.locked(|health_watch| health_watch.insert(status.key.id(), status));
    }

    fn retain(&self, is_wanted: impl Fn(&GroupKey) -> bool) {
        self.locked(|health_watch| health_watch.retain(|_, status| is_wanted(&status.key)));
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<String, ReportStatus>) -> T) -> T {
        // Each entry is valid by itself, even if the thread that wrote it panicked.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes the reports of all groups until it is dropped.
pub async fn write_reports(
    mut setup_watch: SetupWatch,
    mut state: watch::Receiver<Arc<State>>,
    mut health: watch::Receiver<Health>,
    instance: InstanceId,
    health_watch: ReportStatuses,
) {
    let mut identification = Identification::new(instance);
    let mut documents: BTreeMap<String, Document> = BTreeMap::new();
    loop {
        let setup = setup_watch.now();
        let wanted = |key: &GroupKey| followed(&setup).any(|(group, _)| &group.key == key);
        documents.retain(|_, document| wanted(&document.key));
        health_watch.retain(wanted);
        let mut next = Instant::now() + LONGEST_SLEEP;
        for (group, channel) in followed(&setup) {
            let document = documents.entry(group.key.id()).or_insert_with(|| Document::new(group.key.clone(), channel));
            document.is_in(channel);
            let (now, checks) = (Arc::clone(&state.borrow_and_update()), health.borrow_and_update().clone());
            let content = |who| ReportContent::of(&now, &group.key, checks.get(&group.key.id()), who);
            next = next.min(document.keep_true(&setup, &mut identification, content).await);
            health_watch.put(document.status());
        }
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = health.changed() => changed,
            () = setup_watch.changed() => Ok(()),
            () = tokio::time::sleep_until(next) => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The groups with reports, and their channels.
fn followed(setup: &Setup) -> impl Iterator<Item = (&GroupSettings, &str)> {
    let reported = setup.settings.groups.iter().filter(|group| group.report);
    reported.filter_map(|group| Some((group, group.channel.as_deref()?)))
}

/// Converts milliseconds since 1970 to the clock of timers.
fn at(due_ms: u64) -> Instant {
    let wait = Duration::from_millis(due_ms.saturating_sub(clock::now_ms()));
    Instant::now() + wait.min(LONGEST_SLEEP)
}
