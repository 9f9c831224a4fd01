//! This host's report in the store of each group that it follows: one task, which nothing waits for. A store that takes no
//! reports is told of once and shown; deployments go on.

mod document;
mod who;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_core::config::settings::GroupSettings;
use hostler_core::host_report::News;
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::machine::State;
use hostler_core::status::{Health, ReportStatus};
use hostler_host::clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::setup::{Live, Setup};
use document::Document;
use who::Identification;

/// Between two writes of one document: health that comes and goes must not become a stream of requests.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);
/// The longest sleep; a clock that was set is noticed then.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// How the writing of the documents goes. Not part of the state: it begins anew with the daemon.
#[derive(Debug, Clone, Default)]
pub struct ReportBoard(Arc<Mutex<BTreeMap<String, ReportStatus>>>);

impl ReportBoard {
    /// All documents that are written.
    pub fn list(&self) -> Vec<ReportStatus> {
        self.locked(|board| board.values().cloned().collect())
    }

    fn put(&self, status: ReportStatus) {
        self.locked(|board| board.insert(status.key.id(), status));
    }

    fn retain(&self, is_wanted: impl Fn(&GroupKey) -> bool) {
        self.locked(|board| board.retain(|_, status| is_wanted(&status.key)));
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<String, ReportStatus>) -> T) -> T {
        // Each entry is right by itself, whatever became of the thread that wrote it.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes the reports of all groups until it is dropped.
pub async fn write_reports(
    mut live: Live,
    mut state: watch::Receiver<Arc<State>>,
    mut health: watch::Receiver<Health>,
    instance: InstanceId,
    board: ReportBoard,
) {
    let mut identification = Identification::new(instance);
    let mut documents: BTreeMap<String, Document> = BTreeMap::new();
    loop {
        let setup = live.now();
        let wanted = |key: &GroupKey| followed(&setup).any(|(group, _)| &group.key == key);
        documents.retain(|_, document| wanted(&document.key));
        board.retain(wanted);
        let mut next = Instant::now() + LONGEST_SLEEP;
        for (group, channel) in followed(&setup) {
            let document = documents.entry(group.key.id()).or_insert_with(|| Document::new(group.key.clone(), channel));
            document.is_in(channel);
            let (now, checks) = (Arc::clone(&state.borrow_and_update()), health.borrow_and_update().clone());
            let news = |who| News::of(&now, &group.key, checks.get(&group.key.id()), who);
            next = next.min(document.keep_true(&setup, &mut identification, news).await);
            board.put(document.status());
        }
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = health.changed() => changed,
            () = live.changed() => Ok(()),
            () = tokio::time::sleep_until(next) => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The groups that are reported about, with their channels.
fn followed(setup: &Setup) -> impl Iterator<Item = (&GroupSettings, &str)> {
    let reported = setup.settings.groups.iter().filter(|group| group.report);
    reported.filter_map(|group| Some((group, group.channel.as_deref()?)))
}

/// Milliseconds since 1970 as a time of the clock that timers have.
fn at(due_ms: u64) -> Instant {
    let wait = Duration::from_millis(due_ms.saturating_sub(clock::now_ms()));
    Instant::now() + wait.min(LONGEST_SLEEP)
}
