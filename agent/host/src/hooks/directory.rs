//! The run directory: its files, and their meaning together (the format is specified in the parent module).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostler_core::hook::{HOOK_DOCUMENT_VERSION, HookOutcome, HookResult, HookRun};
use nix::fcntl::{FallocateFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic;

pub(super) const CANCEL: &str = "cancel";
pub(super) const SUPERVISOR_LOG: &str = "supervisor.log";
const RUN: &str = "run.json";
const ENVIRONMENT: &str = "environment";
pub(super) const LOCK: &str = "lock";
const LAUNCH: &str = "launch";
const STARTED: &str = "started";
pub(super) const CANCELLED: &str = "cancelled";
const PROCESSES: &str = "processes.json";
pub(super) const RESULT: &str = "result.json";
const RESULT_NEW: &str = "result.json.new";

/// Bytes reserved for the result before the script starts, so that a script that fills the disk cannot lose it.
const RESULT_RESERVE: i64 = 128 << 10;

/// Most bytes of the result's tail, so that it fits into the reserved room.
const TAIL_BYTES: usize = 48 << 10;

/// A lock that lasts as long as this value.
pub(super) type Lock = Flock<File>;

/// One process, recorded so that a later process with the same number is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
}

/// `started`: the script is about to be executed, or was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Started {
    pub started_ms: u64,
}

/// `processes.json`: the processes to end if the supervisor dies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Processes {
    pub boot_id: String,
    /// The inode of the pid namespace of the numbers; older agents did not note it.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    pub supervisor: ProcessId,
    /// The supervisor itself until the script is known.
    pub script: ProcessId,
    pub control_group: Option<PathBuf>,
}

/// The state that a run directory shows.
#[derive(Debug)]
pub(super) enum State {
    /// There is a result.
    Finished(HookResult),
    /// A supervisor holds the lock.
    Running,
    /// The script was started, no process holds the lock and there is no result: for ever.
    Interrupted(Option<Started>),
    /// The script was cancelled before it started: for ever.
    Cancelled(HookResult),
    /// Nothing has begun, and nothing can begin while this lock is held.
    Idle(Lock),
}

/// A run directory.
#[derive(Debug, Clone)]
pub(super) struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory, readable only to the agent: the environment of a hook may hold secrets. When this returns,
    /// its name is on disk: if a power loss took the directory away, its script would run a second time.
    pub fn create(&self) -> io::Result<()> {
        let made = match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => atomic::sync_parent(&self.path),
            // The agent that made it may have been killed before it was on disk.
            Err(_) if self.path.is_dir() => atomic::sync_parent(&self.path),
            Err(_) => atomic::create_directories(&self.path, 0o700),
        };
        made.map_err(|error| io::Error::new(error.source.kind(), format!("{error}: {}", error.source)))
    }

    /// Reads the state from the files.
    pub fn inspect(&self) -> io::Result<State> {
        if let Some(result) = self.result()? {
            return Ok(State::Finished(result));
        }
        let Some(lock) = self.try_lock(LOCK)? else { return Ok(State::Running) };
        // With the lock the other files do not change; a result may have come just before.
        if let Some(result) = self.result()? {
            return Ok(State::Finished(result));
        }
        if let Some(bytes) = read_if_present(&self.file(CANCELLED))? {
            let result = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| HookResult::without_output(HookOutcome::Cancelled, 0, 0));
            return Ok(State::Cancelled(result));
        }
        match read_if_present(&self.file(STARTED))? {
            Some(bytes) => Ok(State::Interrupted(serde_json::from_slice(&bytes).ok())),
            None => Ok(State::Idle(lock)),
        }
    }

    /// The supervisor's lock; waits while an agent looks at the directory or another supervisor works.
    pub fn lock(&self) -> io::Result<Lock> {
        // Open for writing, unlike the agents' descriptors: closing it is then an inotify event for the agent that
        // waits.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.file(LOCK))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }

    /// The lock of the one agent that launches; `None` while another agent has it.
    pub fn try_launch_lock(&self) -> io::Result<Option<Lock>> {
        self.try_lock(LAUNCH)
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file: OwnedFd = nix::fcntl::open(&self.file(name), flags, Mode::from_bits_truncate(0o600))?;
        match Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Whether an attempt was ever launched from here.
    pub fn has_run(&self) -> io::Result<bool> {
        self.file(RUN).try_exists()
    }

    /// Writes the supervisor's input; `run.json` comes last and at once.
    pub fn write_run(&self, run: &HookRun, inherited: Option<&[u8]>) -> io::Result<()> {
        if let Some(environment) = inherited {
            self.replace(ENVIRONMENT, environment)?;
        }
        self.replace(RUN, &to_json(run)?)
    }

    pub fn read_run(&self) -> io::Result<HookRun> {
        let run: HookRun = from_json(&std::fs::read(self.file(RUN))?)?;
        check_version(run.version)?;
        Ok(run)
    }

    /// The agent's environment as it was saved: `NAME=value`, each ended by a zero byte.
    pub fn read_environment(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.file(ENVIRONMENT))
    }

    pub fn cancel_requested(&self) -> bool {
        self.file(CANCEL).symlink_metadata().is_ok()
    }

    pub fn request_cancel(&self) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.file(CANCEL)).map(drop)
    }

    /// Whether a supervisor that has the lock must not start the script.
    pub fn is_settled(&self) -> io::Result<bool> {
        Ok(self.file(CANCELLED).try_exists()? || self.file(STARTED).try_exists()? || self.file(RESULT).try_exists()?)
    }

    /// Declares, holding the supervisor's lock, that the script will never start.
    pub fn write_cancelled(&self, _idle: &Lock, result: &HookResult) -> io::Result<()> {
        self.create_once(CANCELLED, &to_json(result)?)
    }

    /// Declares, holding the supervisor's lock, that the script is about to start. On disk when this returns.
    pub fn write_started(&self, _held: &Lock, started: &Started) -> io::Result<()> {
        self.create_once(STARTED, &to_json(started)?)
    }

    /// When this returns, the file's name is on disk, and only that counts. Its content says when or why; a power loss
    /// may take the content, and a reader does without it.
    fn create_once(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file(name))?;
        file.write_all(bytes)?;
        atomic::sync(&File::open(&self.path)?, File::sync_all)
    }

    pub fn write_processes(&self, processes: &Processes) -> io::Result<()> {
        self.replace(PROCESSES, &to_json(processes)?)
    }

    pub fn read_processes(&self) -> io::Result<Option<Processes>> {
        read_if_present(&self.file(PROCESSES))?.map(|bytes| from_json(&bytes)).transpose()
    }

    /// Reserves room for the result, once, before the agent launches: then the agent reports a full disk, and the
    /// supervisor does not fail silently. A file system that cannot reserve room is no reason not to run the hook.
    pub fn reserve_result(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.file(RESULT_NEW))?;
        match nix::fcntl::fallocate(&file, FallocateFlags::empty(), 0, RESULT_RESERVE) {
            Ok(()) | Err(nix::Error::EOPNOTSUPP | nix::Error::ENOSYS) => Ok(file),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the result in place: whole or not at all.
    pub fn write_result(&self, reserved: &File, result: &HookResult) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut result = result.clone();
        shorten_tail(&mut result.tail);
        let bytes = to_json(&result)?;
        reserved.write_all_at(&bytes, 0)?;
        reserved.set_len(bytes.len() as u64)?;
        reserved.sync_all()?;
        std::fs::rename(self.file(RESULT_NEW), self.file(RESULT))
    }

    fn result(&self) -> io::Result<Option<HookResult>> {
        let Some(bytes) = read_if_present(&self.file(RESULT))? else { return Ok(None) };
        let result: HookResult = from_json(&bytes)?;
        check_version(result.version)?;
        Ok(Some(result))
    }

    /// Replaces a small file at once. It is not synced, because it does not count after a power loss.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.file(&format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        std::fs::rename(new, self.file(name))
    }
}

/// Drops the oldest lines until the tail fits into the reserved room.
fn shorten_tail(tail: &mut Vec<String>) {
    let mut left = TAIL_BYTES;
    let kept = tail.iter().rev().take_while(|line| match left.checked_sub(line.len() + 3) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    let first = tail.len() - kept.count();
    tail.drain(..first);
}

fn check_version(version: u32) -> io::Result<()> {
    if version == HOOK_DOCUMENT_VERSION {
        return Ok(());
    }
    let message = format!("version {version} is not known to this hostler, which knows {HOOK_DOCUMENT_VERSION}");
    Err(io::Error::new(ErrorKind::InvalidData, message))
}

fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn to_json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::MetadataExt;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_script_that_starts_has_left_its_trace_on_disk_up_to_the_directorys_parents() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("hooks/run-1");
        let synced = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&synced);
        atomic::watch::set(Box::new(move |file| seen.borrow_mut().push(file.metadata().unwrap().ino())));
        let directory = RunDirectory::new(&path);
        directory.create().unwrap();
        let made = std::mem::take(&mut *synced.borrow_mut());
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        for parent in [top.path().to_owned(), top.path().join("hooks")] {
            assert!(made.contains(&inode(&parent)), "{} is not synchronised", parent.display());
        }
        let lock = directory.lock().unwrap();
        directory.write_started(&lock, &Started { started_ms: 1 }).unwrap();
        assert_eq!(*synced.borrow(), [inode(&path)]);
        synced.borrow_mut().clear();
        directory.create().unwrap();
        assert_eq!(*synced.borrow(), [inode(&top.path().join("hooks"))], "another agent may not have got that far");
        atomic::watch::clear();
    }

    #[test]
    fn a_power_loss_that_takes_what_was_written_but_not_synced_leaves_a_script_that_is_interrupted_or_never_ran() {
        let top = tempfile::tempdir().unwrap();
        let started = RunDirectory::new(&top.path().join("started"));
        started.create().unwrap();
        started.write_started(&started.lock().unwrap(), &Started { started_ms: 1 }).unwrap();
        let cancelled = RunDirectory::new(&top.path().join("cancelled"));
        cancelled.create().unwrap();
        let result = HookResult::without_output(HookOutcome::Cancelled, 1, 1);
        cancelled.write_cancelled(&cancelled.lock().unwrap(), &result).unwrap();
        // Names are on disk, contents in part or not at all.
        for kept in [1, 0] {
            for file in [started.file(STARTED), cancelled.file(CANCELLED)] {
                OpenOptions::new().write(true).open(file).unwrap().set_len(kept).unwrap();
            }
            let state = started.inspect().unwrap();
            assert!(matches!(state, State::Interrupted(None)), "{state:?}");
            match cancelled.inspect().unwrap() {
                State::Cancelled(result) => assert_eq!(result.outcome, HookOutcome::Cancelled),
                other => panic!("{other:?}"),
            }
        }
    }
}
