use std::fs;

use super::*;

fn file(id: u64, offset: u64) -> Record {
    let identity = Identity { device: 1, inode: id, born_ns: 0, head: Fingerprint::of(b"head") };
    Record::File(FileRecord {
        id,
        source: "file:/a".to_owned(),
        path: "/a".into(),
        identity,
        offset,
        trail: Fingerprint::default(),
        last_ms: None,
        changed_ns: 0,
        origin: "/a".into(),
        size: offset,
        rotated: false,
    })
}

fn intent(id: u64, start: u64, end: u64) -> Record {
    let segment = Segment { id, start, end, trail: Fingerprint::of(b"t"), last_ms: Some(7) };
    let intent = Intent { base_ms: 5, files: vec![segment], journal: None };
    Record::Intent { stream: "g s".to_owned(), intent }
}

#[test]
fn what_was_noted_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    positions.note(file(1, 0));
    positions.note(intent(1, 0, 9));
    let book = Positions::open(directory.path()).unwrap().book;
    assert_eq!((book.files[&1].offset, book.intents["g s"].base_ms), (0, 5), "not acknowledged");
    positions = Positions::open(directory.path()).unwrap();
    positions.note(Record::Done { stream: "g s".to_owned() });
    positions.note(Record::Cursor { key: "j".to_owned(), cursor: "c".to_owned() });
    let book = Positions::open(directory.path()).unwrap().book;
    assert_eq!((book.files[&1].offset, book.files[&1].last_ms, book.intents.len()), (9, Some(7), 0));
    assert_eq!(book.cursors["j"], "c");
}

#[test]
fn the_file_does_not_grow_and_nothing_is_lost_by_rewriting() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    for round in 0..20_000 {
        positions.note(file(round % 10, round));
    }
    let size = fs::metadata(directory.path().join("log-positions.0")).unwrap().len();
    assert_eq!(size, SLOT_BYTES);
    assert_eq!(Positions::open(directory.path()).unwrap().book, positions.book);
}

/// Cuts, zeroes or spoils the current file at every record and in records: the earlier records are there.
#[test]
fn a_torn_or_damaged_tail_costs_that_record_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    let mut ends = Vec::new();
    for offset in 1..20 {
        positions.note(file(1, offset));
        ends.push(positions.at);
    }
    let path = directory.path().join(format!("log-positions.{}", positions.current));
    let whole = fs::read(&path).unwrap();
    drop(positions);
    for at in (ends[0]..ends[18]).step_by(7) {
        for damage in ["cut", "zero", "spoil"] {
            let mut bytes = whole.clone();
            let from = usize::try_from(at).unwrap();
            match damage {
                "cut" => bytes.truncate(from),
                "zero" => bytes[from..].fill(0),
                _ => bytes[from] ^= 0x55,
            }
            fs::write(&path, &bytes).unwrap();
            let read = read_slot(&File::open(&path).unwrap()).unwrap().unwrap().1;
            let wanted = ends.iter().filter(|end| **end <= at).count() as u64;
            assert_eq!(read.files[&1].offset, wanted, "{damage} at {at}");
        }
    }
}

#[test]
fn damaged_files_are_an_empty_book_and_no_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    positions.note(file(1, 1));
    drop(positions);
    for name in ["log-positions.0", "log-positions.1"] {
        fs::write(directory.path().join(name), vec![0xff; 100]).unwrap();
    }
    assert_eq!(Positions::open(directory.path()).unwrap().book, Book::default());
    for name in ["log-positions.0", "log-positions.1"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    assert_eq!(Positions::open(directory.path()).unwrap().book, Book::default());
}

#[test]
fn a_half_written_snapshot_leaves_the_other_one_current() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    positions.note(file(1, 4));
    let other = directory.path().join(format!("log-positions.{}", 1 - positions.current));
    drop(positions);
    // The header is written last; without it the file does not count, whatever its content.
    let mut bytes = fs::read(&other).unwrap();
    bytes.resize(4096, 0);
    bytes[..HEADER_BYTES].fill(0);
    fs::write(&other, &bytes).unwrap();
    assert_eq!(Positions::open(directory.path()).unwrap().book.files[&1].offset, 4);
}

/// As on a full disk: the other file takes nothing.
#[test]
fn where_no_snapshot_can_be_written_the_current_file_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Positions::open(directory.path()).unwrap();
    positions.note(file(1, 1));
    positions.note(file(1, 2));
    let (current, end) = (positions.current, positions.at);
    drop(positions);
    let path = |slot: usize| directory.path().join(format!("log-positions.{slot}"));
    let writable = || OpenOptions::new().read(true).write(true).open(path(current)).unwrap();
    // The last record is torn.
    writable().write_all_at(b"torn", end - 4).unwrap();
    let read_only = File::open(path(1 - current)).unwrap();
    let slots = if current == 0 { [writable(), read_only] } else { [read_only, writable()] };
    let mut positions = Positions::of_slots(slots, directory.path()).unwrap();
    assert_eq!((positions.book.files[&1].offset, positions.current), (1, current));
    positions.note(file(1, 3));
    drop(positions);
    assert_eq!(Positions::open(directory.path()).unwrap().book.files[&1].offset, 3);
}
