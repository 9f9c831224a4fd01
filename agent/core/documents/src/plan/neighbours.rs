//! The paths that the host's other groups own. A plan never removes them, and reports where groups overlap.
//!
//! The group that installed a path owns it; the file itself does not tell. A group's own hooks edit, replace and give
//! away installed files, so neither an inode nor a time would tell a hook's work from another program's.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::actions::{InstalledEntry, InstalledKind};
use super::facts::{HostFacts, PathFact};
use super::leftovers::Links;
use super::problem::{Problem, ProblemCode, shown};
use super::wanted::Wanted;
use super::ways;
use crate::ids::GroupKey;

impl HostFacts {
    /// Notes the files and links of another group that this plan concerns. Call it after collecting the facts for all
    /// names in `wanted`.
    pub fn note_group(&mut self, wanted: &Wanted, group: &GroupKey, installed: Vec<InstalledEntry>) {
        let links = Links::new(wanted, self);
        let about: HashSet<Cow<'_, Path>> = match links.is_empty() {
            true => HashSet::new(),
            false => paths(wanted).map(|path| links.real(path)).collect(),
        };
        let group = Arc::new(group.clone());
        for entry in installed.into_iter().filter(|entry| entry.kind != InstalledKind::Directory) {
            let real = links.real(&entry.path);
            if about.contains(&real) || (links.is_empty() && wanted.is_about(&real)) {
                self.others.insert(real.into_owned(), Arc::clone(&group));
            }
        }
    }
}

/// Warnings about allowed but probably unintended effects: one for each other group whose files the plan concerns, and
/// one for paths that could not be examined.
pub fn warnings(wanted: &Wanted, facts: &HostFacts) -> Vec<Problem> {
    let links = Links::new(wanted, facts);
    let mut shared = Counts::default();
    let mut left = Counts::default();
    if !facts.others.is_empty() {
        for path in wanted.objects.iter().map(|object| &object.path) {
            shared.add(facts.others.get(links.real(path).as_ref()), path);
        }
        let wanted_places: HashSet<Cow<'_, Path>> =
            wanted.objects.iter().map(|object| links.real(&object.path)).collect();
        for path in wanted.last.iter().map(|entry| &entry.path).filter(|path| *facts.at(path) != PathFact::Absent) {
            let real = links.real(path);
            if !wanted_places.contains(&real) {
                left.add(facts.others.get(real.as_ref()), path);
            }
        }
    }
    let mut unseen = Counts::default();
    for path in
        facts.unreadable().filter(|path| wanted.objects.binary_search_by(|o| o.path.as_path().cmp(path)).is_err())
    {
        unseen.add(Some(&()), path);
    }
    let hint = "give each group destinations of its own; the deployment that comes last decides what is there";
    let shared = shared.warnings(ProblemCode::SharedPath, hint, |paths, group| {
        format!("{paths} of this bundle belong to the deployment group {group} too")
    });
    let left = left.warnings(ProblemCode::SharedPath, "remove it with that group", |paths, group| {
        format!("{paths} of the last install stay, because the deployment group {group} installed them too")
    });
    let hint = "look at the disk or the file server; the next deployment tries again";
    let unseen = unseen.warnings(ProblemCode::CannotLook, hint, |paths, ()| {
        format!("{paths} of the last install could not be looked at; what is there stays, and stays the group's")
    });
    [shared, left, unseen, ways::warnings(wanted, facts)].concat()
}

/// How files of another group make way. `hostler remove` takes the names of groups that the CodeDeploy service does not
/// command.
pub fn making_way(other: &GroupKey) -> String {
    let remove = match other.codedeploy_group_id {
        None => format!(
            "to move the application to this group, remove the other one: `hostler remove --application {} --group {}`; else ",
            other.application, other.group
        ),
        Some(_) => String::new(),
    };
    format!("{remove}give the groups destinations of their own, or set file_exists_behavior to OVERWRITE or RETAIN")
}

/// For each group, the number of paths and the first one.
struct Counts<'a, G>(BTreeMap<G, (usize, &'a Path)>);

impl<G> Default for Counts<'_, G> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'a, G: Clone + Ord> Counts<'a, G> {
    fn add(&mut self, group: Option<&G>, path: &'a Path) {
        let Some(group) = group else { return };
        let (count, first) = self.0.entry(group.clone()).or_insert((0, path));
        *count += 1;
        *first = path.min(first);
    }

    fn warnings(self, code: ProblemCode, hint: &str, say: impl Fn(String, &G) -> String) -> Vec<Problem> {
        let warning = |(group, (count, first)): (G, (usize, &Path))| {
            let paths = if count == 1 { "path" } else { "paths" };
            let message = say(format!("{count} {paths} ({} is the first)", shown(first)), &group);
            Problem::new(code, message, hint).path(first)
        };
        self.0.into_iter().map(warning).collect()
    }
}

fn paths(wanted: &Wanted) -> impl Iterator<Item = &Path> {
    let objects = wanted.objects.iter().map(|object| object.path.as_path());
    objects.chain(wanted.last.iter().map(|entry| entry.path.as_path()))
}
