//! One range of a download, to its end: broken connections are replaced where they broke.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use bytes::Bytes;
use hostler_core::error_chain::innermost;
use hostler_core::store::ETag;

use crate::fault::Fault;
use crate::flow::{Flow, SharedRateLimiter};
use crate::store_s3::object::{Ranged, S3Object};

/// The pause before a broken connection is replaced.
const PAUSE: Duration = Duration::from_millis(200);

/// The data that all parts of a download share.
pub(super) struct Source {
    pub(super) object: S3Object,
    pub(super) client: Client,
    pub(super) etag: ETag,
    pub(super) file: Arc<File>,
    pub(super) limiter: SharedRateLimiter,
}

/// Why a part did not come.
#[derive(Debug)]
pub(super) enum PartError {
    Fault(Box<Fault>),
    Write(io::Error),
}

impl PartError {
    pub(super) fn broken(message: impl std::fmt::Display) -> Self {
        Self::Fault(Box::new(Fault::broken(message)))
    }
}

/// Brings one range into the file.
pub(super) async fn fetch(source: Arc<Source>, range: Range<u64>) -> Result<(), PartError> {
    let limits = &source.object.limits;
    let mut at = range.start;
    let mut fruitless = 0;
    while at < range.end {
        let before = at;
        // A request that the SDK gives up after its own tries is not tried again here.
        let answer = source.object.range(&source.client, &source.etag, at, range.end).await;
        let answer = answer.map_err(|fault| PartError::Fault(Box::new(fault)))?;
        let mut piece = Piece { source: &source, at: &mut at, end: range.end, held: Vec::new(), bytes: 0 };
        match piece.read(answer).await {
            Ok(()) => {}
            Err(PartError::Fault(fault)) => {
                piece.write().await?;
                fruitless = if at > before { 1 } else { fruitless + 1 };
                if fruitless >= limits.download_fruitless_tries {
                    return Err(PartError::Fault(fault));
                }
                tokio::time::sleep(PAUSE * fruitless).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes of one answer that are not written yet.
struct Piece<'a> {
    source: &'a Source,
    at: &'a mut u64,
    end: u64,
    held: Vec<Bytes>,
    bytes: usize,
}

impl Piece<'_> {
    async fn read(&mut self, answer: Ranged) -> Result<(), PartError> {
        let mut body = answer.body().map_err(PartError::Fault)?;
        let limits = Arc::clone(&self.source.object.limits);
        let mut flow = Flow::new(&limits);
        loop {
            let bytes =
                |next: &Result<Option<Bytes>, _>| next.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
            let chunk = match flow.next(body.try_next(), bytes).await.map_err(PartError::broken)? {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(PartError::broken(innermost(&error))),
            };
            self.source.limiter.pass(chunk.len()).await;
            self.bytes += chunk.len();
            self.held.push(chunk);
            if self.bytes >= limits.download_write_bytes {
                self.write().await?;
            }
        }
        self.write().await?;
        if *self.at < self.end {
            return Err(PartError::broken(format!("{} bytes are missing at the end", self.end - *self.at)));
        }
        Ok(())
    }

    /// Writes the held bytes, on a thread that may wait for the disk.
    async fn write(&mut self) -> Result<(), PartError> {
        let held = std::mem::take(&mut self.held);
        // Bytes beyond the requested range are not ours.
        let room = self.end - *self.at;
        if self.bytes as u64 > room {
            return Err(PartError::broken("more bytes came than were asked for"));
        }
        if held.is_empty() {
            return Ok(());
        }
        let (file, at) = (Arc::clone(&self.source.file), *self.at);
        let written = tokio::task::spawn_blocking(move || {
            let mut at = at;
            for chunk in held {
                file.write_all_at(&chunk, at)?;
                at += chunk.len() as u64;
            }
            Ok(at)
        });
        *self.at = written.await.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(PartError::Write)?;
        self.bytes = 0;
        Ok(())
    }
}
