//! What is shipped, and where to.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::encoding::Encoding;
use super::lines::{Assembler, StartPattern};
use super::redact::BadPattern;
use super::service::RETENTION_DAYS;
use super::timestamp::{BadFormat, TimestampFormat};

/// Milliseconds for which lines are gathered, unless the configuration says otherwise.
pub const DEFAULT_GATHER_MS: u64 = 1000;

/// Seconds that the end of the daemon waits for the logs to be shipped.
pub const DEFAULT_FLUSH_SECONDS: u64 = 15;

/// Bytes of deleted files that are kept for reading while they are not delivered.
pub const DEFAULT_DELETED_BYTES: u64 = 256 << 20;

/// Everything about shipping logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Whether requests are compressed. The service takes both; emulators may not take gzip.
    pub compress: bool,
    /// Seconds that the end of the daemon waits for what is not shipped yet.
    pub flush_seconds: u64,
    /// Bytes of deleted files that are kept for reading; what is beyond is skipped, oldest first, and counted.
    pub deleted_bytes: u64,
    /// The output of deployments' hooks; `None` is not shipped.
    pub deployments: Option<Target>,
    /// hostler's own records; `None` is not shipped.
    pub agent: Option<Target>,
    /// Metrics in the embedded metric format; `None` are not written.
    pub metrics: Option<Target>,
    /// Application log files.
    pub files: Vec<FileSettings>,
    /// Parts of the systemd journal.
    pub journal: Vec<JournalSettings>,
    /// Patterns that are taken out of everything.
    pub redact: Vec<String>,
    /// Files whose lines are secrets, which are taken out of everything as they are.
    pub redact_values_from: Vec<PathBuf>,
    /// Configuration files of the awslogs agent whose sections are read besides.
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

/// A group and a stream, and how the group is made if it does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The group's name, with placeholders.
    pub log_group_name: String,
    /// The stream's name, with placeholders.
    pub log_stream_name: String,
    /// How the group is made.
    pub group: GroupWish,
}

/// How a group is made. Nothing of it is applied to one that exists.
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
    /// Without wishes about the group.
    pub fn new(group: &str, stream: &str) -> Self {
        Self { log_group_name: group.to_owned(), log_stream_name: stream.to_owned(), group: GroupWish::default() }
    }
}

/// The class of a group, which can never be changed.
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
    /// As the service writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::InfrequentAccess => "INFREQUENT_ACCESS",
            Self::Delivery => "DELIVERY",
        }
    }

    /// The class of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let classes = [Self::Standard, Self::InfrequentAccess, Self::Delivery];
        classes.into_iter().find(|class| class.name().eq_ignore_ascii_case(name))
    }
}

/// The service's list, for messages.
pub fn retention_list() -> String {
    RETENTION_DAYS.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// In which zone times without an offset are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogZone {
    /// The host's.
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// Where reading begins in files that were there when their source was first seen.
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
    /// Where to.
    pub target: Target,
    /// How its bytes are events.
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

/// How bytes are events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineRules {
    /// The format of the time in an event; `None`: its time is when it was read.
    pub datetime_format: Option<String>,
    /// The zone of such times.
    pub time_zone: LogZone,
    /// A regular expression, or `{datetime_format}`, that begins an event of several lines; `None`: a line is an event.
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

/// Line rules as they are used.
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
    /// Makes them usable. `local` is the host's zone.
    ///
    /// # Errors
    /// What is wrong with them.
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
    /// Units, as `journalctl --unit` takes them; none is all.
    pub units: Vec<String>,
    /// The least important priority, as `journalctl --priority` takes it.
    pub priority: Option<String>,
    /// Matches such as `SYSLOG_IDENTIFIER=sudo`; different fields must all match, those of one field need one.
    pub matches: Vec<String>,
    /// Where to.
    pub target: Target,
    /// Where reading begins when there is no cursor yet.
    pub initial_position: InitialPosition,
    /// Milliseconds for which records are gathered.
    pub gather_ms: u64,
}
