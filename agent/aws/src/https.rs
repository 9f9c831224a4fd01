//! A bundle behind an `https://` address: one stream into a file, hashed on the way, which goes on where it broke.
//!
//! The bytes of an earlier try are only trusted if the whole has an expected digest. Without a digest, a broken stream
//! goes on only if the server's strong ETag says that the content is still the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hostler_core::config::settings::DownloadSettings;
use hostler_core::error_chain::innermost;
use hostler_core::ids::Sha256Digest;
use hostler_core::limits::Limits;
use hostler_core::store::{Content, HttpsLocation, StoreError, StoreErrorKind, rewritten};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use crate::clients::Clients;
use crate::flow::{Flow, SharedRateLimiter};
use crate::signed_call::{SignedCallsError, http_client_of};
use crate::store_s3::download::{hash, room};
use crate::store_s3::{DownloadTarget, Fetched};

const OPERATION: &str = "download";
/// Redirections that are followed.
const REDIRECTIONS: usize = 5;
/// The pause before a broken stream is asked for again. It doubles with each try that brought nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// A bundle by its address.
#[derive(Debug, Clone)]
pub struct HttpsObject {
    http: Client,
    location: HttpsLocation,
    limits: Arc<Limits>,
}

impl HttpsObject {
    /// The object at an address, through the same proxy and certificates as AWS. Nothing is asked yet.
    ///
    /// # Errors
    /// When the certificates or the proxy cannot be used.
    pub fn new(clients: &Clients, location: HttpsLocation, limits: Arc<Limits>) -> Result<Self, SignedCallsError> {
        Ok(Self { http: http_client_of(clients)?, location, limits })
    }

    /// Its address without possible secrets, for people.
    pub fn location(&self) -> String {
        self.location.shown()
    }

    /// Writes the object into a file, checking size and digest on the way where they are known. The bytes are not yet
    /// synced. After an error the file may be given to the next try, which goes on where it ends if a digest is
    /// expected.
    ///
    /// # Errors
    /// [`StoreErrorKind::Absent`], [`StoreErrorKind::Denied`], [`StoreErrorKind::Mismatch`],
    /// [`StoreErrorKind::TooLarge`], [`StoreErrorKind::Full`], or that the server cannot be reached or does not answer
    /// as it should.
    pub async fn download(
        &self,
        target: DownloadTarget<'_>,
        expected: Option<&Content>,
        settings: &DownloadSettings,
    ) -> Result<Fetched, StoreError> {
        let file = target.file.try_clone_to_owned().map(File::from).map_err(|e| self.io(e))?;
        let here = file.metadata().map_err(|e| self.io(e))?.len();
        let mut from = expected.map_or(0, |expected| if here > expected.size { 0 } else { here });
        let file = Arc::new(file);
        let limiter = SharedRateLimiter::new(settings.max_bytes_per_second, target.meter);
        let mut moved = 0;
        loop {
            let mut stream = Stream::resume(&file, from).await.map_err(|e| self.io(e))?;
            self.fetch(&mut stream, expected, &limiter, &mut moved).await?;
            let content =
                Content { size: stream.at, sha256: Sha256Digest::from_bytes(stream.hasher.finalize().into()) };
            match expected.filter(|expected| **expected != content) {
                None => return Ok(Fetched { content, version_id: None, moved }),
                // A power cut can leave a length whose bytes never reached the disk; or the address has another object
                // now.
                Some(_) if from > 0 => from = 0,
                Some(expected) => {
                    file.set_len(0).map_err(|e| self.io(e))?;
                    let problem = format!(
                        "it is {} of {} bytes and should be {} of {}",
                        content.sha256, content.size, expected.sha256, expected.size
                    );
                    return Err(self.wrong(StoreErrorKind::Mismatch, problem));
                }
            }
        }
    }

    /// Brings the stream to its end. A stream that breaks is resumed until several tries in a row have brought nothing.
    async fn fetch(
        &self,
        stream: &mut Stream,
        expected: Option<&Content>,
        limiter: &SharedRateLimiter,
        moved: &mut u64,
    ) -> Result<(), StoreError> {
        // The ETag of the object that the bytes so far belong to.
        let mut pinned = None;
        let (mut furthest, mut fruitless) = (stream.at, 0);
        while expected.is_none_or(|expected| stream.at < expected.size) {
            let failed = match self.attempt(stream, &mut pinned, expected, limiter, moved).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            stream.write().await.map_err(|e| self.io(e))?;
            // A server without ranges may break off at the same byte for ever.
            fruitless = if stream.at > furthest { 1 } else { fruitless + 1 };
            furthest = furthest.max(stream.at);
            let passes = matches!(failed.kind, StoreErrorKind::Transient | StoreErrorKind::Throttled);
            if !passes || fruitless >= self.limits.download_fruitless_tries {
                return Err(failed);
            }
            log::debug!(problem = failed.problem.as_str(); "the download goes on after a pause");
            tokio::time::sleep(PAUSE * (1 << (fruitless - 1))).await;
        }
        Ok(())
    }

    async fn attempt(
        &self,
        stream: &mut Stream,
        pinned: &mut Option<HeaderValue>,
        expected: Option<&Content>,
        limiter: &SharedRateLimiter,
        moved: &mut u64,
    ) -> Result<(), StoreError> {
        if expected.is_none() && pinned.is_none() {
            stream.restart();
        }
        let mut response = self.open(stream.at, pinned.as_ref()).await?;
        let total = self.begin(&response, stream)?;
        *pinned = strong_etag(response.headers());
        let most = self.check_size(total, expected)?;
        let needed = total.or(expected.map(|expected| expected.size));
        limiter.begin(stream.at, needed.unwrap_or(0));
        let (file, reserved) = (Arc::clone(&stream.file), needed.unwrap_or(0));
        let reserved = spawn_blocking(move || room::reserve_behind(&file, reserved)).await;
        reserved.map_err(|e| self.io(io::Error::other(e)))?.map_err(|shortage| self.full(shortage))?;

        let mut flow = Flow::new(&self.limits);
        let bytes =
            |next: &reqwest::Result<Option<Bytes>>| next.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        let broken = |problem: String| self.wrong(StoreErrorKind::Transient, problem);
        loop {
            let next = flow.next(response.chunk(), bytes).await.map_err(|problem| broken(problem.to_owned()))?;
            let Some(chunk) = next.map_err(|e| broken(without_address(e)))? else { break };
            limiter.pass(chunk.len()).await;
            *moved += chunk.len() as u64;
            if stream.length() + chunk.len() as u64 > most {
                let kind = if expected.is_some() { StoreErrorKind::Mismatch } else { StoreErrorKind::TooLarge };
                return Err(self.wrong(kind, format!("it has more than {most} bytes")));
            }
            stream.hold(chunk);
            if stream.held_bytes >= self.limits.download_write_bytes {
                stream.write().await.map_err(|e| self.io(e))?;
            }
        }
        stream.write().await.map_err(|e| self.io(e))?;
        match needed.filter(|needed| stream.at < *needed) {
            Some(needed) => Err(broken(format!("{} bytes are missing at the end", needed - stream.at))),
            None => Ok(()),
        }
    }

    /// The answer with the bytes from `from` on, or with all bytes, after any redirects.
    async fn open(&self, from: u64, pinned: Option<&HeaderValue>) -> Result<Response, StoreError> {
        let fatal = |problem: String| self.wrong(StoreErrorKind::Fatal, problem);
        let mut url: Url = self.location.as_str().parse().map_err(|e| fatal(format!("it is no address: {e}")))?;
        for _ in 0..=REDIRECTIONS {
            // The stored bytes must be the hashed ones: no further compression on the way.
            let mut request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
                if let Some(etag) = pinned {
                    request = request.header(IF_RANGE, etag);
                }
            }
            let response = request.send().await.map_err(|e| {
                let host = url.host_str().unwrap_or_default();
                self.wrong(StoreErrorKind::Transient, format!("temporary failure at {host}: {}", without_address(e)))
            })?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            if let Some(part) = next.and_then(rewritten) {
                let problem =
                    format!("the server sends on to a path with {part:?}, which is not sent as it is written");
                return Err(fatal(problem));
            }
            let next = next.and_then(|to| url.join(to).ok());
            url = next.ok_or_else(|| fatal(format!("the server answers {} and names no place", response.status())))?;
            if url.scheme() != "https" {
                return Err(fatal("the server sends on to a place without TLS".to_owned()));
            }
        }
        Err(fatal(format!("the server sends on more than {REDIRECTIONS} times")))
    }

    /// Where the answer's body belongs in the stream, and the size of the whole, if the answer says it.
    fn begin(&self, response: &Response, stream: &mut Stream) -> Result<Option<u64>, StoreError> {
        let status = response.status();
        if status == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            return match range.and_then(content_range) {
                Some((from, total)) if from == stream.at => Ok(total),
                _ => {
                    let problem = format!("the server answers with another range than asked for: {range:?}");
                    Err(self.wrong(StoreErrorKind::Fatal, problem))
                }
            };
        }
        if status == StatusCode::OK {
            // The server has no ranges, or the content is no longer the pinned one.
            stream.restart();
            return Ok(response.content_length());
        }
        Err(self.refused(status))
    }

    fn refused(&self, status: StatusCode) -> StoreError {
        let (kind, hint) = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => (StoreErrorKind::Absent, "there is no such object"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                (StoreErrorKind::Denied, "it may not be read; a presigned address may have expired")
            }
            StatusCode::TOO_MANY_REQUESTS => (StoreErrorKind::Throttled, "too many requests"),
            StatusCode::RANGE_NOT_SATISFIABLE => (StoreErrorKind::Mismatch, "it is smaller than it should be"),
            StatusCode::REQUEST_TIMEOUT => (StoreErrorKind::Transient, "temporary failure"),
            status if status.is_server_error() => (StoreErrorKind::Transient, "temporary failure"),
            _ => (StoreErrorKind::Fatal, "the server does not give it"),
        };
        self.wrong(kind, format!("{hint} (HTTP {})", status.as_u16()))
    }

    /// The most bytes that the object may have.
    fn check_size(&self, total: Option<u64>, expected: Option<&Content>) -> Result<u64, StoreError> {
        let most = expected.map_or(self.limits.bundle_bytes, |expected| expected.size);
        match (total, expected) {
            (Some(total), Some(expected)) if total != expected.size => {
                let problem = format!("it has {total} bytes and should have {}", expected.size);
                Err(self.wrong(StoreErrorKind::Mismatch, problem))
            }
            (Some(total), None) if total > most => {
                let problem =
                    format!("it has {total} bytes, and a bundle has at most {most}; is this the right address?");
                Err(self.wrong(StoreErrorKind::TooLarge, problem))
            }
            _ => Ok(most),
        }
    }

    fn full(&self, shortage: room::Shortage) -> StoreError {
        shortage.of_download(OPERATION, self.location())
    }

    fn io(&self, error: io::Error) -> StoreError {
        room::not_written(OPERATION, self.location(), error)
    }

    fn wrong(&self, kind: StoreErrorKind, problem: String) -> StoreError {
        StoreError {
            operation: OPERATION,
            location: self.location(),
            kind,
            problem,
            request_ids: Vec::new(),
            source: None,
        }
    }
}

/// The bytes so far: written and hashed up to `at`, and a few held bytes that are neither yet.
struct Stream {
    file: Arc<File>,
    at: u64,
    hasher: Sha256,
    held: Vec<Bytes>,
    held_bytes: usize,
}

impl Stream {
    /// Goes on behind the first `from` bytes of the file.
    async fn resume(file: &Arc<File>, from: u64) -> io::Result<Self> {
        let read = Arc::clone(file);
        let hasher = spawn_blocking(move || {
            read.set_len(from)?;
            hash(&read, 0..from, Sha256::new())
        });
        let hasher = hasher.await.map_err(io::Error::other)??;
        Ok(Self { file: Arc::clone(file), at: from, hasher, held: Vec::new(), held_bytes: 0 })
    }

    fn restart(&mut self) {
        (self.at, self.hasher) = (0, Sha256::new());
        (self.held, self.held_bytes) = (Vec::new(), 0);
    }

    fn length(&self) -> u64 {
        self.at + self.held_bytes as u64
    }

    fn hold(&mut self, chunk: Bytes) {
        self.held_bytes += chunk.len();
        self.held.push(chunk);
    }

    /// Writes and hashes the held bytes, on a thread that may wait for the disk. The file ends behind them.
    async fn write(&mut self) -> io::Result<()> {
        let (held, file, at) = (std::mem::take(&mut self.held), Arc::clone(&self.file), self.at);
        let mut hasher = std::mem::take(&mut self.hasher);
        let written = spawn_blocking(move || {
            let mut at = at;
            for chunk in held {
                file.write_all_at(&chunk, at)?;
                hasher.update(&chunk);
                at += chunk.len() as u64;
            }
            // A stream that began again may be shorter than before.
            if file.metadata()?.len() > at {
                file.set_len(at)?;
            }
            Ok((at, hasher))
        });
        (self.at, self.hasher) = written.await.unwrap_or_else(|e| Err(io::Error::other(e)))?;
        self.held_bytes = 0;
        Ok(())
    }
}

/// An ETag that changes with any change of the bytes.
fn strong_etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")).cloned()
}

/// The first byte and the size of the whole, from `bytes 5-9/10` or `bytes 5-9/*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((from.parse().ok()?, total))
}

/// The error without the address: after a redirect it may hold a secret of the server.
fn without_address(error: reqwest::Error) -> String {
    innermost(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_etags_are_read_strictly() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["bytes */10", "5-9/10", "bytes 5/10", "bytes 5-9", "bytes 5-9/x", ""] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
        let of = |etag: &'static str| strong_etag(&HeaderMap::from_iter([(ETAG, HeaderValue::from_static(etag))]));
        assert!(of("\"a\"").is_some() && of("W/\"a\"").is_none());
    }

    #[tokio::test]
    async fn a_stream_that_begins_again_leaves_nothing_of_what_was_before() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut stream = Stream::resume(&file, 0).await.unwrap();
        stream.hold(Bytes::from_static(b"wrong and long"));
        stream.write().await.unwrap();
        stream.restart();
        stream.hold(Bytes::from_static(b"right"));
        stream.write().await.unwrap();
        assert_eq!((stream.at, file.metadata().unwrap().len()), (5, 5));
        let again = Stream::resume(&file, 3).await.unwrap();
        assert_eq!(again.hasher.finalize(), Sha256::digest(b"rig"));
        assert_eq!(stream.hasher.finalize(), Sha256::digest(b"right"));
    }
}
