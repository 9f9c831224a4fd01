//! The fate of the last install's paths: which stay owned, which make room, which are left over.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::actions::{Action, InstalledEntry, InstalledKind};
use super::facts::{HostFacts, Leads, PathFact};
use super::needs::Needs;
use super::wanted::{Follow, Wanted, WantedKind, WantedObject};
use super::ways::Ways;
use crate::shared_path::SharedPath;

/// The followed symbolic links to directories, and the paths of objects behind them.
///
/// `/srv/app` may be a link to `/data/app`; then `/srv/app/x` of one install and `/data/app/x` of the next are one
/// file.
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
                    Some((look.path.to_path_buf(), real.clone()))
                }
                _ => None,
            })
            .collect();
        Self { followed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Whether an object at this resolved path would replace a followed link.
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
    pub(super) fn real<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        // The longest prefix: `real` of a link below another one has both resolved.
        let resolved = self.followed.iter().rev().find_map(|(link, real)| {
            let rest = path.strip_prefix(link).ok()?;
            Some(if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) })
        });
        resolved.map_or(Cow::Borrowed(path), Cow::Owned)
    }
}

/// The wanted objects by resolved path.
struct Places<'a> {
    wanted: &'a Wanted,
    /// `None` if the agent follows no link: the objects' own order then finds them without a second list.
    resolved: Option<HashMap<Cow<'a, Path>, usize>>,
}

impl<'a> Places<'a> {
    fn new(wanted: &'a Wanted, links: &Links) -> Self {
        let all = || wanted.objects.iter().enumerate().map(|(place, o)| (links.real(&o.path), place)).collect();
        Self { wanted, resolved: (!links.is_empty()).then(all) }
    }

    /// The index in [`Wanted`] of the object at this resolved path.
    fn get(&self, real: &Path) -> Option<usize> {
        match &self.resolved {
            Some(resolved) => resolved.get(real).copied(),
            None => self.wanted.place_of(real),
        }
    }
}

/// The decision about every path of the last install.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Removals before everything else: another object comes there.
    pub(super) make_way: Vec<Action>,
    /// Removals after everything else.
    pub(super) removals: Vec<Action>,
    /// All removed paths.
    pub(super) removed: HashSet<SharedPath>,
    /// Paths that stay on disk although no object needs them.
    pub(super) kept: Vec<SharedPath>,
    /// The part of them that the group still owns.
    pub(super) still_owned: Vec<InstalledEntry>,
    /// The last install's kind for each wanted object, by its index in [`Wanted`].
    pub(super) owned: Vec<Option<InstalledKind>>,
}

/// Decides about every entry of the last install, children before their directories.
pub(super) fn judge(
    wanted: &Wanted,
    facts: &HostFacts,
    (links, ways): (&Links, &Ways),
    cleanup: bool,
    needs: &mut Needs,
) -> Leftovers {
    let mut result = Leftovers::default();
    if wanted.last.is_empty() {
        return result;
    }
    let unseen: HashSet<&Path> = facts.unreadable().collect();
    let places = Places::new(wanted, links);
    result.owned = vec![None; wanted.objects.len()];
    for entry in wanted.last.iter().rev() {
        // The group owns the original place, and this is another one.
        if ways.changed_above(&entry.path).is_some() {
            continue;
        }
        let real = links.real(&entry.path);
        let place = places.get(&real);
        let object = place.and_then(|place| wanted.objects.get(place));
        let now = match facts.at(&entry.path) {
            _ if !unseen.is_empty() && entry.path.ancestors().any(|path| unseen.contains(path)) => Now::Unseen,
            PathFact::Absent | PathFact::Other | PathFact::Unreadable { .. } => Now::Nothing,
            _ if ways.is_beyond(&entry.path) => Now::Unseen,
            PathFact::File => Now::Is(InstalledKind::File),
            PathFact::Symlink { .. } => Now::Is(InstalledKind::Link),
            PathFact::Directory(_) => Now::Is(InstalledKind::Directory),
        };
        if let Some(owned) = place.and_then(|place| result.owned.get_mut(place))
            && now.is_owned(entry.kind)
        {
            *owned = Some(entry.kind);
        }
        let is_file = |path| {
            let object = places.get(path).and_then(|place| wanted.objects.get(place));
            object.is_some_and(|object| !object.kind.is_directory())
        };
        let below_a_file = || real.ancestors().skip(1).any(is_file);
        let makes_way = match object {
            Some(object) if makes_way_for(entry.kind, now, object) => true,
            Some(_) => continue,
            // Another name of a link that the appspec now names as a directory.
            None if links.hold(&real) => continue,
            None => below_a_file(),
        };
        let shared = facts.others.contains_key(real.as_ref());
        let all_goes = wanted.objects.is_empty();
        dispose(entry, now, Disposal { makes_way, cleanup, shared, all_goes }, facts, needs, &mut result);
    }
    result
}

/// The current object in the place of an installed one.
#[derive(Clone, Copy)]
enum Now {
    /// Nothing, or an object of a kind that no install makes.
    Nothing,
    /// The agent could not examine it or a directory above it, or the path to it is not safe.
    Unseen,
    Is(InstalledKind),
}

impl Now {
    /// Whether the current object is the group's to replace. A file or link that replaced an installed object (a hook
    /// linked shared storage into the application) counts as the group's; the plan replaces it and never follows it.
    fn is_owned(self, kind: InstalledKind) -> bool {
        match self {
            Self::Is(InstalledKind::Directory) => kind == InstalledKind::Directory,
            Self::Is(InstalledKind::File | InstalledKind::Link) => true,
            Self::Nothing | Self::Unseen => false,
        }
    }

    fn is_directory(self) -> bool {
        matches!(self, Self::Is(InstalledKind::Directory))
    }
}

/// Whether the current object must go before the wanted one can be put there.
fn makes_way_for(kind: InstalledKind, now: Now, object: &WantedObject) -> bool {
    match (&object.kind, now) {
        // The appspec names this place: an operator moved the directory and left this link, which the plan follows.
        (WantedKind::Directory { above: true }, Now::Is(there)) => there == kind && !now.is_directory(),
        (WantedKind::Directory { above: false }, Now::Is(_)) => !now.is_directory(),
        // A plan exchanges files and links for each other.
        (WantedKind::File { .. } | WantedKind::Link { .. }, _) => {
            kind == InstalledKind::Directory && now.is_directory()
        }
        (WantedKind::Directory { .. }, Now::Nothing | Now::Unseen) => false,
    }
}

#[derive(Clone, Copy)]
struct Disposal {
    makes_way: bool,
    cleanup: bool,
    /// Whether another group of the host also installed it.
    shared: bool,
    /// Whether no path is wanted any more.
    all_goes: bool,
}

fn dispose(
    entry: &InstalledEntry,
    now: Now,
    Disposal { makes_way, cleanup, shared, all_goes }: Disposal,
    facts: &HostFacts,
    needs: &mut Needs,
    result: &mut Leftovers,
) {
    let removable = match now {
        Now::Is(there) if there == entry.kind || (makes_way && !now.is_directory()) => Some(there),
        // The link that a hook made goes together with all of the group's paths, so that a later deployment finds none.
        Now::Is(InstalledKind::Link) if all_goes => Some(InstalledKind::Link),
        // An object that replaced one of the group's stays, and so does one that the agent could not examine. The place
        // stays the group's: a later revision, or a rollback, may want it again.
        Now::Is(InstalledKind::File | InstalledKind::Link) | Now::Unseen => None,
        // It is gone, or belongs to another owner now.
        Now::Is(InstalledKind::Directory) | Now::Nothing => return,
    };
    if !makes_way && (!cleanup || shared) {
        result.kept.push(entry.path.clone());
        return;
    }
    let free = |kind: &InstalledKind| match kind {
        InstalledKind::Directory => result.empties(entry, facts),
        InstalledKind::File | InstalledKind::Link => !shared,
    };
    let Some(kind) = removable.filter(free) else {
        if !makes_way {
            // It stays owned, so that it goes once the files of others in it are gone.
            result.kept.push(entry.path.clone());
            result.still_owned.push(entry.clone());
        }
        return;
    };
    // A directory that became a mount point stays where it is, unless another object comes there.
    if kind != InstalledKind::Directory || makes_way {
        needs.guarded.take_away(facts, &entry.path);
    } else {
        needs.guarded.change(facts, &entry.path);
    }
    if let Some(directory) = entry.path.parent().and_then(|parent| facts.directory(parent)) {
        needs.change(directory, &entry.path);
    }
    result.removed.insert(entry.path.clone());
    let action = Action::Remove { path: entry.path.clone(), kind };
    if makes_way { result.make_way.push(action) } else { result.removals.push(action) }
}

impl Leftovers {
    /// Whether the plan removes everything in a directory before it.
    fn empties(&self, entry: &InstalledEntry, facts: &HostFacts) -> bool {
        let names = facts.listings.get(entry.path.as_path());
        names.is_some_and(|names| names.iter().all(|name| self.removed.contains(entry.path.join(name).as_path())))
    }
}
