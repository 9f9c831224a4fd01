//! The members of the group that this host is in, as Configure's scripts get them.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, Sha256Digest};
use crate::retry::jittered_ms;

/// The current version of [`Membership`].
const MEMBERSHIP_VERSION: u32 = 1;

/// Members that are kept. Prevents: a document without end in a host's memory.
const MOST_MEMBERS: usize = 10_000;

/// The document, at the path that `HOSTLER_MEMBERS` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Version of this document.
    pub version: u32,
    /// The members that serve, by their instance ids.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its instance id.
    pub instance: String,
    /// Its availability zone, where it is known.
    pub zone: Option<String>,
    /// Its address, where it is known: an Auto Scaling group does not say it.
    pub address: Option<String>,
}

impl Membership {
    /// Of these members, in an order of their own: the same members are the same document.
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort();
        members.dedup_by(|later, earlier| later.instance == earlier.instance);
        members.truncate(MOST_MEMBERS);
        Self { version: MEMBERSHIP_VERSION, members }
    }

    /// Whether this host is among them.
    pub fn has(&self, instance: &InstanceId) -> bool {
        self.members.iter().any(|member| member.instance == instance.as_str())
    }

    /// The document's bytes, and their digest.
    ///
    /// # Errors
    /// None that is known: it holds texts only.
    pub fn to_bytes(&self) -> Result<(Vec<u8>, Sha256Digest), serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        let digest = Sha256Digest::of(&bytes);
        Ok((bytes, digest))
    }
}

/// Milliseconds until a host looks at the members again: a minute, and longer in a group of more than a hundred and twenty, so
/// that all of them together ask about twice a second.
pub fn look_again_ms(members: usize, random: u64) -> u64 {
    let seconds = u64::try_from(members / 2).unwrap_or(u64::MAX).max(60);
    jittered_ms(seconds.saturating_mul(1000), random)
}

/// Milliseconds after which a member's own document is read again: one host reads ten a minute at most, however many there
/// are.
pub fn read_again_ms(members: usize) -> u64 {
    u64::try_from(members).unwrap_or(u64::MAX).saturating_mul(6000).max(60_000)
}
