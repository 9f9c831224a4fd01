use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use hostler_core::ids::Sha256Digest;
use hostler_core::limits::Limits;
use hostler_core::release::{
    AgentVersion, Document, Envelope, OpenError, PAYLOAD_TYPE, ReleaseError, Signature, SigningPolicy, Trust, pae,
};

use super::*;
use crate::test_support::skip;

const BOTH: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn ed25519(point: &str) -> PublicKey {
    PublicKey::from_der(&[hex("302a300506032b6570032100"), hex(point)].concat()).unwrap()
}

#[test]
fn a_pair_is_written_once_and_read_again() {
    for algorithm in BOTH {
        let scratch = tempfile::tempdir().unwrap();
        let (private, public) = (scratch.path().join("ci.key"), scratch.path().join("ci.pub"));
        let key = PrivateKey::generate(algorithm).unwrap();
        key.write(&private, &public).unwrap();
        assert_eq!(std::fs::metadata(&private).unwrap().mode() & 0o777, 0o600);
        assert_eq!(&read_public(&public).unwrap(), key.public());
        let again = PrivateKey::read(&private).unwrap();
        assert_eq!((again.public(), again.public().algorithm()), (key.public(), algorithm));
        let signature = again.sign(b"message").unwrap();
        assert!(verify(key.public(), b"message", &signature));
        assert!(!verify(key.public(), b"massage", &signature));
        assert!(!verify(PrivateKey::generate(algorithm).unwrap().public(), b"message", &signature), "wrong key");
        // Neither of the files is ever overwritten.
        let before = std::fs::read(&private).unwrap();
        assert!(matches!(key.write(&private, &scratch.path().join("new.pub")), Err(KeyError::Exists { .. })));
        assert!(matches!(key.write(&scratch.path().join("new.key"), &public), Err(KeyError::Exists { .. })));
        assert!(!scratch.path().join("new.key").exists());
        assert_eq!(std::fs::read(&private).unwrap(), before);
    }
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (private, public) = (scratch.path().join("a"), scratch.path().join("b"));
    PrivateKey::generate(Algorithm::Ed25519).unwrap().write(&private, &public).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = PrivateKey::read(&private).unwrap_err().to_string();
        let confused = PrivateKey::read(&public).unwrap_err().to_string();
        assert!(confused.contains("name the private one"), "{confused}");
        assert!(error.contains(&format!("has mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn what_is_no_key_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("key");
    for (text, expected) in [
        (to_pem("ENCRYPTED PRIVATE KEY", &[1]), "openssl pkey"),
        (to_pem("EC PRIVATE KEY", &[1]), "openssl pkcs8"),
        (to_pem("PUBLIC KEY", &[1]), "name the private one"),
        (to_pem("PRIVATE KEY", &[1]), "neither an Ed25519 nor a P-256 key"),
        (String::new(), "not PEM"),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = PrivateKey::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = read_public(&path).unwrap_err();
    assert!(matches!(error, KeyError::PublicKey { source: InvalidKey::NotBase64, .. }), "{error}");
}

/// RFC 8032 §7.1: tests 1 to 3.
#[test]
fn the_published_ed25519_vectors_hold() {
    for (key, message, signature) in [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let (key, message, signature) = (ed25519(key), hex(message), hex(signature));
        assert!(verify(&key, &message, &signature));
        for at in [0, 31, 32, 63] {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert!(!verify(&key, &message, &damaged), "byte {at}");
        }
        assert!(!verify(&key, &message, &signature[..63]));
        assert!(!verify(&key, &message, &[&signature[..], &[0]].concat()));
    }
}

/// S and S + L are the same number to a careless verifier (RFC 8032 §5.1.7: S must be below L).
#[test]
fn a_signature_with_another_form_of_s_is_refused() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let mut signature = key.sign(b"message").unwrap();
    assert!(verify(key.public(), b"message", &signature));
    let mut carry = 0u16;
    for (byte, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits into 256 bits");
    assert!(!verify(key.public(), b"message", &signature));
}

/// With R = the neutral point in its canonical and in its other encoding, S = 0 and a key of small order, a lax
/// verifier accepts any message as signed. The key cannot even be made here; the verifier refuses R.
#[test]
fn points_that_are_not_canonical_sign_nothing() {
    let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let neutral = [&[1u8][..], &[0; 31]].concat();
    let not_canonical = [&[0xee][..], &[0xff; 30], &[0x7f]].concat();
    for r in [neutral.clone(), not_canonical.clone()] {
        assert!(!verify(key.public(), b"message", &[&r[..], &[0; 32]].concat()));
    }
    for point in [neutral, not_canonical] {
        let der = [hex("302a300506032b6570032100"), point].concat();
        assert_eq!(PublicKey::from_der(&der), Err(InvalidKey::WeakPoint));
    }
}

#[test]
fn an_ecdsa_signature_is_exactly_its_der() {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let signature = key.sign(b"message").unwrap();
    assert!(verify(key.public(), b"message", &signature));
    assert!(!verify(key.public(), b"message", &[&signature[..], &[0]].concat()));
    // The sequence's length in a longer form than needed.
    let long = [&[signature[0], 0x81][..], &signature[1..]].concat();
    assert!(!verify(key.public(), b"message", &long));
}

/// A P-256 key with a point that is not on the curve.
#[test]
fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let signature = key.sign(b"message").unwrap();
    let mut der = key.public().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert!(!verify(&PublicKey::from_der(&der).unwrap(), b"message", &signature));
}

const AGENT: AgentVersion = AgentVersion { major: 1, minor: 0, patch: 0 };

/// A release in an envelope, signed with real keys over the type that is given.
fn signed(payload: &str, payload_type: &str, keys: &[&PrivateKey]) -> Vec<u8> {
    let limits = Limits::default();
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload.as_bytes().to_vec(), &limits).unwrap();
    for key in keys {
        let bytes = key.sign(&pae(payload_type, payload.as_bytes())).unwrap();
        envelope.add_signature(Signature { key_id: Some(key.public().id().to_string()), bytes });
    }
    envelope.to_bytes(&limits).unwrap()
}

fn manifest() -> String {
    let digest = Sha256Digest::of(b"bundle");
    format!(
        r#"{{"domain":"hostler/release","format":1,"application":"web","group":"prod","sequence":7,"created":"2026-11-21T10:00:00Z","revision":{{"key":"revisions/{}","sha256":"{digest}","size":6,"type":"tgz"}}}}"#,
        digest.hex()
    )
}

#[test]
fn releases_are_judged_with_real_signatures() {
    let (one, two) =
        (PrivateKey::generate(Algorithm::Ed25519).unwrap(), PrivateKey::generate(Algorithm::EcdsaP256).unwrap());
    let policy = |threshold, keys: &[&PrivateKey]| SigningPolicy {
        version: 1,
        threshold,
        keys: keys.iter().map(|key| key.public().clone()).collect(),
    };
    let open = |bytes: &[u8], policy: &SigningPolicy| {
        Document::open(bytes, &Limits::default(), AGENT, Some(policy), &verify).map(|(_, trust)| trust)
    };
    let refused = |bytes: &[u8], policy: &SigningPolicy| {
        let error = open(bytes, policy).unwrap_err();
        assert!(matches!(error, OpenError::NotEnough(_)), "{error}");
    };
    let both = policy(2, &[&one, &two]);
    let good = signed(&manifest(), PAYLOAD_TYPE, &[&one, &two]);
    assert_eq!(open(&good, &both).unwrap(), Trust::Verified { key_ids: vec![one.public().id(), two.public().id()] });
    // Wrong key; wrong domain; two signatures by one key; a manifest that was changed after signing.
    refused(&signed(&manifest(), PAYLOAD_TYPE, &[&two]), &policy(1, &[&one]));
    refused(&signed(&manifest(), "application/vnd.hostler.keys+json", &[&one]), &policy(1, &[&one]));
    refused(&signed(&manifest(), "", &[&one]), &policy(1, &[&one]));
    refused(&signed(&manifest(), PAYLOAD_TYPE, &[&one, &one]), &both);
    let lower = manifest().replace("\"sequence\":7", "\"sequence\":8");
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, lower.into_bytes(), &Limits::default()).unwrap();
    envelope.add_signature(Envelope::parse(&good, PAYLOAD_TYPE, &Limits::default()).unwrap().signatures()[0].clone());
    refused(&envelope.to_bytes(&Limits::default()).unwrap(), &policy(1, &[&one]));
    // Another domain inside a good signature, a key twice, and a manifest that is too long, under any signature.
    for (payload, expected) in [
        (manifest().replace("hostler/release", "hostler/keys"), "domain is"),
        (manifest().replace("\"sequence\":7", "\"sequence\":7,\"sequence\":8"), "comes twice"),
    ] {
        let error = open(&signed(&payload, PAYLOAD_TYPE, &[&one]), &policy(1, &[&one])).unwrap_err();
        assert!(matches!(error, OpenError::Unreadable(_)) && error.to_string().contains(expected), "{error}");
    }
    let long = manifest()
        .replace("2026-11-21T10:00:00Z\",", &format!("2026-11-21T10:00:00Z\",\"x\":\"{}\",", "x".repeat(4000)));
    let error = Envelope::unsigned(PAYLOAD_TYPE, long.into_bytes(), &Limits::default()).unwrap_err();
    assert!(matches!(error, ReleaseError::ManifestTooLarge { .. }), "{error}");
}

/// OpenSSL as a second opinion on key files and signatures, if it is installed.
#[test]
fn openssl_reads_our_keys_and_agrees_about_signatures() {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        skip("openssl is not installed");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(scratch.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    std::fs::write(path("message"), b"message").unwrap();
    // Our keys and signatures, read by OpenSSL.
    for (algorithm, raw) in
        [(Algorithm::Ed25519, &["-rawin"][..]), (Algorithm::EcdsaP256, &["-rawin", "-digest", "sha256"])]
    {
        let name = algorithm.name().replace(' ', "-");
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        let key = PrivateKey::generate(algorithm).unwrap();
        key.write(&path(&private), &path(&public)).unwrap();
        assert_eq!(openssl(&["pkey", "-in", &private, "-pubout"]), key.public().to_pem().into_bytes());
        std::fs::write(path("signature"), key.sign(b"message").unwrap()).unwrap();
        openssl(
            &[&["pkeyutl", "-verify", "-pubin", "-inkey", &public, "-in", "message", "-sigfile", "signature"], raw]
                .concat(),
        );
        openssl(&[&["pkeyutl", "-sign", "-inkey", &private, "-in", "message", "-out", "theirs"], raw].concat());
        assert!(verify(key.public(), b"message", &std::fs::read(path("theirs")).unwrap()));
    }
    // OpenSSL's keys, read by us.
    for options in [&["-algorithm", "ed25519"][..], &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]] {
        openssl(&[&["genpkey", "-out", "theirs.key"], options].concat());
        std::fs::set_permissions(path("theirs.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let key = PrivateKey::read(&path("theirs.key")).unwrap();
        assert_eq!(openssl(&["pkey", "-in", "theirs.key", "-pubout"]), key.public().to_pem().into_bytes());
        let spki = openssl(&["pkey", "-in", "theirs.key", "-pubout", "-outform", "DER"]);
        assert_eq!(key.public().id().to_string(), Sha256Digest::of(&spki).to_string());
    }
}
