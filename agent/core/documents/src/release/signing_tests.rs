//! Policies and rotation, with a stand-in for the cryptography: a signature is the digest of key and message.

use proptest::prelude::*;

use super::*;
use crate::bundle::BundleType;
use crate::store::Content;

const AGENT: AgentVersion = AgentVersion { major: 1, minor: 2, patch: 3 };

fn key(number: u8) -> PublicKey {
    let point = [2 + number; 32];
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    PublicKey::from_der(&[&prefix[..], &point].concat()).unwrap()
}

fn sign(key: &PublicKey, message: &[u8]) -> Vec<u8> {
    Sha256Digest::of(&[key.raw(), message].concat()).hex().into_bytes()
}

fn check(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    sign(key, message) == signature
}

fn policy(version: u64, threshold: u32, numbers: &[u8]) -> SigningPolicy {
    SigningPolicy { version, threshold, keys: numbers.iter().map(|n| key(*n)).collect() }
}

fn group(name: &str) -> GroupKey {
    serde_json::from_value(serde_json::json!({ "application": "web", "group": name })).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn envelope() -> Envelope {
    let sha256 = Sha256Digest::of(b"bundle");
    let revision = Revision {
        source: RevisionSource::Key(crate::store::revision_key(&sha256)),
        version_id: None,
        content: Content { size: 6, sha256 },
        bundle_type: BundleType::Tgz,
        label: None,
    };
    Release::new(group("prod"), 7, now(), revision).seal(&Limits::default()).unwrap()
}

fn add(envelope: &mut Envelope, number: u8) {
    let bytes = sign(&key(number), &envelope.pae());
    envelope.add_signature(Signature { key_id: Some(key(number).id().to_string()), bytes });
}

fn signed(numbers: &[u8]) -> Envelope {
    let mut envelope = envelope();
    numbers.iter().for_each(|n| add(&mut envelope, *n));
    envelope
}

#[test]
fn enough_different_keys_must_sign() {
    let two = policy(1, 2, &[1, 2, 3]);
    let ids = |numbers: &[u8]| Trust::Verified { key_ids: numbers.iter().map(|n| key(*n).id()).collect() };
    assert_eq!(verify(Some(&two), &signed(&[3, 1]), &check), Ok(ids(&[1, 3])));
    let once_twice = verify(Some(&two), &signed(&[1, 1]), &check).unwrap_err();
    assert_eq!(once_twice.found().good, [key(1).id()], "two signatures by one key are one");
    let text = once_twice.to_string();
    assert!(text.contains("1 of the 2 signatures that it needs from 3 keys (key policy 1)"), "{text}");
    let stranger = verify(Some(&two), &signed(&[1, 9]), &check).unwrap_err().to_string();
    assert!(stranger.contains(&format!("by keys that are not among them: {}", key(9).id())), "{stranger}");
    let none = verify(Some(&two), &envelope(), &check).unwrap_err().to_string();
    assert_eq!(none, "it is not signed, and 2 of 3 keys must sign (key policy 1)");
    // A signature by another key, or a wrong one, does not invalidate the right ones.
    let mut more = signed(&[9, 1, 2]);
    more.add_signature(Signature { key_id: Some(key(3).id().to_string()), bytes: vec![1; 64] });
    assert_eq!(verify(Some(&two), &more, &check), Ok(ids(&[1, 2])));
}

#[test]
fn a_signature_is_for_one_message_and_one_key() {
    let one = policy(1, 1, &[1]);
    let mut wrong = envelope();
    wrong.add_signature(Signature { key_id: Some(key(1).id().to_string()), bytes: sign(&key(2), &wrong.pae()) });
    let text = verify(Some(&one), &wrong, &check).unwrap_err().to_string();
    assert!(text.contains(&format!("does not match what is signed: {}", key(1).id().short())), "{text}");
    // The same payload as another type of document.
    let mut other = Envelope::unsigned(KEYS_PAYLOAD_TYPE, envelope().payload().to_vec(), &Limits::default()).unwrap();
    other.add_signature(signed(&[1]).signatures()[0].clone());
    verify(Some(&one), &other, &check).unwrap_err();
    // Without a name it is tried with every key.
    let mut unnamed = envelope();
    unnamed.add_signature(Signature { key_id: None, bytes: sign(&key(2), &unnamed.pae()) });
    assert!(verify(Some(&policy(1, 1, &[1, 2])), &unnamed, &check).is_ok());
    assert_eq!(verify(Some(&one), &unnamed, &check).unwrap_err().found().unknown, ["?"]);
}

#[test]
fn without_a_policy_nothing_is_verified_and_that_shows() {
    assert_eq!(verify(None, &envelope(), &check), Ok(Trust::Unsigned));
    let claimed = verify(None, &signed(&[1]), &|_, _, _| panic!("nothing is checked")).unwrap();
    assert!(claimed.to_string().ends_with("not verified: no keys are configured"), "{claimed}");
    let mut sly = envelope();
    sly.add_signature(Signature { key_id: Some("a\n\u{1b}[2Jb".to_owned()), bytes: Vec::new() });
    assert!(!verify(None, &sly, &check).unwrap().to_string().contains('\u{1b}'));
    assert!(!verify(Some(&policy(1, 1, &[1])), &sly, &check).unwrap_err().to_string().contains('\n'));
}

#[test]
fn an_unsigned_manifest_is_not_even_read() {
    let limits = Limits::default();
    let payload = b"{\"domain\": oops".to_vec();
    let bytes = Envelope::unsigned(PAYLOAD_TYPE, payload, &limits).unwrap().to_bytes(&limits).unwrap();
    let policy = policy(1, 1, &[1]);
    let error = Document::open(&bytes, &limits, AGENT, Some(&policy), &check).unwrap_err();
    assert!(matches!(error, OpenError::NotEnough(_)), "{error}");
    let good = signed(&[1]).to_bytes(&limits).unwrap();
    let (document, trust) = Document::open(&good, &limits, AGENT, Some(&policy), &check).unwrap();
    assert_eq!((document.release.sequence, trust.to_string()), (7, format!("signed by {}", key(1).id().short())));
}

#[test]
fn policies_that_nothing_could_satisfy_are_refused() {
    assert_eq!(policy(1, 2, &[1, 2]).check(), Ok(()));
    for (bad, field) in [
        (policy(0, 1, &[1]), "version"),
        (policy(1, 0, &[1]), "threshold"),
        (policy(1, 2, &[1]), "threshold"),
        (policy(1, 1, &[]), "keys"),
        (policy(1, 2, &[1, 1]), "keys"),
        (policy(1, 1, &(0..17).collect::<Vec<u8>>()), "keys"),
    ] {
        assert_eq!(bad.check().unwrap_err().0, field, "{bad:?}");
    }
    assert!(verify(Some(&policy(1, 0, &[])), &envelope(), &check).is_err(), "not even then is anything let through");
}

fn rotation(policy: SigningPolicy, signers: &[u8]) -> Vec<u8> {
    let limits = Limits::default();
    let mut envelope = KeysDocument::new(&group("prod"), policy, now()).seal(&limits).unwrap();
    signers.iter().for_each(|n| add(&mut envelope, *n));
    envelope.to_bytes(&limits).unwrap()
}

#[test]
fn keys_change_only_by_the_old_and_the_new_ones() {
    let limits = Limits::default();
    let (old, new) = (policy(1, 1, &[1, 2]), policy(2, 2, &[2, 3]));
    let step = |bytes: &[u8], name: &str| next_policy(&old, bytes, &group(name), &limits, &check);
    assert_eq!(step(&rotation(new.clone(), &[2, 3]), "prod").unwrap(), new);
    let text = |result: Result<SigningPolicy, RotationError>| result.unwrap_err().to_string();
    assert!(text(step(&rotation(new.clone(), &[3]), "prod")).contains("the keys before it do not stand"));
    assert!(text(step(&rotation(new.clone(), &[1, 3]), "prod")).contains("its own keys do not stand"));
    assert!(text(step(&rotation(new, &[2, 3]), "test")).contains("for another group than web/test"));
    let skips = rotation(policy(3, 1, &[2]), &[2]);
    assert!(text(step(&skips, "prod")).contains("has version 3 and must have version 2"));
    let closed = rotation(policy(2, 3, &[2, 3]), &[2, 3]);
    assert!(text(step(&closed, "prod")).contains("policy.threshold: is 3"));
    let release = signed(&[2]).to_bytes(&limits).unwrap();
    assert!(text(step(&release, "prod")).contains("payloadType"), "a release is no key policy, whoever signed it");
}

#[test]
fn a_host_goes_on_from_what_it_accepted_and_never_back() {
    let (configured, second) = (policy(1, 1, &[1]), policy(2, 1, &[2]));
    let accepted = AcceptedKeys::new(&configured, second.clone());
    assert_eq!(start(&configured, None), &configured);
    assert_eq!(start(&configured, Some(&accepted)), &second);
    // The configuration decides, and cannot by mistake go below the accepted version.
    let other = policy(1, 1, &[7]);
    assert_eq!(start(&other, Some(&accepted)), &other);
    let refusal = not_fallen_back(&other, Some(&accepted)).unwrap_err();
    assert!(refusal.to_string().contains("version 2 or higher"), "{refusal}");
    let ahead = policy(5, 1, &[7]);
    assert_eq!(start(&ahead, Some(&accepted)), &ahead);
    assert_eq!(not_fallen_back(&ahead, Some(&accepted)), Ok(()));
}

proptest! {
    /// Never fewer different keys than the threshold, however often each one signed.
    #[test]
    fn the_threshold_counts_different_keys(threshold in 1u32..4, signers in prop::collection::vec(0u8..6, 0..8)) {
        let policy = policy(1, threshold, &[0, 1, 2, 3]);
        let mut different: Vec<u8> = signers.iter().copied().filter(|n| *n < 4).collect();
        different.sort_unstable();
        different.dedup();
        let result = verify(Some(&policy), &signed(&signers), &check);
        prop_assert_eq!(result.is_ok(), different.len() >= threshold as usize);
    }
}
