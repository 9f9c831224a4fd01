//! What makes a file the one that it was, whatever its name is now.
//!
//! An inode alone is not enough (it is used again), nor a first line (banners are alike), nor a path (files are rotated).
//! So it is all of: device, inode, time of birth where the file system has one, a hash of the first bytes, and a hash of the
//! bytes right before the position.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes at a file's beginning that are part of its identity.
pub const HEAD_BYTES: usize = 1024;

/// Bytes before the position that are compared.
pub const TRAIL_BYTES: usize = 64;

/// A hash of some bytes and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many bytes were hashed.
    #[serde(rename = "n")]
    pub bytes: usize,
    /// The beginning of their SHA-256.
    #[serde(rename = "h")]
    pub hash: u64,
}

impl Fingerprint {
    /// Of all these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let digest = Sha256::digest(bytes);
        let hash = digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
        Self { bytes: bytes.len(), hash }
    }

    /// Whether these bytes begin with those that were hashed.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.bytes).is_some_and(|bytes| Self::of(bytes) == *self)
    }

    /// Whether these bytes end with those that were hashed.
    pub fn ends(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.bytes && Self::of(&bytes[bytes.len() - self.bytes..]) == *self
    }
}

/// A file, as it was when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device's number.
    #[serde(rename = "d")]
    pub device: u64,
    /// The inode's number.
    #[serde(rename = "i")]
    pub inode: u64,
    /// Nanoseconds since 1970 at its birth; 0 where the file system does not say.
    #[serde(rename = "b")]
    pub born_ns: u64,
    /// Its first bytes.
    #[serde(rename = "f")]
    pub head: Fingerprint,
}

impl Identity {
    /// Whether it may be the same inode in the same life.
    pub fn same_inode(&self, device: u64, inode: u64, born_ns: u64) -> bool {
        let same_birth = self.born_ns == 0 || born_ns == 0 || self.born_ns == born_ns;
        (self.device, self.inode) == (device, inode) && same_birth
    }
}
