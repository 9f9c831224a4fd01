//! The destination of the agent's own log: the journal, with the record's key/values as fields, if standard error is
//! connected to it; else standard error, one line a record. A message says by itself what happened: its fields are for
//! searches, and are printed only for debugging.

mod agents_log;
mod foreground;
pub mod level;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use hostler_core::config::settings::LogLevel;
use hostler_core::operator_events::OperatorEvent;
use hostler_core::text::printable;
use hostler_host::regular;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use agents_log::AgentsLog;
use foreground::Foreground;
pub use foreground::Form;

/// The file of the agent's own records for shipping, besides the log for people.
static FILE: Mutex<Option<RecordFile>> = Mutex::new(None);

/// The same in the CodeDeploy agent's place, where users of that agent expect them.
static AGENTS: Mutex<Option<AgentsLog>> = Mutex::new(None);

/// A file of lines for shipping; one older file is kept.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The size at which the file is renamed; there is one older file.
    most_bytes: u64,
}

impl RecordFile {
    /// Opens the file to append to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, most_bytes: u64) -> std::io::Result<Self> {
        let file = regular::append(path, 0o640)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, most_bytes })
    }

    /// Adds a line, which includes its line end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: &str) -> std::io::Result<()> {
        if self.bytes >= self.most_bytes {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *self = Self::open(&self.path, self.most_bytes)?;
        }
        self.bytes += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }
}

/// From now on writes the agent's records to a file too. A failed write is dropped: logging must not fail the work.
pub fn also_to_file(path: &Path, most_bytes: u64) {
    match RecordFile::open(path, most_bytes) {
        Ok(file) => *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
        Err(error) => {
            let path = path.display();
            log::warn!(path:%, error:%; "the agent's own records are not shipped: {path}: {error}");
        }
    }
}

/// Stops writing records to a file.
pub fn not_to_file() {
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// From now on writes the records to the CodeDeploy agent's log of this program too.
pub fn also_as_the_agent(directory: &Path, program: &str) {
    match AgentsLog::open(directory, program, &local_now()) {
        Ok(log) => {
            *AGENTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
        }
        Err(error) => {
            let path = directory.display();
            log::warn!(path:%, error:%; "the CodeDeploy agent's log is not written: {path}: {error}");
        }
    }
}

fn local_now() -> jiff::Zoned {
    hostler_host::clock::now().to_zoned(hostler_host::clock::local_zone())
}

/// The level of the log for people and of the shipped file; the CodeDeploy agent's log has more.
static LEVEL: AtomicUsize = AtomicUsize::new(LevelFilter::Off as usize);

/// The level that the user asked for, which no configuration changes.
static ASKED: OnceLock<Option<LevelFilter>> = OnceLock::new();

fn set_level(level: LevelFilter) {
    LEVEL.store(level as usize, Ordering::Relaxed);
    // The records that operators alert on, and those of the CodeDeploy agent's log, must come as far as this log.
    log::set_max_level(level.max(LevelFilter::Info));
}

/// Whether a record belongs into the log for people at this level. Operators alert on those with a message id, so the level
/// hides none of these, except on the standard error of a verb, which shows its user what went wrong.
fn is_written(record: &Record, level: usize, hides_alerts: bool) -> bool {
    let is_alert = record.key_values().get(Key::from_str("message_id")).is_some();
    record.level() as usize <= level || (is_alert && !hides_alerts)
}

/// Puts the configuration's level in force, unless the user asked for another one.
pub fn configure(level: LogLevel) {
    if ASKED.get().is_none_or(Option::is_none) {
        set_level(level::filter(level));
    }
}

/// Whether a record is of this program. Those of libraries say what no operator knows, and may repeat what they send.
fn is_ours(metadata: &Metadata) -> bool {
    metadata.target().starts_with("hostler")
}

/// Records for people, for shipping, and in the CodeDeploy agent's form.
struct Everywhere<L> {
    people: L,
    /// The log for people is the standard error of a verb.
    hides_alerts: bool,
}

impl<L: Log> Log for Everywhere<L> {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level() && (is_ours(metadata) || metadata.level() <= log::Level::Warn)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let _writing = Writing::begin();
        let level = LEVEL.load(Ordering::Relaxed);
        if is_written(record, level, self.hides_alerts) {
            self.people.log(record);
        }
        let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut().filter(|_| is_written(record, level, false)) {
            let now = hostler_host::clock::now().strftime("%Y-%m-%dT%H:%M:%S.%3f%z");
            // On a full disk the record is still in the log for people.
            let _ = file.write(&format!("{now} {}\n", text_of(record).replace('\n', " ")));
        }
        drop(file);
        let mut agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agents) = agents.as_mut() {
            agents.write(record.level(), &words_of(record), &local_now());
        }
    }

    fn flush(&self) {
        self.people.flush();
    }
}

thread_local! {
    /// This thread is writing a record.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

struct Writing;

impl Writing {
    fn begin() -> Self {
        WRITING.set(true);
        Self
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}

/// Logs a thread's panic. A thread that panicked while it wrote a record holds the log's locks: then only standard
/// error is used.
fn say_panic(message: &str, thread: &str) {
    if WRITING.get() || log::max_level() == LevelFilter::Off {
        let _ = writeln!(std::io::stderr(), "{message} (thread {thread})");
        return;
    }
    log::error!(hostler_event = "panic", thread; "{message}");
}

fn text_of(record: &Record) -> String {
    format!("{} {}", record.level().as_str().to_ascii_lowercase(), words_of(record))
}

/// The message and the fields that it does not say already.
fn words_of(record: &Record) -> String {
    let message = record.args().to_string();
    let mut words = message.clone();
    // A field that cannot be formatted must not lose the message.
    let _ = record.key_values().visit(&mut Fields { said: &message, words: &mut words });
    // Parts of the text come from other hosts, services and releases.
    match printable(&words) {
        Cow::Borrowed(_) => words,
        Cow::Owned(escaped) => escaped,
    }
}

/// Set where the verb itself shows its deployments: their records would say the same once more on standard error.
static SHOWS_DEPLOYMENTS: AtomicBool = AtomicBool::new(false);

/// Leaves the records that the verb's own output repeats out of standard error; the journal has them all.
pub fn deployments_are_shown() {
    SHOWS_DEPLOYMENTS.store(true, Ordering::Relaxed);
}

/// Undoes [`deployments_are_shown`], once the reader of the verb's output is gone.
pub fn deployments_are_not_shown() {
    SHOWS_DEPLOYMENTS.store(false, Ordering::Relaxed);
}

fn is_shown(record: &Record) -> bool {
    let of_output = [
        "deployment-started",
        "event-started",
        "event-ended",
        "deployment-ended",
        OperatorEvent::DeploymentFailed.name(),
        OperatorEvent::InstallNotUndone.name(),
        OperatorEvent::NeedsOperator.name(),
        OperatorEvent::RolledBack.name(),
        "deployment-warning",
    ];
    let event = record.key_values().get(Key::from_str("hostler_event"));
    let is_repeated = event.and_then(|event| event.to_borrowed_str().map(|event| of_output.contains(&event)));
    SHOWS_DEPLOYMENTS.load(Ordering::Relaxed) && is_repeated.unwrap_or(false)
}

struct Fields<'a> {
    said: &'a str,
    words: &'a mut String,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        let is_said = self.said.to_lowercase().contains(&value.to_lowercase());
        // The event's name says the same as its message id.
        if key.as_str() == "message_id" || (is_said && !value.is_empty()) {
            return Ok(());
        }
        write!(self.words, " {key}={value}").map_err(Error::from)
    }
}

/// Writes one of the records that operators alert on, with its name and message id as fields of the journal.
macro_rules! operator_event {
    ($level:ident, $operator_event:expr $(, $key:ident = $value:expr)*; $($message:tt)+) => {{
        let operator_event: hostler_core::operator_events::OperatorEvent = $operator_event;
        log::log!(
            log::Level::$level,
            message_id = operator_event.message_id(),
            hostler_event = operator_event.name()
            $(, $key:% = $value)*;
            $($message)+
        );
    }};
}
pub(crate) use operator_event;

/// Whether the records are the journal's, with their fields.
pub fn goes_to_the_journal() -> bool {
    connected_to_journal()
}

/// Starts logging, at the verb's usual level or at the one that the user asked for.
pub fn start(usual: LevelFilter, asked: Option<LevelFilter>, form: Form) {
    // A second logger in one process would be a mistake of ours; the first logger stays.
    let installed = match JournalLog::new() {
        Ok(journal) if connected_to_journal() => {
            let journal = journal.with_syslog_identifier("hostler".to_owned());
            log::set_boxed_logger(Box::new(Everywhere { people: journal, hides_alerts: false })).is_ok()
        }
        _ => {
            // Only a daemon logs its work; the standard error of another verb is for its user.
            let hides_alerts = usual < LevelFilter::Info;
            log::set_boxed_logger(Box::new(Everywhere { people: Foreground(form), hides_alerts })).is_ok()
        }
    };
    if installed {
        ASKED.get_or_init(|| asked);
        set_level(asked.unwrap_or(usual));
    }
    say_panics();
}

/// Logs every panic with its place.
fn say_panics() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let text = info.payload_as_str().unwrap_or("without words");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        say_panic(&format!("a fault in hostler: panic at {place}: {text}"), thread);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_operators_alert_on_is_written_at_every_level_but_to_a_verbs_user() {
        let alert = [("message_id", OperatorEvent::RolledBack.message_id())];
        let other = [("hostler_event", "rolling-back")];
        let written = |pairs: &[(&str, &str)], level: LevelFilter, hides_alerts: bool| {
            let mut record = Record::builder();
            record.level(log::Level::Warn).key_values(&pairs);
            is_written(&record.build(), level as usize, hides_alerts)
        };
        for level in [LevelFilter::Off, LevelFilter::Error, LevelFilter::Warn, LevelFilter::Debug] {
            assert!(written(&alert, level, false), "{level}");
            let is_asked_for = level >= LevelFilter::Warn;
            assert_eq!(written(&alert, level, true), is_asked_for, "{level}");
            assert_eq!(written(&other, level, false), is_asked_for, "{level}");
        }
    }
}
