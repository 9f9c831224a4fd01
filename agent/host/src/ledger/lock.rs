//! Who may write the state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::LedgerError;

/// How long to wait for the lock of a dead process: a child that it was just starting has the descriptor, and with it
/// the lock, until the child has executed its program.
const AFTER_A_DEATH: Duration = Duration::from_secs(2);

/// The exclusive lock of a state directory, held until it is dropped or the process ends, however it ends. The lock
/// file is never removed: a lock on a removed file would exclude no other process.
///
/// Functions that write into the state directory take a reference to it as proof.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    directory: PathBuf,
}

impl StateLock {
    /// Takes the lock, or says which process has it. The directory must exist.
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
        let deadline = Instant::now() + AFTER_A_DEATH;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    if holder.is_none_or(is_alive) || Instant::now() > deadline {
                        let holder =
                            holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                        return Err(LedgerError::LockHeld { holder, path });
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
            }
        }
        // On a full disk the note may fail, but the lock is held.
        let _ = note_holder(&mut file);
        Ok(Self { file, directory: directory.to_owned() })
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread is just starting has the descriptor too until it has
        // executed its program. The kernel gives the lock back in any case.
        let _ = self.file.unlock();
    }
}

/// Whether a process holds the state of this directory; `true` also if that cannot be found out.
pub fn is_held(directory: &Path) -> bool {
    let lock = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(directory.join("lock"));
    match lock {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The process that holds the lock by its own note, if the note can be read.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}
