//! The two logs of a hook, written by a separate thread: a full, slow or hung disk costs lines, which are counted, and
//! delays the script by a moment at most.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hostler_core::hook::output::{deployments_log_line, scripts_log_line};
use hostler_core::ids::DeploymentId;
use jiff::civil::DateTime;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{Gid, Uid, fchown};

use crate::{clock, users};

/// Bytes that may wait for the disk.
const QUEUE_BYTES: usize = 256 << 10;

/// How long a script's output waits for a slow disk before lines are dropped.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes of the deployments log at which it is rotated, and the number of files then, as for the CodeDeploy agent.
const ROTATE_BYTES: u64 = 64 << 20;
const ROTATE_FILES: u32 = 8;

/// The sender's end: it hands entries to the thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    /// Set while the disk does not keep up; then no caller waits for it.
    stalled: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(DateTime, String)>,
    bytes: usize,
    /// Taken by the writer and not on disk yet.
    in_hand: bool,
    /// Lines that could not be written since the last question.
    lost: u64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // After a panic in between, the queue is still a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogWriter {
    /// Starts the thread, which opens the files.
    ///
    /// It makes directories for them only while `run_directory` is there: processes that a finished hook left running
    /// must not make the directories of a deleted deployment again.
    pub fn start(
        scripts_log: &Path,
        deployments_log: Option<&Path>,
        deployment: &DeploymentId,
        run_directory: &Path,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let files = Files {
            scripts: LogFile::new(scripts_log, None, run_directory),
            deployments: deployments_log.map(|path| LogFile::new(path, Some(ROTATE_BYTES), run_directory)),
            deployment: deployment.clone(),
        };
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("hook-log".into())
            .stack_size(128 << 10)
            .spawn(move || write_entries(&of_thread, files))?;
        Ok(Self { shared, stalled: false })
    }

    /// Hands an entry to the thread; false if it had to be dropped.
    pub fn write(&mut self, entry: String) -> bool {
        let fits = |queue: &Queue| queue.entries.is_empty() || queue.bytes + entry.len() <= QUEUE_BYTES;
        let mut queue = self.shared.queue();
        if !fits(&queue) && !self.stalled {
            let waited = self.shared.changed.wait_timeout_while(queue, PATIENCE, |queue| !fits(queue));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.stalled = !fits(&queue);
        if self.stalled {
            return false;
        }
        queue.bytes += entry.len();
        queue.entries.push_back((clock::local_now(), entry));
        drop(queue);
        self.shared.changed.notify_all();
        true
    }

    /// Waits until everything is written, for at most this time; false if something is not written.
    pub fn flush(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut queue = self.shared.queue();
        while !queue.entries.is_empty() || queue.in_hand {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines that the thread could not write since the last call.
    pub fn lost(&self) -> u64 {
        std::mem::take(&mut self.shared.queue().lost)
    }
}

fn write_entries(shared: &Shared, mut files: Files) {
    let mut queue = shared.queue();
    loop {
        while queue.entries.is_empty() {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let entries = std::mem::take(&mut queue.entries);
        queue.bytes = 0;
        queue.in_hand = true;
        drop(queue);
        shared.changed.notify_all();
        let lost = files.write(&entries);
        drop(entries);
        queue = shared.queue();
        queue.in_hand = false;
        queue.lost += lost;
        shared.changed.notify_all();
    }
}

#[derive(Debug)]
struct Files {
    scripts: LogFile,
    deployments: Option<LogFile>,
    deployment: DeploymentId,
}

impl Files {
    /// Writes entries to both logs; returns how many the first one did not take.
    fn write(&mut self, entries: &VecDeque<(DateTime, String)>) -> u64 {
        if let Some(deployments) = &mut self.deployments {
            let lines = entries.iter().map(|(at, entry)| deployments_log_line(*at, &self.deployment, entry));
            // The deployment's own log has the entries that this one lacks.
            let _ = deployments.append(&lines.collect::<String>());
        }
        let lines: String = entries.iter().map(|(at, entry)| scripts_log_line(*at, entry)).collect();
        let written = self.scripts.append(&lines);
        lines.as_bytes()[written..].iter().filter(|b| **b == b'\n').count() as u64
    }
}

/// A file to which this and other processes append.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    rotate_at: Option<u64>,
    /// While it is there, the log's own directory may be made.
    run_directory: PathBuf,
    file: Option<File>,
    /// The disk was full in the middle of a line.
    broken_line: bool,
}

impl LogFile {
    fn new(path: &Path, rotate_at: Option<u64>, run_directory: &Path) -> Self {
        let run_directory = run_directory.to_owned();
        Self { path: path.to_owned(), rotate_at, run_directory, file: None, broken_line: false }
    }

    /// Appends text; returns how many bytes it wrote. The rest is tried again with the next text.
    fn append(&mut self, text: &str) -> usize {
        let mut written = 0;
        if let Err(error) = self.try_append(text.as_bytes(), &mut written) {
            log::debug!(path = self.path.display().to_string(), error = error.to_string(); "a hook's log is not written: {error}");
            self.file = None;
            self.broken_line = written > 0 && text.as_bytes()[written - 1] != b'\n' || self.broken_line && written == 0;
        }
        written
    }

    fn try_append(&mut self, text: &[u8], written: &mut usize) -> io::Result<()> {
        self.make_ready()?;
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.broken_line {
            file.write_all(b"\n")?;
            self.broken_line = false;
        }
        while *written < text.len() {
            match file.write(&text[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the file, and opens it again when another process rotated or removed it.
    fn make_ready(&mut self) -> io::Result<()> {
        if !self.file.as_ref().is_some_and(|file| is_at(file, &self.path)) {
            self.file = None;
            let file = self.file.insert(self.open()?);
            log::trace!(inode = file.metadata()?.ino(); "opened a hook's log");
        }
        if let (Some(most), Some(file)) = (self.rotate_at, &self.file)
            && file.metadata()?.len() >= most
        {
            rotate(&self.path, file, most)?;
            self.file = Some(self.open()?);
        }
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        match (open_or_make_log(&self.path), self.path.parent()) {
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && self.run_directory.is_dir() => {
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                open_or_make_log(&self.path)
            }
            (opened, _) => opened,
        }
    }
}

/// For root and the service group: the output of scripts may be secret from other users of the host.
const MODE: u32 = 0o640;

fn open_or_make_log(path: &Path) -> io::Result<File> {
    let options = &mut OpenOptions::new();
    options.append(true).mode(MODE).custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NOCTTY.bits());
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Ok(made) => {
            if let (true, Some(group)) = (Uid::effective().is_root(), users::service_group()) {
                fchown(&made, None, Some(Gid::from_raw(group)))?;
            }
            Ok(made)
        }
        Err(error) => Err(error),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Renames `log` to `log.0`, that to `log.1` and so on, unless another process has just done it.
fn rotate(path: &Path, file: &File, most: u64) -> io::Result<()> {
    // Locked on the file itself: the second process to get the lock finds another file at the path.
    let Ok(locked) = Flock::lock(file.try_clone()?, FlockArg::LockExclusive) else { return Ok(()) };
    if !is_at(&locked, path) || locked.metadata()?.len() < most {
        return Ok(());
    }
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (0..ROTATE_FILES - 2).rev() {
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn start(scripts: &Path, deployments: Option<&Path>) -> LogWriter {
        LogWriter::start(scripts, deployments, &"d-ABCDEFGHI".parse().unwrap(), Path::new("/")).unwrap()
    }

    #[test]
    fn entries_go_to_both_logs() {
        let directory = tempfile::tempdir().unwrap();
        let (scripts, deployments) = (directory.path().join("logs/scripts.log"), directory.path().join("all.log"));
        let mut log = start(&scripts, Some(&deployments));
        assert!(log.write("[stdout] x ".into()));
        assert!(log.flush(Duration::from_secs(10)));
        assert!(fs::read_to_string(scripts).unwrap().ends_with(" [stdout] x \n"));
        assert!(fs::read_to_string(deployments).unwrap().ends_with("] [d-ABCDEFGHI][stdout] x\n"));
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_log_that_cannot_be_written_costs_lines_and_counts_them() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let mut log = start(&directory.path().join("file/scripts.log"), None);
        assert!(log.write("a".into()) && log.write("b".into()));
        assert!(log.flush(Duration::from_secs(10)));
        assert_eq!(log.lost(), 2);
    }

    #[test]
    fn the_directory_of_a_deployment_that_was_deleted_is_not_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let deployment = directory.path().join("d-ABCDEFGHI");
        let (run, scripts) = (deployment.join("hook-runs/1"), deployment.join("logs/scripts.log"));
        fs::create_dir_all(&run).unwrap();
        let mut log = LogFile::new(&scripts, None, &run);
        assert_eq!(log.append("one\n"), 4);
        fs::remove_dir_all(deployment.join("logs")).unwrap();
        assert_eq!(log.append("two\n"), 4, "somebody took the log away, and the hook goes on");
        fs::remove_dir_all(&deployment).unwrap();
        assert_eq!(log.append("three\n"), 0);
        assert!(!deployment.exists());
    }

    #[test]
    fn a_log_that_hangs_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        // Opening a FIFO for writing hangs until there is a reader, like a disk that does not answer.
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut log = start(&fifo, None);
        let line = "x".repeat(10_000);
        let before = Instant::now();
        let dropped = (0..1000).filter(|_| !log.write(line.clone())).count();
        assert!(dropped > 900, "{dropped}");
        assert!(before.elapsed() < PATIENCE * 20, "{:?}", before.elapsed());
        assert!(!log.flush(Duration::from_millis(1)));
    }

    #[test]
    fn the_deployments_log_is_rotated_and_bounded_in_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.log");
        let mut first = LogFile::new(&path, Some(10), directory.path());
        let mut second = LogFile::new(&path, Some(10), directory.path());
        for number in 0..12 {
            assert_eq!(first.append(&format!("first {number:03}\n")), 10);
            assert_eq!(second.append(&format!("other {number:03}\n")), 10);
        }
        let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        let wanted: Vec<_> = ["all.log".into()].into_iter().chain((0..7).map(|n| format!("all.log.{n}"))).collect();
        assert_eq!(names, wanted.iter().map(std::ffi::OsString::from).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(&path).unwrap(), "other 011\n");
        assert_eq!(fs::read_to_string(directory.path().join("all.log.6")).unwrap(), "first 008\n");
    }
}
