//! Follows log files and the journal, and makes batches of their events.
//!
//! There is no spool: the files are the buffer. For each file there is one durable number, the position up to which the
//! service has acknowledged it, and the marks by which it is recognised ([`hostler_core::logs::identity`]). A batch is
//! built when it can be sent, straight from the read buffer, and its origin is written down before: after a crash or a
//! lost answer the same batch is built again, byte by byte.
//!
//! [`Tail`] blocks on nothing but the disk and waits for nothing. Its owner calls [`Tail::look`] when [`Tail::changes`]
//! tells or [`Tail::watch_due_ms`] has come, takes batches with [`Tail::next`], and reports the outcome of each. At
//! most one batch of a stream is out at a time.

mod build;
mod changes;
mod disk;
mod errors;
mod fill;
mod inspection;
mod journal;
mod log_reader;
mod look;
mod mark;
mod packed;
mod positions;
mod redaction;
mod renumbered;
mod report;
mod rotated;
mod rotation_search;
mod send;
mod source;
mod tracked_file;
mod walk;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hostler_core::limits::Limits;
use hostler_core::logs::batch::Batch;
use hostler_core::logs::fair_queue::FairQueue;
use hostler_core::logs::settings::GroupWish;
use hostler_core::path_rule::UnsafePaths;

pub use changes::Changes;
use errors::Errors;
use inspection::Inspections;
pub use journal::JournalSource;
pub use mark::Mark;
use positions::{Intent, Positions, Record};
pub use redaction::{BadRedaction, Redaction};
pub use send::{Outgoing, Ticket};
pub use source::{BadSource, FileSource};
use tracked_file::{Files, TrackedFile};
use watch::DirectoryWatch;

use crate::safe_path::Opener;

/// Milliseconds after which a rotated file that was read to its end is closed.
const ROTATED_QUIET_MS: u64 = 60_000;

/// How many finished files of one path are remembered, to recognise copies of them.
const FINISHED_KEPT: usize = 8;

/// A stream of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    /// The group.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// The settings for making the group.
    pub wish: GroupWish,
}

impl StreamName {
    fn key(&self) -> String {
        format!("{}\n{}", self.group, self.stream)
    }
}

#[derive(Debug)]
struct Stream {
    name: StreamName,
    /// Its batch that is being sent.
    out: Option<Intent>,
    /// Events of that batch.
    events: usize,
    /// An unacknowledged batch, to be sent again unchanged.
    again: Option<Intent>,
    /// When the next try is, if a batch could not be built again.
    retry_ms: u64,
    /// Most events of a batch, after the service refused a longer one.
    most_events: usize,
    /// Whether too old events were already logged.
    old_said: bool,
}

/// Counts of bytes and events that were not sent as they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Bytes that were destroyed or skipped before they could be read.
    pub lost_bytes: u64,
    /// Events older than 14 days, which the service would not keep.
    pub too_old_events: u64,
    /// Events whose time was more than two hours ahead; they were sent with the time of reading.
    pub events_ahead: u64,
    /// Events for which the service would refuse every batch.
    pub refused_events: u64,
}

impl Losses {
    /// The sum of both counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lost_bytes: self.lost_bytes + other.lost_bytes,
            too_old_events: self.too_old_events + other.too_old_events,
            events_ahead: self.events_ahead + other.events_ahead,
            refused_events: self.refused_events + other.refused_events,
        }
    }
}

/// Everything that is followed.
#[derive(Debug)]
pub struct Tail {
    sources: BTreeMap<String, FileSource>,
    journals: BTreeMap<String, journal::JournalTail>,
    files: Files,
    streams: BTreeMap<String, Stream>,
    positions: Positions,
    watch: DirectoryWatch,
    redaction: Redaction,
    opener: Opener,
    inspections: Inspections,
    /// Whether it was already logged that secrets cannot be read.
    unredacted_said: bool,
    turns: FairQueue<String>,
    batch: Batch,
    buffer: Vec<u8>,
    errors: Errors,
    lost_bytes: u64,
    losses: Losses,
    deleted_bytes: u64,
    limits: Limits,
    compress: bool,
    /// Everything is sent at once: a caller waits for it.
    flushing: bool,
    written: Vec<PathBuf>,
    look_wanted: bool,
    looked_ms: u64,
    swept_ms: u64,
    /// Whether the kernel reports no changes for some directory.
    blind: bool,
    first_sweep: bool,
    next_id: u64,
}

impl Tail {
    /// Opens the positions in a directory. `deleted_bytes` bounds the deleted files that are kept for reading.
    ///
    /// # Errors
    /// When the positions' files cannot be opened or made.
    pub fn open(directory: &Path, redaction: Redaction, deleted_bytes: u64, limits: &Limits) -> io::Result<Self> {
        let positions = Positions::open(directory)?;
        let next_id = positions.book.files.keys().last().map_or(1, |id| id + 1);
        Ok(Self {
            sources: BTreeMap::new(),
            journals: BTreeMap::new(),
            files: Files::new(),
            streams: BTreeMap::new(),
            positions,
            watch: DirectoryWatch::new(),
            redaction,
            opener: Opener::default(),
            inspections: Inspections::new(limits),
            unredacted_said: false,
            turns: FairQueue::default(),
            batch: Batch::default(),
            buffer: Vec::new(),
            errors: Errors::default(),
            lost_bytes: 0,
            losses: Losses::default(),
            deleted_bytes,
            limits: limits.clone(),
            compress: true,
            flushing: false,
            written: Vec::new(),
            look_wanted: true,
            looked_ms: 0,
            swept_ms: 0,
            blind: false,
            first_sweep: true,
            next_id,
        })
    }

    /// Sets how unsafe ways to logs are treated; without it they are refused.
    pub fn set_unsafe_paths(&mut self, unsafe_paths: UnsafePaths) {
        self.opener = Opener::new(unsafe_paths);
    }

    /// Leaves batches uncompressed, for a service that takes no gzip.
    pub fn do_not_compress(&mut self) {
        self.compress = false;
    }

    /// Follows one more pattern; a pattern that is followed already stays as it is. Files of earlier runs go on from
    /// their acknowledged positions.
    pub fn follow(&mut self, mut source: FileSource, now_ms: u64) {
        let same = |known: &FileSource| known.pattern == source.pattern && known.target == source.target;
        if self.sources.values().any(same) {
            return;
        }
        // One pattern may be shipped to several streams.
        let plain = source.key.clone();
        for number in 2.. {
            if !self.sources.contains_key(&source.key) {
                break;
            }
            source.key = format!("{plain}#{number}");
        }
        let mut records: Vec<_> =
            self.positions.book.files.values().filter(|record| record.source == source.key).cloned().collect();
        renumbered::renumber(&mut records, &self.opener, self.limits.log_directory_entries);
        for record in records {
            let stream = self.stream_of(&source, &record.origin);
            self.files.insert(record.id, TrackedFile::from_record(record, stream, now_ms));
        }
        self.sources.insert(source.key.clone(), source);
        // Changes to these files while no agent ran are looked for as at the start.
        (self.look_wanted, self.first_sweep) = (true, true);
    }

    /// Looks at everything and sends everything, without gathering: a caller waits for the end.
    pub fn flush(&mut self, now_ms: u64) {
        self.flushing = true;
        self.sweep(now_ms);
    }

    /// Returns a waiter for changes; `None` where the kernel reports none.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn changes(&self) -> io::Result<Option<Changes>> {
        self.watch.descriptor().map(Changes::new).transpose()
    }

    /// Keeps the positions safe from power loss, at most once a second.
    pub fn sync(&mut self, now_ms: u64) {
        self.positions.sync(now_ms, false);
    }

    /// Writes down the present state, at the end.
    pub fn close(mut self, now_ms: u64) {
        for file in self.files.values() {
            if self.positions.book.files.contains_key(&file.id) {
                self.positions.note(Record::File(file.record()));
            }
        }
        self.positions.sync(now_ms, true);
    }

    /// The bytes and events that were not sent as they were, since the start.
    pub fn losses(&self) -> Losses {
        Losses { lost_bytes: self.lost_bytes, ..self.losses }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// The key of a file's stream, which is made if it is new.
    fn stream_of(&mut self, source: &FileSource, path: &Path) -> String {
        self.stream_named(source.stream_name(path))
    }

    fn stream_named(&mut self, name: StreamName) -> String {
        let key = name.key();
        if !self.streams.contains_key(&key) {
            let again = self.positions.book.intents.get(&key).cloned();
            let stream =
                Stream { name, out: None, events: 0, again, retry_ms: 0, most_events: usize::MAX, old_said: false };
            self.streams.insert(key.clone(), stream);
        }
        key
    }

    fn is_in_flight(&self, id: u64) -> bool {
        let is_of = |intent: &Intent| intent.files.iter().any(|segment| segment.id == id);
        self.streams.values().any(|stream| stream.out.as_ref().is_some_and(is_of))
    }
}

#[cfg(test)]
mod tests;
