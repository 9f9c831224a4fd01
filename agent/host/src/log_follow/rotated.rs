//! Files that are not at their path any more: the rest is looked for, read to its end, or counted as lost.

use std::path::{Path, PathBuf};

use hostler_core::logs::rotation::{Sameness, compare};
use hostler_core::operator_events::OperatorEvent;

use super::log_reader::{Facts, LogReader, Sample};
use super::positions::Record;
use super::rotation_search::{Around, NewFile, Search};
use super::source::FileSource;
use super::tracked_file::{FileState, Held, Position, TrackedFile};
use super::{FINISHED_KEPT, ROTATED_QUIET_MS, Tail};

impl Tail {
    /// A file's path has another file, or no file.
    pub(super) fn rotate(&mut self, id: u64, now_ms: u64) {
        let Some(file) = self.files.get_mut(&id) else { return };
        file.grown_ms = now_ms;
        file.tried = None;
        match open_facts(file) {
            Some(facts) => {
                file.place = FileState::Rotated;
                file.seen(&facts, now_ms);
            }
            None => self.find(id, now_ms),
        }
        self.write_down(id);
    }

    /// A file's content was replaced in place: the rest may be in a copy. Returns whether the content in between is
    /// known.
    pub(super) fn rewritten(&mut self, id: u64, now_ms: u64) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return true };
        file.reader = LogReader::Closed;
        file.tried = None;
        file.grown_ms = now_ms;
        if file.identity.head.bytes == 0 {
            // It was empty at the last look: it has no rest of its own.
            file.place = FileState::Gone;
        } else {
            self.find(id, now_ms);
        }
        self.write_down(id);
        self.follow_between(id, now_ms)
    }

    fn write_down(&mut self, id: u64) {
        if let Some(file) = self.files.get(&id) {
            self.positions.note(Record::File(file.record()));
        }
    }

    fn around(&mut self) -> Around<'_> {
        Around {
            opener: &self.opener,
            inspections: &mut self.inspections,
            files: &self.files,
            most: self.limits.log_directory_entries,
            bad: Vec::new(),
        }
    }

    /// Looks for a file's rest in its directory.
    fn find(&mut self, id: u64, now_ms: u64) {
        let Some(file) = self.files.get_mut(&id) else { return };
        (file.reader, file.place, file.held) = (LogReader::Closed, FileState::Rotated, Held::No);
        let mut around = self.around();
        let Some(file) = around.files.get(&id) else { return };
        let found = around.find_rest(file);
        let bad = around.bad;
        self.say_left_out(id, &bad);
        let Some(file) = self.files.get_mut(&id) else { return };
        match found {
            Search::Ended(Some(rest)) => {
                (file.path, file.reader) = (rest.path, rest.reader);
                file.seen(&Facts { size: rest.size, ..rest.facts }, now_ms);
                // The file with the rest is now the followed file: the old inode may belong to another file by now.
                let facts = rest.facts;
                (file.identity.device, file.identity.inode) = (facts.device, facts.inode);
                file.identity.born_ns = facts.born_ns;
            }
            Search::Ended(None) => file.place = FileState::Gone,
            Search::Later => file.held = Held::Searched,
            Search::Refused => file.held = Held::Refused,
        }
    }

    /// Files that were rotated away between two looks, or while no agent ran. False while they are not known yet.
    pub(super) fn follow_between(&mut self, id: u64, now_ms: u64) -> bool {
        let mut around = self.around();
        let Some(file) = around.files.get(&id) else { return true };
        let (origin, stream, source) = (file.origin.clone(), file.stream.clone(), file.source.clone());
        let found = around.find_between(file);
        let bad = around.bad;
        self.say_left_out(id, &bad);
        let Some(source) = self.sources.get(&source).cloned() else { return true };
        match found {
            Search::Ended(between) => {
                for between in between {
                    self.inspections.is_followed(&between.facts);
                    self.follow_rotated(&source, &origin, &stream, between, now_ms);
                }
                true
            }
            Search::Later => false,
            Search::Refused => true,
        }
    }

    fn say_left_out(&mut self, id: u64, bad: &[(PathBuf, String)]) {
        let name = self.files.get(&id).and_then(|file| self.streams.get(&file.stream)).map(|stream| &stream.name);
        for (path, reason) in bad {
            if let Some(name) = name {
                self.errors.leave_out(name, path, reason);
            }
        }
    }

    fn follow_rotated(&mut self, source: &FileSource, origin: &Path, stream: &str, between: NewFile, now_ms: u64) {
        let id = self.next_id();
        let mut file = TrackedFile::new(id, &source.key, stream, between, Position::default(), now_ms);
        (file.origin, file.place) = (origin.to_owned(), FileState::Rotated);
        log::info!(path:% = file.path.display(); "the log {} that was rotated away unseen is read", file.path.display());
        self.positions.note(Record::File(file.record()));
        self.files.insert(id, file);
    }

    /// Rotated files may still be written to, and end at last.
    pub(super) fn look_at_rotated(&mut self, now_ms: u64) {
        let rotated: Vec<u64> = self
            .files
            .values()
            .filter(|file| matches!(file.place, FileState::Rotated | FileState::Gone))
            .map(|file| file.id)
            .collect();
        for id in rotated {
            let busy = self.is_in_flight(id);
            let is_lost_sight_of =
                |file: &TrackedFile| file.place == FileState::Rotated && matches!(file.reader, LogReader::Closed);
            if self.files.get(&id).is_some_and(is_lost_sight_of) {
                self.rotate(id, now_ms);
            }
            let Some(file) = self.files.get_mut(&id) else { continue };
            if let LogReader::Plain(open) = &file.reader
                && let Ok(facts) = Facts::of_file(open)
            {
                file.seen(&facts, now_ms);
            }
            if file.place == FileState::Gone && !busy {
                let lost = file.unread();
                self.lose(id, lost, "it was rotated, truncated or deleted before it was read");
            } else if file.place == FileState::Rotated
                && !busy
                && file.unread() == 0
                && now_ms >= file.grown_ms + ROTATED_QUIET_MS
            {
                file.place = FileState::Finished;
                file.reader = LogReader::Closed;
                let (source, origin) = (file.source.clone(), file.origin.clone());
                self.forget_old(&source, &origin);
            }
        }
    }

    /// Counts bytes that can no longer be read, and ends the file.
    pub(super) fn lose(&mut self, id: u64, bytes: u64, why: &str) {
        let Some(file) = self.files.get_mut(&id) else { return };
        if bytes > 0 {
            self.lost_bytes += bytes;
            log::error!(
                message_id = OperatorEvent::LogsLost.message_id(), hostler_event = OperatorEvent::LogsLost.name(),
                path:% = file.path.display(), bytes, from = file.position.offset; "{bytes} bytes of {} are lost: {why}", file.path.display()
            );
            self.errors.note(&file.stream, format!("{bytes} bytes of {} are lost: {why}", file.path.display()));
        }
        file.place = FileState::Finished;
        file.reader = LogReader::Closed;
        file.position.offset = file.position.offset.max(file.size);
        file.waiting_since = None;
        let (source, origin) = (file.source.clone(), file.origin.clone());
        self.positions.note(Record::Gone { id });
        self.forget_old(&source, &origin);
    }

    /// Only the last few finished files of a path are remembered.
    fn forget_old(&mut self, source: &str, origin: &Path) {
        let finished: Vec<u64> = self
            .files
            .values()
            .filter(|file| file.place == FileState::Finished && file.source == source && file.origin == origin)
            .map(|file| file.id)
            .collect();
        for id in finished.iter().take(finished.len().saturating_sub(FINISHED_KEPT)) {
            self.files.remove(id);
            self.positions.note(Record::Gone { id: *id });
        }
    }
}

/// The facts of an open file; `None` when it is not open, or was truncated before it was rotated away.
pub(super) fn open_facts(file: &mut TrackedFile) -> Option<Facts> {
    let LogReader::Plain(open) = &file.reader else { return None };
    let facts = Facts::of_file(open).ok()?;
    let sample = Sample::read(&mut file.reader, file.position.offset).ok()?;
    if compare(file.known(), sample.found(&facts, facts.size)) != Sameness::Same {
        return None;
    }
    file.learn_head(&sample);
    Some(facts)
}
