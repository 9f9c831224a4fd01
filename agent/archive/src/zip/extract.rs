//! Decompresses and writes the files of a zip archive, on all processors.

use std::fs::File;
use std::hash::RandomState;
use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use hostler_core::bundle::EntryKind;

use super::Record;
use super::local::Decoder;
use crate::beneath::{Beneath, finish_file};
use crate::error::ArchiveError;
use crate::staging::Staging;
use crate::tree::Item;

/// How many files a thread takes at once: enough to stay in one directory for a while, since two threads that make
/// files in the same one hold each other up, and few enough to share fairly.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 1 << 20;
/// Each thread has half a megabyte of buffers, and more threads gain little on the disks of small hosts.
const MOST_THREADS: usize = 4;

pub(super) struct Archive<'a> {
    pub(super) bundle: &'a File,
    pub(super) records: &'a [Record],
    pub(super) hasher: &'a RandomState,
}

/// Writes all files among the items and checks the directories, which exist. Of several errors, the first item's
/// counts.
pub(super) fn files(archive: &Archive<'_>, items: &[Item], staging: &Staging) -> Result<(), ArchiveError> {
    let batches = batches(items);
    let work =
        Work { archive, items, batches: &batches, staging, next: AtomicUsize::new(0), stop: AtomicBool::new(false) };
    let first_error: Mutex<Option<(usize, ArchiveError)>> = Mutex::new(None);
    let run = || {
        if let Err((index, error)) = work.run() {
            work.stop.store(true, Ordering::Relaxed);
            let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
            if first.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                *first = Some((index, error));
            }
        }
    };
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        for _ in 1..processors.min(MOST_THREADS).min(batches.len()) {
            // This thread does all the work if no other can be started.
            let _ = thread::Builder::new().name("unzip".to_owned()).spawn_scoped(scope, run);
        }
        run();
    });
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// The items in parts, one after the other; one thread takes each.
fn batches(items: &[Item]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        if let EntryKind::File { size } = item.entry.kind {
            bytes = u64::saturating_add(bytes, size);
        }
        if bytes >= BATCH_BYTES || index + 1 - start >= BATCH_FILES || index + 1 == items.len() {
            batches.push(start..index + 1);
            (start, bytes) = (index + 1, 0);
        }
    }
    batches
}

struct Work<'a> {
    archive: &'a Archive<'a>,
    items: &'a [Item],
    batches: &'a [Range<usize>],
    staging: &'a Staging,
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Work<'_> {
    fn run(&self) -> Result<(), (usize, ArchiveError)> {
        let mut beneath = Beneath::new(self.staging.root(), self.staging.path());
        let mut decoder = Decoder::new(self.archive.bundle, self.archive.hasher);
        while !self.stop.load(Ordering::Relaxed) {
            let Some(batch) = self.batches.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            for (index, item) in self.items.iter().enumerate().skip(batch.start).take(batch.len()) {
                self.item(item, &mut beneath, &mut decoder).map_err(|error| (index, error))?;
            }
        }
        Ok(())
    }

    fn item(&self, item: &Item, beneath: &mut Beneath<'_>, decoder: &mut Decoder<'_>) -> Result<(), ArchiveError> {
        let Some(record) = self.archive.records.get(item.record as usize) else { return Ok(()) };
        match item.entry.kind {
            EntryKind::File { .. } => self.file(item, record, beneath, decoder),
            // The directory exists already, but its headers must agree like those of any entry.
            EntryKind::Directory => {
                decoder.decode(record, item.entry.path.as_path().as_os_str().as_encoded_bytes(), |_| Ok(()))
            }
            EntryKind::Symlink { .. } => Ok(()),
        }
    }

    fn file(
        &self,
        item: &Item,
        record: &Record,
        beneath: &mut Beneath<'_>,
        decoder: &mut Decoder<'_>,
    ) -> Result<(), ArchiveError> {
        let path = &item.entry.path;
        let mut file = beneath.create_file(path, &mut Vec::new())?;
        let shown = || self.staging.path().join(path.as_path());
        decoder.decode(record, path.as_path().as_os_str().as_encoded_bytes(), |bytes| {
            file.write_all(bytes).map_err(|e| ArchiveError::host("write", &shown(), e))
        })?;
        finish_file(&file, item.entry.mode, item.modified, path.as_path())
    }
}
