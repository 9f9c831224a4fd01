//! Unpacks a tar stream, entry by entry, under our own policy.
//!
//! The `tar` crate reads single headers. The loop over them is ours, because it must bound the size of extension
//! headers, tell a stream that was cut at an entry from one that ended, and refuse data after the end.

mod fields;
mod header;
mod pax;
mod sparse;
mod sparse_headers;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, Write as _};
use std::os::unix::fs::FileExt as _;

use hostler_core::bundle::{Adaptation, BundlePath, BundleType, EntryKind};

pub(super) use self::fields::is_header;
use self::header::{Content, Member, Stream};
use super::adapted::Unpacked;
use super::beneath::{Beneath, finish_file};
use super::decode::with_tar_stream;
use super::error::{ArchiveError, EntryProblem};
use super::policy::{self, Meter, UnpackOptions};
use super::staging::Staging;
use super::tree::{self, IMPLIED_DIRECTORY_MODE, Item};

pub(super) fn unpack(
    bundle: &File,
    bundle_bytes: u64,
    kind: BundleType,
    staging: Staging,
    options: &UnpackOptions,
) -> Result<Unpacked, ArchiveError> {
    let (items, top_mode, adapted) = with_tar_stream(bundle, kind, |input| {
        let mut unpacker = Unpacker {
            beneath: Beneath::new(staging.root(), staging.path()),
            link_targets: Beneath::new(staging.root(), staging.path()),
            staging: &staging,
            options,
            items: Vec::new(),
            top_mode: IMPLIED_DIRECTORY_MODE,
        };
        let mut stream = Stream::new(input, Meter::new(&options.limits, bundle_bytes));
        while let Some(member) = stream.next_member()? {
            unpacker.member(&mut stream, &member)?;
        }
        Ok((unpacker.items, unpacker.top_mode, stream.notes.into_list()))
    })?;
    let items = tree::settle(items, &options.limits)?;
    let leading = tree::leading_directory(&items);
    Ok(Unpacked { listing: staging.publish(items, top_mode, leading)?, adapted })
}

struct Unpacker<'a> {
    beneath: Beneath<'a>,
    link_targets: Beneath<'a>,
    staging: &'a Staging,
    options: &'a UnpackOptions,
    items: Vec<Item>,
    top_mode: u32,
}

impl Unpacker<'_> {
    fn member<R: BufRead + ?Sized>(&mut self, stream: &mut Stream<'_, R>, member: &Member) -> Result<(), ArchiveError> {
        let Some(path) = policy::entry_path(&member.path, &self.options.limits)? else {
            return self.top(member);
        };
        let has_slash = policy::has_leading_slash(&member.path);
        if has_slash {
            stream.notes.add(Adaptation::LeadingSlash, &member.path);
        }
        let before = self.items.len();
        let (kind, mode) = match &member.content {
            Content::Directory => {
                self.beneath.create_directory(&path, &mut self.items)?;
                (EntryKind::Directory, policy::directory_mode(member.mode))
            }
            Content::Symlink { target } => {
                stream.meter.path(target.len() as u64, &member.path)?;
                let target = OsString::from(policy::link_target(&member.path, target)?);
                self.beneath.create_symlink(&path, &target, member.modified, &mut self.items)?;
                (EntryKind::Symlink { target }, 0o777)
            }
            Content::HardLink { target } => self.hard_link(stream, member, &path, target)?,
            Content::File { .. } => {
                let mode = policy::file_mode(&member.path, member.mode, self.options)?;
                stream.meter.file(member.unpacked_bytes(), &member.path)?;
                self.file(stream, member, &path, mode)?;
                (EntryKind::File { size: member.unpacked_bytes() }, mode)
            }
        };
        for made in self.items.iter().skip(before) {
            stream.meter.entry(made.entry.path.as_path().as_os_str().as_encoded_bytes())?;
        }
        self.items.push(Item::named(path, kind, mode, member.modified, has_slash));
        Ok(())
    }

    fn top(&mut self, member: &Member) -> Result<(), ArchiveError> {
        if !matches!(member.content, Content::Directory) {
            return Err(ArchiveError::entry(&member.path, EntryProblem::NoName));
        }
        self.top_mode = policy::directory_mode(member.mode);
        Ok(())
    }

    fn hard_link<R: BufRead + ?Sized>(
        &mut self,
        stream: &mut Stream<'_, R>,
        member: &Member,
        path: &BundlePath,
        target: &[u8],
    ) -> Result<(EntryKind, u32), ArchiveError> {
        let refuse = |problem| {
            let target = String::from_utf8_lossy(target).into_owned();
            ArchiveError::entry(&member.path, EntryProblem::HardLink { target, problem })
        };
        let target = match policy::entry_path(target, &self.options.limits) {
            Ok(Some(target)) => target,
            Ok(None) => return Err(refuse("is the bundle's top")),
            Err(_) => return Err(refuse("leads out of the bundle or is no path inside it")),
        };
        let made = &mut self.items;
        let (kind, mode) = self.beneath.create_hard_link(path, &mut self.link_targets, &target, made)?;
        match &kind {
            EntryKind::File { size } => stream.meter.file(*size, &member.path)?,
            EntryKind::Symlink { target } => stream.meter.path(target.len() as u64, &member.path)?,
            EntryKind::Directory => {}
        }
        Ok((kind, mode))
    }

    fn file<R: BufRead + ?Sized>(
        &mut self,
        stream: &mut Stream<'_, R>,
        member: &Member,
        path: &BundlePath,
        mode: u32,
    ) -> Result<(), ArchiveError> {
        let shown = || self.staging.path().join(path.as_path());
        let mut file = self.beneath.create_file(path, &mut self.items)?;
        match &member.content {
            Content::File { sparse: Some(map), .. } => {
                let mut offsets = map.offsets();
                stream.content(member, |mut bytes| {
                    while let Some((offset, count)) = offsets.take(bytes.len()) {
                        let (now, later) = bytes.split_at(count);
                        file.write_all_at(now, offset).map_err(|e| ArchiveError::host("write", &shown(), e))?;
                        bytes = later;
                    }
                    Ok(())
                })?;
                file.set_len(map.size).map_err(|e| ArchiveError::host("write", &shown(), e))?;
            }
            _ => stream
                .content(member, |bytes| file.write_all(bytes).map_err(|e| ArchiveError::host("write", &shown(), e)))?,
        }
        finish_file(&file, mode, member.modified, path.as_path())
    }
}
