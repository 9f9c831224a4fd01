//! The agent's persisted state: one file of two preallocated, checksummed slots, written in turn.
//!
//! ```text
//! STATE/ledger    slot 0 | slot 1          each: 64 bytes of header, room for Limits::ledger_bytes, filled up to 4 KiB blocks
//! header          magic (8) version (4) room (4) generation (8) length (8) SHA-256 of these 32 bytes and the state (32)
//! STATE/lock      flock of the process that may write; holds its pid, for people
//! ```
//!
//! Numbers are little-endian. This frame is the same in every version; `version` is the version of the content. A file
//! keeps the size of its slots, even if a newer agent makes new files larger.
//!
//! * A state that [`Ledger::persist`] acknowledged is read back after `kill -9` and power loss; a state that was being
//!   written is there as a whole or not at all.
//! * A full disk does not stop it: the slots are written with zeros when the file is made and only overwritten later.
//! * It never starts afresh over a damaged file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hostler_core::limits::Limits;
use sha2::{Digest, Sha256};

use crate::atomic::{self, AtomicError};
use crate::perms::passage;

mod lock;
#[cfg(test)]
mod tests;

pub use lock::{StateLock, is_held};

const MAGIC: &[u8; 8] = b"hostlerL";
/// The version of the content that this agent reads and writes.
pub const LEDGER_VERSION: u32 = 1;
const HEADER: usize = 64;
const CHECKED_HEADER: usize = 32;
const BLOCK: usize = 4096;

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process works with the state.
    #[error("{} is locked by {holder}; ask that process, or stop it first", path.display())]
    LockHeld {
        /// The lock file.
        path: PathBuf,
        /// "process 123", or "another process" when the lock file does not say.
        holder: String,
    },
    /// The system refused a step.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// The attempted step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file could not be made.
    #[error("cannot make the ledger")]
    Create(#[from] AtomicError),
    /// Neither slot holds a state.
    #[error(
        "{} is damaged: slot 0 {first}, slot 1 {second}; restore the file from a backup, or move it away to start \
         without a memory of what is installed (the history beside it stays)",
        path.display()
    )]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// The damage of the first slot.
        first: Damage,
        /// The damage of the second slot.
        second: Damage,
    },
    /// Another version of the agent wrote it.
    #[error(
        "{} has version {found} and this agent reads version {LEDGER_VERSION}; run the version of hostler that wrote \
         it, or a newer one",
        path.display()
    )]
    Version {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The state outgrew its slot. Nothing was written.
    #[error("the state has {bytes} bytes and {} has room for {room}; this is a fault in hostler, please report it", path.display())]
    TooLarge {
        /// The ledger.
        path: PathBuf,
        /// The size of the state.
        bytes: usize,
        /// The room in a slot.
        room: usize,
    },
}

/// The kinds of damage of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It does not begin as a slot does.
    NotASlot,
    /// It was cut off, or its length cannot be.
    Cut,
    /// Header or state changed after it was written, or was written in part.
    Checksum,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotASlot => f.write_str("holds something else"),
            Self::Cut => f.write_str("is cut off"),
            Self::Checksum => f.write_str("does not match its checksum"),
        }
    }
}

/// A state as it was persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Rises by one with each persisted state, from 1.
    pub generation: u64,
    /// The state; empty in a ledger that was just made.
    pub state: Vec<u8>,
    /// Bytes that a state may have in this ledger.
    pub room: usize,
}

/// The open ledger. It owns the lock, so it is the only writer of the state directory.
#[derive(Debug)]
pub struct Ledger {
    lock: StateLock,
    file: File,
    path: PathBuf,
    current: Snapshot,
    /// The slot that `current` is in; the other one is written next.
    slot: usize,
    syncs: u64,
}

impl Ledger {
    /// Takes the lock of the state directory and reads the newest state. Makes directory and file if they are missing.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn open(directory: &Path, limits: &Limits) -> Result<Self, LedgerError> {
        // Hooks run as other users and pass through to the deployments below it.
        passage::make_passable(directory)?;
        let lock = StateLock::acquire(directory)?;
        let path = directory.join("ledger");
        let file = match open_file(&path, true) {
            Err(LedgerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(&path, limits.ledger_bytes)?;
                open_file(&path, true)?
            }
            opened => opened?,
        };
        let Found { slot, snapshot: current, .. } = newest(&file, &path, limits)?.of_version(&path)?;
        Ok(Self { lock, file, path, current, slot, syncs: 0 })
    }

    /// The newest persisted state.
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    /// The lock, as witness for the other files of the state directory.
    pub fn lock(&self) -> &StateLock {
        &self.lock
    }

    /// Bytes that a state may have.
    pub fn room(&self) -> usize {
        self.current.room
    }

    /// Persists a state: on `Ok` it survives power loss. One write and one `fdatasync`.
    ///
    /// # Errors
    /// It does not fit, or the disk failed. The previous state stays the current one; the disk has that state or, after
    /// a failed sync, possibly the new one.
    pub fn persist(&mut self, state: &[u8]) -> Result<(), LedgerError> {
        let room = self.room();
        if state.len() > room {
            return Err(LedgerError::TooLarge { path: self.path.clone(), bytes: state.len(), room });
        }
        let generation = self.current.generation.saturating_add(1);
        let slot = 1 - self.slot;
        let frame = frame(generation, state, room);
        let failed = |step| {
            let path = self.path.clone();
            move |source| LedgerError::Io { step, path, source }
        };
        self.file.write_all_at(&frame, slot_offset(slot, room)).map_err(failed("write"))?;
        self.syncs += 1;
        atomic::sync(&self.file, File::sync_data).map_err(failed("sync"))?;
        self.current = Snapshot { generation, state: state.to_vec(), room };
        self.slot = slot;
        Ok(())
    }

    /// How often this process has asked the disk to sync the ledger: the price of its promises, for metrics.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }
}

/// When the ledger was last written, by the clock of its file system; `None` if this process may not read it, and where
/// there is none.
pub fn written(directory: &Path) -> Option<SystemTime> {
    open_file(&directory.join("ledger"), false).ok()?.metadata().ok()?.modified().ok()
}

/// Reads the newest state without the lock, for commands that only show it. `None` when there is no ledger.
///
/// A writer may be at work: the returned state was acknowledged or was just being persisted.
///
/// # Errors
/// See [`LedgerError`].
pub fn peek(directory: &Path, limits: &Limits) -> Result<Option<Snapshot>, LedgerError> {
    // A slot that is being written looks damaged. The next read finds it finished, or finds the other slot.
    const READS: usize = 20;
    let path = directory.join("ledger");
    let file = match open_file(&path, false) {
        Err(LedgerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut read = newest(&file, &path, limits);
    for _ in 1..READS {
        match &read {
            Ok(found) if found.other_is_good => break,
            Err(LedgerError::Io { .. }) => break,
            _ => read = newest(&file, &path, limits),
        }
    }
    Ok(Some(read?.of_version(&path)?.snapshot))
}

fn open_file(path: &Path, write: bool) -> Result<File, LedgerError> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| LedgerError::Io { step: "open", path: path.to_owned(), source })
}

/// Makes the file as a whole, so that a file with two unreadable slots always means damage and never a beginning. Zeros
/// are written and not just reserved: blocks that were never written need space again on their first write.
fn create(path: &Path, room: usize) -> Result<(), LedgerError> {
    let mut file = vec![0; 2 * slot_bytes(room)];
    for (slot, generation) in [(0, 0), (1, 1)] {
        let start = slot * slot_bytes(room);
        let frame = frame(generation, b"", room);
        if let Some(place) = file.get_mut(start..start + frame.len()) {
            place.copy_from_slice(&frame);
        }
    }
    Ok(atomic::replace(path, &file, 0o600)?)
}

/// Whole blocks, so that a write of one slot that goes wrong in the device never touches the other.
fn slot_bytes(room: usize) -> usize {
    (HEADER + room).next_multiple_of(BLOCK)
}

fn slot_offset(slot: usize, room: usize) -> u64 {
    (slot as u64) * (slot_bytes(room) as u64)
}

fn frame(generation: u64, state: &[u8], room: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + state.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&LEDGER_VERSION.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(room).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&generation.to_le_bytes());
    frame.extend_from_slice(&(state.len() as u64).to_le_bytes());
    let checksum = Sha256::new().chain_update(&frame).chain_update(state).finalize();
    frame.extend_from_slice(&checksum);
    frame.extend_from_slice(state);
    frame
}

struct Slot {
    version: u32,
    snapshot: Snapshot,
}

struct Found {
    slot: usize,
    version: u32,
    snapshot: Snapshot,
    other_is_good: bool,
}

impl Found {
    fn of_version(self, path: &Path) -> Result<Self, LedgerError> {
        if self.version != LEDGER_VERSION {
            return Err(LedgerError::Version { path: path.to_owned(), found: self.version });
        }
        Ok(self)
    }
}

/// Header and state of a slot of a room that no file of hostler has had are not looked for.
const MOST_ROOM: usize = 64 << 20;

fn newest(file: &File, path: &Path, limits: &Limits) -> Result<Found, LedgerError> {
    let failed = |source| LedgerError::Io { step: "read", path: path.to_owned(), source };
    let read = |offset| read_slot(file, offset).map_err(failed);
    let first = read(0)?;
    // The second slot begins where the first one's room ends. If the first slot is damaged, half of the file's length
    // says where, and so does the room of new files, should the length have changed too.
    let half = file.metadata().map_err(failed)?.len() / 2;
    let usual = slot_offset(1, limits.ledger_bytes);
    let mut second = Err(Damage::NotASlot);
    let mut offsets = match &first {
        Ok(slot) => vec![slot_offset(1, slot.snapshot.room)],
        Err(_) => vec![half, usual],
    };
    offsets.dedup();
    for offset in offsets {
        let found = read(offset)?.and_then(|slot| {
            // A slot counts only at the offset that its own room gives.
            if slot_offset(1, slot.snapshot.room) == offset { Ok(slot) } else { Err(Damage::NotASlot) }
        });
        if second.is_err() && found.as_ref().err() != Some(&Damage::NotASlot) {
            second = found;
        }
    }
    let found = |slot, chosen: Slot, other_is_good| {
        let Slot { version, snapshot } = chosen;
        Found { slot, version, snapshot, other_is_good }
    };
    match (first, second) {
        (Ok(first), Ok(second)) if first.snapshot.generation > second.snapshot.generation => Ok(found(0, first, true)),
        (Ok(_), Ok(second)) => Ok(found(1, second, true)),
        (Ok(first), Err(_)) => Ok(found(0, first, false)),
        (Err(_), Ok(second)) => Ok(found(1, second, false)),
        (Err(first), Err(second)) => Err(LedgerError::Damaged { path: path.to_owned(), first, second }),
    }
}

fn read_slot(file: &File, offset: u64) -> io::Result<Result<Slot, Damage>> {
    let header = read_up_to(file, offset, HEADER)?;
    let Ok(header) = <[u8; HEADER]>::try_from(header) else { return Ok(Err(Damage::Cut)) };
    let (magic, rest) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Ok(Err(Damage::NotASlot));
    }
    let (version, rest) = number(rest, 4);
    let (room, rest) = number(rest, 4);
    let (generation, rest) = number(rest, 8);
    let (length, checksum) = number(rest, 8);
    let fits = |bytes: u64, most: usize| usize::try_from(bytes).ok().filter(|bytes| *bytes <= most);
    let Some(room) = fits(room, MOST_ROOM) else { return Ok(Err(Damage::Checksum)) };
    let Some(length) = fits(length, room) else { return Ok(Err(Damage::Cut)) };
    let state = read_up_to(file, offset + HEADER as u64, length)?;
    if state.len() < length {
        return Ok(Err(Damage::Cut));
    }
    let (checked, _) = header.split_at(CHECKED_HEADER);
    if Sha256::new().chain_update(checked).chain_update(&state).finalize().as_slice() != checksum {
        return Ok(Err(Damage::Checksum));
    }
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    Ok(Ok(Slot { version, snapshot: Snapshot { generation, state, room } }))
}

/// The first `width` bytes (at most 8) as a little-endian number, and the bytes after it.
fn number(bytes: &[u8], width: usize) -> (u64, &[u8]) {
    let (digits, rest) = bytes.split_at(width);
    (digits.iter().rev().fold(0, |number, digit| (number << 8) | u64::from(*digit)), rest)
}

fn read_up_to(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
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
    Ok(bytes)
}
