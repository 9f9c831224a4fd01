//! Rebuilds a zip archive from the kept archive and the parts that it lacks.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;

use hostler_aws::store_s3::{Facts, S3Object};
use hostler_core::bundle::BundleType;
use hostler_core::delta::{self, Entry, Segment};
use hostler_core::limits::Limits;
use hostler_core::machine::event::WorkFailure;
use hostler_core::store::{Content, StoreErrorKind};
use hostler_host::archive::{self, ZipSpans};
use hostler_host::digest::digest_file;

use crate::failure::fail;
use crate::setup::Setup;
use crate::stores::store_failure;
use crate::threads::blocking;
use crate::work::bundle_cache::Partial;

const BUFFER_BYTES: usize = 256 << 10;

/// Makes the new archive in the partial file; `false` when it must be downloaded as a whole, because too little of it
/// is here or the result has another digest.
pub async fn rebuild(
    setup: &Setup,
    object: &S3Object,
    kept: &Path,
    partial: &Partial,
    expected: &Content,
) -> Result<bool, WorkFailure> {
    let Ok(old) = File::open(kept) else { return Ok(false) };
    if partial.is_begun() || !matches!(archive::detect(&old), Ok(BundleType::Zip)) {
        return Ok(false);
    }
    let facts = object.must_exist().await.map_err(|e| store_failure(&e))?;
    if facts.size != expected.size {
        // The full download reports the problem.
        return Ok(false);
    }
    let work = Rebuild { setup, object, facts, new: clone(&partial.file)?, old: Arc::new(old) };
    let made = work.run(expected).await?;
    if !made {
        partial.file.set_len(0).map_err(fail)?;
    }
    Ok(made)
}

struct Rebuild<'a> {
    setup: &'a Setup,
    object: &'a S3Object,
    facts: Facts,
    new: Arc<File>,
    old: Arc<File>,
}

impl Rebuild<'_> {
    async fn run(&self, expected: &Content) -> Result<bool, WorkFailure> {
        let size = self.facts.size;
        let Some(have) = self.fetch_table().await? else { return Ok(false) };
        let (new, old, limits) = (Arc::clone(&self.new), Arc::clone(&self.old), self.setup.limits.clone());
        let planned = blocking(move || Ok(plan(&new, size, have, &old, &limits))).await?;
        let Some(segments) = planned else { return Ok(false) };
        let fetched = delta::fetched_bytes(&segments);
        // One stream of large ranges is faster than many small ones that bring nearly as much, and it can be resumed.
        if fetched > size / 2 {
            return Ok(false);
        }
        let ranges: Vec<Range<u64>> = segments.iter().filter_map(to_fetch).collect();
        let (new, old) = (Arc::clone(&self.new), Arc::clone(&self.old));
        blocking(move || {
            copy(&segments, &old, &new)
                .map_err(|e| WorkFailure::because(format!("cannot copy from the kept bundle: {e}"), &e))
        })
        .await?;
        if !self.fetch(&ranges).await? {
            return Ok(false);
        }
        let new = Arc::clone(&self.new);
        let found = blocking(move || {
            digest_file(&new).map_err(|e| WorkFailure::because(format!("cannot read the bundle: {e}"), &e))
        })
        .await?;
        let same = found == (expected.size, expected.sha256);
        let moved = fetched + size - have;
        match same {
            true => {
                log::info!(bytes = size, moved; "the bundle of {size} bytes was rebuilt from the kept one, and {moved} bytes were fetched")
            }
            false => log::info!("what was rebuilt from the kept bundle is not the release's: all of it is fetched"),
        }
        Ok(same)
    }

    /// Fetches the end of the archive and the whole table of contents; returns where the fetched part begins.
    async fn fetch_table(&self) -> Result<Option<u64>, WorkFailure> {
        let size = self.facts.size;
        let tail = size.saturating_sub(self.setup.limits.delta_tail_bytes);
        if !self.fetch(from_ref(&(tail..size))).await? {
            return Ok(None);
        }
        let new = Arc::clone(&self.new);
        let directory = blocking(move || Ok(ZipSpans::directory_offset(&new, size).ok())).await?;
        let Some(directory) = directory else { return Ok(None) };
        if directory >= tail {
            return Ok(Some(tail));
        }
        Ok(self.fetch(from_ref(&(directory..tail))).await?.then_some(directory))
    }

    /// `false` when there is no room, or the object is being replaced: the full download reports it.
    async fn fetch(&self, ranges: &[Range<u64>]) -> Result<bool, WorkFailure> {
        let fetched =
            self.object.fetch_ranges(self.new.as_fd(), &self.facts, ranges, &self.setup.stores.downloads).await;
        match fetched {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind, StoreErrorKind::Full | StoreErrorKind::Mismatch) => Ok(false),
            Err(error) => Err(store_failure(&error)),
        }
    }
}

fn clone(file: &File) -> Result<Arc<File>, WorkFailure> {
    file.try_clone().map(Arc::new).map_err(fail)
}

fn to_fetch(segment: &Segment) -> Option<Range<u64>> {
    match segment {
        Segment::Fetch(range) => Some(range.clone()),
        Segment::Copy { .. } => None,
    }
}

/// `None` when either archive lacks a readable table of contents.
fn plan(new: &File, size: u64, have: u64, old: &File, limits: &Limits) -> Option<Vec<Segment>> {
    let spans = ZipSpans::default();
    let old_size = old.metadata().ok()?.len();
    let read = |file, size, whole| -> Option<Vec<Entry>> { spans.read(file, size, whole, limits.entries).ok() };
    Some(delta::plan(&read(new, size, false)?, size, have, &read(old, old_size, true)?, limits.delta_copy_bytes))
}

fn copy(segments: &[Segment], old: &File, new: &File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    for segment in segments {
        let Segment::Copy { from, to, time } = segment else { continue };
        let (mut source, mut at) = (*from, to.start);
        while at < to.end {
            let most = usize::try_from(to.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let chunk = buffer.get_mut(..most).unwrap_or_default();
            old.read_exact_at(chunk, source)?;
            new.write_all_at(chunk, at)?;
            source += most as u64;
            at += most as u64;
        }
        if let Some((at, time)) = time {
            new.write_all_at(time, *at)?;
        }
    }
    Ok(())
}
