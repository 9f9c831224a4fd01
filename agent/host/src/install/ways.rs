//! The ways to the directories in which an Install works, walked on descriptors. A step that the path rule refuses is
//! taken only into the very directory that the plan entered by it: the owner of a directory above may have changed its
//! names since the plan was made.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hostler_core::path_rule::{UnsafeStep, is_trusted};
use hostler_core::plan::actions::{InstalledKind, Plan};
use hostler_core::plan::{Identity, Place};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::InstallError;
use super::backups::is_given;
use super::error::host;
use super::journal::DirectoryRecord;
use super::places::{Anchors, link_or, open_below};
use crate::remove_tree::entries;
use crate::safe_path::{There, identity};
use crate::users::own_uid;

const LOOK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Most directories to keep open: hardly any way has more.
const KEPT: usize = 64;

/// Why the walk along a way stopped before its end.
pub(super) enum Stopped {
    Unsafe { path: PathBuf, step: UnsafeStep },
    Kernel(Errno),
}

/// The directories on the way to the last directory that the walk reached. Paths that come in order are walked cheaply.
#[derive(Debug, Default)]
pub(super) struct Levels {
    way: Vec<(PathBuf, There)>,
    /// Whether a user other than root and the agent's user owns part of the walked way.
    users: bool,
}

impl Levels {
    /// Goes to a directory below its anchor, by unsafe steps only into directories that `accepts` admits.
    pub fn go<'l>(
        &'l mut self,
        anchors: &'l Anchors,
        path: &Path,
        accepts: impl Fn(&Path, &There) -> Result<bool, Errno>,
    ) -> Result<&'l There, Stopped> {
        let Self { way: levels, users } = self;
        let Some(top) = anchors.nearest(path) else { return Err(Stopped::Kernel(Errno::NOENT)) };
        let stays = |known: &Path| path.starts_with(known) && known.starts_with(top) && known != top;
        while levels.last().is_some_and(|(known, _)| !stays(known)) {
            levels.pop();
        }
        let agent = own_uid();
        let mut here = levels.last().map_or(top, |(known, _)| known).to_owned();
        for name in path.strip_prefix(&here).unwrap_or(Path::new("")).iter() {
            here.push(name);
            let from = levels.last().map(|(_, there)| there).or_else(|| anchors.there(top));
            let from = from.ok_or(Stopped::Kernel(Errno::NOENT))?;
            let opened = rustix::fs::openat(&from.directory, name, LOOK, Mode::empty());
            let kernel = |errno| Stopped::Kernel(link_or(errno, from.directory.as_fd(), Path::new(name)));
            let directory = opened.map_err(kernel)?;
            let stat = rustix::fs::fstat(&directory).map_err(Stopped::Kernel)?;
            let trusted = is_trusted(agent, from.owner);
            let (real, by_user) = (from.real.join(name), from.by_user || !trusted);
            let there = There { directory, real, owner: stat.st_uid, device: stat.st_dev, by_user };
            if !trusted && from.owner != there.owner && !accepts(&here, &there).map_err(Stopped::Kernel)? {
                let (from, from_owner) = (from.real.clone(), from.owner);
                let step = UnsafeStep { from, from_owner, to: there.real, to_owner: there.owner };
                return Err(Stopped::Unsafe { path: here, step });
            }
            *users |= there.by_user || !is_trusted(agent, there.owner);
            if levels.len() >= KEPT {
                levels.remove(0);
            }
            levels.push((here.clone(), there));
        }
        let found = levels.last().map(|(_, there)| there).or_else(|| anchors.there(top));
        found.ok_or(Stopped::Kernel(Errno::NOENT))
    }
}

/// Walks to the directories of a plan.
pub(super) struct Ways<'a> {
    anchors: &'a Anchors,
    /// The directories that the plan enters by unsafe steps, ordered by path.
    entered: &'a [Place],
    levels: Levels,
}

impl<'a> Ways<'a> {
    pub fn new(anchors: &'a Anchors, entered: &'a [Place]) -> Self {
        Self { anchors, entered, levels: Levels::default() }
    }

    /// Goes to a directory; `None` if it does not exist.
    ///
    /// # Errors
    /// A step is not safe, or a file that is no directory is on the way.
    pub fn find(&mut self, path: &Path) -> Result<Option<&There>, InstallError> {
        let Self { anchors, entered, levels } = self;
        match levels.go(anchors, path, |path, there| is_entered(entered, path, there)) {
            Ok(there) => Ok(Some(there)),
            Err(Stopped::Kernel(Errno::NOENT)) => Ok(None),
            Err(Stopped::Unsafe { path, step }) => Err(InstallError::UnsafePath { path, step }),
            Err(Stopped::Kernel(Errno::NOTDIR)) => {
                let (planned, found) = ("directory", "file or other object");
                Err(InstallError::Changed { path: path.to_owned(), planned, found })
            }
            Err(Stopped::Kernel(errno)) => Err(host("open", path)(errno)),
        }
    }

    /// Whether users own something on the ways that were walked.
    pub fn are_by_users(&self) -> bool {
        self.levels.users || self.anchors.are_by_users()
    }

    /// As [`find`](Self::find), for a directory that the plan counts on.
    pub fn expect(&mut self, path: &Path) -> Result<&There, InstallError> {
        self.find(path)?.ok_or_else(|| InstallError::Vanished { path: path.to_owned() })
    }
}

fn is_entered(entered: &[Place], path: &Path, there: &There) -> Result<bool, Errno> {
    let at = entered.binary_search_by(|place| place.path.as_path().cmp(path)).ok();
    let Some(place) = at.and_then(|at| entered.get(at)) else { return Ok(false) };
    Ok(place.is.is(&identity(&there.directory)?))
}

/// The directories that an Install, or its undoing, enters by unsafe steps: those that the plan entered, and its own.
/// The owner of the parent directory may give the name to another directory at any moment.
#[derive(Debug)]
pub(super) struct Guard {
    places: Vec<Place>,
    /// The directories that this run made, by their temporary names.
    made: Mutex<HashMap<PathBuf, Identity>>,
    /// The start of the Install: older directories are not its own.
    began: Option<(i64, u32)>,
}

impl Guard {
    /// `places`: the directories that the plan entered, and those that the Install noted. `began`: when it began, in
    /// seconds and nanoseconds since 1970.
    pub fn new(mut places: Vec<Place>, began: Option<(i64, u32)>) -> Self {
        places.sort_by(|a, b| a.path.cmp(&b.path));
        Self { places, made: Mutex::default(), began }
    }

    /// Opens a directory; returns `stopped` if an unsafe step leads to a directory that is none of these.
    pub fn open(
        &self,
        anchors: &Anchors,
        levels: &mut Levels,
        path: &Path,
        stopped: Errno,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        match levels.go(anchors, path, |path, there| Ok(self.is_one(path, &identity(&there.directory)?))) {
            Ok(there) => there.open(flags),
            Err(Stopped::Unsafe { .. }) => Err(stopped),
            Err(Stopped::Kernel(errno)) => Err(errno),
        }
    }

    fn is_one(&self, path: &Path, is: &Identity) -> bool {
        if self.made.lock().unwrap_or_else(PoisonError::into_inner).get(path).is_some_and(|made| made.is(is)) {
            return true;
        }
        // A path may be in the list twice: as the plan entered it, and as the Install noted it.
        let from = self.places.partition_point(|place| place.path.as_path() < path);
        let same = self.places.iter().skip(from).take_while(|place| place.path.as_path() == path);
        same.into_iter().any(|place| place.is.is(is))
    }

    /// Records a directory that was just made: it is the agent's, closed and empty.
    pub fn note_made(&self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), InstallError> {
        let failed = || host("open", path);
        let directory = open_below(parent, name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
        let stat = rustix::fs::fstat(&directory).map_err(failed())?;
        // If the file system decides owners, the directory has its parent's owner, and no step to it is unsafe.
        let is_new = stat.st_uid == own_uid() && stat.st_mode & 0o777 == 0o700
            || is_given(&directory, parent, &stat).map_err(failed())?;
        if !is_new || !entries(&directory).map_err(failed())?.is_empty() {
            return Err(InstallError::Moved { path: path.to_owned() });
        }
        let is = identity(&directory).map_err(failed())?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), is);
        Ok(())
    }

    /// Whether the directory in its place is the one made under the temporary name.
    pub fn took_effect(&self, staged: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(staged).copied();
        let Some(made) = made else { return Ok(true) };
        Ok(made.is(&identity(rustix::fs::openat(parent, name, LOOK, Mode::empty())?)?))
    }

    /// Whether a directory with a temporary name was made for the action with this path. In a directory of root's only
    /// root could have given the name to another one.
    pub fn is_staged(
        &self,
        parent: BorrowedFd<'_>,
        path: &Path,
        staged: &Path,
        directory: &OwnedFd,
    ) -> Result<bool, Errno> {
        if is_trusted(own_uid(), rustix::fs::fstat(parent)?.st_uid) {
            return Ok(true);
        }
        let is = identity(directory)?;
        let noted = self.places.binary_search_by(|place| place.path.as_path().cmp(path)).is_ok();
        if noted || self.made.lock().unwrap_or_else(PoisonError::into_inner).contains_key(staged) {
            return Ok(self.is_one(path, &is) || self.is_one(staged, &is));
        }
        // A crash came before it was noted.
        Ok(!matches!((is.born, self.began), (Some(born), Some(began)) if born < began))
    }
}

/// Takes an unsafe step, if the plan entered this very directory by it.
pub(super) fn enter(entered: &[Place], path: &Path, there: &There, step: UnsafeStep) -> Result<(), InstallError> {
    match is_entered(entered, path, there).map_err(host("read", path))? {
        true => Ok(()),
        false => Err(InstallError::UnsafePath { path: path.to_owned(), step }),
    }
}

/// The existing directories that the next deployment, or an undo, has to recognise: the group's own, those that the
/// plan works in, the destinations, those that are entered by unsafe steps, and everything above. Directories that
/// cannot be reached safely are not noted. Also returns whether users own something on the ways there.
pub(super) fn existing(
    plan: &Plan,
    destinations: &[PathBuf],
    worked_in: &[DirectoryRecord],
    anchors: &Anchors,
) -> (Vec<Place>, bool) {
    let owned = plan.installed.iter().filter(|entry| entry.kind == InstalledKind::Directory);
    let all = owned.map(|entry| entry.path.as_path()).chain(destinations.iter().map(PathBuf::as_path));
    let all = all.chain(plan.entered.iter().map(|place| place.path.as_path()));
    let mut paths: BTreeSet<&Path> = BTreeSet::new();
    for path in all.chain(worked_in.iter().map(|record| record.path.as_path())) {
        // If a directory is in the set, all directories above it are too.
        let _ = path.ancestors().find(|above| !paths.insert(above));
    }
    let mut ways = Ways::new(anchors, &plan.entered);
    let places = paths.into_iter().filter_map(|path| {
        let is = known(&mut ways, path)?;
        let owned = plan.installed.binary_search_by(|entry| entry.path.as_path().cmp(path)).ok();
        let shared = owned.and_then(|at| plan.installed.get(at)).map(|entry| entry.path.clone());
        Some(Place { path: shared.unwrap_or_else(|| path.into()), is, destination: false })
    });
    (places.collect(), ways.are_by_users())
}

fn known(ways: &mut Ways<'_>, path: &Path) -> Option<Identity> {
    identity(&ways.find(path).ok()??.directory).ok()
}

/// All of them in order, with the new ones.
pub(super) fn all(existing: Vec<Place>, made: Vec<Place>, destinations: &[PathBuf]) -> Vec<Place> {
    let mut places = existing;
    places.extend(made);
    places.sort_by(|a, b| a.path.cmp(&b.path));
    places.dedup_by(|later, first| later.path == first.path);
    let destinations: BTreeSet<&Path> = destinations.iter().map(PathBuf::as_path).collect();
    for place in &mut places {
        place.destination = destinations.contains(place.path.as_path());
    }
    places
}
