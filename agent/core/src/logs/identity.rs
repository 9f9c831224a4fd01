//! The identity of a file, independent of its current name.
//!
//! An inode alone is not enough (the file system reuses it), nor a first line (banners are alike), nor a path (files
//! are rotated). So the identity has all of these: device, inode, birth time if the file system records it, a hash of
//! the first bytes, and a hash of the bytes right before the position.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes at a file's beginning that belong to its identity.
pub const HEAD_BYTES: usize = 1024;

/// Bytes before the position that are compared.
pub const TRAIL_BYTES: usize = 64;

/// A hash of some bytes, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Number of hashed bytes.
    #[serde(rename = "n")]
    pub bytes: usize,
    /// The beginning of their SHA-256.
    #[serde(rename = "h")]
    pub hash: u64,
}

impl Fingerprint {
    /// The fingerprint of all these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let digest = Sha256::digest(bytes);
        let hash = digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
        Self { bytes: bytes.len(), hash }
    }

    /// Whether these bytes begin with the hashed ones.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.bytes).is_some_and(|bytes| Self::of(bytes) == *self)
    }

    /// Whether these bytes end with the hashed ones.
    pub fn ends(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.bytes && Self::of(&bytes[bytes.len() - self.bytes..]) == *self
    }
}

/// A file at the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device's number.
    #[serde(rename = "d")]
    pub device: u64,
    /// The inode's number.
    #[serde(rename = "i")]
    pub inode: u64,
    /// Its birth in nanoseconds since 1970; 0 if the file system does not record it.
    #[serde(rename = "b")]
    pub born_ns: u64,
    /// Its first bytes.
    #[serde(rename = "f")]
    pub head: Fingerprint,
}

impl Identity {
    /// Whether it may be the same inode, not reused since.
    pub fn same_inode(&self, device: u64, inode: u64, born_ns: u64) -> bool {
        let same_birth = self.born_ns == 0 || born_ns == 0 || self.born_ns == born_ns;
        (self.device, self.inode) == (device, inode) && same_birth
    }
}
