//! The table of contents of a zip archive: every entry is checked, and no two may share bytes.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};

use hostler_core::bundle::{Adaptation, EntryKind};
use nix::sys::stat::SFlag;
use rawzip::time::{UtcDateTime, ZipDateTimeKind};
use rawzip::{CreatorSystem, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipFileHeaderRecord};

use super::Record;
use super::end::{self, damaged};
use super::local::{DEFLATE, ENCRYPTED, LOCAL_HEADER_BYTES, STORED};
use crate::adapted::Notes;
use crate::error::{ArchiveError, EntryProblem, Place};
use crate::policy::{self, Meter, UnpackOptions};
use crate::tree::{IMPLIED_DIRECTORY_MODE, Item, ModifiedTime};

/// The mode of a file whose packer knew no modes.
const DEFAULT_FILE_MODE: u32 = 0o644;
/// A symbolic link's target is its entry's content; this bounds how much of it is read into memory.
const LINK_BYTES: u64 = 4095;

/// The table of contents, in archive order.
pub(super) struct Contents {
    pub(super) items: Vec<Item>,
    pub(super) records: Vec<Record>,
    pub(super) top_mode: u32,
    pub(super) hasher: RandomState,
    /// The changes made to entries.
    pub(super) notes: Notes,
}

pub(super) fn read(bundle: &File, bundle_bytes: u64, options: &UnpackOptions) -> Result<Contents, ArchiveError> {
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let archive = end::locate(bundle, bundle_bytes, &mut buffer)?;
    end::check(&archive, bundle, bundle_bytes)?;

    let expected = archive.entries_hint();
    let mut reader = Reader {
        options,
        meter: Meter::new(&options.limits, bundle_bytes),
        contents: Contents {
            items: Vec::new(),
            records: Vec::new(),
            top_mode: IMPLIED_DIRECTORY_MODE,
            hasher: RandomState::new(),
            notes: Notes::default(),
        },
    };
    let mut entries = archive.entries(&mut buffer);
    let mut found = 0;
    while let Some(header) = entries.next_entry().map_err(damaged)? {
        found += 1;
        reader.header(&header)?;
    }
    if found != expected {
        let problem = format!("its table of contents has {found} entries and promises {expected}");
        return Err(ArchiveError::damaged(Place::End, problem));
    }
    let mut contents = reader.contents;
    check_overlap(&mut contents, archive.directory_offset())?;
    Ok(contents)
}

struct Reader<'a> {
    options: &'a UnpackOptions,
    meter: Meter<'a>,
    contents: Contents,
}

impl Reader<'_> {
    fn header(&mut self, header: &ZipFileHeaderRecord<'_>) -> Result<(), ArchiveError> {
        let name = header.file_path().as_bytes();
        self.meter.entry(name)?;
        let record = self.record(header, name)?;
        let attributes = Attributes::of(header);
        if attributes.from_windows && name.contains(&b'\\') {
            return Err(ArchiveError::entry(name, EntryProblem::Backslashes));
        }
        let path = policy::entry_path(name, &self.options.limits)?;
        let kind = attributes.kind(name, record.size)?;
        self.meter.file(record.size, name)?;
        if matches!(kind, EntryKind::Symlink { .. }) {
            self.meter.path(record.size, name)?;
        }
        let index = u32::try_from(self.contents.records.len()).unwrap_or(u32::MAX);
        self.contents.records.push(record);
        let mode = match kind {
            EntryKind::File { .. } => policy::file_mode(name, attributes.mode(DEFAULT_FILE_MODE), self.options)?,
            EntryKind::Directory => policy::directory_mode(attributes.mode(IMPLIED_DIRECTORY_MODE)),
            EntryKind::Symlink { .. } => 0o777,
        };
        let has_slash = policy::has_leading_slash(name);
        if has_slash && path.is_some() {
            self.contents.notes.add(Adaptation::LeadingSlash, name);
        }
        match (path, kind) {
            (Some(path), kind) => {
                let mut item = Item::named(path, kind, mode, modified(header), has_slash);
                item.record = index;
                self.contents.items.push(item);
            }
            (None, EntryKind::Directory) => self.contents.top_mode = mode,
            (None, _) => return Err(ArchiveError::entry(name, EntryProblem::NoName)),
        }
        Ok(())
    }

    fn record(&self, header: &ZipFileHeaderRecord<'_>, name: &[u8]) -> Result<Record, ArchiveError> {
        let flags = header.flags().bits();
        if flags & ENCRYPTED != 0 {
            return Err(ArchiveError::entry(name, EntryProblem::Encrypted));
        }
        let method = header.compression_method().as_u16();
        if method != STORED && method != DEFLATE {
            return Err(ArchiveError::entry(name, EntryProblem::Method { method }));
        }
        Ok(Record {
            offset: header.local_header_offset(),
            end: 0,
            compressed_bytes: header.compressed_size_hint(),
            size: header.uncompressed_size_hint(),
            crc: header.crc32(),
            name_hash: self.contents.hasher.hash_one(name),
            name_bytes: u16::try_from(name.len()).unwrap_or(u16::MAX),
            method,
            flags,
        })
    }
}

/// The packer's attributes of the file.
struct Attributes {
    /// Unix type and mode, if the packer's system had them.
    unix: Option<u32>,
    from_windows: bool,
}

impl Attributes {
    fn of(header: &ZipFileHeaderRecord<'_>) -> Self {
        let system = header.version_made_by().creator_system();
        let unix = header.external_attributes() >> 16;
        let has_unix = system == CreatorSystem::UNIX || system == CreatorSystem::MACOS;
        Self {
            unix: Some(unix).filter(|unix| has_unix && *unix != 0),
            from_windows: matches!(system, CreatorSystem::FAT | CreatorSystem::NTFS | CreatorSystem::VFAT),
        }
    }

    fn mode(&self, default: u32) -> u32 {
        self.unix.unwrap_or(default)
    }

    fn kind(&self, name: &[u8], size: u64) -> Result<EntryKind, ArchiveError> {
        let file_type = SFlag::from_bits_truncate(self.unix.unwrap_or(0) & SFlag::S_IFMT.bits());
        let unsupported = |what: &str| ArchiveError::entry(name, EntryProblem::Unsupported { what: what.to_owned() });
        let is_directory = name.ends_with(b"/");
        match file_type {
            SFlag::S_IFLNK if size > LINK_BYTES => {
                Err(ArchiveError::entry(name, EntryProblem::LinkTarget { problem: "is longer than 4095 bytes" }))
            }
            SFlag::S_IFLNK => Ok(EntryKind::Symlink { target: Default::default() }),
            SFlag::S_IFDIR => directory(name, size),
            SFlag::S_IFREG if is_directory => Err(unsupported("a file with a directory's name")),
            SFlag::S_IFREG => Ok(EntryKind::File { size }),
            SFlag::S_IFIFO => Err(unsupported(match name {
                b"-" => "what `zip` read from its standard input, which it calls a fifo named `-`",
                _ => "a fifo",
            })),
            SFlag::S_IFCHR | SFlag::S_IFBLK => Err(unsupported("a device")),
            SFlag::S_IFSOCK => Err(unsupported("a socket")),
            _ if is_directory => directory(name, size),
            _ => Ok(EntryKind::File { size }),
        }
    }
}

fn directory(name: &[u8], size: u64) -> Result<EntryKind, ArchiveError> {
    match size {
        0 => Ok(EntryKind::Directory),
        _ => {
            let what = "a directory with content".to_owned();
            Err(ArchiveError::entry(name, EntryProblem::Unsupported { what }))
        }
    }
}

/// The time in the extended timestamp if there is one. The older field has no zone; it is taken as UTC.
fn modified(header: &ZipFileHeaderRecord<'_>) -> ModifiedTime {
    let time = match header.last_modified() {
        ZipDateTimeKind::Utc(time) => Some(time),
        ZipDateTimeKind::Local(t) => {
            UtcDateTime::from_components(t.year(), t.month(), t.day(), t.hour(), t.minute(), t.second(), 0)
        }
    };
    let Some(time) = time else { return ModifiedTime::default() };
    let is_epoch = (time.year(), time.month(), time.day(), time.hour(), time.minute()) == (1980, 1, 1, 0, 0);
    match is_epoch {
        // The first date that the field can hold stands for "no date".
        true => ModifiedTime::default(),
        false => ModifiedTime { seconds: time.to_unix(), nanoseconds: time.nanosecond() },
    }
}

/// Sets every record's end, and refuses entries that share bytes with another entry or with the table of contents.
fn check_overlap(contents: &mut Contents, directory_offset: u64) -> Result<(), ArchiveError> {
    let mut order: Vec<u32> = (0..contents.records.len() as u32).collect();
    let records = &mut contents.records;
    let offset = |records: &[Record], index: u32| records.get(index as usize).map_or(0, |record| record.offset);
    order.sort_unstable_by_key(|index| offset(records, *index));
    for (at, index) in order.iter().enumerate() {
        let end = order.get(at + 1).map_or(directory_offset, |next| offset(records, *next));
        let Some(record) = records.get_mut(*index as usize) else { continue };
        record.end = end;
        let header_bytes = LOCAL_HEADER_BYTES as u64 + u64::from(record.name_bytes);
        let least = record.offset.checked_add(header_bytes).and_then(|n| n.checked_add(record.compressed_bytes));
        if least.is_none_or(|least| least > end) {
            let named = contents.items.iter().find(|item| item.record == *index);
            let name = named.map_or(Default::default(), |item| item.entry.path.as_path().to_owned());
            return Err(ArchiveError::at(&name, EntryProblem::Overlap));
        }
    }
    Ok(())
}
