use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use hostler_core::bundle::EntryKind;
use hostler_core::limits::Limits;
use tar::EntryType;

use super::support::{Room, Tar, read, small_limits, snapshot};
use crate::{ArchiveError, EntryProblem, Place, UnpackOptions};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn names_that_lead_out_are_refused() {
    let room = Room::new();
    assert_eq!(room.refusal(&Tar::default().file("/../x", b"").end(), "/../x"), EntryProblem::ParentComponent);
    assert_eq!(room.refusal(&Tar::default().file("a/../../x", b"").end(), "a/../../x"), EntryProblem::ParentComponent);
    assert_eq!(room.refusal(&Tar::default().directory("../").end(), "../"), EntryProblem::ParentComponent);
}

#[test]
fn nothing_is_written_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let room = Room::new();
    let through = |tar: Tar| {
        let problem = room.refusal(&tar.end(), "link/x");
        assert!(matches!(problem, EntryProblem::BelowNonDirectory { .. }), "{problem:?}");
    };
    for link in [target, ".", "a", "/"] {
        through(Tar::default().directory("a").symlink("link", link).file("link/x", b"evil"));
    }
    // A plain file above is no better, and neither is a link to a link.
    through(Tar::default().file("link", b"").file("link/x", b""));
    through(Tar::default().symlink("other", target).symlink("link", "other").file("link/x", b""));
    // A file with the link's own name does not go through it, either.
    let problem = room.refusal(&Tar::default().symlink("link", &format!("{target}/x")).file("link", b"").end(), "link");
    assert!(matches!(problem, EntryProblem::KindChanges { .. }));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_link_that_leads_out_is_content() {
    let room = Room::new();
    let tar = Tar::default().symlink("current", "/srv/x").symlink("up", "../..").file("appspec.yml", b"version");
    let listing = room.unpack(&tar.end()).unwrap();
    assert_eq!(fs::read_link(room.destination().join("current")).unwrap().to_str(), Some("/srv/x"));
    let kind = &listing.get("current".as_ref()).unwrap().kind;
    assert_eq!(kind, &EntryKind::Symlink { target: "/srv/x".into() });
}

#[test]
fn hard_links_reach_only_earlier_files_of_the_bundle() {
    let room = Room::new();
    let good = Tar::default().file("a/b", b"content").hard_link("c/d", "./a/b").symlink("s", "/x").hard_link("t", "s");
    let listing = room.unpack(&good.end()).unwrap();
    assert_eq!(read(&room, "c/d"), "content");
    assert_eq!(listing.get("c/d".as_ref()).unwrap().kind, EntryKind::File { size: 7 });
    assert_eq!(listing.get("t".as_ref()).unwrap().kind, EntryKind::Symlink { target: "/x".into() });

    let outside = tempfile::NamedTempFile::new().unwrap();
    let directory = outside.path().parent().unwrap().to_str().unwrap();
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    let cases = [
        Tar::default().hard_link("link", outside.path().to_str().unwrap()),
        Tar::default().hard_link("link", "../../../../../etc/passwd"),
        Tar::default().symlink("s", directory).hard_link("link", &format!("s/{name}")),
        Tar::default().hard_link("link", "later").file("later", b""),
        Tar::default().file("file", b"").hard_link("link", "file/below"),
        Tar::default().directory("d").hard_link("link", "d"),
        Tar::default().hard_link("link", "missing/below"),
        Tar::default().hard_link("link", "link"),
        Tar::default().hard_link("link", ""),
    ];
    for (number, tar) in cases.into_iter().enumerate() {
        let room = Room::new();
        let problem = room.refusal(&tar.end(), "link");
        assert!(matches!(problem, EntryProblem::HardLink { .. }), "case {number}: {problem:?}");
    }
    assert_eq!(fs::metadata(outside.path()).unwrap().nlink(), 1);
}

#[test]
fn writing_a_name_again_does_not_write_into_its_hard_link() {
    let room = Room::new();
    let tar = Tar::default().file("a", b"first").hard_link("b", "a").file("a", b"second");
    let listing = room.unpack(&tar.end()).unwrap();
    assert_eq!((read(&room, "a").as_str(), read(&room, "b").as_str()), ("second", "first"));
    assert_eq!(listing.entries().len(), 2);
    assert_eq!(listing.get("a".as_ref()).unwrap().kind, EntryKind::File { size: 6 });
}

#[test]
fn the_last_of_equal_names_counts_and_kinds_must_agree() {
    let room = Room::new();
    let tar = Tar::default().symlink("s", "one").symlink("s", "two").directory("d").file("d/x", b"").directory("d/");
    let listing = room.unpack(&tar.end()).unwrap();
    assert_eq!(listing.get("s".as_ref()).unwrap().kind, EntryKind::Symlink { target: "two".into() });

    let room = Room::new();
    for (tar, entry) in [
        (Tar::default().file("x", b"").directory("x"), "x"),
        (Tar::default().directory("x").file("x", b""), "x"),
        (Tar::default().directory("x").symlink("x", "y"), "x"),
        (Tar::default().symlink("x", "y").directory("x"), "x"),
        (Tar::default().file("x/y", b"").file("x", b""), "x"),
        (Tar::default().file("a", b"").symlink("x", "y").hard_link("x", "a"), "x"),
    ] {
        let problem = room.refusal(&tar.end(), entry);
        assert!(matches!(problem, EntryProblem::KindChanges { .. }), "{problem:?}");
    }
}

#[test]
fn case_and_unicode_twins_are_different_files() {
    let room = Room::new();
    let tar = Tar::default().file("README", b"1").file("readme", b"2").file("\u{e9}", b"3").file("e\u{301}", b"4");
    assert_eq!(room.unpack(&tar.end()).unwrap().entries().len(), 4);
    assert_eq!((read(&room, "README").as_str(), read(&room, "e\u{301}").as_str()), ("1", "4"));
}

#[test]
fn special_files_and_setuid_are_refused() {
    let room = Room::new();
    for kind in [EntryType::Fifo, EntryType::Char, EntryType::Block, EntryType::new(b'D'), EntryType::new(b'M')] {
        let problem = room.refusal(&Tar::default().entry(kind, "x", "", 0o644, b"").end(), "x");
        assert!(matches!(problem, EntryProblem::Unsupported { .. }), "{problem:?}");
    }
    for mode in [0o4755, 0o2755, 0o6755] {
        let tar = Tar::default().entry(EntryType::Regular, "x", "", mode, b"").end();
        assert_eq!(room.refusal(&tar, "x"), EntryProblem::Setuid);
        let options = UnpackOptions { allow_setuid: true, ..UnpackOptions::default() };
        let room = Room::new();
        assert_eq!(room.unpack_with(&tar, &options).unwrap().entries()[0].mode, mode);
        let mode_on_disk = fs::metadata(room.destination().join("x")).unwrap().permissions().mode();
        assert_eq!(mode_on_disk & 0o7777, mode);
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let mut tar = Tar::default().file("ab", b"");
    tar.bytes[1] = 0xff;
    let mut header = tar::Header::from_byte_slice(&tar.bytes[..512]).clone();
    header.set_cksum();
    tar.bytes[..512].copy_from_slice(header.as_bytes());
    assert_eq!(Room::new().refusal(&tar.end(), "a\u{fffd}"), EntryProblem::NotUtf8);
}

#[test]
fn bombs_end_at_the_ratio_the_total_and_the_count() {
    let zeros = vec![0; 1 << 20];
    let packed = gzip(&Tar::default().file("small", b"x").file("bomb", &zeros).end());
    let error = Room::new().unpack_with(&packed, &small_limits()).unwrap_err();
    assert!(matches!(&error, ArchiveError::TooLarge { entry: Some(entry), .. } if entry == "bomb"), "{error}");

    let total = UnpackOptions { limits: Limits { unpacked_bytes: 1 << 19, ..Limits::default() }, ..Default::default() };
    let error = Room::new().unpack_with(&packed, &total).unwrap_err();
    assert!(error.to_string().contains("\"bomb\"") && error.to_string().contains("524288"), "{error}");

    // A bomb in the padding after the end mark.
    let mut padding = Tar::default().file("small", b"x").end();
    padding.resize(1 << 22, 0);
    assert!(matches!(Room::new().unpack_with(&gzip(&padding), &small_limits()), Err(ArchiveError::TooLarge { .. })));

    let count = UnpackOptions { limits: Limits { entries: 2, ..Limits::default() }, ..Default::default() };
    let three = Tar::default().file("a", b"").file("b", b"").file("c", b"").end();
    let error = Room::new().unpack_with(&three, &count).unwrap_err();
    assert!(error.to_string().contains("\"c\""), "{error}");

    let stored = UnpackOptions { limits: Limits { bundle_bytes: 100, ..Limits::default() }, ..Default::default() };
    assert!(Room::new().unpack_with(&three, &stored).unwrap_err().to_string().contains("limit of 100"));
}

#[test]
fn all_paths_are_bounded_together_with_targets_and_unnamed_directories() {
    let most = |all_path_bytes| UnpackOptions {
        limits: Limits { all_path_bytes, ..Limits::default() },
        ..UnpackOptions::default()
    };
    for (tar, bytes) in [
        (Tar::default().file("four", b"").file("more", b""), 8),
        (Tar::default().symlink("four", "target"), 10),
        (Tar::default().symlink("four", "target").hard_link("more", "four"), 20),
        (Tar::default().file("a/b/five5", b""), 9 + 1 + 3),
    ] {
        let tar = tar.end();
        Room::new().unpack_with(&tar, &most(bytes)).unwrap();
        let error = Room::new().unpack_with(&tar, &most(bytes - 1)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{bytes} bytes")) && text.contains(&format!("{}", bytes - 1)), "{text}");
    }
}

#[test]
fn a_header_may_not_promise_what_does_not_come() {
    let mut tar = Tar::default().file("first", b"1").file("liar", b"12345");
    let mut header = tar::Header::from_byte_slice(&tar.bytes[1024..1536]).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    tar.bytes[1024..1536].copy_from_slice(header.as_bytes());
    let error = Room::new().unpack(&tar.end()).unwrap_err();
    assert!(error.to_string().contains("\"liar\""), "{error}");
}

#[test]
fn corrupt_headers_and_what_follows_the_end_are_refused() {
    let after = |name: &str| Place::After(name.to_owned());
    let place = |bytes: &[u8]| match Room::new().unpack(bytes) {
        Err(ArchiveError::Damaged { place, .. }) => place,
        other => panic!("{other:?}"),
    };
    let good = Tar::default().file("a", b"1").file("b", b"2").end();
    let mut corrupt = good.clone();
    corrupt[1024] ^= 1;
    assert_eq!(place(&corrupt), after("a"));

    let trailing = |bytes: &[u8]| match Room::new().unpack(bytes) {
        Err(ArchiveError::Trailing { what, found }) => (what, found),
        other => panic!("{other:?}"),
    };
    assert_eq!(trailing(&[good.as_slice(), b"evil"].concat()), ("tar archive", "text"));
    assert_eq!(
        trailing(&[&good[..good.len() - 512], &[7; 512]].concat()),
        ("tar archive", "something that is no archive")
    );
    // A second archive behind the first, which `tar -A` would not write.
    assert_eq!(trailing(&[good.clone(), good.clone()].concat()), ("tar archive", "another archive"));
    assert_eq!(trailing(&[gzip(&good), gzip(&good)].concat()), ("tar archive", "another archive"));
    // Zeros up to a whole record are usual.
    let mut padded = good.clone();
    padded.resize(10_240, 0);
    Room::new().unpack(&padded).unwrap();

    let junk = [gzip(&good).as_slice(), b"junk behind the gzip member"].concat();
    assert_eq!(trailing(&junk), ("compressed data", "text"));
    // Two gzip members are one stream, as for gzip itself.
    let (front, back) = good.split_at(700);
    Room::new().unpack(&[gzip(front), gzip(back)].concat()).unwrap();
}

#[test]
fn extension_headers_are_bounded() {
    let long = "x".repeat(70 << 10);
    let tar = Tar::default().entry(EntryType::GNULongName, "././@LongLink", "", 0, long.as_bytes()).file("a", b"");
    assert!(matches!(Room::new().unpack(&tar.end()), Err(ArchiveError::Damaged { .. })));
    let mut tar = Tar::default();
    for _ in 0..20 {
        tar = tar.entry(EntryType::XHeader, "pax", "", 0o644, b"9 path=a\n");
    }
    assert!(matches!(Room::new().unpack(&tar.file("a", b"").end()), Err(ArchiveError::Damaged { .. })));
    let tar = Tar::default().entry(EntryType::XGlobalHeader, "pax", "", 0o644, b"9 path=a\n").file("b", b"").end();
    assert!(matches!(Room::new().unpack(&tar), Err(ArchiveError::Damaged { .. })));
    let dangling = Tar::default().file("a", b"").entry(EntryType::XHeader, "pax", "", 0o644, b"9 path=b\n").end();
    assert!(matches!(Room::new().unpack(&dangling), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn a_pax_path_is_checked_like_any_other() {
    for (record, problem) in
        [("13 path=../x\n", EntryProblem::ParentComponent), ("13 path=/../\n", EntryProblem::ParentComponent)]
    {
        let tar = Tar::default().entry(EntryType::XHeader, "pax", "", 0o644, record.as_bytes()).file("a", b"");
        let entry = record.split('=').nth(1).unwrap().trim();
        assert_eq!(Room::new().refusal(&tar.end(), entry), problem);
    }
}

#[test]
fn modes_and_times_are_kept_and_directories_are_closed_last() {
    let room = Room::new();
    let tar = Tar::default()
        .entry(EntryType::Directory, "./", "", 0o750, b"")
        .entry(EntryType::Directory, "d/", "", 0o2555, b"")
        .entry(EntryType::Regular, "d/run.sh", "", 0o751, b"#!/bin/sh")
        .file("implied/f", b"");
    room.unpack(&tar.end()).unwrap();
    let mode = |path: &str| fs::metadata(room.destination().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("."), mode("d"), mode("d/run.sh"), mode("implied")), (0o755, 0o2555, 0o751, 0o755));
    for path in ["d", "d/run.sh"] {
        assert_eq!(fs::metadata(room.destination().join(path)).unwrap().mtime(), 1_600_000_000, "{path}");
    }
    assert!(fs::metadata(room.destination().join("implied")).unwrap().mtime() > 1_600_000_000);
    fs::set_permissions(room.destination().join("d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nobody_else_may_write_to_the_top_whatever_the_archive_says() {
    for (top, other) in [("./", "d/"), ("rev-1/", "rev-1/d/")] {
        let room = Room::new();
        let tar = Tar::default().entry(EntryType::Directory, top, "", 0o777, b"");
        let appspec = format!("{top}appspec.yml");
        let tar = tar.entry(EntryType::Directory, other, "", 0o777, b"").file(&appspec, b"x");
        room.unpack(&tar.end()).unwrap();
        let mode = |path: &str| fs::metadata(room.destination().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("d")), (0o755, 0o777), "{top}");
    }
}

#[test]
fn a_leading_directory_is_taken_away() {
    let room = Room::new();
    let tar = Tar::default().directory("rev-1").file("rev-1/AppSpec.YML", b"x").file("rev-1/scripts/a.sh", b"y");
    let listing = room.unpack(&tar.end()).unwrap();
    let paths: Vec<_> = listing.entries().iter().map(|e| e.path.as_path().to_str().unwrap()).collect();
    assert_eq!(paths, ["AppSpec.YML", "scripts", "scripts/a.sh"]);
    assert_eq!(snapshot(&room.destination()).len(), 3);
    let room = Room::new();
    let tar = Tar::default().file("rev-1/x", b"x");
    assert_eq!(room.unpack(&tar.end()).unwrap().entries().len(), 2);
}
