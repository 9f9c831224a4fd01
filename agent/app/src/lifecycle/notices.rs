//! EC2's notices: the spot notice at each look; the others rarely, because they come long before.

use hostler_core::lifecycle::{Notice, notices};
use hostler_host::clock;

use super::cloud::Cloud;
use crate::controller::LogOnce;

/// Looks between two requests for recommendations and scheduled events.
const RARELY: u32 = 12;

const SPOT: &str = "meta-data/spot/instance-action";
const REBALANCE: &str = "meta-data/events/recommendations/rebalance";
const SCHEDULED: &str = "meta-data/events/maintenance/scheduled";

/// The known notices, and how long they are valid.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// The rarely requested notices; `None` until the service answered.
    rare: Option<Vec<Notice>>,
    looks: u32,
    problem_log: LogOnce,
}

impl Announced {
    /// The current notices; `None` when the service did not answer.
    pub async fn ask(&mut self, cloud: &impl Cloud) -> Option<Vec<Notice>> {
        let spot = cloud.metadata(SPOT).await.ok()?;
        let spot = self.read(SPOT, spot.as_deref().map(notices::interruption).transpose());
        if self.looks == 0 {
            self.rare = self.ask_rare(cloud).await.or_else(|| self.rare.take());
        }
        // After a failed request the next look asks again.
        self.looks = if self.rare.is_some() { (self.looks + 1) % RARELY } else { 0 };
        match (spot, &self.rare) {
            (None, None) => None,
            (spot, rare) => Some(spot.into_iter().chain(rare.iter().flatten().cloned()).collect()),
        }
    }

    async fn ask_rare(&mut self, cloud: &impl Cloud) -> Option<Vec<Notice>> {
        let (rebalance, scheduled) = (cloud.metadata(REBALANCE).await.ok()?, cloud.metadata(SCHEDULED).await.ok()?);
        let rebalance = self.read(REBALANCE, rebalance.as_deref().map(notices::recommendation).transpose());
        let scheduled = self.read(SCHEDULED, scheduled.as_deref().map(notices::scheduled).transpose());
        Some(rebalance.into_iter().chain(scheduled.into_iter().flatten()).collect())
    }

    /// Reads an answer. An invalid answer announces nothing; it is logged once.
    fn read<T>(&mut self, path: &str, answer: Result<Option<T>, String>) -> Option<T> {
        answer.unwrap_or_else(|problem| {
            if self.problem_log.begins() {
                log::warn!("the instance metadata service's {path} cannot be read: {problem}");
            }
            None
        })
    }
}

/// Logs the new notices.
pub(super) fn tell(before: &[Notice], now: &[Notice]) {
    for notice in now.iter().filter(|notice| !before.contains(notice)) {
        let at = notice.at_ms.map_or_else(|| "at an unknown time".to_owned(), clock::local_time);
        log::warn!(notice = notice.id.as_str(); "EC2 announces {}: {at}", notice.word);
    }
    for notice in before.iter().filter(|notice| !now.contains(notice)) {
        log::info!(notice = notice.id.as_str(); "EC2 does not announce {} any more", notice.word);
    }
}
