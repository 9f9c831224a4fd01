//! Lets users pass through a directory of the agent to a place below it. A user who may pass may not list the
//! directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::libc;
use rustix::fs::{Gid, Mode, XattrFlags};
use rustix::io::Errno;

use super::{ACCESS, acl, xattr};
use crate::atomic::{self, AtomicError};
use crate::users::{self, User};

/// Every user may pass; only the owner may list the directory.
pub const EVERYONE_PASSES: u32 = 0o711;

/// One change of a list at a time in this process: a health check may begin beside a hook.
static CHANGES: Mutex<()> = Mutex::new(());

/// The way in which a user may pass a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// By an entry for this user, by the rights of the directory's owner, or because every user may pass.
    Given,
    /// Not by an entry, so now every user may pass: a script that cannot start, even in a rollback, would be worse.
    ForEveryone {
        /// Why there is no entry: the file system has no access control lists, or is full.
        why: String,
    },
}

/// Makes a directory that root and the members of the service group may pass, to read the logs below it. If there is no
/// such group, or the agent is not root, only its owner may pass.
///
/// # Errors
/// The directory cannot be made, or is there.
pub fn make_closed(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    close(path)
}

/// From here on new files of this process get the promised modes, as under its units (`UMask=0022`), whatever umask the
/// calling shell has: with `umask 077`, as on hardened hosts, a script's user could not enter the directory of its own
/// bundle. Private files set their own mode.
pub fn forget_the_callers_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
}

/// Makes a directory that every user may pass, whatever this process's umask is, with its missing parents, each of them
/// durable. Existing directories stay as they are.
///
/// # Errors
/// One of them cannot be made.
pub fn make_passable(path: &Path) -> Result<(), AtomicError> {
    if path.is_dir() {
        return atomic::create_directories(path, EVERYONE_PASSES);
    }
    if let Some(parent) = path.parent() {
        atomic::create_directories(parent, 0o755)?;
    }
    atomic::create_directories(path, EVERYONE_PASSES)?;
    let failed = |source| AtomicError { step: "set the mode of", path: path.to_owned(), source };
    set_mode(path, EVERYONE_PASSES).map_err(failed)
}

/// Closes a directory to all but its owner, the service group, and users with a passage.
///
/// # Errors
/// It is no directory, or the kernel refuses.
pub fn close(path: &Path) -> io::Result<()> {
    let directory = open(path)?;
    // Without the bit in the mode the entries of the list would have no effect.
    let alone = if xattr_or_none(&directory)?.is_some() { 0o710 } else { 0o700 };
    give(&directory, 0o710, alone)
}

/// Lets every user pass through a directory, and lets the service group list it, to find the logs below.
///
/// # Errors
/// It is no directory, or the kernel refuses.
pub fn share(path: &Path) -> io::Result<()> {
    give(&open(path)?, 0o751, EVERYONE_PASSES)
}

/// Gives a directory of the agent's own user to the service group with the mode `with_group`, or sets the mode `alone`
/// if it cannot be given.
fn give(directory: &File, with_group: u32, alone: u32) -> io::Result<()> {
    if directory.metadata()?.uid() != users::own_uid() {
        return Ok(());
    }
    let group = users::service_group().filter(|_| users::own_uid() == 0);
    if let Some(group) = group {
        rustix::fs::fchown(directory, None, Some(Gid::from_raw(group)))?;
    }
    let mode = if group.is_some() { with_group } else { alone };
    Ok(rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))?)
}

/// Sets exactly this mode on a directory of the agent's own user. A symbolic link is not followed.
///
/// # Errors
/// It is no directory, or the kernel refuses.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let directory = open(path)?;
    let found = directory.metadata()?;
    if found.uid() != users::own_uid() || found.mode() & 0o7777 == mode {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))?)
}

/// Lets every user pass through a directory, if some could not yet.
///
/// # Errors
/// It is no directory, or the kernel refuses.
pub fn let_everyone_pass(path: &Path) -> io::Result<()> {
    let directory = open(path)?;
    let mode = directory.metadata()?.mode() & 0o7777;
    if mode & 0o011 == 0o011 {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode | 0o011))?)
}

/// Lets a user pass through a directory. Earlier users keep their passage.
///
/// # Errors
/// It is no directory, or the kernel refuses.
pub fn let_pass(path: &Path, user: &User) -> io::Result<Passage> {
    let _turn = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = open(path)?;
    let found = directory.metadata()?;
    let mode = found.mode() & 0o7777;
    if user.uid == 0 || user.uid == found.uid() || mode & 0o001 != 0 {
        return Ok(Passage::Given);
    }
    let list = xattr_or_none(&directory)?;
    let admitting = acl::admitting(list.as_deref(), mode, user.uid);
    if list.as_ref() == Some(&admitting) {
        return Ok(Passage::Given);
    }
    match rustix::fs::fsetxattr(&directory, ACCESS, &admitting, XattrFlags::empty()) {
        Ok(()) => Ok(Passage::Given),
        Err(error @ (Errno::OPNOTSUPP | Errno::NOSPC | Errno::DQUOT)) => {
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode | 0o011))?;
            Ok(Passage::ForEveryone { why: io::Error::from(error).to_string() })
        }
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

fn xattr_or_none(directory: &File) -> io::Result<Option<Vec<u8>>> {
    use std::os::fd::AsFd as _;
    Ok(xattr(directory.as_fd(), ACCESS)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::test_support::skip;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn user(uid: u32) -> User {
        User { name: uid.to_string(), uid, gid: uid, groups: vec![uid], home: "/".into(), shell: "/bin/sh".into() }
    }

    /// Whether a user reads a file by its path.
    fn reads(uid: u32, file: &Path) -> bool {
        let ids = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
        Command::new("setpriv").args(ids).arg("cat").arg(file).output().unwrap().status.success()
    }

    #[test]
    fn a_closed_directory_lets_those_pass_who_were_let_pass_and_nobody_else() {
        if !nix::unistd::geteuid().is_root() {
            skip("other users take root");
            return;
        }
        let top = tempfile::tempdir().unwrap();
        std::fs::set_permissions(top.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (directory, file) = (top.path().join("d"), top.path().join("d/file"));
        make_closed(&directory).unwrap();
        std::fs::write(&file, "x").unwrap();
        assert!(!reads(64001, &file) && !reads(64002, &file));
        assert_eq!(mode(&directory) & 0o007, 0, "{:o}", mode(&directory));
        match let_pass(&directory, &user(64001)).unwrap() {
            Passage::Given => {}
            Passage::ForEveryone { why } => return skip(format_args!("{why}: {}", top.path().display())),
        }
        assert!(reads(64001, &file) && !reads(64002, &file));
        // The same user again, another one, and closed again as at the agent's next start: every user keeps the
        // passage.
        for uid in [64001, 64003] {
            assert_eq!(let_pass(&directory, &user(uid)).unwrap(), Passage::Given);
        }
        close(&directory).unwrap();
        assert!(reads(64001, &file) && reads(64003, &file) && !reads(64002, &file));
        let looks = Command::new("setpriv").args(["--reuid=64001", "--clear-groups", "ls"]).arg(&directory).output();
        assert!(!looks.unwrap().status.success(), "to pass is not to look around");
        let_everyone_pass(&directory).unwrap();
        assert!(reads(64002, &file));
        close(&directory).unwrap();
        assert!(!reads(64002, &file) && reads(64001, &file));
    }

    #[test]
    fn what_an_older_agent_left_open_is_closed_and_a_link_is_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let (directory, link) = (top.path().join("d"), top.path().join("link"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(close(&link).is_err() && set_mode(&link, 0o700).is_err() && let_pass(&link, &user(64001)).is_err());
        assert_eq!(mode(&directory), 0o755);
        close(&directory).unwrap();
        assert_eq!(mode(&directory) & 0o067, 0, "{:o}", mode(&directory));
        set_mode(&directory, EVERYONE_PASSES).unwrap();
        assert_eq!(mode(&directory), 0o711);
    }
}
