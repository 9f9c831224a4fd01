//! Which channels are followed.

use std::collections::BTreeMap;

use hostler_core::config::settings::GroupSettings;
use tokio::task::JoinHandle;

use crate::engine::Handle;
use crate::setup::SetupWatch;
use crate::sources::channel;
use crate::sources::channel_status::Channels;
use crate::tasks::kept;

/// A task for each channel. All end when this is dropped.
#[derive(Debug)]
pub struct Followers {
    setup_watch: SetupWatch,
    handle: Handle,
    channels: Channels,
    tasks: BTreeMap<String, (GroupSettings, JoinHandle<()>)>,
}

impl Followers {
    /// Followers without any channel.
    pub fn new(setup_watch: SetupWatch, handle: Handle, channels: Channels) -> Self {
        Self { setup_watch, handle, channels, tasks: BTreeMap::new() }
    }

    /// Follows the channels of exactly these groups. Groups that have not changed go on undisturbed.
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
            let (setup_watch, handle, channels) =
                (self.setup_watch.clone(), self.handle.clone(), self.channels.clone());
            let followed = group.clone();
            let watch = move || {
                channel::watch(setup_watch.clone(), followed.clone(), channel.clone(), handle.clone(), channels.clone())
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
