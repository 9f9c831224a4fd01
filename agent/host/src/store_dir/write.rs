//! Changes to a directory store: one process at a time, each change in one rename or unlink.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use hostler_core::ids::Sha256Digest;
use hostler_core::store::{Condition, Content, DeleteOutcome, ETag, Key, PutOutcome, StoreError, StoreErrorKind};

use super::{DirectoryStore, copy, digest_of, etag_of, parent_of};
use crate::atomic;

/// The pause between two tries to get the lock. A change takes a few milliseconds, most of them for syncing.
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// Tries before giving up on a holder without progress (stopped, or waiting for a dead file server).
const LOCK_TRIES: u32 = 5_000;

/// A [`Condition`] that can move to another thread.
pub(super) enum OwnedCondition {
    None,
    IfAbsent,
    IfMatch(ETag),
}

impl From<Condition<'_>> for OwnedCondition {
    fn from(condition: Condition<'_>) -> Self {
        match condition {
            Condition::None => Self::None,
            Condition::IfAbsent => Self::IfAbsent,
            Condition::IfMatch(etag) => Self::IfMatch(etag.clone()),
        }
    }
}

/// The right to change the store; released when dropped, or when the process ends in any way.
struct WriteLock {
    _file: File,
}

impl DirectoryStore {
    pub(super) fn put_now(
        &self,
        key: &Key,
        bytes: &[u8],
        condition: &OwnedCondition,
    ) -> Result<PutOutcome, StoreError> {
        let lock = self.write_lock("write", key)?;
        let holds = match condition {
            OwnedCondition::None => true,
            OwnedCondition::IfAbsent => self.open_object("write", key)?.is_none(),
            OwnedCondition::IfMatch(etag) => self.etag_now("write", key)?.as_ref() == Some(etag),
        };
        if !holds {
            return Ok(PutOutcome::PreconditionFailed);
        }
        let path = self.path(key);
        // A fixed name is enough: only the holder of the lock writes it.
        let temporary = self.temporary("put");
        atomic::create_directories(parent_of(&path), 0o755)
            .and_then(|()| atomic::replace_by_way_of(&temporary, &path, bytes, 0o644))
            .map_err(self.failed_step("write", key))?;
        drop(lock);
        Ok(PutOutcome::Stored(etag_of(&Sha256Digest::of(bytes))))
    }

    pub(super) fn put_file_now(&self, key: &Key, from: &File, content: &Content) -> Result<PutOutcome, StoreError> {
        const OPERATION: &str = "create";
        if self.open_object(OPERATION, key)?.is_some() {
            return Ok(PutOutcome::PreconditionFailed);
        }
        let lock = self.write_lock(OPERATION, key)?;
        let (temporary, file) = self.upload_file().map_err(self.failed(OPERATION, key))?;
        // Other processes may write while a big object comes in; its own lock says that a process still works on it.
        drop(lock);
        let written = self.fill(OPERATION, key, from, &file, content).and_then(|()| {
            let _lock = self.write_lock(OPERATION, key)?;
            if self.open_object(OPERATION, key)?.is_some() {
                return Ok(PutOutcome::PreconditionFailed);
            }
            let path = self.path(key);
            atomic::create_directories(parent_of(&path), 0o755)
                .and_then(|()| atomic::put_in_place(&temporary, &path))
                .map_err(self.failed_step(OPERATION, key))?;
            Ok(PutOutcome::Stored(etag_of(&content.sha256)))
        });
        if !matches!(written, Ok(PutOutcome::Stored(_))) {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn fill(
        &self,
        operation: &'static str,
        key: &Key,
        from: &File,
        into: &File,
        content: &Content,
    ) -> Result<(), StoreError> {
        let copied = copy(from, into, content.size).map_err(self.failed(operation, key))?;
        copied.check(content).map_err(|problem| self.wrong(operation, key, StoreErrorKind::Mismatch, problem))?;
        into.sync_all().map_err(self.failed(operation, key))
    }

    pub(super) fn delete_now(&self, key: &Key, known: Option<&ETag>) -> Result<DeleteOutcome, StoreError> {
        let _lock = self.write_lock("delete", key)?;
        let found = match known {
            None => self.open_object("delete", key)?.is_some(),
            Some(known) => match self.etag_now("delete", key)? {
                Some(etag) if etag != *known => return Ok(DeleteOutcome::PreconditionFailed),
                found => found.is_some(),
            },
        };
        if !found {
            return Ok(DeleteOutcome::NotFound);
        }
        let path = self.path(key);
        fs::remove_file(&path).map_err(self.failed("delete", key))?;
        atomic::sync_parent(&path).map_err(self.failed_step("delete", key))?;
        Ok(DeleteOutcome::Deleted)
    }

    fn etag_now(&self, operation: &'static str, key: &Key) -> Result<Option<ETag>, StoreError> {
        let Some((mut file, _)) = self.open_object(operation, key)? else { return Ok(None) };
        let digest = digest_of(&mut file).map_err(self.failed(operation, key))?;
        Ok(Some(etag_of(&digest)))
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.root.join(".hostler/tmp").join(name)
    }

    /// A new file in `tmp`, locked while it is written. The caller holds the write lock, so that no other process takes
    /// it for a leftover between its creation and its lock.
    fn upload_file(&self) -> io::Result<(PathBuf, File)> {
        let mut number = 0u32;
        loop {
            let path = self.temporary(&format!("upload-{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path) {
                Ok(file) => {
                    return match file.try_lock() {
                        Ok(()) => Ok((path, file)),
                        Err(e) => {
                            let _ = fs::remove_file(&path);
                            Err(e.into())
                        }
                    };
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number = number.wrapping_add(1),
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the right to change the store and removes the leftovers of killed writers.
    fn write_lock(&self, operation: &'static str, key: &Key) -> Result<WriteLock, StoreError> {
        let failed = self.failed(operation, key);
        self.make_own_directories().map_err(&failed)?;
        let path = self.root.join(".hostler/lock");
        for _ in 0..LOCK_TRIES {
            let options = &mut OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
            let file = file.map_err(&failed)?;
            match file.try_lock() {
                Ok(()) => {
                    self.remove_leftovers().map_err(&failed)?;
                    return Ok(WriteLock { _file: file });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let problem = format!("another process has held {} for 10 seconds; is it stuck?", path.display());
        Err(self.wrong(operation, key, StoreErrorKind::Transient, problem))
    }

    fn make_own_directories(&self) -> io::Result<()> {
        for name in [".hostler", ".hostler/tmp"] {
            match fs::DirBuilder::new().mode(0o755).create(self.root.join(name)) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(".hostler/tmp"))? {
            let path = entry?.path();
            // A process that still writes it holds its lock. A file that vanished meanwhile is as good as removed.
            let Ok(file) = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}
