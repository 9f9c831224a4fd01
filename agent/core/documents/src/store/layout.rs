//! The keys of a store's objects (docs/protocols/rollout.md#objects-of-a-store).

use std::borrow::Cow;
use std::fmt;

use super::{GroupKey, InvalidId, Key, Sha256Digest};
use crate::ids;

fn in_group(group: &GroupKey, rest: &str) -> Key {
    // Each name becomes one path component, so this is a valid key by construction.
    Key(format!("{}/{}/{rest}", part(group.application.as_str()), part(group.group.as_str())))
}

/// A name as a part of a key. It does not begin with a dot, because directory stores have their own files there. No
/// name has a colon.
fn part(name: &str) -> Cow<'_, str> {
    if name.starts_with('.') { format!(":{}", ids::component(name)).into() } else { ids::component(name) }
}

/// The group's published desired state.
pub fn release_key(group: &GroupKey) -> Key {
    in_group(group, "release.json")
}

/// A release that waits for further signatures before it is published; no host reads it.
pub fn proposal_key(group: &GroupKey) -> Key {
    in_group(group, "proposed.json")
}

/// The group's one rollout document.
pub fn plan_key(group: &GroupKey) -> Key {
    in_group(group, "plan.json")
}

/// The host of the group that may report itself as unhealthy to its Auto Scaling group.
pub fn unhealthy_key(group: &GroupKey) -> Key {
    in_group(group, "unhealthy.json")
}

/// A version of the group's signing policy.
pub fn signing_policy_key(group: &GroupKey, version: u64) -> Key {
    in_group(group, &format!("keys/{version}.json"))
}

/// A host's report about one release. `user` is `aws:userid`, or the instance id off EC2.
///
/// # Errors
/// `user` cannot be part of a key.
pub fn report_key(group: &GroupKey, sequence: u64, user: &str) -> Result<Key, InvalidId> {
    in_group(group, &format!("reports/{sequence}/{}.json", component(user)?)).as_str().parse()
}

/// The claim and result of a hook that runs once in the fleet.
///
/// # Errors
/// `hook` cannot be part of a key.
pub fn once_key(group: &GroupKey, sequence: u64, hook: &str, attempt: u32) -> Result<Key, InvalidId> {
    in_group(group, &format!("once/{sequence}/{}/{attempt}.json", component(hook)?)).as_str().parse()
}

/// The prefix of the hosts' documents.
pub fn hosts_key(group: &GroupKey) -> Key {
    in_group(group, "hosts")
}

/// A host's membership, for hosts without an Auto Scaling group.
///
/// # Errors
/// `user` cannot be part of a key.
pub fn host_key(group: &GroupKey, user: &str) -> Result<Key, InvalidId> {
    in_group(group, &format!("hosts/{}.json", component(user)?)).as_str().parse()
}

/// The prefix of all bundles.
pub fn revisions_key() -> Key {
    Key("revisions".to_owned())
}

/// A bundle, at the top of the store: `push` knows no group, and groups share revisions.
pub fn revision_key(revision: &Sha256Digest) -> Key {
    Key(format!("revisions/{}", revision.hex()))
}

/// The prefix of what publishers call the bundles.
pub fn labels_key() -> Key {
    Key("labels".to_owned())
}

/// What publishers call a bundle. It is beside the bundles and not among them, because a bundle is found by the
/// beginning of its key.
pub fn label_key(revision: &Sha256Digest) -> Key {
    Key(format!("labels/{}.json", revision.hex()))
}

/// The prefix of the group's earlier releases.
pub fn past_releases_key(group: &GroupKey) -> Key {
    in_group(group, "releases")
}

/// A release that was in the group's channel before the one of now.
pub fn past_release_key(group: &GroupKey, past: &PastRelease) -> Key {
    in_group(group, &format!("releases/{past}.json"))
}

/// The name of an earlier release: sequences of different key policies are not compared, and a channel that was lost
/// may use a sequence twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PastRelease {
    /// The version of the key policy for which it was made.
    pub key_policy: u64,
    /// Its sequence.
    pub sequence: u64,
    /// The first 8 digits of the digest of its payload.
    pub digest: String,
}

impl PastRelease {
    /// The name in a key of [`past_release_key`]; `None` for any other object.
    pub fn of_key(key: &Key) -> Option<Self> {
        let (_, name) = key.as_str().rsplit_once('/')?;
        let mut parts = name.strip_suffix(".json")?.splitn(3, '-');
        let mut part = || parts.next();
        let past =
            Self { key_policy: part()?.parse().ok()?, sequence: part()?.parse().ok()?, digest: part()?.to_owned() };
        // The same release has one name only.
        (past.to_string() == name.strip_suffix(".json")?).then_some(past)
    }
}

impl fmt::Display for PastRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016}-{}", self.key_policy, self.sequence, self.digest)
    }
}

/// One record (or one deployment's records) of a host's history chain, by the first sequence number in it.
///
/// # Errors
/// `user` cannot be part of a key.
pub fn history_key(user: &str, sequence: u64) -> Result<Key, InvalidId> {
    format!("history/{}/{sequence:020}.json", component(user)?).parse()
}

/// A text that stays one component: otherwise a slash in it would move the object to another host's prefix.
fn component(text: &str) -> Result<&str, InvalidId> {
    if text.contains('/') {
        return Err(InvalidId { kind: "part of a store key", text: text.to_owned(), problem: "must not hold a slash" });
    }
    Ok(text)
}
