//! The first half of a plan: what the appspec and the bundle want, whatever the host is like.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::actions::{InstalledEntry, InstalledKind};
use super::facts::{HostFacts, Leads, PathFact};
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use super::source::{self, Source};
use super::{paths, permissions};
use crate::appspec::spec::{AclTag, AppSpec, FileExistsBehavior, FileMapping, Permission};
use crate::bundle::{BundleEntry, BundleListing, EntryKind};
use crate::limits::Limits;

/// Everything that shall be there after the Install, and what of the host has to be looked at to plan it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(super) objects: Vec<WantedObject>,
    pub(super) permissions: Vec<Permission>,
    pub(super) last: Vec<InstalledEntry>,
    pub(super) file_exists_behavior: Option<FileExistsBehavior>,
    /// The paths to look at, ordered, each once, every ancestor before its children; the first is `/`.
    pub look_at: Vec<LookAt>,
    /// The directories whose names are to be listed, where they exist: those that may have to go.
    pub list: Vec<PathBuf>,
    /// The users to look up.
    pub users: BTreeSet<String>,
    /// The groups to look up.
    pub groups: BTreeSet<String>,
    /// What is allowed and probably not meant: entries of `permissions` that match nothing.
    pub warnings: Vec<Problem>,
}

impl Wanted {
    /// Everything that shall be there, ordered by path.
    pub fn objects(&self) -> &[WantedObject] {
        &self.objects
    }

    /// Whether something is wanted at a path, or the last install put something there.
    pub(super) fn is_about(&self, path: &Path) -> bool {
        find(&self.objects, path).is_some() || last_kind(&self.last, path).is_some()
    }

    /// Links below destinations are followed where the path rule allows, as the CodeDeploy agent follows them. What
    /// stands where the last install made something is not followed: it took that one's place.
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

/// The directories that an appspec names as destinations, absolute. Those that name no place are a problem of the plan.
pub fn destinations(spec: &AppSpec) -> Vec<PathBuf> {
    spec.files.iter().filter_map(|mapping| paths::absolute(&mapping.destination).ok()).collect()
}

/// One path that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedObject {
    /// Where, absolute.
    pub path: PathBuf,
    /// What.
    pub kind: WantedKind,
    pub(super) rule: Option<usize>,
    pub(super) second_rule: Option<usize>,
}

/// What shall be at a path.
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
        /// Where it is in the bundle.
        source: PathBuf,
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

/// One path of the host to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAt {
    /// The path, absolute; a root prefix is put before it by whoever looks.
    pub path: PathBuf,
    /// Whether what is below it is looked at if it is a symbolic link.
    pub follow: Follow,
}

/// Whether a symbolic link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It is: the appspec names it.
    Always,
    /// Only if root or the agent's own user made it: it is on the way to something that the last install put there,
    /// and nobody else may redirect its removal.
    IfTrusted,
    /// Only by steps that the path rule allows: a link below a destination, in the CodeDeploy agent's place.
    BySafeSteps,
    /// It is not.
    Never,
}

struct Candidate<'a> {
    path: PathBuf,
    kind: WantedKind,
    mapping: &'a FileMapping,
}

/// Works out what an appspec wants from a bundle.
///
/// `last` is what the group owns on this host, as the last plan's `installed` says.
///
/// # Errors
/// Every fact of the bundle that makes the Install impossible on any host.
pub fn wanted(spec: &AppSpec, listing: &BundleListing, last: Option<&[InstalledEntry]>) -> Result<Wanted, Problems> {
    let mut problems = Problems::default();
    let mut candidates = Vec::new();
    for mapping in &spec.files {
        if let Err(problem) = expand(mapping, listing, &mut candidates, &mut problems) {
            problems.push(problem);
        }
        let most = Limits::default().plan_paths;
        if candidates.len() > most {
            problems.push(too_many_paths(spec, listing, mapping, most));
            return Err(problems);
        }
    }
    let mut objects = merge(candidates, &mut problems);
    let warnings = permissions::apply(&spec.permissions, &mut objects, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let last = sane(last.unwrap_or_default());
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

fn find<'a>(objects: &'a [WantedObject], path: &Path) -> Option<&'a WantedObject> {
    objects.binary_search_by(|o| o.path.as_path().cmp(path)).ok().and_then(|i| objects.get(i))
}

/// Adds everything that one entry of `files` wants.
fn expand<'a>(
    mapping: &'a FileMapping,
    listing: &BundleListing,
    candidates: &mut Vec<Candidate<'a>>,
    problems: &mut Problems,
) -> Result<(), Problem> {
    // Both are looked at first, so that a wrong entry is told about both at once.
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
    candidates.extend(above.map(|path| Candidate { path: path.to_owned(), kind: kind.clone(), mapping }));
    match source {
        Source::Entry(entry) => {
            let name = Path::new(entry.path.as_path().file_name().unwrap_or_default());
            candidates.extend(candidate(mapping, &destination, name, entry, problems));
        }
        Source::Directory(top) => {
            for (rest, entry) in source::below(listing, &top) {
                candidates.extend(candidate(mapping, &destination, rest, entry, problems));
            }
        }
    }
    Ok(())
}

fn candidate<'a>(
    mapping: &'a FileMapping,
    destination: &Path,
    rest: &Path,
    entry: &BundleEntry,
    problems: &mut Problems,
) -> Option<Candidate<'a>> {
    let path = destination.join(rest);
    let source = entry.path.as_path();
    if let Err(why) = paths::check_length(&path) {
        let message = format!("{} {why}", shown(&path));
        let hint = "shorten the destination or the names in the bundle";
        problems.push(Problem::new(ProblemCode::PathTooLong, message, hint).path(&path).at(mapping.destination_at));
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
    let kind = match &entry.kind {
        EntryKind::Directory => WantedKind::Directory { above: false },
        EntryKind::File { size } => WantedKind::File { source: source.to_owned(), size: *size },
        EntryKind::Symlink { target } => match target.to_str() {
            Some(target) => WantedKind::Link { target: target.to_owned() },
            None => {
                problems.push(not_text("the target of the link"));
                return None;
            }
        },
    };
    Some(Candidate { path, kind, mapping })
}

/// Makes one object of all candidates for one path.
fn merge(mut candidates: Vec<Candidate<'_>>, problems: &mut Problems) -> Vec<WantedObject> {
    candidates.sort_by(|a, b| a.path.cmp(&b.path));
    let mut objects = Vec::with_capacity(candidates.len());
    for group in candidates.chunk_by(|a, b| a.path.as_os_str() == b.path.as_os_str()) {
        let Some(first) = group.first() else { continue };
        let file = group.iter().find(|c| !c.kind.is_directory());
        if let (Some(file), Some(other)) = (file, group.iter().find(|c| c.kind.is_directory())) {
            problems.push(file_and_directory(file, other));
        }
        let mut files = group.iter().filter(|c| !c.kind.is_directory());
        if let (Some(one), Some(two)) = (files.next(), files.next()) {
            problems.push(two_sources(one, two));
        }
        let tree = group.iter().any(|c| matches!(c.kind, WantedKind::Directory { above: false }));
        let kind = match file {
            Some(file) => file.kind.clone(),
            None => WantedKind::Directory { above: !tree },
        };
        objects.push(WantedObject { path: first.path.clone(), kind, rule: None, second_rule: None });
    }
    objects
}

fn two_sources(one: &Candidate<'_>, two: &Candidate<'_>) -> Problem {
    let (first, second) = (one.mapping, two.mapping);
    let message = format!(
        "two files go to {}: from the source {:?} in line {} and from {:?} in line {}",
        shown(&one.path),
        first.source,
        first.source_at.line,
        second.source,
        second.source_at.line,
    );
    let hint = "take one of them out of files";
    Problem::new(ProblemCode::TwoSources, message, hint).path(&one.path).at(second.source_at)
}

fn file_and_directory(file: &Candidate<'_>, directory: &Candidate<'_>) -> Problem {
    let message = format!(
        "{} is a file or link by the source {:?} in line {} and a directory by the entry in line {}",
        shown(&file.path),
        file.mapping.source,
        file.mapping.source_at.line,
        directory.mapping.source_at.line,
    );
    let hint = "give them different destinations; a destination is always a directory";
    Problem::new(ProblemCode::FileAndDirectory, message, hint).path(&file.path).at(directory.mapping.destination_at)
}

/// The last install's entries, ordered, each path once, without any that no plan could have made.
fn sane(last: &[InstalledEntry]) -> Vec<InstalledEntry> {
    let mut last: Vec<_> = last.iter().filter(|e| paths::is_plain_absolute(&e.path)).cloned().collect();
    last.sort_by(|a, b| a.path.cmp(&b.path));
    last.dedup_by(|a, b| a.path == b.path);
    last
}

/// Users and groups of the permissions that match something.
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

fn last_kind(last: &[InstalledEntry], path: &Path) -> Option<InstalledKind> {
    last.binary_search_by(|e| e.path.as_path().cmp(path)).ok().and_then(|i| last.get(i)).map(|e| e.kind)
}

fn look_at(objects: &[WantedObject], last: &[InstalledEntry]) -> Vec<LookAt> {
    let mut all = vec![LookAt { path: PathBuf::from("/"), follow: Follow::Never }];
    all.extend(objects.iter().map(|object| {
        let above = matches!(object.kind, WantedKind::Directory { above: true });
        // A link that the last install put where a directory comes now makes way; it is not followed.
        let follow = above && last_kind(last, &object.path) != Some(InstalledKind::Link);
        LookAt { path: object.path.clone(), follow: if follow { Follow::Always } else { Follow::Never } }
    }));
    all.extend(last.iter().map(|entry| LookAt { path: entry.path.clone(), follow: Follow::Never }));
    let mut known: BTreeSet<&Path> = BTreeSet::new();
    let mut before: Option<&Path> = None;
    for entry in last {
        // Most entries are in the directory of the one before, whose ancestors are known.
        let parent = entry.path.parent();
        if before.map(Path::as_os_str) == parent.map(Path::as_os_str) {
            continue;
        }
        before = parent;
        for path in entry.path.ancestors().skip(1).filter(|p| p.parent().is_some()) {
            if !known.insert(path) {
                break;
            }
            let owned_above = path.ancestors().any(|p| last_kind(last, p).is_some());
            let follow = if owned_above { Follow::Never } else { Follow::IfTrusted };
            all.push(LookAt { path: path.to_owned(), follow });
        }
    }
    // The sort is stable: of several for one path the first stays, and what is wanted comes first. What is wanted and
    // what was installed are in order already, which makes it a merge.
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup_by(|a, b| a.path.as_os_str() == b.path.as_os_str());
    all
}
