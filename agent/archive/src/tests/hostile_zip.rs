use std::fs;

use hostler_core::bundle::EntryKind;
use hostler_core::limits::Limits;

use super::support::{Room, ZipEntry, read, small_limits, zip};
use crate::{ArchiveError, EntryProblem, Place, UnpackOptions};

fn file(name: &str, content: &[u8]) -> ZipEntry {
    ZipEntry::stored(name, 0o100644, content)
}

fn link(name: &str, target: &str) -> ZipEntry {
    ZipEntry::stored(name, 0o120777, target.as_bytes())
}

fn refused(entries: &[ZipEntry], entry: &str) -> EntryProblem {
    Room::new().refusal(&zip(entries), entry)
}

fn damaged_at_the_end(bytes: &[u8]) {
    match Room::new().unpack(bytes) {
        Err(ArchiveError::Damaged { place: Place::End, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_zip_is_unpacked() {
    let room = Room::new();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let listing = room
        .unpack(&zip(&[
            ZipEntry::stored("d/", 0o040750, b""),
            ZipEntry::stored("d/run.sh", 0o100755, b"#!/bin/sh\n"),
            ZipEntry::deflated("d/large", &large),
            file("stored-large", &large),
            link("current", "/srv/x"),
            ZipEntry { system: 0, ..file("from-windows", b"w") },
        ]))
        .unwrap();
    assert_eq!(fs::read(room.destination().join("d/large")).unwrap(), large);
    assert_eq!(fs::read(room.destination().join("stored-large")).unwrap(), large);
    assert_eq!(listing.get("d/run.sh".as_ref()).unwrap().mode, 0o755);
    assert_eq!(listing.get("from-windows".as_ref()).unwrap().mode, 0o644);
    assert_eq!(listing.get("current".as_ref()).unwrap().kind, EntryKind::Symlink { target: "/srv/x".into() });
    assert_eq!(crate::list(&room.destination()).unwrap(), listing);
}

#[test]
fn names_and_kinds_are_held_to_the_policy() {
    assert_eq!(refused(&[file("/../x", b"")], "/../x"), EntryProblem::ParentComponent);
    assert_eq!(refused(&[file("../x", b"")], "../x"), EntryProblem::ParentComponent);
    assert_eq!(refused(&[ZipEntry { system: 0, ..file("a\\b", b"") }], "a\\b"), EntryProblem::Backslashes);
    assert_eq!(refused(&[ZipEntry { name: b"\xe9".to_vec(), ..file("", b"") }], "\u{fffd}"), EntryProblem::NotUtf8);
    assert_eq!(refused(&[ZipEntry::stored("x", 0o104755, b"")], "x"), EntryProblem::Setuid);
    for mode in [0o010644, 0o020644, 0o060644, 0o140644] {
        assert!(matches!(refused(&[ZipEntry::stored("x", mode, b"")], "x"), EntryProblem::Unsupported { .. }));
    }
    let content = ZipEntry::stored("d/", 0o040755, b"content");
    assert!(matches!(refused(&[content], "d/"), EntryProblem::Unsupported { .. }));
}

#[test]
fn nothing_lies_below_a_link_whatever_the_order() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for entries in [[link("a", target), file("a/x", b"")], [file("a/x", b""), link("a", target)]] {
        // Sorted, the link comes first; as a directory it comes twice.
        let problem = refused(&entries, "a/x");
        assert!(matches!(problem, EntryProblem::BelowNonDirectory { .. }), "{problem:?}");
    }
    let twice = refused(&[link("a", target), file("a", b"")], "a");
    assert!(matches!(twice, EntryProblem::KindChanges { .. }));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let room = Room::new();
    room.unpack(&zip(&[file("a", b"first"), file("a", b"last")])).unwrap();
    assert_eq!(read(&room, "a"), "last");
}

#[test]
fn lies_about_size_and_checksum_are_found() {
    let honest = ZipEntry::deflated("x", &[7; 100_000]);
    assert_eq!(refused(&[ZipEntry { crc: 1, ..honest.clone() }], "x"), EntryProblem::Crc);
    for size in [99_999, 100_001, 0] {
        let lie = ZipEntry { size, ..honest.clone() };
        assert_eq!(refused(&[lie], "x"), EntryProblem::Size { expected: size.into() });
    }
    assert_eq!(refused(&[ZipEntry { size: 4, ..file("x", b"12345") }], "x"), EntryProblem::Size { expected: 4 });
    let mut cut = honest.clone();
    cut.data.truncate(cut.data.len() / 2);
    assert!(matches!(refused(&[cut], "x"), EntryProblem::Compressed { .. }));
    let mut longer = honest.clone();
    longer.data.push(0);
    assert!(matches!(refused(&[longer], "x"), EntryProblem::Compressed { .. }));
    let garbage = ZipEntry { data: vec![0xff; 50], ..honest };
    assert!(matches!(refused(&[garbage], "x"), EntryProblem::Compressed { .. }));
}

#[test]
fn the_two_headers_must_agree() {
    let disagree = |entry: ZipEntry| {
        let problem = refused(&[file("a", b"1"), entry], "x");
        assert!(matches!(problem, EntryProblem::HeadersDisagree { .. }), "{problem:?}");
    };
    disagree(ZipEntry { local_name: Some(b"y".to_vec()), ..file("x", b"") });
    let mut signature = zip(&[file("a", b"1"), file("x", b"")]);
    signature[33] ^= 8;
    let problem = Room::new().refusal(&signature, "x");
    assert!(matches!(problem, EntryProblem::HeadersDisagree { .. }), "{problem:?}");
    // A directory has no content, but its headers are compared too.
    let directory = ZipEntry::stored("d/", 0o040755, b"");
    let problem = refused(&[ZipEntry { local_name: Some(b"e/".to_vec()), ..directory }], "d");
    assert!(matches!(problem, EntryProblem::HeadersDisagree { .. }), "{problem:?}");
    // In the local header of the only entry: flags 6, method 8, CRC 14, compressed size 18, size 22.
    for at in [7, 8, 14, 18, 22] {
        let mut bytes = zip(&[file("x", b"12345")]);
        bytes[at] ^= 8;
        let problem = Room::new().refusal(&bytes, "x");
        assert!(matches!(problem, EntryProblem::HeadersDisagree { .. }), "{at}: {problem:?}");
    }
}

#[test]
fn encryption_other_methods_and_shared_data_are_refused() {
    for flag in [1, 1 << 6, 1 << 13] {
        assert_eq!(refused(&[ZipEntry { flags: flag, ..file("x", b"") }], "x"), EntryProblem::Encrypted);
    }
    for method in [1, 9, 12, 14, 93, 99] {
        assert_eq!(refused(&[ZipEntry { method, ..file("x", b"") }], "x"), EntryProblem::Method { method });
    }
    let shared = [file("x", b"12345"), ZipEntry { offset: Some(0), ..file("x", b"12345") }];
    assert_eq!(refused(&shared, "x"), EntryProblem::Overlap);
    // A whole local file inside the content of another, as in an overlapping bomb.
    let inner = zip(&[file("inner", b"1")]);
    let nested = [file("outer", &inner), ZipEntry { offset: Some(35), ..file("inner", b"1") }];
    assert_eq!(refused(&nested, "outer"), EntryProblem::Overlap);
}

#[test]
fn the_end_record_is_held_to_the_file() {
    let good = zip(&[file("x", b"12345")]);
    let end = good.len() - 22;
    let mut trailing = good.clone();
    trailing.push(1);
    match Room::new().unpack(&trailing) {
        Err(ArchiveError::Trailing { what: "zip archive", .. }) => {}
        other => panic!("{other:?}"),
    }
    for (at, value) in [(4, 1), (6, 1), (10, 2)] {
        let mut bytes = good.clone();
        bytes[end + at] = value;
        damaged_at_the_end(&bytes);
    }
    let mut comment = good.clone();
    comment[end + 20] = 3;
    comment.extend_from_slice(b"abc");
    Room::new().unpack(&comment).unwrap();
}

#[test]
fn bombs_are_seen_in_the_table_of_contents() {
    let bomb = zip(&[file("small", b"x"), ZipEntry::deflated("bomb", &vec![0; 10 << 20])]);
    let error = Room::new().unpack_with(&bomb, &small_limits()).unwrap_err();
    assert!(matches!(&error, ArchiveError::TooLarge { entry: Some(entry), .. } if entry == "bomb"), "{error}");
    let count = UnpackOptions { limits: Limits { entries: 1, ..Limits::default() }, ..Default::default() };
    assert!(Room::new().unpack_with(&bomb, &count).unwrap_err().to_string().contains("\"bomb\""));
}

#[test]
fn all_paths_are_bounded_together_with_targets_and_unnamed_directories() {
    for (entries, all_path_bytes) in [
        (vec![file("four", b""), file("more", b"")], 8),
        (vec![link("four", "target")], 10),
        (vec![file("a/b/five5", b""), file("a/b/six66", b"")], 9 + 9 + 1 + 3),
    ] {
        let limits = Limits { all_path_bytes, ..Limits::default() };
        let less = Limits { all_path_bytes: all_path_bytes - 1, ..limits.clone() };
        let options = |limits| UnpackOptions { limits, ..UnpackOptions::default() };
        Room::new().unpack_with(&zip(&entries), &options(limits)).unwrap();
        let error = Room::new().unpack_with(&zip(&entries), &options(less)).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn link_targets_are_bounded_and_text() {
    assert!(matches!(refused(&[link("x", "")], "x"), EntryProblem::LinkTarget { .. }));
    assert!(matches!(refused(&[link("x", "a\0b")], "x"), EntryProblem::LinkTarget { .. }));
    assert!(matches!(refused(&[link("x", &"a".repeat(5000))], "x"), EntryProblem::LinkTarget { .. }));
}
