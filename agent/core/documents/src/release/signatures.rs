//! Which keys signed, and whether they are enough (docs/protocols/signing.md#signatures). The caller passes in the
//! cryptographic check; this module decides everything else.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, Signature};
use super::keys::{KeyId, PublicKey};

/// Whether `signature` is this key's over `message`. Strict: one signature has one encoding.
pub type Check<'a> = &'a dyn Fn(&PublicKey, &[u8], &[u8]) -> bool;

/// Most keys of one policy. Prevents: hours of checking for one document with many signatures.
pub const MOST_KEYS: usize = 16;

/// The signatures that a source of deployments needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningPolicy {
    /// Rises with each change of the keys, from 1.
    pub version: u64,
    /// The number of different keys that must have signed, at least 1.
    pub threshold: u32,
    /// The keys, each once.
    pub keys: Vec<PublicKey>,
}

impl SigningPolicy {
    /// Checks that signatures can satisfy the policy at all.
    ///
    /// # Errors
    /// The invalid field and its problem.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.version == 0 {
            return Err(("version", "is 0; versions begin with 1".to_owned()));
        }
        if self.keys.is_empty() || self.keys.len() > MOST_KEYS {
            return Err(("keys", format!("are {}, and must be 1 to {MOST_KEYS}", self.keys.len())));
        }
        for (index, key) in self.keys.iter().enumerate() {
            if self.keys.iter().take(index).any(|other| other == key) {
                return Err(("keys", format!("name {} twice; it would count once", key.id())));
            }
        }
        if self.threshold == 0 || usize::try_from(self.threshold).is_ok_and(|t| t > self.keys.len()) {
            let problem = format!("is {}, and must be 1 to {}, the number of keys", self.threshold, self.keys.len());
            return Err(("threshold", problem));
        }
        Ok(())
    }

    /// Whether signatures from these keys are enough.
    pub fn is_satisfied_by(&self, key_ids: &[KeyId]) -> bool {
        let signed = self.keys.iter().filter(|key| key_ids.contains(&key.id())).count();
        u32::try_from(signed).is_ok_and(|signed| signed >= self.threshold)
    }
}

/// How far a revision is authenticated; shown by `status`, in the log and in the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// It has no signature: any user that may write the store or call the command decides what runs.
    #[default]
    Unsigned,
    /// It has signatures, and no keys are configured to verify them.
    NotVerified {
        /// The keys that the signatures claim; `?` for a signature without a key.
        key_ids: Vec<String>,
    },
    /// Enough of the configured keys signed it.
    Verified {
        /// Those keys.
        key_ids: Vec<KeyId>,
    },
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::NotVerified { key_ids } => {
                // The writer of the document chooses these texts.
                let names: Vec<String> = key_ids.iter().map(|id| id.escape_default().to_string()).collect();
                write!(f, "signed by {}, not verified: no keys are configured", names.join(", "))
            }
            Self::Verified { key_ids } => {
                let names: Vec<String> = key_ids.iter().map(KeyId::short).collect();
                write!(f, "signed by {}", names.join(", "))
            }
        }
    }
}

/// The result of checking an envelope's signatures against a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Keys of the policy with a good signature, each once, in the policy's order.
    pub good: Vec<KeyId>,
    /// Keys of the policy that a signature claims and that did not make it.
    pub bad: Vec<KeyId>,
    /// The keys that other signatures claim; `?` for a signature without a key that no key matches.
    pub unknown: Vec<String>,
}

/// Checks each signature. A key that signed twice counts once; a signature without a key's name is tried with all keys.
pub fn examine(policy: &SigningPolicy, envelope: &Envelope, check: Check<'_>) -> Findings {
    let message = envelope.pae();
    let mut found = Findings::default();
    for signature in envelope.signatures() {
        let by = |key: &&PublicKey| check(key, &message, &signature.bytes);
        match claimed(policy, signature) {
            Claim::Key(key) if by(&key) => push_once(&mut found.good, key.id()),
            Claim::Key(key) => push_once(&mut found.bad, key.id()),
            Claim::Unnamed => match policy.keys.iter().find(by) {
                Some(key) => push_once(&mut found.good, key.id()),
                None => push_once(&mut found.unknown, "?".to_owned()),
            },
            Claim::Other(name) => push_once(&mut found.unknown, name.to_owned()),
        }
    }
    found.good.sort_by_key(|id| policy.keys.iter().position(|key| key.id() == *id));
    found.bad.retain(|id| !found.good.contains(id));
    found
}

enum Claim<'a> {
    Key(&'a PublicKey),
    Unnamed,
    Other(&'a str),
}

fn claimed<'a>(policy: &'a SigningPolicy, signature: &'a Signature) -> Claim<'a> {
    let Some(name) = signature.key_id.as_deref() else { return Claim::Unnamed };
    let id = name.parse::<KeyId>().ok();
    match policy.keys.iter().find(|key| Some(key.id()) == id) {
        Some(key) => Claim::Key(key),
        None => Claim::Other(name),
    }
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Not enough of a policy's keys signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotEnough {
    policy: SigningPolicy,
    found: Findings,
}

impl NotEnough {
    /// The result of the check.
    pub fn found(&self) -> &Findings {
        &self.found
    }
}

impl std::error::Error for NotEnough {}

impl fmt::Display for NotEnough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { good, bad, unknown } = &self.found;
        let SigningPolicy { threshold, keys, version } = &self.policy;
        let count = keys.len();
        if good.is_empty() && bad.is_empty() && unknown.is_empty() {
            write!(f, "it is not signed, and {threshold} of {count} keys must sign (key policy {version})")?;
        } else {
            write!(
                f,
                "it has {} of the {threshold} signatures that it needs from {count} keys (key policy {version})",
                good.len()
            )?;
        }
        let mut say = |what: &str, names: Vec<String>| {
            if names.is_empty() { Ok(()) } else { write!(f, "; {what}: {}", names.join(", ")) }
        };
        say("good", good.iter().map(KeyId::short).collect())?;
        say("does not match what is signed", bad.iter().map(KeyId::short).collect())?;
        say("by keys that are not among them", unknown.iter().map(|name| name.escape_default().to_string()).collect())
    }
}

/// Decides how far an envelope is authenticated. Without a policy nothing is verified, and the result shows that.
///
/// # Errors
/// [`NotEnough`]: fewer keys of the policy signed than it requires.
pub fn verify(policy: Option<&SigningPolicy>, envelope: &Envelope, check: Check<'_>) -> Result<Trust, NotEnough> {
    let Some(policy) = policy else { return Ok(envelope.claimed()) };
    let found = examine(policy, envelope, check);
    // A policy without keys or with the threshold 0 is refused when it is read; here it must let nothing through.
    let enough = usize::try_from(policy.threshold).is_ok_and(|threshold| found.good.len() >= threshold.max(1));
    if enough { Ok(Trust::Verified { key_ids: found.good }) } else { Err(NotEnough { policy: policy.clone(), found }) }
}
