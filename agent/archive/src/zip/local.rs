//! One entry's data: the local header must agree with the central directory, and the content with both.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::FileExt as _;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::Record;
use crate::error::{ArchiveError, EntryProblem, Place};

pub(super) const STORED: u16 = 0;
pub(super) const DEFLATE: u16 = 8;
/// Flags: encrypted, strongly encrypted, and an encrypted central directory.
pub(super) const ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
/// Flag: sizes and CRC follow the data, and the local header may leave them out.
const DESCRIPTOR: u16 = 1 << 3;
/// Flags that must be equal in both headers: those above, and the name's encoding.
const COMPARED_FLAGS: u16 = ENCRYPTED | DESCRIPTOR | 1 << 11;

pub(super) const LOCAL_HEADER_BYTES: usize = 30;
const ZIP64_EXTRA: u16 = 1;
/// Holds any local header with its name and extra fields (two 16-bit lengths), and most small files with it.
const INPUT_BYTES: usize = 192 << 10;
const OUTPUT_BYTES: usize = 128 << 10;

/// Reads and checks entries, one after the other, with reused buffers.
pub(super) struct Decoder<'a> {
    bundle: &'a File,
    hasher: &'a RandomState,
    inflate: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bundle: &'a File, hasher: &'a RandomState) -> Self {
        let inflate = Decompress::new(false);
        Self { bundle, hasher, inflate, input: vec![0; INPUT_BYTES], output: vec![0; OUTPUT_BYTES] }
    }

    /// Hands the content to `write`, in pieces. The pieces are only valid if this returns without error.
    pub(super) fn decode(
        &mut self,
        record: &Record,
        name: &[u8],
        mut write: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let filled = read(self.bundle, &mut self.input, record.offset, record.end, name)?;
        let head = self.input.get(..filled).unwrap_or_default();
        let header_bytes = check_local(head, record, self.hasher).map_err(|p| ArchiveError::entry(name, p))?;
        let mut source = Source {
            bundle: self.bundle,
            buffer: &mut self.input,
            start: header_bytes,
            end: filled,
            position: record.offset + filled as u64,
            data_end: record.offset + header_bytes as u64 + record.compressed_bytes,
            name,
        };
        if source.data_end > record.end {
            return Err(ArchiveError::entry(name, EntryProblem::Overlap));
        }
        let mut sink = Sink { crc: Crc::new(), written: 0, record, name, write: &mut write };
        match record.method {
            STORED => stored(&mut source, &mut sink)?,
            _ => {
                self.inflate.reset(false);
                inflate(&mut self.inflate, &mut self.output, &mut source, &mut sink)?;
            }
        }
        sink.finish()
    }
}

fn read(bundle: &File, buffer: &mut [u8], offset: u64, end: u64, name: &[u8]) -> Result<usize, ArchiveError> {
    let wanted = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
    let failed = |problem: &str, source| ArchiveError::Damaged {
        place: Place::In(String::from_utf8_lossy(name).into_owned()),
        problem: problem.to_owned(),
        source,
    };
    let to = buffer.get_mut(..wanted).unwrap_or_default();
    bundle.read_exact_at(to, offset).map_err(|e| failed("it could not be read", Some(e)))?;
    Ok(wanted)
}

/// The compressed bytes of one entry.
struct Source<'a> {
    bundle: &'a File,
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
    /// The position in the bundle of the bytes after the buffer.
    position: u64,
    data_end: u64,
    name: &'a [u8],
}

impl Source<'_> {
    /// The next bytes; empty at the end of the data.
    fn bytes(&mut self) -> Result<&[u8], ArchiveError> {
        if self.start >= self.end && self.position < self.data_end {
            self.end = read(self.bundle, self.buffer, self.position, self.data_end, self.name)?;
            self.start = 0;
            self.position += self.end as u64;
        }
        // The first read included bytes after the data, too.
        let beyond = usize::try_from(self.position.saturating_sub(self.data_end)).unwrap_or(usize::MAX);
        let end = self.end.saturating_sub(beyond);
        Ok(self.buffer.get(self.start..end).unwrap_or_default())
    }
}

/// Counts and checks the decoded bytes.
struct Sink<'a> {
    crc: Crc,
    written: u64,
    record: &'a Record,
    name: &'a [u8],
    write: &'a mut dyn FnMut(&[u8]) -> Result<(), ArchiveError>,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.written += bytes.len() as u64;
        // Before it is written: a bomb that lies about its size ends here.
        if self.written > self.record.size {
            return Err(self.wrong_size());
        }
        self.crc.update(bytes);
        (self.write)(bytes)
    }

    fn wrong_size(&self) -> ArchiveError {
        ArchiveError::entry(self.name, EntryProblem::Size { expected: self.record.size })
    }

    fn finish(self) -> Result<(), ArchiveError> {
        if self.written != self.record.size {
            return Err(self.wrong_size());
        }
        match self.crc.sum() == self.record.crc {
            true => Ok(()),
            false => Err(ArchiveError::entry(self.name, EntryProblem::Crc)),
        }
    }
}

fn stored(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<(), ArchiveError> {
    loop {
        let bytes = source.bytes()?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        sink.take(bytes)?;
        source.start += count;
    }
}

fn inflate(
    inflate: &mut Decompress,
    output: &mut [u8],
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), ArchiveError> {
    let name = source.name;
    let wrong = |message: &str| ArchiveError::entry(name, EntryProblem::Compressed { message: message.to_owned() });
    loop {
        let bytes = source.bytes()?;
        let at_end = bytes.is_empty();
        let (consumed, produced) = (inflate.total_in(), inflate.total_out());
        let result = inflate.decompress(bytes, output, FlushDecompress::None);
        let status = result.map_err(|error| wrong(error.message().unwrap_or("the data make no sense")))?;
        let consumed = (inflate.total_in() - consumed) as usize;
        let produced = (inflate.total_out() - produced) as usize;
        source.start += consumed;
        sink.take(output.get(..produced).unwrap_or_default())?;
        match status {
            Status::StreamEnd if source.bytes()?.is_empty() => return Ok(()),
            Status::StreamEnd => return Err(wrong("something follows the compressed data")),
            _ if at_end && produced == 0 => return Err(wrong("the data are cut short")),
            _ if consumed == 0 && produced == 0 => return Err(wrong("the data make no sense")),
            _ => {}
        }
    }
}

/// Compares a local header with the central directory; returns its length with name and extra fields.
fn check_local(head: &[u8], record: &Record, hasher: &RandomState) -> Result<usize, EntryProblem> {
    let disagree = |field| Err(EntryProblem::HeadersDisagree { field });
    let u16_at = |at| head.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
    let u32_at = |at| head.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    if head.len() < LOCAL_HEADER_BYTES || !head.starts_with(b"PK\x03\x04") {
        return disagree("place: there is no header where it should be");
    }
    let name_end = LOCAL_HEADER_BYTES + usize::from(u16_at(26));
    let extra_end = name_end + usize::from(u16_at(28));
    let (Some(name), Some(extra)) = (head.get(LOCAL_HEADER_BYTES..name_end), head.get(name_end..extra_end)) else {
        return Err(EntryProblem::Overlap);
    };
    if hasher.hash_one(name) != record.name_hash {
        return disagree("name");
    }
    if u16_at(6) & COMPARED_FLAGS != record.flags & COMPARED_FLAGS {
        return disagree("set of flags");
    }
    if u16_at(8) != record.method {
        return disagree("compression method");
    }
    let (crc, compressed, size) = (u32_at(14), u32_at(18), u32_at(22));
    let later = record.flags & DESCRIPTOR != 0;
    if crc != record.crc && !(later && crc == 0) {
        return disagree("CRC");
    }
    // A zip64 extra field has the sizes that do not fit, the uncompressed one first.
    let mut zip64 = zip64_sizes(extra).into_iter();
    let mut full = |short: u32| match short {
        u32::MAX => zip64.next().unwrap_or(u64::from(short)),
        short => u64::from(short),
    };
    let (size, compressed) = (full(size), full(compressed));
    if size != record.size && !(later && size == 0) {
        return disagree("size");
    }
    if compressed != record.compressed_bytes && !(later && compressed == 0) {
        return disagree("compressed size");
    }
    Ok(extra_end)
}

fn zip64_sizes(mut extra: &[u8]) -> Vec<u64> {
    while let Some(([id, length], rest)) = extra.split_first_chunk::<4>().map(|(head, rest)| {
        let [a, b, c, d] = *head;
        ([u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])], rest)
    }) {
        let length = usize::from(length).min(rest.len());
        let (field, rest) = rest.split_at(length);
        if id == ZIP64_EXTRA {
            return field.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        }
        extra = rest;
    }
    Vec::new()
}
