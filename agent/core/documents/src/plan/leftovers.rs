//! What becomes of the last install: what stays owned, what makes way, what is left over.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::actions::{Action, InstalledEntry, InstalledKind};
use super::facts::{HostFacts, Leads, PathFact};
use super::needs::Needs;
use super::wanted::{Follow, Wanted, WantedKind, WantedObject};

/// The symbolic links to directories that are followed, and the paths that things have because of them.
///
/// `/srv/app` may be a link to `/data/app`; then `/srv/app/x` of one install and `/data/app/x` of the next are one file.
pub(super) struct Links {
    followed: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    pub(super) fn new(wanted: &Wanted, facts: &HostFacts) -> Self {
        let followed = wanted
            .look_at
            .iter()
            .filter(|look| look.follow != Follow::Never)
            .filter_map(|look| match facts.at(&look.path) {
                PathFact::Symlink { leads: Leads::Directory { real, .. }, .. } => {
                    Some((look.path.clone(), real.clone()))
                }
                _ => None,
            })
            .collect();
        Self { followed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Whether something at this resolved path would take the place of a link that is followed.
    pub(super) fn hold(&self, real: &Path) -> bool {
        self.followed.iter().any(|(link, _)| {
            let parent = link.parent().map(|parent| self.real(parent));
            parent.as_deref() == real.parent() && link.file_name() == real.file_name()
        })
    }

    /// The links themselves, ordered.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.followed.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The path with its links resolved.
    pub(super) fn real(&self, path: &Path) -> PathBuf {
        // The longest prefix: `real` of a link below another one has both resolved.
        let resolved = self.followed.iter().rev().find_map(|(link, real)| {
            let rest = path.strip_prefix(link).ok()?;
            Some(if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) })
        });
        resolved.unwrap_or_else(|| path.to_owned())
    }
}

/// The verdict on everything that the last install put there.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Removals that come before everything else: something else comes there.
    pub(super) make_way: Vec<Action>,
    /// Removals that come last.
    pub(super) removals: Vec<Action>,
    /// Everything that is removed.
    pub(super) removed: HashSet<PathBuf>,
    /// What stays on disk although nothing wants it.
    pub(super) kept: Vec<PathBuf>,
    /// What of it the group still owns.
    pub(super) still_owned: Vec<InstalledEntry>,
    /// What the last install put where something is wanted now, by resolved path.
    pub(super) owned: HashMap<PathBuf, InstalledKind>,
}

/// Judges every entry of the last install, children before their directories.
pub(super) fn judge(wanted: &Wanted, facts: &HostFacts, links: &Links, cleanup: bool, needs: &mut Needs) -> Leftovers {
    let mut result = Leftovers::default();
    if wanted.last.is_empty() {
        return result;
    }
    let by_path: HashMap<PathBuf, &WantedObject> = wanted.objects.iter().map(|o| (links.real(&o.path), o)).collect();
    for entry in wanted.last.iter().rev() {
        let real = links.real(&entry.path);
        let object = by_path.get(&real).copied();
        if object.is_some() && is_owned(entry.kind, facts.at(&entry.path)) {
            result.owned.insert(real.clone(), entry.kind);
        }
        let replaced_by = |o: &WantedObject| match (&o.kind, entry.kind) {
            (WantedKind::Directory { .. }, kind) => kind != InstalledKind::Directory,
            (WantedKind::File { .. } | WantedKind::Link { .. }, kind) => kind == InstalledKind::Directory,
        };
        let below_a_file = || real.ancestors().skip(1).any(|p| by_path.get(p).is_some_and(|o| !o.kind.is_directory()));
        let makes_way = match object {
            Some(object) if replaced_by(object) => true,
            Some(_) => continue,
            // Another name for a link that the appspec names as a directory now.
            None if links.hold(&real) => continue,
            None => below_a_file(),
        };
        dispose(entry, makes_way, cleanup, facts, needs, &mut result);
    }
    result
}

/// Whether what is there is the group's to replace. A file that became a link, or the other way round, still stands
/// where the group put it; it is replaced, never followed.
fn is_owned(kind: InstalledKind, fact: &PathFact) -> bool {
    match fact {
        PathFact::Directory(_) => kind == InstalledKind::Directory,
        PathFact::File { .. } | PathFact::Symlink { .. } => kind != InstalledKind::Directory,
        PathFact::Absent | PathFact::Other | PathFact::Unreadable { .. } => false,
    }
}

fn dispose(
    entry: &InstalledEntry,
    makes_way: bool,
    cleanup: bool,
    facts: &HostFacts,
    needs: &mut Needs,
    result: &mut Leftovers,
) {
    let is_as_installed = match (entry.kind, facts.at(&entry.path)) {
        (InstalledKind::File, PathFact::File { .. }) => true,
        (InstalledKind::Link, PathFact::Symlink { .. }) => true,
        (InstalledKind::Directory, PathFact::Directory(_)) => true,
        // Gone, or somebody else's by now.
        _ => false,
    };
    if !is_as_installed {
        return;
    }
    if !makes_way && !cleanup {
        result.kept.push(entry.path.clone());
        return;
    }
    if entry.kind == InstalledKind::Directory {
        let emptied = facts
            .listings
            .get(&entry.path)
            .is_some_and(|names| names.iter().all(|name| result.removed.contains(&entry.path.join(name))));
        if !emptied {
            if !makes_way {
                // It stays owned, so that it goes when what others put into it has gone.
                result.kept.push(entry.path.clone());
                result.still_owned.push(entry.clone());
            }
            return;
        }
    }
    if let Some(directory) = entry.path.parent().and_then(|parent| facts.directory(parent)) {
        needs.change(directory, &entry.path);
    }
    result.removed.insert(entry.path.clone());
    let action = Action::Remove { path: entry.path.clone(), kind: entry.kind };
    if makes_way { result.make_way.push(action) } else { result.removals.push(action) }
}
