//! Which logs to ship, and where to.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::encoding::Encoding;
use super::lines::{Assembler, StartPattern};
use super::redact::BadPattern;
use super::service::RETENTION_DAYS;
use super::timestamp::{BadFormat, TimestampFormat};

/// Default milliseconds for which lines are gathered.
pub const DEFAULT_GATHER_MS: u64 = 1000;

/// Seconds for which a stopping daemon waits until the logs are shipped.
pub const DEFAULT_FLUSH_SECONDS: u64 = 15;

/// Bytes of deleted files that are kept until they are delivered.
pub const DEFAULT_DELETED_BYTES: u64 = 256 << 20;

/// Everything about shipping logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Whether to compress requests. The service accepts both; emulators may not accept gzip.
    pub compress: bool,
    /// Seconds for which a stopping daemon waits for logs that are not shipped yet.
    pub flush_seconds: u64,
    /// Bytes of deleted files that are kept for reading; beyond that, the oldest are skipped and counted.
    pub deleted_bytes: u64,
    /// The target of hook output; `None` ships none.
    pub deployments: Option<Target>,
    /// The target of hostler's own records; `None` ships none.
    pub agent: Option<Target>,
    /// The target of metrics in the embedded metric format; `None` writes none.
    pub metrics: Option<Target>,
    /// Application log files.
    pub files: Vec<FileSettings>,
    /// Parts of the systemd journal.
    pub journal: Vec<JournalSettings>,
    /// Patterns that are redacted everywhere.
    pub redact: Vec<String>,
    /// Files whose lines are secrets; those are redacted everywhere as they are.
    pub redact_values_from: Vec<PathBuf>,
    /// Configuration files of the awslogs agent whose sections are read as well.
    pub awslogs_config: Vec<PathBuf>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            compress: true,
            flush_seconds: DEFAULT_FLUSH_SECONDS,
            deleted_bytes: DEFAULT_DELETED_BYTES,
            deployments: Some(Target::new(
                "/hostler/{application}/{deployment_group}",
                "{instance_id}/{deployment_id}",
            )),
            agent: Some(Target::new("/hostler/agent", "{instance_id}")),
            metrics: None,
            files: Vec::new(),
            journal: Vec::new(),
            redact: Vec::new(),
            redact_values_from: Vec::new(),
            awslogs_config: Vec::new(),
        }
    }
}

/// A group and a stream, and the settings of a new group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The group's name, with placeholders.
    pub log_group_name: String,
    /// The stream's name, with placeholders.
    pub log_stream_name: String,
    /// The settings of a new group.
    pub group: GroupWish,
}

/// The settings of a new group. None of them is applied to an existing one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupWish {
    /// Days that it keeps events; `None` is for ever.
    pub retention_in_days: Option<u32>,
    /// Its class; `None` is the standard one.
    pub log_group_class: Option<LogGroupClass>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

impl Target {
    /// A target without settings for a new group.
    pub fn new(group: &str, stream: &str) -> Self {
        Self { log_group_name: group.to_owned(), log_stream_name: stream.to_owned(), group: GroupWish::default() }
    }
}

/// The class of a group, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogGroupClass {
    /// All features.
    Standard,
    /// Fewer features, half the price.
    InfrequentAccess,
    /// For delivery to S3 or Firehose only.
    Delivery,
}

impl LogGroupClass {
    /// The service's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::InfrequentAccess => "INFREQUENT_ACCESS",
            Self::Delivery => "DELIVERY",
        }
    }

    /// The class with this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let classes = [Self::Standard, Self::InfrequentAccess, Self::Delivery];
        classes.into_iter().find(|class| class.name().eq_ignore_ascii_case(name))
    }
}

/// The service's list, for messages.
pub fn retention_list() -> String {
    RETENTION_DAYS.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The zone of times without an offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogZone {
    /// The host's.
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// Where reading begins in files that existed when the agent first saw their source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InitialPosition {
    /// At their beginning.
    #[default]
    StartOfFile,
    /// At their end.
    EndOfFile,
}

/// Files of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// An absolute path or glob.
    pub file: String,
    /// Globs of paths or file names that are left out.
    pub exclude: Vec<String>,
    /// The target.
    pub target: Target,
    /// How its bytes become events.
    pub rules: LineRules,
    /// Where reading begins.
    pub initial_position: InitialPosition,
    /// Milliseconds for which lines are gathered.
    pub gather_ms: u64,
}

impl FileSettings {
    /// A file with defaults for everything else.
    pub fn new(file: &str, target: Target) -> Self {
        Self {
            file: file.to_owned(),
            exclude: Vec::new(),
            target,
            rules: LineRules::default(),
            initial_position: InitialPosition::default(),
            gather_ms: DEFAULT_GATHER_MS,
        }
    }
}

/// How bytes become events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineRules {
    /// The format of the time in an event; `None` uses the time of reading.
    pub datetime_format: Option<String>,
    /// The zone of such times.
    pub time_zone: LogZone,
    /// A regular expression, or `{datetime_format}`, that begins an event of several lines; with `None` each line is an
    /// event.
    pub multi_line_start_pattern: Option<String>,
    /// The name of the encoding; empty for UTF-8.
    pub encoding: String,
}

/// Line rules that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRules {
    /// The format of the time.
    #[error("datetime_format: {0}")]
    Format(#[from] BadFormat),
    /// The pattern.
    #[error("multi_line_start_pattern: {0}")]
    Pattern(#[from] BadPattern),
    /// `{datetime_format}` without one.
    #[error("multi_line_start_pattern: {{datetime_format}} needs a datetime_format")]
    NoFormat,
    /// The encoding.
    #[error("encoding: {0:?} is not known; write its IANA or Python name, for example utf-8, latin-1 or utf-16le")]
    Encoding(String),
}

/// Compiled line rules.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Cuts bytes into events.
    pub assembler: Assembler,
    /// The time in an event.
    pub time: Option<TimestampFormat>,
    /// Bytes to text.
    pub encoding: Encoding,
}

impl LineRules {
    /// Compiles them. `local` is the host's zone.
    ///
    /// # Errors
    /// The mistake in them.
    pub fn compile(&self, local: &TimeZone) -> Result<Rules, BadRules> {
        let zone = if self.time_zone == LogZone::Utc { TimeZone::UTC } else { local.clone() };
        let time = self.datetime_format.as_deref().map(|format| TimestampFormat::new(format, zone)).transpose()?;
        let encoding = match self.encoding.as_str() {
            "" => Encoding::default(),
            name => Encoding::named(name).ok_or_else(|| BadRules::Encoding(name.to_owned()))?,
        };
        let start = match self.multi_line_start_pattern.as_deref() {
            None => None,
            Some("{datetime_format}") => Some(StartPattern::Timestamp(time.clone().ok_or(BadRules::NoFormat)?)),
            Some(pattern) => {
                super::redact::compile(pattern)?;
                let bytes = regex::bytes::Regex::new(pattern);
                Some(StartPattern::Regex(
                    bytes.map_err(|error| BadPattern { pattern: pattern.to_owned(), reason: error.to_string() })?,
                ))
            }
        };
        Ok(Rules { assembler: Assembler { newline: encoding.newline(), start }, time, encoding })
    }
}

/// A part of the systemd journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Units, as `journalctl --unit` takes them; without any, all units.
    pub units: Vec<String>,
    /// The least important priority, as `journalctl --priority` takes it.
    pub priority: Option<String>,
    /// Matches such as `SYSLOG_IDENTIFIER=sudo`. Different fields must all match; of several for one field, one must
    /// match.
    pub matches: Vec<String>,
    /// The target.
    pub target: Target,
    /// Where reading begins when there is no cursor yet.
    pub initial_position: InitialPosition,
    /// Milliseconds for which records are gathered.
    pub gather_ms: u64,
}
