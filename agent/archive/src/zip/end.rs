//! The end record of a zip archive: its offset, and the check that only padding follows it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rawzip::{ReaderAt, ZipArchive, ZipLocator};

use crate::error::{ArchiveError, Place};
use crate::foreign::follower;

/// The size of the record at the end of every zip archive.
const END_RECORD_BYTES: u64 = 22;
const ZIP64_LOCATOR_BYTES: u64 = 20;
/// The end record with the longest comment.
const END_SEARCH_BYTES: u64 = END_RECORD_BYTES + 0xffff;
/// The most padding after the end: bsdtar fills up blocks of 10 KiB, tapes and object stores blocks of up to 1 MiB.
const PADDING_BYTES: u64 = 1 << 20;

/// Reads at positions without moving the descriptor's own.
pub(super) struct At<'a>(&'a File);

impl ReaderAt for At<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

pub(super) fn damaged(error: rawzip::Error) -> ArchiveError {
    ArchiveError::Damaged {
        place: Place::End,
        problem: "its table of contents cannot be read; the archive may be cut short, or one piece of several"
            .to_owned(),
        source: Some(io::Error::other(error)),
    }
}

/// Finds the end record. Only the end of the file needs to be there.
///
/// # Errors
/// There is no end record.
pub(super) fn locate<'f>(
    bundle: &'f File,
    bundle_bytes: u64,
    buffer: &mut [u8],
) -> Result<ZipArchive<At<'f>>, ArchiveError> {
    let padding = padding(bundle, bundle_bytes).map_err(unreadable)?;
    let locator = ZipLocator::new().max_search_space(END_SEARCH_BYTES + padding);
    locator.locate_in_reader(At(bundle), buffer, bundle_bytes).map_err(|(_, error)| damaged(error))
}

/// Whether a file that does not begin as a zip archive ends as one: a self-extracting program, for example.
pub(crate) fn has_end(bundle: &File) -> io::Result<bool> {
    let bytes = bundle.metadata()?.len();
    let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let found = ZipLocator::new().max_search_space(END_SEARCH_BYTES).locate_in_reader(At(bundle), &mut buffer, bytes);
    // Four bytes alone are no end record; its entries must be there, too.
    Ok(found.is_ok_and(|archive| archive.entries(&mut buffer).next_entry().is_ok_and(|entry| entry.is_some())))
}

/// The zeros at the end of the file, up to the most padding.
fn padding(bundle: &File, bundle_bytes: u64) -> io::Result<u64> {
    let mut piece = [0; 4096];
    let mut zeros = 0;
    while zeros < PADDING_BYTES.min(bundle_bytes) {
        let length = (bundle_bytes - zeros).min(piece.len() as u64);
        let Some(to) = usize::try_from(length).ok().and_then(|length| piece.get_mut(..length)) else { break };
        bundle.read_exact_at(to, bundle_bytes - zeros - length)?;
        match to.iter().rposition(|byte| *byte != 0) {
            Some(at) => return Ok(zeros + (to.len() - 1 - at) as u64),
            None => zeros += length,
        }
    }
    Ok(zeros)
}

fn unreadable(source: io::Error) -> ArchiveError {
    let problem = "its end record cannot be read".to_owned();
    ArchiveError::Damaged { place: Place::End, problem, source: Some(source) }
}

/// Zeros are padding, and a line break comes from tools that print.
fn check_padding(bundle: &File, end: u64, bundle_bytes: u64) -> Result<(), ArchiveError> {
    let length = bundle_bytes.saturating_sub(end).min(END_SEARCH_BYTES + PADDING_BYTES);
    let mut rest = vec![0; usize::try_from(length).unwrap_or_default()];
    bundle.read_exact_at(&mut rest, end).map_err(unreadable)?;
    if matches!(rest.as_slice(), b"\n" | b"\r\n") || rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(ArchiveError::Trailing { what: "zip archive", found: follower(&rest) })
}

/// One disk, and nothing but padding behind the end.
pub(super) fn check<R: ReaderAt>(
    archive: &ZipArchive<R>,
    bundle: &File,
    bundle_bytes: u64,
) -> Result<(), ArchiveError> {
    let wrong = |problem: &str| Err(ArchiveError::damaged(Place::End, problem));
    check_padding(bundle, archive.end_offset(), bundle_bytes)?;
    let eocd = archive.eocd_offset();
    let read = |offset, bytes: &mut [u8]| bundle.read_exact_at(bytes, offset).map_err(unreadable);
    let mut end = [0; END_RECORD_BYTES as usize];
    read(eocd, &mut end)?;
    // The number of this disk and of the one with the table of contents; all ones where a zip64 record has them.
    if !matches!(end.get(4..8), Some([0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff])) {
        return wrong("it is one part of a multi-part archive; pack it as one file");
    }
    if let Some(offset) = eocd.checked_sub(ZIP64_LOCATOR_BYTES) {
        let mut locator = [0; ZIP64_LOCATOR_BYTES as usize];
        read(offset, &mut locator)?;
        if locator.starts_with(b"PK\x06\x07") {
            return match locator.get(16..20) {
                Some([0 | 1, 0, 0, 0]) => Ok(()),
                _ => wrong("it is one part of a multi-part archive; pack it as one file"),
            };
        }
    }
    // Of two archives in a row, the end of the second one may lead to the table of contents of the first.
    match end {
        [.., a, b, c, d, e, f, g, h, _, _]
            if u64::from(u32::from_le_bytes([a, b, c, d])) + u64::from(u32::from_le_bytes([e, f, g, h])) != eocd =>
        {
            Err(ArchiveError::Trailing { what: "zip archive", found: "another archive" })
        }
        _ => Ok(()),
    }
}
