//! Who may write the state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::LedgerError;

/// The exclusive lock of a state directory, held until it is dropped or the process ends, however it ends. Nobody ever
/// removes the lock file: a lock on a removed file would keep nobody out.
///
/// Functions that write into the state directory take a reference to it as proof.
#[derive(Debug)]
pub struct StateLock {
    /// Closing it gives the lock back. The kernel does the same when the process is killed.
    _file: File,
    directory: PathBuf,
}

impl StateLock {
    /// Takes the lock, or says who has it. The directory must exist.
    ///
    /// # Errors
    /// [`LedgerError::LockHeld`], or the lock file cannot be opened.
    pub fn acquire(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join("lock");
        let failed = |step| {
            let path = path.clone();
            move |source| LedgerError::Io { step, path, source }
        };
        let options = &mut OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.custom_flags(nix::libc::O_NOFOLLOW).open(&path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::LockHeld { holder: holder(&mut file), path }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        // On a full disk the note may fail, and the lock is held all the same.
        let _ = note_holder(&mut file);
        Ok(Self { _file: file, directory: directory.to_owned() })
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}
