//! On the way into the warm pool: fetches and checks the bundles that the channels' releases name, so that leaving the
//! pool is quick. A pool that cannot fill is worse than a host that fetches late, so the hook is always continued.

use std::sync::Arc;

use hostler_core::config::settings::GroupSettings;
use hostler_core::lifecycle::Action;
use hostler_core::machine::release_decision::Follow;
use hostler_core::machine::state::Group;
use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::task::JoinHandle;

use super::LifecycleController;
use super::cloud::Cloud;
use crate::controller::{LogOnce, Retries};
use crate::engine::Handle;
use crate::ports::Installs;
use crate::setup::Setup;
use crate::sources::channel::{self, LookForKeys, PollError, PollResult};
use crate::wings;
use crate::work::stage::{NotStaged, stage};

/// Waits after a store that did not answer.
const BETWEEN_ATTEMPTS: Backoff = Backoff { first_ms: 2000, most_ms: 60_000 };

/// The fetch for one action. Dropping it ends it.
pub(super) struct Prefetch {
    entry: u64,
    task: JoinHandle<String>,
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Cloud> LifecycleController<C> {
    /// Advances the fetch; returns a text with the result once it has ended or its time is over.
    pub(super) async fn prefetched(&mut self, action: &Action) -> Option<String> {
        let known = self.prefetch.take().filter(|prefetch| prefetch.entry == action.entry);
        let mut prefetch = known.unwrap_or_else(|| {
            let task = tokio::spawn(bring_all(self.setup_watch.now(), self.handle.clone()));
            Prefetch { entry: action.entry, task }
        });
        if prefetch.task.is_finished() {
            return Some((&mut prefetch.task).await.unwrap_or_else(|error| format!("nothing was fetched: {error}")));
        }
        if action.deadline_ms.is_some_and(|at| clock::now_ms() >= at) {
            return Some("not everything was fetched in time".to_owned());
        }
        self.prefetch = Some(prefetch);
        None
    }
}

async fn bring_all(setup: Arc<Setup>, handle: Handle) -> String {
    let mut words = Vec::new();
    for group in &setup.settings.groups {
        if let Some(channel) = &group.channel {
            words.push(format!("{} {}", group.key, fetch_ahead(&setup, group, channel, &handle).await));
        }
    }
    if words.is_empty() { "no channel is configured".to_owned() } else { words.join(", ") }
}

/// Fetches one group's release; returns the result as text.
async fn fetch_ahead(setup: &Arc<Setup>, settings: &GroupSettings, channel: &str, handle: &Handle) -> String {
    let (mut retries, mut log) = (Retries::new(BETWEEN_ATTEMPTS), LogOnce::default());
    loop {
        let problem = match channel::look(setup, settings, channel, handle, None, LookForKeys::ForRelease).await {
            Ok(PollResult::Release { sequence, follow: Follow::Deploy, request, .. }) => {
                let ground = {
                    let watched = handle.state();
                    let state = watched.borrow();
                    let known = state.groups.get(&settings.key.id()).cloned();
                    let group = known.unwrap_or_else(|| Group::new(settings.key.clone()));
                    (group, Installs::of_others(&state, &settings.key))
                };
                match stage(setup, wings::ALL, ground, *request).await {
                    Ok(()) => return format!("has release {sequence} here"),
                    Err(NotStaged::Wrong(problem)) => {
                        log::error!(group:% = settings.key, sequence; "{}: release {sequence} cannot be deployed: {problem}", settings.key);
                        return format!("cannot deploy release {sequence} as this host is");
                    }
                    Err(NotStaged::Later(problem)) => problem,
                }
            }
            Ok(PollResult::Empty) => return "has no release yet".to_owned(),
            Ok(PollResult::Release { .. } | PollResult::Unchanged) => return "has nothing new".to_owned(),
            Err(PollError::Refused(failure)) => {
                log::error!(group:% = settings.key; "{}: the channel is not followed: {}", settings.key, failure.one_line());
                return "does not follow its channel".to_owned();
            }
            Err(PollError::Unread(failure)) => failure.one_line(),
        };
        if log.begins() {
            log::warn!(group:% = settings.key; "{}: the release is not here yet: {problem}", settings.key);
        }
        tokio::time::sleep_until(retries.failed()).await;
    }
}
