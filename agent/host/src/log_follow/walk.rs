//! Finds the files of a pattern. Names are bytes, and any content of a directory is an answer.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hostler_core::logs::pattern::{Part, PathPattern, is_hidden};

use crate::safe_path::{Opener, refusal};

/// The result of a walk.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files, in the order of their paths. Anything but a directory counts as a file.
    pub files: BTreeSet<PathBuf>,
    /// The directories in which more such files may appear.
    pub directories: BTreeSet<PathBuf>,
    /// There are more files, which are not known.
    pub cut: bool,
    /// Directories that the path rule does not allow the agent to look into.
    pub refused: Vec<(PathBuf, io::Error)>,
}

/// Finds the existing files that are `wanted`: at most so many files, in at most so many directories.
pub(super) fn walk(opener: &Opener, pattern: &PathPattern, most: usize, wanted: impl Fn(&Path) -> bool) -> Found {
    let (found, passed) = (Found::default(), HashSet::new());
    let mut walk = Walk { opener, parts: &pattern.parts, most, wanted, found, passed };
    if pattern.parts.is_empty() {
        walk.found.directories.insert(pattern.parent().to_owned());
        walk.file(pattern.base.clone());
        return walk.found;
    }
    // If the way is a link, its target is checked, and each file when it is opened.
    if let Err(error) = opener.look_into(&pattern.base)
        && refusal(&error).is_some()
    {
        walk.found.refused.push((pattern.base.clone(), error));
        return walk.found;
    }
    let mut open = vec![(pattern.base.clone(), 0)];
    while let Some((directory, part)) = open.pop() {
        if walk.found.files.len() >= most || walk.found.directories.len() >= most {
            walk.found.cut = true;
            break;
        }
        // In the order of names, so that a walk over too many files finds the same files each time.
        let below = walk.step(directory, part);
        open.extend(below.into_iter().rev());
    }
    walk.found
}

struct Walk<'a, W> {
    opener: &'a Opener,
    parts: &'a [Part],
    most: usize,
    wanted: W,
    found: Found,
    /// The visited directories, by part, device and inode: links make circles, and many ways to one directory.
    passed: HashSet<(usize, u64, u64)>,
}

/// A directory, and the part of the pattern to look for in it.
type Open = (PathBuf, usize);

impl<W: Fn(&Path) -> bool> Walk<'_, W> {
    /// Looks at one directory for one part; returns where to go on.
    fn step(&mut self, directory: PathBuf, at: usize) -> Vec<Open> {
        if !self.is_new(&directory, at) {
            return Vec::new();
        }
        let is_last = at + 1 == self.parts.len();
        match &self.parts[at] {
            Part::Literal(name) if is_last => {
                let path = directory.join(name);
                self.found.directories.insert(directory);
                self.file(path);
                Vec::new()
            }
            Part::Literal(name) => {
                let path = directory.join(name);
                let is_link = path.is_symlink();
                if path.is_dir() && (!is_link || self.enters(&path)) { vec![(path, at + 1)] } else { Vec::new() }
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
                let below = self.directories(&directory, |name| names.matches_name(name));
                self.found.directories.insert(directory);
                below.into_iter().map(|path| (path, at + 1)).collect()
            }
            Part::Directories => self.below(directory, at),
        }
    }

    /// A directory, and any number of directories below it.
    fn below(&mut self, directory: PathBuf, at: usize) -> Vec<Open> {
        let below = self.directories(&directory, |name| !is_hidden(name));
        self.found.directories.insert(directory.clone());
        let below = below.into_iter().map(|path| (path, at));
        [(directory, at + 1)].into_iter().chain(below).collect()
    }

    /// The directories in one that `is_meant` accepts, and links to directories that may be followed.
    fn directories(&mut self, directory: &Path, is_meant: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
        let links = RefCell::new(HashSet::new());
        let below = list(directory, self.most, |entry| is_meant(&entry.file_name()) && is_directory(entry, &links));
        let links = links.into_inner();
        let below = self.take(below);
        below.into_iter().filter(|path| !links.contains(path) || self.enters(path)).collect()
    }

    /// Whether a link to a directory may be followed.
    fn enters(&mut self, link: &Path) -> bool {
        match self.opener.look_into(link) {
            Ok(()) => true,
            Err(error) => {
                if refusal(&error).is_some() && self.found.refused.len() < self.most {
                    self.found.refused.push((link.to_owned(), error));
                }
                false
            }
        }
    }

    fn is_new(&mut self, directory: &Path, at: usize) -> bool {
        let mut is_new = |metadata: fs::Metadata| self.passed.insert((at, metadata.dev(), metadata.ino()));
        !fs::metadata(directory).is_ok_and(|metadata| !is_new(metadata))
    }

    /// The file of a path without wildcards. A file that cannot be looked at counts as there.
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

/// The entries of a directory that `is_meant` accepts, in the order of their names; if there are too many, the first
/// ones.
fn list(directory: &Path, most: usize, is_meant: impl Fn(&DirEntry) -> bool) -> Listed {
    let mut listed = Listed::default();
    // A directory that cannot be listed has no files to follow.
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

/// A directory, or a link to one, which is noted among the links.
fn is_directory(entry: &DirEntry, links: &RefCell<HashSet<PathBuf>>) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => {
            let path = entry.path();
            let is_directory = path.is_dir();
            if is_directory {
                links.borrow_mut().insert(path);
            }
            is_directory
        }
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
