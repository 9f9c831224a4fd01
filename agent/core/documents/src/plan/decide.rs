//! The second half of a plan: the wanted paths, compared with the host.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::actions::{Action, Attributes, InstalledEntry, InstalledKind, Plan};
use super::attributes::Givers;
use super::facts::{DirectoryFact, HostFacts, Leads, PathFact};
use super::leftovers::{self, Leftovers, Links};
use super::needs::Needs;
use super::neighbours;
use super::permissions;
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use super::wanted::{Wanted, WantedKind, WantedObject};
use super::ways::{self, Ways};
use crate::appspec::spec::FileExistsBehavior;
use crate::ids::GroupKey;

/// The three remedies for a link that existed before the first deployment: keep it, write through it, or replace it.
const KEEP_OR_REMOVE_LINK: &str = "to keep the link, leave that directory out of the bundle; to write through it, give what \
     is in it an entry of its own in files, of a source that no other entry holds, with the link as destination; to have \
     the bundle's directory there, remove the link, by hand or in BeforeInstall with hostler: {install: {recheck_after: \
     BeforeInstall}}, and make it again in AfterInstall if it is needed: from then on it makes way";

/// Decides everything: the ordered actions, and the paths that the group owns afterwards.
///
/// `behavior` is the deployment's; the appspec's takes precedence. Without `cleanup`, paths that only the last install
/// has stay on disk and are no longer owned.
///
/// # Errors
/// Every reason why the Install is not possible.
pub fn plan(wanted: &Wanted, facts: &HostFacts, behavior: FileExistsBehavior, cleanup: bool) -> Result<Plan, Problems> {
    let links = Links::new(wanted, facts);
    let mut needs = Needs::default();
    let ways = Ways::new(wanted, facts);
    let leftovers = leftovers::judge(wanted, facts, (&links, &ways), cleanup, &mut needs);
    let mut planner = Planner {
        wanted,
        facts,
        behavior: wanted.file_exists_behavior.unwrap_or(behavior),
        links,
        ways,
        leftovers,
        needs,
        givers: Givers::new(&wanted.permissions, facts),
        directories: Vec::new(),
        files: Vec::new(),
        installed: Vec::new(),
        plan: Plan::default(),
        problems: Problems::default(),
    };
    planner.same_places();
    planner.objects();
    planner.finish()
}

struct Planner<'a> {
    wanted: &'a Wanted,
    facts: &'a HostFacts,
    behavior: FileExistsBehavior,
    links: Links,
    ways: Ways,
    leftovers: Leftovers,
    needs: Needs,
    givers: Givers<'a>,
    directories: Vec<Action>,
    files: Vec<Action>,
    installed: Vec<InstalledEntry>,
    plan: Plan,
    problems: Problems,
}

/// The state of an object's directory.
#[derive(Clone, Copy)]
enum Parent {
    /// It exists.
    There(DirectoryFact),
    /// It will be made, on this device.
    Made(Option<u64>),
    /// It cannot exist, and the problem was reported.
    Broken,
}

impl<'a> Planner<'a> {
    /// Walks the objects from the top, each with its directory's state.
    fn objects(&mut self) {
        let mut stack: Vec<(&'a Path, Parent)> = Vec::new();
        let root = match self.facts.at(Path::new("/")) {
            PathFact::Directory(fact) => Parent::There(*fact),
            PathFact::Unreadable { reason } => {
                self.unreadable(Path::new("/"), reason);
                Parent::Broken
            }
            _ => Parent::Made(None),
        };
        let wanted = self.wanted;
        for object in &wanted.objects {
            let above = object.path.parent().map(Path::as_os_str);
            while stack.last().is_some_and(|(path, _)| Some(path.as_os_str()) != above) {
                stack.pop();
            }
            let parent = stack.last().map_or(root, |(_, parent)| *parent);
            if let WantedKind::Directory { above } = object.kind {
                let state = self.directory(object, above, parent);
                stack.push((&object.path, state));
            } else {
                self.file(object, parent);
            }
        }
    }

    /// The state of an object's path after the removals that make room.
    fn fact(&self, object: &WantedObject, parent: Parent) -> &'a PathFact {
        let facts = self.facts;
        match parent {
            Parent::Made(_) => &PathFact::Absent,
            _ if self.leftovers.removed.contains(object.path.as_path()) => &PathFact::Absent,
            _ => facts.at(&object.path),
        }
    }

    fn directory(&mut self, object: &WantedObject, above: bool, parent: Parent) -> Parent {
        if matches!(parent, Parent::Broken) {
            return Parent::Broken;
        }
        let fact = self.fact(object, parent);
        if let (Some(step), false) = (self.ways.refused(&object.path), *fact == PathFact::Absent) {
            let problem = ways::problem(&object.path, step);
            self.attributes(object);
            self.problems.push(problem);
            return Parent::Broken;
        }
        match fact {
            PathFact::Absent => return self.make_directory(object, parent),
            PathFact::Directory(fact) => {
                self.keep_directory(object);
                return Parent::There(*fact);
            }
            PathFact::Symlink { leads: Leads::Directory { directory, .. }, .. } => return Parent::There(*directory),
            PathFact::Symlink { target, leads } => self.link_for_directory(object, above, target, leads),
            PathFact::File => {
                let whose =
                    self.other_group(object).map(|group| format!(" that the deployment group {group} installed"));
                let message =
                    format!("{} is a file{} and must be a directory", shown(&object.path), whose.unwrap_or_default());
                let hint = "move it away, or change the destination; a destination is always a directory";
                self.problem(ProblemCode::FileInTheWay, object, message, hint);
            }
            PathFact::Other => self.special_file(object),
            PathFact::Unreadable { reason } => self.unreadable(&object.path, reason),
        }
        Parent::Broken
    }

    fn make_directory(&mut self, object: &WantedObject, parent: Parent) -> Parent {
        if let (Some(first), Some(second)) = (object.rule, object.second_rule) {
            self.problems.push(permissions::twice(&object.path, &self.wanted.permissions, first, second));
        }
        let attributes = self.givers.attributes(object.rule, &object.path, &mut self.problems);
        let device = self.occupy(object, parent, 1);
        self.directories.push(Action::MakeDirectory { path: object.path.clone(), attributes });
        self.own(object, InstalledKind::Directory);
        Parent::Made(device)
    }

    fn keep_directory(&mut self, object: &WantedObject) {
        if self.owned(object) != Some(InstalledKind::Directory) {
            return;
        }
        self.own(object, InstalledKind::Directory);
        let attributes = self.attributes(object);
        if *attributes != Attributes::default() {
            self.needs.guarded.change(self.facts, &object.path);
            self.directories.push(Action::KeepDirectory { path: object.path.clone(), attributes });
        }
    }

    fn link_for_directory(&mut self, object: &WantedObject, above: bool, target: &Path, leads: &Leads) {
        let link = format!("{} is a symbolic link to {}", shown(&object.path), shown(target));
        let (code, message, hint) = match leads {
            Leads::OutOfRoot => (
                ProblemCode::LinkLeavesRoot,
                format!("{link}, which is not below the root prefix"),
                "make it a relative link that stays below the prefix, or a directory",
            ),
            Leads::Unsafe(step) => (
                ProblemCode::LinkBelowDestination,
                format!("{link}, below a destination, and is not followed: {}", shown(Path::new(&step.to_string()))),
                "let root own the former (chown -h root), or remove the link",
            ),
            Leads::NotFollowed if !above => (
                ProblemCode::LinkBelowDestination,
                format!("{link}, below a destination, where links are not followed"),
                KEEP_OR_REMOVE_LINK,
            ),
            _ => (
                ProblemCode::LinkLeadsNowhere,
                format!("{link}, which is not a directory"),
                "make the directory that it leads to, or remove the link",
            ),
        };
        self.problem(code, object, message, hint);
    }

    fn file(&mut self, object: &WantedObject, parent: Parent) {
        if matches!(parent, Parent::Broken) {
            return;
        }
        let fact = self.fact(object, parent);
        let owned = self.owned(object).is_some();
        let retained = self.behavior == FileExistsBehavior::Retain && !owned;
        match fact {
            PathFact::Absent => self.put(object, parent, false),
            PathFact::Unreadable { reason } => self.unreadable(&object.path, reason),
            _ if retained => self.plan.retained.push(object.path.clone()),
            PathFact::File | PathFact::Symlink { .. } => {
                if owned || self.behavior == FileExistsBehavior::Overwrite {
                    self.put(object, parent, true);
                } else {
                    self.file_exists(object);
                }
            }
            PathFact::Directory(_) => self.directory_in_the_way(object),
            PathFact::Other => self.special_file(object),
        }
    }

    fn put(&mut self, object: &WantedObject, parent: Parent, replaces: bool) {
        let path = object.path.clone();
        if replaces {
            self.needs.guarded.take_away(self.facts, &path);
        }
        match &object.kind {
            WantedKind::File { source, size } => {
                self.occupy(object, parent, *size);
                let attributes = self.attributes(object);
                self.files.push(Action::PutFile { source: source.clone(), path, replaces, attributes });
                self.own(object, InstalledKind::File);
            }
            WantedKind::Link { target } => {
                self.occupy(object, parent, 0);
                let attributes = self.givers.of_link(object.rule, &object.path, &mut self.problems);
                self.files.push(Action::PutLink { target: target.clone(), path, replaces, attributes });
                self.own(object, InstalledKind::Link);
            }
            WantedKind::Directory { .. } => {}
        }
    }

    fn file_exists(&mut self, object: &WantedObject) {
        let path = shown(&object.path);
        let (message, hint) = match self.other_group(object) {
            Some(group) => (
                format!("{path} is there already: the deployment group {group} installed it"),
                neighbours::making_way(group),
            ),
            None => match self.ways.changed_above(&object.path) {
                Some(changed) => (
                    format!(
                        "{path} is there already, and {} is another directory than the one that the last deployment \
                         installed into",
                        shown(changed)
                    ),
                    "look who changed it; put the former directory back, remove what is there, or set file_exists_behavior \
                     to OVERWRITE or RETAIN"
                        .to_owned(),
                ),
                None => (
                    format!("{path} is there already and was not installed by the last deployment"),
                    "remove it, or set file_exists_behavior to OVERWRITE or RETAIN".to_owned(),
                ),
            },
        };
        self.problem(ProblemCode::FileExists, object, message, &hint);
    }

    fn directory_in_the_way(&mut self, object: &WantedObject) {
        let path = shown(&object.path);
        let foreign = self.facts.listings.get(object.path.as_path()).and_then(|names| {
            names.iter().map(|n| object.path.join(n)).find(|child| !self.leftovers.removed.contains(child.as_path()))
        });
        let message = match foreign {
            Some(child) => format!(
                "{path} is a directory and must be a file, and {} in it was not installed by the last deployment",
                shown(&child)
            ),
            None => format!("{path} is a directory and must be a file"),
        };
        self.problem(ProblemCode::DirectoryInTheWay, object, message, "move it away, or change the destination");
    }

    fn special_file(&mut self, object: &WantedObject) {
        let message = format!("{} is a device, socket or named pipe", shown(&object.path));
        self.problem(ProblemCode::SpecialFileInTheWay, object, message, "remove it, or change the destination");
    }

    fn unreadable(&mut self, path: &Path, reason: &str) {
        let message = format!("{} cannot be looked at: {reason}", shown(path));
        let hint = "look at the disk or the file server, or let the agent's user enter the directories above it";
        self.problems.push(Problem::new(ProblemCode::CannotLook, message, hint).path(path));
    }

    fn problem(&mut self, code: ProblemCode, object: &WantedObject, message: String, hint: &str) {
        // Look up its attributes all the same, to report all problems at once.
        self.attributes(object);
        self.problems.push(Problem::new(code, message, hint).path(&object.path));
    }

    fn attributes(&mut self, object: &WantedObject) -> Arc<Attributes> {
        self.givers.attributes(object.rule, &object.path, &mut self.problems)
    }

    /// Counts an object made in its directory; returns the device if known.
    fn occupy(&mut self, object: &WantedObject, parent: Parent, bytes: u64) -> Option<u64> {
        let device = match parent {
            Parent::There(directory) => {
                self.needs.change(&directory, &object.path);
                Some(directory.device)
            }
            Parent::Made(device) => device,
            Parent::Broken => None,
        };
        if let Some(device) = device {
            self.needs.make(device, &object.path, bytes);
        }
        device
    }

    fn owned(&self, object: &WantedObject) -> Option<InstalledKind> {
        self.leftovers.owned.get(self.wanted.place_of(&object.path)?).copied().flatten()
    }

    /// The other group of the host that installed the object's path.
    fn other_group(&self, object: &WantedObject) -> Option<&'a GroupKey> {
        let facts = self.facts;
        facts.others.get(self.links.real(&object.path).as_ref()).map(AsRef::as_ref)
    }

    fn own(&mut self, object: &WantedObject, kind: InstalledKind) {
        self.installed.push(InstalledEntry { path: object.path.clone(), kind });
    }

    /// Two wanted paths may be one place through a link; then that place must be one existing directory.
    fn same_places(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let mut places: HashMap<_, &WantedObject> = HashMap::new();
        for object in &self.wanted.objects {
            let real = self.links.real(&object.path).into_owned();
            if self.links.hold(&real) {
                let message =
                    format!("{} would take the place of a symbolic link that leads to it", shown(&object.path));
                let hint = "make the link lead to a directory that it is not in";
                self.problems.push(Problem::new(ProblemCode::SamePlace, message, hint).path(&object.path));
            }
            let Some(other) = places.insert(real, object) else { continue };
            let both = object.kind.is_directory() && other.kind.is_directory();
            if both && self.facts.directory(&object.path).is_some() {
                continue;
            }
            let message =
                format!("{} and {} are one place through a symbolic link", shown(&other.path), shown(&object.path));
            let hint = "write all destinations through the link, or none";
            self.problems.push(Problem::new(ProblemCode::SamePlace, message, hint).path(&object.path));
        }
    }

    fn finish(mut self) -> Result<Plan, Problems> {
        self.needs.unmet(self.facts, &mut self.problems);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let mut plan = self.plan;
        plan.links = self.links.paths();
        let below = self.wanted.links_below(self.facts);
        let followed = below.filter(|(_, _, leads)| matches!(leads, Leads::Directory { .. }));
        plan.links_below = followed.map(|(path, ..)| path.to_owned()).collect();
        plan.entered = self.ways.into_entered();
        plan.kept = self.leftovers.kept;
        plan.kept.sort();
        // Extend the longest list with the others.
        plan.actions = self.files;
        plan.actions.splice(0..0, self.leftovers.make_way.into_iter().chain(self.directories));
        plan.actions.append(&mut self.leftovers.removals);
        self.installed.append(&mut self.leftovers.still_owned);
        self.installed.sort_by(|a, b| a.path.cmp(&b.path));
        plan.installed = self.installed;
        Ok(plan)
    }
}
