//! The directory around a file that was rotated away: where its unread rest is, and what came between it and the file that
//! is at its path now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hostler_core::logs::identity::{HEAD_BYTES, Identity};
use hostler_core::logs::rotation::{Packing, Sameness, compare, is_copy, packing, rotated_name};

use super::followed::Followed;
use super::medium::{Facts, Medium, Packed, Sample, open};

/// A place where a file's rest was found.
pub(super) struct Rest {
    pub path: PathBuf,
    pub medium: Medium,
    pub facts: Facts,
    /// Unpacked bytes in it, as far as that is known.
    pub size: u64,
}

/// Looks for a file's rest among so many entries at most: first the same inode under another name, then a copy, then a
/// packed one.
pub(super) fn find_rest(file: &Followed, most: usize) -> Option<Rest> {
    let mut packed = Vec::new();
    let mut copies = Vec::new();
    for (path, facts) in settled(|| neighbours(&file.path, most)) {
        let name = name_of(&path);
        if packing(&name) != Packing::Plain {
            packed.push((path, facts));
        } else if file.identity.same_inode(facts.device, facts.inode, facts.born_ns) {
            if let Some(rest) = plain(file, &path, false) {
                return Some(rest);
            }
        } else if path != file.path {
            copies.push((path, facts));
        }
    }
    copies.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.changed_ns));
    let base = name_of(&file.origin);
    let is_rotated = |path: &Path| rotated_name(&base, &name_of(path)).is_some();
    // Few bytes are a weak sign; then the name has to say it too.
    let is_sure = file.position.offset >= HEAD_BYTES as u64;
    let copy = copies
        .iter()
        .filter(|(path, facts)| facts.size >= file.position.offset && (is_sure || is_rotated(path)))
        .find_map(|(path, _)| plain(file, path, true));
    copy.or_else(|| {
        packed.iter().filter(|(path, _)| is_rotated(path)).find_map(|(path, facts)| unpacked(file, path, *facts))
    })
}

fn plain(file: &Followed, path: &Path, copy: bool) -> Option<Rest> {
    let opened = open(path).ok()?;
    let facts = Facts::of_file(&opened).ok()?;
    let mut medium = Medium::Plain(opened);
    let sample = Sample::read(&mut medium, file.position.offset).ok()?;
    let found = sample.found(&facts, facts.size);
    let fits = if copy { is_copy(file.known(), found) } else { compare(file.known(), found) == Sameness::Same };
    fits.then(|| Rest { path: path.to_owned(), medium, facts, size: facts.size })
}

fn unpacked(file: &Followed, path: &Path, facts: Facts) -> Option<Rest> {
    let packed = Packed::open(path, packing(&name_of(path))).ok()??;
    let mut medium = Medium::Packed(packed);
    let sample = Sample::read(&mut medium, file.position.offset).ok()?;
    let found = sample.found(&facts, file.position.offset);
    if !is_copy(file.known(), found) {
        return None;
    }
    let size = unpacked_size(&mut medium, file.position.offset)?;
    Some(Rest { path: path.to_owned(), medium, facts, size })
}

/// Unpacks to the end, to know where it is.
fn unpacked_size(medium: &mut Medium, from: u64) -> Option<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut size = from;
    loop {
        match medium.read_at(&mut buffer, size) {
            Ok(0) => return Some(size),
            Ok(count) => size += count as u64,
            // A packed file that is still being written: what is there can be read, the rest comes.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Some(size),
            Err(_) => return None,
        }
    }
}

/// A file that is not followed yet, as it was found.
pub(super) struct NewFile {
    pub path: PathBuf,
    pub facts: Facts,
    pub medium: Medium,
    /// Unpacked bytes in it.
    pub size: u64,
    pub sample: Sample,
}

/// Files that were rotated away from `path` after the one that was last changed at `changed_ns`: by their names, changed
/// later, and none that `is_known`, of at most `most` entries. Oldest first.
///
/// A packed file counts if it was given the time of what was packed, as gzip and zstd do it; else its time says nothing,
/// and an old one would be sent again.
pub(super) fn find_between(
    path: &Path,
    changed_ns: u64,
    most: usize,
    is_known: impl Fn(&Facts, &mut Medium, u64) -> bool,
) -> Vec<NewFile> {
    let mut found = settled(|| {
        let (files, mut vanished) = neighbours(path, most);
        let later = files.into_iter().filter(|(_, facts)| facts.changed_ns >= changed_ns && facts.size > 0);
        let mut found = Vec::new();
        for (rotated, facts) in later {
            match rotated_from(path, rotated, facts, &is_known) {
                Ok(new) => found.extend(new),
                Err(error) if error.kind() == io::ErrorKind::NotFound => vanished = Some(Vanished),
                Err(_) => {}
            }
        }
        (found, vanished)
    });
    found.sort_by_key(|between| between.facts.changed_ns);
    found
}

/// A file that was rotated away from `path` by its name, unless it `is_known` or has nothing in it.
fn rotated_from(
    path: &Path,
    rotated: PathBuf,
    facts: Facts,
    is_known: impl Fn(&Facts, &mut Medium, u64) -> bool,
) -> io::Result<Option<NewFile>> {
    let Some(packing) = rotated_name(&name_of(path), &name_of(&rotated)) else { return Ok(None) };
    let mut medium = match packing {
        Packing::Plain => Medium::Plain(open(&rotated)?),
        _ if facts.born_ns == 0 || facts.changed_ns < facts.born_ns => match Packed::open(&rotated, packing)? {
            Some(packed) => Medium::Packed(packed),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let size = if packing == Packing::Plain { Some(facts.size) } else { unpacked_size(&mut medium, 0) };
    let Some(size) = size.filter(|size| *size > 0) else { return Ok(None) };
    if is_known(&facts, &mut medium, size) {
        return Ok(None);
    }
    let sample = Sample::read(&mut medium, 0)?;
    Ok(Some(NewFile { path: rotated, facts, medium, size, sample }))
}

/// Whether a file at `path` holds nothing but the beginning of one that is followed at another path: a copy that is being
/// made, or was made and is not followed for itself.
pub(super) fn is_prefix_copy(sample: &Sample, facts: &Facts, of: &mut Followed) -> bool {
    if facts.size == 0 || facts.size > of.size || !matches!(of.open_at_path(), Ok(true)) {
        return false;
    }
    let Ok(original) = Sample::read(&mut of.medium, facts.size) else { return false };
    original.head.starts_with(&sample.head) && original.before == sample.before
}

/// Times that a directory is listed in which files vanish meanwhile.
const LISTINGS: usize = 5;

/// A file was listed and is gone: it was renamed or packed, and what it has become may not have been listed.
struct Vanished;

/// Looks until nothing vanishes meanwhile; a look at a directory that never rests counts as it is.
fn settled<T>(mut look: impl FnMut() -> (T, Option<Vanished>)) -> T {
    let mut seen = look();
    for _ in 1..LISTINGS {
        if seen.1.is_none() {
            break;
        }
        seen = look();
    }
    seen.0
}

/// The files around a path, of at most so many entries.
fn neighbours(path: &Path, most: usize) -> (Vec<(PathBuf, Facts)>, Option<Vanished>) {
    let mut directories: Vec<PathBuf> = path.parent().map(Path::to_owned).into_iter().collect();
    // A link's file is rotated where it lies.
    if let Some(real) = fs::canonicalize(path).ok().and_then(|real| real.parent().map(Path::to_owned))
        && !directories.contains(&real)
    {
        directories.push(real);
    }
    let entries = directories.into_iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let (mut files, mut vanished) = (Vec::new(), None);
    for path in entries.take(most).map(|entry| entry.path()) {
        match Facts::of_path(&path) {
            Ok(facts) if facts.is_file => files.push((path, facts)),
            // A link that leads nowhere is no file that vanished.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => vanished = Some(Vanished),
            _ => {}
        }
    }
    (files, vanished)
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The identity of a file by what was read of it.
pub(super) fn identity_of(facts: &Facts, sample: &Sample) -> Identity {
    let head = hostler_core::logs::identity::Fingerprint::of(&sample.head);
    Identity { device: facts.device, inode: facts.inode, born_ns: facts.born_ns, head }
}
