//! Which channels are followed, and how the looks at them go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_core::config::settings::GroupSettings;
use hostler_core::ids::GroupKey;
use hostler_core::status::ChannelStatus;
use hostler_host::clock;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::engine::Handle;
use crate::setup::Live;
use crate::sources::channel;
use crate::tasks::kept;

/// How the looks at all channels go. Not part of the state: it begins anew with the daemon and is never written down.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    looks: Arc<Mutex<BTreeMap<String, ChannelStatus>>>,
    /// Told after each look.
    pub looked: Arc<Notify>,
}

impl Channels {
    /// All channels that are followed.
    pub fn list(&self) -> Vec<ChannelStatus> {
        self.locked(|looks| looks.values().cloned().collect())
    }

    fn begin(&self, group: &GroupSettings, channel: &str) {
        let status = ChannelStatus {
            key: group.key.clone(),
            channel: channel.to_owned(),
            poll_seconds: group.poll_seconds,
            last_look_ms: None,
            last_success_ms: None,
            looks: 0,
            errors: 0,
            error: None,
        };
        self.locked(|looks| looks.insert(group.key.id(), status));
    }

    fn end(&self, key: &str) {
        self.locked(|looks| looks.remove(key));
    }

    /// Notes how a look went.
    pub fn note(&self, key: &GroupKey, error: Option<&str>) {
        let now = clock::now_ms();
        self.locked(|looks| {
            let Some(status) = looks.get_mut(&key.id()) else { return };
            status.looks += 1;
            status.last_look_ms = Some(now);
            status.error = error.map(str::to_owned);
            match error {
                None => status.last_success_ms = Some(now),
                Some(_) => status.errors += 1,
            }
        });
        self.looked.notify_one();
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<String, ChannelStatus>) -> T) -> T {
        // Counts and times: each is right by itself, whatever became of the thread that wrote it.
        work(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A task for each channel. All end when this is dropped.
#[derive(Debug)]
pub struct Followers {
    live: Live,
    handle: Handle,
    channels: Channels,
    tasks: BTreeMap<String, (GroupSettings, JoinHandle<()>)>,
}

impl Followers {
    /// Nothing is followed yet.
    pub fn new(live: Live, handle: Handle, channels: Channels) -> Self {
        Self { live, handle, channels, tasks: BTreeMap::new() }
    }

    /// Follows the channels of these groups and no others. A group that is followed as it is goes on undisturbed.
    pub fn follow(&mut self, groups: &[GroupSettings]) {
        let wanted = |id: &str, now: &GroupSettings| groups.iter().any(|g| g.key.id() == *id && g == now);
        let gone: Vec<String> =
            self.tasks.iter().filter(|(id, (now, _))| !wanted(id, now)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.stop(&id);
        }
        for group in groups {
            let Some(channel) = group.channel.clone() else { continue };
            if self.tasks.contains_key(&group.key.id()) {
                continue;
            }
            self.channels.begin(group, &channel);
            let (live, handle, channels) = (self.live.clone(), self.handle.clone(), self.channels.clone());
            let followed = group.clone();
            let watch = move || {
                channel::watch(live.clone(), followed.clone(), channel.clone(), handle.clone(), channels.clone())
            };
            self.tasks.insert(group.key.id(), (group.clone(), tokio::spawn(kept("channel", watch))));
        }
    }

    fn stop(&mut self, id: &str) {
        if let Some((_, task)) = self.tasks.remove(id) {
            task.abort();
            self.channels.end(id);
        }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}
