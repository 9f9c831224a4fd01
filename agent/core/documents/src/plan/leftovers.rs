//! What becomes of the last install: what stays owned, what makes way, what is left over.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::actions::{Action, InstalledEntry, InstalledKind};
use super::facts::{HostFacts, Leads, PathFact};
use super::needs::Needs;
use super::wanted::{Follow, Wanted, WantedKind, WantedObject};
use super::ways::Ways;
use crate::shared_path::SharedPath;

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
    pub(super) fn real<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        // The longest prefix: `real` of a link below another one has both resolved.
        let resolved = self.followed.iter().rev().find_map(|(link, real)| {
            let rest = path.strip_prefix(link).ok()?;
            Some(if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) })
        });
        resolved.map_or(Cow::Borrowed(path), Cow::Owned)
    }
}

/// Where the wanted objects are once links are resolved.
struct Places<'a> {
    wanted: &'a Wanted,
    /// `None` where no link is followed: then their own order finds them, without a second list of all.
    resolved: Option<HashMap<Cow<'a, Path>, usize>>,
}

impl<'a> Places<'a> {
    fn new(wanted: &'a Wanted, links: &Links) -> Self {
        let all = || wanted.objects.iter().enumerate().map(|(place, o)| (links.real(&o.path), place)).collect();
        Self { wanted, resolved: (!links.is_empty()).then(all) }
    }

    /// The place in [`Wanted`] of what is wanted at this resolved path.
    fn get(&self, real: &Path) -> Option<usize> {
        match &self.resolved {
            Some(resolved) => resolved.get(real).copied(),
            None => self.wanted.place_of(real),
        }
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
    pub(super) removed: HashSet<SharedPath>,
    /// What stays on disk although nothing wants it.
    pub(super) kept: Vec<SharedPath>,
    /// What of it the group still owns.
    pub(super) still_owned: Vec<InstalledEntry>,
    /// What the last install put where something is wanted now, by the place of that in [`Wanted`].
    pub(super) owned: Vec<Option<InstalledKind>>,
}

/// Judges every entry of the last install, children before their directories.
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
        // The group owns a place, and this is another one.
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
            // Another name for a link that the appspec names as a directory now.
            None if links.hold(&real) => continue,
            None => below_a_file(),
        };
        let shared = facts.others.contains_key(real.as_ref());
        let all_goes = wanted.objects.is_empty();
        dispose(entry, now, Disposal { makes_way, cleanup, shared, all_goes }, facts, needs, &mut result);
    }
    result
}

/// What stands where the last install put something.
#[derive(Clone, Copy)]
enum Now {
    /// Nothing, or something that no install puts anywhere.
    Nothing,
    /// It, or what a directory above it holds, could not be looked at, or the way there is not safe.
    Unseen,
    Is(InstalledKind),
}

impl Now {
    /// Whether what is there is the group's to replace. A file or link that took the place of what the group put there
    /// (a hook linked shared storage into the application) stands in the group's place; it is replaced, never followed.
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

/// Whether what stands in an entry's place must go before the object can be put there.
fn makes_way_for(kind: InstalledKind, now: Now, object: &WantedObject) -> bool {
    match (&object.kind, now) {
        // The appspec names this place: a link that took a directory's place there was moved by an operator, and is followed.
        (WantedKind::Directory { above: true }, Now::Is(there)) => there == kind && !now.is_directory(),
        (WantedKind::Directory { above: false }, Now::Is(_)) => !now.is_directory(),
        // Files and links are exchanged.
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
    /// Whether another group of the host installed it too.
    shared: bool,
    /// Whether nothing is wanted any more.
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
        // With everything that the group installed goes the link that its hook made; a later deployment finds none.
        Now::Is(InstalledKind::Link) if all_goes => Some(InstalledKind::Link),
        // What took the place of something of the group's stays, and what could not be seen stays too. The place stays
        // the group's: a later revision, or a rollback, may want it again.
        Now::Is(InstalledKind::File | InstalledKind::Link) | Now::Unseen => None,
        // Gone, or somebody else's by now.
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
            // It stays owned, so that it goes when what others put into it has gone.
            result.kept.push(entry.path.clone());
            result.still_owned.push(entry.clone());
        }
        return;
    };
    // A directory that became a mount point stays where it is, unless something else comes there.
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
    /// Whether everything in a directory is removed before it.
    fn empties(&self, entry: &InstalledEntry, facts: &HostFacts) -> bool {
        let names = facts.listings.get(entry.path.as_path());
        names.is_some_and(|names| names.iter().all(|name| self.removed.contains(entry.path.join(name).as_path())))
    }
}
