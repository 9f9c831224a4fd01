//! A directory as a store, with S3's semantics: create once, compare and swap by ETag, conditional read and delete.
//!
//! ```text
//! ROOT/<key>            an object, a plain file; replaced as a whole, never changed in place
//! ROOT/.hostler/lock    flock of the process that changes the store at the moment
//! ROOT/.hostler/tmp/    objects that are being written; no key can name them
//! ```
//!
//! Any number of processes may use it. Reading takes no lock and writes nothing, so it works without write permission.
//! A reader sees an object as it was before a write or as it is after it. The leftovers of a killed writer are in
//! `tmp`, and the next writer removes them. An ETag is the quoted SHA-256 of the content: equal bytes, equal ETag, as
//! in S3.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use hostler_core::ids::Sha256Digest;
use hostler_core::store::{
    Condition, Content, DeleteOutcome, ETag, GetOutcome, Key, Listed, PutOutcome, Store, StoreError, StoreErrorKind,
};
use sha2::{Digest, Sha256};

use crate::atomic::AtomicError;

mod list;
#[cfg(test)]
mod tests;
mod write;

/// A store in a directory of this host (or of a file server with working locks).
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: Arc<PathBuf>,
}

impl DirectoryStore {
    /// Opens a store. The directory must exist: a mistyped path must not become an empty store.
    ///
    /// # Errors
    /// [`StoreErrorKind::Absent`] if it is missing, or why it cannot be looked at.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { root: Arc::new(root.into()) };
        store.check_root()?;
        Ok(store)
    }

    fn check_root(&self) -> Result<(), StoreError> {
        let error = |kind, problem: &str, source: Option<io::Error>| StoreError {
            operation: "use the store",
            location: self.root.display().to_string(),
            kind,
            problem: problem.to_owned(),
            request_ids: Vec::new(),
            source: source.map(Into::into),
        };
        match self.root.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(error(StoreErrorKind::Fatal, "it is not a directory; name the directory of the store", None)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let problem = "the directory does not exist; make it, mount it, or correct the name of the store";
                Err(error(StoreErrorKind::Absent, problem, None))
            }
            Err(e) => Err(error(kind_of(&e), problem_of(&e), Some(e))),
        }
    }

    /// Its name: the directory's absolute path, in one spelling (a shell completes a directory with a slash at its
    /// end).
    pub fn name(&self) -> String {
        let leads_up = self.root.components().any(|component| component == Component::ParentDir);
        // Only the file system knows the target of `..`.
        let real = leads_up.then(|| self.root.canonicalize().ok()).flatten();
        let spelled: PathBuf = real.as_ref().unwrap_or(&self.root).components().collect();
        spelled.display().to_string()
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key of the object at a path; `None` for a path outside of the store, or a path that no key can name.
    pub fn key_of(&self, path: &Path) -> Option<Key> {
        let root = self.root.canonicalize().ok()?;
        path.strip_prefix(root).ok()?.to_str()?.parse().ok()
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn failed<'a>(&'a self, operation: &'static str, key: &'a Key) -> impl Fn(io::Error) -> StoreError + 'a {
        self.failed_at(operation, self.location(key))
    }

    fn failed_at(&self, operation: &'static str, location: String) -> impl Fn(io::Error) -> StoreError + use<> {
        move |e| StoreError {
            operation,
            location: location.clone(),
            kind: kind_of(&e),
            problem: problem_of(&e).to_owned(),
            request_ids: Vec::new(),
            source: Some(e.into()),
        }
    }

    fn failed_step<'a>(&'a self, operation: &'static str, key: &'a Key) -> impl Fn(AtomicError) -> StoreError + 'a {
        move |e| StoreError {
            operation,
            location: self.location(key),
            kind: kind_of(&e.source),
            problem: problem_of(&e.source).to_owned(),
            request_ids: Vec::new(),
            source: Some(e.into()),
        }
    }

    fn wrong(&self, operation: &'static str, key: &Key, kind: StoreErrorKind, problem: String) -> StoreError {
        StoreError { operation, location: self.location(key), kind, problem, request_ids: Vec::new(), source: None }
    }

    /// Opens an object for reading; `None` if there is none. A directory is no object, nor is a path below a file.
    fn open_object(&self, operation: &'static str, key: &Key) -> Result<Option<(File, u64)>, StoreError> {
        let path = self.path(key);
        // Whatever file is there, opening it must not block.
        let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path);
        let found = opened.and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        match found {
            Ok((file, metadata)) if metadata.is_file() => Ok(Some((file, metadata.len()))),
            Ok((_, metadata)) if metadata.is_dir() => Ok(None),
            Ok(_) => {
                let problem = "it is neither file nor directory; remove it".to_owned();
                Err(self.wrong(operation, key, StoreErrorKind::Fatal, problem))
            }
            Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::NotADirectory => {
                self.check_root()?;
                Ok(None)
            }
            Err(e) => Err(self.failed(operation, key)(e)),
        }
    }

    fn get_now(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, StoreError> {
        let Some((file, size)) = self.open_object("read", key)? else { return Ok(GetOutcome::NotFound) };
        let mut bytes = Vec::new();
        if size <= at_most as u64 {
            file.take(at_most as u64 + 1).read_to_end(&mut bytes).map_err(self.failed("read", key))?;
        }
        if size > at_most as u64 || bytes.len() > at_most {
            let problem = format!("it has {size} bytes, and at most {at_most} are read; is this the right key?");
            return Err(self.wrong("read", key, StoreErrorKind::TooLarge, problem));
        }
        let etag = etag_of(&Sha256Digest::of(&bytes));
        Ok(if known == Some(&etag) { GetOutcome::NotModified } else { GetOutcome::Found { bytes, etag } })
    }

    fn download_now(&self, key: &Key, into: &File, content: &Content) -> Result<(), StoreError> {
        const OPERATION: &str = "download";
        let Some((file, size)) = self.open_object(OPERATION, key)? else {
            let problem = "there is no such object; push it again, or correct the release".to_owned();
            return Err(self.wrong(OPERATION, key, StoreErrorKind::Absent, problem));
        };
        // Compared before a byte is copied: a wrong key that names something huge must not fill the disk.
        let found = if size == content.size {
            copy(&file, into, size).map_err(self.failed(OPERATION, key))?
        } else {
            Copied { size, sha256: None }
        };
        found.check(content).map_err(|problem| self.wrong(OPERATION, key, StoreErrorKind::Mismatch, problem))
    }

    fn size_now(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        Ok(self.open_object("look at", key)?.map(|(_, size)| size))
    }

    fn head_now(&self, key: &Key, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        let Some((file, size)) = self.open_object("look at", key)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(count as u64).read_to_end(&mut bytes).map_err(self.failed("look at", key))?;
        Ok(Some((bytes, size)))
    }

    /// Runs file work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &Key,
        work: impl FnOnce(&Self, &Key) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, owned_key) = (self.clone(), key.clone());
        let done = tokio::task::spawn_blocking(move || work(&store, &owned_key)).await;
        done.unwrap_or_else(|e| Err(self.broken_off(operation, self.location(key), e)))
    }

    fn broken_off(&self, operation: &'static str, location: String, error: tokio::task::JoinError) -> StoreError {
        StoreError {
            operation,
            location,
            kind: StoreErrorKind::Transient,
            problem: "the work was broken off".to_owned(),
            request_ids: Vec::new(),
            source: Some(error.into()),
        }
    }
}

impl Store for DirectoryStore {
    fn location(&self, key: &Key) -> String {
        self.path(key).display().to_string()
    }

    async fn get(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, StoreError> {
        let known = known.cloned();
        self.blocking("read", key, move |store, key| store.get_now(key, known.as_ref(), at_most)).await
    }

    async fn put(&self, key: &Key, bytes: &[u8], condition: Condition<'_>) -> Result<PutOutcome, StoreError> {
        let (bytes, condition) = (bytes.to_vec(), write::OwnedCondition::from(condition));
        self.blocking("write", key, move |store, key| store.put_now(key, &bytes, &condition)).await
    }

    async fn put_file(&self, key: &Key, from: BorrowedFd<'_>, content: &Content) -> Result<PutOutcome, StoreError> {
        let from = File::from(from.try_clone_to_owned().map_err(self.failed("create", key))?);
        let content = *content;
        self.blocking("create", key, move |store, key| store.put_file_now(key, &from, &content)).await
    }

    async fn download(&self, key: &Key, into: BorrowedFd<'_>, content: &Content) -> Result<(), StoreError> {
        let into = File::from(into.try_clone_to_owned().map_err(self.failed("download", key))?);
        let content = *content;
        self.blocking("download", key, move |store, key| store.download_now(key, &into, &content)).await
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.blocking("look at", key, Self::size_now).await
    }

    async fn head(&self, key: &Key, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        self.blocking("look at", key, move |store, key| store.head_now(key, count)).await
    }

    async fn list(&self, directory: &Key, prefix: &str, at_most: usize) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking("list", directory, move |store, key| store.list_now(key, &prefix, at_most)).await
    }

    async fn directories(&self, below: Option<&Key>, at_most: usize) -> Result<Vec<Key>, StoreError> {
        let (store, below) = (self.clone(), below.cloned());
        let listed = tokio::task::spawn_blocking(move || store.directories_now(below.as_ref(), at_most)).await;
        listed.unwrap_or_else(|e| Err(self.broken_off("list", self.root.display().to_string(), e)))
    }

    async fn delete(&self, key: &Key, known: Option<&ETag>) -> Result<DeleteOutcome, StoreError> {
        let known = known.cloned();
        self.blocking("delete", key, move |store, key| store.delete_now(key, known.as_ref())).await
    }
}

fn etag_of(digest: &Sha256Digest) -> ETag {
    ETag::new(format!("\"{}\"", digest.hex()))
}

struct Copied {
    size: u64,
    /// `None` where the size alone was wrong already.
    sha256: Option<Sha256Digest>,
}

impl Copied {
    fn check(&self, expected: &Content) -> Result<(), String> {
        if self.size != expected.size {
            return Err(format!("it has {} bytes and should have {}", self.size, expected.size));
        }
        match self.sha256 {
            Some(found) if found != expected.sha256 => {
                Err(format!("its digest is {found} and should be {}", expected.sha256))
            }
            _ => Ok(()),
        }
    }
}

/// Copies at most `at_most` bytes from offset 0 to offset 0, hashing on the way; a longer source shows in the size.
fn copy(from: &File, into: &File, at_most: u64) -> io::Result<Copied> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        let read = match from.read_at(&mut buffer, size) {
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(Copied { size, sha256: Some(Sha256Digest::from_bytes(hasher.finalize().into())) });
        }
        if size + read as u64 > at_most {
            return Ok(Copied { size: from.metadata()?.len().max(size + read as u64), sha256: None });
        }
        hasher.update(chunk);
        into.write_all_at(chunk, size)?;
        size += read as u64;
    }
}

/// The digest of an object of any size.
fn digest_of(file: &mut File) -> io::Result<Sha256Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Sha256Digest::from_bytes(hasher.finalize().into())),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        ErrorKind::NotFound => StoreErrorKind::Absent,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle | ErrorKind::ResourceBusy => StoreErrorKind::Transient,
        _ => StoreErrorKind::Fatal,
    }
}

fn problem_of(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "the user that runs hostler may not do this in the store's directory; give that user access"
        }
        ErrorKind::ReadOnlyFilesystem => "the store is on a read-only file system; publish from where it is writable",
        ErrorKind::NotFound => "a directory on the way vanished; is the store still mounted?",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "no space is left; free some, or move the store",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a file stands where a directory is needed; remove it, or choose other names"
        }
        ErrorKind::IsADirectory => "a directory stands where the object belongs; remove it, or choose other names",
        _ => "the file system refused it",
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
