//! Signing keys and the check of signatures, by aws-lc. `hostler-core` decides which keys must sign.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    VerificationAlgorithm,
};
use hostler_core::release::{Algorithm, InvalidKey, PublicKey, from_pem, to_pem};

use crate::regular;

/// Most bytes of a key file, which has a few hundred. Prevents: reading a device or a disk image named by mistake.
const KEY_FILE_BYTES: u64 = 16 << 10;

/// Why a key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file exists and stays as it is.
    #[error("{path} exists already and is not overwritten; a key that is lost cannot be made again")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {operation} {path}")]
    Io {
        /// "read" or "write".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read or written.
        #[source]
        source: std::io::Error,
    },
    /// Others could have read it.
    #[error(
        "{path} has mode {mode:04o}, so that others may read this private key; chmod 600 it, and make a new pair if \
         another user could have"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no private key of a kind that can sign.
    #[error("{path} holds no private key that can be used: {problem}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// The kind of file that it is, and the remedy.
        problem: &'static str,
    },
    /// The public key in the file cannot be used.
    #[error("cannot use the public key in {path}")]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: InvalidKey,
    },
    /// aws-lc did not do it.
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
}

/// A private key.
#[derive(Debug)]
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

#[derive(Debug)]
enum Pair {
    Ed25519(Box<Ed25519KeyPair>),
    EcdsaP256(Box<EcdsaKeyPair>),
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Library`]: there is no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::generate().map(|pair| Pair::Ed25519(Box::new(pair))),
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(|pair| Pair::EcdsaP256(Box::new(pair)))
            }
        };
        Self::of(pair.map_err(|_| KeyError::Library("make a key"))?)
    }

    fn of(pair: Pair) -> Result<Self, KeyError> {
        let der = match &pair {
            Pair::Ed25519(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
            Pair::EcdsaP256(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
        };
        let der = der.map_err(|_| KeyError::Library("encode the public key"))?;
        let public = PublicKey::from_der(der.as_ref()).map_err(|_| KeyError::Library("encode the public key"))?;
        Ok(Self { pair, public })
    }

    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), message),
        };
        Ok(signature.map_err(|_| KeyError::Library("sign"))?.as_ref().to_vec())
    }

    /// Writes the private key (PKCS #8 in PEM, mode 0600) and the public key beside it (PEM, mode 0644).
    ///
    /// # Errors
    /// [`KeyError::Exists`] if one of the files is there; none is overwritten.
    pub fn write(&self, private: &Path, public: &Path) -> Result<(), KeyError> {
        let der = match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::EcdsaP256(pair) => pair.to_pkcs8v1(),
        };
        let der = der.map_err(|_| KeyError::Library("encode the private key"))?;
        // Before the private key is written, so that a pair never lacks its public half because the name is taken.
        if std::fs::symlink_metadata(public).is_ok() {
            return Err(KeyError::Exists { path: public.to_owned() });
        }
        create(private, 0o600, &to_pem("PRIVATE KEY", der.as_ref()))?;
        write_public(public, &self.public)
    }

    /// Reads a private key: PKCS #8 in PEM, which no user but its owner may read.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let (text, mode) = read(path)?;
        let not_a_key = |problem| KeyError::NotAKey { path: path.to_owned(), problem };
        let Some(der) = from_pem("PRIVATE KEY", &text) else { return Err(not_a_key(what_it_is(&text))) };
        if mode & 0o077 != 0 {
            return Err(KeyError::TooOpen { path: path.to_owned(), mode });
        }
        let pair = Ed25519KeyPair::from_pkcs8(&der).map(|pair| Pair::Ed25519(Box::new(pair))).or_else(|_| {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).map(|pair| Pair::EcdsaP256(Box::new(pair)))
        });
        Self::of(pair.map_err(|_| not_a_key("it is neither an Ed25519 nor a P-256 key; `hostler keygen` makes one"))?)
    }
}

fn what_it_is(text: &str) -> &'static str {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("ENCRYPTED PRIVATE KEY") {
        "it is encrypted; decrypt it into a file of its own: openssl pkey -in FILE -out NEW"
    } else if has("EC PRIVATE KEY") {
        "it is in the old form of EC keys; rewrite it: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW"
    } else if has("OPENSSH PRIVATE KEY") {
        "it is a key for SSH; `hostler keygen` makes one for releases"
    } else if has("PUBLIC KEY") {
        "it is a public key; name the private one"
    } else {
        "it is not PEM (-----BEGIN PRIVATE KEY-----); `hostler keygen` makes one"
    }
}

/// Writes a public key as a PEM file, mode 0644.
///
/// # Errors
/// [`KeyError::Exists`] if the file is there; [`KeyError::Io`].
pub fn write_public(path: &Path, key: &PublicKey) -> Result<(), KeyError> {
    create(path, 0o644, &key.to_pem())
}

/// Reads a public key from a PEM file.
///
/// # Errors
/// [`KeyError::Io`], [`KeyError::PublicKey`].
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let (text, _) = read(path)?;
    text.parse().map_err(|source| KeyError::PublicKey { path: path.to_owned(), source })
}

/// Whether `signature` is this key's signature over `message`. Strict: an Ed25519 signature has 64 bytes with S below
/// the group's order and R as the verifier itself encodes it; an ECDSA signature is the DER of both numbers and nothing
/// else.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let verified = match key.algorithm() {
        Algorithm::Ed25519 => ED25519.verify_sig(key.raw(), message, signature),
        Algorithm::EcdsaP256 => ECDSA_P256_SHA256_ASN1.verify_sig(key.raw(), message, signature),
    };
    verified.is_ok()
}

fn io(operation: &'static str, path: &Path, source: std::io::Error) -> KeyError {
    KeyError::Io { operation, path: path.to_owned(), source }
}

/// The text and the permission bits, both from the same open file.
fn read(path: &Path) -> Result<(String, u32), KeyError> {
    let failed = |e| io("read", path, e);
    let file = regular::open_argument(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    let mut text = String::new();
    file.take(KEY_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok((text, mode))
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => io("write", path, e),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| io("write", path, e))
}

#[cfg(test)]
mod tests;
