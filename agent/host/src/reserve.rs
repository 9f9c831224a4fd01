//! Reserved space on the state directory's disk, which a rollback frees when it finds that disk full. A rollback writes
//! little, but without that space a stopped application could not be started again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

use crate::atomic;

/// Reserved inodes, each with a part of the bytes: a rollback makes its directory, its journal, and a run directory
/// with some files for each script.
const FILES: u32 = 128;

/// Bytes of one of the files.
const FILE_BYTES: u32 = 16 << 10;

/// Bytes that are set aside.
pub const RESERVE_BYTES: u64 = FILES as u64 * FILE_BYTES as u64;

/// The disk space reserved in one state directory. It has one writer at a time: the process that holds the state.
#[derive(Debug)]
pub struct Reserve {
    directory: PathBuf,
}

impl Reserve {
    /// The reserve of a state directory.
    pub fn of(state_directory: &Path) -> Self {
        Self { directory: state_directory.join("reserve") }
    }

    /// Reserves the space, unless it is reserved already, and leaves as much for the deployment itself, which writes
    /// the same. If there is no space for both, an earlier reserve stays.
    ///
    /// # Errors
    /// The disk is full, or cannot be written.
    pub fn fill(&self) -> io::Result<()> {
        let is_whole = (0..FILES).all(|number| is_whole(&self.directory.join(number.to_string())));
        // Checked first, so that it never takes space that another group's rollback has just got.
        if !has_times(self.state_directory(), if is_whole { 1 } else { 2 })? {
            return Err(Errno::ENOSPC.into());
        }
        if is_whole {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let filled = (0..FILES).try_for_each(|number| fill(&self.directory.join(number.to_string())));
        if filled.is_err() {
            // The caller gets the first error; the next try uses the leftovers.
            let _ = fs::remove_dir_all(&self.directory);
        }
        filled
    }

    fn state_directory(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    /// Frees the space if the disk has little more than that; returns whether it did.
    ///
    /// # Errors
    /// The disk cannot be asked, or the room cannot be given back.
    pub fn give_up_if_needed(&self) -> io::Result<bool> {
        let state_directory = self.state_directory();
        if has_room(state_directory)? {
            return Ok(false);
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            removed => removed?,
        }
        // Some file systems reuse freed blocks only once the freeing is on disk.
        atomic::sync_file_system(state_directory).map_err(|error| error.source)?;
        Ok(true)
    }
}

/// Whether a file system has room for the files that a rollback writes, without the reserved space.
///
/// # Errors
/// The file system cannot be asked.
pub fn has_room(below: &Path) -> io::Result<bool> {
    has_times(below, 2)
}

/// Whether a file system has so many times the reserved space.
fn has_times(below: &Path, times: u64) -> io::Result<bool> {
    let found = statvfs(below)?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    // File systems that make inodes on demand report none.
    let inodes = found.files() == 0 || found.files_available() >= u64::from(FILES) * times;
    Ok(free >= RESERVE_BYTES * times && inodes)
}

/// Whether an error says that there is no space, on the disk or in the user's quota.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn is_whole(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == u64::from(FILE_BYTES))
}

fn fill(path: &Path) -> io::Result<()> {
    if is_whole(path) {
        return Ok(());
    }
    let options = &mut OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file: File = options.open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, i64::from(FILE_BYTES)) {
        // If the file system cannot reserve space without writing.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => file.write_all(&[0; FILE_BYTES as usize]),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(directory: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(directory.join("reserve")).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().unwrap().blocks() * 512).sum()
    }

    #[test]
    fn the_room_is_really_taken_once_and_a_damaged_part_is_made_again() {
        let state = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(state.path());
        for _ in 0..2 {
            reserve.fill().unwrap();
            assert!(bytes(state.path()) >= RESERVE_BYTES, "{}", bytes(state.path()));
        }
        fs::write(state.path().join("reserve/7"), "short").unwrap();
        reserve.fill().unwrap();
        assert!(bytes(state.path()) >= RESERVE_BYTES);
    }

    #[test]
    fn a_disk_with_room_keeps_it() {
        let state = tempfile::tempdir().unwrap();
        if !has_room(state.path()).unwrap() {
            return;
        }
        let reserve = Reserve::of(state.path());
        reserve.fill().unwrap();
        assert!(!reserve.give_up_if_needed().unwrap());
        assert!(bytes(state.path()) >= RESERVE_BYTES);
    }

    /// Two groups are rolled back on a full disk: the room that the first one was given is not set aside again while
    /// that one has not used it yet.
    #[test]
    fn room_that_was_given_up_for_one_rollback_is_not_taken_back_by_the_next_preparation() {
        let parent = tempfile::tempdir().unwrap();
        let size = 4 * RESERVE_BYTES;
        let Some(_mounted) = crate::install::tests::mounts::Mounted::memory(parent.path(), size as usize) else {
            return;
        };
        let reserve = Reserve::of(parent.path());
        reserve.fill().unwrap();
        let filled = fill_up(&parent.path().join("application"));
        assert!(reserve.give_up_if_needed().unwrap(), "{filled} bytes filled the disk");
        let given = statvfs(parent.path()).unwrap();
        let refused = reserve.fill().unwrap_err();
        assert!(is_full(&refused), "{refused}");
        let after = statvfs(parent.path()).unwrap();
        assert_eq!(after.blocks_available(), given.blocks_available());
        assert!(!parent.path().join("reserve").exists());
    }

    /// Writes until the disk is full; how much.
    fn fill_up(path: &Path) -> u64 {
        let mut file = File::create(path).unwrap();
        let mut written = 0;
        while file.write_all(&[0; 4096]).is_ok() {
            written += 4096;
        }
        written
    }
}
