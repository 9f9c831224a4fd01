//! Why an Install, or its way back, did not work.

use std::io;
use std::path::{Path, PathBuf};

use hostler_core::error_chain::chain;
use hostler_core::ids::DeploymentId;
use hostler_core::path_rule::UnsafeStep;
use hostler_core::plan::actions::InstalledKind;
use rustix::io::Errno;

use super::Left;
use crate::perms::PermissionError;

/// Why an Install, or its way back, did not work.
///
/// After an error of [`run`](super::run) the host is as it was before, unless it is [`InstallError::NotUndone`].
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// An operation on the host failed.
    #[error("cannot {what} {}", path.display())]
    Host {
        /// The attempted operation: "write", "rename" …
        what: &'static str,
        /// Its file or directory.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file system is full.
    #[error("no space left for {}: free space or inodes on its file system, then deploy again", path.display())]
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file of the unpacked bundle could not be read.
    #[error("cannot read {} of the unpacked bundle", path.display())]
    Source {
        /// The file, relative to the bundle's top.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A path exists that did not when the plan was made.
    #[error("{} exists now, and did not when the install was planned: it is left alone; remove it or let file_exists_behavior decide, then deploy again", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// A file or directory that the plan counts on is gone.
    #[error("{} is gone since the install was planned: deploy again", path.display())]
    Vanished {
        /// The missing file or directory.
        path: PathBuf,
    },
    /// The path has another kind of file than when the plan was made.
    #[error("{} is a {found} now, and was a {planned} when the install was planned: it is left alone; look what changed it, then deploy again", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
        /// Its kind in the plan.
        planned: &'static str,
        /// Its kind now.
        found: &'static str,
    },
    /// A directory below a destination is, or lies behind, a symbolic link.
    #[error("{} is reached through a symbolic link below a destination, and links are not followed there: replace the link by a directory, or name its target as destination", path.display())]
    LinkInTheWay {
        /// The directory that was to be opened.
        path: PathBuf,
    },
    /// A user could lead the way elsewhere, or has done so since the plan was made.
    #[error("the way to {} is not safe: {step}: let root own the former (chown -h root), or give the latter to user {}, then deploy again", path.display(), step.from_owner)]
    UnsafePath {
        /// The directory to enter.
        path: PathBuf,
        /// The step.
        step: UnsafeStep,
    },
    /// Owner, mode, access control list or SELinux context.
    #[error("cannot give {} its permissions", path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// The failed setting, with the reason.
        #[source]
        source: PermissionError,
    },
    /// The journal could not be read or written.
    #[error("cannot {what} the install journal {}", path.display())]
    Journal {
        /// "read", "write", "mark" …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The journal does not hold hostler's document, or a later hostler wrote it.
    #[error("the install journal {} {problem}: it was changed by hand or written by another version of hostler", path.display())]
    JournalContent {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The journal belongs to another deployment.
    #[error("the install journal {} belongs to deployment {found}, not to {wanted}: give each deployment its own directory", path.display())]
    OtherDeployment {
        /// The journal's directory.
        path: PathBuf,
        /// Whose it is.
        found: DeploymentId,
        /// The deployment that it was opened for.
        wanted: DeploymentId,
    },
    /// The journal's state does not allow this.
    #[error("the install journal {} {problem}", path.display())]
    State {
        /// The journal's directory.
        path: PathBuf,
        /// The state, and its meaning.
        problem: &'static str,
    },
    /// A directory in which the install worked is another one now.
    #[error("{} is not the directory any more in which the install worked: move that one back, then start hostler again", path.display())]
    Moved {
        /// The directory's old path.
        path: PathBuf,
    },
    /// An attribute of the file system forbids to replace or remove something.
    #[error("{} cannot be replaced or removed: it or its directory is immutable or append-only (`lsattr` shows it): take that away with `chattr -i -a`, then deploy again", path.display())]
    Immutable {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file or directory of the plan is a mount point.
    #[error("{} is a mount point (a bind-mounted file?) and cannot be replaced or removed: unmount it or take it out of the bundle, then deploy again", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
    },
    /// The file here cannot be linked to the directory for backups, although both are on one mount.
    #[error("{} cannot be linked to the directory for backups: a project or an encryption policy bounds its tree", path.display())]
    BackupElsewhere {
        /// The file to keep.
        path: PathBuf,
    },
    /// The file system of a directory in which the Install worked is not mounted, or is hidden by another one: its
    /// files cannot be known yet.
    #[error("{} was on {was}, and is on {now} now: mount what is missing, or unmount what hides it", path.display())]
    NotMounted {
        /// The directory.
        path: PathBuf,
        /// The file system that it was on.
        was: String,
        /// The file system there now.
        now: String,
    },
    /// The Install failed and was undone, except for files that other programs changed meanwhile.
    #[error("{}; it was undone, but {}", chain(cause), left_text(left))]
    UndoneBut {
        /// Why the install failed.
        cause: Box<InstallError>,
        /// The files that could not be put back.
        left: Vec<Left>,
    },
    /// The install failed, and so did undoing it: the journal stays open, and [`settle`](super::settle) tries again.
    #[error("{}; and it could not be undone yet", chain(cause))]
    NotUndone {
        /// Why the install failed.
        cause: Box<InstallError>,
        /// Why it could not be undone.
        #[source]
        source: Box<InstallError>,
    },
    /// A test stopped the run as if the process had been killed.
    #[cfg(test)]
    #[error("killed by a test")]
    Killed,
}

/// How many of the files that could not be put back are named; the journal has all of them.
const NAMED_LEFT: usize = 10;

/// The files that could not be put back, in one line.
pub fn left_text(left: &[Left]) -> String {
    let named = left.iter().take(NAMED_LEFT).map(|left| format!("{}: {}", left.path.display(), left.why));
    let named = named.collect::<Vec<_>>().join("; ");
    match left.len().saturating_sub(NAMED_LEFT) {
        0 => format!("this could not be put back: {named}"),
        more => format!("this could not be put back: {named}; and {more} more"),
    }
}

/// Names the failed operation; a full file system gets its own error, because its remedy differs.
pub(super) fn host(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> InstallError {
    let path = path.to_owned();
    move |errno| match errno {
        Errno::NOSPC | Errno::DQUOT => InstallError::NoSpace { path, source: errno.into() },
        Errno::LOOP => InstallError::LinkInTheWay { path },
        errno => InstallError::Host { what, path, source: errno.into() },
    }
}

pub(super) fn permissions(path: &Path) -> impl FnOnce(PermissionError) -> InstallError {
    let path = path.to_owned();
    move |source| match source {
        PermissionError::Set { source, .. } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
            InstallError::NoSpace { path, source }
        }
        source => InstallError::Permissions { path, source },
    }
}

pub(super) fn kind_name(kind: InstalledKind) -> &'static str {
    match kind {
        InstalledKind::File => "file",
        InstalledKind::Link => "symbolic link",
        InstalledKind::Directory => "directory",
    }
}
