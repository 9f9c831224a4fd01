//! The meaning of an appspec: defaults and checks applied, nothing left to interpret.
//!
//! Facts: docs/protocols/codedeploy.md#appspec-file and
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html>.

use serde::{Deserialize, Serialize};

pub use super::extension::{Extension, HookOptions};
use crate::hook::script_user;
pub use crate::yaml::Position;

/// A whole appspec for EC2 on Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppSpec {
    /// What to copy, in the order written.
    pub files: Vec<FileMapping>,
    /// What to do with existing files; takes precedence over the deployment's setting.
    pub file_exists_behavior: Option<FileExistsBehavior>,
    /// Permissions, in the order written.
    pub permissions: Vec<Permission>,
    /// Hooks, in the order written; each event once.
    pub hooks: Vec<EventHooks>,
    /// The content of `hostler:`.
    pub extension: Extension,
}

impl AppSpec {
    /// The scripts of a lifecycle event; empty when there are none.
    pub fn scripts(&self, event: &str) -> &[HookScript] {
        self.hooks.iter().find(|h| h.event == event).map_or(&[], |h| &h.scripts)
    }
}

/// One entry of `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMapping {
    /// A file or directory of the bundle; `/` and `.` are the whole bundle.
    pub source: String,
    /// A directory on the host.
    pub destination: String,
    /// The position of `source`.
    pub source_at: Position,
    /// The position of `destination`.
    pub destination_at: Position,
}

/// What happens to an existing file that the group's last deployment did not install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileExistsBehavior {
    /// The deployment fails.
    Disallow,
    /// The bundle's file replaces it.
    Overwrite,
    /// It stays.
    Retain,
}

/// One entry of `permissions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// An installed file, or a directory: then everything installed below it.
    pub object: String,
    /// `**` for every depth, or a pattern with `*` for one level.
    pub pattern: String,
    /// Patterns of exceptions.
    pub except: Vec<String>,
    /// Whether it applies to files.
    pub files: bool,
    /// Whether it applies to directories.
    pub directories: bool,
    /// Owner by name.
    pub owner: Option<String>,
    /// Group by name.
    pub group: Option<String>,
    /// Permission bits, 0 to 0o7777.
    pub mode: Option<u32>,
    /// Access control list entries, in the order written.
    pub acls: Vec<AclEntry>,
    /// SELinux context.
    pub context: Option<SelinuxContext>,
    /// The position of `object`.
    pub at: Position,
    /// The position of `owner`.
    pub owner_at: Option<Position>,
    /// The position of `group`.
    pub group_at: Option<Position>,
}

/// One access control list entry, beyond the three base entries that `mode` sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// Whether it is a default entry (for objects made in the directory later).
    pub default: bool,
    /// The user or group that it is for.
    pub tag: AclTag,
    /// Read 4, write 2, execute 1.
    pub permissions: u8,
}

/// The user or group of an access control list entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclTag {
    /// The file's owner (only as a default entry).
    UserOwner,
    /// A user by name.
    User(String),
    /// The file's group (only as a default entry).
    GroupOwner,
    /// A group by name.
    Group(String),
    /// The mask.
    Mask,
    /// All other users (only as a default entry).
    Other,
}

/// An SELinux context; the role is not supported by CodeDeploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxContext {
    /// SELinux user.
    pub user: Option<String>,
    /// Type.
    pub context_type: String,
    /// Sensitivity and categories, as written and checked.
    pub range: Option<String>,
}

/// The scripts of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHooks {
    /// The event's name as written; the event may not exist.
    pub event: String,
    /// The scripts in the order written.
    pub scripts: Vec<HookScript>,
    /// Whether some scripts are missing here because they cannot be read: the event must not run. True only for an
    /// event that does not exist, which a deployment may still name; for other events such an appspec is invalid.
    pub unusable: bool,
    /// The position of the name.
    pub at: Position,
}

/// One script of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookScript {
    /// Path of the script in the bundle, as written.
    pub location: String,
    /// Seconds until its deadline.
    pub timeout_seconds: u64,
    /// The line of `timeout`, from 1; `None` where the appspec leaves it out.
    pub timeout_line: Option<u32>,
    /// The user that the appspec names.
    pub runas: Option<String>,
    /// Whether it runs as root if the appspec names no user.
    pub sudo: bool,
    /// hostler's own options for this script.
    pub options: HookOptions,
    /// The position of `location`.
    pub at: Position,
    /// The position of `runas`.
    pub runas_at: Option<Position>,
}

impl HookScript {
    /// The user to run as; `None` is the agent's user.
    pub fn user(&self) -> Option<&str> {
        script_user(self.runas.as_deref(), self.sudo)
    }
}
