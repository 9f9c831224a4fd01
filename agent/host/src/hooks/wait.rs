//! Waits for news in a run directory: by inotify, and by looking now and then, because the end of a lock is no event.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::directory::{CANCELLED, LOCK, RESULT};

/// The first look after an event: a supervisor's descriptors are closed a moment before its lock ends.
const SOON: Duration = Duration::from_millis(5);

/// The longest time between two looks without an event.
const SLOWLY: Duration = Duration::from_secs(1);

/// The files that a run ends with. The others change while it goes on, and a look at the directory takes forty system calls.
const ENDS: [&str; 3] = [RESULT, CANCELLED, LOCK];

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A watch on one run directory.
pub(super) struct Watch {
    /// `None` if the system has no inotify instance left; then looking has to do.
    events: Option<AsyncFd<Descriptor>>,
    pause: Duration,
}

impl Watch {
    /// Begins to watch: news from now on end the next [`Watch::wait`].
    pub fn new(directory: &Path) -> Self {
        let events = watch(directory);
        if let Err(error) = &events {
            log::debug!(error = error.to_string(); "no inotify for a hook's directory, looking instead: {error}");
        }
        let pause = if events.is_ok() { SLOWLY } else { SOON };
        Self { events: events.ok(), pause }
    }

    /// The next wait is a short one.
    pub fn look_soon(&mut self) {
        self.pause = SOON;
    }

    /// Returns when a run may have ended, or after a while: soon after such news, then later and later.
    pub async fn wait(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(SLOWLY);
        let Some(events) = &self.events else { return tokio::time::sleep(pause).await };
        if tokio::time::timeout(pause, news(events)).await.is_ok() {
            self.pause = SOON;
        }
    }
}

impl Drop for Watch {
    /// The kernel waits for all of its processors before it closes an inotify instance, which takes ten milliseconds and
    /// more. The calling thread has other work.
    fn drop(&mut self) {
        if let (Some(events), Ok(runtime)) = (self.events.take(), tokio::runtime::Handle::try_current()) {
            let inotify = events.into_inner();
            runtime.spawn_blocking(move || drop(inotify));
        }
    }
}

/// Returns when one of the files changes that say that a run has ended.
async fn news(events: &AsyncFd<Descriptor>) {
    loop {
        let Ok(mut ready) = events.ready(Interest::READABLE).await else { return std::future::pending().await };
        let mut is_news = false;
        while let Ok(found) = events.get_ref().0.read_events()
            && !found.is_empty()
        {
            let names = || found.iter().filter_map(|event| event.name.as_deref()?.to_str());
            // Without names when the queue has overflowed.
            is_news |= found.iter().any(|event| event.name.is_none()) || names().any(|name| ENDS.contains(&name));
        }
        ready.clear_ready();
        if is_news {
            return;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_ends_a_run_is_news() {
        let directory = tempfile::tempdir().unwrap();
        for (file, is_news) in
            [("started", false), ("processes.json", false), (CANCELLED, true), (LOCK, true), (RESULT, true)]
        {
            let mut watch = Watch::new(directory.path());
            watch.look_soon();
            std::fs::write(directory.path().join(file), "").unwrap();
            watch.wait().await;
            let next = if is_news { SOON } else { SOON * 2 };
            assert_eq!(watch.pause, next, "{file}");
        }
    }
}
