//! `keys/<version>.json`: the next signing policy of a group, signed by enough keys of the one before and of its own.
//!
//! ```text
//! configuration ──► version 1 ──► keys/2.json ──► keys/3.json      each signed under the one before and under itself
//! ledger            the highest version that was accepted; a chain that ends below it is refused
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::envelope::Envelope;
use super::signatures::{Check, NotEnough, SigningPolicy, verify};
use super::{ReleaseError, malformed, strict};
use crate::ids::{ApplicationName, GroupKey, GroupName, Sha256Digest, parsed};
use crate::limits::Limits;

/// The envelope's `payloadType` of a key policy.
pub const KEYS_PAYLOAD_TYPE: &str = "application/vnd.hostler.keys+json";
/// The required `domain` of the payload.
const KEYS_DOMAIN: &str = "hostler/keys";
const KEYS_FORMAT: u32 = 1;
const PART: &str = "key policy";

/// Most steps of a chain that a host follows at once. Prevents: a store that feeds a host new versions for ever.
pub const MOST_STEPS: u64 = 64;

/// The content of a key policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysDocument {
    domain: String,
    format: u32,
    #[serde(deserialize_with = "parsed")]
    application: ApplicationName,
    #[serde(deserialize_with = "parsed")]
    group: GroupName,
    created: Timestamp,
    policy: SigningPolicy,
}

/// Why a key policy does not follow the previous one.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The host cannot read it.
    #[error(transparent)]
    Unreadable(#[from] ReleaseError),
    /// It is for another group.
    #[error("the key policy is for another group than {expected}")]
    OtherGroup {
        /// The group that this host follows.
        expected: String,
    },
    /// A step is missing.
    #[error("the key policy has version {found} and must have version {expected}")]
    OtherVersion {
        /// Its version.
        found: u64,
        /// The next one.
        expected: u64,
    },
    /// Not enough keys of the previous policy signed it.
    #[error("the keys before it do not stand for the key policy")]
    NotByTheOld(#[source] NotEnough),
    /// Not enough of its own keys signed it: they may not work.
    #[error("its own keys do not stand for the key policy")]
    NotByTheNew(#[source] NotEnough),
}

impl KeysDocument {
    /// The document that makes `policy` the group's, to be signed under the policy before and under itself.
    pub fn new(group: &GroupKey, policy: SigningPolicy, created: Timestamp) -> Self {
        Self {
            domain: KEYS_DOMAIN.to_owned(),
            format: KEYS_FORMAT,
            application: group.application.clone(),
            group: group.group.clone(),
            created,
            policy,
        }
    }

    /// Puts it into an envelope without signatures.
    ///
    /// # Errors
    /// It is larger than KMS signs.
    pub fn seal(&self, limits: &Limits) -> Result<Envelope, ReleaseError> {
        let payload = serde_json::to_vec(self).map_err(|e| malformed(PART, ".", &e))?;
        Envelope::unsigned(KEYS_PAYLOAD_TYPE, payload, limits)
    }

    fn read(envelope: &Envelope) -> Result<Self, ReleaseError> {
        let payload = envelope.payload();
        strict::refuse_duplicate_keys(PART, payload)?;
        let document: Self = strict::read(PART, payload)?;
        if document.domain != KEYS_DOMAIN {
            return Err(malformed(PART, "domain", &format!("is {:?} and must be {KEYS_DOMAIN:?}", document.domain)));
        }
        if document.format != KEYS_FORMAT {
            let problem =
                format!("is {}, and this agent reads format {KEYS_FORMAT}; update the agent", document.format);
            return Err(malformed(PART, "format", &problem));
        }
        document.policy.check().map_err(|(field, problem)| malformed(PART, &format!("policy.{field}"), &problem))?;
        Ok(document)
    }
}

/// Takes one step: the group's policy after `current`, from the stored document.
///
/// # Errors
/// See [`RotationError`]; the current policy stays.
pub fn next_policy(
    current: &SigningPolicy,
    bytes: &[u8],
    group: &GroupKey,
    limits: &Limits,
    check: Check<'_>,
) -> Result<SigningPolicy, RotationError> {
    let envelope = Envelope::parse(bytes, KEYS_PAYLOAD_TYPE, limits)?;
    verify(Some(current), &envelope, check).map_err(RotationError::NotByTheOld)?;
    let document = KeysDocument::read(&envelope)?;
    if (&document.application, &document.group) != (&group.application, &group.group) {
        return Err(RotationError::OtherGroup { expected: group.to_string() });
    }
    let expected = current.version.saturating_add(1);
    if document.policy.version != expected {
        return Err(RotationError::OtherVersion { found: document.policy.version, expected });
    }
    verify(Some(&document.policy), &envelope, check).map_err(RotationError::NotByTheNew)?;
    Ok(document.policy)
}

/// The highest key policy that a host accepted for a group, kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedKeys {
    /// Digest of the configured policy that the chain began with.
    pub anchor: Sha256Digest,
    /// The policy.
    pub policy: SigningPolicy,
}

impl AcceptedKeys {
    /// The end of a chain that began with `configured`.
    pub fn new(configured: &SigningPolicy, policy: SigningPolicy) -> Self {
        Self { anchor: anchor(configured), policy }
    }
}

fn anchor(configured: &SigningPolicy) -> Sha256Digest {
    let keys: Vec<String> = configured.keys.iter().map(ToString::to_string).collect();
    let text = format!("{} {} {}", configured.version, configured.threshold, keys.join(" "));
    Sha256Digest::of(text.as_bytes())
}

/// Where a host begins to follow the chain: at the accepted policy, unless its configuration has changed since or is
/// ahead of it. The host's configuration decides.
pub fn start<'a>(configured: &'a SigningPolicy, accepted: Option<&'a AcceptedKeys>) -> &'a SigningPolicy {
    match accepted {
        Some(known) if known.policy.version > configured.version && known.anchor == anchor(configured) => &known.policy,
        _ => configured,
    }
}

/// The store leads to older keys than before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "key policy {accepted} was accepted before, and the configuration and the store now lead to {found} only; put \
     keys/{accepted}.json back, or configure the keys that are right with version {accepted} or higher"
)]
pub struct KeysFellBack {
    /// The version at the chain's end now.
    pub found: u64,
    /// The highest accepted version.
    pub accepted: u64,
}

/// Checks that the policy at a chain's end may be used.
///
/// # Errors
/// [`KeysFellBack`]: a higher one was accepted before.
pub fn not_fallen_back(end: &SigningPolicy, accepted: Option<&AcceptedKeys>) -> Result<(), KeysFellBack> {
    match accepted {
        Some(known) if end.version < known.policy.version => {
            Err(KeysFellBack { found: end.version, accepted: known.policy.version })
        }
        _ => Ok(()),
    }
}
