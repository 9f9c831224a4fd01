//! This host's report in the store of each group that it follows: one controller, on which nothing waits. If a store takes no
//! reports, the agent logs it once and shows it in the status; deployments go on.

mod document;
mod reporter_id;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_core::config::settings::GroupSettings;
use hostler_core::host_report::ReportContent;
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::status::ReportStatus;
use hostler_host::clock;
use tokio::time::Instant;

use crate::controller::{Controller, View, Wake};
use crate::setup::Setup;
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

/// Writes the reports of all groups.
pub struct HostReports {
    identification: Identification,
    documents: BTreeMap<String, Document>,
    statuses: ReportStatuses,
}

impl HostReports {
    /// Nothing is known of any document yet.
    pub fn new(instance: InstanceId, statuses: ReportStatuses) -> Self {
        Self { identification: Identification::new(instance), documents: BTreeMap::new(), statuses }
    }
}

impl Controller for HostReports {
    const NAME: &'static str = "host reports";

    async fn reconcile(&mut self, View { state, health, setup, .. }: &View) -> Wake {
        let wanted = |key: &GroupKey| followed(setup).any(|(group, _)| &group.key == key);
        self.documents.retain(|_, document| wanted(&document.key));
        self.statuses.retain(wanted);
        let mut wake = Wake::on_change().after(LONGEST_SLEEP);
        for (group, channel) in followed(setup) {
            let new = || Document::new(group.key.clone(), channel);
            let document = self.documents.entry(group.key.id()).or_insert_with(new);
            document.is_in(channel);
            let content = |who| ReportContent::of(state, &group.key, health.get(&group.key.id()), who);
            wake = wake.at(document.keep_true(setup, &mut self.identification, content).await);
            self.statuses.put(document.status());
        }
        wake
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

#[cfg(test)]
mod tests;
