//! The age of a disk. Deadlines pass, signals are given up after a day, and CloudWatch Logs refuses events older than
//! two weeks. Therefore the state is made as young as it was when the old program was killed. All times in it move by
//! the same amount, nothing else changes, and the history, whose bytes are hashed, stays unchanged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use crate::support::host::Host;

/// The amount by which the times were moved, for tests that compare times.
const MOVED: &str = "moved-ms";

/// Moves the times in the ledger and in the positions of logs to now.
pub fn make_young(host: &Host) {
    let ledger = host.state().join("ledger");
    let killed = fs::metadata(&ledger).unwrap().modified().unwrap();
    let age = SystemTime::now().duration_since(killed).unwrap_or_default();
    let by_ms = u64::try_from(age.as_millis()).unwrap();
    rewrite_ledger(&ledger, by_ms);
    for slot in ["log-positions.0", "log-positions.1"] {
        rewrite_positions(&host.state().join(slot), by_ms);
    }
    fs::write(host.path(MOVED), by_ms.to_string()).unwrap();
}

/// The milliseconds by which the times were moved.
pub fn moved_ms(host: &Host) -> u64 {
    fs::read_to_string(host.path(MOVED)).unwrap().parse().unwrap()
}

/// The document with each time (the number after a name that ends with `_ms`) later by `by_ms`.
pub fn later(document: &str, by_ms: u64) -> String {
    const NAME: &str = "_ms\":";
    let mut parts = document.split(NAME);
    let mut moved = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        // Durations have fewer digits.
        let (number, rest) = part.split_at(if digits == 13 { digits } else { 0 });
        let number = number.parse::<u64>().map_or_else(|_| number.to_owned(), |ms| (ms + by_ms).to_string());
        moved.extend([NAME, &number, rest]);
    }
    moved
}

/// Both slots: a header of 64 bytes, which holds the length and the SHA-256 of its preceding 32 bytes and the state.
fn rewrite_ledger(path: &Path, by_ms: u64) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    for slot in bytes.chunks_mut(half).filter(|slot| slot.starts_with(b"hostlerL")) {
        let length = usize::try_from(u64::from_le_bytes(slot[24..32].try_into().unwrap())).unwrap();
        let state = later(std::str::from_utf8(&slot[64..64 + length]).unwrap(), by_ms);
        slot[64..64 + length].copy_from_slice(state.as_bytes());
        let checked = [&slot[..32], state.as_bytes()].concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &checked);
        slot[32..64].copy_from_slice(digest.as_ref());
    }
    write_over(path, &bytes);
}

/// A header of 64 bytes with the generation in hexadecimal, then lines with a CRC-32, seeded with the generation, and a
/// record.
fn rewrite_positions(path: &Path, by_ms: u64) {
    let Ok(mut bytes) = fs::read(path) else { return };
    let header = String::from_utf8_lossy(&bytes[..64]).into_owned();
    let Some(generation) = header.strip_prefix("hostler-log-positions 1 ").and_then(|rest| rest.split(' ').next())
    else {
        return;
    };
    let generation = u64::from_str_radix(generation, 16).unwrap();
    let crc = |json: &str| {
        let mut crc = flate2::Crc::new();
        crc.update(&generation.to_le_bytes());
        crc.update(json.as_bytes());
        crc.sum()
    };
    let mut at = 64;
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&bytes[at..at + length]).into_owned();
        // Bytes after the last record are of an earlier generation.
        let Some((sum, json)) = line.split_once(' ').filter(|(sum, json)| *sum == format!("{:08x}", crc(json))) else {
            break;
        };
        let json = later(json, by_ms);
        let moved = format!("{:08x} {json}", crc(&json));
        assert_eq!(moved.len(), sum.len() + 1 + json.len());
        bytes[at..at + length].copy_from_slice(moved.as_bytes());
        at += length + 1;
    }
    write_over(path, &bytes);
}

/// Overwrites the file in place, with the same inode and length.
fn write_over(path: &Path, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn times_move_and_nothing_else() {
    let document = r#"{"at_ms":1796040745454,"lasted_ms":12,"end_ms":null,"line":"{\"time_ms\":1796040745454}"}"#;
    let wanted = r#"{"at_ms":1796040745464,"lasted_ms":12,"end_ms":null,"line":"{\"time_ms\":1796040745454}"}"#;
    assert_eq!(later(document, 10), wanted);
}
