//! The interface of a store: named objects with conditional writes, as in S3. Two implementations share it, a directory
//! and S3, and no caller can tell them apart.
//!
//! Facts (docs/protocols/rollout.md#conditional-writes): a write of one key is atomic. `If-None-Match: *` creates once,
//! `If-Match` swaps, and a failed condition changes nothing. The same bytes have the same ETag, so a caller that swaps
//! puts a counter or nonce into the object. A write whose answer was lost may have happened.

use std::fmt;
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{GroupKey, InvalidId, Sha256Digest};

mod layout;
mod location;
mod s3_location;
#[cfg(test)]
mod tests;

pub use layout::{
    PastRelease, history_key, host_key, hosts_key, label_key, labels_key, once_key, past_release_key,
    past_releases_key, plan_key, proposal_key, release_key, report_key, revision_key, revisions_key,
    signing_policy_key, unhealthy_key,
};
pub use location::{HttpsLocation, InvalidLocation, Location, rewritten, without_secrets};
pub use s3_location::{InvalidS3Location, S3Location};

/// The name of an object, below the store's own prefix: components joined by `/`, safe as S3 key and as relative path.
///
/// At most 900 bytes (S3 allows 1,024 with its prefix); a component has 1 to 200 bytes of letters, digits and
/// `._+=,@:-`, and does not begin with a dot (those names are the directory store's own).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_key(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 900 {
        return Err("must have 1 to 900 bytes");
    }
    for component in text.split('/') {
        if component.is_empty() {
            return Err("must not begin or end with a slash nor hold two in a row");
        }
        if component.len() > 200 {
            return Err("must have at most 200 bytes between two slashes");
        }
        if component.starts_with('.') {
            return Err("must not have a part that begins with a dot");
        }
        if !component.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+=,@:-".contains(&b)) {
            return Err("may hold only letters, digits and . _ + = , @ : - between slashes");
        }
    }
    Ok(())
}

impl FromStr for Key {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match check_key(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(problem) => Err(InvalidId { kind: "store key", text: text.to_owned(), problem }),
        }
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A store's tag for an object's content: equal for equal bytes, opaque otherwise; with the quotes of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

impl ETag {
    /// An ETag exactly as the store wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The condition of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing: the last writer wins.
    None,
    /// The object does not exist (`If-None-Match: *`): create once.
    IfAbsent,
    /// The object exists with this ETag (`If-Match`): compare and swap.
    IfMatch(&'a ETag),
}

/// The result of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is stored and has this ETag.
    Stored(ETag),
    /// The condition failed and nothing was written. Also when the object to match is gone, and when the store could
    /// not decide a race: read again, then decide again.
    PreconditionFailed,
}

/// The result of a conditional read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetOutcome {
    /// The object does not exist; the store itself does.
    NotFound,
    /// The object still has the ETag that the caller knows.
    NotModified,
    /// The object.
    Found {
        /// Its whole content.
        bytes: Vec<u8>,
        /// Its ETag.
        etag: ETag,
    },
}

/// The result of a conditional delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It is gone now.
    Deleted,
    /// The object did not exist.
    NotFound,
    /// It has another ETag and is still there.
    PreconditionFailed,
}

/// The required size and digest of a big object, known before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Length in bytes.
    pub size: u64,
    /// Digest of all bytes.
    pub sha256: Sha256Digest,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock; `None` if the store does not say.
    pub modified: Option<Timestamp>,
}

/// The kind of a failure: decides whether to try again, and how to report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store refuses this caller; an administrator must change permissions.
    Denied,
    /// The store, or an object that must exist, does not exist.
    Absent,
    /// The object is larger than the caller allows.
    TooLarge,
    /// Size or digest differs from the expected one.
    Mismatch,
    /// There is no space left for the object.
    Full,
    /// The store asks for fewer requests.
    Throttled,
    /// It may work in a moment: network, timeouts, another writer that holds the lock.
    Transient,
    /// A retry does not help.
    Fatal,
}

impl StoreErrorKind {
    /// Whether the same request may succeed later without any change except free space.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Full | Self::Throttled | Self::Transient)
    }
}

/// A request that a store did not execute.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {location}: {problem}")]
pub struct StoreError {
    /// The attempted operation: "read", "write", "create" …
    pub operation: &'static str,
    /// The store and key, as one place for users.
    pub location: String,
    /// The kind, for retry and for the exit code.
    pub kind: StoreErrorKind,
    /// The problem, and the remedy if known.
    pub problem: String,
    /// The parts of `problem` that differ with each request: the ids that AWS's support asks for.
    pub request_ids: Vec<String>,
    /// The underlying error, if any.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Objects with conditional writes. Every method may be repeated after an error: a write that did happen then shows as
/// a failed condition, and the caller finds its own nonce when it reads.
///
/// File handles are borrowed descriptors, so that core names them and cannot act on them; positions are explicit
/// offsets from 0 (S3 downloads ranges in parallel), never the descriptor's own position.
pub trait Store: Send + Sync {
    /// The place of an object for users: `s3://bucket/prefix/key` or a path.
    fn location(&self, key: &Key) -> String;

    /// Reads a small object whole, unless it still has the ETag that the caller knows.
    ///
    /// # Errors
    /// [`StoreErrorKind::TooLarge`] if it has more than `at_most` bytes, [`StoreErrorKind::Absent`] if the store itself
    /// is missing, or any error of the store.
    fn get(
        &self,
        key: &Key,
        known: Option<&ETag>,
        at_most: usize,
    ) -> impl Future<Output = Result<GetOutcome, StoreError>> + Send;

    /// Writes a small object if the condition holds; readers see either the old bytes or all of the new ones.
    ///
    /// # Errors
    /// Any error of the store; the write may have happened nevertheless.
    fn put(
        &self,
        key: &Key,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> impl Future<Output = Result<PutOutcome, StoreError>> + Send;

    /// Creates an object from a file, once: [`PutOutcome::PreconditionFailed`] if the key exists, with any content.
    ///
    /// # Errors
    /// [`StoreErrorKind::Mismatch`] if the file differs from `content` (nothing is stored then), or any error of the
    /// store.
    fn put_file(
        &self,
        key: &Key,
        from: BorrowedFd<'_>,
        content: &Content,
    ) -> impl Future<Output = Result<PutOutcome, StoreError>> + Send;

    /// Writes an object into an empty file and checks size and digest on the way. The bytes are not yet synced. After
    /// an error the file's content is undefined, and the caller deletes it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Absent`], [`StoreErrorKind::Mismatch`], or any error of the store.
    fn download(
        &self,
        key: &Key,
        into: BorrowedFd<'_>,
        content: &Content,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The size of an object in bytes; `None` if it does not exist.
    ///
    /// # Errors
    /// Any error of the store.
    fn size(&self, key: &Key) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// The first bytes of an object, at most `count` of them, and its size in bytes; `None` if it does not exist.
    ///
    /// # Errors
    /// Any error of the store.
    fn head(&self, key: &Key, count: usize) -> impl Future<Output = Result<Option<(Vec<u8>, u64)>, StoreError>> + Send;

    /// The objects whose keys are `directory`, a slash and a name that begins with `prefix`, in the order of their
    /// keys, at most `at_most` of them.
    ///
    /// # Errors
    /// Any error of the store.
    fn list(
        &self,
        directory: &Key,
        prefix: &str,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Listed>, StoreError>> + Send;

    /// The keys one level below `below`, or at the top of the store, that have objects below them; in order, at most
    /// `at_most` of them. A directory of a file system may be empty.
    ///
    /// # Errors
    /// Any error of the store.
    fn directories(
        &self,
        below: Option<&Key>,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Key>, StoreError>> + Send;

    /// Deletes an object if it has this ETag, or with any content if no ETag is given.
    ///
    /// # Errors
    /// Any error of the store; the object may be gone nevertheless.
    fn delete(&self, key: &Key, known: Option<&ETag>)
    -> impl Future<Output = Result<DeleteOutcome, StoreError>> + Send;
}
