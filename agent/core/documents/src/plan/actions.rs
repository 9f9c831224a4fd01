//! The words of a plan. `hostler-host` carries them out; nothing in it decides.
//!
//! Destinations are absolute paths as the appspec means them; `--root` is put before them by whoever touches the host.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ways::Place;
use crate::appspec::spec::{AclEntry, SelinuxContext};
use crate::shared_path::SharedPath;

/// An Install with no choices left, and what it will own afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In order: first what must make way (where the last install put something: a file or link where a directory comes,
    /// a directory with its content where a file comes; children before their directories), then directories (parents first), files
    /// and links, and last the leftovers of the last install (children before their directories).
    #[serde(deserialize_with = "read_actions")]
    pub actions: Vec<Action>,
    /// Everything that the group owns after this plan, made by it or kept from the last install; ordered by path.
    pub installed: Vec<InstalledEntry>,
    /// The symbolic links to directories that lead to destinations or leftovers and are followed, ordered. Every other
    /// link on the way to a path of this plan was not there when it was made and must be refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PathBuf>,
    /// Those of `links` that are below a destination: they are followed only by steps that the path rule allows; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links_below: Vec<PathBuf>,
    /// The directories that are entered by a step that the path rule refuses, and which ones they are; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entered: Vec<Place>,
    /// Wanted, but there already and retained: neither touched nor owned; ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<SharedPath>,
    /// Of the last install, no longer wanted, and still there after this plan (clean-up is off, or the directory holds
    /// what others put into it); ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<SharedPath>,
}

/// The mode of a directory that is made, where nothing says otherwise.
pub const NEW_DIRECTORY_MODE: u32 = 0o755;

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Takes a path away: a leftover of the last install, or something that must make way.
    Remove {
        /// The path.
        path: SharedPath,
        /// What it is; anything else found there is left alone.
        kind: InstalledKind,
    },
    /// Makes a directory whose parent exists or is made before.
    MakeDirectory {
        /// The path.
        path: SharedPath,
        /// What it gets. Without a mode that is [`NEW_DIRECTORY_MODE`], or the group's rights that its parent's default access
        /// control list gives. A mode that shuts the agent out is given after the files are in place.
        attributes: Arc<Attributes>,
    },
    /// An installed directory that is there already and gets attributes again (it belongs to the last install). There
    /// is no such action for one that permissions say nothing about.
    KeepDirectory {
        /// The path.
        path: SharedPath,
        /// What it gets.
        attributes: Arc<Attributes>,
    },
    /// Puts a file of the bundle in place.
    PutFile {
        /// The file in the bundle, relative to its top.
        source: SharedPath,
        /// Where it goes.
        path: SharedPath,
        /// Whether something (a file or a link) is there now and is replaced.
        replaces: bool,
        /// What it gets; without a mode, the source's mode.
        attributes: Arc<Attributes>,
    },
    /// Puts a symbolic link in place.
    PutLink {
        /// The target, as it is in the bundle. Bytes that are not UTF-8 make the bundle refused, so text is enough.
        target: String,
        /// Where it goes.
        path: SharedPath,
        /// Whether something (a file or a link) is there now and is replaced.
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

/// Reads a plan's actions. Neighbours mostly get the same attributes, and then share them, as they did when the plan was
/// made.
///
/// # Errors
/// It is no list of actions.
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

/// Permissions by the appspec; what is `None` or empty is left as it comes.
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
    /// What it is.
    pub kind: InstalledKind,
}

/// What an installed path is.
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
