//! The kernel's facts about a path beyond owner and mode.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hostler_core::plan::Guard;
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

use crate::mounts::mount_point;

/// The kernel's attributes of an entry beyond its mode. If the kernel or the file system does not give them, the
/// Install finds out: it then fails and leaves the host as it was.
pub(super) fn guard(above: &OwnedFd, name: &OsStr) -> Guard {
    let found = rustix::fs::statx(above, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    let Ok(found) = found else { return Guard::default() };
    // Only the attributes that the answer vouches for.
    let has = |attribute| (found.stx_attributes & found.stx_attributes_mask).contains(attribute);
    Guard {
        immutable: has(StatxAttributes::IMMUTABLE),
        append_only: has(StatxAttributes::APPEND),
        mount_point: has(StatxAttributes::MOUNT_ROOT),
    }
}

/// The mount that makes a directory read-only, as a path below the root prefix if it is mounted below that.
pub(super) fn read_only_mount(real_root: &Path, directory: &Path) -> PathBuf {
    let mount = mount_point(directory).unwrap_or_else(|| directory.to_owned());
    match mount.strip_prefix(real_root) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => mount,
    }
}
