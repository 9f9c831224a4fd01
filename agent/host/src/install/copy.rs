//! Content from one open file to another: shared blocks where the file system can, else copied in the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::InstallError;
use super::error::host;

/// Up to this size one read and one write are cheaper than a copy in the kernel.
const SMALL: usize = 64 << 10;

/// Most bytes of one copy call, so that a signal or a stop has effect soon.
const PIECE: usize = 64 << 20;

/// Copies files, and remembers which calls these file systems cannot do.
#[derive(Debug)]
pub(super) struct Copier {
    buffer: Vec<u8>,
    can_clone: bool,
    can_copy_in_kernel: bool,
}

impl Default for Copier {
    fn default() -> Self {
        Self { buffer: Vec::new(), can_clone: true, can_copy_in_kernel: true }
    }
}

/// Which side failed.
#[derive(Debug)]
pub(super) enum Failure {
    Reading(Errno),
    Writing(Errno),
    Short,
}

impl Failure {
    pub fn named(self, source: &Path, target: &Path) -> InstallError {
        match self {
            Self::Reading(errno) => InstallError::Source { path: source.to_owned(), source: errno.into() },
            Self::Short => InstallError::Source {
                path: source.to_owned(),
                source: io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was copied"),
            },
            Self::Writing(errno) => host("write", target)(errno),
        }
    }
}

impl Copier {
    /// Copies the whole content; `stat` describes `from`, and `to` is empty.
    pub fn copy(&mut self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<(), Failure> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        if self.can_clone {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::NOSPC | Errno::DQUOT) => return Err(Failure::Writing(Errno::NOSPC)),
                // This pair of file systems cannot; the next file of the bundle most likely has the same pair.
                Err(_) => self.can_clone = false,
            }
        }
        let mut done = 0;
        if self.can_copy_in_kernel && size > SMALL as u64 {
            while done < size {
                let piece = usize::try_from(size - done).unwrap_or(PIECE).min(PIECE);
                match rustix::fs::copy_file_range(from, None, to, None, piece) {
                    Ok(0) => return Err(Failure::Short),
                    Ok(copied) => done += copied as u64,
                    Err(Errno::INTR) => {}
                    Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) if done == 0 => {
                        self.can_copy_in_kernel = false;
                        break;
                    }
                    Err(errno) => return Err(Failure::Writing(errno)),
                }
            }
        }
        self.copy_rest(from, to, size - done)
    }

    fn copy_rest(&mut self, from: &OwnedFd, to: &OwnedFd, mut left: u64) -> Result<(), Failure> {
        self.buffer.resize(SMALL, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(SMALL).min(SMALL);
            let room = self.buffer.get_mut(..most).unwrap_or_default();
            let read = match rustix::io::read(from, room) {
                Ok(0) => return Err(Failure::Short),
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Failure::Reading(errno)),
            };
            let mut rest = self.buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                match rustix::io::write(to, rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(Failure::Writing(errno)),
                }
            }
            left -= read as u64;
        }
        Ok(())
    }
}
