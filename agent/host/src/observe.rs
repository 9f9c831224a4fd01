//! Looks at the host for a plan: the files at the paths that the plan asks about, the users and groups that exist, and
//! the free space. It changes nothing.
//!
//! Every directory is opened once, without following links, from the root prefix down; a link is followed only where
//! the plan says so, and never out of the prefix. Nothing below an absent directory is looked at.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hostler_core::appspec::spec::{AppSpec, FileExistsBehavior};
use hostler_core::bundle::BundleListing;
use hostler_core::path_rule::{UnsafePaths, UnsafeStep, is_trusted};
use hostler_core::plan::actions::{InstalledEntry, Plan};
use hostler_core::plan::{
    AgentFact, DeviceFact, DirectoryFact, Guard, HostFacts, Identity, Leads, LookAt, PathFact, PathFacts, Problems,
    UnsafeEntry, Wanted, plan, wanted,
};
use hostler_core::shared_path::SharedPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{AccessFlags, Group, User, faccessat, getegid, geteuid, getgroups};

use guard::{guard, read_only_mount};

mod contents;
mod guard;

pub use contents::compare_contents;
use empty::is_empty;
use links::{Followed, follow};

use crate::safe_path::{There, identity};

/// Why the host could not be looked at, or a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The root prefix cannot be opened.
    #[error("cannot open the root prefix {path}", path = .0.display())]
    Root(PathBuf, #[source] io::Error),
    /// A user or group could not be looked up; a missing user or group is no error.
    #[error("cannot look up the {kind} {name:?}")]
    Name {
        /// "user" or "group".
        kind: &'static str,
        /// The name.
        name: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The agent's own user and groups are not known.
    #[error("cannot tell which groups the agent belongs to")]
    Agent(#[source] io::Error),
    /// A file to compare cannot be read.
    #[error("cannot read {path}", path = .0.display())]
    Compare(PathBuf, #[source] io::Error),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The bundle or the host does not allow it; with all reasons.
    #[error("{} found that prevent the Install", count(.0.len()))]
    Problems(Problems),
    /// The host could not be looked at.
    #[error("the host could not be looked at")]
    Observe(#[from] ObserveError),
    /// The files of the last Install are not known; the reason.
    #[error("{0}")]
    LastInstall(String),
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem was".into() } else { format!("{problems} problems were") }
}

/// Works out the questions, looks at the host below `root`, and plans.
///
/// # Errors
/// All the problems of the bundle, or else all of the host; or the host could not be looked at.
pub fn observe_and_plan(
    spec: &AppSpec,
    listing: &BundleListing,
    last: Option<&[InstalledEntry]>,
    root: &Path,
    behavior: FileExistsBehavior,
    cleanup: bool,
) -> Result<Plan, PlanError> {
    let wanted = wanted(spec, listing, last.map(<[_]>::to_vec)).map_err(PlanError::Problems)?;
    let facts = observe(&wanted, root)?;
    plan(&wanted, &facts, behavior, cleanup).map_err(PlanError::Problems)
}

/// Looks at everything that `wanted` names, below `root`. Users and groups are always this host's.
///
/// # Errors
/// The root prefix cannot be opened, or the user database cannot be asked. A path that cannot be looked at is a fact.
pub fn observe(wanted: &Wanted, root: &Path) -> Result<HostFacts, ObserveError> {
    let real_root = std::fs::canonicalize(root).map_err(|e| ObserveError::Root(root.to_owned(), e))?;
    let top = There::begin(&real_root).map_err(|e| ObserveError::Root(root.to_owned(), e.into()))?;
    let paths = PathFacts::with_capacity(wanted.look_at.len());
    let destinations = wanted.last_destinations().collect();
    let (uid, takes_unsafe) = (geteuid().as_raw(), wanted.unsafe_paths == UnsafePaths::Warn);
    let facts = HostFacts { paths, ..HostFacts::default() };
    let mut observer = Observer { real_root, uid, takes_unsafe, destinations, facts };
    observer.facts.agent = agent()?;
    observer.walk(wanted, top);
    let mut facts = observer.facts;
    facts.users = ids("user", &wanted.users, |name| Ok(User::from_name(name)?.map(|u| u.uid.as_raw())))?;
    facts.groups = ids("group", &wanted.groups, |name| Ok(Group::from_name(name)?.map(|g| g.gid.as_raw())))?;
    Ok(facts)
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

struct Observer<'w> {
    real_root: PathBuf,
    uid: u32,
    /// Whether links below destinations are followed by unsafe steps too.
    takes_unsafe: bool,
    /// The destinations of the last install.
    destinations: BTreeSet<&'w Path>,
    facts: HostFacts,
}

/// A directory on the way to the wanted path.
struct Level<'a> {
    path: &'a Path,
    /// `None` where nothing can be below: an absent path, a file, a link that is not followed.
    directory: Option<There>,
}

impl Observer<'_> {
    fn walk(&mut self, wanted: &Wanted, top: There) {
        let list: BTreeSet<&Path> = wanted.list.iter().map(SharedPath::as_path).collect();
        let fact = self.directory(Path::new("/"), &top.directory).map_or_else(unreadable, PathFact::Directory);
        self.facts.paths.insert("/", fact);
        let mut levels = vec![Level { path: Path::new("/"), directory: Some(top) }];
        for (index, look) in wanted.look_at.iter().enumerate() {
            let path = look.path.as_path();
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            while levels.len() > 1 && levels.last().is_some_and(|level| level.path.as_os_str() != parent.as_os_str()) {
                levels.pop();
            }
            let above = levels
                .last()
                .filter(|level| level.path.as_os_str() == parent.as_os_str())
                .and_then(|level| level.directory.as_ref());
            // Only a directory with children to look at, or names to list, is opened.
            let children = wanted
                .look_at
                .get(index + 1)
                .and_then(|next| next.path.parent())
                .is_some_and(|next| next.as_os_str() == path.as_os_str());
            let listed = !list.is_empty() && list.contains(path);
            let opened = above.and_then(|above| self.look(above, name, look, children || listed));
            if listed && let Some(Ok(names)) = opened.as_ref().map(|opened| names(&opened.directory)) {
                self.facts.listings.insert(path.to_owned(), names);
            }
            if children {
                levels.push(Level { path, directory: opened });
            }
        }
    }

    /// Looks at one entry of a directory; returns it opened, if it is a directory and `open` is set.
    fn look(&mut self, above: &There, name: &OsStr, look: &LookAt, open: bool) -> Option<There> {
        let stat = match fstatat(&above.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A path without a fact counts as absent.
            Err(Errno::ENOENT) => return None,
            Err(error) => {
                self.insert(look, PathFact::Unreadable { reason: error.desc().into() });
                return None;
            }
        };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => {
                self.note_guard(&look.path, guard(&above.directory, name));
                self.insert(look, PathFact::File);
                None
            }
            SFlag::S_IFDIR => self.look_at_directory(above, name, look, open, &stat),
            SFlag::S_IFLNK => self.look_at_link(above, name, look, &stat),
            _ => {
                self.insert(look, PathFact::Other);
                None
            }
        }
    }

    fn look_at_directory(
        &mut self,
        above: &There,
        name: &OsStr,
        look: &LookAt,
        open: bool,
        stat: &FileStat,
    ) -> Option<There> {
        let path = look.path.as_path();
        let by_user = above.by_user || !is_trusted(self.uid, above.owner);
        let asked = by_user && (above.owner != stat.st_uid || self.destinations.contains(path));
        let again = || openat(&above.directory, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty());
        if !open && !asked {
            let fact = self.fact(path, stat, &above.directory, name, again);
            self.insert(look, fact.map_or_else(unreadable, PathFact::Directory));
            return None;
        }
        let found = again().and_then(|directory| {
            let stat = fstat(&directory)?;
            let real = above.real.join(name);
            let there = There { directory, real, owner: stat.st_uid, device: stat.st_dev, by_user };
            Ok((self.directory(path, &there.directory)?, there))
        });
        match found {
            Ok((fact, there)) => {
                self.insert(look, PathFact::Directory(fact));
                if asked {
                    let safe = is_trusted(self.uid, above.owner) || above.owner == there.owner;
                    let step = (!safe).then(|| UnsafeStep {
                        from: above.real.clone(),
                        from_owner: above.owner,
                        to: there.real.clone(),
                        to_owner: there.owner,
                    });
                    self.note_way(path, &there, step, there.device != above.device);
                }
                open.then_some(there)
            }
            Err(error) => {
                self.insert(look, unreadable(error));
                None
            }
        }
    }

    /// Notes the facts that a plan needs about a directory to which a user's way leads. A directory that cannot be
    /// looked at is not ours.
    fn note_way(&mut self, path: &Path, there: &There, step: Option<UnsafeStep>, apart: bool) {
        let is = identity(&there.directory).unwrap_or(Identity { kind: 0, inode: 0, born: None });
        if let Some(step) = step {
            let empty = is_empty(&there.directory);
            let entry = UnsafeEntry { step, is, apart, empty, noted_by_another: false };
            self.facts.unsafe_steps.insert(path.to_owned(), entry);
        }
        if there.by_user && self.destinations.contains(path) {
            self.facts.places.insert(path.to_owned(), is);
        }
    }

    fn look_at_link(&mut self, above: &There, name: &OsStr, look: &LookAt, stat: &FileStat) -> Option<There> {
        let target = match readlinkat(&above.directory, name) {
            Ok(target) => PathBuf::from(target),
            Err(error) => {
                self.insert(look, unreadable(error));
                return None;
            }
        };
        let trusted = is_trusted(self.uid, stat.st_uid);
        let (leads, opened) = match follow(above, name, look.follow, trusted, self.takes_unsafe) {
            Followed::Not(leads) => (leads, None),
            Followed::To(there, step) => {
                match (there.real.strip_prefix(&self.real_root), self.directory(&look.path, &there.directory)) {
                    (Err(_), _) => (Leads::OutOfRoot, None),
                    (_, Err(error)) => {
                        self.insert(look, unreadable(error));
                        return None;
                    }
                    (Ok(inside), Ok(directory)) => {
                        let real = Path::new("/").join(inside);
                        self.note_way(&look.path, &there, step, true);
                        (Leads::Directory { directory, real }, Some(there))
                    }
                }
            }
            Followed::Unreadable(error) => {
                self.insert(look, unreadable(error));
                return None;
            }
        };
        self.insert(look, PathFact::Symlink { target, leads });
        opened
    }

    fn directory(&mut self, path: &Path, directory: &OwnedFd) -> nix::Result<DirectoryFact> {
        let stat = fstat(directory)?;
        self.fact(path, &stat, directory, OsStr::new("."), || Ok(directory))
    }

    /// The facts of a directory, which is `name` in `above`; its file system is asked once for each device.
    fn fact<D: AsFd>(
        &mut self,
        path: &Path,
        stat: &FileStat,
        above: &OwnedFd,
        name: &OsStr,
        open: impl Fn() -> nix::Result<D>,
    ) -> nix::Result<DirectoryFact> {
        let device = stat.st_dev;
        if let Entry::Vacant(unknown) = self.facts.devices.entry(device) {
            let system = fstatvfs(open()?)?;
            let free_inodes = (system.files() > 0).then(|| system.files_available());
            unknown.insert(DeviceFact {
                free_bytes: system.blocks_available().saturating_mul(system.fragment_size()),
                free_inodes,
            });
        }
        let guard = guard(above, name);
        self.note_guard(path, guard);
        let allowed = may_write(above, name);
        // The same device may be mounted twice, once read-only, so each directory is asked.
        if !allowed && fstatvfs(open()?)?.flags().contains(FsFlags::ST_RDONLY) {
            let mount = read_only_mount(&self.real_root, &below(&self.real_root, path));
            self.facts.read_only.insert(path.to_owned(), mount);
        }
        // A file that is made in an append-only directory cannot be renamed or taken back.
        let writable = allowed && !guard.append_only;
        Ok(DirectoryFact { mode: stat.st_mode & 0o7777, writable, device })
    }

    fn note_guard(&mut self, path: &Path, guard: Guard) {
        if guard.is_any() {
            self.facts.guards.insert(path.to_owned(), guard);
        }
    }

    fn insert(&mut self, look: &LookAt, fact: PathFact) {
        self.facts.paths.insert(look.path.clone(), fact);
    }
}

fn unreadable(error: Errno) -> PathFact {
    PathFact::Unreadable { reason: error.desc().into() }
}

/// The kernel asks here about the real user. The agent is not a setuid program, so that is its effective user too.
fn may_write(above: &OwnedFd, name: &OsStr) -> bool {
    faccessat(above, name, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty()).is_ok()
}

fn names(directory: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in nix::dir::Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The user and groups of this process; the effective group comes last.
///
/// # Errors
/// When the system does not say.
pub fn agent() -> Result<AgentFact, ObserveError> {
    let mut gids: Vec<u32> =
        getgroups().map_err(|e| ObserveError::Agent(e.into()))?.into_iter().map(|gid| gid.as_raw()).collect();
    gids.push(getegid().as_raw());
    Ok(AgentFact { uid: geteuid().as_raw(), gids })
}

fn ids(
    kind: &'static str,
    names: &BTreeSet<String>,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<BTreeMap<String, u32>, ObserveError> {
    let mut found = BTreeMap::new();
    for name in names {
        let id = find(name).map_err(|e| ObserveError::Name { kind, name: name.clone(), source: e.into() })?;
        found.extend(id.map(|id| (name.clone(), id)));
    }
    Ok(found)
}

mod empty;
mod links;
#[cfg(test)]
mod tests;
