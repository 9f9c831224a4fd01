//! The fuzz targets' functions over damaged copies of our own examples: this finds what a fuzzer finds in its first
//! second, on every machine and with an ordinary compiler, in 20 seconds for all of them. `packaging/check` fuzzes with
//! libFuzzer and AddressSanitizer, for a configurable time.

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::codedeploy::envelope;
use crate::support::host::{GROUP, Host};

fn examples() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hooks-examples");
    ["hello", "web-service"].map(|name| examples.join(name)).into()
}

/// The valid documents of one kind, which the fuzzer also starts from.
fn documents(kind: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/documents").join(kind);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The same damage on every run.
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The stored bytes of the examples, packed in one form.
fn packed(form: &str) -> Vec<Vec<u8>> {
    let host = Host::new();
    let pushed = examples().into_iter().map(|example| {
        let output = host.hostler(&["push", example.to_str().unwrap(), "store", "--type", form, "--json"]).with_code(0);
        fs::read(output.json()["location"].as_str().unwrap().trim_start_matches("file://")).unwrap()
    });
    pushed.collect()
}

/// Passes each seed to `check`, and then `times` damaged copies: bits flipped, bytes set, cut out, doubled.
fn damaged(seeds: &[Vec<u8>], times: usize, check: impl Fn(&[u8])) {
    // xorshift: the same damage on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (end.max(1) as u64)).unwrap()
    };
    seeds.iter().for_each(|seed| check(seed));
    for round in 0..times {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            let end = (at + 1 + below(64)).min(bytes.len());
            match below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 0xff, b'/', b'.', b'\n', b'0', b'-', b'9'][below(8)],
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let copy = bytes[at..end].to_vec();
                    let to = below(bytes.len());
                    drop(bytes.splice(to..to, copy));
                }
                _ => {
                    let copy = bytes[at..end].to_vec();
                    let to = below(bytes.len().saturating_sub(copy.len()));
                    bytes[to..to + copy.len()].copy_from_slice(&copy);
                }
            }
        }
        check(&bytes);
    }
}

#[test]
fn damaged_appspecs() {
    let mut seeds: Vec<Vec<u8>> = examples().iter().map(|e| fs::read(e.join("appspec.yml")).unwrap()).collect();
    seeds.push(
        b"instance_id: i-1\npoll: 60s\ngroups:\n  - application: a\n    group: b\n    max_revisions: 3\n".to_vec(),
    );
    damaged(&seeds, 1500, targets::appspec);
}

#[test]
fn damaged_tars() {
    damaged(&packed("tar"), 400, targets::tar);
    damaged(&packed("tgz"), 200, targets::tar);
    damaged(&packed("tar.zst"), 200, targets::tar);
}

#[test]
fn damaged_zips() {
    damaged(&packed("zip"), 500, targets::zip);
}

#[test]
fn damaged_releases() {
    let host = Host::new();
    let revision = host.push(examples()[0].to_str().unwrap());
    let released = host.hostler(&[&["release", "store", &revision, "--json"], &GROUP[..]].concat()).with_code(0).json();
    let document = fs::read(released["location"].as_str().unwrap().trim_start_matches("file://")).unwrap();
    let agent = hostler_core::release::AgentVersion::current().unwrap();
    let parsed = hostler_core::release::Document::parse(&document, &Default::default(), agent).unwrap();
    let manifest = parsed.envelope.payload().to_vec();
    damaged(&[document, manifest], 3000, targets::release);
}

#[test]
fn damaged_envelopes() {
    let signer = envelope::signer();
    let seeds = documents("specification").into_iter().map(|specification| {
        let pem = envelope::signed(signer.path(), "sha256", std::str::from_utf8(&specification).unwrap());
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        data_encoding::BASE64.decode(base64.as_bytes()).unwrap()
    });
    damaged(&seeds.collect::<Vec<_>>(), 3000, targets::envelope);
}

#[test]
fn damaged_specifications() {
    damaged(&documents("specification"), 3000, targets::specification);
}

#[test]
fn damaged_answers_of_the_codedeploy_service() {
    damaged(&documents("wire"), 3000, targets::wire);
}

#[test]
fn damaged_notices_of_ec2() {
    damaged(&documents("notices"), 3000, targets::notices);
}
