//! Directories on the host, opened so that a user who may write below a destination cannot lead the agent elsewhere.
//!
//! Links are followed once, at the start, and only those that the plan follows, by steps that the path rule allows. The
//! root and the targets of those links are the *anchors*: everything is reached from the nearest anchor, and no other
//! link is ever followed.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use hostler_core::path_rule::is_trusted;
use hostler_core::plan::Place;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::InstallError;
use super::error::host;
use super::journal::{AnchorRecord, DirectoryRecord};
use super::layout::place;
use super::mounts::{Noted, Reach};
use super::steps::Steps;
use super::ways::{self, Guard, Levels, Ways};
use crate::safe_path::There;
use crate::users::own_uid;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a path below `base` without following any link, the last component included.
pub(super) fn open_below(base: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6 and some system call filters do not know the call; and if the last component is a link,
        // the error is "not a directory", which has to be told apart.
        Err(Errno::NOSYS | Errno::PERM | Errno::NOTDIR) => walk(base, path, flags),
        opened => opened,
    }
}

fn walk(base: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let names: Vec<_> = path.components().filter(|c| *c != Component::CurDir).collect();
    if names.iter().any(|name| !matches!(name, Component::Normal(_))) {
        return Err(Errno::XDEV);
    }
    let Some((last, parents)) = names.split_last() else {
        return rustix::fs::openat(base, ".", flags, Mode::empty());
    };
    let mut at: Option<OwnedFd> = None;
    for name in parents {
        let from = at.as_ref().map_or(base, AsFd::as_fd);
        let next = rustix::fs::openat(from, name.as_os_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        at = Some(next.map_err(|errno| link_or(errno, from, name.as_os_str().as_ref()))?);
    }
    let from = at.as_ref().map_or(base, AsFd::as_fd);
    rustix::fs::openat(from, last.as_os_str(), flags, Mode::empty())
        .map_err(|errno| link_or(errno, from, last.as_os_str().as_ref()))
}

/// With `O_DIRECTORY` the kernel calls a link "not a directory"; openat2 calls it a loop, and so does this.
pub(super) fn link_or(errno: Errno, parent: BorrowedFd<'_>, name: &Path) -> Errno {
    match look(parent, name) {
        Ok(Some(stat)) if errno == Errno::NOTDIR && is_link(&stat) => Errno::LOOP,
        _ => errno,
    }
}

/// The file with a name in an open directory; `None` if there is none.
pub(super) fn look(directory: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(super) fn is_link(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink()
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

pub(super) fn is_file(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

#[derive(Debug)]
struct Anchor {
    there: There,
    record: AnchorRecord,
}

/// The open directories from which everything else is reached.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    by_path: HashMap<PathBuf, Anchor>,
    /// If users own directories on the ways: the directories that may be entered below them.
    guard: Option<Guard>,
}

impl Anchors {
    /// Opens the root, and the directories that these links lead to within it, each link once. A link that is a
    /// directory by now, or gone, needs no anchor. `entered` are the directories that the plan enters by unsafe steps.
    pub fn resolve(root: &Path, links: &[PathBuf], entered: &[Place], noted: &mut Noted) -> Result<Self, InstallError> {
        let real_root = std::fs::canonicalize(root).map_err(cannot_resolve(root))?;
        let mut anchors = Self::default();
        let top = There::begin(&real_root).map_err(host("open", root))?;
        anchors.insert(PathBuf::from("/"), top, noted)?;
        // A link comes before the links that are reached through it.
        let links: BTreeSet<&PathBuf> = links.iter().collect();
        for link in links {
            let (parent, name) = place(link);
            let mut ways = Ways::new(&anchors, entered);
            let Some(above) = ways.find(parent)? else { continue };
            if !is_link_now(&above.directory, name).map_err(host("open", link))? {
                continue;
            }
            let (there, step) = match above.follow(name) {
                Ok(followed) => followed,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(host("open", link)(errno)),
            };
            if !there.real.starts_with(&real_root) {
                let source = io::Error::other(format!("it leads out of the root prefix, to {}", there.real.display()));
                return Err(InstallError::Host { what: "follow the symbolic link", path: link.clone(), source });
            }
            if let Some(step) = step {
                ways::enter(entered, link, &there, step)?;
            }
            anchors.insert(link.clone(), there, noted)?;
        }
        Ok(anchors)
    }

    fn insert(&mut self, path: PathBuf, there: There, noted: &mut Noted) -> Result<(), InstallError> {
        let directory = there.open(DIRECTORY).map_err(host("open", &path))?;
        let inode = rustix::fs::fstat(&directory).map_err(host("read", &path))?.st_ino;
        let file_system = noted.add(&directory);
        let record = AnchorRecord { path: path.clone(), real: there.real.clone(), inode, file_system };
        self.by_path.insert(path, Anchor { there: There { directory, ..there }, record });
        Ok(())
    }

    /// Opens the directories of an earlier run again. Missing or replaced directories are left out.
    ///
    /// # Errors
    /// The file system of a directory is not mounted.
    pub fn reopen(records: &[AnchorRecord], reach: &Reach) -> Result<Self, InstallError> {
        let top = rustix::fs::open("/", DIRECTORY, Mode::empty()).map_err(host("open", Path::new("/")))?;
        let mut anchors = Self::default();
        for record in records {
            let relative = match record.real.strip_prefix("/") {
                Ok(relative) if !relative.as_os_str().is_empty() => relative,
                _ => Path::new("."),
            };
            let mut found = match open_below(top.as_fd(), relative, DIRECTORY) {
                Ok(directory) => Some(directory),
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => None,
                Err(errno) => return Err(host("open", &record.real)(errno)),
            };
            if let Some(directory) = &found
                && rustix::fs::fstat(directory).map_err(host("read", &record.real))?.st_ino != record.inode
            {
                found = None;
            }
            let there = reach.is_there(&record.real, record.file_system, found.as_ref())?;
            if let Some(directory) = found.filter(|_| there) {
                let there = There::at(directory, &record.real).map_err(host("read", &record.real))?;
                anchors.by_path.insert(record.path.clone(), Anchor { there, record: record.clone() });
            }
        }
        Ok(anchors)
    }

    /// Whether this one could be opened again.
    pub fn has(&self, record: &AnchorRecord) -> bool {
        self.by_path.contains_key(&record.path)
    }

    pub fn records(&self) -> Vec<AnchorRecord> {
        let mut records: Vec<_> = self.by_path.values().map(|anchor| anchor.record.clone()).collect();
        records.sort_by(|a, b| a.path.cmp(&b.path));
        records
    }

    /// The real path of a path of the plan. There are no links below anchors.
    pub fn real(&self, path: &Path) -> PathBuf {
        match self.above(path) {
            // Joining an empty path would add a slash.
            Some(anchor) if anchor.record.path == path => anchor.record.real.clone(),
            Some(anchor) => anchor.record.real.join(path.strip_prefix(&anchor.record.path).unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// The path of the nearest anchor above a path, or at it.
    pub fn nearest(&self, path: &Path) -> Option<&Path> {
        self.above(path).map(|anchor| anchor.record.path.as_path())
    }

    /// Whether users other than root and the agent's user own something on the ways to the anchors.
    pub fn are_by_users(&self) -> bool {
        let agent = own_uid();
        self.by_path.values().any(|anchor| anchor.there.by_user || !is_trusted(agent, anchor.there.owner))
    }

    /// From now on every way is walked, and unsafe steps are taken only into directories that the guard knows.
    pub fn guarded_by(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The anchor of this path.
    pub fn there(&self, path: &Path) -> Option<&There> {
        self.by_path.get(path).map(|anchor| &anchor.there)
    }

    /// The nearest anchor above a path, or at it.
    fn above(&self, path: &Path) -> Option<&Anchor> {
        path.ancestors().find_map(|ancestor| self.by_path.get(ancestor))
    }
}

fn cannot_resolve(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Host { what: "resolve", path, source }
}

fn is_link_now(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    Ok(look(parent.as_fd(), name)?.is_some_and(|stat| is_link(&stat)))
}

pub(super) fn real_path(directory: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Open directories by the path that the plan gives them. They are kept while there is room: opening the parent again
/// for each file costs more than the file.
pub(super) struct Directories<'a> {
    anchors: &'a Anchors,
    /// The directories that must be the same as when the run began; ordered by path.
    known: &'a [DirectoryRecord],
    /// The directories that were made anew since.
    remade: RefCell<BTreeSet<PathBuf>>,
    levels: RefCell<Levels>,
    open: RefCell<HashMap<PathBuf, Rc<OwnedFd>>>,
}

/// A directory was replaced by another one. No system call that opens one says this; `ESTALE` is a network file
/// system's.
const ANOTHER: Errno = Errno::NOTUNIQ;

/// No directory has it.
const NO_INODE: u64 = 0;

/// Checks that no recorded directory is taken for gone while its file system is not mounted. A directory that is on
/// another file system now, with the same inode number, is not recognised.
///
/// # Errors
/// The file system of a recorded directory is not mounted.
pub(super) fn check_reach(
    records: &mut [DirectoryRecord],
    anchors: &Anchors,
    reach: &Reach,
) -> Result<(), InstallError> {
    let mut others = Vec::new();
    let directories = Directories::new(anchors, records);
    for (number, record) in records.iter().enumerate() {
        let found = match directories.open(&record.path) {
            Ok(directory) => Some(directory),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(ANOTHER) => None,
            Err(errno) => return Err(host("open", &record.path)(errno)),
        };
        if anchors.above(&record.path).is_none() {
            continue;
        }
        let real = anchors.real(&record.path);
        if !reach.is_there(&real, record.file_system, found.as_deref())? && found.is_some() {
            others.push(number);
        }
    }
    for number in others {
        records.get_mut(number).into_iter().for_each(|record| record.inode = NO_INODE);
    }
    Ok(())
}

/// Most directories to keep open, well below the common limit of 1024 open files, with several threads.
const KEPT: usize = 128;

impl<'a> Directories<'a> {
    pub fn new(anchors: &'a Anchors, known: &'a [DirectoryRecord]) -> Self {
        Self { anchors, known, remade: RefCell::default(), levels: RefCell::default(), open: RefCell::default() }
    }

    /// From now on this path may be another directory than before.
    pub fn accept(&self, path: &Path) {
        self.remade.borrow_mut().insert(path.to_owned());
    }

    /// Opens a directory below its anchor, without following links. [`ANOTHER`]: the directory was replaced.
    pub fn open(&self, path: &Path) -> Result<Rc<OwnedFd>, Errno> {
        if let Some(known) = self.open.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let directory = Rc::new(match &self.anchors.guard {
            Some(guard) => guard.open(self.anchors, &mut self.levels.borrow_mut(), path, ANOTHER, DIRECTORY)?,
            None => {
                let anchor = self.anchors.above(path).ok_or(Errno::NOENT)?;
                let below = path.strip_prefix(&anchor.record.path).unwrap_or(path);
                let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
                open_below(anchor.there.directory.as_fd(), below, DIRECTORY)?
            }
        });
        if let Ok(at) = self.known.binary_search_by(|known| known.path.as_path().cmp(path)) {
            let inode = rustix::fs::fstat(&*directory)?.st_ino;
            let other = self.known.get(at).is_some_and(|known| known.inode != inode);
            if other && !self.remade.borrow().contains(path) {
                return Err(ANOTHER);
            }
        }
        let mut open = self.open.borrow_mut();
        if open.len() >= KEPT {
            open.clear();
        }
        open.insert(path.to_owned(), Rc::clone(&directory));
        Ok(directory)
    }

    /// As [`open`](Self::open), with an error that names the problem with the directory.
    pub fn expect(&self, path: &Path) -> Result<Rc<OwnedFd>, InstallError> {
        self.open(path).map_err(|errno| match errno {
            Errno::NOENT => InstallError::Vanished { path: path.to_owned() },
            ANOTHER => InstallError::Moved { path: path.to_owned() },
            Errno::NOTDIR => {
                InstallError::Changed { path: path.to_owned(), planned: "directory", found: "file or other object" }
            }
            errno => host("open", path)(errno),
        })
    }

    /// As [`expect`](Self::expect); `None` if it does not exist.
    pub fn find(&self, path: &Path) -> Result<Option<Rc<OwnedFd>>, InstallError> {
        match self.expect(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(InstallError::Vanished { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Closes the kept directories: a directory of one of these paths was or will be renamed.
    pub fn forget(&self) {
        self.open.borrow_mut().clear();
        *self.levels.borrow_mut() = Levels::default();
    }
}

/// The file systems to synchronise, each once.
#[derive(Debug, Default)]
pub(super) struct FileSystems {
    by_device: HashMap<u64, (PathBuf, OwnedFd)>,
}

impl FileSystems {
    pub fn add(&mut self, path: &Path, directory: &OwnedFd) -> Result<(), InstallError> {
        let device = rustix::fs::fstat(directory).map_err(host("read", path))?.st_dev;
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.by_device.entry(device) {
            // Kept open from now on, because the kernel reports a write-back error only to descriptors that were open
            // then.
            let kept = rustix::io::fcntl_dupfd_cloexec(directory, 0).map_err(host("keep open", path))?;
            vacant.insert((path.to_owned(), kept));
        }
        Ok(())
    }

    pub fn have(&self, device: u64) -> bool {
        self.by_device.contains_key(&device)
    }

    pub fn sync(&self, steps: &impl Steps) -> Result<(), InstallError> {
        for (path, directory) in self.by_device.values() {
            let synced = steps.sync_file_system(directory.as_fd());
            synced.map_err(host("synchronise the file system of", path))?;
        }
        Ok(())
    }
}
