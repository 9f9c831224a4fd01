//! The one walker of ways: a name at a time, through every link, on descriptors. The opened file is the checked file,
//! even if names change meanwhile. The visitor decides which steps are safe.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hostler_core::path_rule::reading::{Coming, Kind, Place, is_shared};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The kernel's limit of links in one path.
const MOST_LINKS: usize = 40;
pub(super) const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place on the way: a directory, a link, or a file at its end.
pub struct Seen<'s> {
    /// Its path; links before it are resolved.
    pub path: &'s Path,
    /// The kernel's facts about it.
    pub stat: &'s Stat,
    /// The way's last step to it.
    pub coming: Coming,
}

impl Seen<'_> {
    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind() == Kind::Link
    }

    /// As the path rule sees it. `groups`: whether a group's right to read or pass counts as shared.
    pub fn place(&self, groups: bool) -> Place<'_> {
        let (kind, owner) = (self.kind(), self.stat.st_uid);
        Place { path: self.path, owner, kind, shared: is_shared(kind, self.stat.st_mode, self.stat.st_gid, groups) }
    }

    fn kind(&self) -> Kind {
        match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::File,
        }
    }
}

/// The end of a way.
#[derive(Debug)]
pub struct Walked {
    /// The last directory, for looking and for going on from it (`O_PATH`).
    pub directory: OwnedFd,
    /// Its path without links.
    pub real: PathBuf,
    /// The kernel's facts about it.
    pub stat: Stat,
    /// The file in it that the way leads to, if that is no directory.
    pub file: Option<(OsString, Stat)>,
}

impl Walked {
    /// The end, if it has to be a directory.
    ///
    /// # Errors
    /// `ENOTDIR` if it is no directory.
    pub fn into_directory(self) -> Result<Self, Errno> {
        if self.file.is_some() { Err(Errno::NOTDIR) } else { Ok(self) }
    }

    /// Opens the last directory itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.directory, ".", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }
}

/// Walks an absolute path from the top. It calls `visit` at each place before the way goes on from it; an error of
/// `visit` ends the walk.
///
/// # Errors
/// An error of `visit`, or the kernel refuses.
pub fn walk<E: From<Errno>>(path: &Path, visit: &mut dyn FnMut(&Seen<'_>) -> Result<(), E>) -> Result<Walked, E> {
    walk_from(top()?, Path::new("/"), path.as_os_str(), visit)
}

/// The same from an open directory, whose path without links is `real`.
///
/// # Errors
/// As [`walk`].
pub fn walk_from<E: From<Errno>>(
    directory: OwnedFd,
    real: &Path,
    path: &OsStr,
    visit: &mut dyn FnMut(&Seen<'_>) -> Result<(), E>,
) -> Result<Walked, E> {
    let stat = rustix::fs::fstat(&directory)?;
    let end = Walked { directory, real: real.to_owned(), stat, file: None };
    let mut walker = Walker { end, coming: Coming::ByName, todo: names(path).collect(), visit };
    walker.visit_directory()?;
    walker.walk()?;
    Ok(walker.end)
}

fn top() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty())
}

struct Walker<'v, E> {
    end: Walked,
    coming: Coming,
    todo: VecDeque<OsString>,
    visit: &'v mut dyn FnMut(&Seen<'_>) -> Result<(), E>,
}

impl<E: From<Errno>> Walker<'_, E> {
    fn walk(&mut self) -> Result<(), E> {
        let mut links = 0;
        while let Some(name) = self.todo.pop_front() {
            let next = rustix::fs::openat(&self.end.directory, &name, LOOK, Mode::empty())?;
            if name == ".." {
                self.end.real.pop();
                self.coming = Coming::ByLink;
            } else {
                self.end.real.push(&name);
            }
            let stat = rustix::fs::fstat(&next)?;
            (self.visit)(&Seen { path: &self.end.real, stat: &stat, coming: self.coming })?;
            self.coming = Coming::ByName;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => (self.end.directory, self.end.stat) = (next, stat),
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    self.follow(&next)?;
                }
                _ if self.todo.is_empty() => {
                    self.end.real.pop();
                    self.end.file = Some((name, stat));
                    return Ok(());
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        // A link to its own directory: no later name would visit that.
        if self.coming == Coming::ByLink { self.visit_directory() } else { Ok(()) }
    }

    /// Leaves a link for the start of its target.
    fn follow(&mut self, link: &OwnedFd) -> Result<(), E> {
        self.end.real.pop();
        self.coming = Coming::ByLink;
        let target = OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes());
        if target.as_bytes().starts_with(b"/") {
            let top = top()?;
            let stat = rustix::fs::fstat(&top)?;
            (self.end.directory, self.end.real, self.end.stat) = (top, PathBuf::from("/"), stat);
            self.visit_directory()?;
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            self.todo.push_front(name);
        }
        Ok(())
    }

    fn visit_directory(&mut self) -> Result<(), E> {
        (self.visit)(&Seen { path: &self.end.real, stat: &self.end.stat, coming: self.coming })?;
        self.coming = Coming::ByName;
        Ok(())
    }
}

fn names(path: &OsStr) -> impl Iterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| OsStr::from_bytes(name).to_owned())
}
