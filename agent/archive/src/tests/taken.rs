//! Archives with oddities that the usual tools accept: they are accepted here too, or refused by name with a remedy.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use hostler_core::bundle::{Adaptation, Adapted, EntryKind};
use tar::{EntryType, Header};

use super::support::{Room, Tar, ZipEntry, file_with, read, zip};
use crate::{ArchiveError, EntryProblem, UnpackOptions, Unpacked, detect, detect_head};

fn unpacked(room: &Room, bytes: &[u8]) -> Result<Unpacked, ArchiveError> {
    let bundle = file_with(bytes);
    room.unpacked(&bundle, detect(&bundle)?, &UnpackOptions::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn slashes(first: &str, number: u64) -> Vec<Adapted> {
    vec![Adapted { how: Adaptation::LeadingSlash, first: first.to_owned(), number }]
}

/// Overwrites a field of the last header of an archive whose last entry is empty.
fn with_field(mut tar: Tar, field: std::ops::Range<usize>, value: &[u8]) -> Tar {
    let start = tar.bytes.len() - 512;
    let mut header = Header::from_byte_slice(&tar.bytes[start..]).clone();
    header.as_mut_bytes()[field.clone()].fill(0);
    header.as_mut_bytes()[field.start..field.start + value.len()].copy_from_slice(value);
    header.set_cksum();
    tar.bytes[start..].copy_from_slice(header.as_bytes());
    tar
}

/// The field's place in ustar (POSIX.1-2017, pax, "ustar Interchange Format").
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const DEVICES: std::ops::Range<usize> = 329..345;

#[test]
fn an_empty_number_field_is_zero_in_every_kind_of_entry() {
    let entries: [fn(Tar) -> Tar; 4] = [
        |tar| tar.file("x", b""),
        |tar| tar.directory("x/"),
        |tar| tar.symlink("x", "y"),
        |tar| tar.hard_link("x", "first"),
    ];
    for (number, entry) in entries.into_iter().enumerate() {
        for field in [MODE, UID, GID, SIZE, MTIME, DEVICES] {
            let tar = with_field(entry(Tar::default().file("first", b"1")), field.clone(), b"");
            let room = Room::new();
            let listing = room.unpack(&tar.end()).unwrap_or_else(|e| panic!("entry {number}, {field:?}: {e}"));
            let mode = listing.get("x".as_ref()).unwrap().mode;
            assert!(field != MODE || number > 1 || mode == 0, "entry {number}: {mode:o}");
            if number == 1 {
                // Without root, a user could not delete a closed directory.
                fs::set_permissions(room.destination().join("x"), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        for (field, what) in [(MODE, "mode"), (SIZE, "size"), (MTIME, "time")] {
            // A field of blanks alone, and a field with a digit behind a zero byte.
            for value in [&b"       "[..], b"\0 12"] {
                let mut filled = value.to_vec();
                if value[0] == b' ' {
                    filled.resize(field.len(), b' ');
                }
                let tar = with_field(entry(Tar::default().file("first", b"1")), field.clone(), &filled);
                let error = Room::new().unpack(&tar.end()).unwrap_err().to_string();
                assert!(error.contains(what) && error.contains("no number"), "entry {number}: {error}");
            }
        }
    }
}

#[test]
fn a_volume_label_without_a_size_is_passed_by() {
    let label = with_field(Tar::default().entry(EntryType::new(b'V'), "rel1", "", 0, b""), SIZE, b"");
    let listing = Room::new().unpack(&label.file("x", b"1").end()).unwrap();
    assert_eq!(listing.entries().len(), 1);
}

#[test]
fn leading_slashes_are_taken_away_and_told_once() {
    let room = Room::new();
    let tar = Tar::default().file("///srv/a", b"1").file("b", b"2").hard_link("/c", "/srv/a").symlink("/d", "/srv/a");
    let found = unpacked(&room, &tar.end()).unwrap();
    assert_eq!(found.adapted, slashes("///srv/a", 3));
    assert_eq!((read(&room, "srv/a").as_str(), read(&room, "b").as_str(), read(&room, "c").as_str()), ("1", "2", "1"));
    let link = &found.listing.get("d".as_ref()).unwrap().kind;
    assert_eq!(link, &EntryKind::Symlink { target: "/srv/a".into() });

    let room = Room::new();
    let file = |name: &str| ZipEntry::stored(name, 0o100644, b"1");
    let found = unpacked(&room, &zip(&[file("/srv/a"), file("b"), file("//c")])).unwrap();
    assert_eq!(found.adapted, slashes("/srv/a", 2));
    assert_eq!((read(&room, "srv/a").as_str(), read(&room, "c").as_str()), ("1", "1"));
}

#[test]
fn two_entries_that_become_one_name_are_refused() {
    let twins: [fn() -> Tar; 4] = [
        || Tar::default().file("/a", b"1").file("a", b"2"),
        || Tar::default().file("a", b"1").file("//a", b"2"),
        || Tar::default().directory("/a").directory("a/"),
        || Tar::default().file("/a/b", b"1").directory("a").directory("/a"),
    ];
    for tar in twins {
        assert_eq!(Room::new().refusal(&tar().end(), "a"), EntryProblem::SlashTwin);
    }
    let file = |name: &str| ZipEntry::stored(name, 0o100644, b"1");
    assert_eq!(Room::new().refusal(&zip(&[file("a"), file("/a")]), "a"), EntryProblem::SlashTwin);
    // Of two equal names the last one counts, and a directory that no entry names has no twin.
    unpacked(&Room::new(), &Tar::default().file("/a", b"1").file("/a", b"2").end()).unwrap();
    unpacked(&Room::new(), &Tar::default().file("/a/b", b"1").directory("a").end()).unwrap();
}

#[test]
fn zeros_behind_the_end_are_padding_in_every_form() {
    let tar = Tar::default().file("a", b"1").end();
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let entry = ZipEntry::stored("a", 0o100644, b"1");
    let zip = zip(&[entry]);
    for (form, bytes) in [("tar", &tar), ("gzip", &gzip(&tar)), ("zstd", &zstd), ("zip", &zip)] {
        for zeros in [1, 512, 10_240, 200_000] {
            let room = Room::new();
            let padded = [bytes.as_slice(), &vec![0; zeros]].concat();
            unpacked(&room, &padded).unwrap_or_else(|e| panic!("{form} and {zeros} zeros: {e}"));
            assert_eq!(read(&room, "a"), "1");
            for (follower, found) in [(&b"note\n"[..], "text"), (bytes.as_slice(), "another archive")] {
                let error = unpacked(&Room::new(), &[padded.as_slice(), follower].concat()).unwrap_err();
                let named = matches!(&error, ArchiveError::Trailing { found: is, .. } if *is == found);
                // The end of a zip is looked for as far from the end of the file as the longest comment allows.
                let is_lost = form == "zip" && found == "text" && zeros > 0xffff;
                assert!(named || is_lost, "{form}, {zeros} zeros and {found}: {error}");
            }
        }
    }
    for line in ["\n", "\r\n"] {
        unpacked(&Room::new(), &[zip.as_slice(), line.as_bytes()].concat()).unwrap();
    }
    for other in ["\n\n", "x\n"] {
        let error = unpacked(&Room::new(), &[zip.as_slice(), other.as_bytes()].concat()).unwrap_err();
        assert!(matches!(error, ArchiveError::Trailing { found: "text", .. }), "{error}");
    }
}

#[test]
fn several_frames_and_members_are_one_stream() {
    let tar = Tar::default().file("a", b"1").file("b", &[7; 300_000]).end();
    let (front, back) = tar.split_at(700);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skipped = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3].to_vec();
    for parts in [
        vec![gzip(front), gzip(back)],
        vec![zstd(front), zstd(back)],
        vec![skipped.clone(), zstd(front), skipped.clone(), zstd(back), skipped],
    ] {
        assert_eq!(Room::new().unpack(&parts.concat()).unwrap().entries().len(), 2);
    }
}

#[test]
fn a_window_above_the_bound_is_named_with_the_bound_and_what_to_do() {
    let tar = Tar::default().file("a", b"1").end();
    let with_window = |log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    Room::new().unpack(&with_window(27)).unwrap();
    for bytes in [with_window(28), [zstd::encode_all(tar.as_slice(), 3).unwrap(), with_window(28)].concat()] {
        let error = Room::new().unpack(&bytes).unwrap_err().to_string();
        assert!(error.contains("256 MiB") && error.contains("128 MiB") && error.contains("--long=27"), "{error}");
    }
}

#[test]
fn other_formats_are_refused_by_name() {
    for (head, name) in [
        (&b"\xfd7zXZ\0rest"[..], "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x01\0", "rar"),
        (b"!<arch>\ndebian-binary", "Debian"),
        (b"PK\x07\x08PK\x01\x02", "several pieces"),
    ] {
        let error = detect_head(head).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("pack again as tar.gz"), "{error}");
    }
    let error = unpacked(&Room::new(), &gzip(b"one file")).unwrap_err().to_string();
    assert!(error.contains("no tar archive but text") && error.contains("tar -czf"), "{error}");
    let error = unpacked(&Room::new(), &gzip(&[b"long ".repeat(400), vec![1]].concat())).unwrap_err().to_string();
    assert!(error.contains("no tar archive but text"), "{error}");
    let entry = ZipEntry::stored("a", 0o100644, b"1");
    let error = unpacked(&Room::new(), &gzip(&zip(std::slice::from_ref(&entry)))).unwrap_err().to_string();
    assert!(error.contains("no tar archive but another archive"), "{error}");
    let program = [b"#!/bin/sh\nexec unzip $0\n".as_slice(), &zip(std::slice::from_ref(&entry))].concat();
    let error = unpacked(&Room::new(), &program).unwrap_err();
    assert!(matches!(error, ArchiveError::Foreign(_)), "{error}");
    for text in ["version: 0.0\n", "PK and so on"] {
        assert!(matches!(unpacked(&Room::new(), text.as_bytes()), Err(ArchiveError::UnknownType { .. })), "{text}");
    }
    for (text, told) in [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
        ("<!DOCTYPE html><html>", "a web page"),
        ("<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        ("no bundle at all\nmore", "begins with the text \"no bundle at all\""),
        ("\u{1}\u{2}no text", "begins with 01 02 6e 6f"),
        ("", "it is empty"),
    ] {
        let error = detect_head(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("pack again"), "{error}");
    }
    let piped = ZipEntry { name: b"-".to_vec(), ..ZipEntry::stored("-", 0o010600, b"1") };
    let error = unpacked(&Room::new(), &zip(&[piped])).unwrap_err().to_string();
    assert!(error.contains("standard input"), "{error}");
}

#[test]
fn owners_are_told_where_an_archive_has_several() {
    let owned = |tar: Tar, uid: &[u8]| with_field(tar, UID, uid);
    let one = owned(owned(Tar::default().file("a", b""), b"0001750").file("b", b""), b"0001750");
    assert_eq!(unpacked(&Room::new(), &one.end()).unwrap().adapted, []);
    let two = owned(Tar::default().file("a", b"").file("b", b""), b"0001750").file("c", b"");
    let adapted = unpacked(&Room::new(), &two.end()).unwrap().adapted;
    assert_eq!(adapted, [Adapted { how: Adaptation::Owner, first: "b".to_owned(), number: 1 }]);
}
