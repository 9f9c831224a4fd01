//! Changes in the directories of logs, from the kernel. They are a hint, never the truth: the next look finds changes
//! that the kernel missed (overlay, network file systems, an overflow).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// The changes that the kernel reported.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Files that were written to.
    pub written: Vec<PathBuf>,
    /// A file was created, renamed or deleted, or events were lost: everything has to be looked at.
    pub look: bool,
}

#[derive(Debug)]
pub(super) struct DirectoryWatch {
    inotify: Option<Inotify>,
    watched: BTreeMap<WatchDescriptor, PathBuf>,
}

impl DirectoryWatch {
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let inotify = inotify
            .inspect_err(|error| log::info!(error:%; "no inotify: logs are looked at every two seconds: {error}"));
        Self { inotify: inotify.ok(), watched: BTreeMap::new() }
    }

    /// Watches a directory, if it can be.
    pub fn add(&mut self, directory: &Path) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        if self.watched.values().any(|known| known == directory) {
            return true;
        }
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        match inotify.add_watch(directory, flags) {
            Ok(descriptor) => {
                self.watched.insert(descriptor, directory.to_owned());
                true
            }
            Err(_) => false,
        }
    }

    /// The changes since the last call.
    pub fn told(&mut self) -> Changed {
        let mut told = Changed::default();
        let Some(inotify) = &self.inotify else { return told };
        while let Ok(events) = inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watched.remove(&event.wd);
                    told.look = true;
                } else if event.mask.contains(AddWatchFlags::IN_MODIFY) {
                    let path =
                        self.watched.get(&event.wd).zip(event.name).map(|(directory, name)| directory.join(name));
                    told.written.extend(path);
                } else {
                    told.look = true;
                }
            }
            if told.written.len() > 4096 {
                told.look = true;
                told.written.sort();
                told.written.dedup();
            }
        }
        told.written.sort();
        told.written.dedup();
        told
    }

    /// A descriptor that is readable when the kernel has reported a change.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}
