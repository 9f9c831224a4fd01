//! The channel document `release.json`: which revision a deployment group shall run, and how the fleet gets there.
//!
//! ```text
//! release.json   DSSE envelope   {payload, payloadType, signatures: [{keyid, sig}]}     envelope.rs
//!   payload      manifest        {domain, format, application, group, sequence, …}      this file, revision.rs, policy.rs
//! keys, policy   whose signatures it needs, and whether it has them                     keys.rs, signatures.rs, rotation.rs
//! accept         may this host follow it: group, sequence, expiry                       accept.rs
//! ```
//!
//! The signature covers the pre-authentication encoding of the exact payload bytes, at most [`Limits::release_bytes`],
//! so that KMS can sign it raw. Reading is strict: an error names an unknown domain, format, field or strategy, a
//! duplicate key, and a release that requires a newer agent. Signatures are verified before the manifest is read.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::appspec::spec::FileExistsBehavior;
use crate::ids::{ApplicationName, GroupKey, GroupName, Sha256Digest, parsed};
use crate::label::Message;
use crate::limits::Limits;
use crate::store::PastRelease;

mod accept;
#[cfg(test)]
mod accept_tests;
mod envelope;
mod keys;
#[cfg(test)]
mod name_tests;
mod policy;
mod revision;
mod rotation;
mod signatures;
#[cfg(test)]
mod signing_tests;
mod strict;
#[cfg(test)]
mod tests;
mod version;

pub use accept::{Acceptance, EXPIRY_TOLERANCE, Highest, LONGEST_JUMP, Refusal, Terms, accept, next_sequence};
pub use envelope::{Envelope, PAYLOAD_TYPE, Signature, pae, stored_bytes};
pub use keys::{Algorithm, InvalidKey, KeyId, PublicKey, from_pem, to_pem};
pub use policy::{Amount, Canary, Policy, Strategy};
pub use revision::{Revision, RevisionSource};
pub use rotation::{
    AcceptedKeys, KEYS_PAYLOAD_TYPE, KeysDocument, KeysFellBack, MOST_STEPS, RotationError, next_policy,
    not_fallen_back, start,
};
pub use signatures::{Check, Findings, MOST_KEYS, NotEnough, SigningPolicy, Trust, examine, verify};
pub use version::{AgentVersion, InvalidVersion};

/// The manifest's `domain`: no signature over it can pass for a signature over another kind of document.
pub const DOMAIN: &str = "hostler/release";
/// The version of the manifest that this agent reads and writes.
pub const FORMAT: u32 = 1;
/// Sequences end here, where JSON tools still count exactly. A release at `u64::MAX` would close its channel for ever.
pub const HIGHEST_SEQUENCE: u64 = (1 << 53) - 1;

/// Why a release document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The object is larger than an envelope can be.
    #[error("the release document has {bytes} bytes and may have {at_most}; is this key really a release?")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        at_most: usize,
    },
    /// The bytes to sign are more than KMS signs.
    #[error(
        "the release's manifest has {bytes} bytes to be signed and may have {at_most}; shorten its policy or location"
    )]
    ManifestTooLarge {
        /// The size of the pre-authentication encoding.
        bytes: usize,
        /// The bound.
        at_most: usize,
    },
    /// A part is not the expected JSON.
    #[error("{part}: {field}: {problem}")]
    Malformed {
        /// "release document" (the envelope) or "release manifest" (its payload).
        part: &'static str,
        /// The path of the field, as `policy.canary.count`.
        field: String,
        /// The problem.
        problem: String,
    },
    /// A key is there twice in one object, and two readers could choose differently.
    #[error("{part}: the key {key:?} comes twice in one object; publish it again with each key once")]
    DuplicateKey {
        /// "release document" or "release manifest".
        part: &'static str,
        /// The key.
        key: String,
    },
    /// The envelope has another payload type.
    #[error("release document: payloadType is {found:?} and must be {expected:?}; is this the right object?")]
    PayloadType {
        /// Its type.
        found: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A document of another kind.
    #[error("release manifest: domain is {found:?} and must be {DOMAIN:?}; is this key really a release?")]
    Domain {
        /// Its domain.
        found: String,
    },
    /// A version of the document that this agent does not know.
    #[error("release manifest: format is {found}, and this agent reads format {FORMAT}; update the agent")]
    Format {
        /// Its version.
        found: u64,
    },
    /// The publisher requires a newer agent.
    #[error(
        "release manifest: minimum_agent_version is {wanted}, and this agent is {agent}; update the agent, or publish without it"
    )]
    AgentTooOld {
        /// The required version.
        wanted: AgentVersion,
        /// The running version.
        agent: AgentVersion,
    },
}

/// Why a host does not follow a stored release.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The host cannot read it.
    #[error(transparent)]
    Unreadable(#[from] ReleaseError),
    /// Not enough of the keys signed it.
    #[error("the release is not followed: {0}")]
    NotEnough(#[from] NotEnough),
}

/// The content of a release. Serialised as it is, it is the envelope's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    domain: String,
    format: u32,
    /// The application that it is for.
    #[serde(deserialize_with = "parsed")]
    pub application: ApplicationName,
    /// The deployment group that it is for.
    #[serde(deserialize_with = "parsed")]
    pub group: GroupName,
    /// Rises with each release of the group, from 1; going back to an old revision is a higher sequence too.
    pub sequence: u64,
    /// The version of the key policy for which it was made; sequences of different versions are not compared. The first
    /// version is left out, so that agents that do not know the field can read the release.
    #[serde(default = "accept::first_key_policy", skip_serializing_if = "accept::is_first_key_policy")]
    pub key_policy: u64,
    /// The only store from which hosts may follow it; `None` is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// When it was published.
    pub created: Timestamp,
    /// The time from which no host may accept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The revision that the group shall run.
    pub revision: Revision,
    /// Why it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// The revision to which a fleet-wide rollback of this release returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Revision>,
    /// Older agents refuse the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_agent_version: Option<AgentVersion>,
    /// The rollout of the release. No agent obeys it yet, so a release without a policy of its own names none.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// What happens to existing files; the appspec takes precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_exists_behavior: Option<FileExistsBehavior>,
    /// Whether to ignore a failed ApplicationStop of the old revision.
    #[serde(default)]
    pub ignore_application_stop_failures: bool,
    /// Whether Install removes paths that the last one installed and this one does not.
    #[serde(default = "yes")]
    pub cleanup: bool,
}

fn yes() -> bool {
    true
}

impl Release {
    /// A release with the defaults: no expiry, no previous revision, one host at a time, clean-up on. Its time is in
    /// whole seconds, so that its length does not depend on it.
    pub fn new(group: GroupKey, sequence: u64, created: Timestamp, revision: Revision) -> Self {
        Self {
            domain: DOMAIN.to_owned(),
            format: FORMAT,
            application: group.application,
            group: group.group,
            sequence,
            key_policy: accept::first_key_policy(),
            store: None,
            created: Timestamp::from_second(created.as_second()).unwrap_or(created),
            expires: None,
            revision,
            message: None,
            previous: None,
            minimum_agent_version: None,
            policy: Policy::default(),
            file_exists_behavior: None,
            ignore_application_stop_failures: false,
            cleanup: true,
        }
    }

    /// The group that it is for.
    pub fn group_key(&self) -> GroupKey {
        GroupKey::new(self.application.clone(), self.group.clone())
    }

    /// The name of the release among the group's earlier ones; `payload` is the digest of its payload.
    pub fn past(&self, payload: &Sha256Digest) -> PastRelease {
        PastRelease { key_policy: self.key_policy, sequence: self.sequence, digest: payload.short() }
    }

    /// The revision to return to from the next release, which is of `next`: this release's, and if `next` is the same
    /// revision, the one before.
    pub fn before(&self, next: &Revision) -> Option<Revision> {
        let candidates = [Some(&self.revision), self.previous.as_ref()];
        candidates.into_iter().flatten().find(|r| r.content.sha256 != next.content.sha256).cloned()
    }

    /// Puts the release into an envelope without signatures, after the same checks as reading.
    ///
    /// # Errors
    /// A field contradicts another, or the manifest is too large to sign.
    pub fn seal(&self, limits: &Limits) -> Result<Envelope, ReleaseError> {
        self.check(limits)?;
        let payload = serde_json::to_vec(self).map_err(|e| malformed(MANIFEST, ".", &e))?;
        Envelope::unsigned(PAYLOAD_TYPE, payload, limits)
    }

    fn check(&self, limits: &Limits) -> Result<(), ReleaseError> {
        if !(1..=HIGHEST_SEQUENCE).contains(&self.sequence) {
            let problem = format!("is {} and must be 1 to {HIGHEST_SEQUENCE}", self.sequence);
            return Err(malformed(MANIFEST, "sequence", &problem));
        }
        if self.key_policy == 0 {
            return Err(malformed(MANIFEST, "key_policy", &"is 0; versions begin with 1"));
        }
        if let Some(store) = &self.store
            && (store.is_empty() || store.len() > 1100 || store.chars().any(char::is_control))
        {
            return Err(malformed(
                MANIFEST,
                "store",
                &"is no name of a store: 1 to 1,100 bytes, no control characters",
            ));
        }
        if let Some(expires) = self.expires
            && expires <= self.created
        {
            let problem = format!("is {expires}, not after created ({}); publish with a later one", self.created);
            return Err(malformed(MANIFEST, "expires", &problem));
        }
        for (field, revision) in [("revision.size", Some(&self.revision)), ("previous.size", self.previous.as_ref())] {
            if let Some(size) = revision.map(|r| r.content.size)
                && size > limits.bundle_bytes
            {
                let problem = format!("is {size} bytes, and a bundle may have {}", limits.bundle_bytes);
                return Err(malformed(MANIFEST, field, &problem));
            }
        }
        self.policy.check().map_err(|(field, problem)| malformed(MANIFEST, &format!("policy.{field}"), &problem))
    }
}

/// A release document: the published bytes and their meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The envelope with its signatures.
    pub envelope: Envelope,
    /// Its content.
    pub release: Release,
    /// Digest of the exact payload: two releases with one sequence and different digests are different releases.
    pub digest: Sha256Digest,
}

/// The fields that are read first, so that a document in a later format is refused for the format and not for its new
/// fields.
#[derive(Deserialize)]
struct Head {
    domain: String,
    format: u64,
    #[serde(default)]
    minimum_agent_version: Option<AgentVersion>,
}

const MANIFEST: &str = "release manifest";

fn malformed(part: &'static str, field: &str, problem: &dyn fmt::Display) -> ReleaseError {
    let field = if field == "." { "document" } else { field };
    ReleaseError::Malformed { part, field: field.to_owned(), problem: problem.to_string() }
}

impl Document {
    /// Reads a stored release document. It does not check signatures, group, sequence or expiry: see [`accept`].
    ///
    /// # Errors
    /// See [`ReleaseError`]: the error names anything that this agent does not understand.
    pub fn parse(bytes: &[u8], limits: &Limits, agent: AgentVersion) -> Result<Self, ReleaseError> {
        Self::of(Envelope::parse(bytes, PAYLOAD_TYPE, limits)?, limits, agent)
    }

    /// Reads a stored release document whose signatures satisfy the policy; it does not look at the manifest of any
    /// other. It does not check group, sequence or expiry: see [`accept`].
    ///
    /// # Errors
    /// [`OpenError::NotEnough`], and [`OpenError::Unreadable`] as for [`Document::parse`].
    pub fn open(
        bytes: &[u8],
        limits: &Limits,
        agent: AgentVersion,
        policy: Option<&SigningPolicy>,
        check: Check<'_>,
    ) -> Result<(Self, Trust), OpenError> {
        let envelope = Envelope::parse(bytes, PAYLOAD_TYPE, limits)?;
        let trust = verify(policy, &envelope, check)?;
        Ok((Self::of(envelope, limits, agent)?, trust))
    }

    fn of(envelope: Envelope, limits: &Limits, agent: AgentVersion) -> Result<Self, ReleaseError> {
        let payload = envelope.payload();
        strict::refuse_duplicate_keys(MANIFEST, payload)?;
        let head: Head = strict::read(MANIFEST, payload)?;
        if head.domain != DOMAIN {
            return Err(ReleaseError::Domain { found: head.domain });
        }
        if head.format != u64::from(FORMAT) {
            return Err(ReleaseError::Format { found: head.format });
        }
        if let Some(wanted) = head.minimum_agent_version
            && wanted > agent
        {
            return Err(ReleaseError::AgentTooOld { wanted, agent });
        }
        let release: Release = strict::read(MANIFEST, payload)?;
        release.check(limits)?;
        let digest = Sha256Digest::of(payload);
        Ok(Self { envelope, release, digest })
    }
}
