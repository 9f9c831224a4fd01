//! Descriptors and deleted files: every file that is held open costs the host something.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::fstatvfs;

use super::Tail;
use super::log_reader::LogReader;
use super::tracked_file::{FileState, TrackedFile};

/// Percentage of free space on a file system below which deleted files are not held open any more.
const FREE_PERCENT: u64 = 5;

/// Most files that are unpacked at the same time. Prevents: memory that grows with their number; each may take 34 MiB.
const MOST_UNPACKED: usize = 4;

/// Milliseconds after which a packed file that was not read gives up its place.
const UNPACKED_QUIET_MS: u64 = 5000;

impl Tail {
    /// Forgets files and streams that have nothing left.
    pub(super) fn forget_ended(&mut self) {
        self.files.retain(|_, file| {
            let is_nowhere =
                file.place == FileState::Finished && file.origin.parent().is_some_and(|parent| !parent.exists());
            if is_nowhere {
                self.positions.note(super::Record::Gone { id: file.id });
            }
            !is_nowhere
        });
        let used: std::collections::BTreeSet<&str> = self
            .files
            .values()
            .map(|file| file.stream.as_str())
            .chain(self.journals.values().map(|journal| journal.stream.as_str()))
            .collect();
        let turns = &mut self.turns;
        self.streams.retain(|key, stream| {
            let keep = used.contains(key.as_str()) || stream.out.is_some();
            if !keep {
                turns.forget(key);
            }
            keep
        });
    }

    /// Frees the memory of unpacking more than a few files. Files that wait long for their turn go first, else the last
    /// one, so that the others come to their end.
    pub(super) fn rest_packed(&mut self) {
        let now_ms = self.looked_ms;
        loop {
            let is_active =
                |file: &&mut TrackedFile| matches!(&file.reader, LogReader::Packed(packed) if packed.is_active());
            let mut active: Vec<&mut TrackedFile> = self.files.values_mut().filter(is_active).collect();
            if active.len() <= MOST_UNPACKED {
                return;
            }
            active.sort_by_key(|file| file.unpacked_ms);
            let is_quiet = active.first().is_some_and(|file| now_ms >= file.unpacked_ms + UNPACKED_QUIET_MS);
            let chosen = if is_quiet { active.into_iter().next() } else { active.into_iter().next_back() };
            if let Some(TrackedFile { reader: LogReader::Packed(packed), .. }) = chosen {
                packed.rest();
            }
        }
    }

    /// Closes files that their path leads to. Files that are read to their end and have been quiet for the longest time
    /// come first.
    pub(super) fn close_idle(&mut self) {
        let most = self.limits.log_open_files;
        let most = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(most, |(soft, _)| most.min(usize::try_from(soft / 2).unwrap_or(most)));
        let is_open =
            |file: &&mut TrackedFile| matches!(file.reader, LogReader::Plain(_)) && file.place == FileState::Current;
        let mut open: Vec<&mut TrackedFile> = self.files.values_mut().filter(is_open).collect();
        let excess = open.len().saturating_sub(most);
        if excess > 0 {
            open.sort_by_key(|file| (file.unread() > 0, file.grown_ms));
            open.into_iter().take(excess).for_each(|file| file.reader = LogReader::Closed);
        }
    }

    /// Closes deleted files, the oldest first, when they take more than they may, or the last space of their disk.
    pub(super) fn watch_disk(&mut self) {
        let is_deleted = |file: &&TrackedFile| file.place == FileState::Rotated && file.links == 0 && file.unread() > 0;
        let deleted: Vec<(u64, u64)> = self.files.values().filter(is_deleted).map(|f| (f.id, f.size)).collect();
        let mut held: u64 = deleted.iter().map(|(_, size)| size).sum();
        for (id, size) in deleted {
            let is_short = self.files.get(&id).is_some_and(|file| is_disk_short(file, self.limits.log_free_bytes));
            if held <= self.deleted_bytes && !is_short {
                return;
            }
            held -= size;
            if self.is_in_flight(id) {
                continue;
            }
            let unread = self.files.get(&id).map_or(0, TrackedFile::unread);
            let why = if is_short { "its disk is full and it is deleted" } else { "too much of deleted logs waits" };
            self.lose(id, unread, why);
        }
    }
}

fn is_disk_short(file: &TrackedFile, most_bytes: u64) -> bool {
    let LogReader::Plain(open) = &file.reader else { return false };
    fstatvfs(open).is_ok_and(|disk| {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        bytes(disk.blocks_available()) < (bytes(disk.blocks()) / 100 * FREE_PERCENT).min(most_bytes)
    })
}
