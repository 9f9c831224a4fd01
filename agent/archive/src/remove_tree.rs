//! Takes trees away that other users may have built: no link is followed, no other mount is entered, and however deep
//! one is, a few descriptors are enough.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How many directories on the way down stay open. Above them the walk goes up by `..`, and checks that it finds the
/// same directory again.
const STAY_OPEN: usize = 32;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The outcome for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Yes,
    /// Nothing had the name.
    WasNotThere,
    /// It is a directory that is not empty.
    NotEmpty,
}

/// The checks before each step, and the entries of a directory to remove.
pub struct Rules<'a, E> {
    /// Called before each step; an error ends the work.
    pub before: &'a dyn Fn() -> Result<(), E>,
    /// Whether to remove an entry of a directory.
    pub takes: &'a dyn Fn(&OsStr) -> bool,
    /// Whether to make a directory writable that its owner, the agent's user, may not change. The whole directory goes.
    pub frees: bool,
}

/// Removes a file or a whole directory, as `std::fs::remove_dir_all` does. It also removes directories that their owner
/// may not change, such as those of Go's module cache (0555), if the agent's user owns them.
///
/// # Errors
/// Nothing is there (`NotFound`), another file system is mounted in it (`DirectoryNotEmpty`), or something cannot be
/// deleted.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no name of its own"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
    let rules = Rules { before: &|| Ok::<(), Errno>(()), takes: &|_| true, frees: true };
    match remove(parent.as_fd(), name, &rules)? {
        Removed::Yes => Ok(()),
        Removed::WasNotThere => Err(Errno::NOENT.into()),
        Removed::NotEmpty => Err(Errno::NOTEMPTY.into()),
    }
}

/// A directory on the way down.
struct Level {
    /// Its name in the directory above.
    name: OsString,
    identity: (u64, u64),
    /// The descriptor, for the last directories only.
    open: Option<OwnedFd>,
    /// The entries left to do in it, the next one last.
    rest: Vec<OsString>,
}

/// Removes a name, and of the entries below it those that the rules take.
///
/// # Errors
/// The error of `before` or the kernel; `STALE` where a directory was moved meanwhile.
pub fn remove<E: From<Errno>>(parent: BorrowedFd<'_>, name: &OsStr, rules: &Rules<'_, E>) -> Result<Removed, E> {
    if let Some(removed) = unlink(parent, name, rules)? {
        return Ok(removed);
    }
    let Some(top) = descend(parent, name, rules)? else { return Ok(Removed::NotEmpty) };
    let mut way = vec![top];
    while let Some(mut level) = way.pop() {
        let here = level.open.take().ok_or(Errno::BADF)?;
        let Some(entry) = level.rest.pop() else {
            let Some(above) = way.last_mut() else { return remove_directory(parent, name, rules) };
            let opened = above.open.take().map_or_else(|| ascend(&here, above), Ok)?;
            remove_directory(opened.as_fd(), &level.name, rules)?;
            above.open = Some(opened);
            continue;
        };
        let below = match unlink(here.as_fd(), &entry, rules)? {
            Some(_) => None,
            None => descend(here.as_fd(), &entry, rules)?,
        };
        level.open = Some(here);
        way.push(level);
        way.extend(below);
        if let Some(far) = way.len().checked_sub(STAY_OPEN + 1).and_then(|number| way.get_mut(number)) {
            far.open = None;
        }
    }
    Ok(Removed::WasNotThere)
}

/// Most entries are files, so it tries to unlink first. `None` for a directory.
fn unlink<E: From<Errno>>(parent: BorrowedFd<'_>, name: &OsStr, rules: &Rules<'_, E>) -> Result<Option<Removed>, E> {
    (rules.before)()?;
    let refused = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(Some(Removed::Yes)),
        Err(Errno::NOENT) => return Ok(Some(Removed::WasNotThere)),
        Err(errno) => errno,
    };
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => Ok(None),
        Err(Errno::NOENT) | Ok(_) => Err(refused.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory below; `None` if another file system is mounted there, which must not be removed.
fn descend<E: From<Errno>>(parent: BorrowedFd<'_>, name: &OsStr, rules: &Rules<'_, E>) -> Result<Option<Level>, E> {
    if rules.frees && !nix::unistd::geteuid().is_root() {
        free(parent, name)?;
    }
    let opened = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    if mount_of(opened.as_fd())? != mount_of(parent)? {
        return Ok(None);
    }
    let mut rest = entries(&opened)?;
    rest.retain(|entry| (rules.takes)(entry));
    rest.reverse();
    let identity = identity(&opened)?;
    Ok(Some(Level { name: name.to_owned(), identity, open: Some(opened), rest }))
}

/// Gives the agent's user its rights in a directory of its own. By the descriptor, because the name may lead to another
/// directory by then.
fn free(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let directory = rustix::fs::openat(parent, name, DIRECTORY.union(OFlags::PATH), Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if stat.st_uid != nix::unistd::geteuid().as_raw() || mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // A descriptor opened with O_PATH can only be changed by its name below /proc (open(2)).
    let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
    rustix::fs::chmod(name, mode | Mode::RWXU)
}

/// Opens the directory above again.
fn ascend(here: &OwnedFd, above: &Level) -> Result<OwnedFd, Errno> {
    let opened = rustix::fs::openat(here, "..", DIRECTORY, Mode::empty())?;
    if identity(&opened)? == above.identity { Ok(opened) } else { Err(Errno::STALE) }
}

fn remove_directory<E: From<Errno>>(parent: BorrowedFd<'_>, name: &OsStr, rules: &Rules<'_, E>) -> Result<Removed, E> {
    (rules.before)()?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Removed::Yes),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(Removed::NotEmpty),
        Err(errno) => Err(errno.into()),
    }
}

fn identity(directory: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The names in a directory.
///
/// # Errors
/// It cannot be read.
pub fn entries(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The border that no link and no rename crosses: a device (on btrfs a subvolume) and a mount of it.
pub type Mount = (u64, u64);

/// The mount that a directory is on.
///
/// # Errors
/// The kernel does not say.
pub fn mount_of(directory: BorrowedFd<'_>) -> Result<Mount, Errno> {
    let device = rustix::fs::fstat(directory)?.st_dev;
    // Some sandboxes lack this file; then the device number has to do, and a refused link or rename is tried elsewhere.
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd())).unwrap_or_default();
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    Ok((device, number.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn five_thousand_levels_go_with_a_few_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        crate::test_support::build_deep(&top.join("d"), 5_000);
        fs::write(top.join("beside"), "").unwrap();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, most) = (open(), Cell::new(0));
        let count = || {
            // Each count is a look at a directory of its own: now and then is enough.
            most.set(most.get() + 1);
            if most.get() % 500 == 0 {
                assert!(open() < before + STAY_OPEN + 20, "{} descriptors", open());
            }
            Ok::<(), Errno>(())
        };
        let parent = rustix::fs::openat(CWD, directory.path(), DIRECTORY, Mode::empty()).unwrap();
        let rules = Rules { before: &count, takes: &|_| true, frees: false };
        assert_eq!(remove(parent.as_fd(), OsStr::new("top"), &rules), Ok(Removed::Yes));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_taken_away_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("kept/d")).unwrap();
        fs::write(at("kept/d/canary"), "").unwrap();
        fs::create_dir_all(at("top/a/b")).unwrap();
        symlink(at("kept"), at("top/a/link")).unwrap();
        symlink(at("kept"), at("link")).unwrap();
        remove_tree(&at("top")).unwrap();
        remove_tree(&at("link")).unwrap();
        assert!(at("kept/d/canary").exists() && !at("top").exists() && at("link").symlink_metadata().is_err());
        assert_eq!(remove_tree(&at("top")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_the_rules_leave_stays_with_what_it_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("x/x")).unwrap();
        fs::create_dir_all(at("x/y/x")).unwrap();
        let parent = rustix::fs::openat(CWD, directory.path(), DIRECTORY, Mode::empty()).unwrap();
        let rules = Rules { before: &|| Ok::<(), Errno>(()), takes: &|name| name == "x", frees: false };
        assert_eq!(remove(parent.as_fd(), OsStr::new("x"), &rules), Ok(Removed::NotEmpty));
        assert!(!at("x/x").exists() && at("x/y/x").exists());
    }

    #[test]
    fn directories_that_their_owner_may_not_change_go_too() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let top = directory.path().join("top");
        let is_left = crate::test_support::without_root(|| {
            for (at, mode) in [("module/v1", 0o555), ("unlisted", 0o300), ("closed", 0o000)] {
                fs::create_dir_all(top.join(at)).unwrap();
                fs::write(top.join(at).join("file"), "").unwrap();
                fs::set_permissions(top.join(at), fs::Permissions::from_mode(mode)).unwrap();
            }
            fs::set_permissions(top.join("module"), fs::Permissions::from_mode(0o500)).unwrap();
            assert!(fs::remove_dir_all(&top).is_err(), "without help nobody can");
            remove_tree(&top).unwrap();
            top.exists()
        });
        assert!(!is_left);
    }
}
