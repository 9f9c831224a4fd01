//! The envelopes of specifications: PKCS #7 signed data around JSON, signed with the test's own certificate.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::made_once::made_once;

/// A key with its certificate, in a directory: another one at each call of a process. They are kept from run to run, since making
/// a key takes most of the time of a small test.
pub fn signer() -> tempfile::TempDir {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let made = made_once(&format!("signer-{call}"), 0, make);
    let directory = tempfile::tempdir().unwrap();
    copy(&made, directory.path());
    directory
}

fn make(directory: &Path) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=signer", "-days", "36500"])
        .args(["-keyout", "key", "-out", "crt"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Copies a key and its certificate.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["key", "crt"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// The content in an envelope, signed over a digest of this kind, as PEM.
pub fn signed(signer: &Path, digest: &str, content: &str) -> String {
    std::fs::write(signer.join("content"), content).unwrap();
    let made = Command::new("openssl")
        .current_dir(signer)
        .args(["smime", "-sign", "-nodetach", "-binary", "-outform", "PEM", "-signer", "crt", "-inkey", "key"])
        .args(["-in", "content", "-md", digest])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// The envelope with content that differs from the signed one: `shop` became `evil`.
pub fn altered(envelope: &str) -> String {
    let base64: String = envelope.lines().filter(|line| !line.starts_with('-')).collect();
    let mut bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    let at = bytes.windows(4).position(|w| w == b"shop").unwrap();
    bytes[at..at + 4].copy_from_slice(b"evil");
    data_encoding::BASE64.encode(&bytes)
}
