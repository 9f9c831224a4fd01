//! A bundle that is a directory on this host: a copy of the tree, under the policy for archives.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hostler_core::bundle::{Adaptation, EntryKind};
use nix::sys::stat::{FileStat, fstat};

use super::adapted::{Notes, Unpacked, has_capabilities};
use super::beneath::{Beneath, finish_file};
use super::error::{ArchiveError, EntryProblem};
use super::policy::{self, Meter, UnpackOptions};
use super::staging::Staging;
use super::tree::{self, Item, ModifiedTime};
use super::walk::{Found, walk};

/// Copies everything below `source`. Hard links become files of their own; a leading directory is kept.
pub(super) fn copy(source: &File, staging: Staging, options: &UnpackOptions) -> Result<Unpacked, ArchiveError> {
    let shown = Path::new("the bundle's directory");
    let identity = |directory| fstat(directory).map_err(ArchiveError::errno("look at", shown));
    let top_mode = identity(source)?.st_mode & 0o7777;
    let staging_stat = fstat(staging.root()).map_err(ArchiveError::errno("look at", staging.path()))?;
    let mut copier = Copier {
        beneath: Beneath::new(staging.root(), staging.path()),
        meter: Meter::new(&options.limits, u64::MAX),
        options,
        staging: &staging,
        staging_stat,
        items: Vec::new(),
        notes: Notes::default(),
    };
    walk(source, shown, &mut |found| copier.found(&found))?;
    let items = tree::settle(copier.items, &options.limits)?;
    let adapted = copier.notes.into_list();
    Ok(Unpacked { listing: staging.publish(items, top_mode, None)?, adapted })
}

struct Copier<'a> {
    beneath: Beneath<'a>,
    meter: Meter<'a>,
    options: &'a UnpackOptions,
    staging: &'a Staging,
    staging_stat: FileStat,
    items: Vec<Item>,
    notes: Notes,
}

impl Copier<'_> {
    fn found(&mut self, found: &Found<'_>) -> Result<(), ArchiveError> {
        let path = &found.path;
        let name = path.as_path().as_os_str().as_bytes();
        if (found.stat.st_dev, found.stat.st_ino) == (self.staging_stat.st_dev, self.staging_stat.st_ino) {
            let problem = "it lies inside the directory that is to be copied";
            return Err(ArchiveError::Destination { path: self.staging.path().to_owned(), problem });
        }
        self.meter.entry(name)?;
        let modified = ModifiedTime {
            seconds: found.stat.st_mtime,
            nanoseconds: u32::try_from(found.stat.st_mtime_nsec).unwrap_or(0),
        };
        let mut entry = found.entry()?;
        match &entry.kind {
            EntryKind::Directory => self.beneath.create_directory(path, &mut self.items)?,
            EntryKind::Symlink { target } => {
                self.meter.path(target.len() as u64, name)?;
                self.beneath.create_symlink(path, target, modified, &mut self.items)?;
            }
            EntryKind::File { size } => {
                entry.mode = policy::file_mode(name, entry.mode, self.options)?;
                self.meter.file(*size, name)?;
                self.file(found, *size, entry.mode, modified)?;
            }
        }
        self.items.push(Item::new(entry.path, entry.kind, entry.mode, modified));
        Ok(())
    }

    fn file(&mut self, found: &Found<'_>, size: u64, mode: u32, modified: ModifiedTime) -> Result<(), ArchiveError> {
        let mut from = found.open()?;
        if has_capabilities(from.as_fd()) {
            self.notes.add(Adaptation::Capabilities, found.path.as_path().as_os_str().as_bytes());
        }
        let mut to = self.beneath.create_file(&found.path, &mut self.items)?;
        // copy_file_range underneath: a reflink where the filesystem can, else a copy inside the kernel.
        let copied = io::copy(&mut from, &mut to).map_err(|e| ArchiveError::host("copy", &found.shown(), e))?;
        if copied != size {
            return Err(ArchiveError::at(found.path.as_path(), EntryProblem::Changed));
        }
        finish_file(&to, mode, modified, found.path.as_path())
    }
}
