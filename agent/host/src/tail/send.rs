//! Batches: which is next, what is in it, and what became of it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use hostler_core::logs::lines::Ending;
use hostler_core::logs::service::BATCH_BYTES;

use super::fill::{Filled, Filling};
use super::followed::{Followed, Place, Position};
use super::medium::Medium;
use super::positions::{Intent, Record, Segment};
use super::{Stream, StreamName, Tail};

/// Milliseconds for which the last line of a file may be without its end before it is sent as it is.
const PARTIAL_MS: u64 = 5000;

/// The same where lines are put together: the next event may not come for hours.
const PARTIAL_SEVERAL_MS: u64 = 2000;

/// The same for a file that was rotated away, and when somebody waits for the end.
const PARTIAL_END_MS: u64 = 1000;

/// Milliseconds until a batch that cannot be built again yet is tried again.
const AGAIN_MS: u64 = 500;

/// What came of building a batch again.
enum Repeated {
    Built,
    /// A file cannot be read now.
    Later,
    /// What it was made of is gone.
    Never,
}

/// A batch that is out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(String);

/// A batch to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// For saying what became of it.
    pub ticket: Ticket,
    /// Where to.
    pub name: StreamName,
    /// The request's body.
    pub body: Vec<u8>,
    /// It is compressed with gzip.
    pub is_gzip: bool,
    /// Its events.
    pub events: usize,
    /// It was sent before, and the service may have taken it.
    pub is_again: bool,
}

impl Tail {
    /// The next batch, if one is due: of the stream that has waited for its turn for the longest time, of those that are not
    /// `held`. It is written down before it is given.
    pub fn next(&mut self, now_ms: u64, held: impl Fn(&Ticket) -> bool) -> Option<Outgoing> {
        // Each round serves another stream, or takes a step that makes no batch; it is tried again with the next event.
        for _ in 0..64 {
            let mut ready = self.ready(now_ms);
            ready.retain(|key| !held(&Ticket(key.clone())));
            let key = self.turns.next(ready)?;
            if let Some(outgoing) = self.build(&key, now_ms) {
                return Some(outgoing);
            }
        }
        None
    }

    /// Streams with something to send that have no batch out.
    fn ready(&self, now_ms: u64) -> BTreeSet<String> {
        let mut ready: BTreeSet<String> = self
            .streams
            .iter()
            .filter(|(_, s)| s.out.is_none() && s.again.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        let is_free = |stream: &str| self.streams.get(stream).is_some_and(Stream::is_free);
        for file in self.eligible() {
            if !ready.contains(&file.stream) && is_free(&file.stream) && self.due_of(file) <= now_ms {
                ready.insert(file.stream.clone());
            }
        }
        for journal in self.journals.values() {
            if is_free(&journal.stream) && journal.due_ms(self.flushing).is_some_and(|due| due <= now_ms) {
                ready.insert(journal.stream.clone());
            }
        }
        ready
    }

    /// Files with something to read, without those that come after an older file of the same path.
    fn eligible(&self) -> impl Iterator<Item = &Followed> {
        let mut busy: BTreeSet<(&str, &Path)> = BTreeSet::new();
        self.files.values().filter(move |file| {
            let has_work = file.unread() > 0 && matches!(file.place, Place::Current | Place::Rotated);
            has_work && busy.insert((&file.source, &file.origin))
        })
    }

    /// When a file's bytes are to be sent.
    fn due_of(&self, file: &Followed) -> u64 {
        if file.tried == Some(file.size) {
            return file.grown_ms + self.patience_ms(file);
        }
        let gather_ms = self.sources.get(&file.source).map_or(0, |source| source.gather_ms);
        if self.flushing || file.place == Place::Rotated || file.unread() >= BATCH_BYTES as u64 {
            return 0;
        }
        file.waiting_since.unwrap_or(0) + gather_ms
    }

    fn patience_ms(&self, file: &Followed) -> u64 {
        let several = self.sources.get(&file.source).is_some_and(|source| source.rules.assembler.start.is_some());
        if self.flushing || file.place == Place::Rotated {
            PARTIAL_END_MS
        } else if several {
            PARTIAL_SEVERAL_MS
        } else {
            PARTIAL_MS
        }
    }

    /// When there is a batch to be sent of a stream that is not `held`; `None` while there is none.
    pub fn batch_due_ms(&self, held: impl Fn(&Ticket) -> bool) -> Option<u64> {
        let is_free = |key: &str| self.streams.get(key).is_some_and(Stream::is_free) && !held(&Ticket(key.to_owned()));
        let files = self.eligible().filter(|file| is_free(&file.stream)).map(|file| self.due_of(file));
        let journals = self.journals.values().filter(|journal| is_free(&journal.stream));
        let journals = journals.filter_map(|journal| journal.due_ms(self.flushing));
        let again = self
            .streams
            .iter()
            .filter(|(key, stream)| stream.out.is_none() && stream.again.is_some() && !held(&Ticket((*key).clone())));
        files.chain(journals).chain(again.map(|(_, stream)| stream.retry_ms)).min()
    }

    /// When [`Tail::look`] or [`Tail::sync`] has something to do, whatever is sent.
    pub fn watch_due_ms(&self) -> u64 {
        self.positions.sync_due_ms().unwrap_or(u64::MAX).min(self.look_due_ms())
    }

    /// Whether everything that is there was acknowledged.
    pub fn is_empty(&self) -> bool {
        let files = self.files.values().all(|file| file.unread() == 0 || file.place == Place::Gone);
        files
            && self.streams.values().all(|stream| stream.out.is_none() && stream.again.is_none())
            && self.journals.values().all(|journal| journal.due_ms(true).is_none())
    }

    /// Builds a stream's batch; `None` when there is nothing to send after all.
    fn build(&mut self, key: &str, now_ms: u64) -> Option<Outgoing> {
        let again = self.streams.get_mut(key).and_then(|stream| stream.again.take());
        let is_again = again.is_some();
        let intent = match again {
            Some(intent) => match self.repeat(key, &intent) {
                Repeated::Built => intent,
                Repeated::Later => {
                    let stream = self.streams.get_mut(key)?;
                    (stream.again, stream.retry_ms) = (Some(intent), now_ms + AGAIN_MS);
                    return None;
                }
                Repeated::Never => {
                    // What it was made of is not there any more; what is left of it is sent anew.
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
        let body = body.inspect_err(|error| log::error!(error:%; "a batch was not packed")).ok()?;
        stream.out = Some(intent.clone());
        if !is_again {
            self.positions.note(Record::Intent { stream: key.to_owned(), intent });
        }
        Some(Outgoing { ticket: Ticket(key.to_owned()), name, body, is_gzip: self.compress, events, is_again })
    }

    /// Fills the batch with what is due.
    fn gather(&mut self, key: &str, now_ms: u64) -> Option<Intent> {
        let base_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let mut intent = Intent { base_ms, ..Intent::default() };
        self.begin(key);
        if let Some(journal) = self.journals.values().find(|journal| journal.stream == key) {
            let most = self.streams.get(key).map_or(usize::MAX, |stream| stream.most_events);
            let end = journal.fill(&mut self.batch, None, most, &self.redactor)?;
            intent.journal = Some(end);
            return Some(intent);
        }
        let files: Vec<u64> = self.eligible().filter(|file| file.stream == key).map(|file| file.id).collect();
        for id in files {
            let Some((position, full)) = self.fill_from(id, key, base_ms, None, now_ms) else { continue };
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

    /// Fills the batch with what it was made of before.
    fn repeat(&mut self, key: &str, intent: &Intent) -> Repeated {
        self.begin(key);
        if let Some(wanted) = &intent.journal {
            let Some(journal) = self.journals.get(&wanted.source) else { return Repeated::Never };
            if !journal.has(&wanted.end) {
                return Repeated::Later;
            }
            let filled = journal.fill(&mut self.batch, Some(&wanted.end), usize::MAX, &self.redactor);
            return if filled.is_some() { Repeated::Built } else { Repeated::Never };
        }
        for segment in &intent.files {
            let Some(file) = self.files.get(&segment.id) else { return Repeated::Never };
            if file.position.offset != segment.start || !matches!(file.place, Place::Current | Place::Rotated) {
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
        let file = self.files.get_mut(&id)?;
        let most_events = if end.is_some() { usize::MAX } else { self.streams.get(key)?.most_events };
        let mut filling = Filling {
            batch: &mut self.batch,
            buffer: &mut self.buffer,
            rules: &rules,
            redactor: &self.redactor,
            base_ms,
            most_events,
            too_old: 0,
            ahead: 0,
        };
        let filled = filling.fill(file, end, if whole { Ending::Complete } else { Ending::More });
        let (too_old, ahead) = (filling.too_old, filling.ahead);
        match filled {
            Ok(Filled::To { position, full }) => {
                if end.is_none() {
                    self.losses.too_old_events += too_old;
                    self.losses.events_ahead += ahead;
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

    fn was_rewritten(&mut self, id: u64) {
        self.look_wanted = true;
        let now_ms = self.looked_ms;
        let is_followed = |file: &Followed| matches!(file.place, Place::Current | Place::Rotated);
        if self.files.get(&id).is_some_and(is_followed) {
            self.rewritten(id, now_ms);
        }
    }

    fn could_not_be_read(&mut self, id: u64, key: &str, error: &io::Error) {
        let Some(file) = self.files.get_mut(&id) else { return };
        // A bad sector or a broken archive: it is tried again when the file changes, or with the next sweep.
        file.tried = Some(file.size);
        let path = file.path.display().to_string();
        if matches!(file.medium, Medium::Packed(_)) {
            file.place = Place::Gone;
        }
        self.errors.note(key, format!("cannot read {path}: {error}"));
        log::warn!(path, error:%; "a log cannot be read");
    }

    /// Opens a file where it is; looks for it where it is not.
    fn is_open(&mut self, id: u64) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        match file.open_at_path() {
            Ok(true) => true,
            _ => {
                // The next look finds out what became of it.
                file.tried = Some(file.size);
                self.look_wanted = true;
                false
            }
        }
    }

    /// The service has taken a batch.
    pub fn acknowledge(&mut self, ticket: &Ticket, now_ms: u64) {
        let Some(stream) = self.streams.get_mut(&ticket.0) else { return };
        let Some(intent) = stream.out.take() else { return };
        stream.most_events = stream.most_events.saturating_mul(2);
        self.errors.of_streams.remove(&ticket.0);
        for segment in &intent.files {
            if let Some(file) = self.files.get_mut(&segment.id) {
                file.position = Position { offset: segment.end, trail: segment.trail, last_ms: segment.last_ms };
                file.size = file.size.max(segment.end);
                file.waiting_since = None;
                file.wait_from(now_ms);
                file.tried = None;
            }
        }
        if let Some(end) = &intent.journal
            && let Some(journal) = self.journals.get_mut(&end.source)
        {
            journal.acknowledged(&end.end);
        }
        self.positions.note(Record::Done { stream: ticket.0.clone() });
    }

    /// It is not known whether the service has taken a batch: the same one is given again.
    pub fn release(&mut self, ticket: &Ticket, error: String) {
        if let Some(stream) = self.streams.get_mut(&ticket.0) {
            stream.again = stream.out.take();
        }
        self.errors.note(&ticket.0, error);
    }

    /// The service does not take a batch as it is: half of it is tried, at last one event is left out.
    pub fn refuse(&mut self, ticket: &Ticket, error: String, now_ms: u64) {
        let Some(stream) = self.streams.get_mut(&ticket.0) else { return };
        if stream.events > 1 {
            stream.most_events = stream.events / 2;
            stream.out = None;
            self.positions.note(Record::Dropped { stream: ticket.0.clone() });
        } else {
            log::error!(stream:% = stream.name.stream, error; "an event is left out: the service refuses it");
            self.losses.refused_events += 1;
            self.acknowledge(ticket, now_ms);
        }
        self.errors.note(&ticket.0, error);
    }
}

impl Stream {
    /// No batch of it is out or waits for being sent again.
    fn is_free(&self) -> bool {
        self.out.is_none() && self.again.is_none()
    }
}

fn segment(id: u64, start: u64, to: &Position) -> Segment {
    Segment { id, start, end: to.offset, trail: to.trail, last_ms: to.last_ms }
}

/// Level 1: five times fewer bytes for a third of the time of the next levels.
fn compress(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
