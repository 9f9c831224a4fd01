//! Builds batches: from due bytes of files and journals, or again from the same bytes as before.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use hostler_core::logs::lines::Ending;
use hostler_core::operator_events::OperatorEvent;

use super::Tail;
use super::fill::{Filled, Filling};
use super::log_reader::LogReader;
use super::positions::{Intent, Record, Segment};
use super::send::{Outgoing, Ticket};
use super::tracked_file::{FileState, Held, Position, TrackedFile};
use crate::safe_path::refusal;

/// Milliseconds until the next try, if a batch cannot be built again yet.
const AGAIN_MS: u64 = 500;

/// The outcome of building a batch again.
enum Repeated {
    Built,
    /// A file cannot be read now.
    Later,
    /// Its bytes are gone.
    Never,
}

impl Tail {
    /// Builds a stream's batch; `None` when there is nothing to send after all.
    pub(super) fn build(&mut self, key: &str, now_ms: u64) -> Option<Outgoing> {
        let again = self.streams.get_mut(key).and_then(|stream| stream.again.take());
        let is_again = again.is_some();
        let intent = match again {
            Some(intent) => match self.repeat(key, &intent) {
                Repeated::Built => intent,
                Repeated::Later => {
                    let stream = self.streams.get_mut(key)?;
                    // A packed file is reached a slice at a time.
                    let wait_ms = if *self.inspections.slice() == 0 { 0 } else { AGAIN_MS };
                    (stream.again, stream.retry_ms) = (Some(intent), now_ms + wait_ms);
                    return None;
                }
                Repeated::Never => {
                    // The file no longer holds the batch's bytes; the rest is sent anew.
                    self.positions.note(Record::Dropped { stream: key.to_owned() });
                    return None;
                }
            },
            None => self.gather(key, now_ms)?,
        };
        let stream = self.streams.get_mut(key)?;
        stream.events = self.batch.events();
        if stream.events == 0 {
            stream.out = Some(intent.clone());
            self.positions.note(Record::Intent { stream: key.to_owned(), intent });
            self.acknowledge(&Ticket(key.to_owned()), now_ms);
            return None;
        }
        let name = stream.name.clone();
        let events = stream.events;
        let body = self.batch.finish();
        let body = if self.compress { compress(body) } else { Ok(body.to_vec()) };
        let body = body.inspect_err(|error| log::error!(error:%; "a batch was not packed: {error}")).ok()?;
        stream.out = Some(intent.clone());
        if !is_again {
            self.positions.note(Record::Intent { stream: key.to_owned(), intent });
        }
        Some(Outgoing { ticket: Ticket(key.to_owned()), name, body, is_gzip: self.compress, events, is_again })
    }

    /// Fills the batch with the events that are due.
    fn gather(&mut self, key: &str, now_ms: u64) -> Option<Intent> {
        let base_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let mut intent = Intent { base_ms, ..Intent::default() };
        self.begin(key);
        if let Some(journal) = self.journals.values().find(|journal| journal.stream == key) {
            let most = self.streams.get(key).map_or(usize::MAX, |stream| stream.most_events);
            let end = journal.fill(&mut self.batch, None, most, self.redaction.redactor())?;
            intent.journal = Some(end);
            return Some(intent);
        }
        let files: Vec<u64> = self.eligible().filter(|file| file.stream == key).map(|file| file.id).collect();
        for id in files {
            let Some((position, full)) = self.fill_from(id, key, base_ms, None, now_ms) else {
                if intent.files.is_empty() {
                    // Drops the events before the failure, which no position covers.
                    self.begin(key);
                }
                continue;
            };
            let Some(file) = self.files.get_mut(&id) else { continue };
            if position.offset == file.position.offset {
                file.tried = Some(file.size);
            } else {
                intent.files.push(segment(id, file.position.offset, &position));
            }
            if full {
                break;
            }
        }
        (!intent.files.is_empty()).then_some(intent)
    }

    fn begin(&mut self, key: &str) {
        if let Some(stream) = self.streams.get(key) {
            self.batch.begin(&stream.name.group, &stream.name.stream);
        }
    }

    /// Fills the batch with the same bytes as before.
    fn repeat(&mut self, key: &str, intent: &Intent) -> Repeated {
        self.begin(key);
        if let Some(wanted) = &intent.journal {
            let Some(journal) = self.journals.get(&wanted.source) else { return Repeated::Never };
            if !journal.has(&wanted.end) {
                return Repeated::Later;
            }
            let filled = journal.fill(&mut self.batch, Some(&wanted.end), usize::MAX, self.redaction.redactor());
            return if filled.is_some() { Repeated::Built } else { Repeated::Never };
        }
        for segment in &intent.files {
            let Some(file) = self.files.get(&segment.id) else { return Repeated::Never };
            if file.position.offset != segment.start || !matches!(file.place, FileState::Current | FileState::Rotated) {
                return Repeated::Never;
            }
            match self.fill_from(segment.id, key, intent.base_ms, Some(segment.end), 0) {
                Some((position, _)) if position.offset == segment.end => {}
                Some(_) => return Repeated::Never,
                None => return Repeated::Later,
            }
        }
        Repeated::Built
    }

    /// Fills the batch from one file. `None` when the file cannot be read now.
    fn fill_from(
        &mut self,
        id: u64,
        key: &str,
        base_ms: i64,
        end: Option<u64>,
        now_ms: u64,
    ) -> Option<(Position, bool)> {
        let file = self.files.get(&id)?;
        let whole = end.is_some() || now_ms >= file.grown_ms + self.patience_ms(file);
        let rules = self.sources.get(&file.source)?.rules.clone();
        if !self.is_open(id) {
            return None;
        }
        if !self.is_reached(id, key) {
            return None;
        }
        let file = self.files.get_mut(&id)?;
        let most_events = if end.is_some() { usize::MAX } else { self.streams.get(key)?.most_events };
        let mut filling = Filling {
            batch: &mut self.batch,
            buffer: &mut self.buffer,
            rules: &rules,
            redactor: self.redaction.redactor(),
            base_ms,
            most_events,
            too_old: 0,
            ahead: 0,
        };
        let filled = filling.fill(file, end, if whole { Ending::Complete } else { Ending::More });
        let (too_old, ahead) = (filling.too_old, filling.ahead);
        if let LogReader::Packed(packed) = &file.reader
            && let Some(end) = packed.end()
        {
            file.size = end.max(file.position.offset);
        }
        match filled {
            Ok(Filled::To { position, full }) => {
                if end.is_none() {
                    self.losses.too_old_events += too_old;
                    self.losses.events_ahead += ahead;
                    self.say_too_old(key, too_old);
                }
                Some((position, full))
            }
            Ok(Filled::Rewritten) => {
                self.was_rewritten(id);
                None
            }
            Err(error) => {
                self.could_not_be_read(id, key, &error);
                None
            }
        }
    }

    /// Once for each stream: an old log that is read for the first time may have millions.
    fn say_too_old(&mut self, key: &str, events: u64) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| events > 0 && !stream.old_said) else { return };
        stream.old_said = true;
        log::warn!(
            message_id = OperatorEvent::LogsLost.message_id(), hostler_event = OperatorEvent::LogsLost.name(),
            stream:% = stream.name.stream; "events of {} older than 14 days are left out: the service would not keep them", stream.name.stream
        );
    }

    fn was_rewritten(&mut self, id: u64) {
        self.look_wanted = true;
        let now_ms = self.looked_ms;
        let is_followed = |file: &TrackedFile| matches!(file.place, FileState::Current | FileState::Rotated);
        if self.files.get(&id).is_some_and(is_followed) {
            self.rewritten(id, now_ms);
        }
    }

    /// Unpacks a packed file as far as its position, a slice at a time.
    fn is_reached(&mut self, id: u64, key: &str) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        let LogReader::Packed(packed) = &mut file.reader else { return true };
        file.unpacked_ms = self.looked_ms;
        match packed.reach(file.position.offset, self.inspections.slice()) {
            Ok(reached) => reached,
            Err(error) => {
                self.could_not_be_read(id, key, &error);
                false
            }
        }
    }

    /// A packed file cannot be unpacked any further.
    fn leave_out_rest(&mut self, id: u64, error: &io::Error) {
        let Some(file) = self.files.get(&id) else { return };
        let (offset, seen) = (file.position.offset, file.size.saturating_sub(file.position.offset));
        let reason = format!("{error}; what comes after byte {offset} of it is left out");
        if let Some(stream) = self.streams.get(&file.stream) {
            self.errors.leave_out(&stream.name, &file.path, &reason);
        }
        self.lose(id, seen, "it cannot be unpacked");
    }

    fn could_not_be_read(&mut self, id: u64, key: &str, error: &io::Error) {
        let Some(file) = self.files.get_mut(&id) else { return };
        if matches!(file.reader, LogReader::Packed(_)) {
            return self.leave_out_rest(id, error);
        }
        // A bad sector: it is tried again when the file changes, or with the next sweep.
        file.tried = Some(file.size);
        let path = file.path.display().to_string();
        self.errors.note(key, format!("cannot read {path}: {error}"));
        log::warn!(path, error:%; "the log {path} cannot be read: {error}");
    }

    /// Opens a file at its path; if it is not there, looks for it.
    fn is_open(&mut self, id: u64) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        match file.open_at_path(&self.opener) {
            Ok(true) => true,
            Err(error) if refusal(&error).is_some() => {
                file.held = Held::Refused;
                if let Some(stream) = self.streams.get(&file.stream) {
                    self.errors.opened(&stream.name, &file.path, &error);
                }
                false
            }
            _ => {
                // The next look finds out where it is.
                file.tried = Some(file.size);
                self.look_wanted = true;
                false
            }
        }
    }
}

fn segment(id: u64, start: u64, to: &Position) -> Segment {
    Segment { id, start, end: to.offset, trail: to.trail, last_ms: to.last_ms }
}

/// Level 1: a fifth of the bytes for a third of the time of the next levels.
fn compress(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
