//! The ways to the directories in which an Install works, walked on descriptors: a step that the path rule refuses is taken
//! only into the very directory that the plan entered by it. The owner of a directory above may have changed what its names
//! lead to since the plan was made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hostler_core::path_rule::{UnsafeStep, is_trusted};
use hostler_core::plan::actions::{InstalledKind, Plan};
use hostler_core::plan::{Identity, Place};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::InstallError;
use super::error::host;
use super::places::{Anchors, link_or};
use crate::safe_path::{There, identity};
use crate::users::own_uid;

const LOOK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Walks to directories below anchors. Paths that come in order are walked cheaply.
pub(super) struct Ways<'a> {
    anchors: &'a Anchors,
    /// What the plan enters by unsafe steps, ordered by path.
    entered: &'a [Place],
    agent: u32,
    levels: Vec<(PathBuf, There)>,
}

impl<'a> Ways<'a> {
    pub fn new(anchors: &'a Anchors, entered: &'a [Place]) -> Self {
        Self { anchors, entered, agent: own_uid(), levels: Vec::new() }
    }

    /// Goes to a directory; `None` where it does not exist.
    ///
    /// # Errors
    /// A step is not safe, or something else than a directory is on the way.
    pub fn find(&mut self, path: &Path) -> Result<Option<&There>, InstallError> {
        let Some((top, _)) = self.anchors.nearest(path) else { return Ok(None) };
        let stays = |known: &Path| path.starts_with(known) && known.starts_with(top) && known != top;
        while self.levels.last().is_some_and(|(known, _)| !stays(known)) {
            self.levels.pop();
        }
        let mut here = self.levels.last().map_or(top, |(known, _)| known).to_owned();
        for name in path.strip_prefix(&here).unwrap_or(Path::new("")).iter() {
            here.push(name);
            let Some(from) = self.levels.last().map(|(_, there)| there).or_else(|| self.anchors.there(top)) else {
                return Ok(None);
            };
            let directory = match rustix::fs::openat(&from.directory, name, LOOK, Mode::empty()) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => {
                    return Err(match link_or(errno, std::os::fd::AsFd::as_fd(&from.directory), Path::new(name)) {
                        Errno::NOTDIR => InstallError::Changed {
                            path: path.to_owned(),
                            planned: "directory",
                            found: "file or other object",
                        },
                        errno => host("open", path)(errno),
                    });
                }
            };
            let stat = rustix::fs::fstat(&directory).map_err(host("read", &here))?;
            let trusted = is_trusted(self.agent, from.owner);
            let there = There {
                directory,
                real: from.real.join(name),
                owner: stat.st_uid,
                device: stat.st_dev,
                by_user: from.by_user || !trusted,
            };
            if !trusted && from.owner != there.owner {
                let step = UnsafeStep {
                    from: from.real.clone(),
                    from_owner: from.owner,
                    to: there.real.clone(),
                    to_owner: there.owner,
                };
                enter(self.entered, &here, &there, step)?;
            }
            self.levels.push((here.clone(), there));
        }
        Ok(self.levels.last().map(|(_, there)| there).or_else(|| self.anchors.there(top)))
    }

    /// As [`find`](Self::find), for a directory that the plan counts on.
    pub fn expect(&mut self, path: &Path) -> Result<&There, InstallError> {
        self.find(path)?.ok_or_else(|| InstallError::Vanished { path: path.to_owned() })
    }
}

/// Takes an unsafe step, if the plan entered this very directory by it.
pub(super) fn enter(entered: &[Place], path: &Path, there: &There, step: UnsafeStep) -> Result<(), InstallError> {
    let is = identity(&there.directory).map_err(host("read", path))?;
    let planned = entered.iter().any(|place| place.path.as_path() == path && place.is.is(&is));
    if planned { Ok(()) } else { Err(InstallError::UnsafePath { path: path.to_owned(), step }) }
}

/// Which directories exist already that the next deployment has to know again: those that the group owns, the destinations
/// with what is above them, and those that are entered by unsafe steps. What cannot be reached safely is not noted.
pub(super) fn existing(plan: &Plan, destinations: &[PathBuf], anchors: &Anchors) -> Vec<Place> {
    let entered = plan.entered.iter().map(|place| place.path.as_path());
    let above = destinations.iter().flat_map(|destination| destination.ancestors());
    let named: BTreeSet<&Path> = above.chain(entered).collect();
    let owned = plan.installed.iter().filter(|entry| entry.kind == InstalledKind::Directory);
    let mut ways = Ways::new(anchors, &plan.entered);
    let mut places: Vec<Place> = owned
        .filter(|entry| !named.contains(entry.path.as_path()))
        .filter_map(|entry| {
            Some(Place { path: entry.path.clone(), is: known(&mut ways, &entry.path)?, destination: false })
        })
        .collect();
    places.extend(
        named
            .into_iter()
            .filter_map(|path| Some(Place { path: path.into(), is: known(&mut ways, path)?, destination: false })),
    );
    places
}

fn known(ways: &mut Ways<'_>, path: &Path) -> Option<Identity> {
    identity(&ways.find(path).ok()??.directory).ok()
}

/// All of them in order, with those that were made now.
pub(super) fn all(existing: Vec<Place>, made: Vec<Place>, destinations: &[PathBuf]) -> Vec<Place> {
    let mut places = existing;
    places.extend(made);
    places.sort_by(|a, b| a.path.cmp(&b.path));
    places.dedup_by(|later, first| later.path == first.path);
    let destinations: BTreeSet<&Path> = destinations.iter().map(PathBuf::as_path).collect();
    for place in &mut places {
        place.destination = destinations.contains(place.path.as_path());
    }
    places
}
