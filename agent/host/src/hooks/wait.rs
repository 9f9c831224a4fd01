//! Waits for news in a run directory: by inotify, and by looking now and then, because the end of a lock is no event.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The first look after an event: a supervisor's descriptors are closed a moment before its lock ends.
const SOON: Duration = Duration::from_millis(5);

/// The longest time between two looks without an event.
const SLOWLY: Duration = Duration::from_secs(1);

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A watch on one directory.
pub(super) struct Watch {
    /// `None` if the system has no inotify instance left; then looking has to do.
    events: Option<AsyncFd<Descriptor>>,
    pause: Duration,
}

impl Watch {
    /// Begins to watch: any event from now on ends the next [`Watch::wait`].
    pub fn new(directory: &Path) -> Self {
        let events = watch(directory);
        if let Err(error) = &events {
            log::debug!(error = error.to_string(); "no inotify for a hook's directory, looking instead: {error}");
        }
        Self { events: events.ok(), pause: SOON }
    }

    /// Returns when something changed, or after a while: soon at first, then later and later until the next event.
    pub async fn wait(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(SLOWLY);
        let Some(events) = &self.events else { return tokio::time::sleep(pause).await };
        let ready = tokio::time::timeout(pause, events.ready(Interest::READABLE)).await;
        if let Ok(Ok(mut ready)) = ready {
            // The content does not matter; the directory is read anew.
            while events.get_ref().0.read_events().is_ok_and(|events| !events.is_empty()) {}
            ready.clear_ready();
            self.pause = SOON;
        }
    }
}

#[allow(unsafe_code)]
fn watch(directory: &Path) -> std::io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    // Closing a file that was only read does not count: looking would wake itself.
    let news = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
    inotify.add_watch(directory, news)?;
    // SAFETY: the inotify instance owns its descriptor, and nothing replaces or closes it while `AsyncFd` owns both.
    Ok(unsafe { AsyncFd::register_with_interest(Descriptor(inotify), Interest::READABLE)? })
}
