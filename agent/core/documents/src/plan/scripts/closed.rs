//! Whether a user may enter and read the unpacked bundle.

use std::path::Path;

use super::ScriptUser;
use crate::bundle::{BundleEntry, BundleListing, EntryKind};
use crate::plan::AgentFact;

/// A part of the bundle that a user may not use.
pub(super) struct Closed<'l> {
    pub(super) path: &'l Path,
    /// "enter the directory", "read" or "execute".
    pub(super) what: &'static str,
    /// Its permission bits.
    pub(super) mode: u32,
}

/// The first directory on the way to a script, or the script itself, that its user may not use. It does not judge the
/// targets of links. The bundle's top is the agent's own directory, which every user may enter.
pub(super) fn to<'l>(
    user: &ScriptUser,
    agent: &AgentFact,
    listing: &'l BundleListing,
    script: &Path,
    is_text: bool,
) -> Option<Closed<'l>> {
    if user.uid == 0 || user.uid == agent.uid {
        return None;
    }
    // The unpacked bundle belongs to the agent's user and group; of the agent's groups the effective one comes last.
    let in_group = agent.gids.last().is_some_and(|gid| user.gids.contains(gid));
    let may = |mode: u32, bits: u32| (if in_group { mode >> 3 } else { mode }) & bits == bits;
    let mut above: Vec<&Path> = script.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    above.reverse();
    for path in above {
        let entry = listing.get(path)?;
        if entry.kind != EntryKind::Directory {
            return None;
        }
        if !may(entry.mode, 1) {
            return Some(closed(entry, "enter the directory"));
        }
    }
    let entry = listing.get(script)?;
    if !matches!(entry.kind, EntryKind::File { .. }) {
        return None;
    }
    // The agent makes a script executable if it is not.
    let mode = if entry.mode & 0o111 == 0 { entry.mode | 0o111 } else { entry.mode };
    if !may(mode, 1) {
        return Some(closed(entry, "execute"));
    }
    (is_text && !may(mode, 4)).then(|| closed(entry, "read"))
}

fn closed<'l>(entry: &'l BundleEntry, what: &'static str) -> Closed<'l> {
    Closed { path: entry.path.as_path(), what, mode: entry.mode }
}
