//! The systemd journal: `journalctl` as a child process that follows from a cursor.
//!
//! A child and not a library: libsystemd would be linked, and the file format's own readers in Rust are not kept up
//! with its rotation, compression and vacuuming. A thread reads the child's lines and hands over a bounded number of
//! records; while they are not taken it does not read on, the child waits, and the journal is the buffer.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostler_core::limits::Limits;
use hostler_core::logs::batch::{Added, Batch};
use hostler_core::logs::placeholders::Names;
use hostler_core::logs::redact::Redactor;
use hostler_core::logs::settings::{InitialPosition, JournalSettings};
use serde::Deserialize;

use super::positions::JournalSegment;
use super::source::names_of;
use super::{StreamName, Tail};

/// Pauses before an ended child is started again, the first and the longest.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A part of the journal, and its target.
#[derive(Debug, Clone)]
pub struct JournalSource {
    settings: JournalSettings,
    names: Names,
}

impl JournalSource {
    /// `names` are the host's placeholders.
    pub fn new(settings: JournalSettings, names: Names) -> Self {
        Self { settings, names }
    }

    fn key(&self) -> String {
        let settings = &self.settings;
        let target = &settings.target;
        format!("{} to {} {}", self.describe(), target.log_group_name, target.log_stream_name)
    }

    fn describe(&self) -> String {
        let mut text = "journal".to_owned();
        let settings = &self.settings;
        settings.units.iter().for_each(|unit| text.push_str(&format!(" unit={unit}")));
        settings.priority.iter().for_each(|priority| text.push_str(&format!(" priority={priority}")));
        settings.matches.iter().for_each(|one| text.push_str(&format!(" {one}")));
        text
    }

    fn command(&self, after: Option<&str>, by_time: bool) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--output=json", "--follow", "--all", "--quiet", "--no-pager"]);
        command.arg("--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID");
        match (after, realtime_of(after.unwrap_or_default())) {
            // The journal does not accept the cursor any more; its time says nearly the same.
            (Some(_), Some(micros)) if by_time => {
                command.args([format!("--since=@{}", micros / 1_000_000), "--lines=all".to_owned()]);
            }
            // Not `--after-cursor`: if the cursor's record is gone, it leaves out the first record that is there.
            (Some(cursor), _) => {
                command.args([format!("--cursor={cursor}"), "--lines=all".to_owned()]);
            }
            (None, _) if self.settings.initial_position == InitialPosition::EndOfFile => {
                command.arg("--lines=0");
            }
            (None, _) => {
                command.arg("--lines=all");
            }
        }
        command.args(self.settings.units.iter().map(|unit| format!("--unit={unit}")));
        command.args(self.settings.priority.iter().map(|priority| format!("--priority={priority}")));
        command.args(&self.settings.matches);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env_remove("SYSTEMD_LOG_LEVEL");
        command
    }
}

/// The realtime stamp in a cursor, microseconds since 1970.
fn realtime_of(cursor: &str) -> Option<u64> {
    let stamp = cursor.split(';').find_map(|part| part.strip_prefix("t="))?;
    u64::from_str_radix(stamp, 16).ok()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    cursor: String,
    at_ms: i64,
    text: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    micros: String,
    #[serde(rename = "MESSAGE")]
    message: Option<serde_json::Value>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<serde_json::Value>,
    #[serde(rename = "_COMM")]
    command: Option<serde_json::Value>,
    #[serde(rename = "_PID")]
    pid: Option<serde_json::Value>,
    #[serde(rename = "SYSLOG_PID")]
    syslog_pid: Option<serde_json::Value>,
}

/// A line of `journalctl --output=json` in the usual form: `identifier[pid]: message`.
fn entry(line: &[u8]) -> Option<Entry> {
    let raw: Raw = serde_json::from_slice(line).ok()?;
    let micros: i64 = raw.micros.parse().ok()?;
    let who = raw.identifier.or(raw.command).map(|value| text_of(&value)).unwrap_or_default();
    let pid = raw.syslog_pid.or(raw.pid).map(|value| text_of(&value)).unwrap_or_default();
    let message = raw.message.map(|value| text_of(&value)).unwrap_or_default();
    let text = match (who.as_str(), pid.as_str()) {
        ("", _) => message,
        (who, "") => format!("{who}: {message}"),
        (who, pid) => format!("{who}[{pid}]: {message}"),
    };
    Some(Entry { cursor: raw.cursor, at_ms: micros / 1000, text })
}

/// A field: text, bytes that are no text as a list of numbers, or a list of several values, of which the first counts.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(list) if list.iter().all(serde_json::Value::is_u64) => {
            let bytes =
                list.iter().filter_map(serde_json::Value::as_u64).map(|byte| u8::try_from(byte).unwrap_or(b'?'));
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        serde_json::Value::Array(list) => list.first().map(text_of).unwrap_or_default(),
        _ => String::new(),
    }
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    oldest_ms: Option<u64>,
    most_records: usize,
    most_bytes: usize,
}

impl Queue {
    fn new(limits: &Limits) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            oldest_ms: None,
            most_records: limits.log_journal_records,
            most_bytes: limits.log_journal_bytes,
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.most_bytes || self.entries.len() >= self.most_records
    }
}

struct Shared {
    queue: Mutex<Queue>,
    taken: Condvar,
    child: Mutex<Option<Child>>,
    ended: AtomicBool,
}

impl Shared {
    fn new(limits: &Limits) -> Self {
        let (taken, child, ended) = (Condvar::new(), Mutex::new(None), AtomicBool::new(false));
        Self { queue: Mutex::new(Queue::new(limits)), taken, child, ended }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_child(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            // If it has ended by itself, that is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A journal that is followed.
pub(super) struct JournalTail {
    pub stream: String,
    source: JournalSource,
    cursor: String,
    gather_ms: u64,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for JournalTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalTail")
            .field("source", &self.source)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Drop for JournalTail {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.taken.notify_all();
        self.shared.end_child();
    }
}

impl Tail {
    /// Follows a part of the journal. `wake` is called when there is something new.
    pub fn follow_journal(&mut self, source: JournalSource, wake: impl Fn() + Send + 'static) {
        let key = source.key();
        let cursor = self.positions.book.cursors.get(&key).cloned();
        let (group, stream) = names_of(&source.settings.target, &source.names);
        let stream = self.stream_named(StreamName { group, stream, wish: source.settings.target.group.clone() });
        let shared = Arc::new(Shared::new(&self.limits));
        let mut reader = Reader { source: source.clone(), shared: Arc::clone(&shared), cursor: cursor.clone() };
        let started = std::thread::Builder::new()
            .name("journal".into())
            .stack_size(256 << 10)
            .spawn(move || reader.run_through_faults(&wake));
        if let Err(error) = started {
            log::error!(error:%; "the journal cannot be followed: {error}");
        }
        let gather_ms = source.settings.gather_ms;
        let tail = JournalTail { stream, source, cursor: cursor.unwrap_or_default(), gather_ms, shared };
        self.journals.insert(key, tail);
    }
}

impl JournalTail {
    pub fn describe(&self) -> String {
        self.source.describe()
    }

    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    pub fn oldest_ms(&self) -> Option<u64> {
        self.shared.queue().oldest_ms
    }

    /// When its records are to be sent; `None` while there are none.
    pub fn due_ms(&self, flushing: bool) -> Option<u64> {
        let queue = self.shared.queue();
        queue.oldest_ms.map(|oldest| if flushing || queue.is_full() { 0 } else { oldest + self.gather_ms })
    }

    /// Whether a record with this cursor is there, or seems never to come.
    pub fn has(&self, cursor: &str) -> bool {
        let queue = self.shared.queue();
        queue.is_full() || queue.entries.iter().any(|entry| entry.cursor == cursor)
    }

    /// Puts records into the batch, up to the one with the cursor `end`; returns their description. `None` when there
    /// are none, or not up to `end`.
    pub fn fill(
        &self,
        batch: &mut Batch,
        end: Option<&str>,
        most: usize,
        redactor: &Redactor,
    ) -> Option<JournalSegment> {
        let queue = self.shared.queue();
        let mut last = None;
        for entry in &queue.entries {
            let text = redactor.redact(entry.text.as_str().into());
            let text = if text.is_empty() { " ".into() } else { text };
            if batch.events() >= most || batch.add(entry.at_ms, &text) == Added::Full {
                break;
            }
            last = Some(&entry.cursor);
            if end == last.map(String::as_str) {
                break;
            }
        }
        let last = last.filter(|last| end.is_none_or(|end| end == last.as_str()))?;
        Some(JournalSegment { source: self.source.key(), end: last.clone() })
    }

    /// Forgets the records up to a cursor.
    pub fn acknowledged(&mut self, end: &str) {
        let mut queue = self.shared.queue();
        let count = queue.entries.iter().position(|entry| entry.cursor == end).map_or(0, |at| at + 1);
        let gone: usize = queue.entries.drain(..count).map(|entry| entry.text.len()).sum();
        queue.bytes -= gone;
        queue.oldest_ms = if queue.entries.is_empty() { None } else { Some(crate::clock::now_ms()) };
        drop(queue);
        self.shared.taken.notify_all();
        end.clone_into(&mut self.cursor);
    }
}

/// The thread at the child's output.
struct Reader {
    source: JournalSource,
    shared: Arc<Shared>,
    cursor: Option<String>,
}

impl Reader {
    /// Reads until the end. A panic is logged, and reading begins anew behind the last record.
    fn run_through_faults(&mut self, wake: &(impl Fn() + ?Sized)) {
        // Shared data is behind locks that expect a panic.
        while catch_unwind(AssertUnwindSafe(|| self.run(wake))).is_err() {
            log::error!("a fault in hostler: the reader of the journal panicked and begins anew");
            self.shared.end_child();
            let queue = self.shared.queue();
            let is_running = |_: &mut Queue| !self.shared.ended.load(Ordering::SeqCst);
            drop(self.shared.taken.wait_timeout_while(queue, RESTART.1, is_running));
        }
    }

    fn run(&mut self, wake: &(impl Fn() + ?Sized)) {
        let (mut pause, longest) = RESTART;
        let mut by_time = false;
        let mut said = false;
        while !self.shared.ended.load(Ordering::SeqCst) {
            match self.read_child(by_time, wake) {
                Ok(0) => {
                    // Perhaps it does not know the cursor; the next child goes by the time.
                    by_time = self.cursor.is_some();
                    pause = (pause * 2).min(longest);
                }
                Ok(_) => (by_time, pause) = (false, RESTART.0),
                Err(error) => {
                    if !said {
                        log::warn!(error:%; "journalctl cannot be started: the journal is not shipped: {error}");
                    }
                    (said, pause) = (true, longest);
                }
            }
            let queue = self.shared.queue();
            let is_running = |_: &mut Queue| !self.shared.ended.load(Ordering::SeqCst);
            drop(self.shared.taken.wait_timeout_while(queue, pause, is_running));
        }
    }

    /// Reads until the child ends; returns how many records came.
    fn read_child(&mut self, by_time: bool, wake: &(impl Fn() + ?Sized)) -> std::io::Result<usize> {
        let mut child = self.source.command(self.cursor.as_deref(), by_time).spawn()?;
        let output = child.stdout.take();
        *self.shared.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let mut count = 0;
        let mut line = Vec::new();
        if let Some(output) = output {
            let mut output = BufReader::new(output);
            while output.read_until(b'\n', &mut line)? > 0 {
                if let Some(entry) = entry(&line).filter(|entry| self.is_new(entry, by_time)) {
                    count += 1;
                    self.cursor = Some(entry.cursor.clone());
                    if !self.put(entry) {
                        break;
                    }
                    wake();
                }
                line.clear();
            }
        }
        self.shared.end_child();
        Ok(count)
    }

    /// The child repeats the last record that was read, and with a start by time also those before it.
    fn is_new(&self, entry: &Entry, by_time: bool) -> bool {
        let last = self.cursor.as_deref().and_then(realtime_of);
        let is_later = !by_time || last.is_none_or(|last| realtime_of(&entry.cursor).is_none_or(|at| at >= last));
        is_later && self.cursor.as_deref() != Some(&entry.cursor)
    }

    /// Hands a record over, once there is room; false at the end.
    fn put(&self, entry: Entry) -> bool {
        let is_full = |queue: &mut Queue| queue.is_full() && !self.shared.ended.load(Ordering::SeqCst);
        let waited = self.shared.taken.wait_while(self.shared.queue(), is_full);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.oldest_ms.is_none() {
            queue.oldest_ms = Some(crate::clock::now_ms());
        }
        queue.bytes += entry.text.len();
        queue.entries.push_back(entry);
        !self.shared.ended.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_lines() {
        let line = br#"{"__CURSOR":"s=a;i=1;t=5c1a","__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"hello","SYSLOG_IDENTIFIER":"sshd","_PID":"7"}"#;
        let found = entry(line).unwrap();
        assert_eq!((found.text.as_str(), found.at_ms), ("sshd[7]: hello", 1_700_000_000_123));
        let bytes = br#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1000","MESSAGE":[104,105,255]}"#;
        assert_eq!(entry(bytes).unwrap().text, "hi\u{fffd}");
        assert_eq!(realtime_of("s=a;t=5c1a;x=1"), Some(0x5c1a));
        assert!(entry(b"not json").is_none());
    }
}
