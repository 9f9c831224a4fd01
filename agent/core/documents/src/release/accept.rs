//! Whether this host may follow a release: its group, its sequence, its expiry (specs/signing.md, part B).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Document;
use crate::ids::{GroupKey, Sha256Digest};

/// How long after `expires` a release is still accepted: clocks of hosts and publishers differ.
pub const EXPIRY_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The highest release that this host knows to have been published for a group; kept in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highest {
    /// Its sequence.
    pub sequence: u64,
    /// Digest of its payload; `None` where only the number is known (a configured floor, a report of another host).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sha256Digest>,
}

/// What a release is held against.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The group that this host follows.
    pub group: &'a GroupKey,
    /// The highest release so far; `None` on a fresh host without a floor.
    pub highest: Option<Highest>,
    /// The time.
    pub now: Timestamp,
}

/// What to do with a release that may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new. This is the highest one from now on; it is persisted before anything is done about it.
    New(Highest),
    /// It is the one that was accepted before. That it has expired since changes nothing.
    Known,
}

/// Why this host does not follow a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for others.
    #[error(
        "the release is for {found}, and this host follows {expected}; publish to the right place or correct application and group in the configuration"
    )]
    OtherGroup {
        /// Whom it is for.
        found: Box<GroupKey>,
        /// Whom this host follows.
        expected: Box<GroupKey>,
    },
    /// The store shows an older release than it showed before.
    #[error(
        "the release has sequence {sequence}, and {highest} was seen already; to go back to an old revision publish it with a sequence above {highest}"
    )]
    Older {
        /// Its sequence.
        sequence: u64,
        /// The highest one.
        highest: u64,
    },
    /// Two different releases have one number.
    #[error(
        "the release has sequence {sequence} like the one accepted before, and other content ({found} instead of {accepted}); publish it with a sequence above {sequence}"
    )]
    Replaced {
        /// The sequence of both.
        sequence: u64,
        /// Digest of the one in the store.
        found: Sha256Digest,
        /// Digest of the one that was accepted.
        accepted: Sha256Digest,
    },
    /// It is too late for it.
    #[error(
        "the release expired at {expires} and it is {now}; publish a new one, or correct this host's clock if that is wrong"
    )]
    Expired {
        /// Its end.
        expires: Timestamp,
        /// The time.
        now: Timestamp,
    },
}

/// Decides whether this host follows a release. Signatures are verified before, by the policy of the source.
///
/// # Errors
/// The [`Refusal`], with what to do about it.
pub fn accept(document: &Document, terms: &Terms<'_>) -> Result<Acceptance, Refusal> {
    let release = &document.release;
    let found = release.group_key();
    if found != *terms.group {
        let (found, expected) = (Box::new(found), Box::new(terms.group.clone()));
        return Err(Refusal::OtherGroup { found, expected });
    }
    let sequence = release.sequence;
    if let Some(highest) = terms.highest {
        if sequence < highest.sequence {
            return Err(Refusal::Older { sequence, highest: highest.sequence });
        }
        if sequence == highest.sequence
            && let Some(accepted) = highest.digest
        {
            if accepted == document.digest {
                return Ok(Acceptance::Known);
            }
            return Err(Refusal::Replaced { sequence, found: document.digest, accepted });
        }
    }
    if let Some(expires) = release.expires
        && terms.now.duration_since(expires) > EXPIRY_TOLERANCE
    {
        return Err(Refusal::Expired { expires, now: terms.now });
    }
    Ok(Acceptance::New(Highest { sequence, digest: Some(document.digest) }))
}
