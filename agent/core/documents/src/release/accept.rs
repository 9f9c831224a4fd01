//! Whether this host may follow a release: its group, its sequence, its expiry
//! (docs/protocols/signing.md#order-of-checks).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Document, HIGHEST_SEQUENCE};
use crate::ids::{GroupKey, Sha256Digest};

/// How long after `expires` the host still accepts a release: clocks of hosts and publishers differ.
pub const EXPIRY_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// How far a release may be above the highest accepted one. Publishers add one each time. Prevents: a single release
/// that uses up all numbers.
pub const LONGEST_JUMP: u64 = 1_000_000;

/// The highest release of a group that this host knows to be published; kept in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highest {
    /// Its sequence.
    pub sequence: u64,
    /// Digest of its payload; `None` if only the number is known (a report of another host).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sha256Digest>,
    /// The version of the key policy for which it was made; the first version if nothing was verified.
    #[serde(default = "first_key_policy", skip_serializing_if = "is_first_key_policy")]
    pub key_policy: u64,
    /// The host's `sequence_epoch` when it was accepted.
    #[serde(default, skip_serializing_if = "is_first_epoch")]
    pub epoch: u64,
}

pub(super) fn first_key_policy() -> u64 {
    1
}

pub(super) fn is_first_key_policy(version: &u64) -> bool {
    *version == first_key_policy()
}

fn is_first_epoch(epoch: &u64) -> bool {
    *epoch == 0
}

impl Highest {
    /// A release of the first key policy and epoch.
    pub fn new(sequence: u64, digest: Option<Sha256Digest>) -> Self {
        Self { sequence, digest, key_policy: first_key_policy(), epoch: 0 }
    }

    /// Whether its sequence cannot be compared with that of `before`: sequences began anew in between.
    pub fn begins_anew_after(&self, before: &Self) -> bool {
        self.epoch != before.epoch || self.key_policy > before.key_policy
    }
}

/// The conditions for a release.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The group that this host follows.
    pub group: &'a GroupKey,
    /// The store that it came from; `None` without a store.
    pub store: Option<&'a str>,
    /// Whether it must be bound to that store.
    pub require_store: bool,
    /// The highest release so far; `None` on a fresh host.
    pub highest: Option<Highest>,
    /// Sequences below it are refused.
    pub minimum_sequence: Option<u64>,
    /// The configured epoch: sequences that were accepted in another epoch do not count.
    pub epoch: u64,
    /// The version of the key policy that its signatures satisfy; `None` if the host requires none.
    pub key_policy: Option<u64>,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Terms<'a> {
    /// The conditions for a release that comes by hand: its group and its expiry.
    pub fn by_hand(group: &'a GroupKey, now: Timestamp) -> Self {
        Self {
            group,
            store: None,
            require_store: false,
            highest: None,
            minimum_sequence: None,
            epoch: 0,
            key_policy: None,
            now,
        }
    }
}

/// What to do with an acceptable release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new. From now on it is the highest release; persist that before acting on it.
    New(Highest),
    /// It was accepted before. Its expiry since then changes nothing.
    Known,
}

/// Why this host does not follow a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another group.
    #[error(
        "the release is for {found}, and this host follows {expected}; publish to the right place or correct application and group in the configuration"
    )]
    OtherGroup {
        /// Its group.
        found: Box<GroupKey>,
        /// The group that this host follows.
        expected: Box<GroupKey>,
    },
    /// It was published for another store.
    #[error(
        "the release is bound to the store {found}, and this host reads it from {expected}; publish it there, or correct the channel in the configuration"
    )]
    OtherStore {
        /// The store in the release.
        found: String,
        /// The store that it came from.
        expected: String,
    },
    /// This host follows only releases that are bound to its store.
    #[error(
        "the release is bound to no store, and this host asks for it (require_store); publish it with hostler release --bind-store"
    )]
    NotBound,
    /// It is too old by the configuration.
    #[error(
        "the release has sequence {sequence}, and minimum_sequence of this host's configuration is {minimum}; publish it with hostler release --sequence-above {}, or correct minimum_sequence",
        minimum.saturating_sub(1)
    )]
    BelowMinimum {
        /// Its sequence.
        sequence: u64,
        /// The configured floor.
        minimum: u64,
    },
    /// It names a key policy that this host has not seen.
    #[error(
        "the release was made under key policy {found}, and the configuration and the store lead to {known} only; put keys/{found}.json back, or publish it again"
    )]
    LaterKeys {
        /// The version in the release.
        found: u64,
        /// The version that its signatures were checked against.
        known: u64,
    },
    /// The keys changed after it was made, and a release under the later keys was accepted.
    #[error(
        "the release was made under key policy {found}, and a release of key policy {accepted} was accepted before; publish it again with the keys of now"
    )]
    EarlierKeys {
        /// The version in the release.
        found: u64,
        /// The version of the highest release.
        accepted: u64,
    },
    /// The store shows an older release than it showed before.
    #[error("the release has sequence {sequence}, and {highest} was seen already; {}", way_above(*highest))]
    Older {
        /// Its sequence.
        sequence: u64,
        /// The highest one.
        highest: u64,
    },
    /// It is so far above the highest release that it would use up the numbers.
    #[error(
        "the release has sequence {sequence}, more than {LONGEST_JUMP} above {highest}, the highest that was accepted; publish it with a lower one, or {BEGIN_ANEW}"
    )]
    Jump {
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
        /// Digest of the release in the store.
        found: Sha256Digest,
        /// Digest of the accepted release.
        accepted: Sha256Digest,
    },
    /// It has expired.
    #[error(
        "the release expired at {expires} and it is {now}; publish a new one, or correct this host's clock if that is wrong"
    )]
    Expired {
        /// Its expiry.
        expires: Timestamp,
        /// The time.
        now: Timestamp,
    },
}

const BEGIN_ANEW: &str = "let sequences begin anew: with new keys (hostler rotate-keys, then hostler release), or on hosts that ask for no signatures with another sequence_epoch of the group";

fn way_above(highest: u64) -> String {
    if highest >= HIGHEST_SEQUENCE {
        return format!("no sequence is above that: {BEGIN_ANEW}");
    }
    format!(
        "to go back to an old revision publish it with a sequence above {highest} (hostler release --sequence-above {highest})"
    )
}

/// Decides whether this host follows a release. Its signatures were verified before, by the policy of the source.
///
/// # Errors
/// The [`Refusal`], with a remedy.
pub fn accept(document: &Document, terms: &Terms<'_>) -> Result<Acceptance, Refusal> {
    let release = &document.release;
    let found = release.group_key();
    if found != *terms.group {
        let (found, expected) = (Box::new(found), Box::new(terms.group.clone()));
        return Err(Refusal::OtherGroup { found, expected });
    }
    bound_to(release.store.as_deref(), terms)?;
    let sequence = release.sequence;
    if let Some(minimum) = terms.minimum_sequence.filter(|minimum| sequence < *minimum) {
        return Err(Refusal::BelowMinimum { sequence, minimum });
    }
    // Only a verified release may name the keys for which it was made.
    let key_policy = terms.key_policy.map_or_else(first_key_policy, |_| release.key_policy);
    if let Some(known) = terms.key_policy.filter(|known| key_policy > *known) {
        return Err(Refusal::LaterKeys { found: key_policy, known });
    }
    let new = Highest { sequence, digest: Some(document.digest), key_policy, epoch: terms.epoch };
    if terms.highest.is_some_and(|highest| highest.digest == new.digest) {
        return Ok(Acceptance::Known);
    }
    if let Some(highest) = terms.highest.filter(|highest| highest.epoch == terms.epoch) {
        above(&new, &highest, terms.key_policy.is_some())?;
    }
    if let Some(expires) = release.expires
        && terms.now.duration_since(expires) > EXPIRY_TOLERANCE
    {
        return Err(Refusal::Expired { expires, now: terms.now });
    }
    Ok(Acceptance::New(new))
}

fn bound_to(store: Option<&str>, terms: &Terms<'_>) -> Result<(), Refusal> {
    match (store, terms.store) {
        (Some(found), Some(expected)) if found != expected => {
            Err(Refusal::OtherStore { found: found.to_owned(), expected: expected.to_owned() })
        }
        (None, Some(_)) if terms.require_store => Err(Refusal::NotBound),
        _ => Ok(()),
    }
}

/// Checks that a release comes after the highest one: made under later keys, or under the same with a higher sequence.
fn above(new: &Highest, highest: &Highest, verified: bool) -> Result<(), Refusal> {
    if verified && new.key_policy < highest.key_policy {
        return Err(Refusal::EarlierKeys { found: new.key_policy, accepted: highest.key_policy });
    }
    if verified && new.key_policy > highest.key_policy {
        return Ok(());
    }
    let (sequence, highest, accepted) = (new.sequence, highest.sequence, highest.digest);
    match (new.digest, accepted) {
        _ if sequence < highest => Err(Refusal::Older { sequence, highest }),
        _ if sequence > highest.saturating_add(LONGEST_JUMP) => Err(Refusal::Jump { sequence, highest }),
        (Some(found), Some(accepted)) if sequence == highest => Err(Refusal::Replaced { sequence, found, accepted }),
        _ => Ok(()),
    }
}

/// The sequence of the next release: after the channel's release (`current`: its key policy and sequence) and above
/// `above`, for hosts that require this version of the key policy.
///
/// # Errors
/// The obstacle and the remedy.
pub fn next_sequence(current: Option<(u64, u64)>, key_policy: u64, above: Option<u64>) -> Result<u64, String> {
    let (made_under, in_channel) = current.unwrap_or((key_policy, 0));
    let next = in_channel.max(above.unwrap_or_default()).saturating_add(1);
    if made_under > key_policy {
        return Err(format!(
            "the release in the channel was made under key policy {made_under}, and what is configured here leads to key policy {key_policy} only; hosts would refuse it"
        ));
    }
    match made_under < key_policy {
        // Hosts compare sequences within one key policy only.
        true => Ok(if next > HIGHEST_SEQUENCE { 1 } else { next }),
        false if next > HIGHEST_SEQUENCE => {
            Err(format!("no sequence is above {}; {BEGIN_ANEW}", next.saturating_sub(1)))
        }
        false if current.is_some() && next > in_channel.saturating_add(LONGEST_JUMP) => Err(format!(
            "sequence {next} is more than {LONGEST_JUMP} above {in_channel}, that of the release in the channel, and hosts would refuse it"
        )),
        false => Ok(next),
    }
}
