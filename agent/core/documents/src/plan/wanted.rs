//! The first half of a plan: the wishes of the appspec and the bundle, on any host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::actions::{InstalledEntry, InstalledKind};
use super::facts::{HostFacts, Leads, PathFact};
use super::look_at::{last_kind, look_at};
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use super::source::{self, Source};
use super::ways::LastPlaces;
use super::{paths, permissions};
use crate::appspec::spec::{AclTag, AppSpec, FileExistsBehavior, FileMapping, Permission};
use crate::bundle::{BundleEntry, BundleListing, EntryKind};
use crate::limits::Limits;
use crate::path_rule::UnsafePaths;
use crate::shared_path::SharedPath;

/// All paths that must exist after the Install, and the facts about the host to collect for the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(super) objects: Vec<WantedObject>,
    pub(super) permissions: Vec<Permission>,
    pub(super) last: Vec<InstalledEntry>,
    pub(super) file_exists_behavior: Option<FileExistsBehavior>,
    pub(super) places: LastPlaces,
    /// What to do about paths that a user could redirect.
    pub unsafe_paths: UnsafePaths,
    /// The paths to examine, ordered, each once, every ancestor before its children; the first is `/`.
    pub look_at: Vec<LookAt>,
    /// The directories to list, if they exist: those that may have to go.
    pub list: Vec<SharedPath>,
    /// The users to look up.
    pub users: BTreeSet<String>,
    /// The groups to look up.
    pub groups: BTreeSet<String>,
    /// Allowed but probably unintended: entries of `permissions` without any match.
    pub warnings: Vec<Problem>,
}

impl Wanted {
    /// All paths that must exist, ordered.
    pub fn objects(&self) -> &[WantedObject] {
        &self.objects
    }

    /// The index in [`objects`](Self::objects) of the object at this path.
    pub(super) fn place_of(&self, path: &Path) -> Option<usize> {
        place_of(&self.objects, path)
    }

    /// Whether this path is wanted, or belongs to the last install.
    pub(super) fn is_about(&self, path: &Path) -> bool {
        find(&self.objects, path).is_some() || last_kind(&self.last, path).is_some()
    }

    /// Sets how the plan may enter the host's directories; `places` are those of the last install.
    #[must_use]
    pub fn entering(mut self, mut places: LastPlaces, unsafe_paths: UnsafePaths) -> Self {
        places.share_paths(&self.last);
        (self.places, self.unsafe_paths) = (places, unsafe_paths);
        self
    }

    /// The paths of the last install's destinations, as far as it noted them.
    pub fn last_destinations(&self) -> impl Iterator<Item = &Path> {
        self.places.noted().iter().filter(|place| place.destination).map(|place| place.path.as_path())
    }

    /// Follows links below destinations where the path rule allows, as the CodeDeploy agent does. It does not follow a
    /// link in a place of the last install: the link replaced the installed object.
    #[must_use]
    pub fn following_safe_links(mut self) -> Self {
        let Self { look_at, last, objects, .. } = &mut self;
        let is_file = |path: &Path| find(objects, path).is_some_and(|object| !object.kind.is_directory());
        for look in look_at.iter_mut().filter(|look| look.follow == Follow::Never) {
            if look.path.parent().is_some() && last_kind(last, &look.path).is_none() && !is_file(&look.path) {
                look.follow = Follow::BySafeSteps;
            }
        }
        self
    }

    /// The links below destinations that are followed, or were not because a step is not safe.
    pub fn links_below<'a>(&'a self, facts: &'a HostFacts) -> impl Iterator<Item = (&'a Path, &'a Path, &'a Leads)> {
        let below = self.look_at.iter().filter(|look| look.follow == Follow::BySafeSteps);
        below.filter_map(|look| match facts.at(&look.path) {
            PathFact::Symlink { target, leads } => Some((look.path.as_path(), target.as_path(), leads)),
            _ => None,
        })
    }
}

/// The directories that an appspec names as destinations, absolute. The plan reports invalid ones.
pub fn destinations(spec: &AppSpec) -> Vec<PathBuf> {
    spec.files.iter().filter_map(|mapping| paths::absolute(&mapping.destination).ok()).collect()
}

/// One path that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedObject {
    /// The absolute path.
    pub path: SharedPath,
    /// The kind.
    pub kind: WantedKind,
    pub(super) rule: Option<usize>,
    pub(super) second_rule: Option<usize>,
    /// The index of its entry of `files`; of several entries the first.
    mapping: u32,
}

impl WantedObject {
    pub(super) fn new(path: impl Into<SharedPath>, kind: WantedKind, mapping: u32) -> Self {
        Self { path: path.into(), kind, rule: None, second_rule: None, mapping }
    }
}

/// The kind of a wanted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedKind {
    /// A directory.
    Directory {
        /// Whether it is a destination of the appspec or above one, and not part of a source's tree: then it may be a
        /// symbolic link to a directory.
        above: bool,
    },
    /// A file of the bundle.
    File {
        /// Its path in the bundle.
        source: SharedPath,
        /// Length in bytes.
        size: u64,
    },
    /// A symbolic link of the bundle.
    Link {
        /// Its target.
        target: String,
    },
}

impl WantedKind {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// One path of the host to examine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAt {
    /// The absolute path; code that examines the host adds the root prefix.
    pub path: SharedPath,
    /// Whether to follow it if it is a symbolic link.
    pub follow: Follow,
}

/// Whether the agent follows a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Always: the appspec names it.
    Always,
    /// Only if root or the agent's own user made it: it is on the way to a path of the last install, and no other user
    /// may redirect the removal of that path.
    IfTrusted,
    /// Only by steps that the path rule allows: a link below a destination, in the CodeDeploy agent's place.
    BySafeSteps,
    /// Never.
    Never,
}

/// Determines what an appspec wants from a bundle.
///
/// `last` lists the paths that the group owns on this host, from the last plan's `installed`.
///
/// # Errors
/// Every fact of the bundle that makes the Install impossible on any host.
pub fn wanted(spec: &AppSpec, listing: &BundleListing, last: Option<Vec<InstalledEntry>>) -> Result<Wanted, Problems> {
    let mut problems = Problems::default();
    let mut objects = Vec::new();
    for (mapping, number) in spec.files.iter().zip(0..) {
        if let Err(problem) = expand(mapping, number, listing, &mut objects, &mut problems) {
            problems.push(problem);
        }
        let most = Limits::default().plan_paths;
        if objects.len() > most {
            problems.push(too_many_paths(spec, listing, mapping, most));
            return Err(problems);
        }
    }
    merge(&mut objects, &spec.files, &mut problems);
    let warnings = permissions::apply(&spec.permissions, &mut objects, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut last = sane(last.unwrap_or_default());
    share_paths(&mut last, &objects);
    let (users, groups) = names(&spec.permissions, &objects);
    Ok(Wanted {
        look_at: look_at(&objects, &last),
        list: last
            .iter()
            .filter(|e| e.kind == InstalledKind::Directory)
            .filter(|e| !find(&objects, &e.path).is_some_and(|o| o.kind.is_directory()))
            .map(|e| e.path.clone())
            .collect(),
        objects,
        permissions: spec.permissions.clone(),
        last,
        places: LastPlaces::default(),
        unsafe_paths: UnsafePaths::default(),
        file_exists_behavior: spec.file_exists_behavior,
        users,
        groups,
        warnings,
    })
}

fn too_many_paths(spec: &AppSpec, listing: &BundleListing, mapping: &FileMapping, most: usize) -> Problem {
    let (entries, of_bundle) = (spec.files.len(), listing.entries().len());
    let message = format!(
        "the {entries} entries of files over the {of_bundle} entries of the bundle name more than {most} paths, up to line {}",
        mapping.source_at.line
    );
    let hint = "name each part of the bundle once, or a directory rather than what is in it";
    Problem::new(ProblemCode::TooManyPaths, message, hint).at(mapping.source_at)
}

fn place_of(objects: &[WantedObject], path: &Path) -> Option<usize> {
    objects.binary_search_by(|o| o.path.as_path().cmp(path)).ok()
}

pub(super) fn find<'a>(objects: &'a [WantedObject], path: &Path) -> Option<&'a WantedObject> {
    place_of(objects, path).and_then(|place| objects.get(place))
}

/// Adds all objects of one entry of `files`.
fn expand(
    mapping: &FileMapping,
    number: u32,
    listing: &BundleListing,
    objects: &mut Vec<WantedObject>,
    problems: &mut Problems,
) -> Result<(), Problem> {
    // Check both first, to report both mistakes of an entry at once.
    let destination = paths::absolute(&mapping.destination).map_err(|why| {
        let message = format!("the destination {:?} {why}", mapping.destination);
        Problem::new(ProblemCode::DestinationInvalid, message, "write the full path of a directory")
            .at(mapping.destination_at)
    });
    let (source, destination) = match (source::find(listing, mapping), destination) {
        (Ok(source), Ok(destination)) => (source, destination),
        (Err(one), Err(other)) => {
            problems.push(one);
            return Err(other);
        }
        (Err(problem), _) | (_, Err(problem)) => return Err(problem),
    };
    let above = paths::ancestors(&destination).chain((destination != Path::new("/")).then_some(destination.as_path()));
    let kind = WantedKind::Directory { above: true };
    objects.extend(above.map(|path| WantedObject::new(path, kind.clone(), number)));
    match source {
        Source::Entry(entry) => {
            let name = Path::new(entry.path.as_path().file_name().unwrap_or_default());
            let path = destination.join(name);
            objects.extend(kind_of(mapping, &path, entry, problems).map(|kind| WantedObject::new(path, kind, number)));
        }
        Source::Directory(top) => {
            for (rest, entry) in source::below(listing, &top) {
                let path = destination.join(rest);
                objects
                    .extend(kind_of(mapping, &path, entry, problems).map(|kind| WantedObject::new(path, kind, number)));
            }
        }
    }
    Ok(())
}

/// The kind of a bundle's entry at this path.
fn kind_of(mapping: &FileMapping, path: &Path, entry: &BundleEntry, problems: &mut Problems) -> Option<WantedKind> {
    let source = entry.path.as_path();
    if let Err(why) = paths::check_length(path) {
        let message = format!("{} {why}", shown(path));
        let hint = "shorten the destination or the names in the bundle";
        problems.push(Problem::new(ProblemCode::PathTooLong, message, hint).path(path).at(mapping.destination_at));
        return None;
    }
    let not_text = |what: &str| {
        let message = format!("{what} {} in the bundle is not UTF-8", shown(source));
        Problem::new(ProblemCode::NameNotUtf8, message, "rename it").path(source).at(mapping.source_at)
    };
    if source.to_str().is_none() {
        problems.push(not_text("the name of"));
        return None;
    }
    Some(match &entry.kind {
        EntryKind::Directory => WantedKind::Directory { above: false },
        EntryKind::File { size } => WantedKind::File { source: entry.path.shared().clone(), size: *size },
        EntryKind::Symlink { target } => match target.to_str() {
            Some(target) => WantedKind::Link { target: target.to_owned() },
            None => {
                problems.push(not_text("the target of the link"));
                return None;
            }
        },
    })
}

/// Merges all objects for one path into one, in place.
fn merge(objects: &mut Vec<WantedObject>, files: &[FileMapping], problems: &mut Problems) {
    // The sort is stable: of several objects for one path, the first entry of `files` comes first.
    objects.sort_by(|a, b| a.path.cmp(&b.path));
    for group in objects.chunk_by(|a, b| a.path.as_os_str() == b.path.as_os_str()).filter(|group| group.len() > 1) {
        let mapped = |object: &WantedObject| files.get(object.mapping as usize);
        let mut not_directories = group.iter().filter(|o| !o.kind.is_directory());
        let (file, second) = (not_directories.next(), not_directories.next());
        let directory = group.iter().find(|o| o.kind.is_directory());
        let file = file.and_then(|file| Some((file, mapped(file)?)));
        if let (Some((file, by)), Some(other)) = (file, directory.and_then(mapped)) {
            problems.push(file_and_directory(&file.path, by, other));
        }
        if let (Some((file, by)), Some(other)) = (file, second.and_then(mapped)) {
            problems.push(two_sources(&file.path, by, other));
        }
    }
    objects.dedup_by(|later, first| {
        let same = later.path.as_os_str() == first.path.as_os_str();
        if same && first.kind.is_directory() {
            first.kind = match (&first.kind, &later.kind) {
                (WantedKind::Directory { above: one }, WantedKind::Directory { above: other }) => {
                    WantedKind::Directory { above: *one && *other }
                }
                (_, file) => file.clone(),
            };
        }
        same
    });
}

fn two_sources(path: &Path, first: &FileMapping, second: &FileMapping) -> Problem {
    let message = format!(
        "two files go to {}: from the source {:?} in line {} and from {:?} in line {}",
        shown(path),
        first.source,
        first.source_at.line,
        second.source,
        second.source_at.line,
    );
    let hint = "take one of them out of files";
    Problem::new(ProblemCode::TwoSources, message, hint).path(path).at(second.source_at)
}

fn file_and_directory(path: &Path, file: &FileMapping, directory: &FileMapping) -> Problem {
    let message = format!(
        "{} is a file or link by the source {:?} in line {} and a directory by the entry in line {}",
        shown(path),
        file.source,
        file.source_at.line,
        directory.source_at.line,
    );
    let hint = "give them different destinations; a destination is always a directory";
    Problem::new(ProblemCode::FileAndDirectory, message, hint).path(path).at(directory.destination_at)
}

/// The last install's entries, ordered, each path once, without entries that no plan could have made.
fn sane(mut last: Vec<InstalledEntry>) -> Vec<InstalledEntry> {
    last.retain(|entry| paths::is_plain_absolute(&entry.path));
    last.sort_by(|a, b| a.path.cmp(&b.path));
    last.dedup_by(|a, b| a.path == b.path);
    last
}

/// Shares the paths of wanted objects with the last install: usually all of them.
fn share_paths(last: &mut [InstalledEntry], objects: &[WantedObject]) {
    let mut objects = objects.iter().peekable();
    for entry in last {
        while objects.next_if(|object| object.path < entry.path).is_some() {}
        if let Some(object) = objects.peek().filter(|object| object.path == entry.path) {
            entry.path = object.path.clone();
        }
    }
}

/// Users and groups of the permissions with a match.
fn names(permissions: &[Permission], objects: &[WantedObject]) -> (BTreeSet<String>, BTreeSet<String>) {
    let used: BTreeSet<usize> = objects.iter().filter_map(|o| o.rule).collect();
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    for permission in used.into_iter().filter_map(|i| permissions.get(i)) {
        users.extend(permission.owner.clone());
        groups.extend(permission.group.clone());
        for acl in &permission.acls {
            match &acl.tag {
                AclTag::User(name) => drop(users.insert(name.clone())),
                AclTag::Group(name) => drop(groups.insert(name.clone())),
                AclTag::UserOwner | AclTag::GroupOwner | AclTag::Mask | AclTag::Other => {}
            }
        }
    }
    (users, groups)
}
