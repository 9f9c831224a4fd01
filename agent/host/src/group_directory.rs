//! The name of a group's directory. Paths in it are part of the command lines of hooks and their supervisors, where
//! `pkill -f shop` and `ps aux | grep shop` in a script of the application `shop` would find them. So the name contains
//! neither application nor group, and `APPLICATION~GROUP` is a link to it for people.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hostler_core::ids::GroupKey;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

/// Digits of the name's digest: no two groups of a host have the same.
const DIGITS: usize = 20;

/// The directory of a group below `root`; an older agent's, called `APPLICATION~GROUP`, until [`take_over`] has renamed
/// it.
pub(crate) fn find(root: &Path, key: &GroupKey) -> PathBuf {
    let (own, named) = (own(root, key), root.join(key.id()));
    if !own.is_dir() && named.is_dir() { named } else { own }
}

/// The directory's name, equal for every start and every host.
fn own(root: &Path, key: &GroupKey) -> PathBuf {
    let digest = Sha256::digest(key.id());
    let digits: String = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).take(DIGITS).collect();
    root.join(format!("g-{digits}"))
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

/// Makes the link by which people find the group's directory. An existing link stays as it is.
///
/// # Errors
/// The link cannot be made.
pub fn link(root: &Path, key: &GroupKey) -> io::Result<()> {
    let own = own(root, key);
    let Some(name) = own.file_name() else { return Ok(()) };
    match symlink(name, root.join(key.id())) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Renames the directory of an older agent, once, and leaves the link in its place, so that paths that were written
/// down still lead to it. No work may be going on in the group.
///
/// # Errors
/// It cannot be renamed; the agent then uses it as it is.
pub fn take_over(root: &Path, key: &GroupKey) -> io::Result<()> {
    let (own, named) = (own(root, key), root.join(key.id()));
    if own.is_dir() {
        return link(root, key);
    }
    if !named.is_dir() {
        return Ok(());
    }
    // A start that was killed here left it.
    match fs::remove_file(&own) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Both at once: the old path always leads somewhere.
    symlink(own.file_name().unwrap_or_default(), &own)?;
    if renameat_with(CWD, &own, CWD, &named, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // The file system cannot exchange two names.
    fs::remove_file(&own)?;
    fs::rename(&named, &own)?;
    link(root, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(application: &str) -> GroupKey {
        GroupKey::new(application.parse().unwrap(), "prod".parse().unwrap())
    }

    #[test]
    fn a_directory_has_neither_name_and_is_its_groups_alone() {
        let root = Path::new("/r");
        let (one, other) = (find(root, &key("shop")), find(root, &key("shops")));
        assert_ne!(one, other);
        assert_eq!(one, find(root, &key("shop")));
        let name = one.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("g-") && name.len() == 2 + DIGITS, "{name}");
        assert!(!name.contains("shop") && !name.contains("prod"), "{name}");
    }

    #[test]
    fn the_directory_of_an_older_agent_is_used_until_it_is_renamed_and_its_paths_stay_good() {
        let root = tempfile::tempdir().unwrap();
        let (root, key) = (root.path(), key("shop"));
        let named = root.join("shop~prod");
        take_over(root, &key).unwrap();
        assert!(fs::read_dir(root).unwrap().next().is_none(), "nothing is made for a group without a directory");
        fs::create_dir_all(named.join("d-1")).unwrap();
        assert_eq!(find(root, &key), named);
        // Killed before the exchange.
        let own = own(root, &key);
        symlink(own.file_name().unwrap(), &own).unwrap();
        assert_eq!(find(root, &key), named);
        for _ in 0..2 {
            take_over(root, &key).unwrap();
            assert_eq!(find(root, &key), own);
            assert!(own.symlink_metadata().unwrap().is_dir() && own.join("d-1").is_dir());
            assert_eq!(fs::read_link(&named).unwrap(), Path::new(own.file_name().unwrap()));
            assert!(named.join("d-1").is_dir());
        }
    }

    #[test]
    fn a_directory_that_an_administrator_moved_to_another_disk_is_found_by_either_name() {
        let root = tempfile::tempdir().unwrap();
        let (root, key) = (root.path(), key("shop"));
        fs::create_dir_all(root.join("disk/d-1")).unwrap();
        symlink("disk", root.join("shop~prod")).unwrap();
        take_over(root, &key).unwrap();
        assert_eq!(find(root, &key), own(root, &key));
        assert!(own(root, &key).join("d-1").is_dir() && root.join("shop~prod/d-1").is_dir());
    }
}
