//! The functions under fuzzing: all code that reads bytes from elsewhere. Each function panics when a promise is
//! broken. The fuzz targets call them with the fuzzer's data, and an ordinary test with damaged copies of our own
//! examples.
#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::fs;
use std::io::Write;
use std::path::Path;

use data_encoding::BASE64;
use hostler_archive::{self as archive, UnpackOptions, Unpacked};
use hostler_core::appspec::diagnose::{self, Severity};
use hostler_core::bundle::{BundleEntry, BundleListing, BundlePath, BundleType, EntryKind};
use hostler_core::codedeploy::envelope::{self, Checks, DigestAlgorithm, SignatureAlgorithm};
use hostler_core::codedeploy::specification::{RevisionLocation, Specification};
use hostler_core::codedeploy::wire::{
    Envelope, GetDeploymentSpecificationAnswer, PollHostCommandAnswer, PutHostCommandAcknowledgementAnswer,
};
use hostler_core::ids::Sha256Digest;
use hostler_core::lifecycle::notices::{self, Notice, NoticeKind, Rebalance};
use hostler_core::limits::Limits;
use hostler_core::plan::wanted;
use hostler_core::release::{self, AgentVersion, Document, PAYLOAD_TYPE, SigningPolicy};
use hostler_core::{appspec, config};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        // The plan of a bundle with the files that the appspec names.
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

/// A release document is read or refused. After writing it, it reads as the same.
pub fn release(data: &[u8]) {
    let limits = Limits::default();
    let agent = AgentVersion::current().expect("this agent has a version");
    // With keys: a check that accepts every signature runs the most code.
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
        // A public key is read or refused. Every key has one form.
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
        // Its result does not matter: it must end.
        let _ = Document::parse(&bytes, &limits, agent);
    }
}

/// Cryptography that gives the same answer to everything; yes runs the most code.
struct Says(bool);

impl Checks for Says {
    fn is_digest(&self, _: DigestAlgorithm, _: &[u8], _: &[u8]) -> bool {
        self.0
    }

    fn is_signature(&self, _: SignatureAlgorithm, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        self.0
    }
}

/// An envelope of the CodeDeploy service opens if every signature in it is good, and yields only its own content. The
/// data stands for the service's Base64, which a fuzzer does not know.
pub fn envelope(data: &[u8]) {
    let of = |payload: String| Envelope { format: "PKCS7/JSON".to_owned(), payload };
    let coded = of(BASE64.encode(data));
    assert!(envelope::open(&coded, &Says(false)).is_err(), "nothing is opened that no signature stands for");
    if let Ok(opened) = envelope::open(&coded, &Says(true)) {
        let came = |part: &[u8]| part.is_empty() || data.windows(part.len()).any(|found| found == part);
        assert!(came(opened.content.as_bytes()));
        assert!(opened.certificates().iter().all(|certificate| came(certificate)));
        assert_eq!(opened.signer, Sha256Digest::of(opened.certificates().first().expect("the signer's certificate")));
        specification(opened.content.as_bytes());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        // Few texts are valid Base64: it must end.
        let _ = envelope::open(&of(text.to_owned()), &Says(true));
    }
}

/// A deployment specification of the CodeDeploy service is read, or refused in words without control characters. The
/// result leads only to the place in the specification.
pub fn specification(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = match Specification::parse(text) {
        Ok(found) => found,
        Err(refused) => {
            let shown = refused.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            return;
        }
    };
    assert!(found.group.codedeploy_group_id.is_some());
    if let Some(name) = &found.appspec_name {
        assert!(BundlePath::new(name.as_str()).is_some(), "{name:?} leaves the bundle");
    }
    match &found.revision {
        RevisionLocation::S3 { bucket, key, .. } => assert!(!bucket.is_empty() && !key.is_empty()),
        RevisionLocation::GitHub { account, repository, commit, private, .. } => {
            for part in [account, repository, commit] {
                let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                assert!(plain && !["", ".", ".."].contains(&part.as_str()), "{part:?} is no part of an address");
            }
            assert_eq!(*private, found.github_token.is_some());
        }
        RevisionLocation::Local { path, .. } => assert!(path.is_absolute()),
    }
    stays(&found.revision);
    if found.deployment.as_str().starts_with("d-") {
        let execution = format!("arn/of/{}/0", found.deployment);
        assert_eq!(found.check_execution(&execution), Ok(()), "it is that of its own deployment");
    }
}

/// The CodeDeploy service's answers are read or refused. After writing them, they read as the same.
pub fn wire(data: &[u8]) {
    const OURS: &str = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0";
    if let Ok(answer) = serde_json::from_slice::<PollHostCommandAnswer>(data) {
        stays(&answer);
        if let Some(command) = answer.host_command
            && command.check(OURS).is_ok()
        {
            assert!(OURS.contains(&command.host_identifier) && !command.host_identifier.is_empty());
            assert!(!command.command_name.is_empty());
        }
    }
    if let Ok(answer) = serde_json::from_slice::<PutHostCommandAcknowledgementAnswer>(data) {
        stays(&answer);
    }
    if let Ok(answer) = serde_json::from_slice::<GetDeploymentSpecificationAnswer>(data) {
        stays(&answer);
        let system = answer.deployment_system.clone();
        if let Ok(envelope) = answer.envelope() {
            assert_eq!(system.as_deref(), Some("CodeDeploy"));
            assert!(!envelope.payload.is_empty());
        }
    }
}

/// The metadata service's notices are read or refused. The stored texts are short and printable.
pub fn notices(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let one = [notices::interruption(text), notices::recommendation(text)];
    let found: Vec<Notice> = one.into_iter().flatten().chain(notices::scheduled(text).unwrap_or_default()).collect();
    assert!(found.len() <= 18, "{} notices", found.len());
    for notice in &found {
        for kept in [&notice.id, &notice.word] {
            assert!(kept.len() <= 128 && kept.bytes().all(|b| (b' '..=b'~').contains(&b)), "{kept:?}");
        }
        stays(notice);
        for now_ms in [0, 1_548_061_243_000, u64::MAX] {
            let presses = notice.presses(Rebalance::Note, now_ms);
            assert!(!presses || matches!(notice.kind, NoticeKind::Interruption | NoticeKind::Stop));
            assert!(notice.deadline_ms(now_ms) <= notice.at_ms);
        }
    }
}

/// The written value reads as the same.
fn stays<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_vec(value).expect("what was read can be written");
    assert_eq!(&serde_json::from_slice::<T>(&text).expect("what was written can be read"), value);
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

/// The bundle appears as a whole and matches the listing, or not at all; nothing else changes.
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

/// Limits that a fuzzer reaches quickly.
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
