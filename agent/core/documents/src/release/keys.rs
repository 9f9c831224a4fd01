//! Public keys as they are configured, published and named: SubjectPublicKeyInfo (RFC 5280; RFC 8410 for Ed25519, RFC
//! 5480 for P-256), the form that `openssl pkey -pubout` and KMS's GetPublicKey give.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, Sha256Digest};

/// The name of a key: the SHA-256 of its SubjectPublicKeyInfo in DER. Every holder of the key computes the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Sha256Digest);

impl KeyId {
    /// `sha256:` and twelve digits, for places where a reader distinguishes a few keys.
    pub fn short(&self) -> String {
        self.to_string().chars().take("sha256:".len() + 12).collect()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self)
    }
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519, plain (RFC 8032); KMS's `ED25519_SHA_512` over the raw message.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, the signature in DER; KMS's `ECDSA_SHA_256`.
    EcdsaP256,
}

impl Algorithm {
    /// The name for users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA P-256",
        }
    }
}

/// SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// SubjectPublicKeyInfo of an uncompressed point on P-256 up to the 65 bytes of the point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why a text is not a public key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A private key, in a public place.
    #[error("this is a private key; put the public one here, and make a new pair if others could read this one")]
    Private,
    /// Neither PEM nor base64.
    #[error("it is neither PEM (-----BEGIN PUBLIC KEY-----) nor its one line of base64")]
    NotBase64,
    /// Another kind of key.
    #[error(
        "it is not an Ed25519 or P-256 public key (SubjectPublicKeyInfo, uncompressed); `hostler keygen` makes one"
    )]
    OtherKind,
    /// An encoding of a point that verifiers may read differently.
    #[error("its Ed25519 point is not canonical or has a small order; such keys are made to deceive")]
    WeakPoint,
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    algorithm: Algorithm,
    /// SubjectPublicKeyInfo in DER.
    der: Vec<u8>,
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`InvalidKey::OtherKind`], [`InvalidKey::WeakPoint`].
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let algorithm = if let Some(point) = der.strip_prefix(&ED25519_PREFIX) {
            let point = point.try_into().map_err(|_| InvalidKey::OtherKind)?;
            refuse_weak_point(point)?;
            Algorithm::Ed25519
        } else if der.strip_prefix(&P256_PREFIX).is_some_and(|point| point.len() == 65 && point.first() == Some(&4)) {
            Algorithm::EcdsaP256
        } else {
            return Err(InvalidKey::OtherKind);
        };
        Ok(Self { algorithm, der: der.to_owned() })
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key alone: 32 bytes of Ed25519, or the 65 bytes of an uncompressed point.
    pub fn raw(&self) -> &[u8] {
        let prefix = match self.algorithm {
            Algorithm::Ed25519 => ED25519_PREFIX.len(),
            Algorithm::EcdsaP256 => P256_PREFIX.len(),
        };
        self.der.get(prefix..).unwrap_or_default()
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        KeyId(Sha256Digest::of(&self.der))
    }

    /// The PEM file.
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.der)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;
    /// Reads PEM, or its base64 content on one line.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        if text.contains("PRIVATE KEY") {
            return Err(InvalidKey::Private);
        }
        let der = from_pem("PUBLIC KEY", text)
            .or_else(|| BASE64.decode(text.trim().as_bytes()).ok())
            .filter(|der| !der.is_empty());
        Self::from_der(&der.ok_or(InvalidKey::NotBase64)?)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// The one line of base64 that goes into a configuration.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.der))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), self.id())
    }
}

/// Writes PEM (RFC 7468): lines of 64 characters.
pub fn to_pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Reads the first PEM block with this label; text around it is ignored, as RFC 7468 allows.
pub fn from_pem(label: &str, text: &str) -> Option<Vec<u8>> {
    let (_, after) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = after.split_once(&format!("-----END {label}-----"))?;
    let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(base64.as_bytes()).ok()
}

/// Refuses encodings with y ≥ p, which verifiers read differently, and the points of small order, for which one
/// signature is valid for many messages (RFC 8032 §5.1.3; "Taming the many EdDSAs", 2020).
fn refuse_weak_point(point: &[u8; 32]) -> Result<(), InvalidKey> {
    /// y of the two pairs of points of order 8.
    const ORDER_8: [&str; 2] = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    let mut y = *point;
    // The highest bit is the sign of x.
    y[31] &= 0x7f;
    let all = |bytes: &[u8], value: u8| bytes.iter().all(|b| *b == value);
    // 2^255 - 19 is ed ff … ff 7f, lowest byte first: p - 1, of order 2, is ec ff …; every higher encoding is not
    // canonical.
    let at_least_p_minus_1 = y[31] == 0x7f && all(&y[1..31], 0xff) && y[0] >= 0xec;
    // 0 has order 4 and 1 has order 1.
    let zero_or_one = all(&y[1..], 0) && y[0] <= 1;
    let order_8 = ORDER_8.contains(&data_encoding::HEXLOWER.encode(&y).as_str());
    if at_least_p_minus_1 || zero_or_one || order_8 { Err(InvalidKey::WeakPoint) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of RFC 8032 §7.1, test 1.
    const POINT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn ed25519(point: &str) -> Vec<u8> {
        [&ED25519_PREFIX[..], &data_encoding::HEXLOWER.decode(point.as_bytes()).unwrap()].concat()
    }

    #[test]
    fn a_key_has_one_name_in_each_of_its_forms() {
        let key = PublicKey::from_der(&ed25519(POINT)).unwrap();
        assert_eq!(key.to_pem().parse::<PublicKey>().unwrap(), key);
        assert_eq!(format!("key:\n{}rest", key.to_pem()).parse::<PublicKey>().unwrap(), key);
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert_eq!(key.to_string(), "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(key.id(), KeyId(Sha256Digest::of(key.der())));
        assert_eq!(key.id().short().len(), 19);
        assert_eq!(key.raw(), &key.der()[12..]);
        assert_eq!(serde_json::from_slice::<PublicKey>(&serde_json::to_vec(&key).unwrap()).unwrap(), key);
    }

    #[test]
    fn points_that_verifiers_read_differently_are_refused() {
        let ff = |first: &str, last: &str| format!("{first}{}{last}", "ff".repeat(30));
        let zeros = |first: &str, last: &str| format!("{first}{}{last}", "00".repeat(30));
        for point in [
            zeros("00", "00"),
            zeros("00", "80"),
            zeros("01", "00"),
            zeros("01", "80"),
            ff("ec", "7f"),
            ff("ec", "ff"),
            ff("ed", "7f"),
            ff("ee", "7f"),
            ff("ff", "7f"),
            ff("ff", "ff"),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(),
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
        ] {
            assert_eq!(PublicKey::from_der(&ed25519(&point)), Err(InvalidKey::WeakPoint), "{point}");
        }
        assert!(PublicKey::from_der(&ed25519(&ff("eb", "7f"))).is_ok(), "the highest y that is neither");
    }

    #[test]
    fn other_keys_are_refused_by_name() {
        let cut = &ed25519(POINT)[..43];
        assert_eq!(PublicKey::from_der(cut), Err(InvalidKey::OtherKind));
        assert_eq!(PublicKey::from_der(&[ed25519(POINT), vec![0]].concat()), Err(InvalidKey::OtherKind));
        assert_eq!(PublicKey::from_der(&[&P256_PREFIX[..], &[4; 64]].concat()), Err(InvalidKey::OtherKind));
        assert!(PublicKey::from_der(&[&P256_PREFIX[..], &[4; 65]].concat()).is_ok());
        assert_eq!("nothing".parse::<PublicKey>(), Err(InvalidKey::NotBase64));
        assert_eq!(to_pem("PRIVATE KEY", &[1]).parse::<PublicKey>(), Err(InvalidKey::Private));
    }
}
