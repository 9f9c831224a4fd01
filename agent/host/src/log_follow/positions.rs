//! The acknowledged position of every file and journal, on disk.
//!
//! Two preallocated files in turn. One is current: a header, a snapshot, and a record for each later event, one line
//! each with a CRC. When it is full the snapshot goes to the other file, which becomes current with its header. So a
//! full disk does not stop it, and a torn write costs that record alone. The CRC is seeded with the generation, so
//! lines of an earlier use of the file do not count.
//!
//! A record is written before a batch is sent (with the coming batch) and after it was acknowledged. That is enough
//! against `kill -9`; against power loss the file is synced at most once a second, so events that were acknowledged in
//! the last second may be sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostler_core::logs::identity::{Fingerprint, Identity};
use serde::{Deserialize, Serialize};

use crate::{atomic, path_bytes};

/// Bytes of each of the two files when they are made.
const SLOT_BYTES: u64 = 512 << 10;

/// Bytes of the header, which is written alone.
const HEADER_BYTES: usize = 64;

/// Milliseconds between two synchronisations.
const SYNC_MS: u64 = 1000;

/// How far a file was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// Its number in this book.
    pub id: u64,
    /// The source that follows it.
    pub source: String,
    #[serde(with = "path_bytes")]
    pub path: PathBuf,
    pub identity: Identity,
    /// Bytes that the service has acknowledged.
    pub offset: u64,
    /// The bytes right before the offset.
    pub trail: Fingerprint,
    /// The time of the last event before the offset.
    pub last_ms: Option<i64>,
    /// The change time that the last look found, in nanoseconds.
    pub changed_ns: u64,
    /// The path at which it was first seen: files of one origin are sent one after the other.
    #[serde(with = "path_bytes")]
    pub origin: PathBuf,
    /// Bytes, as last seen.
    pub size: u64,
    /// Whether it was rotated away.
    pub rotated: bool,
}

/// A stretch of a file in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub id: u64,
    pub start: u64,
    pub end: u64,
    /// The bytes right before the end.
    pub trail: Fingerprint,
    /// The time of the last event before the end.
    pub last_ms: Option<i64>,
}

/// A stretch of a journal in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JournalSegment {
    pub source: String,
    /// The cursor of its last record.
    pub end: String,
}

/// The origin of a batch: enough to make the same batch again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// The time in milliseconds since 1970 for events that have no time of their own.
    pub base_ms: i64,
    pub files: Vec<Segment>,
    pub journal: Option<JournalSegment>,
}

/// The recorded events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
pub(super) enum Record {
    /// A file's record is this now.
    File(FileRecord),
    /// A file is forgotten.
    Gone { id: u64 },
    /// A batch is about to be sent to a stream.
    Intent { stream: String, intent: Intent },
    /// The stream's batch was acknowledged.
    Done { stream: String },
    /// The stream's batch will not be sent unchanged.
    Dropped { stream: String },
    /// A source was seen for the first time.
    Source { key: String },
    /// A journal's cursor was acknowledged.
    Cursor { key: String, cursor: String },
}

/// The sum of all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Book {
    pub files: BTreeMap<u64, FileRecord>,
    pub intents: BTreeMap<String, Intent>,
    pub sources: BTreeSet<String>,
    pub cursors: BTreeMap<String, String>,
}

impl Book {
    fn apply(&mut self, record: Record) {
        match record {
            Record::File(file) => {
                self.files.insert(file.id, file);
            }
            Record::Gone { id } => {
                self.files.remove(&id);
            }
            Record::Intent { stream, intent } => {
                self.intents.insert(stream, intent);
            }
            Record::Done { stream } => {
                let Some(intent) = self.intents.remove(&stream) else { return };
                for segment in intent.files {
                    if let Some(file) = self.files.get_mut(&segment.id) {
                        (file.offset, file.trail, file.last_ms) = (segment.end, segment.trail, segment.last_ms);
                    }
                }
                if let Some(journal) = intent.journal {
                    self.cursors.insert(journal.source, journal.end);
                }
            }
            Record::Dropped { stream } => {
                self.intents.remove(&stream);
            }
            Record::Source { key } => {
                self.sources.insert(key);
            }
            Record::Cursor { key, cursor } => {
                self.cursors.insert(key, cursor);
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let files = self.files.values().cloned().map(Record::File);
        let intents = self.intents.iter().map(|(stream, intent)| (stream.clone(), intent.clone()));
        let cursors = self.cursors.iter().map(|(key, cursor)| (key.clone(), cursor.clone()));
        files
            .chain(intents.map(|(stream, intent)| Record::Intent { stream, intent }))
            .chain(self.sources.iter().cloned().map(|key| Record::Source { key }))
            .chain(cursors.map(|(key, cursor)| Record::Cursor { key, cursor }))
    }
}

/// The book and its two files.
#[derive(Debug)]
pub(super) struct Positions {
    pub book: Book,
    slots: [File; 2],
    current: usize,
    generation: u64,
    /// Where the next record goes in the current file.
    at: u64,
    capacity: u64,
    unsynced: bool,
    synced_ms: u64,
    /// Whether the disk failed to take a record, which is logged once.
    failing: bool,
}

impl Positions {
    /// Opens the two files in a directory, or makes them. If both are damaged, the book is empty: the host begins its
    /// logs anew, and logs that.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let open = |name: &str| {
            let path = directory.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&path)?;
            atomic::sync_parent(&path).map_err(io::Error::other)?;
            Ok::<_, io::Error>(file)
        };
        Self::of_slots([open("log-positions.0")?, open("log-positions.1")?], directory)
    }

    fn of_slots(slots: [File; 2], directory: &Path) -> io::Result<Self> {
        let was_used = slots.iter().any(|slot| slot.metadata().is_ok_and(|metadata| metadata.len() > 0));
        let read = [read_slot(&slots[0])?, read_slot(&slots[1])?];
        let newest = (0..2).filter(|at| read[*at].is_some()).max_by_key(|at| read[*at].as_ref().map(|slot| slot.0));
        let mut positions = Self {
            book: Book::default(),
            slots,
            current: 1,
            generation: 0,
            at: 0,
            capacity: SLOT_BYTES,
            unsynced: false,
            synced_ms: 0,
            failing: false,
        };
        let [first, second] = read;
        let known = newest.and_then(|at| if at == 0 { first } else { second }.map(|slot| (at, slot)));
        if let Some((at, (generation, book, end))) = known {
            (positions.generation, positions.book, positions.current, positions.at) = (generation, book, at, end);
        } else if was_used {
            log::error!(
                directory:% = directory.display();
                "the positions of the logs in {} are damaged: every log is read from its configured beginning", directory.display()
            );
        }
        // Data after the last good record may be torn; the new snapshot has nothing behind it.
        if let Err(error) = positions.rewrite() {
            if newest.is_none() {
                return Err(error);
            }
            log::warn!(error:%; "the positions of the logs go on in the file that they are in: {error}");
            positions.go_on()?;
        }
        // The disk may be full by the time the other file is needed.
        if let Err(error) = reserve(&positions.slots[1 - positions.current], positions.capacity) {
            log::warn!(error:%; "the positions of the logs may not find the space that they will need: {error}");
        }
        Ok(positions)
    }

    /// Goes on behind the last good record, without the torn data there; takes no space.
    fn go_on(&mut self) -> io::Result<()> {
        let slot = &self.slots[self.current];
        self.capacity = slot.metadata()?.len();
        let torn = usize::try_from(self.capacity.saturating_sub(self.at)).unwrap_or(0);
        slot.write_all_at(&vec![0; torn], self.at)?;
        atomic::sync(slot, File::sync_data)
    }

    /// Applies a record and writes it. If the disk fails, the error is logged; it costs repeats after a crash, never
    /// lines.
    pub fn note(&mut self, record: Record) {
        let line = line(&record, self.generation);
        self.book.apply(record);
        let fits = self.at + line.len() as u64 <= self.capacity;
        let written = if fits { self.append(line.as_bytes()) } else { self.rewrite() };
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    log::warn!(error:%; "the positions of the logs cannot be written; a crash now would repeat more: {error}");
                }
                self.failing = true;
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.slots[self.current].write_all_at(line, self.at)?;
        self.at += line.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Writes the snapshot to the other file, which becomes the current one.
    fn rewrite(&mut self) -> io::Result<()> {
        let generation = self.generation + 1;
        let text: String = self.book.records().map(|record| line(&record, generation)).collect();
        let other = 1 - self.current;
        let slot = &self.slots[other];
        let needed = (HEADER_BYTES + text.len()) as u64 * 2;
        let capacity = needed.max(SLOT_BYTES).next_multiple_of(SLOT_BYTES);
        reserve(slot, capacity)?;
        slot.write_all_at(&[0; HEADER_BYTES], 0)?;
        slot.write_all_at(text.as_bytes(), HEADER_BYTES as u64)?;
        // A line of the slot's earlier content must not count by chance.
        atomic::sync(slot, File::sync_data)?;
        slot.write_all_at(header(generation, text.len()).as_bytes(), 0)?;
        atomic::sync(slot, File::sync_data)?;
        (self.current, self.generation, self.capacity) = (other, generation, capacity);
        self.at = (HEADER_BYTES + text.len()) as u64;
        self.unsynced = false;
        Ok(())
    }

    /// Makes the noted records survive power loss, at most once a second, or now.
    pub fn sync(&mut self, now_ms: u64, at_once: bool) {
        if !self.unsynced || (!at_once && now_ms < self.synced_ms + SYNC_MS) {
            return;
        }
        self.synced_ms = now_ms;
        match atomic::sync(&self.slots[self.current], File::sync_data) {
            Ok(()) => self.unsynced = false,
            Err(error) => log::warn!(error:%; "the positions of the logs cannot be synced: {error}"),
        }
    }

    /// When [`Positions::sync`] has something to do, in milliseconds.
    pub fn sync_due_ms(&self) -> Option<u64> {
        self.unsynced.then_some(self.synced_ms + SYNC_MS)
    }
}

/// Makes sure of the space of a slot.
fn reserve(slot: &File, bytes: u64) -> io::Result<()> {
    if slot.metadata()?.len() < bytes {
        nix::fcntl::posix_fallocate(slot, 0, i64::try_from(bytes).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

fn header(generation: u64, snapshot: usize) -> String {
    let text = format!("hostler-log-positions 1 {generation:016x} {snapshot:08x}");
    format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn line(record: &Record, generation: u64) -> String {
    // A record has only values that JSON can hold.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{:08x} {json}\n", crc(json.as_bytes(), generation))
}

fn crc(json: &[u8], generation: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

/// The generation, the book and its end; `None` for a file without a complete snapshot.
fn read_slot(slot: &File) -> io::Result<Option<(u64, Book, u64)>> {
    let length = usize::try_from(slot.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    slot.read_exact_at(&mut bytes, 0)?;
    let Some((generation, snapshot)) = read_header(&bytes) else { return Ok(None) };
    let mut book = Book::default();
    let mut at = HEADER_BYTES;
    while let Some(end) = bytes.get(at..).and_then(line_end) {
        let Some(record) = read_line(&bytes[at..at + end], generation) else { break };
        book.apply(record);
        at += end + 1;
    }
    Ok((at >= HEADER_BYTES + snapshot).then_some((generation, book, at as u64)))
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

fn read_header(bytes: &[u8]) -> Option<(u64, usize)> {
    let text = std::str::from_utf8(bytes.get(..HEADER_BYTES)?).ok()?;
    let text = text.split('\n').next()?;
    let (head, crc) = text.rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(head.as_bytes()) {
        return None;
    }
    let mut words = head.strip_prefix("hostler-log-positions 1 ")?.split(' ');
    let generation = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((generation, usize::from_str_radix(words.next()?, 16).ok()?))
}

fn read_line(line: &[u8], generation: u64) -> Option<Record> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    (sum == crc(json, generation)).then(|| serde_json::from_slice(json).ok()).flatten()
}

#[cfg(test)]
mod tests;
