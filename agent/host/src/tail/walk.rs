//! Finds the files of a pattern. Names are bytes, and whatever a directory holds is an answer.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hostler_core::logs::pattern::{Part, PathPattern, is_hidden};

/// What a walk came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files, in the order of their paths. What is no directory counts as one.
    pub files: BTreeSet<PathBuf>,
    /// The directories in which more of them may appear.
    pub directories: BTreeSet<PathBuf>,
    /// There are more, of which nothing is known.
    pub cut: bool,
}

/// Finds what is there now and is `wanted`: at most so many files, in at most so many directories.
pub(super) fn walk(pattern: &PathPattern, most: usize, wanted: impl Fn(&Path) -> bool) -> Found {
    let mut walk = Walk { parts: &pattern.parts, most, wanted, found: Found::default(), passed: HashSet::new() };
    if pattern.parts.is_empty() {
        walk.found.directories.insert(pattern.parent().to_owned());
        walk.file(pattern.base.clone());
        return walk.found;
    }
    let mut open = vec![(pattern.base.clone(), 0)];
    while let Some((directory, part)) = open.pop() {
        if walk.found.files.len() >= most || walk.found.directories.len() >= most {
            walk.found.cut = true;
            break;
        }
        // The first name comes first, so that the same files are found each time where there are too many.
        let below = walk.step(directory, part);
        open.extend(below.into_iter().rev());
    }
    walk.found
}

struct Walk<'a, W> {
    parts: &'a [Part],
    most: usize,
    wanted: W,
    found: Found,
    /// Directories that any number of directories led to, by part, device and inode: links make circles.
    passed: HashSet<(usize, u64, u64)>,
}

/// A directory, and the part of the pattern that is looked for in it.
type Open = (PathBuf, usize);

impl<W: Fn(&Path) -> bool> Walk<'_, W> {
    /// Looks at one directory for one part; gives where to go on.
    fn step(&mut self, directory: PathBuf, at: usize) -> Vec<Open> {
        let is_last = at + 1 == self.parts.len();
        match &self.parts[at] {
            Part::Literal(name) if is_last => {
                let path = directory.join(name);
                self.found.directories.insert(directory);
                self.file(path);
                Vec::new()
            }
            Part::Literal(name) => {
                vec![(directory.join(name), at + 1)].into_iter().filter(|(p, _)| p.is_dir()).collect()
            }
            Part::Names(names) if is_last => {
                let is_file = |entry: &DirEntry| !entry.file_type().is_ok_and(|kind| kind.is_dir());
                let is_meant = |entry: &DirEntry| names.matches_name(&entry.file_name()) && is_file(entry);
                let files = list(&directory, self.most, |entry| is_meant(entry) && (self.wanted)(&entry.path()));
                self.found.directories.insert(directory);
                let files = self.take(files);
                files.into_iter().for_each(|path| self.found_file(path));
                Vec::new()
            }
            Part::Names(names) => {
                let is_meant = |entry: &DirEntry| names.matches_name(&entry.file_name()) && is_directory(entry);
                let below = list(&directory, self.most, is_meant);
                self.found.directories.insert(directory);
                self.take(below).into_iter().map(|path| (path, at + 1)).collect()
            }
            Part::Directories => self.below(directory, at),
        }
    }

    /// A directory, and any number of directories below it.
    fn below(&mut self, directory: PathBuf, at: usize) -> Vec<Open> {
        let is_new = |metadata: fs::Metadata| self.passed.insert((at, metadata.dev(), metadata.ino()));
        if !fs::metadata(&directory).is_ok_and(is_new) {
            return Vec::new();
        }
        let below = list(&directory, self.most, |entry| !is_hidden(&entry.file_name()) && is_directory(entry));
        self.found.directories.insert(directory.clone());
        let below = self.take(below).into_iter().map(|path| (path, at));
        [(directory, at + 1)].into_iter().chain(below).collect()
    }

    /// The file of a path that is written out. One that cannot be looked at is there.
    fn file(&mut self, path: PathBuf) {
        if !matches!(path.try_exists(), Ok(false)) && (self.wanted)(&path) {
            self.found_file(path);
        }
    }

    fn found_file(&mut self, path: PathBuf) {
        if self.found.files.len() < self.most {
            self.found.files.insert(path);
        } else {
            self.found.cut |= !self.found.files.contains(&path);
        }
    }

    fn take(&mut self, listed: Listed) -> Vec<PathBuf> {
        self.found.cut |= listed.cut;
        listed.paths
    }
}

#[derive(Debug, Default)]
struct Listed {
    paths: Vec<PathBuf>,
    cut: bool,
}

/// The entries of a directory that are meant, in the order of their names; the first ones where there are too many.
fn list(directory: &Path, most: usize, is_meant: impl Fn(&DirEntry) -> bool) -> Listed {
    let mut listed = Listed::default();
    // What cannot be listed has nothing that could be followed.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().filter(is_meant) {
        listed.paths.push(entry.path());
        if listed.paths.len() > most.saturating_mul(2) {
            listed.shorten(most);
        }
    }
    listed.shorten(most);
    listed
}

impl Listed {
    fn shorten(&mut self, most: usize) {
        self.paths.sort();
        self.cut |= self.paths.len() > most;
        self.paths.truncate(most);
    }
}

/// A directory, or a link to one.
fn is_directory(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
