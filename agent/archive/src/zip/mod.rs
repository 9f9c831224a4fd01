//! Unpacks a zip archive: the whole table of contents is checked first, then the entries are decompressed and written
//! by one thread for each processor.
//!
//! `rawzip` reads the table of contents; the local headers, the inflating and the writing are under our own policy.

mod central;
mod end;
mod extract;
mod local;
mod spans;

use std::fs::File;

use hostler_core::bundle::EntryKind;

pub(super) use self::end::has_end;
use self::local::Decoder;
pub use self::spans::ZipSpans;
use super::adapted::Unpacked;
use super::beneath::Beneath;
use super::error::ArchiveError;
use super::policy::{self, UnpackOptions};
use super::staging::Staging;
use super::tree;

/// The central directory's description of one entry's data.
#[derive(Debug, Clone)]
struct Record {
    /// The offset of the local header.
    offset: u64,
    /// Where the next entry's local header, or the central directory, begins.
    end: u64,
    compressed_bytes: u64,
    size: u64,
    crc: u32,
    /// Keyed hash of the name as it is written; the local header must have the same name.
    name_hash: u64,
    name_bytes: u16,
    method: u16,
    flags: u16,
}

pub(super) fn unpack(
    bundle: &File,
    bundle_bytes: u64,
    staging: Staging,
    options: &UnpackOptions,
) -> Result<Unpacked, ArchiveError> {
    let mut contents = central::read(bundle, bundle_bytes, options)?;
    read_link_targets(bundle, &mut contents)?;
    let items = tree::settle(contents.items, &options.limits)?;
    let mut beneath = Beneath::new(staging.root(), staging.path());
    // All directories are items by now, so nothing more is made on the way.
    let mut made = Vec::new();
    for item in items.iter().filter(|item| item.entry.kind == EntryKind::Directory) {
        beneath.create_directory(&item.entry.path, &mut made)?;
    }
    let archive = extract::Archive { bundle, records: &contents.records, hasher: &contents.hasher };
    extract::files(&archive, &items, &staging)?;
    // Links last: while files are written there is no link that a path could lead through.
    for item in &items {
        if let EntryKind::Symlink { target } = &item.entry.kind {
            beneath.create_symlink(&item.entry.path, target, item.modified, &mut made)?;
        }
    }
    let leading = tree::leading_directory(&items);
    let listing = staging.publish(items, contents.top_mode, leading)?;
    Ok(Unpacked { listing, adapted: contents.notes.into_list() })
}

/// The content of a symbolic link's entry is its target.
fn read_link_targets(bundle: &File, contents: &mut central::Contents) -> Result<(), ArchiveError> {
    let mut decoder = Decoder::new(bundle, &contents.hasher);
    for item in &mut contents.items {
        let EntryKind::Symlink { target } = &mut item.entry.kind else { continue };
        let Some(record) = contents.records.get(item.record as usize) else { continue };
        let name = item.entry.path.as_path().as_os_str().as_encoded_bytes();
        let mut bytes = Vec::new();
        decoder.decode(record, name, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        *target = policy::link_target(name, &bytes)?.into();
    }
    Ok(())
}
