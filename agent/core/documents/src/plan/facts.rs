//! The facts about the host that a plan needs. `hostler-host` collects them for the paths and names of a
//! [`Wanted`](super::Wanted); tests make them up.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::GroupKey;
use crate::path_rule::UnsafeStep;

use super::path_facts::PathFacts;
use super::ways::{Identity, UnsafeEntry};

/// All collected facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The state of each examined path; a path that is not listed is absent.
    pub paths: PathFacts,
    /// The names in the directories of `Wanted::list` that exist and could be read.
    pub listings: HashMap<PathBuf, Vec<OsString>>,
    /// Users by name; a name that is not listed is unknown.
    pub users: BTreeMap<String, u32>,
    /// Groups by name; a name that is not listed is unknown.
    pub groups: BTreeMap<String, u32>,
    /// File systems by device id.
    pub devices: BTreeMap<u64, DeviceFact>,
    /// Protections of existing files and directories against every user; most have none.
    pub guards: HashMap<PathBuf, Guard>,
    /// The directories on a read-only mount, with its mount point, without the root prefix if it is below.
    pub read_only: BTreeMap<PathBuf, PathBuf>,
    /// The user that the agent runs as.
    pub agent: AgentFact,
    /// The owning group of other groups' files and links that the plan concerns, by resolved path; see `note_group`.
    pub others: HashMap<PathBuf, Arc<GroupKey>>,
    /// The steps to examined paths that the path rule refuses, by path.
    pub unsafe_steps: BTreeMap<PathBuf, UnsafeEntry>,
    /// The current identities of the last install's destinations whose path a user other than root controls.
    pub places: BTreeMap<PathBuf, Identity>,
}

impl HostFacts {
    /// The state of this path.
    pub fn at(&self, path: &Path) -> &PathFact {
        self.paths.get(path).unwrap_or(&PathFact::Absent)
    }

    /// The protection of the file or directory at this path.
    pub(super) fn guard(&self, path: &Path) -> Guard {
        self.guards.get(path).copied().unwrap_or_default()
    }

    /// The directory at this path, directly or through a followed link.
    pub fn directory(&self, path: &Path) -> Option<&DirectoryFact> {
        match self.at(path) {
            PathFact::Directory(fact) | PathFact::Symlink { leads: Leads::Directory { directory: fact, .. }, .. } => {
                Some(fact)
            }
            _ => None,
        }
    }

    /// The paths that the agent could not examine.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = &Path> {
        self.paths
            .iter()
            .filter_map(|(path, fact)| matches!(fact, PathFact::Unreadable { .. }).then_some(path.as_path()))
    }
}

/// The state of a path, without following a link at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathFact {
    /// Nothing.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory(DirectoryFact),
    /// A symbolic link.
    Symlink {
        /// The target as it is written.
        target: PathBuf,
        /// The place that it leads to, if the agent may follow it.
        leads: Leads,
    },
    /// A device, socket or named pipe.
    Other,
    /// The agent could not examine it.
    Unreadable {
        /// The system's error.
        reason: String,
    },
}

/// The facts about a directory that a plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryFact {
    /// Permission bits (07777).
    pub mode: u32,
    /// Whether the agent may make and remove entries in it.
    pub writable: bool,
    /// The file system it is on; a key of [`HostFacts::devices`].
    pub device: u64,
}

/// The place that a symbolic link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// The agent was not to follow it.
    NotFollowed,
    /// To a directory.
    Directory {
        /// The directory.
        directory: DirectoryFact,
        /// Its path with all links resolved, without the root prefix.
        real: PathBuf,
    },
    /// To something other than a directory, or to nothing.
    Elsewhere,
    /// Out of the root prefix.
    OutOfRoot,
    /// The agent was to follow it by safe steps only, and one of them is not safe.
    Unsafe(UnsafeStep),
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFact {
    /// Bytes that the agent may still use.
    pub free_bytes: u64,
    /// Inodes that the agent may still use; `None` if the file system has no fixed number.
    pub free_inodes: Option<u64>,
}

/// Protections of a file or directory that its owner and mode do not show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// The immutable attribute (`chattr +i`): not even root may change, replace or remove it.
    pub immutable: bool,
    /// The append-only attribute (`chattr +a`): the same, except that data may be appended.
    pub append_only: bool,
    /// Something is mounted on it: it cannot be replaced or removed.
    pub mount_point: bool,
}

impl Guard {
    /// Whether anything guards it.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

/// The user that the agent runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFact {
    /// Effective user id.
    pub uid: u32,
    /// Effective and supplementary group ids.
    pub gids: Vec<u32>,
}
