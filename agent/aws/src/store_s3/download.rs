//! A big object into a file: several ranges at a time, each pinned to the same content by its ETag, every byte written
//! where it belongs and hashed in order right behind, while it is still in memory (the page cache).
//!
//! A note beside the file says which parts are complete, so that the next try goes on where a killed agent was. The
//! note is only trusted until the digest of the whole is known.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use hostler_core::config::settings::DownloadSettings;
use hostler_core::ids::Sha256Digest;
use hostler_core::store::{Content, StoreError, StoreErrorKind};
use hostler_core::transfer::Meter;
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinHandle, JoinSet};

use super::object::{Facts, S3Object};
use crate::fault::FaultKind;
use crate::flow::SharedRateLimiter;

mod note;
mod part;
pub(crate) mod room;

use note::Note;
use part::{PartError, Source};

const OPERATION: &str = "download";
/// Bytes that are hashed in one go, between two looks at the parts that have arrived.
const HASH_BYTES: u64 = 4 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Where a download goes: the file, and the note of its complete parts. The caller deletes both.
#[derive(Debug, Clone, Copy)]
pub struct DownloadTarget<'a> {
    /// The file; its bytes are kept only as far as the note says.
    pub file: BorrowedFd<'a>,
    /// The note; without a note every download begins at the beginning.
    pub note: Option<BorrowedFd<'a>>,
    /// Counts the bytes for a user who waits.
    pub meter: Option<&'a Arc<Meter>>,
}

/// A fetched object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its content.
    pub content: Content,
    /// Its version, if the bucket has versions.
    pub version_id: Option<String>,
    /// Bytes that came over the network this time.
    pub moved: u64,
}

impl S3Object {
    /// Writes the object into a file, checking size and digest on the way where they are known. The bytes are not yet
    /// synced. After an error the file and its note may be given to the next try.
    ///
    /// # Errors
    /// [`StoreErrorKind::Absent`], [`StoreErrorKind::Mismatch`] also when the object is replaced meanwhile,
    /// [`StoreErrorKind::Full`] before anything is fetched, or any error of the store.
    pub async fn download(
        &self,
        target: DownloadTarget<'_>,
        expected: Option<&Content>,
        settings: &DownloadSettings,
    ) -> Result<Fetched, StoreError> {
        let facts = self.must_exist().await?;
        self.check_size(facts.size, expected)?;
        let file = Arc::new(self.own(target.file)?);
        let note_file = target.note.map(|note| self.own(note)).transpose()?;
        let part_bytes = self.limits.download_part_bytes;
        let mut note = Note::open(note_file, &facts, part_bytes).map_err(|e| self.io(e))?;
        let mut moved = 0;
        loop {
            let resumed = note.any_done();
            if !resumed {
                file.set_len(0).map_err(|e| self.io(e))?;
            }
            room::reserve(&file, facts.size).map_err(|shortage| self.full(shortage))?;
            moved += note.missing_bytes();
            let source = self.source(&file, &facts, settings, target.meter).await;
            source.limiter.begin(facts.size.saturating_sub(note.missing_bytes()), facts.size);
            let sha256 = self.fetch_parts(&source, &facts, &mut note).await?;
            match expected.filter(|expected| expected.sha256 != sha256) {
                None => {
                    let content = Content { size: facts.size, sha256 };
                    return Ok(Fetched { content, version_id: facts.version_id, moved });
                }
                // A power cut can leave a note of parts that never reached the disk.
                Some(_) if resumed => note.clear().map_err(|e| self.io(e))?,
                Some(expected) => {
                    note.clear().map_err(|e| self.io(e))?;
                    let problem = format!("its digest is {sha256} and should be {}", expected.sha256);
                    return Err(self.wrong(OPERATION, StoreErrorKind::Mismatch, problem));
                }
            }
        }
    }

    /// Writes ranges of the object into a file that becomes as long as the object, each where it belongs. Nothing is
    /// checked but that all ranges are of the content that `facts` pins.
    ///
    /// # Errors
    /// As [`Self::download`].
    pub async fn fetch_ranges(
        &self,
        file: BorrowedFd<'_>,
        facts: &Facts,
        ranges: &[Range<u64>],
        settings: &DownloadSettings,
    ) -> Result<(), StoreError> {
        let file = Arc::new(self.own(file)?);
        room::reserve(&file, facts.size).map_err(|shortage| self.full(shortage))?;
        let source = self.source(&file, facts, settings, None).await;
        let most = self.limits.download_part_bytes;
        let pieces = ranges.iter().flat_map(|range| {
            (range.start..range.end)
                .step_by(usize::try_from(most).unwrap_or(usize::MAX))
                .map(move |from| from..range.end.min(from + most))
        });
        let mut pieces = pieces.filter(|piece| !piece.is_empty());
        let mut workers = JoinSet::new();
        loop {
            while workers.len() < self.limits.download_connections
                && let Some(piece) = pieces.next()
            {
                workers.spawn(part::fetch(Arc::clone(&source), piece));
            }
            match workers.join_next().await {
                Some(joined) => {
                    joined.unwrap_or_else(|e| Err(PartError::broken(e))).map_err(|e| self.part_failed(e, facts))?
                }
                None => return Ok(()),
            }
        }
    }

    /// Fetches the missing parts and hashes everything in order, close behind.
    async fn fetch_parts(
        &self,
        source: &Arc<Source>,
        facts: &Facts,
        note: &mut Note,
    ) -> Result<Sha256Digest, StoreError> {
        let mut queue = note.missing().into_iter();
        let mut workers = JoinSet::new();
        let mut hashing: Option<JoinHandle<io::Result<Sha256>>> = None;
        let mut resting = Some(Sha256::new());
        let mut hashed = 0;
        loop {
            while workers.len() < self.limits.download_connections
                && let Some(index) = queue.next()
            {
                let (source, range) = (Arc::clone(source), note.range(index));
                workers.spawn(async move { part::fetch(source, range).await.map(|()| index) });
            }
            let ready = note.complete_up_to().min(hashed + HASH_BYTES);
            if ready > hashed
                && let Some(hasher) = resting.take()
            {
                let (file, range) = (Arc::clone(&source.file), hashed..ready);
                hashed = ready;
                hashing = Some(tokio::task::spawn_blocking(move || hash(&file, range, hasher)));
            }
            tokio::select! {
                Some(joined) = workers.join_next() => {
                    let index = joined.unwrap_or_else(|e| Err(PartError::broken(e))).map_err(|e| self.part_failed(e, facts))?;
                    note.done(index).map_err(|e| self.io(e))?;
                }
                Some(joined) = ended(&mut hashing) => {
                    hashing = None;
                    let hasher = joined.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(|e| self.io(e))?;
                    resting = Some(hasher);
                }
                else => break,
            }
        }
        let hasher = resting.unwrap_or_default();
        Ok(Sha256Digest::from_bytes(hasher.finalize().into()))
    }

    async fn source(
        &self,
        file: &Arc<File>,
        facts: &Facts,
        settings: &DownloadSettings,
        meter: Option<&Arc<Meter>>,
    ) -> Arc<Source> {
        Arc::new(Source {
            object: self.clone(),
            client: self.bucket.client_for(self.limits.download_connections).await,
            etag: facts.etag.clone(),
            file: Arc::clone(file),
            limiter: SharedRateLimiter::new(settings.max_bytes_per_second, meter),
        })
    }

    fn check_size(&self, size: u64, expected: Option<&Content>) -> Result<(), StoreError> {
        match expected {
            Some(expected) if expected.size != size => {
                let problem = format!("it has {size} bytes and should have {}", expected.size);
                Err(self.wrong(OPERATION, StoreErrorKind::Mismatch, problem))
            }
            _ if size > self.limits.bundle_bytes => {
                let problem = format!(
                    "it has {size} bytes, and a bundle has at most {}; is this the right key?",
                    self.limits.bundle_bytes
                );
                Err(self.wrong(OPERATION, StoreErrorKind::TooLarge, problem))
            }
            _ => Ok(()),
        }
    }

    fn own(&self, file: BorrowedFd<'_>) -> Result<File, StoreError> {
        file.try_clone_to_owned().map(File::from).map_err(|e| self.io(e))
    }

    fn part_failed(&self, error: PartError, facts: &Facts) -> StoreError {
        match error {
            PartError::Fault(fault) if fault.kind == FaultKind::Condition => {
                let problem = format!(
                    "it was replaced while it was fetched (its ETag is no longer {}); release what is there now, or name \
                     a version",
                    facts.etag
                );
                self.wrong(OPERATION, StoreErrorKind::Mismatch, problem)
            }
            PartError::Fault(fault) => self.failed(OPERATION, *fault),
            PartError::Write(error) => self.io(error),
        }
    }

    fn full(&self, shortage: room::Shortage) -> StoreError {
        shortage.of_download(OPERATION, self.location())
    }

    fn io(&self, error: io::Error) -> StoreError {
        room::not_written(OPERATION, self.location(), error)
    }
}

/// Waits for the running hashing to end, if there is any.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Option<Result<T, tokio::task::JoinError>> {
    match task {
        Some(task) => Some(task.await),
        None => None,
    }
}

/// Feeds a range of the file to the hasher and returns it.
pub(crate) fn hash(file: &File, range: Range<u64>, mut hasher: Sha256) -> io::Result<Sha256> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = range.start;
    while at < range.end {
        let most = usize::try_from(range.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let chunk = buffer.get_mut(..most).unwrap_or_default();
        match file.read_at(chunk, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                hasher.update(chunk.get(..read).unwrap_or_default());
                at += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(hasher)
}
