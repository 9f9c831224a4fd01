//! Follows links for a look at the host, as far as the plan says.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hostler_core::plan::{Follow, Leads};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};

use crate::safe_path::{Stopped, open_directory};

/// Where a link was followed to.
pub(super) enum Followed {
    /// A directory, opened, and its path without links.
    To(OwnedFd, PathBuf),
    /// It was not.
    Not(Leads),
    /// It could not be told.
    Unreadable(Errno),
}

/// Follows a link to its end, if that is a directory. `trusted`: root or the agent's own user made the link.
pub(super) fn follow(link: &Path, how: Follow, trusted: bool) -> Followed {
    match how {
        Follow::Never => Followed::Not(Leads::NotFollowed),
        Follow::IfTrusted if !trusted => Followed::Not(Leads::NotFollowed),
        Follow::Always | Follow::IfTrusted => match open(link) {
            Ok((opened, real)) => Followed::To(opened, real),
            Err(errno) => not_there(errno),
        },
        Follow::BySafeSteps => match open_directory(link, OFlags::PATH) {
            Ok((opened, real)) => Followed::To(opened, real),
            Err(Stopped::Unsafe(step)) => Followed::Not(Leads::Unsafe(step)),
            Err(Stopped::Kernel(errno)) => not_there(Errno::from_raw(errno.raw_os_error())),
        },
    }
}

fn open(link: &Path) -> Result<(OwnedFd, PathBuf), Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let real = std::fs::canonicalize(link).map_err(errno)?;
    // The path has no links any more; one that comes now is not followed at its end.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&real, flags, Mode::empty()).map_err(|error| errno(error.into()))?;
    Ok((opened, real))
}

/// A link to nothing is a fact. Where the system could not tell, what was installed behind it must not be forgotten.
fn not_there(errno: Errno) -> Followed {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Followed::Not(Leads::Elsewhere),
        errno => Followed::Unreadable(errno),
    }
}
