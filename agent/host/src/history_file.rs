//! `STATE/history.ndjson`: the history as lines that are only ever appended.
//!
//! ```text
//! survey  (reads)  → the caller persists Reconciled::state in the ledger → HistoryFile::open (cuts)
//! then the records that the file lacks are appended and synced
//! then, for each record:  HistoryState::append → ledger persisted → HistoryFile::append
//! and once a deployment:  HistoryFile::sync → HistoryState::settled
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostler_core::history::{
    Anchor, Context, Finding, HistoryError, HistoryState, Reconciled, Record, Scan, Verifier, reconcile,
};
use hostler_core::limits::Limits;

use crate::atomic::{self, AtomicError};
use crate::ledger::StateLock;

#[cfg(test)]
mod tests;

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFileError {
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
    /// The file's name could not be made durable.
    #[error("cannot make the history durable")]
    Durable(#[from] AtomicError),
    /// A record could not be made.
    #[error("cannot record what was recovered in {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: HistoryError,
    },
}

impl HistoryFileError {
    /// Whether this process's user may not open the file.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the file system has no space, or this user none on it.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HistoryFileError + 'a {
    move |source| HistoryFileError::Io { step, path: path.to_owned(), source }
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("history.ndjson")
}

/// Compares the file with the ledger, and decides what to do. Changes nothing.
///
/// # Errors
/// The file cannot be read.
pub fn survey(
    lock: &StateLock,
    state: Option<&HistoryState>,
    context: &Context,
    limits: &Limits,
) -> Result<Reconciled, HistoryFileError> {
    let path = path_in(lock.directory());
    let mut scan = Scan::new(state);
    let mut bytes = 0;
    if let Some(file) = open_if_there(&path)? {
        each_line(file, limits, |line| {
            bytes += line.length;
            if line.complete {
                scan.line(line.bytes, line.length);
            }
        })
        .map_err(failed("read", &path))?;
    }
    reconcile(scan, bytes, context).map_err(|source| HistoryFileError::Record { path, source })
}

/// Verifies the file against anchors from elsewhere and, where given, the ledger's own end of the chain. Needs no lock;
/// a record that is being appended at this moment may show as [`Finding::Torn`].
///
/// # Errors
/// The file cannot be read. That it is missing is no error but a finding, if an anchor says that there was one.
pub fn verify(
    directory: &Path,
    anchors: impl IntoIterator<Item = Anchor>,
    limits: &Limits,
) -> Result<Vec<Finding>, HistoryFileError> {
    let path = path_in(directory);
    let mut verifier = Verifier::new(anchors);
    if let Some(file) = open_if_there(&path)? {
        each_line(
            file,
            limits,
            |line| if line.complete { verifier.line(line.bytes) } else { verifier.torn(line.length) },
        )
        .map_err(failed("read", &path))?;
    }
    Ok(verifier.finish())
}

/// Puts the chain aside under the name of the host that wrote it, so that a new one can begin. Done again after a
/// crash, it changes nothing.
///
/// # Errors
/// The file cannot be renamed.
pub fn put_aside(lock: &StateLock, former: &str) -> Result<(), HistoryFileError> {
    let (path, aside) = (path_in(lock.directory()), lock.directory().join(format!("history-of-{former}.ndjson")));
    match std::fs::rename(&path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(failed("put aside", &path))?,
    }
    Ok(atomic::sync_parent(&path)?)
}

/// Hands every complete line to the caller, oldest first, without newlines.
///
/// # Errors
/// The file cannot be read.
pub fn read(directory: &Path, limits: &Limits, mut line: impl FnMut(&[u8])) -> Result<(), HistoryFileError> {
    let path = path_in(directory);
    let Some(file) = open_if_there(&path)? else { return Ok(()) };
    each_line(file, limits, |l| {
        if l.complete {
            line(l.bytes)
        }
    })
    .map_err(failed("read", &path))
}

fn open_if_there(path: &Path) -> Result<Option<File>, HistoryFileError> {
    match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("open", path)(e)),
    }
}

struct Line<'a> {
    /// Without the newline; of a line longer than any record, only its beginning.
    bytes: &'a [u8],
    /// Length in the file, newline included.
    length: u64,
    complete: bool,
}

/// Reads lines in bounded memory: no record is longer than the ledger that holds it while it is pending.
fn each_line(file: File, limits: &Limits, mut take: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut length = (&mut reader).take(limits.ledger_bytes as u64).read_until(b'\n', &mut bytes)? as u64;
        if length == 0 {
            return Ok(());
        }
        let mut complete = bytes.last() == Some(&b'\n');
        if !complete && length == limits.ledger_bytes as u64 {
            let (skipped, ended) = skip_line(&mut reader)?;
            length += skipped;
            complete = ended;
        } else if complete {
            bytes.pop();
        }
        take(Line { bytes: &bytes, length, complete });
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut skipped = 0;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok((skipped, false));
        }
        let newline = available.iter().position(|b| *b == b'\n');
        let used = newline.map_or(available.len(), |at| at + 1);
        reader.consume(used);
        skipped += used as u64;
        if newline.is_some() {
            return Ok((skipped, true));
        }
    }
}

/// The history, open for appending.
#[derive(Debug)]
pub struct HistoryFile {
    file: File,
    path: PathBuf,
    /// Where the next line goes.
    end: u64,
    syncs: u64,
}

impl HistoryFile {
    /// Cuts the torn end that [`survey`] found. The caller has persisted [`Reconciled::state`] in the ledger before,
    /// and then appends [`Reconciled::append`], syncs and settles. Makes the file if it is missing.
    ///
    /// # Errors
    /// The disk failed; it may be tried again after a new survey.
    pub fn open(lock: &StateLock, reconciled: &Reconciled) -> Result<Self, HistoryFileError> {
        let path = path_in(lock.directory());
        let options = &mut OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(failed("open", &path))?;
        let history = Self { file, path, end: reconciled.keep_bytes, syncs: 0 };
        history.file.set_len(history.end).map_err(failed("cut the torn end of", &history.path))?;
        atomic::sync_parent(&history.path)?;
        Ok(history)
    }

    /// Appends a record that the ledger holds as pending. It survives a crash of the process at once, and power loss
    /// because of the ledger.
    ///
    /// # Errors
    /// The disk failed or is full; nothing of the line stays, and the record can be appended again.
    pub fn append(&mut self, record: &Record) -> Result<(), HistoryFileError> {
        let line = format!("{}\n", record.line);
        if let Err(error) = self.file.write_all_at(line.as_bytes(), self.end) {
            // The next write would overwrite a partial line anyway; this keeps readers from seeing it.
            let _ = self.file.set_len(self.end);
            return Err(failed("append to", &self.path)(error));
        }
        self.end += line.len() as u64;
        Ok(())
    }

    /// Makes all appended records durable; then the ledger's pending ones are settled. One sync.
    ///
    /// # Errors
    /// The disk failed; the records stay pending.
    pub fn sync(&mut self) -> Result<(), HistoryFileError> {
        self.syncs += 1;
        atomic::sync(&self.file, File::sync_data).map_err(failed("sync", &self.path))
    }

    /// How often this process has asked the disk to sync the history, for metrics.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }
}
