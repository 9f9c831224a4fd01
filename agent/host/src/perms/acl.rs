//! POSIX access control lists in the kernel's extended-attribute form (linux/posix_acl_xattr.h): a version word, then
//! entries of tag, permissions and id, all little-endian, ordered by tag and id.

use hostler_core::appspec::spec::{AclEntry, AclTag};

use super::{Names, Object, PermissionError};

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The values of the two attributes; `None` leaves the attribute as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lists {
    pub access: Option<Vec<u8>>,
    pub default: Option<Vec<u8>>,
}

/// The lists that the appspec's entries mean for one object of this mode (docs/protocols/codedeploy.md#permissions):
/// base entries come from the mode. If an entry names a user or group and no entry gives a mask, the mask is the
/// group's bits. A default list takes the base entries that it lacks from the mode as well, and its mask from its own
/// group entry.
pub(super) fn lists(entries: &[AclEntry], mode: u32, object: Object, names: &Names) -> Result<Lists, PermissionError> {
    let (default, access): (Vec<&AclEntry>, Vec<&AclEntry>) = entries.iter().partition(|entry| entry.default);
    if object == Object::File && !default.is_empty() {
        return Err(PermissionError::DefaultOnFile);
    }
    for entry in &access {
        match entry.tag {
            AclTag::UserOwner => return Err(PermissionError::BaseEntry("the owner")),
            AclTag::GroupOwner => return Err(PermissionError::BaseEntry("the group")),
            AclTag::Other => return Err(PermissionError::BaseEntry("others")),
            AclTag::User(_) | AclTag::Group(_) | AclTag::Mask => {}
        }
    }
    let list = |entries: Vec<&AclEntry>| match entries.is_empty() {
        true => Ok(None),
        false => complete(entries, mode, names).map(Some),
    };
    Ok(Lists { access: list(access)?, default: list(default)? })
}

fn complete(given: Vec<&AclEntry>, mode: u32, names: &Names) -> Result<Vec<u8>, PermissionError> {
    let mut list: Vec<(u16, u32, u16)> = Vec::with_capacity(given.len() + 4);
    for entry in given {
        let (tag, id) = match &entry.tag {
            AclTag::UserOwner => (USER_OBJ, NO_ID),
            AclTag::User(name) => (USER, names.user(name)?),
            AclTag::GroupOwner => (GROUP_OBJ, NO_ID),
            AclTag::Group(name) => (GROUP, names.group(name)?),
            AclTag::Mask => (MASK, NO_ID),
            AclTag::Other => (OTHER, NO_ID),
        };
        if list.iter().any(|known| (known.0, known.1) == (tag, id)) {
            return Err(PermissionError::Twice(holder(&entry.tag)));
        }
        list.push((tag, id, u16::from(entry.permissions & 7)));
    }
    for (tag, shift) in [(USER_OBJ, 6), (GROUP_OBJ, 3), (OTHER, 0)] {
        if find(&list, tag).is_none() {
            // Three bits always fit.
            list.push((tag, NO_ID, (mode >> shift & 7) as u16));
        }
    }
    let named = find(&list, USER).is_some() || find(&list, GROUP).is_some();
    if named && find(&list, MASK).is_none() {
        let group = find(&list, GROUP_OBJ).unwrap_or_default();
        list.push((MASK, NO_ID, group));
    }
    Ok(encoded(list))
}

fn encoded(mut list: Vec<(u16, u32, u16)>) -> Vec<u8> {
    list.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in list {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn decoded(bytes: &[u8]) -> Vec<(u16, u32, u16)> {
    let entries = bytes.get(size_of_val(&VERSION)..).unwrap_or_default().as_chunks::<8>().0;
    let entry = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
        (u16::from_le_bytes([*a, *b]), u32::from_le_bytes([*e, *f, *g, *h]), u16::from_le_bytes([*c, *d]))
    };
    entries.iter().map(entry).collect()
}

/// A directory's list, or the list of its mode if it has none, with the right to pass for this user. The mask admits
/// that and no more than before.
pub(super) fn admitting(list: Option<&[u8]>, mode: u32, uid: u32) -> Vec<u8> {
    const PASS: u16 = 1;
    let mut entries = list.map(decoded).unwrap_or_default();
    for (tag, shift) in [(USER_OBJ, 6), (GROUP_OBJ, 3), (OTHER, 0)] {
        if find(&entries, tag).is_none() {
            entries.push((tag, NO_ID, (mode >> shift & 7) as u16));
        }
    }
    if find(&entries, MASK).is_none() {
        let group = find(&entries, GROUP_OBJ).unwrap_or_default();
        entries.push((MASK, NO_ID, group));
    }
    if !entries.iter().any(|entry| (entry.0, entry.1) == (USER, uid)) {
        entries.push((USER, uid, 0));
    }
    for entry in entries.iter_mut().filter(|entry| entry.0 == MASK || (entry.0, entry.1) == (USER, uid)) {
        entry.2 |= PASS;
    }
    encoded(entries)
}

/// The mode of a directory that is made below a default list, where it would be `mode` without one: the group's bits,
/// which are the mask of its access list, are the list's; others get no more than either says.
pub(super) fn mode_of_new(default: &[u8], mode: u32) -> u32 {
    let list = decoded(default);
    let group = find(&list, MASK).or(find(&list, GROUP_OBJ)).map_or(mode >> 3 & 7, u32::from);
    let others = find(&list, OTHER).map_or(mode & 7, |others| mode & u32::from(others) & 7);
    mode & !0o077 | (group & 7) << 3 | others
}

fn find(list: &[(u16, u32, u16)], tag: u16) -> Option<u16> {
    list.iter().find(|entry| entry.0 == tag).map(|entry| entry.2)
}

fn holder(tag: &AclTag) -> String {
    match tag {
        AclTag::UserOwner => "the owner".to_owned(),
        AclTag::User(name) => format!("user {name:?}"),
        AclTag::GroupOwner => "the group".to_owned(),
        AclTag::Group(name) => format!("group {name:?}"),
        AclTag::Mask => "the mask".to_owned(),
        AclTag::Other => "others".to_owned(),
    }
}
