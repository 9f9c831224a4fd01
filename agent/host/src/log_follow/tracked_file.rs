//! One followed file, whatever its name is now.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use hostler_core::logs::identity::{Fingerprint, HEAD_BYTES, Identity, TRAIL_BYTES};
use hostler_core::logs::rotation::{Known, Sameness, compare};

use super::log_reader::{Facts, LogReader, Sample, open};
use super::positions::FileRecord;
use super::rotation_search::{NewFile, identity_of};
use crate::safe_path::Opener;

/// The state of a followed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    /// At its path.
    Current,
    /// Renamed, deleted or copied away; it is read to its end.
    Rotated,
    /// Its unread content is nowhere any more.
    Gone,
    /// Read to its end, acknowledged, and quiet; kept to know its copies.
    Finished,
}

/// Why a file is not read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It can be read.
    No,
    /// The path rule did not allow to open it at the last look.
    Refused,
    /// It is not known yet which packed file has its rest. Later files wait.
    Searched,
}

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub offset: u64,
    pub trail: Fingerprint,
    /// The time of the last event, for events without a time.
    pub last_ms: Option<i64>,
}

#[derive(Debug)]
pub(super) struct TrackedFile {
    pub id: u64,
    /// The path at which it was first seen.
    pub origin: PathBuf,
    /// Key of the source.
    pub source: String,
    /// Key of the stream.
    pub stream: String,
    pub path: PathBuf,
    pub identity: Identity,
    /// The acknowledged position.
    pub position: Position,
    /// Bytes, as last seen.
    pub size: u64,
    pub changed_ns: u64,
    /// Links to the inode, as last seen; 0 for a deleted file.
    pub links: u64,
    /// When growth was last seen, or the file was rotated.
    pub grown_ms: u64,
    /// The time since which there are unacknowledged bytes.
    pub waiting_since: Option<u64>,
    /// The size at which the file had no whole event left.
    pub tried: Option<u64>,
    pub reader: LogReader,
    pub place: FileState,
    pub held: Held,
    /// When it was last unpacked, if it is packed.
    pub unpacked_ms: u64,
}

impl TrackedFile {
    pub fn known(&self) -> Known<'_> {
        Known { identity: &self.identity, offset: self.position.offset, trail: self.position.trail }
    }

    /// Unacknowledged bytes, as far as they are known: only the end of a packed file shows how many it has.
    pub fn unread(&self) -> u64 {
        let seen = self.size.saturating_sub(self.position.offset);
        match &self.reader {
            LogReader::Packed(packed) if packed.end().is_none() => seen.max(1),
            _ => seen,
        }
    }

    pub fn record(&self) -> FileRecord {
        FileRecord {
            id: self.id,
            source: self.source.clone(),
            path: self.path.clone(),
            identity: self.identity.clone(),
            offset: self.position.offset,
            trail: self.position.trail,
            last_ms: self.position.last_ms,
            changed_ns: self.changed_ns,
            origin: self.origin.clone(),
            size: self.size,
            rotated: self.place != FileState::Current,
        }
    }

    /// Takes note of the file system's present facts.
    pub fn seen(&mut self, facts: &Facts, now_ms: u64) {
        if facts.size != self.size {
            self.grown_ms = now_ms;
        }
        (self.size, self.changed_ns, self.links) = (facts.size, facts.changed_ns, facts.links);
        self.wait_from(now_ms);
    }

    /// Keeps the time since which bytes wait.
    pub fn wait_from(&mut self, now_ms: u64) {
        if self.unread() == 0 {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now_ms);
        }
    }

    /// A file that was just found, with its path.
    pub fn new(id: u64, source: &str, stream: &str, found: NewFile, position: Position, now_ms: u64) -> Self {
        let mut file = Self {
            id,
            origin: found.path.clone(),
            source: source.to_owned(),
            stream: stream.to_owned(),
            path: found.path,
            identity: identity_of(&found.facts, &found.sample),
            position,
            size: 0,
            changed_ns: 0,
            links: 1,
            grown_ms: now_ms,
            waiting_since: None,
            tried: None,
            reader: found.reader,
            place: FileState::Current,
            held: Held::No,
            unpacked_ms: 0,
        };
        file.seen(&Facts { size: found.size, ..found.facts }, now_ms);
        file
    }

    /// A file from its last record.
    pub fn from_record(record: FileRecord, stream: String, now_ms: u64) -> Self {
        let position = Position { offset: record.offset, trail: record.trail, last_ms: record.last_ms };
        Self {
            id: record.id,
            origin: record.origin,
            source: record.source,
            stream,
            path: record.path,
            identity: record.identity,
            size: record.size.max(position.offset),
            position,
            changed_ns: record.changed_ns,
            links: 1,
            grown_ms: now_ms,
            waiting_since: None,
            tried: None,
            reader: LogReader::Closed,
            place: if record.rotated { FileState::Rotated } else { FileState::Current },
            held: Held::No,
            unpacked_ms: 0,
        }
    }

    /// Whether a file at a path with these facts is this file; judged by its content if nothing is open.
    pub fn is_at(&self, opener: &Opener, path: &std::path::Path, facts: &Facts) -> bool {
        if !self.identity.same_inode(facts.device, facts.inode, facts.born_ns) {
            return false;
        }
        // While a file is open its inode is not used again.
        if matches!(self.reader, LogReader::Plain(_)) {
            return true;
        }
        let Ok(mut reader) = open(opener, path).map(LogReader::Plain) else { return false };
        let Ok(sample) = Sample::read(&mut reader, self.position.offset) else { return false };
        compare(self.known(), sample.found(facts, facts.size)) == Sameness::Same
    }

    /// Opens the file at its path, if the same file is still there.
    pub fn open_at_path(&mut self, opener: &Opener) -> io::Result<bool> {
        if !matches!(self.reader, LogReader::Closed) {
            return Ok(true);
        }
        let file = open(opener, &self.path)?;
        let facts = Facts::of_file(&file)?;
        let mut reader = LogReader::Plain(file);
        let sample = Sample::read(&mut reader, self.position.offset)?;
        if compare(self.known(), sample.found(&facts, facts.size)) != Sameness::Same {
            return Ok(false);
        }
        self.learn_head(&sample);
        self.reader = reader;
        Ok(true)
    }

    /// Learns more first bytes of a file that was short when it was first seen.
    pub fn learn_head(&mut self, sample: &Sample) -> bool {
        if sample.head.len() <= self.identity.head.bytes {
            return false;
        }
        self.identity.head = Fingerprint::of(&sample.head);
        true
    }

    /// Whether the bytes before the position are still the ones that were read. Checked behind each read, because a
    /// truncated file that grows again looks like one that goes on.
    pub fn is_unchanged(&mut self, window: &Window, offset: u64) -> io::Result<bool> {
        let LogReader::Plain(file) = &self.reader else { return Ok(true) };
        if Facts::of_file(file)?.size < offset {
            return Ok(false);
        }
        if offset < HEAD_BYTES as u64 {
            // Little or nothing is before it; the known first bytes of the file have to be there too.
            let mut head = vec![0; self.identity.head.bytes];
            let count = self.reader.read_at(&mut head, 0)?;
            if !self.identity.head.begins(&head[..count]) {
                return Ok(false);
            }
        }
        let mut before = vec![0; window.bytes.len()];
        let start = offset - before.len() as u64;
        let count = self.reader.read_at(&mut before, start)?;
        Ok(before[..count] == window.bytes[..])
    }
}

/// The last bytes before an offset, rolling.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
}

impl Window {
    /// Reads the bytes before an offset.
    pub fn read(reader: &mut LogReader, offset: u64) -> io::Result<Self> {
        let start = offset.saturating_sub(TRAIL_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(offset - start).unwrap_or(0)];
        let count = reader.read_at(&mut bytes, start)?;
        bytes.truncate(count);
        Ok(Self { bytes })
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.len() >= TRAIL_BYTES {
            self.bytes.clear();
            self.bytes.extend_from_slice(&bytes[bytes.len() - TRAIL_BYTES..]);
            return;
        }
        let kept = self.bytes.len().min(TRAIL_BYTES - bytes.len());
        self.bytes.drain(..self.bytes.len() - kept);
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a trail, perhaps a shorter one, was taken of these bytes.
    pub fn trail_ends_with(&self, trail: &Fingerprint) -> bool {
        trail.ends(&self.bytes)
    }

    pub fn trail(&self) -> Fingerprint {
        Fingerprint::of(&self.bytes)
    }
}

/// All files, by their number: older ones first.
pub(super) type Files = BTreeMap<u64, TrackedFile>;
