//! Where the agent's own log goes: the journal with the record's key/values as fields, where standard error is connected
//! to it; else standard error, one line a record, with the key/values behind the message.

use std::fmt::Write as _;
use std::io::Write as _;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let mut line = format!("{} {}", record.level().as_str().to_ascii_lowercase(), record.args());
            let mut fields = Fields(&mut line);
            // A field that cannot be shown must not cost the message.
            let _ = record.key_values().visit(&mut fields);
            line.push('\n');
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // It says nothing to people that the message does not say.
        if key.as_str() == "message_id" {
            return Ok(());
        }
        write!(self.0, " {key}={value}").map_err(Error::from)
    }
}

/// Writes one of the records that operators alert on, with its name and message id as fields of the journal.
macro_rules! notable {
    ($level:ident, $notable:expr $(, $key:ident = $value:expr)*; $($message:tt)+) => {{
        let notable: hostler_core::notable::Notable = $notable;
        log::log!(
            log::Level::$level,
            message_id = notable.message_id(),
            hostler_event = notable.name()
            $(, $key:% = $value)*;
            $($message)+
        );
    }};
}
pub(crate) use notable;

/// Starts logging; the daemon logs what it does, other verbs only what is wrong.
pub fn start(level: LevelFilter) {
    // A second logger in one process would be a mistake of ours; the first one stays.
    let installed = match JournalLog::new() {
        Ok(journal) if connected_to_journal() => journal.with_syslog_identifier("hostler".to_owned()).install().is_ok(),
        _ => log::set_logger(&Stderr).is_ok(),
    };
    if installed {
        log::set_max_level(level);
    }
}
