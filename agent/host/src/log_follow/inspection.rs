//! Which files were packed: a packed file is recognised by its first bytes, and by the bytes before the position of its
//! possible original. They may be gigabytes deep in it, so a file is inspected a slice at a time, one file after
//! another, and meanwhile everything else goes on. The findings are kept as long as the file is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use hostler_core::limits::Limits;
use hostler_core::logs::identity::{Fingerprint, Identity};
use hostler_core::logs::rotation::{Found, Known, Packing, is_copy};

use super::log_reader::{Facts, Sample};
use super::packed::{Bounds, Packed, SLICE_BYTES};
use super::tracked_file::TrackedFile;
use crate::safe_path::Opener;

/// Most files whose inspection is remembered. Prevents: memory for a directory of a million packed files.
const MOST_REMEMBERED: usize = 1000;

/// A followed file at the beginning of an inspection.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    id: u64,
    identity: Identity,
    offset: u64,
    trail: Fingerprint,
    size: u64,
    changed_ns: u64,
}

impl Candidate {
    pub fn of(file: &TrackedFile) -> Self {
        Self {
            id: file.id,
            identity: file.identity.clone(),
            offset: file.position.offset,
            trail: file.position.trail,
            size: file.size,
            changed_ns: file.changed_ns,
        }
    }
}

/// The result of an inspection.
#[derive(Debug)]
pub(super) struct Inspected {
    /// Files whose bytes it begins with.
    copies_of: BTreeSet<u64>,
    /// Whether it is one of those files, or was followed for itself.
    is_known: bool,
    pub head: Vec<u8>,
    /// Unpacked bytes, as far as the inspection went.
    pub size: u64,
}

impl Inspected {
    pub fn is_copy_of(&self, id: u64) -> bool {
        self.copies_of.contains(&id)
    }

    pub fn is_known(&self) -> bool {
        self.is_known
    }

    pub fn sample(&self) -> Sample {
        Sample { head: self.head.clone(), before: Vec::new() }
    }
}

#[derive(Debug)]
struct Work {
    packed: Packed,
    facts: Facts,
    candidates: Vec<Candidate>,
    /// The bytes before the candidates' positions, once these were passed.
    before: BTreeMap<u64, Vec<u8>>,
    head: Vec<u8>,
}

#[derive(Debug)]
enum Entry {
    Done(Inspected),
    Bad { said: bool, reason: String },
}

/// The state of a file's inspection.
pub(super) enum Looked<'i> {
    /// It is being inspected, or another file is.
    Later,
    Done(&'i Inspected),
    /// It cannot be used. The reason is returned only the first time.
    Bad(Option<String>),
}

/// A file in its present state: another file with the same number has other times.
type Key = (u64, u64, u64, u64);

fn key(facts: &Facts) -> Key {
    (facts.device, facts.inode, facts.size, facts.changed_ns)
}

/// All inspections.
#[derive(Debug)]
pub(super) struct Inspections {
    bounds: Bounds,
    slice: u64,
    work: Option<Work>,
    entries: BTreeMap<Key, Entry>,
}

impl Inspections {
    pub fn new(limits: &Limits) -> Self {
        Self { bounds: Bounds::new(limits), slice: SLICE_BYTES, work: None, entries: BTreeMap::new() }
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether a file is being inspected.
    pub fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// Goes on for another slice; returns whether an inspection has ended.
    pub fn go_on(&mut self) -> bool {
        self.slice = SLICE_BYTES;
        self.work_on()
    }

    /// The rest of the slice, also for other unpacking.
    pub fn slice(&mut self) -> &mut u64 {
        &mut self.slice
    }

    /// The state of a packed file's inspection, compared with its possible originals. It inspects the file if needed.
    pub fn look<'f>(
        &mut self,
        opener: &Opener,
        path: &Path,
        facts: &Facts,
        packing: Packing,
        candidates: impl Iterator<Item = &'f TrackedFile>,
    ) -> io::Result<Looked<'_>> {
        let key = key(facts);
        if !self.entries.contains_key(&key) {
            if self.work.is_none() {
                let Some(packed) = Packed::open(opener, path, packing, self.bounds)? else {
                    return Ok(Looked::Bad(None));
                };
                let facts = Facts::of_file(packed.file())?;
                let candidates = candidates.map(Candidate::of).collect();
                self.work = Some(Work { packed, facts, candidates, before: BTreeMap::new(), head: Vec::new() });
                self.work_on();
            }
            if !self.entries.contains_key(&key) {
                return Ok(Looked::Later);
            }
        }
        Ok(match self.entries.get_mut(&key) {
            Some(Entry::Done(inspected)) => Looked::Done(inspected),
            Some(Entry::Bad { said, reason }) => Looked::Bad((!std::mem::replace(said, true)).then(|| reason.clone())),
            None => Looked::Later,
        })
    }

    /// A file is followed for itself from now on.
    pub fn is_followed(&mut self, facts: &Facts) {
        if let Some(Entry::Done(inspected)) = self.entries.get_mut(&key(facts)) {
            inspected.is_known = true;
        }
    }

    fn work_on(&mut self) -> bool {
        let Some(work) = &mut self.work else { return false };
        let entry = match work.go_on(self.bounds.floor, &mut self.slice) {
            Ok(false) => return false,
            Ok(true) => Entry::Done(work.inspected()),
            Err(error) => Entry::Bad { said: false, reason: error.to_string() },
        };
        let key = key(&work.facts);
        self.work = None;
        if self.entries.len() >= MOST_REMEMBERED {
            self.entries.clear();
        }
        self.entries.insert(key, entry);
        true
    }
}

impl Work {
    /// Unpacks up to the deepest candidate's offset and `floor`, to see whether the file exceeds the bounds there.
    /// Returns whether it got that far.
    fn go_on(&mut self, floor: u64, slice: &mut u64) -> io::Result<bool> {
        let deepest = self.candidates.iter().map(|candidate| candidate.offset).max().unwrap_or(0);
        while self.packed.end().is_none() && self.packed.at() <= deepest.max(floor) {
            if *slice == 0 {
                return Ok(false);
            }
            let from = self.packed.at();
            let to = from + self.packed.step(slice)? as u64;
            if from == 0 {
                self.head = self.packed.head().to_vec();
                // Most candidates are ruled out by their first bytes.
                self.candidates.retain(|candidate| candidate.identity.head.begins(&self.head));
            }
            for candidate in self.candidates.iter().filter(|candidate| (from..=to).contains(&candidate.offset)) {
                self.before.insert(candidate.offset, self.packed.before(candidate.offset).to_vec());
            }
        }
        Ok(true)
    }

    fn inspected(&self) -> Inspected {
        let copies: Vec<&Candidate> = self.candidates.iter().filter(|candidate| self.is_copy_of(candidate)).collect();
        let end = self.packed.end();
        // Packed before it was read: the time of the last change stays.
        let is_whole = |candidate: &&Candidate| {
            candidate.changed_ns == self.facts.changed_ns && end.is_none_or(|end| end == candidate.size)
        };
        Inspected {
            copies_of: copies.iter().map(|candidate| candidate.id).collect(),
            is_known: copies.iter().any(|candidate| candidate.offset > 0 || is_whole(candidate)),
            head: self.head.clone(),
            size: end.unwrap_or(self.packed.at()),
        }
    }

    fn is_copy_of(&self, candidate: &Candidate) -> bool {
        let known = Known { identity: &candidate.identity, offset: candidate.offset, trail: candidate.trail };
        let Some(before) = self.before.get(&candidate.offset) else { return false };
        let found = Found {
            device: self.facts.device,
            inode: self.facts.inode,
            born_ns: self.facts.born_ns,
            size: self.packed.at(),
            head: &self.head,
            before,
        };
        is_copy(known, found)
    }
}
