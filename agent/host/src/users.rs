//! Users and groups of this host, by the system's own lookup (NSS), so that directory services count too.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hostler_core::hook::DEFAULT_PATH;
use nix::unistd::{Gid, Uid};

pub use hostler_core::hook::User;

/// Why a user cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user has this name.
    #[error("there is no user {name:?} on this host; create it before, or name another one")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The user database did not answer.
    #[error("cannot look up user {name:?}")]
    Lookup {
        /// The name that was asked for.
        name: String,
        /// The database's error.
        #[source]
        source: nix::Error,
    },
}

/// Finds a user by name, or by number where no user has that name.
///
/// A number needs no entry in the user database: without one it is its own group, as containers use it.
///
/// # Errors
/// [`UserError::Unknown`] for a name that no user has, [`UserError::Lookup`] when the database fails.
pub fn lookup(name: &str) -> Result<User, UserError> {
    let failed = |source| UserError::Lookup { name: name.to_owned(), source };
    if let Some(user) = nix::unistd::User::from_name(name).map_err(failed)? {
        return with_groups(user).map_err(failed);
    }
    // The last number is -1, which means "leave as it is" to setuid's relatives.
    match name.parse::<u32>() {
        Ok(uid) if uid != u32::MAX && name.bytes().all(|b| b.is_ascii_digit()) => by_id(uid).map_err(failed),
        _ => Err(UserError::Unknown { name: name.to_owned() }),
    }
}

/// The user that this process runs as (effective).
///
/// # Errors
/// [`UserError::Lookup`] when the database fails.
pub fn current() -> Result<User, UserError> {
    let uid = Uid::effective().as_raw();
    by_id(uid).map_err(|source| UserError::Lookup { name: uid.to_string(), source })
}

/// The effective user id of this process.
pub fn own_uid() -> u32 {
    Uid::effective().as_raw()
}

/// A user in words, for logs and the history: the name, or the number if the user has no name.
pub fn describe(uid: u32) -> String {
    by_id(uid).map_or_else(|_| format!("user {uid}"), |user| format!("user {}", user.name))
}

/// Whether a user belongs to a group; false if one of the two does not exist.
pub fn is_member(uid: u32, group: &str) -> bool {
    let Ok(Some(group)) = nix::unistd::Group::from_name(group) else { return false };
    by_id(uid).is_ok_and(|user| user.groups.contains(&group.gid.as_raw()))
}

/// The group whose members may ask the daemon for anything that root may, and read the output of hooks.
pub const SERVICE_GROUP: &str = "hostler";

/// How long the answer about the service group is used. A package makes the group before it starts the daemon.
const GROUP_AGE: Duration = Duration::from_secs(10);

/// The number of [`SERVICE_GROUP`]; `None` if the group does not exist.
///
/// It is asked for with every directory and log of a deployment, and for a group that is missing the system looks
/// through a dozen directories; so an answer is used for ten seconds.
pub fn service_group() -> Option<u32> {
    static ANSWER: Mutex<Option<(Instant, Option<u32>)>> = Mutex::new(None);
    let mut answer = ANSWER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, group)) = *answer
        && at.elapsed() < GROUP_AGE
    {
        return group;
    }
    let group = group_id(SERVICE_GROUP);
    *answer = Some((Instant::now(), group));
    group
}

/// Whether a group of this name exists.
pub fn group_exists(name: &str) -> bool {
    group_id(name).is_some()
}

/// The number of a group; `None` if the group does not exist.
pub fn group_id(name: &str) -> Option<u32> {
    Some(nix::unistd::Group::from_name(name).ok()??.gid.as_raw())
}

/// Whether a program exists, by its path or by its name in the search path of hooks.
pub fn program_exists(name: &str) -> bool {
    if name.contains('/') {
        return is_program(Path::new(name));
    }
    DEFAULT_PATH.split(':').any(|directory| is_program(&Path::new(directory).join(name)))
}

/// Whether a path has an executable file.
pub fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn by_id(uid: u32) -> nix::Result<User> {
    match nix::unistd::User::from_uid(Uid::from_raw(uid))? {
        Some(user) => with_groups(user),
        None => Ok(User {
            name: uid.to_string(),
            uid,
            gid: uid,
            groups: vec![uid],
            home: PathBuf::from("/"),
            shell: PathBuf::from("/bin/sh"),
        }),
    }
}

fn with_groups(user: nix::unistd::User) -> nix::Result<User> {
    let login = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    let groups = nix::unistd::getgrouplist(&login, user.gid)?;
    Ok(User {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        home: user.dir,
        shell: if user.shell.as_os_str().is_empty() { PathBuf::from("/bin/sh") } else { user.shell },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = lookup("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0), "{root:?}");
        assert_eq!(lookup("0").unwrap(), root);
    }

    #[test]
    fn a_number_without_an_entry_is_its_own_group() {
        let user = lookup("3987654321").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (3_987_654_321, 3_987_654_321, vec![3_987_654_321]));
    }

    #[test]
    fn what_is_nobody_is_refused_by_name() {
        for name in ["no-such-user", "", "-1", "+5", "4294967295", "4294967296", "ro\0ot"] {
            let error = lookup(name).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{name:?}: {error}");
        }
    }
}
