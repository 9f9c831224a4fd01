use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::test_support::skip;

const ROOM: usize = 600;

fn limits() -> Limits {
    Limits { ledger_bytes: ROOM, ..Limits::default() }
}

fn open(directory: &Path) -> Ledger {
    Ledger::open(directory, &limits()).unwrap()
}

/// A ledger whose last two states are `one` (generation 2, slot 0) and `two` (generation 3, slot 1).
fn with_two_states() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    ledger.persist(b"{\"state\":\"one\"}").unwrap();
    ledger.persist(b"{\"state\":\"two\"}").unwrap();
    let path = directory.path().join("ledger");
    (directory, path)
}

#[test]
fn what_is_persisted_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(peek(directory.path(), &limits()).unwrap(), None);
    {
        let ledger = open(directory.path());
        assert_eq!(ledger.current(), &Snapshot { generation: 1, state: Vec::new(), room: ROOM });
    }
    for round in 0..10u8 {
        let mut ledger = open(directory.path());
        let state = vec![round; usize::from(round) * 50];
        ledger.persist(&state).unwrap();
        assert_eq!(ledger.current().state, state);
        drop(ledger);
        assert_eq!(
            open(directory.path()).current(),
            &Snapshot { generation: 2 + u64::from(round), state: state.clone(), room: ROOM }
        );
        assert_eq!(peek(directory.path(), &limits()).unwrap().unwrap().state, state);
    }
}

#[test]
fn it_shows_whether_a_process_holds_the_state() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!is_held(directory.path()), "nothing was ever held");
    let ledger = open(directory.path());
    assert!(is_held(directory.path()));
    drop(ledger);
    assert!(!is_held(directory.path()) && !is_held(directory.path()), "a look keeps nobody out");
    open(directory.path());
}

#[test]
fn files_are_private_and_the_directory_can_be_passed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("var/lib/hostler");
    let _ledger = open(&directory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&directory.join("ledger")), 0o600);
    assert_eq!(mode(&directory.join("lock")), 0o600);
    assert_eq!(mode(&directory) & 0o711, 0o711);
}

#[test]
fn each_persist_costs_one_sync_and_never_grows_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    let size = fs::metadata(directory.path().join("ledger")).unwrap().len();
    assert_eq!(size, 2 * 4096);
    for round in 1..=20u64 {
        ledger.persist(&vec![7; ROOM]).unwrap();
        assert_eq!(ledger.syncs(), round);
    }
    assert_eq!(fs::metadata(directory.path().join("ledger")).unwrap().len(), size);
}

#[test]
fn a_write_that_is_torn_at_any_byte_leaves_the_state_before() {
    let (directory, path) = with_two_states();
    let before = fs::read(&path).unwrap();
    let next = frame(4, b"{\"state\":\"three\"}", ROOM);
    for written in 0..=next.len() {
        let mut torn = before.clone();
        torn[..written].copy_from_slice(&next[..written]);
        fs::write(&path, &torn).unwrap();
        let mut ledger = open(directory.path());
        let expected: &[u8] = if written == next.len() { b"{\"state\":\"three\"}" } else { b"{\"state\":\"two\"}" };
        assert_eq!(ledger.current().state, expected, "after {written} bytes");
        assert_eq!(peek(directory.path(), &limits()).unwrap().unwrap().state, expected, "after {written} bytes");
        // And it goes on from there.
        ledger.persist(b"next").unwrap();
        drop(ledger);
        assert_eq!(open(directory.path()).current().state, b"next", "after {written} bytes");
    }
}

#[test]
fn a_write_whose_bytes_came_in_any_order_leaves_the_state_before() {
    let (directory, path) = with_two_states();
    let before = fs::read(&path).unwrap();
    let next = frame(4, b"{\"state\":\"three\"}", ROOM);
    for missing in 0..next.len() {
        let mut torn = before.clone();
        torn[..next.len()].copy_from_slice(&next);
        if torn[missing] == before[missing] {
            continue;
        }
        torn[missing] = before[missing];
        fs::write(&path, &torn).unwrap();
        assert_eq!(open(directory.path()).current().state, b"{\"state\":\"two\"}", "without byte {missing}");
    }
}

#[test]
fn any_flipped_bit_of_the_newest_slot_is_seen() {
    let (directory, path) = with_two_states();
    let before = fs::read(&path).unwrap();
    let start = slot_bytes(ROOM);
    for at in start..start + HEADER + b"{\"state\":\"two\"}".len() {
        for bit in 0..8 {
            let mut flipped = before.clone();
            flipped[at] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            assert_eq!(open(directory.path()).current().state, b"{\"state\":\"one\"}", "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_file_that_was_cut_falls_back_or_is_refused() {
    let (directory, path) = with_two_states();
    let before = fs::read(&path).unwrap();
    let second_ends = slot_bytes(ROOM) + HEADER + b"{\"state\":\"two\"}".len();
    for length in (0..200).chain(slot_bytes(ROOM) - 10..second_ends + 200) {
        fs::write(&path, &before[..length]).unwrap();
        let opened = Ledger::open(directory.path(), &limits());
        match opened {
            Ok(ledger) if length >= second_ends => assert_eq!(ledger.current().state, b"{\"state\":\"two\"}"),
            Ok(ledger) => {
                assert!(length >= HEADER + b"{\"state\":\"one\"}".len(), "opened with {length} bytes");
                assert_eq!(ledger.current().state, b"{\"state\":\"one\"}", "{length}");
            }
            Err(error) => {
                assert!(length < HEADER + b"{\"state\":\"one\"}".len(), "{length}: {error}");
                assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
            }
        }
    }
}

#[test]
fn two_damaged_slots_are_never_a_fresh_start() {
    let (directory, path) = with_two_states();
    let before = fs::read(&path).unwrap();
    let mut zeros = before.clone();
    zeros.fill(0);
    let mut both = before.clone();
    both[HEADER] ^= 1;
    both[slot_bytes(ROOM) + HEADER] ^= 1;
    for damaged in [zeros, both, Vec::new(), b"{}".to_vec()] {
        fs::write(&path, &damaged).unwrap();
        for error in
            [Ledger::open(directory.path(), &limits()).unwrap_err(), peek(directory.path(), &limits()).unwrap_err()]
        {
            let message = error.to_string();
            assert!(matches!(error, LedgerError::Damaged { .. }), "{message}");
            assert!(message.contains(path.to_str().unwrap()) && message.contains("backup"), "{message}");
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "a damaged ledger must stay as evidence");
    }
}

#[test]
fn another_version_is_refused_and_not_taken_for_damage() {
    let (directory, path) = with_two_states();
    let mut other = frame(9, b"{}", ROOM);
    other[8] = 2;
    let checksum = Sha256::new().chain_update(&other[..32]).chain_update(b"{}").finalize();
    other[32..64].copy_from_slice(&checksum);
    let mut file = fs::read(&path).unwrap();
    file[..other.len()].copy_from_slice(&other);
    fs::write(&path, &file).unwrap();
    for error in
        [Ledger::open(directory.path(), &limits()).unwrap_err(), peek(directory.path(), &limits()).unwrap_err()]
    {
        assert!(matches!(error, LedgerError::Version { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}

#[test]
fn a_ledger_of_another_room_goes_on_with_that_also_when_a_slot_is_damaged() {
    for other in [100, 1000, 1 << 20] {
        let limits = Limits { ledger_bytes: other, ..Limits::default() };
        let (directory, path) = with_two_states();
        let whole = fs::read(&path).unwrap();
        for (damaged, expected) in
            [(None, "two"), (Some(HEADER), "two"), (Some(9), "two"), (Some(slot_bytes(ROOM) + HEADER), "one")]
        {
            let mut file = whole.clone();
            damaged.into_iter().for_each(|at: usize| file[at] ^= 1);
            fs::write(&path, &file).unwrap();
            let seen = peek(directory.path(), &limits).unwrap().unwrap();
            let mut ledger = Ledger::open(directory.path(), &limits).unwrap();
            assert_eq!(ledger.current(), &seen);
            assert!(String::from_utf8_lossy(&seen.state).contains(expected), "{damaged:?}: {seen:?}");
            assert_eq!((ledger.room(), seen.room), (ROOM, ROOM));
            assert!(matches!(ledger.persist(&[b'x'; ROOM + 1]), Err(LedgerError::TooLarge { room: ROOM, .. })));
            // The damaged slot is written again in its place.
            ledger.persist(&[b'x'; ROOM]).unwrap();
            drop(ledger);
            assert_eq!(open(directory.path()).current().state, [b'x'; ROOM]);
            assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
        }
    }
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    ledger.persist(b"before").unwrap();
    let error = ledger.persist(&[0; ROOM + 1]).unwrap_err();
    assert!(matches!(error, LedgerError::TooLarge { bytes: 601, room: 600, .. }), "{error}");
    drop(ledger);
    assert_eq!(open(directory.path()).current().state, b"before");
}

#[test]
fn the_lock_names_its_holder_and_readers_need_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    ledger.persist(b"state").unwrap();
    let error = Ledger::open(directory.path(), &limits()).unwrap_err();
    assert!(matches!(error, LedgerError::LockHeld { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(peek(directory.path(), &limits()).unwrap().unwrap().state, b"state");
    drop(ledger);
    // The content of the lock file is never taken for the lock itself.
    fs::write(directory.path().join("lock"), b"1\n").unwrap();
    drop(open(directory.path()));
}

#[test]
fn readers_see_only_whole_states_while_someone_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(directory.path());
    let place = directory.path().to_owned();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        let mut reads = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) || reads == 0 {
            let seen = peek(&place, &limits()).unwrap().unwrap();
            assert!(seen.generation >= last, "generation fell from {last} to {}", seen.generation);
            assert!(seen.state.iter().all(|b| *b == seen.generation as u8), "torn state {seen:?}");
            last = seen.generation;
            reads += 1;
        }
        reads
    });
    for _ in 0..300 {
        let next = (ledger.current().generation + 1) as u8;
        ledger.persist(&vec![next; ROOM]).unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

const WRITER: &str = "HOSTLER_TEST_LEDGER_WRITER";

/// Not a test of its own: the process that the next test kills.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(WRITER) else { return };
    let mut ledger = open(Path::new(&directory));
    loop {
        let next = ledger.current().generation + 1;
        ledger.persist(format!("{next:0>500}").as_bytes()).unwrap();
        println!("\nACKNOWLEDGED {next}");
    }
}

#[test]
fn a_killed_writer_leaves_a_state_that_it_acknowledged_or_was_writing() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=15u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::tests::writer_process", "--nocapture", "--test-threads=1"])
            .env(WRITER, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut count = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(generation) = line.strip_prefix("ACKNOWLEDGED ") {
                acknowledged = generation.parse().unwrap();
                count += 1;
                if count == round * 3 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(count >= round * 3, "the writer ended by itself after {count} states");
        let ledger = open(directory.path());
        let generation = ledger.current().generation;
        assert!(generation == acknowledged || generation == acknowledged + 1, "{generation} after {acknowledged}");
        assert_eq!(ledger.current().state, format!("{generation:0>500}").as_bytes());
    }
}

/// A file system of its own, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(place));
        }
        skip("mounting a small file system needs root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_does_not_stop_the_ledger() {
    let Some(disk) = SmallDisk::new("256k") else { return };
    let place = disk.0.path();
    let limits = Limits { ledger_bytes: 64 << 10, ..Limits::default() };
    let mut ledger = Ledger::open(place, &limits).unwrap();
    // Fills the disk to the last block.
    let filler = File::create(place.join("filler")).unwrap();
    let block = [1u8; 4096];
    let mut filled = 0;
    while filler.write_at(&block, filled).is_ok_and(|n| n > 0) {
        filled += 4096;
    }
    assert!(fs::write(place.join("more"), block).is_err(), "the disk must be full");
    for round in 1..=10u8 {
        ledger.persist(&vec![round; 64 << 10]).unwrap();
    }
    drop(ledger);
    assert_eq!(Ledger::open(place, &limits).unwrap().current().state, vec![10; 64 << 10]);
}

#[test]
fn a_disk_too_small_for_a_new_ledger_says_so_and_stays_clean() {
    let Some(disk) = SmallDisk::new("64k") else { return };
    let error = Ledger::open(disk.0.path(), &Limits::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains(disk.0.path().to_str().unwrap()), "{cause}");
    let left: Vec<_> = fs::read_dir(disk.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn the_lock_waits_for_nobody_and_is_free_when_its_holder_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::tests::writer_process", "--nocapture", "--test-threads=1"])
        .env(WRITER, directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("ACKNOWLEDGED")), "the writer never wrote");
    let began = Instant::now();
    let error = Ledger::open(directory.path(), &limits()).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    child.kill().unwrap();
    child.wait().unwrap();
    open(directory.path());
}
