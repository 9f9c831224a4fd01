//! The status of the polls of the channels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_core::config::settings::GroupSettings;
use hostler_core::ids::GroupKey;
use hostler_core::status::ChannelStatus;
use hostler_host::clock;
use tokio::sync::Notify;

/// The status of the polls of all channels. Not part of the state: it starts empty with the daemon and is never written
/// down.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    looks: Arc<Mutex<BTreeMap<String, ChannelStatus>>>,
    /// Notified after each poll.
    pub looked: Arc<Notify>,
}

impl Channels {
    /// All channels that are followed.
    pub fn list(&self) -> Vec<ChannelStatus> {
        self.locked(|looks| looks.values().cloned().collect())
    }

    /// Records that a group's channel is followed from now on.
    pub fn begin(&self, group: &GroupSettings, channel: &str) {
        let status = ChannelStatus {
            key: group.key.clone(),
            channel: channel.to_owned(),
            poll_seconds: group.poll_seconds,
            last_poll_ms: None,
            last_success_ms: None,
            polls: 0,
            errors: 0,
            error: None,
        };
        self.locked(|looks| looks.insert(group.key.id(), status));
    }

    /// Records that the channel is no longer followed.
    pub fn end(&self, key: &str) {
        self.locked(|looks| looks.remove(key));
    }

    /// Records the result of a poll.
    pub fn note(&self, key: &GroupKey, error: Option<&str>) {
        let now = clock::now_ms();
        self.locked(|looks| {
            let Some(status) = looks.get_mut(&key.id()) else { return };
            status.polls += 1;
            status.last_poll_ms = Some(now);
            status.error = error.map(str::to_owned);
            match error {
                None => status.last_success_ms = Some(now),
                Some(_) => status.errors += 1,
            }
        });
        self.looked.notify_one();
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<String, ChannelStatus>) -> T) -> T {
        // Counts and times: each is valid by itself, even if the thread that wrote it panicked.
        work(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
