//! The scripts of machine events: the files in a directory that are run, and those that must not be.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::users::own_uid;

/// Most scripts of one event. Prevents: a directory of other files that fills the ledger.
const MOST_SCRIPTS: usize = 100;

/// Endings of files that editors and package managers leave beside others.
const LEFTOVERS: [&str; 9] =
    ["~", ".bak", ".swp", ".rpmnew", ".rpmsave", ".rpmorig", ".dpkg-old", ".dpkg-new", ".dpkg-dist"];

/// Why nothing of a directory is run.
#[derive(Debug, thiserror::Error)]
pub enum MachineScriptsError {
    /// Something could not be looked at.
    #[error("cannot look at {path}: {source}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why it cannot be looked at.
        source: io::Error,
    },
    /// Another user could make the script do anything, as the agent's user.
    #[error("{path} {problem}; nothing of this event is run until that is put right: {remedy}")]
    Refused {
        /// The script or directory.
        path: PathBuf,
        /// The problem with it.
        problem: String,
        /// The remedy.
        remedy: &'static str,
    },
}

/// The names of an event's scripts, in the order in which they run: executable files of `directory` that root or the
/// agent's user owns. Files that are not executable are turned off; hidden files and the leftovers of editors and
/// package managers are no scripts. None if there is no such directory.
///
/// # Errors
/// When the directory or a script is a link, is another user's, or can be written by others.
pub fn list(directory: &Path) -> Result<Vec<String>, MachineScriptsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| MachineScriptsError::Unreadable { path, source }
    };
    let found = match fs::read_dir(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory)(error)),
    };
    let mut names = Vec::new();
    for entry in found {
        let entry = entry.map_err(unreadable(directory))?;
        let (path, name) = (entry.path(), entry.file_name());
        let metadata = fs::symlink_metadata(&path).map_err(unreadable(&path))?;
        let is_leftover = LEFTOVERS.iter().any(|ending| name.as_bytes().ends_with(ending.as_bytes()));
        if name.as_bytes().starts_with(b".") || is_leftover || metadata.is_dir() {
            continue;
        }
        if metadata.is_symlink() {
            return Err(refused(&path, "is a symbolic link".to_owned(), "put the file itself there"));
        }
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            continue;
        }
        check(&path, &metadata)?;
        let name = name
            .into_string()
            .map_err(|_| refused(&path, "has a name that is not UTF-8".to_owned(), "give it another name"))?;
        names.push(name);
    }
    if names.len() > MOST_SCRIPTS {
        let problem = format!("holds more than {MOST_SCRIPTS} scripts");
        return Err(refused(directory, problem, "put several into one"));
    }
    if !names.is_empty() {
        // A user who can write to the directories can put another script in the place of a good one.
        for above in directory.ancestors().take(2) {
            let metadata = fs::symlink_metadata(above).map_err(unreadable(above))?;
            if metadata.is_symlink() {
                return Err(refused(above, "is a symbolic link".to_owned(), "make it a directory"));
            }
            check(above, &metadata)?;
        }
    }
    names.sort();
    Ok(names)
}

fn check(path: &Path, metadata: &fs::Metadata) -> Result<(), MachineScriptsError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != own_uid() {
        let problem = format!("belongs to user id {owner}");
        return Err(refused(path, problem, "give it to root (chown root)"));
    }
    if mode & 0o022 != 0 {
        let problem = format!("can be written by others than its owner (mode {mode:04o})");
        return Err(refused(path, problem, "take that away (chmod go-w)"));
    }
    Ok(())
}

fn refused(path: &Path, problem: String, remedy: &'static str) -> MachineScriptsError {
    MachineScriptsError::Refused { path: path.to_owned(), problem, remedy }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn directory(files: &[(&str, u32)]) -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().unwrap();
        let event = top.path().join("Setup");
        fs::create_dir(&event).unwrap();
        for path in [top.path(), &event] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        for (name, mode) in files {
            fs::write(event.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(event.join(name), PermissionsExt::from_mode(*mode)).unwrap();
        }
        (top, event)
    }

    #[test]
    fn executable_files_run_in_the_order_of_their_names() {
        let (_top, event) = directory(&[
            ("20-b.sh", 0o755),
            ("10-a", 0o700),
            ("9", 0o500),
            ("30-off", 0o644),
            (".hidden", 0o755),
            ("10-a~", 0o755),
            ("10-a.rpmnew", 0o755),
        ]);
        fs::create_dir(event.join("lib")).unwrap();
        assert_eq!(list(&event).unwrap(), ["10-a", "20-b.sh", "9"]);
        assert_eq!(list(&event.join("none")).unwrap(), [""; 0]);
    }

    #[test]
    fn what_others_can_change_is_not_run_and_neither_is_what_is_beside_it() {
        for mode in [0o757, 0o775, 0o777] {
            let (_top, event) = directory(&[("10-good", 0o755), ("20-bad", mode)]);
            let said = list(&event).unwrap_err().to_string();
            assert!(said.contains("20-bad can be written by others") && said.contains("chmod go-w"), "{said}");
        }
        for level in 0..2 {
            let (_top, event) = directory(&[("10-good", 0o755)]);
            let open = event.ancestors().nth(level).unwrap();
            fs::set_permissions(open, PermissionsExt::from_mode(0o777)).unwrap();
            assert!(list(&event).unwrap_err().to_string().contains("can be written by others"), "{level}");
        }
        let (_top, event) = directory(&[]);
        symlink("/bin/true", event.join("10-link")).unwrap();
        assert!(list(&event).unwrap_err().to_string().contains("symbolic link"));
    }
}
