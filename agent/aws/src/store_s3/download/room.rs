//! Reserves disk space before a download begins, so that the disk does not fill up half-way.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use hostler_core::store::{StoreError, StoreErrorKind};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Shortage {
    #[error(
        "{} needs {needed} bytes and {free} are free on its file system; make room, or move the state directory",
        path.display()
    )]
    Full { path: PathBuf, needed: u64, free: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes the file `size` bytes long and reserves the disk space for it.
pub(crate) fn reserve(file: &File, size: u64) -> Result<(), Shortage> {
    take(file, size, FallocateFlags::empty())?;
    Ok(file.set_len(size)?)
}

/// Reserves disk space for `size` bytes and leaves the file's length as it is.
pub(crate) fn reserve_behind(file: &File, size: u64) -> Result<(), Shortage> {
    take(file, size, FallocateFlags::FALLOC_FL_KEEP_SIZE)
}

fn take(file: &File, size: u64, flags: FallocateFlags) -> Result<(), Shortage> {
    if size == 0 {
        return Ok(());
    }
    let length = i64::try_from(size).map_err(io::Error::other)?;
    loop {
        match fallocate(file, flags, 0, length) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => return Err(full(file, size)?),
            // Some file systems cannot reserve space; then the free space has to do as an answer.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                let taken = file.metadata()?.len();
                if free(file)? < size.saturating_sub(taken) {
                    return Err(full(file, size)?);
                }
                return Ok(());
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

fn full(file: &File, needed: u64) -> io::Result<Shortage> {
    // Gives the reserved space back, so that the figure is the one that people see.
    let _ = file.set_len(0);
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    Ok(Shortage::Full { path, needed, free: free(file)? })
}

fn free(file: &File) -> io::Result<u64> {
    let found = nix::sys::statvfs::fstatvfs(file)?;
    Ok(found.blocks_available() * found.fragment_size())
}

impl Shortage {
    /// The shortage as a download's error.
    pub(crate) fn of_download(self, operation: &'static str, location: String) -> StoreError {
        match self {
            Self::Full { .. } => {
                let (kind, problem) = (StoreErrorKind::Full, self.to_string());
                StoreError { operation, location, kind, problem, request_ids: Vec::new(), source: None }
            }
            Self::Io(error) => not_written(operation, location, error),
        }
    }
}

/// The download's error when its file cannot be written.
pub(crate) fn not_written(operation: &'static str, location: String, error: io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ => StoreErrorKind::Fatal,
    };
    let problem = "the file that it goes to cannot be written".to_owned();
    StoreError { operation, location, kind, problem, request_ids: Vec::new(), source: Some(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_before_and_a_shortage_names_path_and_figures() {
        let file = tempfile::NamedTempFile::new().unwrap();
        reserve_behind(file.as_file(), 100_000).unwrap();
        assert_eq!(file.as_file().metadata().unwrap().len(), 0);
        reserve(file.as_file(), 100_000).unwrap();
        assert_eq!(file.as_file().metadata().unwrap().len(), 100_000);
        let text = reserve(file.as_file(), 1 << 60).unwrap_err().to_string();
        assert!(text.contains(file.path().to_str().unwrap()) && text.contains("are free"), "{text}");
        assert_eq!(file.as_file().metadata().unwrap().len(), 0);
    }
}
