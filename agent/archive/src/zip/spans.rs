//! The offsets of the entries of a zip archive, without unpacking it: for rebuilding one archive from another.

use std::fs::File;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::os::unix::fs::FileExt as _;

use hostler_core::delta::{Entry, LOCAL_HEADER_BYTES};
use rawzip::{MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipFileHeaderRecord};

use super::end::{damaged, locate};
use crate::error::{ArchiveError, Place};

/// The extra field with the sizes and the offset of a large entry.
const ZIP64: u16 = 1;
/// The extra field with times in seconds.
const EXTENDED_TIME: u16 = 0x5455;

/// Reads tables of contents so that entries of different archives can be compared.
#[derive(Debug, Default)]
pub struct ZipSpans(RandomState);

impl ZipSpans {
    /// The offset of the table of contents. Only the end of the file needs to be there.
    ///
    /// # Errors
    /// It is no zip archive.
    pub fn directory_offset(file: &File, size: u64) -> Result<u64, ArchiveError> {
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        Ok(locate(file, size, &mut buffer)?.directory_offset())
    }

    /// All entries in the order of their offsets, at most `most`; with the lengths of their local headers where `whole`
    /// says that these can be read.
    ///
    /// # Errors
    /// The table of contents cannot be read, or has more entries.
    pub fn read(&self, file: &File, size: u64, whole: bool, most: u64) -> Result<Vec<Entry>, ArchiveError> {
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let archive = locate(file, size, &mut buffer)?;
        let directory = archive.directory_offset();
        // Equal to nothing in another archive.
        let own = RandomState::new().hash_one(size);
        let mut entries = Vec::new();
        let mut records = archive.entries(&mut buffer);
        while let Some(header) = records.next_entry().map_err(damaged)? {
            if entries.len() as u64 >= most {
                return Err(ArchiveError::damaged(Place::End, format!("it has more than {most} entries")));
            }
            entries.push(self.entry(&header, own));
        }
        entries.sort_by_key(|entry| entry.span.start);
        let starts: Vec<u64> = entries.iter().skip(1).map(|entry| entry.span.start).chain([directory]).collect();
        for (entry, end) in entries.iter_mut().zip(starts) {
            entry.span.end = end;
            if whole {
                entry.header_bytes = header_bytes(file, entry.span.start);
            }
        }
        Ok(entries)
    }

    fn entry(&self, header: &ZipFileHeaderRecord<'_>, own: u64) -> Entry {
        let name = header.file_path().as_bytes();
        let time = header.last_modified_dos();
        let date =
            u32::from(time.year().saturating_sub(1980)) << 9 | u32::from(time.month()) << 5 | u32::from(time.day());
        let clock = u32::from(time.hour()) << 11 | u32::from(time.minute()) << 5 | (u32::from(time.second()) / 2);
        let mut extra = self.0.build_hasher();
        for (id, data) in header.extra_fields().filter(|(id, _)| id.as_u16() != ZIP64) {
            (id.as_u16(), data).hash(&mut extra);
            // The local header also has the times of reading or making the file, which the table of contents lacks.
            if id.as_u16() == EXTENDED_TIME && data.first().is_some_and(|flags| flags & 0b110 != 0) {
                own.hash(&mut extra);
            }
        }
        Entry {
            name: self.0.hash_one(name),
            name_bytes: u16::try_from(name.len()).unwrap_or(u16::MAX),
            crc: header.crc32(),
            compressed_bytes: header.compressed_size_hint(),
            size: header.uncompressed_size_hint(),
            form: (header.compression_method().as_u16(), header.flags().bits()),
            time: (date << 16 | clock).to_le_bytes(),
            extra: extra.finish(),
            span: header.local_header_offset()..header.local_header_offset(),
            header_bytes: None,
        }
    }
}

fn header_bytes(file: &File, at: u64) -> Option<u64> {
    let mut lengths = [0; 4];
    file.read_exact_at(&mut lengths, at + LOCAL_HEADER_BYTES - 4).ok()?;
    let [a, b, c, d] = lengths;
    Some(LOCAL_HEADER_BYTES + u64::from(u16::from_le_bytes([a, b])) + u64::from(u16::from_le_bytes([c, d])))
}
