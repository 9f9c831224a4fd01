//! One object of a bucket, whatever its key: its facts, its first bytes, and ranges of it.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::retry::RetryConfig;
use hostler_core::limits::Limits;
use hostler_core::store::{ETag, S3Location, StoreError, StoreErrorKind};

use super::bucket::Bucket;
use super::deadline::in_time;
use super::store_error;
use crate::clients::Clients;
use crate::fault::{Fault, FaultKind, NO_SUCH_BUCKET};

/// The IAM actions of reading. If the caller may not list the bucket, S3 reports a missing object as denied.
pub(super) const READ: &str = "s3:GetObject (and s3:ListBucket, without which S3 calls a missing object denied)";
const READ_VERSION: &str = "s3:GetObjectVersion";
const LOOK_AT: &str = "look at";

/// The facts of an object before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// The tag that pins its content.
    pub etag: ETag,
    /// Its version, if the bucket has versions.
    pub version_id: Option<String>,
}

/// The answer to a request for a range.
pub(super) struct Ranged {
    body: ByteStream,
    wanted: u64,
    offered: Option<u64>,
}

impl Ranged {
    /// Its body, if it has the requested length.
    pub(super) fn body(self) -> Result<ByteStream, Box<Fault>> {
        match self.offered {
            Some(offered) if offered == self.wanted => Ok(self.body),
            offered => Err(Box::new(Fault::broken(format!(
                "asked for {} bytes and offered {}: the server, or a proxy, does not know ranges",
                self.wanted,
                offered.map_or("some".to_owned(), |n| n.to_string())
            )))),
        }
    }
}

/// An object by its place.
#[derive(Debug, Clone)]
pub struct S3Object {
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: String,
    pub(super) version_id: Option<String>,
    pub(super) limits: Arc<Limits>,
}

impl S3Object {
    /// The object at a place. Nothing is asked yet.
    pub fn new(clients: Arc<Clients>, place: S3Location, limits: Arc<Limits>) -> Self {
        let bucket = Arc::new(Bucket::new(clients, place.bucket));
        Self { bucket, key: place.key, version_id: place.version_id, limits }
    }

    /// Its place, for people.
    pub fn location(&self) -> String {
        let (bucket, key) = (self.bucket.name.clone(), self.key.clone());
        S3Location { bucket, key, version_id: self.version_id.clone() }.to_string()
    }

    /// Its size, ETag and version; `None` if there is no such object.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn facts(&self) -> Result<Option<Facts>, StoreError> {
        in_time(LOOK_AT, || self.location(), self.facts_now()).await
    }

    async fn facts_now(&self) -> Result<Option<Facts>, StoreError> {
        let asked = self.bucket.call(async |client| {
            let head = client.head_object().bucket(&self.bucket.name).key(&self.key);
            match head.set_version_id(self.version_id.clone()).send().await {
                Ok(head) => Ok(head),
                Err(error) => Err(self.explained(&client, Fault::of(error, self.action())).await),
            }
        });
        let head = match asked.await {
            Ok(head) => head,
            Err(fault) if fault.kind == FaultKind::Absent => return Ok(None),
            Err(fault) => return Err(self.failed(LOOK_AT, fault)),
        };
        let size = head.content_length.and_then(|n| u64::try_from(n).ok());
        match (size, head.e_tag) {
            (Some(size), Some(etag)) => {
                Ok(Some(Facts { size, etag: ETag::new(etag), version_id: head.version_id.filter(|v| v != "null") }))
            }
            _ => Err(self.wrong(LOOK_AT, StoreErrorKind::Fatal, "the answer has no length or no ETag".to_owned())),
        }
    }

    /// The fault with S3's reason. The answer to a HEAD has no body, so a wrong key, an expired token and a wrong clock
    /// look like a missing permission there, and a request to slow down like a server's fault; the answer to a GET of one
    /// byte tells them apart.
    async fn explained(&self, client: &Client, fault: Fault) -> Fault {
        let unclear = matches!(fault.kind, FaultKind::Denied(_) | FaultKind::Fatal) || fault.status == Some(503);
        if !unclear || fault.code.is_some() || fault.status.is_none() {
            return fault;
        }
        match self.reason(client).await {
            Some(explained) if explained.status == fault.status && explained.code.is_some() => explained,
            _ => fault,
        }
    }

    /// The fault of a GET of one byte, whose answer has S3's reason. One attempt: the HEAD before it had several.
    async fn reason(&self, client: &Client) -> Option<Fault> {
        let get = client.get_object().bucket(&self.bucket.name).key(&self.key).range("bytes=0-0");
        let get = get.set_version_id(self.version_id.clone()).customize();
        let once = Builder::new().retry_config(RetryConfig::disabled());
        get.config_override(once).send().await.err().map(|error| Fault::of(error, self.action()))
    }

    /// The same, for an object that must be there.
    ///
    /// # Errors
    /// [`StoreErrorKind::Absent`] or any error of the store.
    pub async fn must_exist(&self) -> Result<Facts, StoreError> {
        let problem = "there is no such object; push it again, or correct its name";
        match self.facts().await? {
            Some(facts) => Ok(facts),
            // A HEAD does not tell an absent bucket from an absent object.
            None => match self.bucket.call(async |client| Ok(self.reason(&client).await)).await {
                Ok(Some(fault)) if fault.code.as_deref() == Some(NO_SUCH_BUCKET) => Err(self.failed(LOOK_AT, fault)),
                _ => Err(self.wrong("download", StoreErrorKind::Absent, problem.to_owned())),
            },
        }
    }

    /// Its first bytes, at most `count`, and its size; `None` if there is no such object.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn head(&self, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        in_time(LOOK_AT, || self.location(), self.head_now(count)).await
    }

    async fn head_now(&self, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        let Some(facts) = self.facts_now().await? else { return Ok(None) };
        if facts.size == 0 || count == 0 {
            return Ok(Some((Vec::new(), facts.size)));
        }
        let end = facts.size.min(count as u64);
        let read = self.bucket.call(async |client| {
            let mut body = self.range(&client, &facts.etag, 0, end).await?.body().map_err(|fault| *fault)?;
            let mut bytes = Vec::new();
            while let Some(chunk) = body.try_next().await.map_err(Fault::broken)? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        });
        Ok(Some((read.await.map_err(|fault| self.failed(LOOK_AT, fault))?, facts.size)))
    }

    /// The bytes from `from` up to `to`, of exactly the content with this ETag.
    pub(super) async fn range(&self, client: &Client, etag: &ETag, from: u64, to: u64) -> Result<Ranged, Fault> {
        let get = client.get_object().bucket(&self.bucket.name).key(&self.key);
        let get = get.set_version_id(self.version_id.clone()).if_match(etag.as_str());
        let get = get.range(format!("bytes={from}-{}", to - 1));
        let get = async || get.clone().send().await.map_err(|e| Fault::of(e, self.action()));
        let answer = self.bucket.renewing(get).await?;
        let offered = answer.content_length.and_then(|n| u64::try_from(n).ok());
        Ok(Ranged { body: answer.body, wanted: to - from, offered })
    }

    fn action(&self) -> &'static str {
        if self.version_id.is_some() { READ_VERSION } else { READ }
    }

    pub(super) fn failed(&self, operation: &'static str, fault: Fault) -> StoreError {
        store_error(operation, self.location(), fault)
    }

    pub(super) fn wrong(&self, operation: &'static str, kind: StoreErrorKind, problem: String) -> StoreError {
        StoreError { operation, location: self.location(), kind, problem, request_ids: Vec::new(), source: None }
    }
}
