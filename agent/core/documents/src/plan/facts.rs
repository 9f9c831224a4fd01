//! The host as a plan needs to know it. `hostler-host` fills it in from the paths and names of a
//! [`Wanted`](super::Wanted); tests make it up.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::path_rule::UnsafeStep;

use super::path_facts::PathFacts;
use super::ways::{Identity, UnsafeEntry};

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What is at each path that was looked at; a path that is not listed is absent.
    pub paths: PathFacts,
    /// The names in the directories of `Wanted::list` that exist and could be read.
    pub listings: HashMap<PathBuf, Vec<OsString>>,
    /// Users by name; a name that is not listed is unknown.
    pub users: BTreeMap<String, u32>,
    /// Groups by name; a name that is not listed is unknown.
    pub groups: BTreeMap<String, u32>,
    /// File systems by device id.
    pub devices: BTreeMap<u64, DeviceFact>,
    /// What keeps existing files and directories from being changed, whoever asks; most have nothing.
    pub guards: HashMap<PathBuf, Guard>,
    /// The directories that are on a read-only mount, and where it is mounted, without the root prefix where it is below.
    pub read_only: BTreeMap<PathBuf, PathBuf>,
    /// Whom the agent runs as.
    pub agent: AgentFact,
    /// Which group owns the files and links of other groups that the plan is about, by resolved path; see `note_group`.
    pub others: HashMap<PathBuf, Arc<str>>,
    /// The steps to paths that were looked at and that the path rule refuses, by path.
    pub unsafe_steps: BTreeMap<PathBuf, UnsafeEntry>,
    /// What the destinations of the last install are now, of those to which the way is another user's than root's.
    pub places: BTreeMap<PathBuf, Identity>,
}

impl HostFacts {
    /// What is at this path.
    pub fn at(&self, path: &Path) -> &PathFact {
        self.paths.get(path).unwrap_or(&PathFact::Absent)
    }

    /// What keeps the file or directory at this path from being changed.
    pub(super) fn guard(&self, path: &Path) -> Guard {
        self.guards.get(path).copied().unwrap_or_default()
    }

    /// The directory at this path, be it directly or through a link that was followed.
    pub fn directory(&self, path: &Path) -> Option<&DirectoryFact> {
        match self.at(path) {
            PathFact::Directory(fact) | PathFact::Symlink { leads: Leads::Directory { directory: fact, .. }, .. } => {
                Some(fact)
            }
            _ => None,
        }
    }

    /// The paths that could not be looked at.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = &Path> {
        self.paths
            .iter()
            .filter_map(|(path, fact)| matches!(fact, PathFact::Unreadable { .. }).then_some(path.as_path()))
    }
}

/// What is at a path, without following a link at its end.
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
        /// What it leads to, where the link may be followed.
        leads: Leads,
    },
    /// A device, socket or named pipe.
    Other,
    /// It could not be looked at.
    Unreadable {
        /// The system's error.
        reason: String,
    },
}

/// What a plan asks about a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryFact {
    /// Permission bits (07777).
    pub mode: u32,
    /// Whether the agent may make and remove entries in it.
    pub writable: bool,
    /// The file system it is on; a key of [`HostFacts::devices`].
    pub device: u64,
}

/// Where a symbolic link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// It was not to be followed.
    NotFollowed,
    /// To a directory.
    Directory {
        /// The directory.
        directory: DirectoryFact,
        /// Its path with all links resolved, without the root prefix.
        real: PathBuf,
    },
    /// To something else than a directory, or to nothing.
    Elsewhere,
    /// Out of the root prefix.
    OutOfRoot,
    /// It was to be followed by safe steps only, and one of them is not.
    Unsafe(UnsafeStep),
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFact {
    /// Bytes that the agent may still use.
    pub free_bytes: u64,
    /// Inodes that the agent may still use; `None` where the file system has no fixed number.
    pub free_inodes: Option<u64>,
}

/// What keeps a file or directory from being changed although its owner and mode allow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// The immutable attribute (`chattr +i`): not even root may change, replace or remove it.
    pub immutable: bool,
    /// The append-only attribute (`chattr +a`): the same but for what is added.
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

/// Whom the agent runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFact {
    /// Effective user id.
    pub uid: u32,
    /// Effective and supplementary group ids.
    pub gids: Vec<u32>,
}
