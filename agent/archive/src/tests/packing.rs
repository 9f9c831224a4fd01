use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::SystemTime;

use hostler_core::bundle::{BundleType, EntryKind};
use hostler_core::ids::Sha256Digest;
use hostler_core::limits::Limits;

use super::support::{Room, snapshot};
use crate::test_support::without_root;
use crate::{ArchiveError, EntryProblem, UnpackOptions, detect, list, pack, unpack};

const FORMS: [BundleType; 4] = [BundleType::Tar, BundleType::Tgz, BundleType::TarZst, BundleType::Zip];

/// A tree with every kind of entry that a bundle may hold.
fn fill(tree: &Path, reverse: bool) {
    let deep = format!("deep/{}/{}", "a".repeat(120), "b".repeat(120));
    let mut files = vec![
        ("appspec.yml".to_owned(), 0o644, b"version: 0.0\n".to_vec()),
        ("scripts/start.sh".to_owned(), 0o755, b"#!/bin/sh\n".to_vec()),
        ("scripts-old".to_owned(), 0o600, Vec::new()),
        ("\u{e9} \u{1f600}\n\\C:".to_owned(), 0o444, b"odd name".to_vec()),
        (format!("{deep}/file"), 0o644, b"long path".to_vec()),
        ("large".to_owned(), 0o640, (0..700_000_u32).map(|n| (n % 251) as u8).collect()),
    ];
    if reverse {
        files.reverse();
    }
    for (path, mode, content) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("/srv/elsewhere", tree.join("current")).unwrap();
    symlink("x".repeat(300), tree.join("long-link")).unwrap();
}

fn tree(reverse: bool) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fill(tree.path(), reverse);
    tree
}

fn without_times(directory: &Path) -> Vec<String> {
    let skip_time = |line: String| {
        let mut words: Vec<_> = line.rsplitn(4, ' ').map(str::to_owned).collect();
        if words.len() == 4 && words[2].parse::<i64>().is_ok() {
            words.remove(2);
        }
        words.join(" ")
    };
    snapshot(directory).into_iter().map(skip_time).collect()
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_comes_back() {
    let (first, second) = (tree(false), tree(true));
    let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(second.path().join("large")).unwrap().set_modified(old).unwrap();
    for form in FORMS {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let packed = pack(first.path(), &mut one, form).unwrap();
        assert_eq!(pack(second.path(), &mut two, form).unwrap(), packed);
        assert!(one == two, "{} differs", form.name());
        assert_eq!((packed.size, packed.digest), (one.len() as u64, Sha256Digest::of(&one)));

        let room = Room::new();
        #[allow(clippy::disallowed_methods, reason = "a file's time is compared with the clock's")]
        let before = SystemTime::now() - std::time::Duration::from_secs(5);
        assert_eq!(room.unpack(&one).unwrap(), packed.listing, "{}", form.name());
        assert_eq!(without_times(&room.destination()), without_times(first.path()), "{}", form.name());
        assert_eq!(list(&room.destination()).unwrap(), packed.listing);
        let written = fs::metadata(room.destination().join("large")).unwrap().modified().unwrap();
        assert!(written > before, "a time of zero means the time of unpacking");
    }
}

#[test]
fn content_mode_and_name_change_the_bytes() {
    let digest = |tree: &Path| pack(tree, std::io::sink(), BundleType::Tgz).unwrap().digest;
    let tree = tree(false);
    let start = digest(tree.path());
    let script = tree.path().join("scripts/start.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let mode = digest(tree.path());
    fs::write(&script, "#!/bin/sx\n").unwrap();
    let content = digest(tree.path());
    fs::rename(&script, tree.path().join("scripts/stop.sh")).unwrap();
    let name = digest(tree.path());
    let different: std::collections::BTreeSet<_> = [start, mode, content, name].into_iter().collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn what_cannot_be_packed_is_named() {
    let named = |tree: &Path, name: &str| {
        for form in FORMS {
            let error = pack(tree, std::io::sink(), form).unwrap_err();
            assert!(error.to_string().contains(name), "{}: {error}", form.name());
        }
    };
    let tree = tempfile::tempdir().unwrap();
    let socket = tree.path().join("the-socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    named(tree.path(), "the-socket");
    fs::remove_file(&socket).unwrap();

    let fifo = tree.path().join("the-fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    named(tree.path(), "the-fifo");
    fs::remove_file(&fifo).unwrap();

    let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"bad\xff");
    fs::write(tree.path().join(bytes), "").unwrap();
    named(tree.path(), "bad\u{fffd}");
    fs::remove_file(tree.path().join(bytes)).unwrap();

    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(tree.path().join("secret"), "").unwrap();
    fs::set_permissions(tree.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    without_root(|| named(tree.path(), "secret"));
}

#[test]
fn a_directory_is_copied_under_the_same_policy() {
    let source = tree(false);
    fs::hard_link(source.path().join("large"), source.path().join("large-too")).unwrap();
    let bundle = File::open(source.path()).unwrap();
    assert_eq!(detect(&bundle).unwrap(), BundleType::Directory);
    let room = Room::new();
    let listing = room.unpack_as(&bundle, BundleType::Directory, &UnpackOptions::default()).unwrap();
    assert_eq!(snapshot(&room.destination()), snapshot(source.path()));
    assert_eq!(list(source.path()).unwrap(), listing);
    assert_eq!(listing.get("large-too".as_ref()).unwrap().kind, EntryKind::File { size: 700_000 });

    fs::set_permissions(source.path().join("large"), fs::Permissions::from_mode(0o4755)).unwrap();
    let refused = Room::new().unpack_as(&bundle, BundleType::Directory, &UnpackOptions::default());
    assert!(matches!(refused, Err(ArchiveError::Entry { problem: EntryProblem::Setuid, .. })));
    fs::set_permissions(source.path().join("large"), fs::Permissions::from_mode(0o644)).unwrap();

    let limits = Limits { unpacked_bytes: 1000, ..Limits::default() };
    let options = UnpackOptions { limits, ..UnpackOptions::default() };
    assert!(matches!(
        Room::new().unpack_as(&bundle, BundleType::Directory, &options),
        Err(ArchiveError::TooLarge { .. })
    ));
    let _listener = UnixListener::bind(source.path().join("socket")).unwrap();
    let error = Room::new().unpack_as(&bundle, BundleType::Directory, &UnpackOptions::default()).unwrap_err();
    assert!(error.to_string().contains("socket"), "{error}");
}

#[test]
fn a_directory_is_not_copied_into_itself() {
    let source = tree(false);
    let bundle = File::open(source.path()).unwrap();
    let inside = source.path().join("empty/copy");
    let error = unpack(&bundle, BundleType::Directory, &inside, &UnpackOptions::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Destination { .. }), "{error}");
    assert_eq!(fs::read_dir(source.path().join("empty")).unwrap().count(), 0);
}

#[test]
fn destinations_must_be_new_or_empty_and_old_leftovers_go() {
    let mut bytes = Vec::new();
    let source = tree(false);
    pack(source.path(), &mut bytes, BundleType::Tar).unwrap();
    let bundle = super::support::file_with(&bytes);
    let room = tempfile::tempdir().unwrap();
    let destination = room.path().join("d");
    let run = || unpack(&bundle, BundleType::Tar, &destination, &UnpackOptions::default());

    fs::write(&destination, "a file").unwrap();
    assert!(matches!(run(), Err(ArchiveError::Destination { .. })));
    fs::remove_file(&destination).unwrap();
    symlink("/tmp", &destination).unwrap();
    assert!(matches!(run(), Err(ArchiveError::Destination { .. })));
    fs::remove_file(&destination).unwrap();

    // The leftovers of a crash, and an empty directory in the way.
    fs::create_dir(&destination).unwrap();
    fs::create_dir_all(room.path().join(".d.partial/x")).unwrap();
    run().unwrap();
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    assert!(matches!(run(), Err(ArchiveError::Destination { .. })));
    assert!(destination.join("appspec.yml").exists());
    crate::sync_filesystem(&destination).unwrap();
}

#[test]
fn types_are_told_by_content() {
    let source = tree(false);
    for form in FORMS {
        let mut bytes = Vec::new();
        pack(source.path(), &mut bytes, form).unwrap();
        assert_eq!(detect(&super::support::file_with(&bytes)).unwrap(), form);
    }
    for unknown in [&b""[..], b"plain text", b"PK", b"\x7fELF", &[0; 100]] {
        let error = detect(&super::support::file_with(unknown)).unwrap_err();
        assert!(matches!(error, ArchiveError::UnknownType { .. }), "{error}");
    }
}
