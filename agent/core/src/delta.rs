//! Which bytes of a new zip archive to copy from an old one, and which to fetch.
//!
//! Names, checksums and sizes only propose. The caller that rebuilds the archive compares the digest of the whole, and
//! fetches everything if it differs.

use std::collections::HashMap;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// Bytes of a local header before its name; the time of the file stands at [`TIME_AT`] in it.
pub const LOCAL_HEADER_BYTES: u64 = 30;
/// Where the time stands in a local header.
pub const TIME_AT: u64 = 10;

/// One entry, as in the table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A hash of its name; the same for both archives.
    pub name: u64,
    /// Bytes of its name.
    pub name_bytes: u16,
    /// CRC-32 of its content.
    pub crc: u32,
    /// Compressed bytes.
    pub compressed_bytes: u64,
    /// Bytes.
    pub size: u64,
    /// Method and flags.
    pub form: (u16, u16),
    /// The time in the form that local headers have it.
    pub time: [u8; 4],
    /// A hash of the extra fields, except those for the entry's place.
    pub extra: u64,
    /// Its local header, data and what follows them, up to the next entry or the table of contents.
    pub span: Range<u64>,
    /// Bytes of its local header with name and extra field, if known: in the old archive.
    pub header_bytes: Option<u64>,
}

/// Where bytes of the new archive come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// From the old archive.
    Copy {
        /// Their place in the old archive.
        from: u64,
        /// Their place in the new archive.
        to: Range<u64>,
        /// A time that differs, and its place.
        time: Option<(u64, [u8; 4])>,
    },
    /// From the store.
    Fetch(Range<u64>),
}

impl Segment {
    fn place(&self) -> &Range<u64> {
        match self {
            Self::Copy { to, .. } => to,
            Self::Fetch(range) => range,
        }
    }
}

/// The length of a segment, in bytes.
fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// The source of every byte of a new archive of `size` bytes, in order and without gaps. The bytes from `have` on are
/// there already. A copy of less than `worth` bytes between two fetched ranges is fetched with them: a request costs
/// more.
pub fn plan(new: &[Entry], size: u64, have: u64, old: &[Entry], worth: u64) -> Vec<Segment> {
    let known: HashMap<u64, &Entry> = old.iter().map(|entry| (entry.name, entry)).collect();
    let mut order: Vec<&Entry> = new.iter().collect();
    order.sort_by_key(|entry| entry.span.start);
    let end = size.min(have);
    let mut segments = Vec::new();
    let mut at = 0;
    for entry in order {
        // Other code judges entries that overlap.
        if entry.span.start < at {
            continue;
        }
        let Some(old) = known.get(&entry.name).filter(|old| is_same(old, entry)) else { continue };
        let Some(copied) = copy(old, entry, end) else { continue };
        let to = copied.place().clone();
        fetch(&mut segments, at..to.start);
        at = to.end;
        segments.push(copied);
    }
    fetch(&mut segments, at..end);
    coalesce(segments, worth)
}

/// Bytes that a plan fetches.
pub fn fetched_bytes(segments: &[Segment]) -> u64 {
    segments.iter().filter(|segment| matches!(segment, Segment::Fetch(_))).map(|segment| length(segment.place())).sum()
}

fn is_same(old: &Entry, new: &Entry) -> bool {
    let facts = |entry: &Entry| (entry.crc, entry.compressed_bytes, entry.size, entry.form, entry.name_bytes);
    facts(old) == facts(new) && length(&old.span) == length(&new.span)
}

/// The whole entry, or only its data if its header differs; up to `end`.
fn copy(old: &Entry, new: &Entry, end: u64) -> Option<Segment> {
    let until = |from: u64| Some(from..new.span.end.min(end)).filter(|to| to.end >= from + LOCAL_HEADER_BYTES);
    if old.extra == new.extra {
        let time = (old.time != new.time).then_some((new.span.start + TIME_AT, new.time));
        return Some(Segment::Copy { from: old.span.start, to: until(new.span.start)?, time });
    }
    let header = old.header_bytes.filter(|header| *header < length(&old.span))?;
    Some(Segment::Copy { from: old.span.start + header, to: until(new.span.start + header)?, time: None })
}

fn fetch(segments: &mut Vec<Segment>, range: Range<u64>) {
    if !range.is_empty() {
        segments.push(Segment::Fetch(range));
    }
}

/// Fetches a copy that is too small to justify two requests.
fn coalesce(segments: Vec<Segment>, worth: u64) -> Vec<Segment> {
    let mut merged: Vec<Segment> = Vec::new();
    let mut copied: Vec<Segment> = Vec::new();
    for segment in segments {
        let Segment::Fetch(range) = segment else {
            copied.push(segment);
            continue;
        };
        let between: u64 = copied.iter().map(|copy| length(copy.place())).sum();
        match merged.last_mut() {
            Some(Segment::Fetch(last)) if between < worth => {
                last.end = range.end;
                copied.clear();
            }
            _ => {
                merged.append(&mut copied);
                merged.push(Segment::Fetch(range));
            }
        }
    }
    merged.append(&mut copied);
    merged
}
