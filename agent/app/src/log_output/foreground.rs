//! The log on standard error, for people.

use hostler_host::clock;
use log::{Level, Log, Metadata, Record};

use super::{is_shown, words_of};
use crate::terminal::{BAD, CAUTION, painted_to_stderr};

/// The form of a record on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `warning: MESSAGE`, as the verbs' own notices.
    Brief,
    /// `TIME LEVEL MESSAGE`, for a daemon and for debugging.
    Timed,
}

/// Writes records to standard error.
pub struct Foreground(pub Form);

impl Log for Foreground {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        // A user who asks for records, which have times then, gets them all.
        if self.0 == Form::Brief && is_shown(record) {
            return;
        }
        let (level, word) = (record.level(), record.level().as_str().to_ascii_lowercase());
        match self.0 {
            Form::Brief => {
                let mark = if level == Level::Warn { "warning" } else { word.as_str() };
                let text = format!("{mark}: {}\n", record.args());
                painted_to_stderr(&text, &[("^error:", BAD), ("^warning:", CAUTION)]);
            }
            Form::Timed => {
                let words = if log::max_level() >= Level::Debug { words_of(record) } else { record.args().to_string() };
                let time = clock::local_time(clock::now_ms());
                let text = format!("{time} {word:<5} {words}\n");
                painted_to_stderr(&text, &[(" error ", BAD), (" warn ", CAUTION)]);
            }
        }
    }

    fn flush(&self) {}
}
