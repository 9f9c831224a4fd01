//! The directories that a plan may enter: steps that the path rule refuses, and directories recognised from the last
//! install.
//!
//! The owner of a directory decides where its names lead. So a plan enters a directory of root below it only if the
//! last install noted that very directory, or if its content cannot be harmed; the group owns paths in a place, not
//! below a name. If only root could have changed a path, an operator moved the application, and the plan follows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::HostFacts;
use super::problem::{Problem, ProblemCode, shown};
use super::wanted::Wanted;
use crate::path_rule::{UnsafePaths, UnsafeStep};
use crate::shared_path::SharedPath;

/// The identity of a directory across a reboot, a remount and hosts of the same image. It has no device number, because
/// that changes with each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The type of its file system (`f_type`). A user may mount a FUSE file system, and controls its inode numbers and
    /// times, but cannot give it another type.
    pub kind: u64,
    /// Its inode number.
    pub inode: u64,
    /// When it was made: seconds and nanoseconds since 1970; `None` if the file system does not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<(i64, u32)>,
}

impl Identity {
    /// Whether both are the same directory.
    pub fn is(&self, other: &Self) -> bool {
        let born_apart = matches!((self.born, other.born), (Some(one), Some(other)) if one != other);
        self.kind == other.kind && self.inode == other.inode && !born_apart
    }
}

/// A directory in which an install worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its path, as the plan names it.
    pub path: SharedPath,
    /// Its identity.
    pub is: Identity,
    /// Whether the appspec names it as a destination.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destination: bool,
}

/// The directories in which the last install worked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LastPlaces {
    /// There was no install, or another agent made it.
    #[default]
    Unknown,
    /// An earlier version of this agent made it and noted no directories.
    NotNoted,
    /// These, ordered by path.
    Noted(Vec<Place>),
}

impl LastPlaces {
    pub(super) fn noted(&self) -> &[Place] {
        match self {
            Self::Noted(places) => places,
            Self::Unknown | Self::NotNoted => &[],
        }
    }

    fn get(&self, path: &Path) -> Option<&Place> {
        let places = self.noted();
        places.binary_search_by(|place| place.path.as_path().cmp(path)).ok().and_then(|at| places.get(at))
    }

    /// Shares the paths of the same install's entries.
    pub(super) fn share_paths(&mut self, last: &[super::actions::InstalledEntry]) {
        let Self::Noted(places) = self else { return };
        let mut entries = last.iter().peekable();
        for place in places {
            while entries.next_if(|entry| entry.path < place.path).is_some() {}
            if let Some(entry) = entries.peek().filter(|entry| entry.path == place.path) {
                place.path = entry.path.clone();
            }
        }
    }
}

/// A directory behind a step that the path rule refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsafeEntry {
    /// The step.
    pub step: UnsafeStep,
    /// Its identity.
    pub is: Identity,
    /// Whether it is on another file system than its parent directory, or behind a symbolic link. Otherwise it was made
    /// in its parent: a user cannot bring it there from another directory.
    pub apart: bool,
    /// Whether it contains nothing but directories that are themselves empty in this sense.
    pub empty: bool,
    /// Whether another group's last install noted it under this path.
    pub noted_by_another: bool,
}

impl UnsafeEntry {
    /// Whether a hook made it for this deployment, or could have: its content cannot be harmed.
    fn is_made_for_it(&self) -> bool {
        self.empty && !self.apart
    }
}

impl HostFacts {
    /// Notes the directories in which another group's last install worked: they are known to this agent.
    pub fn note_places(&mut self, places: &LastPlaces) {
        for place in places.noted() {
            if let Some(entry) = self.unsafe_steps.get_mut(place.path.as_path()) {
                entry.noted_by_another |= place.is.is(&entry.is);
            }
        }
    }
}

/// Why the plan enters a directory by an unsafe step, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The last install, or that of another group, noted it.
    Known,
    /// Its content cannot be harmed: a hook made it for this deployment.
    Empty,
    /// The last install worked in it by name, and did not note its identity.
    FirstUse,
    /// The configuration allows it with a warning.
    Warned,
    Refused,
}

fn judge(wanted: &Wanted, path: &Path, entry: &UnsafeEntry) -> Verdict {
    if entry.noted_by_another || wanted.places.get(path).is_some_and(|place| place.is.is(&entry.is)) {
        return Verdict::Known;
    }
    if entry.is_made_for_it() {
        return Verdict::Empty;
    }
    if wanted.places == LastPlaces::NotNoted && !entry.apart && was_worked_in(wanted, path) {
        return Verdict::FirstUse;
    }
    match wanted.unsafe_paths {
        UnsafePaths::Warn => Verdict::Warned,
        UnsafePaths::Refuse => Verdict::Refused,
    }
}

/// Whether the last install has a path here or below.
fn was_worked_in(wanted: &Wanted, path: &Path) -> bool {
    let at = wanted.last.partition_point(|entry| entry.path.as_path() < path);
    wanted.last.get(at).is_some_and(|entry| entry.path.starts_with(path))
}

/// The decisions about a plan's directories.
#[derive(Default)]
pub(super) struct Ways {
    refused: BTreeMap<PathBuf, UnsafeStep>,
    /// Destinations that are different directories now.
    changed: Vec<PathBuf>,
    entered: Vec<Place>,
}

impl Ways {
    pub fn new(wanted: &Wanted, facts: &HostFacts) -> Self {
        let mut ways = Self::default();
        for (path, entry) in &facts.unsafe_steps {
            match judge(wanted, path, entry) {
                Verdict::Refused => drop(ways.refused.insert(path.clone(), entry.step.clone())),
                _ => ways.entered.push(Place { path: path.as_path().into(), is: entry.is, destination: false }),
            }
        }
        // A hook that removes a destination and makes it anew leaves nothing in it that could belong to another user.
        let made = |path: &Path| facts.unsafe_steps.get(path).is_some_and(UnsafeEntry::is_made_for_it);
        let other = |path: &Path, now: &Identity| {
            wanted.places.get(path).is_some_and(|place| place.destination && !place.is.is(now))
        };
        let changed = facts.places.iter().filter(|(path, now)| other(path, now) && !made(path));
        ways.changed = changed.map(|(path, _)| path.clone()).collect();
        ways
    }

    /// The unsafe step for which the plan does not enter this path.
    pub fn refused(&self, path: &Path) -> Option<&UnsafeStep> {
        self.refused.get(path)
    }

    /// Whether a path is behind a refused step.
    pub fn is_beyond(&self, path: &Path) -> bool {
        !self.refused.is_empty() && path.ancestors().any(|above| self.refused.contains_key(above))
    }

    /// The destination at or above a path that is a different directory than the last install's.
    pub fn changed_above(&self, path: &Path) -> Option<&Path> {
        self.changed.iter().map(PathBuf::as_path).find(|changed| path.starts_with(changed))
    }

    /// The directories that the plan enters all the same.
    pub fn into_entered(self) -> Vec<Place> {
        self.entered
    }
}

/// The refused steps, by the path to which they lead.
pub fn refused_ways<'a>(wanted: &'a Wanted, facts: &'a HostFacts) -> impl Iterator<Item = (&'a Path, &'a UnsafeStep)> {
    let refused = facts.unsafe_steps.iter().filter(|(path, entry)| judge(wanted, path, entry) == Verdict::Refused);
    refused.map(|(path, entry)| (path.as_path(), &entry.step))
}

/// The reason for not entering a directory.
pub(super) fn problem(path: &Path, step: &UnsafeStep) -> Problem {
    let message = format!("the way to {} is not safe: {}", shown(path), shown(Path::new(&step.to_string())));
    Problem::new(ProblemCode::UnsafePath, message, hint(step)).path(path)
}

fn hint(step: &UnsafeStep) -> String {
    let (from, to) = (shown(&step.from), shown(&step.to));
    let other = match step.to_owner {
        // The target of a link may be the whole host: never advise to give that away.
        _ if step.to.parent() != Some(&step.from) => "name the place itself as destination".to_owned(),
        _ => format!("give {to} to user {} with all that is in it, or install elsewhere", step.from_owner),
    };
    format!(
        "let root own {from} (chown -h root), or {other}; a host that needs it as it is sets unsafe_paths: warn in the \
         configuration for one deployment, which notes the place"
    )
}

/// Most unsafe paths that are reported one by one.
const WARNED: usize = 10;

/// Warnings about directories that the plan enters, or leaves alone, because of the path rule.
pub(super) fn warnings(wanted: &Wanted, facts: &HostFacts) -> Vec<Problem> {
    let of = |path: &Path, message: String, hint: &str| Problem::new(ProblemCode::UnsafePath, message, hint).path(path);
    let mut found = Vec::new();
    for (path, entry) in &facts.unsafe_steps {
        let (shown_path, step) = (shown(path), shown(Path::new(&entry.step.to_string())));
        match judge(wanted, path, entry) {
            Verdict::Known | Verdict::Empty => {}
            Verdict::FirstUse => found.push(of(
                path,
                format!("{shown_path} is taken for the directory of the last deployment, which did not note it: {step}"),
                "look whether it is the application's; from this deployment on it is known by its inode",
            )),
            Verdict::Warned => found.push(of(
                path,
                format!("the way to {shown_path} is not safe, and is taken because of unsafe_paths: warn: {step}"),
                "look whether it is the application's; this deployment notes it, and later ones do not need the setting",
            )),
            Verdict::Refused => found.push(of(
                path,
                format!("what the last deployment installed at and below {shown_path} stays: {step}"),
                "remove it by hand if it is the application's",
            )),
        }
    }
    let more = found.len().saturating_sub(WARNED);
    found.truncate(WARNED);
    if more > 0 {
        let message = format!("{more} more directories are reached by ways that are not safe");
        found.push(Problem::new(ProblemCode::UnsafePath, message, "hostler plan shows more once these are mended"));
    }
    let ways = Ways::new(wanted, facts);
    found.extend(ways.changed.iter().take(WARNED).map(|path| {
        let message = format!(
            "{} is another directory than the one that the last deployment installed into: nothing in it is the group's, \
             and nothing in it is removed or replaced as such",
            shown(path)
        );
        let hint = "a user who owns a directory above it has changed it; what was installed is where that user put it";
        Problem::new(ProblemCode::PlaceChanged, message, hint).path(path)
    }));
    found
}
