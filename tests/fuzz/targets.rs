//! What is fuzzed: everything that reads bytes from elsewhere. Each function panics when a promise is broken. The fuzz
//! targets call them with what the fuzzer makes up, and an ordinary test with damaged copies of our own examples.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::fs;
use std::io::Write;
use std::path::Path;

use hostler_core::appspec::diagnose::{self, Severity};
use hostler_core::bundle::{BundleEntry, BundleListing, BundlePath, BundleType, EntryKind};
use hostler_core::limits::Limits;
use hostler_core::plan::wanted;
use hostler_core::release::{self, AgentVersion, Document, PAYLOAD_TYPE, SigningPolicy};
use hostler_core::{appspec, config};
use hostler_host::archive::{self, UnpackOptions, Unpacked};

/// An appspec and a configuration are read, or refused with the reason and its place.
pub fn appspec(data: &[u8]) {
    let limits = Limits::default();
    let reading = appspec::read("appspec.yml", data, &limits);
    let wrong = reading.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(reading.spec.is_none(), wrong, "{:?}", reading.diagnostics);
    let text = String::from_utf8_lossy(data);
    let shown = diagnose::render(&reading.diagnostics, &text);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    if let Some(spec) = &reading.spec {
        // The plan of a bundle that holds what the appspec names.
        let entry = |path: &str| BundlePath::new(path.trim_matches('/'));
        let paths = spec.files.iter().filter_map(|file| entry(&file.source));
        let kind = EntryKind::File { size: 1 };
        let mut entries: Vec<_> = paths.map(|path| BundleEntry { path, kind: kind.clone(), mode: 0o644 }).collect();
        entries.sort_by(|a, b| a.path.as_path().cmp(b.path.as_path()));
        entries.dedup_by(|a, b| a.path.as_path() == b.path.as_path());
        if let Err(problems) = wanted(spec, &BundleListing::new(entries), None) {
            assert!(!problems.is_empty());
        }
    }
    if let Err(diagnostics) = config::read(&[("config.yaml".to_owned(), text.clone().into_owned())], &limits) {
        assert!(!diagnostics.is_empty());
        diagnose::render(&diagnostics, &text);
    }
}

/// The public key of RFC 8032 §7.1, test 1.
const KEY: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A release document is read, or refused; what is read is written and read again as the same.
pub fn release(data: &[u8]) {
    let limits = Limits::default();
    let agent = AgentVersion::current().expect("this agent has a version");
    // With keys: a check that says yes to everything leads furthest.
    let policy = SigningPolicy { version: 1, threshold: 1, keys: vec![KEY.parse().expect("a public key")] };
    for yes in [true, false] {
        let opened = Document::open(data, &limits, agent, Some(&policy), &|_, _, _| yes);
        assert!(yes || opened.is_err(), "nothing is followed that no key signed");
        if let Ok((document, _)) = opened {
            let next = release::next_policy(&policy, data, &document.release.group_key(), &limits, &|_, _, _| yes);
            assert!(next.is_err(), "a release is no key policy");
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        // A public key is read, or refused; what is read has one form.
        if let Ok(key) = text.parse::<release::PublicKey>() {
            assert_eq!(key.to_pem().parse(), Ok(key));
        }
    }
    if let Ok(document) = Document::parse(data, &limits, agent) {
        let sealed = document.release.seal(&limits).expect("what was read can be written");
        let bytes = sealed.to_bytes(&limits).expect("what was read can be written");
        let again = Document::parse(&bytes, &limits, agent).expect("what was written can be read");
        assert_eq!(again.release, document.release);
    }
    // The manifest alone, which a damaged envelope hides.
    if let Ok(envelope) = release::Envelope::unsigned(PAYLOAD_TYPE, data.to_vec(), &limits)
        && let Ok(bytes) = envelope.to_bytes(&limits)
    {
        // What it says does not matter: it must come to an end.
        let _ = Document::parse(&bytes, &limits, agent);
    }
}

/// A tar, tgz or tar.zst.
pub fn tar(data: &[u8]) {
    let kind = archive::detect_head(data.get(..archive::HEAD_BYTES).unwrap_or(data));
    match kind {
        Ok(kind @ (BundleType::Tgz | BundleType::TarZst)) => unpack(data, kind),
        _ => unpack(data, BundleType::Tar),
    }
}

/// A zip.
pub fn zip(data: &[u8]) {
    unpack(data, BundleType::Zip);
}

/// The bundle appears as a whole and as the listing says, or not at all; nothing else is touched.
fn unpack(data: &[u8], kind: BundleType) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let above = scratch.path();
    fs::write(above.join("canary"), "canary").expect("the canary");
    let mut bundle = tempfile::tempfile().expect("a temporary file");
    bundle.write_all(data).expect("writing the bundle");
    let destination = above.join("in/bundle");
    fs::create_dir(above.join("in")).expect("the place for the bundle");
    let unpacked =
        archive::unpack(&bundle, kind, &destination, &UnpackOptions { limits: small(), allow_setuid: false });
    match unpacked {
        Ok(Unpacked { listing, .. }) => {
            assert_eq!(names(&above.join("in")), ["bundle"]);
            let found = archive::list(&destination).expect("what was unpacked can be listed");
            let of = |listing: &BundleListing| -> Vec<_> {
                listing.entries().iter().map(|e| (e.path.clone(), e.kind.clone())).collect()
            };
            assert_eq!(of(&listing), of(&found));
        }
        Err(_) => assert_eq!(names(&above.join("in")), Vec::<String>::new()),
    }
    assert_eq!(names(above), ["canary", "in"]);
    assert_eq!(fs::read(above.join("canary")).expect("the canary"), b"canary");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listing a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Bounds that a fuzzer can reach in no time.
fn small() -> Limits {
    Limits {
        bundle_bytes: 4 << 20,
        unpacked_bytes: 4 << 20,
        expansion_floor_bytes: 1 << 20,
        entries: 1000,
        path_bytes: 500,
        path_depth: 20,
        ..Limits::default()
    }
}
