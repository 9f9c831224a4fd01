//! Follows links for a look at the host, as far as the plan says.

use std::ffi::OsStr;

use hostler_core::path_rule::UnsafeStep;
use hostler_core::plan::{Follow, Leads};
use nix::errno::Errno;

use crate::safe_path::There;

/// The result of following a link.
pub(super) enum Followed {
    /// A directory; and the first step on the way that is not safe.
    To(There, Option<UnsafeStep>),
    /// It was not followed to a directory.
    Not(Leads),
    /// The kernel gave another error.
    Unreadable(Errno),
}

/// Follows a link in a directory to its end, if that is a directory. `trusted`: root or the agent's own user made the
/// link. `takes_unsafe`: unsafe steps are for the plan to judge, also below destinations.
pub(super) fn follow(above: &There, name: &OsStr, how: Follow, trusted: bool, takes_unsafe: bool) -> Followed {
    if how == Follow::Never || (how == Follow::IfTrusted && !trusted) {
        return Followed::Not(Leads::NotFollowed);
    }
    match above.follow(name) {
        Ok((_, Some(_))) if how == Follow::IfTrusted => Followed::Not(Leads::NotFollowed),
        Ok((_, Some(step))) if how == Follow::BySafeSteps && !takes_unsafe => Followed::Not(Leads::Unsafe(step)),
        Ok((there, step)) => Followed::To(there, step),
        Err(errno) => not_there(Errno::from_raw(errno.raw_os_error())),
    }
}

/// A link to nothing is a fact. If the kernel gave another error, the files installed behind the link must not be
/// forgotten.
fn not_there(errno: Errno) -> Followed {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Followed::Not(Leads::Elsewhere),
        errno => Followed::Unreadable(errno),
    }
}
