//! Envelopes made by OpenSSL, as the operator of a service makes them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hostler_core::ids::Sha256Digest;

use super::*;

/// The bytes of PEM.
fn decode(payload: &str) -> Vec<u8> {
    let base64: String = payload.lines().filter(|line| !line.starts_with('-')).collect();
    data_encoding::BASE64.decode(base64.as_bytes()).unwrap()
}

struct Signer(tempfile::TempDir);

fn openssl(directory: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").current_dir(directory).args(arguments).output().unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Signer {
    fn new(key: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut arguments =
            vec!["req", "-x509", "-nodes", "-subj", "/CN=signer", "-days", "2", "-keyout", "key", "-out", "crt"];
        arguments.extend(key);
        openssl(directory.path(), &arguments);
        Self(directory)
    }

    fn sign(&self, content: &str, extra: &[&str]) -> Envelope {
        let directory = self.0.path();
        std::fs::write(directory.join("content"), content).unwrap();
        let mut arguments = vec![
            "smime",
            "-sign",
            "-nodetach",
            "-binary",
            "-outform",
            "PEM",
            "-signer",
            "crt",
            "-inkey",
            "key",
            "-in",
            "content",
            "-out",
            "signed",
        ];
        arguments.extend(extra);
        openssl(directory, &arguments);
        let payload = std::fs::read_to_string(directory.join("signed")).unwrap();
        Envelope { format: "PKCS7/JSON".to_owned(), payload }
    }
}

const RSA_KEY: [&str; 2] = ["-newkey", "rsa:2048"];
const EC_KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const CONTENT: &str = r#"{"DeploymentId":"d-1","Note":"ä"}"#;

#[test]
fn what_openssl_signs_is_opened_whatever_key_and_digest() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&RSA_KEY, &[]),
        (&RSA_KEY, &["-md", "sha1"]),
        (&RSA_KEY, &["-md", "sha384"]),
        (&RSA_KEY, &["-md", "sha512"]),
        (&RSA_KEY, &["-noattr"]),
        (&EC_KEY, &["-md", "sha256"]),
    ];
    for (key, extra) in cases {
        let signer = Signer::new(key);
        let opened = open(&signer.sign(CONTENT, extra)).unwrap_or_else(|e| panic!("{key:?} {extra:?}: {e}"));
        assert_eq!(opened.content, CONTENT);
        let certificate = CertificateDer::from_pem_file(signer.0.path().join("crt")).unwrap();
        assert_eq!(opened.signer, Sha256Digest::of(&certificate));
    }
}

#[test]
fn altered_content_is_refused_with_and_without_signed_attributes() {
    let signer = Signer::new(&RSA_KEY);
    for extra in [&[][..], &["-noattr"]] {
        let envelope = signer.sign(CONTENT, extra);
        let mut bytes = decode(&envelope.payload);
        let at = bytes.windows(3).position(|w| w == b"d-1").unwrap();
        bytes[at + 2] = b'2';
        let payload = data_encoding::BASE64.encode(&bytes);
        assert_eq!(open(&Envelope { payload, ..envelope }).unwrap_err(), EnvelopeError::BadSignature);
    }
}

#[test]
fn no_changed_byte_and_no_cut_gets_other_content_through() {
    let signer = Signer::new(&EC_KEY);
    let envelope = signer.sign(CONTENT, &[]);
    let bytes = decode(&envelope.payload);
    let with = |bytes: &[u8]| open(&Envelope { payload: data_encoding::BASE64.encode(bytes), ..envelope.clone() });
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x21;
        if let Ok(opened) = with(&changed) {
            assert_eq!(opened.content, CONTENT, "byte {at}");
        }
        assert!(with(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_signature_by_somebody_else_is_refused() {
    let certificate = |signer: &Signer| CertificateDer::from_pem_file(signer.0.path().join("crt")).unwrap().to_vec();
    let one = Signer::new(&EC_KEY);
    let from = certificate(&one);
    // It replaces the first certificate, with which it shares the name but neither key nor serial number.
    let to = std::iter::repeat_with(|| certificate(&Signer::new(&EC_KEY))).find(|to| to.len() == from.len()).unwrap();
    let mut forged = decode(&one.sign(CONTENT, &[]).payload);
    let at = forged.windows(from.len()).position(|w| w == from).unwrap();
    forged.splice(at..at + from.len(), to);
    let payload = data_encoding::BASE64.encode(&forged);
    assert!(open(&Envelope { format: "PKCS7/JSON".to_owned(), payload }).is_err());
}

#[test]
fn other_formats_and_detached_signatures_are_refused() {
    let envelope = |format: &str, payload: &str| Envelope { format: format.to_owned(), payload: payload.to_owned() };
    assert!(matches!(open(&envelope("TEXT/JSON", CONTENT)), Err(EnvelopeError::Format(_))));
    assert!(matches!(open(&envelope("PKCS7/JSON", CONTENT)), Err(EnvelopeError::Malformed(_))));
    assert!(matches!(open(&envelope("PKCS7/JSON", "")), Err(EnvelopeError::Malformed(_))));
    let signer = Signer::new(&EC_KEY);
    std::fs::write(signer.0.path().join("content"), CONTENT).unwrap();
    openssl(
        signer.0.path(),
        &[
            "smime", "-sign", "-binary", "-outform", "PEM", "-signer", "crt", "-inkey", "key", "-in", "content",
            "-out", "s",
        ],
    );
    let payload = std::fs::read_to_string(signer.0.path().join("s")).unwrap();
    assert!(matches!(open(&envelope("PKCS7/JSON", &payload)), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn a_chain_leads_to_the_configured_authority_or_is_refused() {
    let authority = Signer::new(&EC_KEY);
    let directory = authority.0.path();
    std::fs::write(directory.join("ext"), "basicConstraints=CA:FALSE\nextendedKeyUsage=codeSigning\n").unwrap();
    openssl(
        directory,
        &[
            "req",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            "/CN=leaf",
            "-keyout",
            "leaf.key",
            "-out",
            "leaf.csr",
        ],
    );
    openssl(
        directory,
        &[
            "x509",
            "-req",
            "-in",
            "leaf.csr",
            "-CA",
            "crt",
            "-CAkey",
            "key",
            "-CAcreateserial",
            "-days",
            "1",
            "-extfile",
            "ext",
            "-out",
            "leaf.crt",
        ],
    );
    let roots = std::fs::read(directory.join("crt")).unwrap();
    std::fs::rename(directory.join("leaf.crt"), directory.join("crt")).unwrap();
    std::fs::rename(directory.join("leaf.key"), directory.join("key")).unwrap();
    let opened = open(&authority.sign(CONTENT, &[])).unwrap();
    let now = crate::clock::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    verify_chain(&opened, &roots, now).unwrap();
    let stranger = std::fs::read(Signer::new(&EC_KEY).0.path().join("crt")).unwrap();
    assert!(matches!(verify_chain(&opened, &stranger, now), Err(EnvelopeError::Chain(_))));
    let later = now + Duration::from_secs(10 * 86_400);
    assert!(matches!(verify_chain(&opened, &roots, later), Err(EnvelopeError::Chain(_))));
}
