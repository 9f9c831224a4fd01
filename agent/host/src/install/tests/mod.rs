//! Whole installs in a temporary root: every tree is compared by names, kinds, contents, modes, owners, times, link
//! targets and inodes.

mod attack;
mod changed;
mod crash;
mod disk;
mod first_version;
mod forward;
mod kept;
pub(crate) mod mounts;
mod power;
mod power_loss;
mod properties;
mod race;
mod space;
mod speed;
mod unmounted;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hostler_core::plan::actions::{Attributes, InstalledKind};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::outcome::{commit_with, confirm_with, settle_with, undo_with};
use super::*;
use mounts::Mounted;

/// A root, a bundle and a journal.
pub(super) struct World {
    pub dir: tempfile::TempDir,
    pub deployment: DeploymentId,
    pub plan: Plan,
    pub links: Vec<PathBuf>,
    pub destinations: Vec<PathBuf>,
}

/// One entry of a tree: kind and content, mode, owner, group, modification time, inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    what: String,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    inode: u64,
}

pub(super) type Tree = BTreeMap<PathBuf, Seen>;

/// In memory if possible: thousands of syncfs on a disk would take minutes.
pub(super) fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

impl World {
    pub fn empty() -> Self {
        let (dir, deployment) = (temporary(), "d-TEST1".parse().unwrap());
        let world =
            Self { dir, deployment, plan: Plan::default(), links: Vec::new(), destinations: vec!["/srv/app".into()] };
        std::fs::create_dir(world.root()).unwrap();
        std::fs::create_dir(world.archive()).unwrap();
        world
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The directory for backups: the journal is on the same mount as the root.
    pub fn backups(&self) -> PathBuf {
        self.journal().join("backups")
    }

    /// A path of the plan on this machine.
    pub fn host(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn old_file(&self, path: &str, content: &str) {
        std::fs::create_dir_all(self.host(path).parent().unwrap()).unwrap();
        std::fs::write(self.host(path), content).unwrap();
    }

    pub fn old_link(&self, path: &str, target: &str) {
        std::fs::create_dir_all(self.host(path).parent().unwrap()).unwrap();
        symlink(target, self.host(path)).unwrap();
    }

    pub fn old_directory(&self, path: &str) {
        std::fs::create_dir_all(self.host(path)).unwrap();
    }

    /// Ages all files, so that a time that is not put back is noticed.
    pub fn age(&self) {
        for path in paths(&self.root()) {
            let old = Timestamps {
                last_access: Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 },
                last_modification: Timespec { tv_sec: 1_000_000_000, tv_nsec: 7 },
            };
            rustix::fs::utimensat(rustix::fs::CWD, self.root().join(path), &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    pub fn put(&mut self, path: &str, content: &str, replaces: bool) {
        let source = format!("s{}", self.plan.actions.len());
        std::fs::write(self.archive().join(&source), content).unwrap();
        std::fs::set_permissions(self.archive().join(&source), PermissionsExt::from_mode(0o640)).unwrap();
        self.plan.actions.push(Action::PutFile {
            source: source.into(),
            path: path.into(),
            replaces,
            attributes: Attributes::default().into(),
        });
        self.plan.installed.push(InstalledEntry { path: path.into(), kind: InstalledKind::File });
    }

    pub fn put_link(&mut self, path: &str, target: &str, replaces: bool) {
        self.plan.actions.push(Action::PutLink {
            target: target.to_owned(),
            path: path.into(),
            replaces,
            attributes: Attributes::default().into(),
        });
    }

    pub fn make(&mut self, path: &str) {
        self.plan.actions.push(Action::MakeDirectory { path: path.into(), attributes: Attributes::default().into() });
    }

    pub fn keep(&mut self, path: &str, mode: u32) {
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        self.plan.actions.push(Action::KeepDirectory { path: path.into(), attributes: attributes.into() });
    }

    pub fn remove(&mut self, path: &str, kind: InstalledKind) {
        self.plan.actions.push(Action::Remove { path: path.into(), kind });
    }

    pub fn run(&self, steps: &impl Steps) -> Result<Installed, InstallError> {
        let (archive, root, journal) = (self.archive(), self.root(), self.journal());
        let request = InstallRequest {
            deployment: &self.deployment,
            archive: &archive,
            root: &root,
            journal: &journal,
            links: &self.links,
            destinations: &self.destinations,
            plan: &self.plan,
        };
        run_with(&request, steps)
    }

    pub fn settle(&self) -> Settled {
        settle(&self.journal()).unwrap()
    }

    pub fn state(&self) -> JournalState {
        state(&self.journal()).unwrap()
    }

    pub fn tree(&self) -> Tree {
        tree(&self.root())
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.host(path)).unwrap()
    }

    /// An update that has every kind of action, and every kind of file that makes way for another.
    pub fn update() -> Self {
        let mut world = Self::empty();
        for (path, content) in [
            ("/srv/app/index.html", "old index"),
            ("/srv/app/one", "twice linked"),
            ("/srv/app/conf.d/site", "old site"),
            ("/srv/app/now-a-directory", "was a file"),
            ("/srv/app/gone", "a leftover"),
            ("/srv/app/gone.d/a", "a"),
            ("/srv/app/gone.d/b/c", "c"),
            ("/srv/app/gone-but-used/ours", "ours"),
            ("/srv/app/gone-but-used/theirs", "theirs"),
            ("/srv/app/now-a-file/x", "in a directory"),
            ("/srv/app/data/theirs", "never touched"),
        ] {
            world.old_file(path, content);
        }
        std::fs::hard_link(world.host("/srv/app/one"), world.host("/srv/app/data/two")).unwrap();
        world.old_link("/srv/app/link", "old-target");
        world.old_link("/srv/app/now-below-a-link", "data");
        std::fs::set_permissions(world.host("/srv/app/index.html"), PermissionsExt::from_mode(0o604)).unwrap();
        world.age();
        use InstalledKind::{Directory, File, Link};
        world.remove("/srv/app/now-a-directory", File);
        world.remove("/srv/app/now-below-a-link", Link);
        world.remove("/srv/app/now-a-file/x", File);
        world.remove("/srv/app/now-a-file", Directory);
        world.keep("/srv/app", 0o750);
        world.make("/srv/app/new");
        world.make("/srv/app/new/deep");
        world.make("/srv/app/now-a-directory");
        world.make("/srv/app/now-below-a-link");
        world.put("/srv/app/index.html", "new index", true);
        world.put("/srv/app/one", "new one", true);
        world.put("/srv/app/conf.d/site", "new site", true);
        world.put("/srv/app/conf.d/other", "new other", false);
        world.put("/srv/app/new/deep/file", "deep", false);
        world.put_link("/srv/app/new/link", "deep/file", false);
        world.put("/srv/app/now-a-directory/inside", "inside", false);
        world.put("/srv/app/now-below-a-link/inside", "inside", false);
        world.put("/srv/app/now-a-file", "a file", false);
        world.put_link("/srv/app/link", "new-target", true);
        world.put_link("/srv/app/new-link", "index.html", false);
        world.remove("/srv/app/gone", File);
        world.remove("/srv/app/gone.d/b/c", File);
        world.remove("/srv/app/gone.d/b", Directory);
        world.remove("/srv/app/gone.d/a", File);
        world.remove("/srv/app/gone.d", Directory);
        world.remove("/srv/app/gone-but-used/ours", File);
        world.remove("/srv/app/gone-but-used", Directory);
        world
    }
}

/// Every path below a directory, itself as the empty path.
pub(super) fn paths(top: &Path) -> Vec<PathBuf> {
    fn walk(top: &Path, path: &Path, all: &mut Vec<PathBuf>) {
        all.push(path.to_owned());
        if std::fs::symlink_metadata(top.join(path)).unwrap().is_dir() {
            for entry in std::fs::read_dir(top.join(path)).unwrap() {
                walk(top, &path.join(entry.unwrap().file_name()), all);
            }
        }
    }
    let mut all = Vec::new();
    walk(top, Path::new(""), &mut all);
    // Children first: reading a directory must not age it again.
    all.sort_by(|a, b| b.cmp(a));
    all
}

pub(super) fn tree(top: &Path) -> Tree {
    paths(top)
        .into_iter()
        .map(|path| {
            let whole = top.join(&path);
            let meta = std::fs::symlink_metadata(&whole).unwrap();
            let what = if meta.is_symlink() {
                format!("link {}", std::fs::read_link(&whole).unwrap().display())
            } else if meta.is_dir() {
                "directory".to_owned()
            } else {
                format!("file {}", std::fs::read_to_string(&whole).unwrap())
            };
            let seen = Seen {
                what,
                mode: meta.permissions().mode(),
                owner: (meta.uid(), meta.gid()),
                modified: (meta.mtime(), meta.mtime_nsec()),
                inode: meta.ino(),
            };
            (path, seen)
        })
        .collect()
}

/// A tree without inodes and times, which differ between two installs of the same files.
pub(super) fn contents(tree: &Tree) -> BTreeMap<PathBuf, String> {
    tree.iter().map(|(path, seen)| (path.clone(), format!("{:o} {}", seen.mode, seen.what))).collect()
}

#[track_caller]
pub(super) fn assert_same(found: &Tree, expected: &Tree, when: &str) {
    for (path, seen) in expected {
        assert_eq!(found.get(path), Some(seen), "{}: {when}", path.display());
    }
    for path in found.keys() {
        assert!(expected.contains_key(path), "{} is too many: {when}", path.display());
    }
}

/// Whether the file system makes further links to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Yes,
    /// It has no links, or the file has the most links already.
    No,
}

impl Links {
    pub const BOTH: [Self; 2] = [Self::Yes, Self::No];

    pub fn error(self) -> Option<Errno> {
        (self == Self::No).then_some(Errno::MLINK)
    }
}

/// The test's intervention at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Fail,
    Kill,
}

/// Counts the steps, and fails or kills at one of them.
pub(super) struct Faulty {
    pub at: Option<(usize, Fault)>,
    /// Why no link to a file can be made.
    pub no_links: Option<Errno>,
    pub seen: Mutex<Vec<Step>>,
}

impl Faulty {
    pub fn never() -> Self {
        Self { at: None, no_links: None, seen: Mutex::default() }
    }

    /// On a file system of this kind.
    pub fn on(links: Links) -> Self {
        Self { no_links: links.error(), ..Self::never() }
    }

    pub fn at(step: usize, fault: Fault) -> Self {
        Self { at: Some((step, fault)), ..Self::never() }
    }

    pub fn steps(&self) -> Vec<Step> {
        self.seen.lock().unwrap().clone()
    }
}

impl Steps for Faulty {
    fn before(&self, step: Step) -> Result<(), InstallError> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(step);
        match self.at {
            Some((at, Fault::Kill)) if seen.len() > at => Err(InstallError::Killed),
            Some((at, Fault::Fail)) if seen.len() == at + 1 => {
                let source = std::io::Error::from_raw_os_error(28);
                Err(InstallError::NoSpace { path: format!("injected at {step:?}").into(), source })
            }
            _ => Ok(()),
        }
    }

    fn link(&self, from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &str) -> Result<(), Errno> {
        self.no_links.map_or_else(|| RealSyscalls.link(from, name, to, new), Err)
    }
}
