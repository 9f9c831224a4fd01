//! A small bundle of each form, cut at every byte and damaged at every byte.

use std::fs;

use hostler_core::bundle::BundleType;

use super::support::{Room, file_with};
use crate::{UnpackOptions, pack};

const FORMS: [BundleType; 4] = [BundleType::Tar, BundleType::Tgz, BundleType::TarZst, BundleType::Zip];

fn small_tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("d")).unwrap();
    fs::write(tree.path().join("d/file"), "some content\n".repeat(20)).unwrap();
    fs::write(tree.path().join("empty"), "").unwrap();
    std::os::unix::fs::symlink("d/file", tree.path().join("link")).unwrap();
    tree
}

#[test]
fn a_bundle_cut_at_any_byte_is_an_error_and_leaves_nothing() {
    let tree = small_tree();
    for form in FORMS {
        let mut bytes = Vec::new();
        pack(tree.path(), &mut bytes, form).unwrap();
        let room = Room::new();
        for length in 0..bytes.len() {
            let cut = file_with(&bytes[..length]);
            let result = room.unpack_as(&cut, form, &UnpackOptions::default());
            assert!(result.is_err(), "{} cut to {length} of {} bytes was accepted", form.name(), bytes.len());
        }
        room.unpack(&bytes).unwrap();
    }
}

#[test]
fn a_damaged_byte_gives_an_error_or_the_same_names_and_never_more() {
    let tree = small_tree();
    for form in FORMS {
        let mut bytes = Vec::new();
        let packed = pack(tree.path(), &mut bytes, form).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            let room = Room::new();
            // A tar archive has no checksum over contents; everything else must notice.
            let result = room.unpack_as(&file_with(&damaged), form, &UnpackOptions::default());
            if let (Ok(listing), true) = (&result, matches!(form, BundleType::Tgz | BundleType::TarZst)) {
                assert_eq!(listing, &packed.listing, "{} damaged at {at}", form.name());
            }
            // Not read back from the disk: a damaged mode may have closed a directory to its owner.
            if let Ok(listing) = &result {
                let found = listing.entries().len();
                assert!(found <= packed.listing.entries().len(), "{} damaged at {at}: {listing:?}", form.name());
            }
        }
    }
}
