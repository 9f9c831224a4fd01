use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::test_support::skip;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn new_store() -> (tempfile::TempDir, DirectoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    (directory, store)
}

fn put(store: &DirectoryStore, name: &str, bytes: &[u8], condition: Condition<'_>) -> PutOutcome {
    wait(store.put(&key(name), bytes, condition)).unwrap()
}

fn stored(outcome: PutOutcome) -> ETag {
    match outcome {
        PutOutcome::Stored(etag) => etag,
        PutOutcome::PreconditionFailed => panic!("the condition did not hold"),
    }
}

fn get(store: &DirectoryStore, name: &str) -> Option<(Vec<u8>, ETag)> {
    match wait(store.get(&key(name), None, 1 << 20)).unwrap() {
        GetOutcome::Found { bytes, etag } => Some((bytes, etag)),
        GetOutcome::NotFound => None,
        GetOutcome::NotModified => panic!("not modified without a known ETag"),
    }
}

fn content(bytes: &[u8]) -> Content {
    Content { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) }
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The files in `tmp`: none, while no process writes.
fn leftovers(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory.join(".hostler/tmp")).unwrap().map(|e| e.unwrap().path()).collect()
}

#[test]
fn conditions_are_those_of_s3() {
    let (directory, store) = new_store();
    let stale = ETag::new("\"0\"");
    assert_eq!(get(&store, "a/b"), None);
    // If-Match on an object that is not there changes nothing.
    assert_eq!(put(&store, "a/b", b"x", Condition::IfMatch(&stale)), PutOutcome::PreconditionFailed);
    assert_eq!(get(&store, "a/b"), None);
    let one = stored(put(&store, "a/b", b"one", Condition::IfAbsent));
    assert_eq!(put(&store, "a/b", b"two", Condition::IfAbsent), PutOutcome::PreconditionFailed);
    assert_eq!(put(&store, "a/b", b"two", Condition::IfMatch(&stale)), PutOutcome::PreconditionFailed);
    assert_eq!(get(&store, "a/b"), Some((b"one".to_vec(), one.clone())));
    let two = stored(put(&store, "a/b", b"two", Condition::IfMatch(&one)));
    assert_ne!(one, two);
    assert_eq!(put(&store, "a/b", b"three", Condition::IfMatch(&one)), PutOutcome::PreconditionFailed);
    // Equal bytes have equal ETags, wherever they are.
    assert_eq!(stored(put(&store, "c", b"two", Condition::None)), two);
    assert_eq!(stored(put(&store, "a/b", b"one", Condition::None)), one);
    assert!(one.as_str().starts_with('"') && one.as_str().ends_with('"'));

    let again = |known: &ETag| wait(store.get(&key("a/b"), Some(known), 100)).unwrap();
    assert_eq!(again(&one), GetOutcome::NotModified);
    assert_eq!(again(&two), GetOutcome::Found { bytes: b"one".to_vec(), etag: one.clone() });

    let delete = |name: &str, known: Option<&ETag>| wait(store.delete(&key(name), known)).unwrap();
    assert_eq!(delete("a/b", Some(&two)), DeleteOutcome::PreconditionFailed);
    assert!(get(&store, "a/b").is_some());
    assert_eq!(delete("a/b", Some(&one)), DeleteOutcome::Deleted);
    assert_eq!(delete("a/b", Some(&one)), DeleteOutcome::NotFound);
    assert_eq!(delete("c", None), DeleteOutcome::Deleted);
    assert_eq!(delete("c", None), DeleteOutcome::NotFound);
    // It can be created again, as after an S3 delete marker.
    stored(put(&store, "a/b", b"", Condition::IfAbsent));
    assert_eq!(wait(store.size(&key("a/b"))).unwrap(), Some(0));
    assert_eq!(wait(store.size(&key("c"))).unwrap(), None);
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn heads_and_names_can_be_looked_at_without_reading_everything() {
    let (_directory, store) = new_store();
    for name in ["r/abc", "r/abd", "r/b", "r/deeper/abe"] {
        put(&store, name, b"0123456789", Condition::None);
    }
    assert_eq!(wait(store.head(&key("r/abc"), 4)).unwrap(), Some((b"0123".to_vec(), 10)));
    assert_eq!(wait(store.head(&key("r/abc"), 99)).unwrap(), Some((b"0123456789".to_vec(), 10)));
    assert_eq!(wait(store.head(&key("r/none"), 4)).unwrap(), None);
    let listed = |prefix: &str, at_most| wait(store.list(&key("r"), prefix, at_most)).unwrap();
    let names = |prefix, at_most| listed(prefix, at_most).into_iter().map(|found| found.key).collect::<Vec<_>>();
    assert!(listed("", 9).iter().all(|found| found.size == 10 && found.modified.is_some()));
    assert_eq!(names("ab", 9), [key("r/abc"), key("r/abd")]);
    assert_eq!(names("ab", 1), [key("r/abc")]);
    assert_eq!(names("", 9).len(), 3, "what lies deeper is not listed");
    assert_eq!(wait(store.list(&key("none"), "", 9)).unwrap(), []);
    let directories = |below: Option<&str>, at_most| wait(store.directories(below.map(key).as_ref(), at_most)).unwrap();
    put(&store, "web/a/release.json", b"", Condition::None);
    assert_eq!(directories(None, 9), [key("r"), key("web")], "the store's own directory has no key");
    assert_eq!(directories(None, 1), [key("r")]);
    assert_eq!(directories(Some("r"), 9), [key("r/deeper")]);
    assert_eq!(directories(Some("none"), 9), []);
}

#[test]
fn prefixes_are_not_objects() {
    let (_directory, store) = new_store();
    put(&store, "a/b", b"x", Condition::None);
    assert_eq!(get(&store, "a"), None);
    assert_eq!(get(&store, "a/b/c"), None);
    assert_eq!(wait(store.delete(&key("a"), None)).unwrap(), DeleteOutcome::NotFound);
    // S3 would take both, but a directory cannot; it says why, and nothing is harmed.
    let below = wait(store.put(&key("a/b/c"), b"y", Condition::None)).unwrap_err();
    assert_eq!(below.kind, StoreErrorKind::Fatal);
    assert!(below.problem.contains("a file stands"), "{below}");
    let above = wait(store.put(&key("a"), b"y", Condition::None)).unwrap_err();
    assert_eq!(above.kind, StoreErrorKind::Fatal);
    assert_eq!(get(&store, "a/b").unwrap().0, b"x");
}

#[test]
fn big_objects_are_created_once_and_checked_both_ways() {
    let (directory, store) = new_store();
    let bytes: Vec<u8> = (0..1_000_003u32).flat_map(u32::to_le_bytes).collect();
    let right = content(&bytes);
    let from = file_with(&bytes);
    let upload = |content: &Content| wait(store.put_file(&key("revisions/r"), from.as_fd(), content));
    for wrong in [
        Content { size: right.size - 1, ..right },
        Content { size: right.size + 1, ..right },
        Content { sha256: Sha256Digest::of(b""), ..right },
    ] {
        let error = upload(&wrong).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Mismatch, "{error}");
        assert_eq!(wait(store.size(&key("revisions/r"))).unwrap(), None);
        assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
    }
    let etag = stored(upload(&right).unwrap());
    assert_eq!(upload(&right).unwrap(), PutOutcome::PreconditionFailed);
    assert_eq!(wait(store.size(&key("revisions/r"))).unwrap(), Some(right.size));

    let into = tempfile::tempfile().unwrap();
    wait(store.download(&key("revisions/r"), into.as_fd(), &right)).unwrap();
    let mut read = vec![0; bytes.len()];
    into.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes, "the download differs");
    for (name, wrong, kind, says) in [
        ("revisions/r", Content { size: 5, ..right }, StoreErrorKind::Mismatch, "should have 5"),
        ("revisions/r", Content { sha256: Sha256Digest::of(b""), ..right }, StoreErrorKind::Mismatch, "digest"),
        ("revisions/other", right, StoreErrorKind::Absent, "no such object"),
    ] {
        let into = tempfile::tempfile().unwrap();
        let error = wait(store.download(&key(name), into.as_fd(), &wrong)).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
    }
    // The ETag of a big object works like any other.
    assert_eq!(wait(store.delete(&key("revisions/r"), Some(&etag))).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn an_object_larger_than_asked_for_is_not_read() {
    let (_directory, store) = new_store();
    put(&store, "a", &[0; 100], Condition::None);
    assert!(matches!(wait(store.get(&key("a"), None, 100)), Ok(GetOutcome::Found { .. })));
    let error = wait(store.get(&key("a"), None, 99)).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::TooLarge);
    assert!(error.to_string().contains("100 bytes"), "{error}");
}

#[test]
fn a_missing_store_is_not_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let missing = DirectoryStore::open(directory.path().join("none")).unwrap_err();
    assert_eq!(missing.kind, StoreErrorKind::Absent);
    assert!(missing.to_string().contains("none") && missing.to_string().contains("does not exist"), "{missing}");
    fs::write(directory.path().join("file"), b"").unwrap();
    let file = DirectoryStore::open(directory.path().join("file")).unwrap_err();
    assert!(file.to_string().contains("not a directory"), "{file}");
    // A store that vanishes later (unmounted) does not look like a store without releases.
    let place = directory.path().join("store");
    fs::create_dir(&place).unwrap();
    let store = DirectoryStore::open(&place).unwrap();
    fs::remove_dir(&place).unwrap();
    assert_eq!(wait(store.get(&key("a"), None, 1)).unwrap_err().kind, StoreErrorKind::Absent);
    assert_eq!(wait(store.put(&key("a"), b"", Condition::None)).unwrap_err().kind, StoreErrorKind::Absent);
    assert!(!place.exists());
}

#[test]
fn leftovers_of_killed_writers_are_no_objects_and_go_away() {
    let (directory, store) = new_store();
    put(&store, "a", b"x", Condition::None);
    let tmp = directory.path().join(".hostler/tmp");
    fs::write(tmp.join("upload-1-0"), b"torn").unwrap();
    fs::write(tmp.join("put"), b"torn and longer than what comes next").unwrap();
    // This one is still being written.
    let alive = File::create(tmp.join("upload-2-0")).unwrap();
    alive.lock().unwrap();
    assert!(".hostler/tmp/put".parse::<Key>().is_err());
    assert_eq!(get(&store, "a").unwrap().0, b"x");
    put(&store, "a", b"y", Condition::None);
    assert_eq!(leftovers(directory.path()), [tmp.join("upload-2-0")]);
    drop(alive);
    put(&store, "a", b"z", Condition::None);
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_file_is_named_and_does_not_block() {
    let (directory, store) = new_store();
    nix::unistd::mkfifo(&directory.path().join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let error = wait(store.get(&key("pipe"), None, 10)).unwrap_err();
    assert!(error.to_string().contains("neither file nor directory"), "{error}");
}

// Processes. Each test below starts this test binary again, with the test `a_process` alone and a job in its
// environment.

const JOB: &str = "HOSTLER_TEST_STORE_JOB";

fn spawn(directory: &Path, job: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_dir::tests::a_process", "--nocapture", "--test-threads=1"])
        .env(JOB, format!("{job} {}", directory.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The lines that a process printed, until its end.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .filter_map(|line| line.unwrap().strip_prefix("SAYS ").map(str::to_owned))
}

fn say(text: &str) {
    println!("\nSAYS {text}");
}

/// Two sizes and two letters, so that a torn or mixed object shows.
fn object(number: usize) -> Vec<u8> {
    let letter = b'a' + (number % 26) as u8;
    vec![letter; 10_000 + (number % 7) * 5_000]
}

fn is_whole(bytes: &[u8]) -> bool {
    (0..26 * 7).any(|number| object(number) == bytes)
}

/// Not a test of its own: the code of the processes that other tests start.
#[test]
fn a_process() {
    let Ok(job) = std::env::var(JOB) else { return };
    let (job, directory) = job.split_once(' ').unwrap();
    let store = DirectoryStore::open(directory).unwrap();
    match job {
        "create" => {
            // All begin when the test closes their input.
            io::stdin().read_line(&mut String::new()).unwrap();
            let me = std::process::id().to_string();
            match put(&store, "claim", me.as_bytes(), Condition::IfAbsent) {
                PutOutcome::Stored(_) => say("won"),
                PutOutcome::PreconditionFailed => say("lost"),
            }
        }
        "count" => {
            for _ in 0..50 {
                loop {
                    let (bytes, etag) = get(&store, "counter").unwrap();
                    let count: u64 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
                    let next = (count + 1).to_string();
                    if put(&store, "counter", next.as_bytes(), Condition::IfMatch(&etag))
                        != PutOutcome::PreconditionFailed
                    {
                        break;
                    }
                }
            }
            say("done");
        }
        "overwrite" => {
            for number in 0.. {
                put(&store, "object", &object(number), Condition::None);
                say("put");
            }
        }
        "upload" => {
            let bytes = vec![7; 8 << 20];
            let from = file_with(&bytes);
            for number in 0.. {
                say("begins");
                wait(store.put_file(&key(&format!("revisions/{number}")), from.as_fd(), &content(&bytes))).unwrap();
            }
        }
        "read" => {
            assert!(!nix::unistd::geteuid().is_root());
            assert_eq!(get(&store, "a").unwrap().0, b"x");
            let error = wait(store.put(&key("a"), b"y", Condition::None)).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
            say("read");
        }
        other => panic!("no job {other}"),
    }
}

#[test]
fn of_many_creators_one_wins() {
    for _ in 0..3 {
        let (directory, store) = new_store();
        let mut children: Vec<Child> = (0..8).map(|_| spawn(directory.path(), "create")).collect();
        children.iter_mut().for_each(|child| drop(child.stdin.take()));
        let mut winners = Vec::new();
        for child in &mut children {
            let answer: Vec<String> = said(child).collect();
            assert!(child.wait().unwrap().success());
            if answer == ["won"] {
                winners.push(child.id());
            } else {
                assert_eq!(answer, ["lost"]);
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(get(&store, "claim").unwrap().0, winners[0].to_string().as_bytes());
    }
}

#[test]
fn eight_processes_count_to_exactly_four_hundred() {
    let (directory, store) = new_store();
    put(&store, "counter", b"0", Condition::IfAbsent);
    let mut children: Vec<Child> = (0..8).map(|_| spawn(directory.path(), "count")).collect();
    for child in &mut children {
        assert_eq!(said(child).collect::<Vec<_>>(), ["done"]);
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(get(&store, "counter").unwrap().0, b"400");
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn killed_writers_leave_whole_objects_and_a_working_store() {
    let (directory, store) = new_store();
    for round in 0..12 {
        let mut child = spawn(directory.path(), "overwrite");
        let mut lines = said(&mut child);
        for _ in 0..=round {
            assert_eq!(lines.next().as_deref(), Some("put"), "the writer ended by itself");
        }
        // While it writes, readers see whole objects only.
        for _ in 0..20 {
            assert!(is_whole(&get(&store, "object").unwrap().0));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (bytes, etag) = get(&store, "object").unwrap();
        assert!(is_whole(&bytes), "torn after round {round}");
        // The killed process holds up no other, and its object can be swapped.
        stored(put(&store, "object", &object(1), Condition::IfMatch(&etag)));
        assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn killed_uploads_leave_nothing_that_counts() {
    let (directory, store) = new_store();
    for round in 0..6 {
        let mut child = spawn(directory.path(), "upload");
        let mut lines = said(&mut child);
        for _ in 0..=round % 3 {
            assert_eq!(lines.next().as_deref(), Some("begins"), "the writer ended by itself");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for number in 0..10 {
            let size = wait(store.size(&key(&format!("revisions/{number}")))).unwrap();
            assert!(size.is_none_or(|size| size == 8 << 20), "revision {number} has {size:?} bytes");
        }
        put(&store, "other", b"x", Condition::None);
        assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_full_disk_changes_nothing_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(place.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        skip("mounting a small file system needs root");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let store = DirectoryStore::open(place.path()).unwrap();
        put(&store, "a", b"old", Condition::None);
        let big = vec![1; 2 << 20];
        let error = wait(store.put(&key("a"), &big, Condition::None)).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
        let from = file_with(&big);
        let error = wait(store.put_file(&key("b"), from.as_fd(), &content(&big))).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
        assert!(error.to_string().contains("no space is left"), "{error}");
        assert_eq!(get(&store, "a").unwrap().0, b"old");
        assert_eq!(get(&store, "b"), None);
        assert_eq!(leftovers(place.path()), Vec::<PathBuf>::new());
        put(&store, "a", &vec![2; 512 << 10], Condition::None);
    });
    Command::new("umount").arg(place.path()).status().unwrap();
    result.unwrap();
}

#[test]
fn readers_need_no_permission_to_write() {
    if !nix::unistd::geteuid().is_root() {
        skip("becoming another user needs root");
        return;
    }
    let (directory, store) = new_store();
    put(&store, "a", b"x", Condition::None);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test binary may lie where another user cannot reach it; a copy beside the store can be reached.
    let program = tempfile::tempdir().unwrap();
    fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copied = program.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &copied).unwrap();
    use std::os::unix::process::CommandExt;
    let output = Command::new(&copied)
        .args(["--exact", "store_dir::tests::a_process", "--nocapture", "--test-threads=1"])
        .env(JOB, format!("read {}", directory.path().display()))
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("SAYS read"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
