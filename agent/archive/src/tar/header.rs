//! From blocks to members: checks every header, joins the extension headers to their entry, and insists on a proper
//! end.

use std::io::BufRead;

use hostler_core::bundle::Adaptation;
use tar::{EntryType, Header};

use super::fields::{is_header, is_zero, number, owner, unsupported};
use super::pax::{self, Records};
use super::sparse::Map;
use crate::adapted::Notes;
use crate::decode::Fault;
use crate::error::{ArchiveError, EntryProblem, Place};
use crate::foreign::follower;
use crate::policy::Meter;
use crate::tree::ModifiedTime;

pub(super) const BLOCK_BYTES: usize = 512;
/// Most bytes of a GNU long name: more than any limit on paths, and little enough to keep in memory.
const LONG_NAME_BYTES: u64 = 64 << 10;
/// Most bytes of one entry's PAX records: names, times, and any extended attributes.
const PAX_BYTES: u64 = 1 << 20;
/// Most extension headers before one entry: GNU has two kinds, PAX has two; no tool repeats them.
const EXTENSIONS: u32 = 16;

/// One entry with the data of its extension headers.
pub(super) struct Member {
    /// The path as the archive has it, not checked.
    pub(super) path: Vec<u8>,
    pub(super) content: Content,
    /// All bits of the header's mode field.
    pub(super) mode: u32,
    pub(super) modified: ModifiedTime,
}

pub(super) enum Content {
    File {
        /// Bytes in the archive.
        stored_bytes: u64,
        /// Where they belong, if the file has holes.
        sparse: Option<Map>,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
}

impl Member {
    /// The file's length when it is unpacked; zero for any other entry.
    pub(super) fn unpacked_bytes(&self) -> u64 {
        match &self.content {
            Content::File { sparse: Some(map), .. } => map.size,
            Content::File { stored_bytes, .. } => *stored_bytes,
            _ => 0,
        }
    }
}

/// The data of extension headers for the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Records>,
    count: u32,
}

/// A tar stream at an entry boundary, or inside the content of the last member.
pub(super) struct Stream<'a, R: BufRead + ?Sized> {
    input: &'a mut R,
    pub(super) meter: Meter<'a>,
    /// The properties of entries that are not kept.
    pub(super) notes: Notes,
    /// The user and group of the first entry.
    owner: Option<(u64, u64)>,
    position: u64,
    /// Bytes of the last member's content and padding that were not read yet.
    unread: u64,
    last_path: Vec<u8>,
    position_kind: PositionKind,
}

/// The position in the stream, for messages.
#[derive(Clone, Copy)]
enum PositionKind {
    /// At or in the headers that follow the last member.
    Headers,
    /// In the last member's content.
    Content,
    /// Behind the end mark.
    End,
}

impl<'a, R: BufRead + ?Sized> Stream<'a, R> {
    pub(super) fn new(input: &'a mut R, meter: Meter<'a>) -> Self {
        Self {
            input,
            meter,
            notes: Notes::default(),
            owner: None,
            position: 0,
            unread: 0,
            last_path: Vec::new(),
            position_kind: PositionKind::Headers,
        }
    }

    pub(super) fn place(&self) -> Place {
        let last = || String::from_utf8_lossy(&self.last_path).into_owned();
        match self.position_kind {
            PositionKind::Headers if self.last_path.is_empty() => Place::Beginning,
            PositionKind::Headers => Place::After(last()),
            PositionKind::Content => Place::In(last()),
            PositionKind::End => Place::End,
        }
    }

    pub(super) fn damaged(&self, problem: impl Into<String>) -> ArchiveError {
        ArchiveError::damaged(self.place(), problem)
    }

    /// Hands at most `limit` of the next bytes to `take`, and returns how many there were; none at the end of the
    /// stream.
    fn advance(
        &mut self,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<u64, ArchiveError> {
        let available = match self.input.fill_buf() {
            Ok(available) => available,
            Err(source) => {
                match source.get_ref().and_then(|inner| inner.downcast_ref()) {
                    Some(Fault::Window(bytes)) => return Err(ArchiveError::Window { bytes: *bytes }),
                    Some(Fault::Trailing(found)) => {
                        return Err(ArchiveError::Trailing { what: "compressed data", found });
                    }
                    None => {}
                }
                let problem = "it could not be read or decompressed".to_owned();
                return Err(ArchiveError::Damaged { place: self.place(), problem, source: Some(source) });
            }
        };
        let count = usize::try_from(limit).unwrap_or(usize::MAX).min(available.len());
        take(available.get(..count).unwrap_or_default())?;
        self.input.consume(count);
        self.position += count as u64;
        self.meter.expansion(self.position, &self.last_path)?;
        Ok(count as u64)
    }

    /// Exactly `bytes` bytes, in pieces.
    fn exactly(
        &mut self,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut left = bytes;
        while left > 0 {
            match self.advance(left, &mut take)? {
                0 => return Err(ArchiveError::cut_short(self.place(), "")),
                count => left -= count,
            }
        }
        Ok(())
    }

    /// The next block; `None` at the end of the stream.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, ArchiveError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let count = self.advance((BLOCK_BYTES - filled) as u64, |bytes| {
                if let Some(to) = block.get_mut(filled..filled + bytes.len()) {
                    to.copy_from_slice(bytes);
                }
                Ok(())
            })?;
            match count {
                0 if filled == 0 => return Ok(None),
                0 if self.position < BLOCK_BYTES as u64 => {
                    return Err(Self::not_tar(block.get(..filled).unwrap_or_default()));
                }
                0 => return Err(ArchiveError::cut_short(self.place(), "")),
                count => filled += count as usize,
            }
        }
        Ok(Some(block))
    }

    /// The next entry, after the rest of the last one. `None` after a proper end.
    ///
    /// The end mark (two blocks of zeros) must be there: without it a file that was cut between two entries would pass
    /// for a whole one. Only zeros may follow it.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.block()? else {
                return Err(ArchiveError::cut_short(self.place(), ": it has no end mark"));
            };
            if is_zero(&block) {
                if extensions.count > 0 {
                    return Err(self.damaged("an extension header is followed by no entry"));
                }
                self.end()?;
                return Ok(None);
            }
            if self.position == BLOCK_BYTES as u64 && !is_header(&block) {
                return Err(Self::not_tar(&block));
            }
            let header = self.checked(&block)?;
            if let Some(member) = self.one_header(header, &mut extensions)? {
                self.last_path.clone_from(&member.path);
                self.meter.entry(&self.last_path)?;
                return Ok(Some(member));
            }
            if extensions.count > EXTENSIONS {
                return Err(self.damaged("one entry has too many extension headers"));
            }
        }
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let unread = std::mem::take(&mut self.unread);
        self.exactly(unread, |_| Ok(()))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let Some(second) = self.block()? else {
            return Err(ArchiveError::cut_short(self.place(), " in its end mark"));
        };
        self.position_kind = PositionKind::End;
        let trailing = |found: &[u8]| Err(ArchiveError::Trailing { what: "tar archive", found: follower(found) });
        if !is_zero(&second) {
            return trailing(&second);
        }
        let mut beyond = Ok(());
        while beyond.is_ok()
            && self.advance(u64::MAX, |bytes| {
                if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                    beyond = trailing(bytes.get(at..).unwrap_or_default());
                }
                Ok(())
            })? > 0
        {}
        beyond
    }

    /// Describes the content of a compressed file that is not a tar archive.
    fn not_tar(head: &[u8]) -> ArchiveError {
        ArchiveError::NotTar { holds: follower(head) }
    }

    fn checked<'b>(&self, block: &'b [u8; BLOCK_BYTES]) -> Result<&'b Header, ArchiveError> {
        match is_header(block) {
            true => Ok(Header::from_byte_slice(block)),
            false => Err(self.damaged("a header with a right checksum should be here, and is not")),
        }
    }

    /// Takes in one header: an entry, or an extension of the entry to come.
    fn one_header(&mut self, header: &Header, extensions: &mut Extensions) -> Result<Option<Member>, ArchiveError> {
        let size = number(&header.as_old().size, || header.entry_size())
            .map_err(|_| self.damaged("a header has a size that is no number"))?;
        match header.entry_type() {
            EntryType::GNULongName => extensions.path = Some(self.long_name(size)?),
            EntryType::GNULongLink => extensions.link = Some(self.long_name(size)?),
            EntryType::XHeader => {
                let records = self.small(size, PAX_BYTES, "a PAX header")?;
                extensions.pax = Some(pax::parse(&records).map_err(|problem| self.damaged(problem))?);
            }
            EntryType::XGlobalHeader => {
                let records = self.small(size, PAX_BYTES, "a PAX header")?;
                let records = pax::parse(&records).map_err(|problem| self.damaged(problem))?;
                if records.changes_entries() {
                    return Err(self.damaged("a global PAX header gives every entry one name, size or map"));
                }
            }
            // A volume label, as `tar --label` writes it.
            other if other.as_byte() == b'V' => self.pad(size)?,
            _ => return self.entry(header, size, std::mem::take(extensions)).map(Some),
        }
        extensions.count += 1;
        Ok(None)
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Member, ArchiveError> {
        let pax = extensions.pax.unwrap_or_default();
        let path = pax.path.clone().or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || pax.link.clone().or(extensions.link).or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        let in_entry = |what: &str| {
            let place = Place::In(String::from_utf8_lossy(&path).into_owned());
            ArchiveError::damaged(place, format!("its header has a {what} that is no number"))
        };
        let mode = number(&header.as_old().mode, || header.mode().map(u64::from)).map_err(|_| in_entry("mode"))?;
        let mode = u32::try_from(mode).map_err(|_| in_entry("mode"))?;
        let modified = match pax.modified {
            Some(modified) => modified,
            // A negative time is written in two's complement, which this turns back.
            None => {
                let seconds = number(&header.as_old().mtime, || header.mtime()).map_err(|_| in_entry("time"))?;
                ModifiedTime { seconds: seconds as i64, nanoseconds: 0 }
            }
        };
        let size = pax.size.unwrap_or(size);
        let content = match header.entry_type() {
            EntryType::Link => Content::HardLink { target: link().unwrap_or_default() },
            EntryType::Symlink => Content::Symlink { target: link().unwrap_or_default() },
            EntryType::Directory => Content::Directory,
            // Before the type flag of a directory was invented, a slash at the end said it.
            EntryType::Regular if path.ends_with(b"/") => Content::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let (sparse, map_bytes) = self.pax_sparse(&pax, &path, size)?;
                let stored_bytes = size - map_bytes;
                Content::File { stored_bytes, sparse }
            }
            EntryType::GNUSparse => {
                let map = self.gnu_sparse(header, &path, size)?;
                Content::File { stored_bytes: size, sparse: Some(map) }
            }
            other => {
                let what = unsupported(other);
                return Err(ArchiveError::entry(&path, EntryProblem::Unsupported { what }));
            }
        };
        // A hard link has no content, whatever its size says, as for GNU tar.
        let data_bytes = match &content {
            Content::File { stored_bytes, .. } => *stored_bytes,
            Content::HardLink { .. } => 0,
            Content::Directory | Content::Symlink { .. } => size,
        };
        let padded = data_bytes.checked_next_multiple_of(BLOCK_BYTES as u64);
        self.unread = padded.ok_or_else(|| in_entry("size"))?;
        let path = pax.sparse.name.unwrap_or(path);
        self.note(header, &path, pax.capabilities);
        Ok(Member { path, content, mode, modified })
    }

    /// Notes the properties of an entry that are not kept, and may be missed.
    fn note(&mut self, header: &Header, path: &[u8], has_capabilities: bool) {
        if has_capabilities {
            self.notes.add(Adaptation::Capabilities, path);
        }
        // If everything has one owner, that is the packer. An owner that is not a number does not count.
        if let Some(owner) = owner(header)
            && *self.owner.get_or_insert(owner) != owner
        {
            self.notes.add(Adaptation::Owner, path);
        }
    }

    /// Hands the content of the member that was returned last to `write`, in pieces.
    pub(super) fn content(
        &mut self,
        member: &Member,
        write: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let Content::File { stored_bytes, .. } = member.content else { return Ok(()) };
        self.position_kind = PositionKind::Content;
        self.exactly(stored_bytes, write)?;
        self.position_kind = PositionKind::Headers;
        self.unread -= stored_bytes;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padded = size.checked_next_multiple_of(BLOCK_BYTES as u64);
        self.unread = padded.ok_or_else(|| self.damaged("a header has a size that is too large"))?;
        Ok(())
    }

    /// The content of an extension header.
    fn small(&mut self, size: u64, limit: u64, what: &str) -> Result<Vec<u8>, ArchiveError> {
        if size > limit {
            return Err(self.damaged(format!("{what} has {size} bytes; {limit} are accepted")));
        }
        let mut content = Vec::new();
        self.exactly(size, |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        self.pad(size)?;
        self.unread -= size;
        Ok(content)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.small(size, LONG_NAME_BYTES, "a long name")?;
        // GNU tar writes it with a NUL at the end, others without.
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }
}
