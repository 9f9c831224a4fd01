//! Writes of small objects. Each try is one request, so that the store knows which answers were lost: after a lost
//! answer, our own write may be the reason why a condition does not hold, and the object is read to find out.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use hostler_core::store::{Condition, ETag, GetOutcome, Key, PutOutcome, Store as _, StoreError};

use super::S3Store;
use crate::fault::{Fault, FaultKind};

/// Tries of one write.
const TRIES: u32 = 5;
/// Before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

impl S3Store {
    pub(super) async fn put_now(
        &self,
        key: &Key,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<PutOutcome, StoreError> {
        let body = Bytes::copy_from_slice(bytes);
        let mut unanswered = false;
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=TRIES {
            let fault = match self.put_once(key, body.clone(), condition).await {
                Ok(etag) => return Ok(PutOutcome::Stored(etag)),
                Err(fault) => fault,
            };
            match (&fault.kind, condition) {
                // The bucket is there, but not the object that should match.
                (FaultKind::Absent, Condition::IfMatch(_))
                    if fault.code.as_deref() != Some(crate::fault::NO_SUCH_BUCKET) =>
                {
                    return Ok(PutOutcome::PreconditionFailed);
                }
                (FaultKind::Condition | FaultKind::Conflict, Condition::IfAbsent | Condition::IfMatch(_)) => {
                    return match unanswered {
                        true => self.find_own(key, bytes).await,
                        false => Ok(PutOutcome::PreconditionFailed),
                    };
                }
                (FaultKind::Transient | FaultKind::Throttled | FaultKind::Conflict, _) if attempt < TRIES => {
                    unanswered |= fault.kind == FaultKind::Transient;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                (FaultKind::Transient, _) => {
                    // The stored object decides, if it can be read.
                    return match self.find_own(key, bytes).await {
                        Ok(PutOutcome::Stored(etag)) => Ok(PutOutcome::Stored(etag)),
                        _ => Err(self.failed("write", key, fault)),
                    };
                }
                _ => return Err(self.failed("write", key, fault)),
            }
        }
        Err(self.failed("write", key, Fault::broken("no answer")))
    }

    async fn put_once(&self, key: &Key, body: Bytes, condition: Condition<'_>) -> Result<ETag, Fault> {
        let put = async |client: Client| {
            let put =
                client.put_object().bucket(&self.bucket.name).key(self.key(key)).body(ByteStream::from(body.clone()));
            let put = match condition {
                Condition::None => put,
                Condition::IfAbsent => put.if_none_match("*"),
                Condition::IfMatch(etag) => put.if_match(etag.as_str()),
            };
            let once = Builder::new().retry_config(RetryConfig::disabled());
            let sent = put.customize().config_override(once).send().await;
            let answer = sent.map_err(|e| Fault::of(e, write_action(condition)))?;
            answer.e_tag.map(ETag::new).ok_or_else(|| Fault::broken("the answer has no ETag"))
        };
        self.bucket.call(put).await
    }

    /// Whether the stored document is ours: documents that are swapped hold a counter or nonce, so equal bytes are our
    /// own.
    async fn find_own(&self, key: &Key, bytes: &[u8]) -> Result<PutOutcome, StoreError> {
        match self.get(key, None, bytes.len()).await {
            Ok(GetOutcome::Found { bytes: found, etag }) if found == bytes => Ok(PutOutcome::Stored(etag)),
            Ok(_) => Ok(PutOutcome::PreconditionFailed),
            Err(error) if error.kind == hostler_core::store::StoreErrorKind::TooLarge => {
                Ok(PutOutcome::PreconditionFailed)
            }
            Err(error) => Err(error),
        }
    }
}

/// The IAM actions of a write: a swap reads the ETag that it compares.
pub(super) fn write_action(condition: Condition<'_>) -> &'static str {
    match condition {
        Condition::None | Condition::IfAbsent => "s3:PutObject",
        Condition::IfMatch(_) => "s3:PutObject and s3:GetObject",
    }
}
