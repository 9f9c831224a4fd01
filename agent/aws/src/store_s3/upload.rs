//! Big objects from a file: in parts, created once, with the promised digest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::base64;
use bytes::Bytes;
use hostler_core::ids::Sha256Digest;
use hostler_core::store::{Content, ETag, Key, PutOutcome, StoreError, StoreErrorKind};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::S3Store;
use crate::fault::{Fault, FaultKind};

const ACTION: &str = "s3:PutObject";
const OPERATION: &str = "create";
/// S3's own bound.
const MOST_PARTS: u64 = 10_000;

impl S3Store {
    pub(super) async fn put_file_now(
        &self,
        key: &Key,
        from: File,
        content: &Content,
    ) -> Result<PutOutcome, StoreError> {
        if self.object(key).facts().await?.is_some() {
            return Ok(PutOutcome::PreconditionFailed);
        }
        let from = Arc::new(from);
        self.uploaded.begin(0, content.size);
        if content.size <= self.limits.upload_part_bytes {
            return self.put_whole(key, &from, content).await;
        }
        let client = self.bucket.client_for(self.limits.upload_connections).await;
        let upload = self.begin(&client, key).await?;
        let outcome = match self.parts(&client, key, &upload, &from, content).await {
            Ok(parts) => self.complete(&client, key, &upload, parts).await,
            Err(error) => Err(error),
        };
        if !matches!(outcome, Ok(PutOutcome::Stored(_))) {
            let abort = client.abort_multipart_upload().bucket(&self.bucket.name).key(self.key(key)).upload_id(&upload);
            // Parts left behind cost storage until the bucket's lifecycle rule removes them; only the outcome counts.
            if let Err(error) = abort.send().await {
                let fault = Fault::of(error, "s3:AbortMultipartUpload");
                log::debug!(key = key.as_str(); "an upload that was given up could not be removed: {fault}");
            }
        }
        outcome
    }

    async fn put_whole(&self, key: &Key, from: &Arc<File>, content: &Content) -> Result<PutOutcome, StoreError> {
        let bytes = self.read(key, from, 0, content.size).await?;
        // One more byte would not belong to the promised content.
        if !self.read(key, from, content.size, 1).await?.is_empty() || Sha256Digest::of(&bytes) != content.sha256 {
            return Err(self.changed(key));
        }
        let put = async |client: Client| {
            let put = client.put_object().bucket(&self.bucket.name).key(self.key(key)).if_none_match("*");
            let put = put.checksum_sha256(base64_of(&content.sha256)).body(ByteStream::from(bytes.clone()));
            put.send().await.map_err(|e| Fault::of(e, ACTION))
        };
        match self.bucket.call(put).await {
            Ok(answer) => Ok(PutOutcome::Stored(ETag::new(answer.e_tag.unwrap_or_default()))),
            // Also after a lost answer: the key exists, whatever it holds.
            Err(fault) if matches!(fault.kind, FaultKind::Condition | FaultKind::Conflict) => {
                Ok(PutOutcome::PreconditionFailed)
            }
            Err(fault) => Err(self.failed(OPERATION, key, fault)),
        }
    }

    async fn begin(&self, client: &Client, key: &Key) -> Result<String, StoreError> {
        let create = client.create_multipart_upload().bucket(&self.bucket.name).key(self.key(key));
        let created = create.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await;
        let created = created.map_err(|e| self.failed(OPERATION, key, Fault::of(e, ACTION)))?;
        created.upload_id.ok_or_else(|| self.failed(OPERATION, key, Fault::broken("the answer has no upload id")))
    }

    /// Uploads all parts, a few at a time, and checks the whole digest on the way.
    async fn parts(
        &self,
        client: &Client,
        key: &Key,
        upload: &str,
        from: &Arc<File>,
        content: &Content,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let part_bytes = self.limits.upload_part_bytes.max(content.size.div_ceil(MOST_PARTS));
        let mut hasher = Sha256::new();
        let mut on_the_way = JoinSet::new();
        let mut done = Vec::new();
        let mut offset = 0;
        let mut number = 0;
        while offset < content.size {
            let bytes = self.read(key, from, offset, part_bytes.min(content.size - offset)).await?;
            if bytes.is_empty() {
                return Err(self.changed(key));
            }
            offset += bytes.len() as u64;
            number += 1;
            hasher.update(&bytes);
            if on_the_way.len() >= self.limits.upload_connections {
                done.push(self.arrived(key, on_the_way.join_next().await)?);
            }
            let (meter, size) = (Arc::clone(&self.uploaded), bytes.len() as u64);
            let (client, bucket, key) = (client.clone(), self.bucket.name.clone(), self.key(key));
            let part = upload_part(client, bucket, key, upload.to_owned(), number, bytes);
            on_the_way.spawn(async move {
                let part = part.await;
                meter.add(if part.is_ok() { size } else { 0 });
                part
            });
        }
        while let Some(joined) = on_the_way.join_next().await {
            done.push(self.arrived(key, Some(joined))?);
        }
        let found = Sha256Digest::from_bytes(hasher.finalize().into());
        if found != content.sha256 || !self.read(key, from, content.size, 1).await?.is_empty() {
            return Err(self.changed(key));
        }
        done.sort_by_key(|part| part.part_number);
        Ok(done)
    }

    fn arrived(
        &self,
        key: &Key,
        joined: Option<Result<Result<CompletedPart, Fault>, tokio::task::JoinError>>,
    ) -> Result<CompletedPart, StoreError> {
        let part = match joined {
            Some(Ok(part)) => part,
            Some(Err(error)) => Err(Fault::broken(error)),
            None => Err(Fault::broken("the work was broken off")),
        };
        part.map_err(|fault| self.failed(OPERATION, key, fault))
    }

    async fn complete(
        &self,
        client: &Client,
        key: &Key,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<PutOutcome, StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = client.complete_multipart_upload().bucket(&self.bucket.name).key(self.key(key));
        let sent = complete.upload_id(upload).if_none_match("*").multipart_upload(parts).send().await;
        match sent.map_err(|e| Fault::of(e, ACTION)) {
            Ok(answer) => Ok(PutOutcome::Stored(ETag::new(answer.e_tag.unwrap_or_default()))),
            Err(fault) if matches!(fault.kind, FaultKind::Condition | FaultKind::Conflict) => {
                Ok(PutOutcome::PreconditionFailed)
            }
            Err(fault) => match (&fault.kind, self.object(key).facts().await) {
                // The upload is gone because it was completed, and the answer was lost.
                (FaultKind::Absent | FaultKind::Transient, Ok(Some(facts))) => Ok(PutOutcome::Stored(facts.etag)),
                _ => Err(self.failed(OPERATION, key, fault)),
            },
        }
    }

    /// Up to `count` bytes of the file; fewer only at its end.
    async fn read(&self, key: &Key, from: &Arc<File>, offset: u64, count: u64) -> Result<Bytes, StoreError> {
        let from = Arc::clone(from);
        let read = tokio::task::spawn_blocking(move || read_at(&from, offset, count)).await;
        let read = read.unwrap_or_else(|e| Err(io::Error::other(e)));
        read.map_err(|e| StoreError {
            operation: OPERATION,
            location: self.place(key),
            kind: StoreErrorKind::Fatal,
            problem: "the file that is uploaded cannot be read".to_owned(),
            request_ids: Vec::new(),
            source: Some(e.into()),
        })
    }

    fn changed(&self, key: &Key) -> StoreError {
        let problem = "the file that is uploaded has not the promised size and digest".to_owned();
        StoreError {
            operation: OPERATION,
            location: self.place(key),
            kind: StoreErrorKind::Mismatch,
            problem,
            request_ids: Vec::new(),
            source: None,
        }
    }
}

fn read_at(file: &File, offset: u64, count: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(Bytes::from(bytes))
}

async fn upload_part(
    client: Client,
    bucket: String,
    key: String,
    upload: String,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart, Fault> {
    let digest = base64_of(&Sha256Digest::of(&bytes));
    let part = client.upload_part().bucket(bucket).key(key).upload_id(upload).part_number(number);
    let sent = part.checksum_sha256(&digest).body(ByteStream::from(bytes)).send().await;
    let answer = sent.map_err(|e| Fault::of(e, ACTION))?;
    Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).checksum_sha256(digest).build())
}

fn base64_of(digest: &Sha256Digest) -> String {
    base64::encode(digest.as_bytes())
}
