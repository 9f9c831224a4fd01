//! Actions by hand, and their effect on the channel and on the output.

use super::*;
use crate::status::{Condition, ReleaseStanding, condition, status};

pub(super) fn group(host: &Host) -> state::Group {
    host.state.groups[&key("prod").id()].clone()
}

pub(super) fn deployed(host: &mut Host, number: u64, request: Request) {
    let effects = host.deploy(number, request).unwrap();
    host.run(effects, never);
}

fn rolled_back(host: &mut Host, number: u64) {
    let (id, asked_by) = (id(number), "root".to_owned());
    let effects = host
        .step(Event::Rollback { id, key: key("prod"), to: None, force: false, asked_by, policy: Box::default() })
        .unwrap();
    host.run(effects, never);
}

fn resumed(host: &mut Host) -> Result<(), Refusal> {
    host.step(Event::Resume { key: key("prod"), asked_by: "root".to_owned() }).map(drop)
}

pub(super) fn named(name: Option<&str>) -> Request {
    let mut request = request("prod", None);
    request.policy.appspec_name = name.map(str::to_owned);
    request
}

#[test]
fn what_returns_to_a_revision_reads_the_appspec_under_that_revisions_name() {
    for by_hand in [false, true] {
        let mut host = Host::default();
        deployed(&mut host, 1, named(Some("third.yml")));
        if !by_hand {
            host.fail_at = Some(LifecycleEvent::ValidateService);
        }
        deployed(&mut host, 2, named(Some("other.yml")));
        if by_hand {
            rolled_back(&mut host, 3);
        }
        let found = group(&host);
        let rollback = found.finished.last().unwrap();
        assert!(rollback.request.purpose.is_rollback(), "by hand: {by_hand}");
        assert_eq!(rollback.request.policy.appspec_name.as_deref(), Some("third.yml"), "by hand: {by_hand}");
        assert_eq!(found.installed.unwrap().appspec_name.as_deref(), Some("third.yml"), "by hand: {by_hand}");
    }
}

#[test]
fn a_rollback_to_a_revision_without_a_name_of_its_own_does_not_take_the_failed_ones() {
    let mut host = Host::default();
    deployed(&mut host, 1, named(None));
    host.fail_at = Some(LifecycleEvent::ValidateService);
    deployed(&mut host, 2, named(Some("other.yml")));
    assert_eq!(group(&host).finished.last().unwrap().request.policy.appspec_name, None);
}

#[test]
fn the_appspecs_name_stays_known_when_its_deployment_is_forgotten() {
    let mut host = Host::default();
    deployed(&mut host, 1, named(Some("third.yml")));
    host.fail_at = Some(LifecycleEvent::DownloadBundle);
    for number in 2..20 {
        deployed(&mut host, number, named(None));
    }
    assert!(group(&host).finished.iter().any(|d| d.id == id(1)), "failures make no good revision forgotten");
    // Agents of before forgot it.
    let key = key("prod").id();
    host.state.groups.get_mut(&key).unwrap().finished.retain(|d| d.id != id(1));
    assert_eq!(group(&host).appspec_name_of(&id(1)), Some("third.yml"));
    let sealed = seal::seal(host.state.clone(), &[], 1);
    assert_eq!(sealed.state.groups[&key].appspec_name_of(&id(1)), Some("third.yml"));
}

#[test]
fn a_state_of_an_older_agent_has_the_appspecs_name_in_its_deployments() {
    let mut host = Host::default();
    deployed(&mut host, 1, named(Some("third.yml")));
    let mut document = serde_json::to_value(&host.state).unwrap();
    let written = &mut document["groups"][key("prod").id()];
    for installed in ["installed", "last_good"] {
        assert!(written[installed].as_object_mut().unwrap().remove("appspec_name").is_some());
    }
    host.state = serde_json::from_value(document).unwrap();
    assert_eq!(group(&host).appspec_name_of(&id(1)), Some("third.yml"));
    host.fail_at = Some(LifecycleEvent::ValidateService);
    deployed(&mut host, 2, named(None));
    assert_eq!(group(&host).finished.last().unwrap().request.policy.appspec_name.as_deref(), Some("third.yml"));
}

#[test]
fn a_hold_hides_no_failure_and_stays_until_a_higher_release_or_resume() {
    let mut host = Host::default();
    for sequence in [1, 2] {
        deployed(&mut host, sequence, request("prod", Some(sequence)));
    }
    rolled_back(&mut host, 3);
    let state = |host: &Host| (condition(&group(host)), group(host).following.hold().is_some());
    assert_eq!(state(&host), (Condition::RolledBack, true));
    let mut failing = request("prod", None);
    failing.policy.rollback = RollbackPolicy::Never;
    host.fail_at = Some(LifecycleEvent::ApplicationStart);
    deployed(&mut host, 4, failing);
    assert_eq!(state(&host), (Condition::Failed, true));
    host.fail_at = None;
    deployed(&mut host, 5, request("prod", None));
    assert_eq!(state(&host), (Condition::Good, true), "what was deployed by hand is not the channel's release");
    assert!(matches!(follow(Some(&group(&host)), 2), Follow::Held(_)));
    deployed(&mut host, 6, request("prod", Some(3)));
    assert_eq!(state(&host), (Condition::Good, false));
}

#[test]
fn a_failed_rollback_by_hand_is_shown_as_failed() {
    let mut host = Host::default();
    for sequence in [1, 2] {
        deployed(&mut host, sequence, request("prod", Some(sequence)));
    }
    let mut effects = host
        .step(Event::Rollback {
            id: id(3),
            key: key("prod"),
            to: None,
            force: false,
            asked_by: "root".to_owned(),
            policy: Box::default(),
        })
        .unwrap();
    let failure = WorkFailure::other("no");
    let result = Box::new(WorkResult::Prepared(Err(failure)));
    effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    host.run(effects, never);
    assert_eq!(condition(&group(&host)), Condition::Failed);
}

#[test]
fn a_group_that_follows_no_channel_is_never_held() {
    let mut host = Host::default();
    for number in [1, 2] {
        deployed(&mut host, number, request("prod", None));
    }
    rolled_back(&mut host, 3);
    assert_eq!(group(&host).following.held, None);
    // An older agent did write one.
    host.state.groups.get_mut(&key("prod").id()).unwrap().following.held = Some("root rolled back".to_owned());
    assert_eq!(group(&host).following.hold(), None);
    assert!(matches!(resumed(&mut host), Err(Refusal::NotHeld { .. })));
}

#[test]
fn a_removal_leaves_nothing_deployed() {
    let mut host = Host::default();
    deployed(&mut host, 1, request("prod", Some(1)));
    let (asked_by, policy) = ("root".to_owned(), Box::default());
    let effects = host.step(Event::Remove { id: id(2), key: key("prod"), asked_by, policy }).unwrap();
    host.run(effects, never);
    assert_eq!((condition(&group(&host)), group(&host).following.hold()), (Condition::Empty, Some("root removed it")));
    // An image forgets the removal, and the deployment before it is the last one that is remembered.
    let sealed = seal::seal(host.state.clone(), &[], 1).state;
    assert_eq!(condition(&sealed.groups[&key("prod").id()]), Condition::Empty);
}

#[test]
fn resume_is_refused_where_it_would_deploy_what_runs() {
    let mut host = Host::default();
    assert!(matches!(resumed(&mut host), Err(Refusal::NotHeld { .. })), "nothing was deployed");
    assert!(host.state.groups.is_empty(), "what is refused leaves no group behind");
    deployed(&mut host, 1, request("prod", Some(1)));
    assert!(matches!(resumed(&mut host), Err(Refusal::NotHeld { .. })), "the release runs");
    assert_eq!(follow(Some(&group(&host)), 1), Follow::UpToDate);
    // A rollback to it brings the release back under another id.
    host.fail_at = Some(LifecycleEvent::ValidateService);
    deployed(&mut host, 2, request("prod", None));
    assert_eq!(follow(Some(&group(&host)), 1), Follow::UpToDate);
    assert!(matches!(resumed(&mut host), Err(Refusal::NotHeld { .. })), "the release runs again");
}

#[test]
fn resume_leads_back_to_a_release_that_failed_is_held_or_was_replaced_by_hand() {
    let mut host = Host::default();
    deployed(&mut host, 1, request("prod", Some(1)));
    deployed(&mut host, 2, request("prod", None));
    assert_eq!(follow(Some(&group(&host)), 1), Follow::ByHand(id(2)));
    resumed(&mut host).unwrap();
    assert_eq!(follow(Some(&group(&host)), 1), Follow::Deploy);
    assert!(matches!(resumed(&mut host), Err(Refusal::NotHeld { .. })), "it was asked for already");
    host.fail_at = Some(LifecycleEvent::BeforeInstall);
    deployed(&mut host, 3, request("prod", Some(2)));
    assert_eq!(follow(Some(&group(&host)), 2), Follow::Failed);
    resumed(&mut host).unwrap();
    assert_eq!(follow(Some(&group(&host)), 2), Follow::Deploy);
}

#[test]
fn a_release_that_begins_anew_is_deployed_whatever_its_number_was_before() {
    let mut host = Host::default();
    for sequence in [1, 2] {
        let effects = host.deploy(sequence, request("prod", Some(sequence))).unwrap();
        host.run(effects, never);
    }
    let rollback = Event::Rollback {
        id: id(3),
        key: key("prod"),
        to: None,
        force: false,
        asked_by: "root".to_owned(),
        policy: Box::default(),
    };
    let effects = host.step(rollback).unwrap();
    host.run(effects, never);
    let group = host.state.groups[&key("prod").id()].clone();
    let follow_new = |new| follow_accepted(Some(&group), Acceptance::New(new), new.sequence);
    // Under the earlier keys the hold counts, and the release with this number.
    assert!(matches!(follow_new(Highest::new(2, None)), Follow::Held(_)));
    assert_eq!(follow_new(Highest { key_policy: 2, ..Highest::new(2, None) }), Follow::Deploy);
    assert_eq!(follow_new(Highest { epoch: 1, ..Highest::new(1, None) }), Follow::Deploy);
    assert!(matches!(follow_accepted(Some(&group), Acceptance::Known, 2), Follow::Held(_)));
}

#[test]
fn the_status_says_what_became_of_the_channels_release() {
    let mut host = Host::default();
    let standing = |host: &Host| status(&host.state, None, 0).groups[0].release;
    let of = |sequence: u64, content: &str| {
        let mut request = request("prod", Some(sequence));
        request.revision.digest = Some(Sha256Digest::of(content.as_bytes()));
        request
    };
    let by_hand = |content: &str| Request { purpose: Purpose::ByHand, ..of(1, content) };
    deployed(&mut host, 1, of(1, "a"));
    assert_eq!(standing(&host), Some(ReleaseStanding::Installed));
    deployed(&mut host, 2, by_hand("b"));
    assert_eq!(standing(&host), Some(ReleaseStanding::Replaced));
    rolled_back(&mut host, 3);
    assert_eq!(standing(&host), Some(ReleaseStanding::Installed), "a rollback brought its revision back");
    deployed(&mut host, 4, of(2, "b"));
    deployed(&mut host, 5, by_hand("a"));
    deployed(&mut host, 6, by_hand("b"));
    assert_eq!(standing(&host), Some(ReleaseStanding::Installed), "the same content by hand");
    host.fail_at = Some(LifecycleEvent::ValidateService);
    deployed(&mut host, 7, of(3, "c"));
    host.fail_at = None;
    assert!(group(&host).finished.last().unwrap().request.purpose.is_rollback());
    assert_eq!(standing(&host), Some(ReleaseStanding::Failed));
    deployed(&mut host, 9, of(3, "c"));
    assert_eq!(standing(&host), Some(ReleaseStanding::Installed), "tried again");
    host.deploy(10, of(4, "d")).unwrap();
    assert_eq!(standing(&host), None, "it is being deployed");
}

#[test]
fn a_failure_says_why_no_rollback_follows() {
    let ended = |host: &mut Host, number: u64, request: Request| {
        let mut found = None;
        let mut effects = host.deploy(number, request).unwrap();
        while let Some(effect) = effects.first().cloned() {
            let result = host.perform(&effect);
            host.now += 1;
            let event = Event::Finished { effect: effect.number, result: Box::new(result) };
            let stepped = step(std::mem::take(&mut host.state), event, &context(host.now));
            (host.state, effects) = (stepped.state, stepped.effects);
            let is_its = |progress: &&Progress| progress.deployment() == &id(number);
            found = found.or(stepped.progress.iter().filter(is_its).find_map(|progress| match progress {
                Progress::Finished { no_rollback, rollback, .. } => Some((*no_rollback, rollback.is_some())),
                _ => None,
            }));
        }
        found.unwrap()
    };
    let never = || {
        let mut request = named(None);
        request.policy.rollback = RollbackPolicy::Never;
        request
    };
    let mut host = Host { fail_at: Some(LifecycleEvent::ValidateService), ..Host::default() };
    assert_eq!(ended(&mut host, 1, named(None)), (Some(NoRollback::NoGoodRevision), false));
    host.fail_at = None;
    assert_eq!(ended(&mut host, 2, named(None)), (None, false));
    host.fail_at = Some(LifecycleEvent::DownloadBundle);
    assert_eq!(ended(&mut host, 3, named(None)), (Some(NoRollback::NothingTouched), false));
    host.fail_at = Some(LifecycleEvent::ValidateService);
    assert_eq!(ended(&mut host, 4, never()), (Some(NoRollback::TurnedOff), false));
    assert_eq!(ended(&mut host, 5, named(None)), (None, true));
}
