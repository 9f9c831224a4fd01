//! Protections of the host that owner and mode do not show: attributes, mount points, read-only mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::facts::{Guard, HostFacts, PathFact};
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;

/// The protected paths that a plan would change.
#[derive(Default)]
pub(super) struct Guarded {
    paths: BTreeMap<PathBuf, Guard>,
}

impl Guarded {
    /// Notes that the plan replaces or removes a file or another object.
    pub(super) fn take_away(&mut self, facts: &HostFacts, path: &Path) {
        // The protection of a link's target does not protect the link.
        if !matches!(facts.at(path), PathFact::Symlink { .. }) {
            self.note(path, facts.guard(path));
        }
    }

    /// Notes that the plan sets a mode, owner or access control list, or removes a directory that is no mount point.
    pub(super) fn change(&mut self, facts: &HostFacts, path: &Path) {
        self.note(path, Guard { mount_point: false, ..facts.guard(path) });
    }

    fn note(&mut self, path: &Path, guard: Guard) {
        if guard.is_any() {
            self.paths.insert(path.to_owned(), guard);
        }
    }

    /// The problems of these paths, and of directories whose entries must change and cannot.
    pub(super) fn problems(mut self, facts: &HostFacts, unwritable: BTreeSet<PathBuf>, problems: &mut Problems) {
        let mut read_only: BTreeMap<&Path, PathBuf> = BTreeMap::new();
        for directory in unwritable {
            let guard = facts.guard(&directory);
            if let Some(mount) = facts.read_only.get(&directory) {
                read_only.entry(mount).or_insert(directory);
            } else if guard.immutable || guard.append_only {
                self.paths.insert(directory, Guard { mount_point: false, ..guard });
            } else {
                let message = format!("the agent (user {}) may not write in {}", facts.agent.uid, shown(&directory));
                let hint = "change the directory's owner or mode, or run the agent as root";
                problems.push(Problem::new(ProblemCode::NotWritable, message, hint).path(&directory));
            }
        }
        let mounts = read_only.into_iter().map(|(mount, directory)| read_only_mount(mount, &directory));
        mounts.for_each(|problem| problems.push(problem));
        self.paths.iter().for_each(|(path, guard)| problems.push(guarded(path, *guard)));
    }
}

fn read_only_mount(mount: &Path, directory: &Path) -> Problem {
    let message = if mount == directory {
        format!("{} is mounted read-only", shown(mount))
    } else {
        format!("{} is on {}, which is mounted read-only", shown(directory), shown(mount))
    };
    let hint = "mount it read-write, or name a destination on another mount; with ProtectSystem or ReadOnlyPaths in the \
                agent's unit it is read-only for the agent alone";
    Problem::new(ProblemCode::ReadOnlyFileSystem, message, hint).path(directory)
}

fn guarded(path: &Path, guard: Guard) -> Problem {
    let name = shown(path);
    let (code, message, hint) = if guard.immutable {
        let message = format!("{name} is immutable (chattr +i)");
        (ProblemCode::Immutable, message, format!("run `chattr -i {name}`"))
    } else if guard.append_only {
        let message = format!("{name} is append-only (chattr +a)");
        (ProblemCode::AppendOnly, message, format!("run `chattr -a {name}`"))
    } else {
        let message = format!("{name} must be replaced or removed, and something is mounted on it");
        let hint = format!("run `umount {name}`, or take it out of the destination's files");
        (ProblemCode::MountPointInTheWay, message, hint)
    };
    Problem::new(code, message, hint).path(path)
}
