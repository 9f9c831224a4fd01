//! The source of a file's bytes: the file itself, or its packed form. An offset always counts unpacked bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use hostler_core::logs::identity::{HEAD_BYTES, TRAIL_BYTES};
use hostler_core::logs::rotation::Found;

use super::packed::Packed;
use crate::safe_path::{Opener, Purpose};

/// The file system's facts about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub device: u64,
    pub inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not say.
    pub born_ns: u64,
    pub size: u64,
    pub changed_ns: u64,
    pub links: u64,
    pub is_file: bool,
}

impl Facts {
    /// The facts of the file at a path, following links.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match statx(CWD, path, AtFlags::empty(), flags) {
            Ok(found) => Ok(Self::of_statx(&found)),
            Err(rustix::io::Errno::NOSYS) => Ok(Self::of_metadata(&std::fs::metadata(path)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// The facts of an open file.
    pub fn of_file(file: &File) -> io::Result<Self> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match statx(file, "", AtFlags::EMPTY_PATH, flags) {
            Ok(found) => Ok(Self::of_statx(&found)),
            Err(rustix::io::Errno::NOSYS) => Ok(Self::of_metadata(&file.metadata()?)),
            Err(error) => Err(error.into()),
        }
    }

    fn of_statx(found: &rustix::fs::Statx) -> Self {
        let nanoseconds = |seconds: i64, rest: u32| {
            u64::try_from(seconds).map_or(0, |seconds| seconds.saturating_mul(1_000_000_000) + u64::from(rest))
        };
        let has_birth = found.stx_mask & rustix::fs::StatxFlags::BTIME.bits() != 0;
        Self {
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            born_ns: if has_birth { nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec) } else { 0 },
            size: found.stx_size,
            changed_ns: nanoseconds(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            links: u64::from(found.stx_nlink),
            is_file: u32::from(found.stx_mode) & nix::libc::S_IFMT == nix::libc::S_IFREG,
        }
    }

    /// Kernels before 4.11 have no time of birth.
    fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born_ns: 0,
            size: metadata.size(),
            changed_ns: seconds.saturating_mul(1_000_000_000) + u64::try_from(metadata.mtime_nsec()).unwrap_or(0),
            links: metadata.nlink(),
            is_file: metadata.is_file(),
        }
    }
}

/// Opens a file for reading, as the path rule allows; never waits for a pipe's writer.
pub(super) fn open(opener: &Opener, path: &Path) -> io::Result<File> {
    opener.open(path, Purpose::Shipping)
}

/// The source of a file's bytes.
pub(super) enum LogReader {
    /// Nothing is open; the path and the identity lead to it.
    Closed,
    /// The file, whatever its name is now.
    Plain(File),
    /// A packed copy.
    Packed(Packed),
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("Closed"),
            Self::Plain(file) => f.debug_tuple("Plain").field(file).finish(),
            Self::Packed(packed) => f.debug_tuple("Packed").field(packed).finish(),
        }
    }
}

impl LogReader {
    /// Reads at an offset until the buffer is full or nothing comes any more.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Closed => Err(io::ErrorKind::NotFound.into()),
            Self::Plain(file) => read_full(buffer, |rest, done| file.read_at(rest, offset + done)),
            Self::Packed(packed) => packed.read_at(buffer, offset),
        }
    }
}

fn read_full(buffer: &mut [u8], mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read(&mut buffer[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The bytes of a file that identify it.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub head: Vec<u8>,
    pub before: Vec<u8>,
}

impl Sample {
    /// Reads the first bytes and those before an offset.
    pub fn read(reader: &mut LogReader, offset: u64) -> io::Result<Self> {
        let mut head = vec![0; HEAD_BYTES];
        let count = reader.read_at(&mut head, 0)?;
        head.truncate(count);
        let start = offset.saturating_sub(TRAIL_BYTES as u64);
        let mut before = vec![0; usize::try_from(offset - start).unwrap_or(0)];
        let count = reader.read_at(&mut before, start)?;
        before.truncate(count);
        Ok(Self { head, before })
    }

    /// With the file's facts, in the form that the comparison needs. `before` counts only if it is complete.
    pub fn found(&self, facts: &Facts, size: u64) -> Found<'_> {
        Found {
            device: facts.device,
            inode: facts.inode,
            born_ns: facts.born_ns,
            size,
            head: &self.head,
            before: &self.before,
        }
    }
}
