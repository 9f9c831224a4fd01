//! Batches: the next one, and the outcome of each.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;

use hostler_core::logs::service::BATCH_BYTES;
use hostler_core::operator_events::OperatorEvent;

use super::positions::Record;
use super::tracked_file::{FileState, Held, Position, TrackedFile};
use super::{Stream, StreamName, Tail};

/// Milliseconds for which the last line of a file may lack its end; then it is sent without.
const PARTIAL_MS: u64 = 5000;

/// The same where lines are joined into events: the next event may not come for hours.
const PARTIAL_SEVERAL_MS: u64 = 2000;

/// The same for a file that was rotated away, and when a caller waits for the end.
const PARTIAL_END_MS: u64 = 1000;

/// A batch that is out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) String);

/// A batch to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// For reporting the outcome.
    pub ticket: Ticket,
    /// The target stream.
    pub name: StreamName,
    /// The request's body.
    pub body: Vec<u8>,
    /// Whether it is compressed with gzip.
    pub is_gzip: bool,
    /// The number of its events.
    pub events: usize,
    /// Whether it was sent before, so that the service may have it.
    pub is_again: bool,
}

impl Tail {
    /// The next batch, if one is due: from the stream that has waited longest for its turn, leaving out `held` streams.
    /// It is written down before it is returned.
    pub fn next(&mut self, now_ms: u64, held: impl Fn(&Ticket) -> bool) -> Option<Outgoing> {
        // Each round serves another stream, or takes a step that makes no batch; it is tried again with the next event.
        for _ in 0..64 {
            let mut ready = self.ready(now_ms);
            ready.retain(|key| !held(&Ticket(key.clone())));
            let key = self.turns.next(ready)?;
            if !self.is_redacted(&key, now_ms) {
                return None;
            }
            let built = self.build(&key, now_ms);
            self.close_idle();
            self.rest_packed();
            if built.is_some() {
                return built;
            }
        }
        None
    }

    /// Whether the secrets to take out of a stream's batch are known; logs an error if not.
    fn is_redacted(&mut self, key: &str, now_ms: u64) -> bool {
        if now_ms < self.redaction.retry_ms() {
            return false;
        }
        let Err(error) = self.redaction.refresh(now_ms) else {
            self.unredacted_said = false;
            return true;
        };
        if !self.unredacted_said {
            log::error!(error:%; "no log is shipped until it is known what its secrets are: {error}");
        }
        self.unredacted_said = true;
        self.errors.note(key, error.to_string());
        false
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

    /// Files with something to read, without those whose path has an older unread file.
    pub(super) fn eligible(&self) -> impl Iterator<Item = &TrackedFile> {
        let mut busy: HashSet<(&str, &OsStr)> = HashSet::new();
        self.files.values().filter(move |file| {
            let is_followed =
                matches!(file.place, FileState::Current | FileState::Rotated) && file.held != Held::Refused;
            let has_work = is_followed && (file.unread() > 0 || file.held == Held::Searched);
            has_work && busy.insert((&file.source, file.origin.as_os_str())) && file.held == Held::No
        })
    }

    /// When a file's bytes are to be sent.
    fn due_of(&self, file: &TrackedFile) -> u64 {
        if file.tried == Some(file.size) {
            return file.grown_ms + self.patience_ms(file);
        }
        let gather_ms = self.sources.get(&file.source).map_or(0, |source| source.gather_ms);
        if self.flushing || file.place == FileState::Rotated || file.unread() >= BATCH_BYTES as u64 {
            return 0;
        }
        file.waiting_since.unwrap_or(0) + gather_ms
    }

    pub(super) fn patience_ms(&self, file: &TrackedFile) -> u64 {
        let several = self.sources.get(&file.source).is_some_and(|source| source.rules.assembler.start.is_some());
        if self.flushing || file.place == FileState::Rotated {
            PARTIAL_END_MS
        } else if several {
            PARTIAL_SEVERAL_MS
        } else {
            PARTIAL_MS
        }
    }

    /// When a batch of a stream that is not `held` is due; `None` while there is none.
    pub fn batch_due_ms(&self, held: impl Fn(&Ticket) -> bool) -> Option<u64> {
        let is_free = |key: &str| self.streams.get(key).is_some_and(Stream::is_free) && !held(&Ticket(key.to_owned()));
        let files = self.eligible().filter(|file| is_free(&file.stream)).map(|file| self.due_of(file));
        let journals = self.journals.values().filter(|journal| is_free(&journal.stream));
        let journals = journals.filter_map(|journal| journal.due_ms(self.flushing));
        let again = self
            .streams
            .iter()
            .filter(|(key, stream)| stream.out.is_none() && stream.again.is_some() && !held(&Ticket((*key).clone())));
        let due = files.chain(journals).chain(again.map(|(_, stream)| stream.retry_ms)).min();
        due.map(|due| due.max(self.redaction.retry_ms()))
    }

    /// When [`Tail::look`] or [`Tail::sync`] has something to do, apart from sending.
    pub fn watch_due_ms(&self) -> u64 {
        self.positions.sync_due_ms().unwrap_or(u64::MAX).min(self.look_due_ms())
    }

    /// Whether everything present was acknowledged.
    pub fn is_empty(&self) -> bool {
        let files = self
            .files
            .values()
            .all(|file| file.unread() == 0 || file.place == FileState::Gone || file.held == Held::Refused);
        files
            && !self.inspections.is_working()
            && self.streams.values().all(|stream| stream.out.is_none() && stream.again.is_none())
            && self.journals.values().all(|journal| journal.due_ms(true).is_none())
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

    /// It is unknown whether the service has taken a batch: the same batch is returned again.
    pub fn release(&mut self, ticket: &Ticket, error: String) {
        if let Some(stream) = self.streams.get_mut(&ticket.0) {
            stream.again = stream.out.take();
        }
        self.errors.note(&ticket.0, error);
    }

    /// The service refuses a batch: half of it is tried, and in the end one event is left out.
    pub fn refuse(&mut self, ticket: &Ticket, error: String, now_ms: u64) {
        let Some(stream) = self.streams.get_mut(&ticket.0) else { return };
        if stream.events > 1 {
            stream.most_events = stream.events / 2;
            stream.out = None;
            self.positions.note(Record::Dropped { stream: ticket.0.clone() });
        } else {
            log::error!(
                message_id = OperatorEvent::LogsLost.message_id(), hostler_event = OperatorEvent::LogsLost.name(),
                stream:% = stream.name.stream, error; "an event of {} is left out: the service refuses it: {error}", stream.name.stream
            );
            self.losses.refused_events += 1;
            self.acknowledge(ticket, now_ms);
        }
        self.errors.note(&ticket.0, error);
    }
}

impl Stream {
    /// Whether no batch of it is out or waits to be sent again.
    fn is_free(&self) -> bool {
        self.out.is_none() && self.again.is_none()
    }
}
