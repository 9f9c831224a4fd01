//! The parts of a plan. `hostler-host` executes them; no action leaves a decision open.
//!
//! Destinations are absolute paths as the appspec means them; code that touches the host adds the `--root` prefix.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ways::Place;
use crate::appspec::spec::{AclEntry, SelinuxContext};
use crate::shared_path::SharedPath;

/// An Install without open decisions, and the paths that it will own afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In order. First the removals that make room: a file or link where a directory comes, a directory with its
    /// content where a file comes; children before their directories. Then directories (parents first), files and
    /// links. Last the leftovers of the last install (children before their directories).
    #[serde(deserialize_with = "read_actions")]
    pub actions: Vec<Action>,
    /// All paths that the group owns after this plan, new or kept from the last install; ordered by path.
    pub installed: Vec<InstalledEntry>,
    /// The followed symbolic links to directories on the way to destinations or leftovers, ordered. Any other link on
    /// the way to a path of this plan did not exist when the plan was made, and must be refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
    /// The part of `links` below a destination, followed only by steps that the path rule allows; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links_below: Vec<PathBuf>,
    /// The directories entered by a step that the path rule refuses, with their identities; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entered: Vec<Place>,
    /// Wanted paths that exist already and are retained: neither touched nor owned; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<SharedPath>,
    /// Paths of the last install that are no longer wanted and still exist after this plan (clean-up is off, or the
    /// directory holds other users' files); ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<SharedPath>,
}

/// The default mode of a new directory.
pub const NEW_DIRECTORY_MODE: u32 = 0o755;

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Removes a path: a leftover of the last install, or an obstacle.
    Remove {
        /// The path.
        path: SharedPath,
        /// Its kind; the action leaves anything else found there alone.
        kind: InstalledKind,
    },
    /// Makes a directory whose parent exists or was made by an earlier action.
    MakeDirectory {
        /// The path.
        path: SharedPath,
        /// Its attributes. The default mode is [`NEW_DIRECTORY_MODE`], or the group's rights from its parent's default
        /// access control list. A mode that shuts the agent out is set after the files are in place.
        attributes: Arc<Attributes>,
    },
    /// Sets the attributes of an installed directory again; it exists and belongs to the last install. A directory
    /// without permissions has no such action.
    KeepDirectory {
        /// The path.
        path: SharedPath,
        /// Its attributes.
        attributes: Arc<Attributes>,
    },
    /// Puts a file of the bundle in place.
    PutFile {
        /// The file in the bundle, relative to its top.
        source: SharedPath,
        /// The destination.
        path: SharedPath,
        /// Whether it replaces an existing file or link.
        replaces: bool,
        /// Its attributes; the default mode is the source's.
        attributes: Arc<Attributes>,
    },
    /// Puts a symbolic link in place.
    PutLink {
        /// The target, as in the bundle. Text is enough: a bundle with targets that are not UTF-8 is refused.
        target: String,
        /// The destination.
        path: SharedPath,
        /// Whether it replaces an existing file or link.
        replaces: bool,
        /// Owner and group; a link has no mode.
        attributes: Arc<Attributes>,
    },
}

impl Action {
    /// The path on the host.
    pub fn path(&self) -> &SharedPath {
        match self {
            Self::Remove { path, .. }
            | Self::MakeDirectory { path, .. }
            | Self::KeepDirectory { path, .. }
            | Self::PutFile { path, .. }
            | Self::PutLink { path, .. } => path,
        }
    }

    fn attributes_mut(&mut self) -> Option<&mut Arc<Attributes>> {
        match self {
            Self::Remove { .. } => None,
            Self::MakeDirectory { attributes, .. }
            | Self::KeepDirectory { attributes, .. }
            | Self::PutFile { attributes, .. }
            | Self::PutLink { attributes, .. } => Some(attributes),
        }
    }
}

/// Reads a plan's actions. Neighbours usually have equal attributes, and share them as they did when the plan was made.
///
/// # Errors
/// The input is not a list of actions.
pub fn read_actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Action>, D::Error> {
    struct Actions;
    impl<'de> Visitor<'de> for Actions {
        type Value = Vec<Action>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of actions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Action>, A::Error> {
            let mut actions = Vec::new();
            let mut before: Option<Arc<Attributes>> = None;
            while let Some(mut action) = list.next_element::<Action>()? {
                if let Some(attributes) = action.attributes_mut() {
                    match &before {
                        Some(same) if same == attributes => *attributes = Arc::clone(same),
                        _ => before = Some(Arc::clone(attributes)),
                    }
                }
                actions.push(action);
            }
            Ok(actions)
        }
    }
    deserializer.deserialize_seq(Actions)
}

/// Attributes from the appspec's permissions; `None` or empty leaves the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits, applied after the owner so that setuid survives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Numeric user id, resolved when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Numeric group id, resolved when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Access control list entries with names; resolved when applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acls: Vec<AclEntry>,
    /// SELinux context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<SelinuxContext>,
}

/// One path that the group owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledEntry {
    /// The path on the host.
    pub path: SharedPath,
    /// Its kind.
    pub kind: InstalledKind,
}

/// The kind of an installed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstalledKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory; removed only when it is empty.
    Directory,
}
