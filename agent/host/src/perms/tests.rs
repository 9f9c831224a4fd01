use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use hostler_core::appspec::spec::{AclEntry, AclTag};

use super::*;
use crate::test_support::skip;

fn entry(default: bool, tag: AclTag, permissions: u8) -> AclEntry {
    AclEntry { default, tag, permissions }
}

fn user(name: &str) -> AclTag {
    AclTag::User(name.to_owned())
}

/// The list as (tag, permissions, id).
fn decoded(bytes: &[u8]) -> Vec<(u16, u16, u32)> {
    assert_eq!(bytes[..4], 2_u32.to_le_bytes());
    bytes[4..]
        .chunks(8)
        .map(|e| {
            (
                u16::from_le_bytes([e[0], e[1]]),
                u16::from_le_bytes([e[2], e[3]]),
                u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
            )
        })
        .collect()
}

#[test]
fn a_named_entry_is_cut_by_the_groups_bits_unless_a_mask_is_given() {
    let names = Names::default();
    let lists = acl::lists(&[entry(false, user("root"), 6)], 0o644, Object::File, &names).unwrap();
    let none = u32::MAX;
    let expected = vec![(1, 6, none), (2, 6, 0), (4, 4, none), (0x10, 4, none), (0x20, 4, none)];
    assert_eq!(decoded(&lists.access.unwrap()), expected);
    assert_eq!(lists.default, None);

    let given = [entry(false, AclTag::Mask, 7), entry(false, user("root"), 6)];
    let lists = acl::lists(&given, 0o640, Object::File, &names).unwrap();
    let expected = vec![(1, 6, none), (2, 6, 0), (4, 4, none), (0x10, 7, none), (0x20, 0, none)];
    assert_eq!(decoded(&lists.access.unwrap()), expected);

    // The mask of one object is not reused for the next.
    let lists = acl::lists(&[entry(false, user("root"), 6)], 0o600, Object::File, &names).unwrap();
    assert!(decoded(&lists.access.unwrap()).contains(&(0x10, 0, none)));
}

#[test]
fn a_default_list_is_completed_from_the_mode_and_masked_by_its_own_group() {
    let names = Names::default();
    let given = [entry(true, user("root"), 7), entry(true, AclTag::GroupOwner, 1)];
    let lists = acl::lists(&given, 0o750, Object::Directory, &names).unwrap();
    let none = u32::MAX;
    assert_eq!(lists.access, None);
    let expected = vec![(1, 7, none), (2, 7, 0), (4, 1, none), (0x10, 1, none), (0x20, 0, none)];
    assert_eq!(decoded(&lists.default.unwrap()), expected);
}

#[test]
fn lists_that_cannot_be_meant_are_refused_by_name() {
    let names = Names::default();
    let refused = |given: &[AclEntry], object| acl::lists(given, 0o644, object, &names).unwrap_err().to_string();
    assert!(refused(&[entry(true, user("root"), 7)], Object::File).contains("default entries are for directories"));
    assert!(
        refused(&[entry(false, user("root"), 7), entry(false, user("root"), 1)], Object::File)
            .contains("user \"root\" has two entries")
    );
    assert!(refused(&[entry(false, AclTag::Other, 7)], Object::File).contains("without a name"));
    let unknown = refused(&[entry(false, user("no-such-user-here"), 7)], Object::File);
    assert!(unknown.contains("no user \"no-such-user-here\""), "{unknown}");
}

#[test]
fn setuid_survives_an_owner_and_everything_is_put_back() {
    if !nix::unistd::geteuid().is_root() {
        skip("giving a file to somebody else takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let file = File::open(&path).unwrap();
    let attributes = Attributes { mode: Some(0o4755), uid: Some(12), gid: Some(34), ..Attributes::default() };
    apply(file.as_fd(), Object::File, 0o600, &attributes, &Names::default()).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!((meta.permissions().mode() & 0o7777, meta.uid(), meta.gid()), (0o4755, 12, 34));

    let path = dir.path().join("directory");
    std::fs::create_dir(&path).unwrap();
    let file = File::open(&path).unwrap();
    let before = record(&file).unwrap();
    let attributes = Attributes {
        mode: Some(0o2750),
        uid: Some(12),
        acls: vec![entry(false, user("root"), 7), entry(true, user("root"), 5)],
        ..Attributes::default()
    };
    match apply(file.as_fd(), Object::Directory, 0o755, &attributes, &Names::default()) {
        Err(PermissionError::NoAcls) => {
            skip(format_args!("no access control lists in {}", path.display()));
            return;
        }
        other => other.unwrap(),
    }
    let changed = record(&file).unwrap();
    assert!(changed.access.is_some() && changed.default.is_some() && changed.mode() == 0o2750, "{changed:?}");
    put_back(&file, &before).unwrap();
    assert_eq!(record(&file).unwrap(), before);
}

#[test]
fn an_selinux_context_keeps_what_the_appspec_leaves_open() {
    let context = |user: Option<&str>, range: Option<&str>| SelinuxContext {
        user: user.map(str::to_owned),
        context_type: "httpd_sys_content_t".to_owned(),
        range: range.map(str::to_owned),
    };
    let full = |current, context| String::from_utf8(full_context(current, &context)).unwrap();
    let current = "unconfined_u:object_r:var_t:s0:c1,c2\0";
    assert_eq!(full(current, context(None, None)), "unconfined_u:object_r:httpd_sys_content_t:s0:c1,c2\0");
    assert_eq!(full(current, context(Some("u"), Some("s1"))), "u:object_r:httpd_sys_content_t:s1\0");
    assert_eq!(full("", context(None, None)), "system_u:object_r:httpd_sys_content_t:s0\0");
}

#[test]
fn a_default_list_decides_the_groups_bits_of_a_new_directory() {
    let list = |given: &[AclEntry]| {
        let names = Names::default();
        acl::lists(given, 0o755, Object::Directory, &names).unwrap().default.unwrap()
    };
    let base = |tag, permissions| AclEntry { default: true, tag, permissions };
    let named = entry(true, user("root"), 7);
    // (the list's entries, the mode)
    let cases = [
        // Without a mask of its own, the list's mask is its group's bits.
        (vec![named.clone(), base(AclTag::GroupOwner, 5)], 0o755),
        (vec![named.clone(), base(AclTag::Mask, 7)], 0o775),
        (vec![named, base(AclTag::Mask, 7), base(AclTag::Other, 0)], 0o770),
        (vec![base(AclTag::GroupOwner, 7), base(AclTag::Other, 7)], 0o775),
    ];
    for (given, mode) in cases {
        assert_eq!(acl::mode_of_new(&list(&given), 0o755), mode, "{given:?}");
    }
}
