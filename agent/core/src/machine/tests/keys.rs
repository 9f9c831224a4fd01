//! The keys of a channel change while one of its releases is being deployed.

use super::*;
use crate::release::{AcceptedKeys, PublicKey, SigningPolicy, Trust};

fn public_key(number: u8) -> PublicKey {
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410); the point need not be valid here.
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    PublicKey::from_der(&[&prefix[..], &[2 + number; 32]].concat()).unwrap()
}

fn trust(numbers: &[u8]) -> Trust {
    Trust::Verified { key_ids: numbers.iter().map(|number| public_key(*number).id()).collect() }
}

fn accepted(threshold: u32, numbers: &[u8]) -> Event {
    let policy = |version, numbers: &[u8]| SigningPolicy {
        version,
        threshold,
        keys: numbers.iter().map(|number| public_key(*number)).collect(),
    };
    let keys = Box::new(AcceptedKeys::new(&policy(1, &[1, 2]), policy(2, numbers)));
    Event::KeysAccepted { key: key("prod"), keys }
}

fn release() -> Highest {
    Highest::new(1, Some(Sha256Digest::of(b"the release")))
}

/// A host that deploys a release signed by the keys 1 and 2.
fn bringing(purpose: Purpose) -> (Host, Vec<Effect>) {
    let mut host = Host::default();
    let request = Request { purpose, trust: trust(&[1, 2]), ..request("prod", None) };
    let effects = host.deploy(1, request).unwrap();
    assert_eq!(effects.iter().map(|effect| &effect.work).collect::<Vec<_>>(), [&Work::Prepare]);
    (host, effects)
}

fn signed_again(digest: Sha256Digest) -> Event {
    Event::SignedAgain { key: key("prod"), release: digest, trust: trust(&[3]) }
}

#[test]
fn a_release_whose_keys_are_taken_away_while_it_is_brought_here_runs_nothing_and_is_decided_anew() {
    for mut crashes in [0, 3] {
        let (mut host, effects) = bringing(Purpose::Release(release()));
        host.step(accepted(1, &[3])).unwrap();
        let mut crash = || {
            let crashes_now = crashes > 0;
            crashes -= i32::from(crashes_now);
            crashes_now
        };
        host.run(effects, &mut crash);
        let group = &host.state.groups[&key("prod").id()];
        let failure = group.finished[0].failure.clone().expect("it failed");
        assert!(
            failure.kind == FailureKind::Verification && failure.message.contains("were taken away"),
            "{failure:?}"
        );
        assert_eq!((host.ran.as_slice(), &group.installed), (&[][..], &None));
        // The next poll verifies it with the current keys, or refuses it.
        assert_eq!(follow_accepted(Some(group), Acceptance::Known, 1), Follow::Deploy);
    }
}

#[test]
fn a_release_that_the_new_keys_sign_meanwhile_goes_on() {
    let (mut host, effects) = bringing(Purpose::Release(release()));
    host.step(accepted(1, &[3])).unwrap();
    host.step(signed_again(Sha256Digest::of(b"another one"))).unwrap();
    assert!(host.state.all_active().all(|(_, active)| active.outdated_keys), "it was another release");
    host.step(signed_again(Sha256Digest::of(b"the release"))).unwrap();
    host.run(effects, never);
    assert_eq!(host.outcomes("prod"), [(id(1), Some(Outcome::Succeeded))]);
    assert_eq!(host.state.groups[&key("prod").id()].installed.as_ref().unwrap().trust, trust(&[3]));
}

#[test]
fn what_enough_keys_still_stand_for_or_has_begun_or_was_not_signed_for_the_channel_goes_on() {
    // One of its two keys is left, and one is enough; then two are required, and one of those is another key.
    for (threshold, keys, goes_on) in [(1, &[2, 3][..], true), (2, &[2, 3], false), (2, &[1, 2], true)] {
        let (mut host, effects) = bringing(Purpose::Release(release()));
        host.step(accepted(threshold, keys)).unwrap();
        host.run(effects, never);
        let outcome = if goes_on { Outcome::Succeeded } else { Outcome::Failed };
        assert_eq!(host.outcomes("prod"), [(id(1), Some(outcome))], "{threshold} of {keys:?}");
    }
    let (mut host, effects) = bringing(Purpose::ByHand);
    host.step(accepted(1, &[3])).unwrap();
    host.run(effects, never);
    assert_eq!(host.outcomes("prod"), [(id(1), Some(Outcome::Succeeded))]);
    // The scripts of the new revision already run.
    let (mut host, mut effects) = bringing(Purpose::Release(release()));
    while host.ran.is_empty() {
        let effect = effects.pop().unwrap();
        let result = Box::new(host.perform(&effect));
        effects.extend(host.step(Event::Finished { effect: effect.number, result }).unwrap());
    }
    host.step(accepted(1, &[3])).unwrap();
    host.run(effects, never);
    assert_eq!(host.outcomes("prod"), [(id(1), Some(Outcome::Succeeded))]);
}
