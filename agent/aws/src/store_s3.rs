//! S3 as a store (docs/protocols/rollout.md#conditional-writes), and any object of S3 as a bundle.
//!
//! The store or the SDK retries broken connections, missing answers, 5xx, 503 SlowDown, and 409 of unconditional
//! writes. A bucket in another region is found and reached there.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use hostler_core::config::settings::DownloadSettings;
use hostler_core::limits::Limits;
use hostler_core::store::{
    Condition, Content, DeleteOutcome, ETag, GetOutcome, Key, Listed, PutOutcome, S3Location, Store, StoreError,
    StoreErrorKind,
};
use hostler_core::transfer::Meter;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind, NO_SUCH_BUCKET};

mod bucket;
mod conditions;
mod deadline;
pub(crate) mod download;
mod list;
mod look;
mod object;
mod upload;
mod write;

use bucket::Bucket;
pub use conditions::check_conditions;
use deadline::in_time;
pub use download::{DownloadTarget, Fetched};
pub use look::Look;
pub use object::{Facts, S3Object};

const READ: &str = "read";

/// Tries to read a body that broke off, including the first.
const READS: u32 = 4;

/// A store in a bucket, below a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    prefix: String,
    limits: Arc<Limits>,
    downloads: DownloadSettings,
    /// Counts the bytes of uploads for a user who waits.
    uploaded: Arc<Meter>,
}

impl S3Store {
    /// The store at a place (see [`S3Location::into_store`]). Nothing is asked yet.
    pub fn new(clients: Arc<Clients>, place: S3Location, limits: Arc<Limits>, downloads: DownloadSettings) -> Self {
        let (bucket, uploaded) = (Arc::new(Bucket::new(clients, place.bucket)), Arc::default());
        Self { bucket, prefix: place.key, limits, downloads, uploaded }
    }

    /// The same store, whose uploads are counted there.
    #[must_use]
    pub fn counted_by(self, uploaded: Arc<Meter>) -> Self {
        Self { uploaded, ..self }
    }

    /// Its name: `s3://BUCKET/PREFIX`.
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.bucket.name, self.prefix).trim_end_matches('/').to_owned()
    }

    /// The object with this key.
    pub fn object(&self, key: &Key) -> S3Object {
        let (bucket, limits) = (Arc::clone(&self.bucket), Arc::clone(&self.limits));
        S3Object { bucket, key: self.key(key), version_id: None, limits }
    }

    /// The bucket's actual region, if it is not the configured one.
    pub fn region(&self) -> Option<String> {
        self.bucket.region()
    }

    fn key(&self, key: &Key) -> String {
        if self.prefix.is_empty() { key.to_string() } else { format!("{}/{key}", self.prefix) }
    }

    fn place(&self, key: &Key) -> String {
        format!("s3://{}/{}", self.bucket.name, self.key(key))
    }

    fn failed(&self, operation: &'static str, key: &Key, fault: Fault) -> StoreError {
        store_error(operation, self.place(key), fault)
    }

    async fn get_now(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, StoreError> {
        let mut reads = 0;
        loop {
            reads += 1;
            match self.get_once(key, known, at_most).await {
                Ok(found) => return Ok(found),
                Err(GetError::Broke(_)) if reads < READS => {}
                Err(GetError::Said(fault) | GetError::Broke(fault)) => return Err(self.failed(READ, key, fault)),
                Err(GetError::TooLarge(size)) => {
                    let problem =
                        format!("it has {size} bytes, and at most {at_most} are read; is this the right key?");
                    let (location, kind) = (self.place(key), StoreErrorKind::TooLarge);
                    return Err(StoreError {
                        operation: READ,
                        location,
                        kind,
                        problem,
                        request_ids: Vec::new(),
                        source: None,
                    });
                }
            }
        }
    }

    async fn get_once(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, GetError> {
        let get = async |client: aws_sdk_s3::Client| {
            let get = client.get_object().bucket(&self.bucket.name).key(self.key(key));
            let get = get.set_if_none_match(known.map(|etag| etag.as_str().to_owned()));
            get.send().await.map_err(|e| Fault::of(e, object::READ))
        };
        let answer = match self.bucket.call(get).await {
            Ok(answer) => answer,
            Err(fault) if fault.status == Some(304) => return Ok(GetOutcome::NotModified),
            Err(fault) if fault.kind == FaultKind::Absent && fault.code.as_deref() != Some(NO_SUCH_BUCKET) => {
                return Ok(GetOutcome::NotFound);
            }
            Err(fault) => return Err(GetError::Said(fault)),
        };
        let size = answer.content_length.and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        if size > at_most {
            return Err(GetError::TooLarge(size));
        }
        let etag =
            answer.e_tag.map(ETag::new).ok_or_else(|| GetError::Said(Fault::broken("the answer has no ETag")))?;
        let mut body = answer.body;
        let mut bytes = Vec::with_capacity(size);
        while let Some(chunk) = body.try_next().await.map_err(|e| GetError::Broke(Fault::broken(e)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > at_most {
                return Err(GetError::TooLarge(bytes.len()));
            }
        }
        Ok(GetOutcome::Found { bytes, etag })
    }

    async fn delete_now(&self, key: &Key, known: Option<&ETag>) -> Result<DeleteOutcome, StoreError> {
        // S3 does not say whether there was anything to delete.
        let Some(facts) = self.object(key).facts().await? else { return Ok(DeleteOutcome::NotFound) };
        if known.is_some_and(|etag| *etag != facts.etag) {
            return Ok(DeleteOutcome::PreconditionFailed);
        }
        let delete = async |client: aws_sdk_s3::Client| {
            let delete = client.delete_object().bucket(&self.bucket.name).key(self.key(key));
            let delete = delete.set_if_match(known.map(|etag| etag.as_str().to_owned()));
            delete.send().await.map_err(|e| Fault::of(e, "s3:DeleteObject"))
        };
        match self.bucket.call(delete).await {
            Ok(_) => Ok(DeleteOutcome::Deleted),
            Err(fault) => match fault.kind {
                FaultKind::Absent if fault.code.as_deref() != Some(NO_SUCH_BUCKET) => Ok(DeleteOutcome::NotFound),
                FaultKind::Condition | FaultKind::Conflict => Ok(DeleteOutcome::PreconditionFailed),
                _ => Err(self.failed("delete", key, fault)),
            },
        }
    }
}

/// Why a small object was not read.
enum GetError {
    /// The SDK has tried as often as makes sense.
    Said(Fault),
    /// The body broke off.
    Broke(Fault),
    TooLarge(usize),
}

impl Store for S3Store {
    fn location(&self, key: &Key) -> String {
        self.place(key)
    }

    async fn get(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, StoreError> {
        in_time(READ, || self.place(key), self.get_now(key, known, at_most)).await
    }

    async fn put(&self, key: &Key, bytes: &[u8], condition: Condition<'_>) -> Result<PutOutcome, StoreError> {
        self.put_now(key, bytes, condition).await
    }

    async fn put_file(&self, key: &Key, from: BorrowedFd<'_>, content: &Content) -> Result<PutOutcome, StoreError> {
        let from = from.try_clone_to_owned().map_err(|e| self.failed("create", key, Fault::broken(e)))?;
        self.put_file_now(key, File::from(from), content).await
    }

    async fn download(&self, key: &Key, into: BorrowedFd<'_>, content: &Content) -> Result<(), StoreError> {
        let target = DownloadTarget { file: into, note: None, meter: None };
        self.object(key).download(target, Some(content), &self.downloads).await.map(drop)
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        Ok(self.object(key).facts().await?.map(|facts| facts.size))
    }

    async fn head(&self, key: &Key, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        self.object(key).head(count).await
    }

    async fn list(&self, directory: &Key, prefix: &str, at_most: usize) -> Result<Vec<Listed>, StoreError> {
        in_time("list", || self.place(directory), self.list_now(directory, prefix, at_most)).await
    }

    async fn directories(&self, below: Option<&Key>, at_most: usize) -> Result<Vec<Key>, StoreError> {
        let place = || below.map_or_else(|| self.name(), |key| self.place(key));
        in_time("list", place, self.directories_now(below, at_most)).await
    }

    async fn delete(&self, key: &Key, known: Option<&ETag>) -> Result<DeleteOutcome, StoreError> {
        in_time("delete", || self.place(key), self.delete_now(key, known)).await
    }
}

fn store_error(operation: &'static str, location: String, mut fault: Fault) -> StoreError {
    if fault.code.as_deref() == Some(NO_SUCH_BUCKET)
        && let Ok(place) = location.parse::<S3Location>()
    {
        fault.message = format!("there is no bucket {}", place.bucket);
    }
    let kind = match fault.kind {
        FaultKind::Absent => StoreErrorKind::Absent,
        FaultKind::Denied(_) | FaultKind::NoCredentials => StoreErrorKind::Denied,
        FaultKind::Throttled => StoreErrorKind::Throttled,
        FaultKind::Transient | FaultKind::Conflict | FaultKind::Expired => StoreErrorKind::Transient,
        FaultKind::Condition => StoreErrorKind::Mismatch,
        FaultKind::ClockSkew | FaultKind::Elsewhere(_) | FaultKind::Fatal => StoreErrorKind::Fatal,
    };
    let (problem, request_ids) = (fault.to_string(), fault.request_ids());
    StoreError { operation, location, kind, problem, request_ids, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_not_there_is_named_with_what_to_do() {
        let absent = Fault::without_answer(FaultKind::Absent, "The specified bucket does not exist");
        let fault = Fault { status: Some(404), code: Some(NO_SUCH_BUCKET.to_owned()), ..absent };
        let error = store_error("create", "s3://own-bucket/deploy/revisions/x".to_owned(), fault);
        assert_eq!(error.kind, StoreErrorKind::Absent);
        assert_eq!(
            error.to_string(),
            "cannot create s3://own-bucket/deploy/revisions/x: it does not exist: there is no bucket own-bucket \
             (NoSuchBucket, HTTP 404); make the bucket, or correct its name"
        );
    }
}
