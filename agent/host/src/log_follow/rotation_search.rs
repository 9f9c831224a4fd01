//! The directory around a file that was rotated away: it may hold the unread rest, and the files between it and the
//! file that is at its path now.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hostler_core::logs::identity::{HEAD_BYTES, Identity};
use hostler_core::logs::rotation::{Packing, Sameness, compare, is_copy, packing, rotated_name};

use super::inspection::{Inspections, Looked};
use super::log_reader::{Facts, LogReader, Sample, open};
use super::packed::Packed;
use super::tracked_file::{FileState, Files, TrackedFile};
use crate::safe_path::{Opener, refusal};

/// A look around a file.
pub(super) struct Around<'a> {
    pub opener: &'a Opener,
    pub inspections: &'a mut Inspections,
    /// All followed files.
    pub files: &'a Files,
    /// Most entries of a directory to look at.
    pub most: usize,
    /// Files that cannot be used, with the reason.
    pub bad: Vec<(PathBuf, String)>,
}

/// A place where a file's rest was found.
pub(super) struct Rest {
    pub path: PathBuf,
    pub reader: LogReader,
    pub facts: Facts,
    /// Unpacked bytes in it, as far as known.
    pub size: u64,
}

/// Files around a path.
type Listed = Vec<(PathBuf, Facts)>;

/// The result of a search.
pub(super) enum Search<T> {
    Ended(T),
    /// A packed file is being inspected.
    Later,
    /// The path rule does not allow the agent to look into the directory, or to read the file there.
    Refused,
}

impl Around<'_> {
    /// Looks for a file's rest: first the same inode under another name, then a copy, then a packed one.
    pub fn find_rest(&mut self, file: &TrackedFile) -> Search<Option<Rest>> {
        let mut packed = Vec::new();
        let mut copies = Vec::new();
        let Some(around) = settled(|| self.neighbours(&file.path)) else { return Search::Refused };
        for (path, facts) in around {
            let name = name_of(&path);
            if packing(&name) != Packing::Plain {
                packed.push((path, facts));
            } else if file.identity.same_inode(facts.device, facts.inode, facts.born_ns) {
                // If it may not be read, it waits there: it is not lost.
                match self.plain(file, &path, false) {
                    Search::Ended(None) => {}
                    other => return other,
                }
            } else if path != file.path {
                copies.push((path, facts));
            }
        }
        copies.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.changed_ns));
        let base = name_of(&file.origin);
        let is_rotated = |path: &Path| rotated_name(&base, &name_of(path)).is_some();
        // Few bytes are a weak sign; then the name has to agree too.
        let is_sure = file.position.offset >= HEAD_BYTES as u64;
        let copy = copies
            .iter()
            .filter(|(path, facts)| facts.size >= file.position.offset && (is_sure || is_rotated(path)))
            .find_map(|(path, _)| match self.plain(file, path, true) {
                Search::Ended(rest) => rest,
                _ => None,
            });
        if copy.is_some() {
            return Search::Ended(copy);
        }
        for (path, facts) in packed.into_iter().filter(|(path, _)| is_rotated(path)) {
            match self.unpacked(file, path, facts) {
                Search::Ended(None) => {}
                other => return other,
            }
        }
        Search::Ended(None)
    }

    fn plain(&self, file: &TrackedFile, path: &Path, copy: bool) -> Search<Option<Rest>> {
        match open(self.opener, path) {
            Ok(opened) => Search::Ended(rest_in(file, path, opened, copy)),
            Err(error) if refusal(&error).is_some() => Search::Refused,
            Err(_) => Search::Ended(None),
        }
    }

    fn unpacked(&mut self, file: &TrackedFile, path: PathBuf, facts: Facts) -> Search<Option<Rest>> {
        let packing = packing(&name_of(&path));
        let candidates = self.files.values().filter(|known| known.source == file.source);
        let size = match self.inspections.look(self.opener, &path, &facts, packing, candidates) {
            Ok(Looked::Done(inspected)) if inspected.is_copy_of(file.id) => inspected.size,
            Ok(Looked::Later) => return Search::Later,
            Ok(Looked::Bad(reason)) => {
                self.bad.extend(reason.map(|reason| (path, reason)));
                return Search::Ended(None);
            }
            Ok(Looked::Done(_)) | Err(_) => return Search::Ended(None),
        };
        let Ok(Some(packed)) = Packed::open(self.opener, &path, packing, self.inspections.bounds()) else {
            return Search::Ended(None);
        };
        self.inspections.is_followed(&facts);
        Search::Ended(Some(Rest { path, reader: LogReader::Packed(packed), facts, size }))
    }

    /// Files that were rotated away from a file's path after it: they have rotated names, changed
    /// later, and are not known yet. Oldest first.
    ///
    /// A packed file counts if it was given the time of its original, as gzip and zstd do it; else its time says
    /// nothing, and an old file would be sent again.
    pub fn find_between(&mut self, file: &TrackedFile) -> Search<Vec<NewFile>> {
        let found = settled(|| {
            let (files, mut vanished) = self.neighbours(&file.origin)?;
            let later = files.into_iter().filter(|(_, facts)| facts.changed_ns >= file.changed_ns && facts.size > 0);
            let mut found = Vec::new();
            for (rotated, facts) in later {
                match self.rotated_from(file, &rotated, facts) {
                    Ok(Search::Ended(new)) => found.extend(new),
                    Ok(_) => return Some((Search::Later, None)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => vanished = Some(Vanished),
                    Err(error) if refusal(&error).is_some() => self.bad.push((rotated, error.to_string())),
                    Err(_) => {}
                }
            }
            Some((Search::Ended(found), vanished))
        });
        match found {
            None => Search::Refused,
            Some(Search::Ended(mut found)) => {
                found.sort_by_key(|between| between.facts.changed_ns);
                Search::Ended(found)
            }
            Some(other) => other,
        }
    }

    /// A file that was rotated away from another file's path, by its name, unless it is known or empty.
    fn rotated_from(&mut self, of: &TrackedFile, rotated: &Path, facts: Facts) -> io::Result<Search<Option<NewFile>>> {
        let none = Ok(Search::Ended(None));
        let path = rotated.to_owned();
        let files = self.files;
        let of_source = || files.values().filter(|known| known.source == of.source);
        let is_inode = |known: &TrackedFile| {
            known.identity.same_inode(facts.device, facts.inode, facts.born_ns) && known.place != FileState::Gone
        };
        let Some(packing) = rotated_name(&name_of(&of.origin), &name_of(rotated)) else { return none };
        if packing == Packing::Plain {
            let mut reader = LogReader::Plain(open(self.opener, rotated)?);
            if of_source().any(|known| is_inode(known) || is_copy_in(known, &mut reader, &facts)) {
                return none;
            }
            let sample = Sample::read(&mut reader, 0)?;
            return Ok(Search::Ended(Some(NewFile { path, facts, reader, size: facts.size, sample })));
        }
        if (facts.born_ns != 0 && facts.changed_ns >= facts.born_ns) || of_source().any(is_inode) {
            return none;
        }
        let (size, sample) = match self.inspections.look(self.opener, rotated, &facts, packing, of_source())? {
            Looked::Done(inspected) if inspected.is_known() || inspected.size == 0 => return none,
            Looked::Done(inspected) => (inspected.size, inspected.sample()),
            Looked::Later => return Ok(Search::Later),
            Looked::Bad(reason) => {
                self.bad.extend(reason.map(|reason| (path, reason)));
                return none;
            }
        };
        let Some(packed) = Packed::open(self.opener, rotated, packing, self.inspections.bounds())? else { return none };
        Ok(Search::Ended(Some(NewFile { path, facts, reader: LogReader::Packed(packed), size, sample })))
    }

    /// The files around a path; `None` if the path rule does not allow the look.
    fn neighbours(&self, path: &Path) -> Option<(Listed, Option<Vanished>)> {
        let mut directories: Vec<PathBuf> = path.parent().map(Path::to_owned).into_iter().collect();
        // If the path is a link, its file is rotated in the target's directory.
        if let Some(real) = fs::canonicalize(path).ok().and_then(|real| real.parent().map(Path::to_owned))
            && !directories.contains(&real)
        {
            directories.push(real);
        }
        let is_refused = |error: io::Error| refusal(&error).is_some();
        directories.retain(|directory| !self.opener.look_into(directory).is_err_and(is_refused));
        if directories.is_empty() {
            return None;
        }
        let entries = directories.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        let (mut files, mut vanished) = (Vec::new(), None);
        for path in entries.take(self.most).map(|entry| entry.path()) {
            match Facts::of_path(&path) {
                Ok(facts) if facts.is_file => files.push((path, facts)),
                // A link that leads nowhere is not a vanished file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                    vanished = Some(Vanished)
                }
                _ => {}
            }
        }
        Some((files, vanished))
    }
}

/// The part of another file's rest in a plain file, if it is that file, or a copy of it.
fn rest_in(file: &TrackedFile, path: &Path, opened: File, copy: bool) -> Option<Rest> {
    let facts = Facts::of_file(&opened).ok()?;
    let mut reader = LogReader::Plain(opened);
    let sample = Sample::read(&mut reader, file.position.offset).ok()?;
    let found = sample.found(&facts, facts.size);
    let fits = if copy { is_copy(file.known(), found) } else { compare(file.known(), found) == Sameness::Same };
    fits.then(|| Rest { path: path.to_owned(), reader, facts, size: facts.size })
}

/// Whether a plain file holds the known bytes of another file.
fn is_copy_in(known: &TrackedFile, reader: &mut LogReader, facts: &Facts) -> bool {
    // Copied before it was read: the time of the last change stays.
    let is_whole = (known.size, known.changed_ns) == (facts.size, facts.changed_ns);
    (known.position.offset > 0 || is_whole)
        && Sample::read(reader, known.position.offset)
            .is_ok_and(|sample| is_copy(known.known(), sample.found(facts, facts.size)))
}

/// A newly found file that is not followed yet.
pub(super) struct NewFile {
    pub path: PathBuf,
    pub facts: Facts,
    pub reader: LogReader,
    /// Unpacked bytes in it.
    pub size: u64,
    pub sample: Sample,
}

/// Whether a file at `path` holds nothing but the beginning of a file that is followed at another path: a copy that is
/// being made, or was made and is not followed for itself.
pub(super) fn is_prefix_copy(opener: &Opener, sample: &Sample, facts: &Facts, of: &mut TrackedFile) -> bool {
    if facts.size == 0 || facts.size > of.size || !matches!(of.open_at_path(opener), Ok(true)) {
        return false;
    }
    let Ok(original) = Sample::read(&mut of.reader, facts.size) else { return false };
    original.head.starts_with(&sample.head) && original.before == sample.before
}

/// How often a directory is listed while files vanish from it.
const LISTINGS: usize = 5;

/// A file was listed and is gone: it was renamed or packed, and its new form may not have been listed.
struct Vanished;

/// Looks until no file vanishes meanwhile. After some tries the last look counts.
fn settled<T>(mut look: impl FnMut() -> Option<(T, Option<Vanished>)>) -> Option<T> {
    let mut seen = look()?;
    for _ in 1..LISTINGS {
        if seen.1.is_none() {
            break;
        }
        seen = look()?;
    }
    Some(seen.0)
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The identity of a file by the bytes that were read of it.
pub(super) fn identity_of(facts: &Facts, sample: &Sample) -> Identity {
    let head = hostler_core::logs::identity::Fingerprint::of(&sample.head);
    Identity { device: facts.device, inode: facts.inode, born_ns: facts.born_ns, head }
}
