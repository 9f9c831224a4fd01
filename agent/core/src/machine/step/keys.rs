//! The keys of a channel change while one of its releases is being deployed.
//!
//! A download may take days on a slow line, and its server decides how slow the line is. So a release that only
//! withdrawn keys have signed ends here, as long as it has touched nothing. A release whose scripts already run
//! continues: it was good when they began, and a host between two revisions is of no use.

use crate::history::Kind;
use crate::ids::{GroupKey, Sha256Digest};
use crate::machine::event::WorkFailure;
use crate::machine::state::Deployment;
use crate::release::{AcceptedKeys, PublicKey, SigningPolicy, Trust};

use super::Turn;

impl Turn<'_> {
    pub(super) fn keys_accepted(&mut self, key: GroupKey, keys: AcceptedKeys) {
        let policy = keys.policy.clone();
        let group = self.group(&key);
        if let Some(active) = &mut group.active {
            active.outdated_keys = is_outdated(active, &policy);
        }
        group.following.keys = Some(keys);
        let key_ids = policy.keys.iter().map(PublicKey::id).collect();
        let (version, threshold) = (policy.version, policy.threshold);
        self.record(Kind::KeysAccepted { group: key, version, threshold, key_ids });
    }

    /// The release is in the channel, and the current keys have signed it.
    pub(super) fn signed_again(&mut self, key: &GroupKey, release: Sha256Digest, trust: Trust) {
        let Some(active) = self.state.groups.get_mut(&key.id()).and_then(|group| group.active.as_mut()) else { return };
        if active.request.purpose.release().is_some_and(|is| is.digest == Some(release)) {
            active.request.trust = trust;
            active.outdated_keys = false;
        }
    }

    pub(super) fn end_if_keys_are_outdated(&mut self, deployment: &mut Deployment) {
        if !deployment.outdated_keys || deployment.has_touched_the_host() {
            return;
        }
        let message = "keys that signed the release were taken away before anything of it was used; if it is what this host \
                       shall run, sign it with the keys of now (hostler rotate-keys)";
        let failure = WorkFailure::verification(message);
        self.fail(deployment, None, failure, Vec::new());
        // The agent decides again whether to follow it, by its signatures at that time.
        self.group(&deployment.request.key).following.tried_sequence = 0;
    }
}

fn is_outdated(active: &Deployment, policy: &SigningPolicy) -> bool {
    let Trust::Verified { key_ids } = &active.request.trust else { return false };
    active.request.purpose.release().is_some() && !policy.is_satisfied_by(key_ids)
}
