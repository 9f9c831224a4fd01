//! From the bytes of a file to the events of a batch.

use std::borrow::Cow;
use std::io;

use hostler_core::logs::batch::{Added, Batch};
use hostler_core::logs::lines::{CUT_MARK, EVENT_BYTES, Ending, Piece};
use hostler_core::logs::redact::Redactor;
use hostler_core::logs::service::{NEWEST_MS, OLDEST_MS};
use hostler_core::logs::settings::Rules;

use super::log_reader::LogReader;
use super::tracked_file::{Position, TrackedFile, Window};

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// The largest read buffer in bytes, for one long event.
const MOST_BYTES: usize = EVENT_BYTES + (64 << 10);

/// Most bytes of one file that are looked at for one batch. Prevents: a file with nothing but old lines that keeps all
/// others waiting.
const TURN_BYTES: u64 = 16 << 20;

/// The data that all files of a batch share.
pub(super) struct Filling<'f> {
    pub batch: &'f mut Batch,
    pub buffer: &'f mut Vec<u8>,
    pub rules: &'f Rules,
    pub redactor: &'f Redactor,
    pub base_ms: i64,
    /// Most events, where the service refused a longer batch.
    pub most_events: usize,
    /// Events that were left out because they are too old, and those whose time was too far ahead.
    pub too_old: u64,
    pub ahead: u64,
}

/// The outcome for one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// So far it is in the batch.
    To {
        position: Position,
        /// The batch is full, or this file's turn is over.
        full: bool,
    },
    /// The file no longer holds the bytes that were read.
    Rewritten,
}

impl Filling<'_> {
    /// Puts events of a file into the batch, from its position up to `end` or to its end. `ending` says whether the
    /// last event there is whole.
    pub fn fill(&mut self, file: &mut TrackedFile, end: Option<u64>, ending: Ending) -> io::Result<Filled> {
        let mut at = file.position.offset;
        let mut last_ms = file.position.last_ms;
        let mut window = Window::read(&mut file.reader, at)?;
        if !window.trail_ends_with(&file.position.trail) {
            return Ok(Filled::Rewritten);
        }
        if self.buffer.len() < READ_BYTES {
            self.buffer.resize(READ_BYTES, 0);
        }
        loop {
            let room = self.buffer.len() as u64;
            let wanted = usize::try_from(end.map_or(room, |end| room.min(end.saturating_sub(at)))).unwrap_or(0);
            let read = file.reader.read_at(&mut self.buffer[..wanted], at)?;
            if !file.is_unchanged(&window, at)? {
                return Ok(Filled::Rewritten);
            }
            let is_last = read < self.buffer.len();
            let ending = if is_last { ending } else { Ending::More };
            let (used, stopped) = self.take(read, ending, &mut last_ms);
            window.push(&self.buffer[..used]);
            at += used as u64;
            at += self.skip_hole(file, used, read, at, &mut window)?;
            let full = stopped || at - file.position.offset >= TURN_BYTES;
            if full || is_last || (used == 0 && self.buffer.len() >= MOST_BYTES) {
                self.shrink();
                return Ok(Filled::To { position: Position { offset: at, trail: window.trail(), last_ms }, full });
            }
            if used == 0 {
                let larger = (self.buffer.len() * 2).min(MOST_BYTES);
                self.buffer.resize(larger, 0);
            }
        }
    }

    /// Frees the memory that one long event needed.
    fn shrink(&mut self) {
        if self.buffer.len() > READ_BYTES {
            self.buffer.truncate(READ_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    /// Puts the events at the beginning of the buffer into the batch; returns their length in bytes, and whether the
    /// batch is full.
    fn take(&mut self, read: usize, ending: Ending, last_ms: &mut Option<i64>) -> (usize, bool) {
        let buffer = std::mem::take(self.buffer);
        let mut used = 0;
        let mut stopped = false;
        while let Some(piece) = self.rules.assembler.next(&buffer[used..read], ending) {
            if piece.is_event && !self.add(&buffer[used..], &piece, last_ms) {
                stopped = true;
                break;
            }
            used += piece.end;
        }
        *self.buffer = buffer;
        (used, stopped)
    }

    /// Whether the batch took the event.
    fn add(&mut self, bytes: &[u8], piece: &Piece, last_ms: &mut Option<i64>) -> bool {
        if self.batch.events() >= self.most_events {
            return false;
        }
        let raw = &bytes[piece.text.clone()];
        let found = self.rules.time.as_ref().and_then(|time| time.find(raw, self.base_ms));
        let time = found.or(self.rules.time.is_some().then_some(*last_ms).flatten()).unwrap_or(self.base_ms);
        if time < self.base_ms.saturating_sub(OLDEST_MS) {
            // The service would not keep it.
            self.too_old += 1;
            *last_ms = found.or(*last_ms);
            return true;
        }
        let is_ahead = time > self.base_ms.saturating_add(NEWEST_MS);
        let time_sent = if is_ahead { self.base_ms } else { time };
        let added = if self.redactor.is_empty() && !piece.cut {
            match self.rules.encoding.decode(raw) {
                Cow::Borrowed("") => self.batch.add(time_sent, " "),
                text => self.batch.add(time_sent, &text),
            }
        } else {
            self.add_changed(raw, piece, time_sent)
        };
        if added == Added::Full {
            return false;
        }
        self.ahead += u64::from(is_ahead);
        if found.is_some() {
            *last_ms = found;
        }
        true
    }

    fn add_changed(&mut self, raw: &[u8], piece: &Piece, time: i64) -> Added {
        let text = self.redactor.redact(self.rules.encoding.decode(raw));
        if piece.cut {
            let mut text = text.into_owned();
            text.push_str(CUT_MARK);
            return self.batch.add(time, &text);
        }
        // The service takes no empty message, and an empty line is a line.
        self.batch.add(time, if text.is_empty() { " " } else { &text })
    }

    /// Skips a hole in a sparse file at once; returns its length in bytes.
    fn skip_hole(&self, file: &TrackedFile, used: usize, read: usize, at: u64, window: &mut Window) -> io::Result<u64> {
        let LogReader::Plain(plain) = &file.reader else { return Ok(0) };
        if used == 0 || used < read || self.buffer[used - 1] != 0 {
            return Ok(0);
        }
        match rustix::fs::seek(plain, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) if data > at => {
                window.push(&[0; hostler_core::logs::identity::TRAIL_BYTES]);
                Ok(data - at)
            }
            // A hole up to the end, or a file system that knows no holes: it is read.
            _ => Ok(0),
        }
    }
}
