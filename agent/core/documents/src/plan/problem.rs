//! Why a bundle cannot be installed: each reason has a stable code, a place and a remedy.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::appspec::diagnose::{Severity, View};
use crate::appspec::spec::Position;

/// Whether a deployment can still succeed with the same bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The bundle or its appspec is wrong; it fails on every host.
    Bundle,
    /// This host's current state does not allow it; a hook may change that.
    Host,
}

macro_rules! problem_codes {
    ($(#[doc = $doc:literal] $name:ident, $text:literal, $fact:ident;)*) => {
        /// The kind of a problem. The texts are stable: scripts may depend on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ProblemCode {
            $(#[doc = $doc] #[serde(rename = $text)] $name,)*
        }

        impl ProblemCode {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its meaning, in one sentence.
            pub fn says(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// Whether it is a fact of the bundle or of the host.
            pub fn fact(self) -> Fact {
                match self { $(Self::$name => Fact::$fact,)* }
            }
        }
    };
}

problem_codes! {
    /// A `source` that the bundle does not hold.
    SourceMissing, "source_missing", Bundle;
    /// A `source` that leads out of the bundle.
    SourceEscapes, "source_escapes", Bundle;
    /// A `source` that goes through a file, or a file written with a slash at its end.
    SourceNotADirectory, "source_not_a_directory", Bundle;
    /// A `source` through links that lead to each other.
    SourceLinkLoop, "source_link_loop", Bundle;
    /// A `destination` that names no place: `~`, a NUL, a name too long.
    DestinationInvalid, "destination_invalid", Bundle;
    /// An `object` of `permissions` that names no place.
    ObjectInvalid, "object_invalid", Bundle;
    /// Two files for one path.
    TwoSources, "two_sources", Bundle;
    /// A file and a directory for one path.
    FileAndDirectory, "file_and_directory", Bundle;
    /// One path that two entries of `permissions` match.
    PermissionTwice, "permission_twice", Bundle;
    /// `pattern` or `except` with an `object` that is a file.
    PatternOnFile, "pattern_on_file", Bundle;
    /// A default access control list entry for a file.
    DefaultAclOnFile, "default_acl_on_file", Bundle;
    /// A name in the bundle that is not UTF-8.
    NameNotUtf8, "name_not_utf8", Bundle;
    /// Entries of `files` that name more paths than are planned.
    TooManyPaths, "too_many_paths", Bundle;
    /// Entries of `permissions` that are compared with more names than are planned.
    TooManyComparisons, "too_many_comparisons", Bundle;
    /// A path that is longer than the kernel takes.
    PathTooLong, "path_too_long", Bundle;
    /// An existing file that the last deployment did not install and that must not be replaced.
    FileExists, "file_exists", Host;
    /// A directory where a file must go.
    DirectoryInTheWay, "directory_in_the_way", Host;
    /// A file where a directory must go.
    FileInTheWay, "file_in_the_way", Host;
    /// A device, socket or named pipe where something must go.
    SpecialFileInTheWay, "special_file_in_the_way", Host;
    /// A symbolic link where a directory below a destination must be.
    LinkBelowDestination, "link_below_destination", Host;
    /// A symbolic link above or at a destination that does not lead to a directory.
    LinkLeadsNowhere, "link_leads_nowhere", Host;
    /// A symbolic link above or at a destination that leads out of the root prefix.
    LinkLeavesRoot, "link_leaves_root", Host;
    /// A way that a user could lead elsewhere.
    UnsafePath, "unsafe_path", Host;
    /// A destination that is a different directory than the last deployment's.
    PlaceChanged, "place_changed", Host;
    /// Two destinations that are one place through a symbolic link.
    SamePlace, "same_place", Host;
    /// A directory in which the agent may not write.
    NotWritable, "not_writable", Host;
    /// A mount that is read-only.
    ReadOnlyFileSystem, "read_only_file_system", Host;
    /// A file or directory that is immutable (`chattr +i`).
    Immutable, "immutable", Host;
    /// A file or directory that is append-only (`chattr +a`).
    AppendOnly, "append_only", Host;
    /// Something that must be replaced or removed and is a mount point, as a file that is bind-mounted.
    MountPointInTheWay, "mount_point_in_the_way", Host;
    /// Not enough bytes free.
    NoSpace, "no_space", Host;
    /// Not enough inodes free.
    NoInodes, "no_inodes", Host;
    /// An owner, a user of an access control list, or one whom a script runs as, that the host does not know.
    UnknownUser, "unknown_user", Host;
    /// A user whom a script runs as, and to whom only root may change.
    UserNotPermitted, "user_not_permitted", Host;
    /// A group that the host does not know.
    UnknownGroup, "unknown_group", Host;
    /// An owner or group that only root may give.
    OwnerNotPermitted, "owner_not_permitted", Host;
    /// A file or link that another group of the host installed too.
    SharedPath, "shared_path", Host;
    /// An interpreter of a script that the host does not have.
    InterpreterMissing, "interpreter_missing", Host;
    /// A program in the place of a script that is built for another machine.
    WrongArchitecture, "wrong_architecture", Host;
    /// A script that the user whom it runs as may not read or reach in the bundle.
    ScriptClosedToUser, "script_closed_to_user", Host;
    /// Bundles are unpacked where nothing can be executed.
    NoexecMount, "noexec_mount", Host;
    /// A path that the agent could not examine.
    CannotLook, "cannot_look", Host;
}

/// One reason why an Install is not possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind.
    pub code: ProblemCode,
    /// Whether it is a fact of the bundle or of the host; always `code.fact()`.
    pub fact: Fact,
    /// The problem, with the names in it; one sentence without a full stop.
    pub message: String,
    /// The remedy.
    pub hint: String,
    /// The path on the host, or of the source in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The place in the appspec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
}

impl Problem {
    pub(super) fn new(code: ProblemCode, message: String, hint: impl Into<String>) -> Self {
        Self { code, fact: code.fact(), message, hint: hint.into(), path: None, at: None }
    }

    /// The parts of it for text output; `file` is the appspec's name.
    pub fn view<'f>(&'f self, severity: Severity, file: &'f str) -> View<'f> {
        View {
            severity,
            code: self.code.as_str(),
            file,
            at: self.at,
            message: &self.message,
            help: Some(&self.hint),
            related: &[],
            conceal: false,
        }
    }

    pub(super) fn path(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub(super) fn at(mut self, at: Position) -> Self {
        self.at = Some(at);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "appspec line {}, column {}: ", at.line, at.column)?;
        }
        write!(f, "{} ({}); {}", self.message, self.code.as_str(), self.hint)
    }
}

/// A path for text output: control characters are escaped, so that a name cannot rewrite a terminal.
pub(super) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}
