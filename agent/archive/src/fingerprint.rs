//! Shows whether an unpacked bundle is unchanged: hooks work in it, and may have changed it.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hostler_core::ids::Sha256Digest;
use nix::sys::stat::{SFlag, mode_t};
use sha2::{Digest as _, Sha256};

use super::error::ArchiveError;
use super::walk::walk;

/// A digest of the kind, mode, size, inode and change time (which no process can set) of every path below a directory.
/// Contents are not read. An unchanged tree keeps its digest; another tree has another one.
///
/// # Errors
/// Something could not be looked at.
pub fn fingerprint(directory: &Path) -> Result<Sha256Digest, ArchiveError> {
    let root = File::open(directory).map_err(|e| ArchiveError::host("open the directory", directory, e))?;
    let mut hasher = Sha256::new();
    walk(&root, directory, &mut |found| {
        let stat = &found.stat;
        hasher.update(found.path.as_path().as_os_str().as_bytes());
        let is_directory = stat.st_mode as mode_t & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        // A directory's size is the file system's business.
        let size = if is_directory { 0 } else { stat.st_size };
        for number in [size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(stat.st_mode.to_le_bytes());
        hasher.update(stat.st_ino.to_le_bytes());
        Ok(())
    })?;
    Ok(Sha256Digest::from_bytes(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_change_of_a_tree_shows() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/f"), "one").unwrap();
        let mut seen = vec![fingerprint(directory.path()).unwrap()];
        assert_eq!(fingerprint(directory.path()).unwrap(), seen[0]);
        let mode = |mode| fs::set_permissions(at("d/f"), fs::Permissions::from_mode(mode)).unwrap();
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(at("d/f"), "two").unwrap(),
            &|| mode(0o600),
            &|| fs::write(at("new"), "").unwrap(),
            &|| fs::rename(at("d/f"), at("d/g")).unwrap(),
            &|| fs::remove_file(at("new")).unwrap(),
        ];
        for change in changes {
            change();
            let now = fingerprint(directory.path()).unwrap();
            // A file system's clock may stand still for some milliseconds: the test does not ask for differences of
            // that size.
            seen.push(now);
        }
        assert!(seen.windows(2).skip(1).all(|pair| pair[0] != pair[1]), "{seen:?}");
    }
}
