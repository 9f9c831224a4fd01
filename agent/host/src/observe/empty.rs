//! Whether a directory has content that could be harmed.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::{DIRECTORY, names};

/// Most directories below one to look at. Prevents: a user's tree that holds a plan up.
const MOST: u32 = 100;

/// Whether a directory has nothing below it but directories of the same file system. An unreadable entry counts as
/// content.
pub(super) fn is_empty(directory: &OwnedFd) -> bool {
    holds_directories_only(directory, &mut { MOST }).unwrap_or(false)
}

fn holds_directories_only(directory: &OwnedFd, left: &mut u32) -> nix::Result<bool> {
    let device = fstat(directory)?.st_dev;
    for name in names(directory)? {
        *left = left.saturating_sub(1);
        let below = match openat(directory, name.as_os_str(), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(below) if *left > 0 && fstat(&below)?.st_dev == device => below,
            Ok(_) | Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        if !holds_directories_only(&below, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn directories_in_directories_are_nothing_and_everything_else_is_something() {
        let top = tempfile::tempdir().unwrap();
        let looked = |path: &Path| {
            let opened = nix::fcntl::open(path, DIRECTORY, Mode::empty()).unwrap();
            is_empty(&opened)
        };
        fs::create_dir_all(top.path().join("logs/old")).unwrap();
        fs::create_dir(top.path().join("tmp")).unwrap();
        assert!(looked(top.path()));
        std::os::unix::fs::symlink("nothing", top.path().join("logs/old/link")).unwrap();
        assert!(!looked(top.path()) && looked(&top.path().join("tmp")));
        for number in 0..MOST {
            fs::create_dir(top.path().join(format!("tmp/{number}"))).unwrap();
        }
        assert!(!looked(&top.path().join("tmp")), "too many to look at");
    }
}
