use proptest::prelude::*;

use super::*;

/// An archive as bytes, with its table of contents.
#[derive(Debug, Clone)]
struct Archive {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct File {
    name: u8,
    content: Vec<u8>,
    time: [u8; 4],
    extra: Vec<u8>,
}

fn pack(files: &[File], table: &[u8]) -> Archive {
    let mut bytes = Vec::new();
    let mut entries = Vec::new();
    for file in files {
        let start = bytes.len() as u64;
        // Signature, version, flags and method; time; checksum, sizes, lengths.
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0");
        bytes.extend_from_slice(&file.time);
        let crc = file.content.iter().fold(7u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(*b)));
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&(file.content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(file.content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&1u16.to_le_bytes());
        bytes.extend_from_slice(&(file.extra.len() as u16).to_le_bytes());
        bytes.push(file.name);
        bytes.extend_from_slice(&file.extra);
        let header_bytes = Some(bytes.len() as u64 - start);
        bytes.extend_from_slice(&file.content);
        entries.push(Entry {
            name: u64::from(file.name),
            name_bytes: 1,
            crc,
            compressed_bytes: file.content.len() as u64,
            size: file.content.len() as u64,
            form: (0, 0),
            time: file.time,
            extra: file.extra.iter().fold(1, |sum, b| sum * 257 + u64::from(*b)),
            span: start..bytes.len() as u64,
            header_bytes,
        });
    }
    bytes.extend_from_slice(table);
    Archive { bytes, entries }
}

/// A host's work for a plan; returns the number of bytes that it fetched.
fn rebuild(segments: &[Segment], new: &Archive, have: usize, old: &Archive) -> (Vec<u8>, u64) {
    let mut bytes = vec![0xEE; new.bytes.len()];
    bytes[have..].copy_from_slice(&new.bytes[have..]);
    let mut at = 0;
    for segment in segments {
        let place = segment.place().clone();
        assert_eq!(place.start, at, "no gaps: {segments:?}");
        assert!(!place.is_empty(), "nothing for nothing: {segments:?}");
        at = place.end;
        let (from, to) = (place.start as usize, place.end as usize);
        match segment {
            Segment::Copy { from: source, time, .. } => {
                let source = *source as usize;
                bytes[from..to].copy_from_slice(&old.bytes[source..source + to - from]);
                if let Some((at, time)) = time {
                    bytes[*at as usize..*at as usize + 4].copy_from_slice(time);
                }
            }
            Segment::Fetch(_) => bytes[from..to].copy_from_slice(&new.bytes[from..to]),
        }
    }
    assert_eq!(at, have as u64, "all of it");
    (bytes, fetched_bytes(segments))
}

fn file() -> impl Strategy<Value = File> {
    let content = prop::collection::vec(any::<u8>(), 0..200);
    (any::<u8>(), content, 0..3u8, 0..2u8).prop_map(|(name, content, time, extra)| File {
        name,
        content,
        time: [time, 0, time, 1],
        extra: vec![extra; 5],
    })
}

/// Files with different names, some of which are changed, gone or new in the second list.
fn two_versions() -> impl Strategy<Value = (Vec<File>, Vec<File>)> {
    let unique = |files: Vec<File>| {
        let mut seen = std::collections::BTreeSet::new();
        files.into_iter().filter(|file| seen.insert(file.name)).collect::<Vec<_>>()
    };
    (prop::collection::vec(file(), 0..30), prop::collection::vec((any::<prop::sample::Index>(), file(), 0..4u8), 0..8))
        .prop_map(move |(old, changes)| {
            let old = unique(old);
            let mut new = old.clone();
            for (index, file, kind) in changes {
                match kind {
                    0 => new.push(file),
                    _ if new.is_empty() => {}
                    1 => drop(new.remove(index.index(new.len()))),
                    2 => {
                        let at = index.index(new.len());
                        new[at].content = file.content;
                    }
                    _ => {
                        let at = index.index(new.len());
                        (new[at].time, new[at].extra) = (file.time, file.extra);
                    }
                }
            }
            (old, unique(new))
        })
}

proptest! {
    #[test]
    fn any_archive_is_rebuilt_from_any_other(
        (old, new) in two_versions(),
        table in prop::collection::vec(any::<u8>(), 22..80),
        worth in 0..400u64,
        cut in 0..300usize,
    ) {
        let (old, new) = (pack(&old, b"the old table"), pack(&new, &table));
        let have = (new.bytes.len() - table.len()).saturating_sub(cut);
        let segments = plan(&new.entries, new.bytes.len() as u64, have as u64, &old.entries, worth);
        let (bytes, fetched) = rebuild(&segments, &new, have, &old);
        prop_assert!(bytes == new.bytes);
        prop_assert!(fetched <= have as u64);
        if worth == 0 {
            let same = |entry: &&Entry| old.entries.iter().any(|o| o.name == entry.name && is_same(o, entry));
            let needed: u64 = new.entries.iter().filter(|e| !same(e)).map(|e| length(&e.span)).sum();
            let headers: u64 = new.entries.iter().filter_map(|e| e.header_bytes).sum();
            // Pieces not worth a copy are shorter than a header.
            let short = 30 * new.entries.len() as u64;
            prop_assert!(fetched <= needed + headers + short, "{fetched} for {needed}");
        }
    }

    #[test]
    fn tables_that_lie_give_plans_without_gaps(
        spans in prop::collection::vec((any::<u8>(), 0..1000u64, 0..300u64), 0..20),
        size in 0..1200u64,
        have in 0..1200u64,
        worth in 0..400u64,
    ) {
        let entries: Vec<Entry> = spans.iter().map(|(name, start, length)| Entry {
            name: u64::from(*name % 4), name_bytes: 1, crc: 1, compressed_bytes: 1, size: 1, form: (0, 0), time: [0; 4],
            extra: u64::from(*name % 3), span: *start..start + length, header_bytes: Some(u64::from(*name)),
        }).collect();
        let mut at = 0;
        for segment in plan(&entries, size, have, &entries, worth) {
            prop_assert_eq!(segment.place().start, at);
            at = segment.place().end;
        }
        prop_assert_eq!(at, size.min(have));
    }
}

#[test]
fn small_copies_between_fetched_ranges_are_fetched_with_them() {
    let file = |name: u8, content: u8| File { name, content: vec![content; 100], time: [0; 4], extra: Vec::new() };
    let old = pack(&[file(1, 1), file(2, 2), file(3, 3)], b"");
    let new = pack(&[file(1, 9), file(2, 2), file(3, 9)], b"");
    let size = new.bytes.len() as u64;
    let of = |worth| plan(&new.entries, size, size, &old.entries, worth);
    assert_eq!(of(0).len(), 3);
    assert_eq!(of(1000), [Segment::Fetch(0..size)]);
}
