//! Looks at the patterns' files: new ones, rotated ones, truncated ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostler_core::logs::identity::Fingerprint;
use hostler_core::logs::rotation::{Packing, Sameness, compare, packing, rotated_name};
use hostler_core::logs::settings::InitialPosition;

use super::Tail;
use super::log_reader::{Facts, LogReader, Sample, open};
use super::positions::Record;
use super::rotated::open_facts;
use super::rotation_search::{NewFile, is_prefix_copy, name_of};
use super::source::FileSource;
use super::tracked_file::{FileState, Held, Position, TrackedFile};
use crate::safe_path::refusal;

/// Milliseconds between two looks at everything, with and without the kernel's news of changes.
const SWEEP_MS: u64 = 10_000;
const SWEEP_BLIND_MS: u64 = 2_000;

/// The least milliseconds between two looks, however many changes the kernel reports.
const LOOK_MS: u64 = 100;

impl Tail {
    /// Looks at changed files, if it is time to. Waits for nothing but the disk.
    pub fn look(&mut self, now_ms: u64) {
        self.look_wanted |= self.inspections.go_on();
        let told = self.watch.told();
        self.look_wanted |= told.look;
        self.written.extend(told.written);
        if now_ms < self.looked_ms + LOOK_MS {
            return;
        }
        let sweep = if self.blind { SWEEP_BLIND_MS } else { SWEEP_MS };
        if self.look_wanted || now_ms >= self.swept_ms + sweep {
            self.written.clear();
            self.sweep(now_ms);
        } else if !self.written.is_empty() {
            self.look_at_written(now_ms);
        } else {
            return;
        }
        self.looked_ms = now_ms;
    }

    /// When [`Tail::look`] has something to do, if the kernel reports nothing before.
    pub(super) fn look_due_ms(&self) -> u64 {
        if self.look_wanted || !self.written.is_empty() {
            return self.looked_ms + LOOK_MS;
        }
        if self.inspections.is_working() {
            return 0;
        }
        self.swept_ms + if self.blind { SWEEP_BLIND_MS } else { SWEEP_MS }
    }

    /// Looks at everything.
    pub fn sweep(&mut self, now_ms: u64) {
        self.inspections.go_on();
        (self.look_wanted, self.swept_ms, self.blind) = (false, now_ms, false);
        self.errors.begin_sweep();
        self.files.values_mut().filter(|file| file.held == Held::Refused).for_each(|file| file.held = Held::No);
        for key in self.sources.keys().cloned().collect::<Vec<_>>() {
            let Some(source) = self.sources.get(&key).cloned() else { continue };
            let found = source.find(&self.opener, self.limits.log_files_of_pattern);
            for directory in &found.directories {
                self.blind |= !self.watch.add(directory);
            }
            if found.cut {
                self.errors.too_many(&source.pattern, self.limits.log_files_of_pattern);
            }
            for (path, error) in &found.refused {
                self.errors.opened(&source.stream_name(path), path, error);
            }
            let first_time = !self.positions.book.sources.contains(&key);
            let paths = found.files;
            let there: BTreeSet<&PathBuf> = paths.iter().collect();
            let refused: Vec<PathBuf> = found.refused.into_iter().map(|(path, _)| path).collect();
            self.leave_missing(&key, &there, &refused, now_ms);
            for path in &paths {
                let current = self.current(&source.key, path);
                self.look_at(&source, path, current, first_time, now_ms);
            }
            if first_time {
                self.positions.note(Record::Source { key });
            }
        }
        self.look_at_rotated(now_ms);
        self.first_sweep = false;
        self.forget_ended();
        self.close_idle();
        self.watch_disk();
    }

    /// Looks at files that were only written to; they need no look at their neighbours.
    fn look_at_written(&mut self, now_ms: u64) {
        let written: BTreeSet<PathBuf> = std::mem::take(&mut self.written).into_iter().collect();
        let is_written = |file: &&TrackedFile| file.place == FileState::Current && written.contains(&file.path);
        let ids: Vec<u64> = self.files.values().filter(is_written).map(|file| file.id).collect();
        for id in ids {
            let Some(file) = self.files.get(&id) else { continue };
            let (path, source) = (file.path.clone(), self.sources.get(&file.source).cloned());
            if let Some(source) = source {
                self.look_at(&source, &path, Some(id), false, now_ms);
            }
        }
    }

    /// The file at a path. Every file is compared with every path, by the spelling, which is always the same.
    fn current(&self, source: &str, path: &Path) -> Option<u64> {
        let is_at = |file: &&TrackedFile| {
            file.place == FileState::Current && file.path.as_os_str() == path.as_os_str() && file.source == source
        };
        self.files.values().find(is_at).map(|file| file.id)
    }

    /// Files whose path is gone, except in directories that may not be looked into.
    fn leave_missing(&mut self, source: &str, there: &BTreeSet<&PathBuf>, refused: &[PathBuf], now_ms: u64) {
        let is_missing = |file: &&TrackedFile| {
            file.source == source
                && file.place == FileState::Current
                && !there.contains(&file.path)
                && !refused.iter().any(|directory| file.path.starts_with(directory))
        };
        let missing: Vec<u64> = self.files.values().filter(is_missing).map(|file| file.id).collect();
        self.follow_unseen(source, there, now_ms);
        // A file whose new name has the pattern too is found there.
        for id in missing {
            if !self.is_moved(id, there, now_ms) {
                self.rotate(id, now_ms);
            }
            // In the order of their times; the pattern's paths come in the order of their names.
            self.follow_between(id, now_ms);
        }
    }

    /// Files that were created at a path that is empty again, and then rotated away, all between two looks.
    fn follow_unseen(&mut self, source: &str, there: &BTreeSet<&PathBuf>, now_ms: u64) {
        let mut latest: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for file in self.files.values().filter(|file| file.source == source && !there.contains(&file.origin)) {
            latest.insert(file.origin.clone(), file.id);
        }
        let is_current = |id: &u64| self.files.get(id).is_some_and(|file| file.place == FileState::Current);
        let ended: Vec<u64> = latest.into_values().filter(|id| !is_current(id)).collect();
        for id in ended {
            self.follow_between(id, now_ms);
        }
    }

    /// The last file that was at a path.
    fn latest_of(&self, source: &str, origin: &Path) -> Option<u64> {
        let is_of = |file: &&TrackedFile| file.origin.as_os_str() == origin.as_os_str() && file.source == source;
        self.files.values().filter(is_of).map(|file| file.id).next_back()
    }

    /// Whether a file is now at another path of its source, where it goes on.
    fn is_moved(&mut self, id: u64, there: &BTreeSet<&PathBuf>, now_ms: u64) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        for path in there {
            let Ok(facts) = Facts::of_path(path) else { continue };
            if file.identity.same_inode(facts.device, facts.inode, facts.born_ns) {
                file.path = (*path).clone();
                let is_same = matches!(file.open_at_path(&self.opener), Ok(true)) && open_facts(file).is_some();
                if !is_same {
                    self.rewritten(id, now_ms);
                    return true;
                }
                file.seen(&facts, now_ms);
                let record = file.record();
                self.positions.note(Record::File(record));
                return true;
            }
        }
        false
    }

    /// Looks at a path; `current` is the file there, as far as is known.
    fn look_at(&mut self, source: &FileSource, path: &Path, current: Option<u64>, first_time: bool, now_ms: u64) {
        let Ok(facts) = Facts::of_path(path) else { return };
        if !facts.is_file {
            return;
        }
        if let Some(id) = current {
            match self.compare(id, path, &facts, now_ms) {
                Some(Sameness::Same) | None => return,
                Some(Sameness::Rewritten) => {
                    if !self.rewritten(id, now_ms) {
                        return;
                    }
                }
                Some(Sameness::Other) => {
                    self.rotate(id, now_ms);
                    if !self.follow_between(id, now_ms) {
                        return;
                    }
                }
            }
        } else if let Some(before) = self.latest_of(&source.key, path)
            && !self.follow_between(before, now_ms)
        {
            // The earlier content is followed first.
            return;
        }
        let is_known = self.is_known_elsewhere(source, path, &facts, now_ms);
        if is_known || (current.is_none() && self.is_held(source, path, &facts)) {
            return;
        }
        let at_end = first_time && current.is_none() && source.initial_position == InitialPosition::EndOfFile;
        self.follow_new(source, path, &facts, at_end, now_ms);
    }

    /// Compares a current file with the file at its path; `None` when that cannot be read.
    fn compare(&mut self, id: u64, path: &Path, facts: &Facts, now_ms: u64) -> Option<Sameness> {
        let file = self.files.get_mut(&id)?;
        if !file.identity.same_inode(facts.device, facts.inode, facts.born_ns) {
            return Some(Sameness::Other);
        }
        let unchanged = file.size == facts.size && file.changed_ns == facts.changed_ns && !self.first_sweep;
        if unchanged {
            file.wait_from(now_ms);
            return Some(Sameness::Same);
        }
        if matches!(file.reader, LogReader::Closed) {
            let opened = match open(&self.opener, path) {
                Ok(opened) => opened,
                Err(error) => {
                    if refusal(&error).is_some() {
                        file.held = Held::Refused;
                    }
                    if let Some(stream) = self.streams.get(&file.stream) {
                        self.errors.opened(&stream.name, path, &error);
                    }
                    return None;
                }
            };
            // Between the look and the opening the file may have been rotated; the next look finds that.
            let opened_facts = Facts::of_file(&opened).ok()?;
            if !file.identity.same_inode(opened_facts.device, opened_facts.inode, opened_facts.born_ns) {
                self.look_wanted = true;
                return None;
            }
            file.reader = LogReader::Plain(opened);
        }
        let sample = Sample::read(&mut file.reader, file.position.offset).ok()?;
        let sameness = compare(file.known(), sample.found(facts, facts.size));
        if sameness == Sameness::Same {
            // New content may have been copied away, and the file may be as short as before.
            let may_be_emptied = file.identity.head.bytes == 0 || file.size == facts.size;
            let was_empty = file.identity.head.bytes == 0;
            if may_be_emptied && file.changed_ns != facts.changed_ns {
                let next = self.next_id;
                if !self.follow_between(id, now_ms) {
                    return None;
                }
                if was_empty && self.next_id > next {
                    // The file's current content comes after the copied-away content.
                    return Some(Sameness::Rewritten);
                }
            }
            let file = self.files.get_mut(&id)?;
            let learned = file.learn_head(&sample);
            file.seen(facts, now_ms);
            if learned {
                let record = file.record();
                self.positions.note(Record::File(record));
            }
        }
        Some(sameness)
    }

    /// Whether a file at a new path is already followed under another name.
    fn is_known_elsewhere(&mut self, source: &FileSource, path: &Path, facts: &Facts, now_ms: u64) -> bool {
        // A finished file that was empty has no marks to be known by: the file at its inode now is a later one.
        let has_ended = |file: &TrackedFile| match file.place {
            FileState::Gone => true,
            FileState::Finished => file.identity.head.bytes == 0,
            FileState::Current | FileState::Rotated => false,
        };
        let opener = &self.opener;
        let same =
            |file: &&mut TrackedFile| file.source == source.key && !has_ended(file) && file.is_at(opener, path, facts);
        let Some(file) = self.files.values_mut().find(same) else { return false };
        if file.place == FileState::Current && file.path != path {
            let old = Facts::of_path(&file.path).ok();
            if old.is_some_and(|old| file.identity.same_inode(old.device, old.inode, old.born_ns)) {
                // If one file has two names, it is followed by the first.
                return true;
            }
        }
        let goes_on = file.place == FileState::Finished && facts.size > file.size;
        if file.path != path || goes_on {
            file.path = path.to_owned();
            if goes_on {
                file.place = FileState::Rotated;
            }
            let record = file.record();
            self.positions.note(Record::File(record));
        }
        file.seen(facts, now_ms);
        true
    }

    /// Whether a file with a rotated name is nothing but a copy of a followed file.
    fn is_held(&mut self, source: &FileSource, path: &Path, facts: &Facts) -> bool {
        let name = name_of(path);
        let related = |file: &&mut TrackedFile| {
            file.source == source.key
                && file.place == FileState::Current
                && file.path.parent() == path.parent()
                && rotated_name(&name_of(&file.path), &name).is_some()
        };
        let Some(original) = self.files.values_mut().find(related) else { return false };
        let Ok(opened) = open(&self.opener, path) else { return false };
        let Ok(sample) = Sample::read(&mut LogReader::Plain(opened), facts.size) else { return false };
        is_prefix_copy(&self.opener, &sample, facts, original)
    }

    /// Follows the file that was `seen` at a path.
    fn follow_new(&mut self, source: &FileSource, path: &Path, seen: &Facts, at_end: bool, now_ms: u64) {
        if packing(&name_of(path)) != Packing::Plain {
            return;
        }
        let opened = match open(&self.opener, path).and_then(|file| Ok((Facts::of_file(&file)?, file))) {
            Ok(opened) => opened,
            Err(error) => return self.errors.opened(&source.stream_name(path), path, &error),
        };
        let (facts, file) = opened;
        if (facts.device, facts.inode, facts.born_ns) != (seen.device, seen.inode, seen.born_ns) {
            // It was rotated away after the look at its neighbours; the next look finds it among them.
            self.look_wanted = true;
            return;
        }
        let mut reader = LogReader::Plain(file);
        let offset = if at_end { facts.size } else { 0 };
        let Ok(sample) = Sample::read(&mut reader, offset) else { return };
        let stream = self.stream_of(source, path);
        let id = self.next_id();
        let position = Position { offset, trail: Fingerprint::of(&sample.before), last_ms: None };
        let found = NewFile { path: path.to_owned(), facts, reader, size: facts.size, sample };
        let mut file = TrackedFile::new(id, &source.key, &stream, found, position, now_ms);
        // Content that was copied away since is looked for with the next change.
        file.changed_ns = seen.changed_ns;
        self.positions.note(Record::File(file.record()));
        self.files.insert(id, file);
    }
}
