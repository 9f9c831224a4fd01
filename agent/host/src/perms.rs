//! Owner, mode, access control list and SELinux context of one open file or directory.
//!
//! Everything here acts on a descriptor, never on a path: the caller that opened it has decided what it may be.

mod acl;
pub mod passage;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hostler_core::appspec::spec::SelinuxContext;
use hostler_core::plan::actions::{Attributes, NEW_DIRECTORY_MODE};
use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const SELINUX: &str = "security.selinux";

/// Why permissions could not be set. The caller, which opened the file, names the path.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// The kernel refused one of the settings.
    #[error("cannot set the {what}")]
    Set {
        /// "owner", "mode", "access control list" …
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The current settings could not be read.
    #[error("cannot read the {what}")]
    Read {
        /// "owner and mode", "access control list" …
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The file system has no access control lists.
    #[error("its file system has no access control lists: mount it with them, or take `acls` out of the appspec")]
    NoAcls,
    /// An access control list entry names a user or group that does not exist.
    #[error(
        "acls: there is no {kind} {name:?} on this host: create it (in BeforeInstall, for example) or correct the name"
    )]
    Unknown {
        /// "user" or "group".
        kind: &'static str,
        /// The name as written.
        name: String,
    },
    /// The user database could not be asked.
    #[error("acls: cannot look up the {kind} {name:?}")]
    LookUp {
        /// "user" or "group".
        kind: &'static str,
        /// The name as written.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Default entries are for directories.
    #[error("acls: default entries are for directories, and this is a file")]
    DefaultOnFile,
    /// Two entries for one holder.
    #[error("acls: {0} has two entries: leave one")]
    Twice(String),
    /// An entry without a name, which `mode` already covers.
    #[error("acls: an entry for {0} without a name is what `mode` is for: leave it out")]
    BaseEntry(&'static str),
}

fn set(what: &'static str) -> impl Fn(Errno) -> PermissionError {
    move |errno| PermissionError::Set { what, source: errno.into() }
}

fn read(what: &'static str) -> impl Fn(Errno) -> PermissionError {
    move |errno| PermissionError::Read { what, source: errno.into() }
}

/// Looks users and groups up by name, each once.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<(&'static str, String), u32>>,
}

impl Names {
    /// The numeric id of a user.
    ///
    /// # Errors
    /// There is no such user, or the user database cannot be asked.
    pub fn user(&self, name: &str) -> Result<u32, PermissionError> {
        self.id("user", name, |name| Ok(nix::unistd::User::from_name(name)?.map(|user| user.uid.as_raw())))
    }

    /// The numeric id of a group.
    ///
    /// # Errors
    /// There is no such group, or the group database cannot be asked.
    pub fn group(&self, name: &str) -> Result<u32, PermissionError> {
        self.id("group", name, |name| Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw())))
    }

    fn id(
        &self,
        kind: &'static str,
        name: &str,
        look_up: impl FnOnce(&str) -> nix::Result<Option<u32>>,
    ) -> Result<u32, PermissionError> {
        let key = (kind, name.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.get(&key) {
            return Ok(*id);
        }
        let found = look_up(name).map_err(|errno| PermissionError::LookUp {
            kind,
            name: name.to_owned(),
            source: errno.into(),
        })?;
        // setfacl, which the incumbent runs, takes a number if no user or group has that name.
        let id = found
            .or_else(|| name.parse().ok())
            .ok_or_else(|| PermissionError::Unknown { kind, name: name.to_owned() })?;
        known.insert(key, id);
        Ok(id)
    }
}

/// The kind of object that gets permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Sets the permissions of an open file or directory: owner first, then the mode, so that setuid survives, then the
/// access control list, then the SELinux context (only where SELinux is on).
///
/// `mode` is the object's mode if the attributes name none.
///
/// # Errors
/// The first setting that fails; those before it stay.
pub fn apply(
    file: BorrowedFd<'_>,
    object: Object,
    mode: u32,
    attributes: &Attributes,
    names: &Names,
) -> Result<(), PermissionError> {
    if attributes.uid.is_some() || attributes.gid.is_some() {
        rustix::fs::fchown(file, attributes.uid.map(Uid::from_raw), attributes.gid.map(Gid::from_raw))
            .map_err(set("owner"))?;
    }
    let mode = attributes.mode.unwrap_or(mode);
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(set("mode"))?;
    if !attributes.acls.is_empty() {
        let lists = acl::lists(&attributes.acls, mode, object, names)?;
        for (name, list) in [(ACCESS, lists.access), (DEFAULT, lists.default)] {
            if let Some(list) = list {
                rustix::fs::fsetxattr(file, name, &list, XattrFlags::empty()).map_err(|errno| match errno {
                    Errno::OPNOTSUPP => PermissionError::NoAcls,
                    errno => set("access control list")(errno),
                })?;
            }
        }
    }
    match &attributes.context {
        Some(context) if selinux_is_on() => label(file, context),
        _ => Ok(()),
    }
}

/// The mode of a new directory for which the appspec names none: 0755. If its parent has a default access control list,
/// the rights for users, groups and the mask come from that list, by its owner's will (acl(5), "Object creation and
/// default ACLs"). Other users never get more than without it. The new directory already has the list.
///
/// # Errors
/// The kernel does not give the list.
pub fn inherited_directory_mode(directory: BorrowedFd<'_>) -> Result<u32, PermissionError> {
    let list = xattr(directory, DEFAULT).map_err(read("access control list"))?;
    Ok(list.map_or(NEW_DIRECTORY_MODE, |list| acl::mode_of_new(&list, NEW_DIRECTORY_MODE)))
}

/// Sets a symbolic link's owner; nothing else of a link can be set. `link` is open with `O_PATH`.
///
/// # Errors
/// The kernel refuses.
pub fn apply_to_link(link: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), PermissionError> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(link, "", attributes.uid.map(Uid::from_raw), attributes.gid.map(Gid::from_raw), flags)
        .map_err(set("owner"))
}

/// Whether the kernel enforces or logs by SELinux.
pub fn selinux_is_on() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn label(file: BorrowedFd<'_>, context: &SelinuxContext) -> Result<(), PermissionError> {
    let current = xattr(file, SELINUX).map_err(read("SELinux context"))?.unwrap_or_default();
    let wanted = full_context(&String::from_utf8_lossy(&current), context);
    rustix::fs::fsetxattr(file, SELINUX, &wanted, XattrFlags::empty()).map_err(set("SELinux context"))
}

/// The context as the kernel takes it: parts that the appspec leaves open come from the current one.
fn full_context(current: &str, context: &SelinuxContext) -> Vec<u8> {
    let mut parts = current.trim_end_matches('\0').splitn(4, ':');
    let mut part = |other: &str| match parts.next() {
        None | Some("") => other.to_owned(),
        Some(text) => text.to_owned(),
    };
    let (user, role, _, range) = (part("system_u"), part("object_r"), part(""), part("s0"));
    let user = context.user.as_ref().unwrap_or(&user);
    let range = context.range.as_ref().unwrap_or(&range);
    format!("{user}:{role}:{}:{range}\0", context.context_type).into_bytes()
}

/// The former permissions of a directory, to be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    mode: u32,
    uid: u32,
    gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Vec<u8>>,
}

impl Recorded {
    /// The permission bits (07777).
    pub fn mode(&self) -> u32 {
        self.mode
    }
}

/// Reads everything that [`apply`] can change.
///
/// # Errors
/// The kernel does not give them.
pub fn record(file: impl AsFd) -> Result<Recorded, PermissionError> {
    let file = file.as_fd();
    let stat = rustix::fs::fstat(file).map_err(read("owner and mode"))?;
    let list = |name| xattr(file, name).map_err(read("access control list"));
    Ok(Recorded {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        access: list(ACCESS)?,
        default: list(DEFAULT)?,
        context: if selinux_is_on() { xattr(file, SELINUX).map_err(read("SELinux context"))? } else { None },
    })
}

/// Puts back what [`record`] read. If everything is as recorded it touches nothing, so that another user's directory is
/// no fault.
///
/// # Errors
/// The first setting that fails.
pub fn put_back(file: impl AsFd, recorded: &Recorded) -> Result<(), PermissionError> {
    let file = file.as_fd();
    let now = record(file)?;
    if now == *recorded {
        return Ok(());
    }
    if (now.uid, now.gid) != (recorded.uid, recorded.gid) {
        rustix::fs::fchown(file, Some(Uid::from_raw(recorded.uid)), Some(Gid::from_raw(recorded.gid)))
            .map_err(set("owner"))?;
    }
    replace(file, ACCESS, &now.access, &recorded.access).map_err(set("access control list"))?;
    replace(file, DEFAULT, &now.default, &recorded.default).map_err(set("access control list"))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(recorded.mode)).map_err(set("mode"))?;
    replace(file, SELINUX, &now.context, &recorded.context).map_err(set("SELinux context"))
}

fn replace(file: BorrowedFd<'_>, name: &str, now: &Option<Vec<u8>>, wanted: &Option<Vec<u8>>) -> Result<(), Errno> {
    match wanted {
        _ if now == wanted => Ok(()),
        Some(value) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
        None => rustix::fs::fremovexattr(file, name),
    }
}

/// An extended attribute; `None` if it is not set or the file system has none.
fn xattr(file: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut room = vec![0_u8; 1024];
    loop {
        match rustix::fs::fgetxattr(file, name, &mut room[..]) {
            Ok(length) => {
                room.truncate(length);
                return Ok(Some(room));
            }
            // The kernel's own bound of an attribute is 64 KiB.
            Err(Errno::RANGE) if room.len() < 1 << 16 => room.resize(1 << 16, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests;
