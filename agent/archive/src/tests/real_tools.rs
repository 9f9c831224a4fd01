//! Bundles as the usual tools write them, and our bundles as the usual tools read them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use hostler_core::bundle::{BundleType, EntryKind};

use super::support::{Room, snapshot};
use crate::test_support::skip;
use crate::{UnpackOptions, detect, pack};

/// Runs a tool; false with a printed reason if this host does not have it.
fn run(directory: &Path, command: &[&str]) -> bool {
    match Command::new(command[0]).args(&command[1..]).current_dir(directory).output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            skip(format_args!("{} cannot be run: {error}", command[0]));
            false
        }
    }
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    fs::create_dir_all(root.join("in/sub")).unwrap();
    fs::write(root.join("in/appspec.yml"), "version: 0.0\n").unwrap();
    fs::write(root.join("in/sub/run.sh"), "#!/bin/sh\n".repeat(500)).unwrap();
    fs::set_permissions(root.join("in/sub/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("in/\u{e4}\u{f6}.txt"), "text").unwrap();
    fs::write(root.join(format!("in/sub/{}", "n".repeat(200))), "long name").unwrap();
    fs::write(root.join("in/sub/noise"), (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect::<Vec<_>>())
        .unwrap();
    symlink("/srv/x", root.join("in/current")).unwrap();
    symlink("t".repeat(150), root.join("in/long-target")).unwrap();
    fs::hard_link(root.join("in/sub/run.sh"), root.join("in/again.sh")).unwrap();
    let sparse = fs::File::create(root.join("in/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for piece in 0..40 {
        sparse.write_all_at(b"piece", piece * 65_536 + 17).unwrap();
    }
    for name in ["appspec.yml", "sub/run.sh", "sub/noise", "sparse"] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, 0);
        fs::File::open(root.join("in").join(name)).unwrap().set_modified(time).unwrap();
    }
    tree
}

fn check(tree: &Path, archive: &str, kind: BundleType) {
    let bundle = fs::File::open(tree.join(archive)).unwrap();
    assert_eq!(detect(&bundle).unwrap(), kind);
    let room = Room::new();
    let listing = room.unpack_as(&bundle, kind, &UnpackOptions::default()).unwrap();
    assert_eq!(snapshot(&room.destination()), snapshot(&tree.join("in")), "{archive}");
    assert_eq!(crate::list(&room.destination()).unwrap(), listing);
    assert_eq!(listing.get("again.sh".as_ref()).unwrap().kind, EntryKind::File { size: 5000 });
}

#[test]
fn what_tar_writes_in_each_of_its_formats() {
    let tree = tree();
    for format in ["gnu", "pax"] {
        for sparse in [&[][..], &["--sparse"]] {
            for (option, kind) in [("-cf", BundleType::Tar), ("-czf", BundleType::Tgz)] {
                let format = format!("--format={format}");
                let mut command = vec!["tar", &format];
                command.extend(sparse);
                command.extend([option, "x.tar", "-C", "in", "."]);
                if !run(tree.path(), &command) {
                    return;
                }
                check(tree.path(), "x.tar", kind);
            }
        }
    }
    if run(tree.path(), &["zstd", "--version"])
        && run(tree.path(), &["tar", "--zstd", "-cf", "x.tar.zst", "-C", "in", "."])
    {
        check(tree.path(), "x.tar.zst", BundleType::TarZst);
    }
}

#[test]
fn a_sparse_file_stays_sparse() {
    let tree = tree();
    for format in ["--format=gnu", "--format=pax"] {
        if !run(tree.path(), &["tar", format, "--sparse", "-cf", "x.tar", "in/sparse"]) {
            return;
        }
        let bundle = fs::File::open(tree.path().join("x.tar")).unwrap();
        assert!(bundle.metadata().unwrap().len() < 1 << 20, "tar found no holes");
        let room = Room::new();
        room.unpack_as(&bundle, BundleType::Tar, &UnpackOptions::default()).unwrap();
        let metadata = fs::metadata(room.destination().join("in/sparse")).unwrap();
        assert_eq!(metadata.len(), 3 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    }
}

#[test]
fn what_zip_writes() {
    let tree = tree();
    if run(&tree.path().join("in"), &["zip", "-qry", "../x.zip", "."]) {
        check(tree.path(), "x.zip", BundleType::Zip);
        run(&tree.path().join("in"), &["zip", "-qry0", "../stored.zip", "."]);
        check(tree.path(), "stored.zip", BundleType::Zip);
        run(&tree.path().join("in"), &["zip", "-qry", "-fz", "../zip64.zip", "."]);
        check(tree.path(), "zip64.zip", BundleType::Zip);
        // Into a pipe: sizes and checksums come after the data.
        run(&tree.path().join("in"), &["sh", "-c", "zip -qry - . | cat > ../piped.zip"]);
        check(tree.path(), "piped.zip", BundleType::Zip);
    }
}

#[test]
fn the_usual_tools_read_what_we_pack() {
    let tree = tree();
    for (kind, name, command) in [
        (BundleType::Tar, "p.tar", &["tar", "-xf", "../p.tar"][..]),
        (BundleType::Tgz, "p.tgz", &["tar", "-xzf", "../p.tgz"]),
        (BundleType::Zip, "p.zip", &["unzip", "-q", "../p.zip"]),
        (BundleType::TarZst, "p.zst", &["tar", "--zstd", "-xf", "../p.zst"]),
    ] {
        let mut file = fs::File::create(tree.path().join(name)).unwrap();
        let packed = pack(&tree.path().join("in"), &mut file, kind).unwrap();
        file.flush().unwrap();
        let out = tree.path().join("out");
        fs::create_dir(&out).unwrap();
        if run(&out, command) {
            assert_eq!(crate::list(&out).unwrap(), packed.listing, "{name}");
        }
        fs::remove_dir_all(&out).unwrap();
    }
}
