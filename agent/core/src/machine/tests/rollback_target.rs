//! The revision to which a rollback by hand returns where the command names none.

use super::by_hand::{deployed, group, named};
use super::*;
use crate::bundle::BundleType;

/// A request for a bundle with this content.
fn of(content: &str) -> Request {
    let mut request = named(None);
    request.revision.digest = Some(Sha256Digest::of(content.as_bytes()));
    request
}

fn without_rollback(request: Request) -> Request {
    Request { policy: Policy { rollback: RollbackPolicy::Never, ..request.policy.clone() }, ..request }
}

/// Deploys a bundle with each content, numbered from 1.
fn deployed_in_order(contents: &[&str]) -> Host {
    let mut host = Host::default();
    for (number, content) in (1..).zip(contents) {
        deployed(&mut host, number, of(content));
    }
    host
}

/// A deployment that fails in ValidateService, with the rollback that follows it.
fn failed(host: &mut Host, number: u64, request: Request) {
    host.fail_at = Some(LifecycleEvent::ValidateService);
    deployed(host, number, request);
    host.fail_at = None;
}

/// What a rollback returns to now, whether it succeeds or not; the refusal's other revisions where there is nothing.
fn returns_to(host: &mut Host, number: u64) -> Result<DeploymentId, Vec<DeploymentId>> {
    asked(host, number, None)
}

fn asked(host: &mut Host, number: u64, to: Option<DeploymentId>) -> Result<DeploymentId, Vec<DeploymentId>> {
    let (id, asked_by) = (id(number), "root".to_owned());
    let ask = Event::Rollback { id, key: key("prod"), to, force: false, asked_by, policy: Box::default() };
    match host.step(ask) {
        Ok(effects) => {
            host.run(effects, never);
            Ok(group(host).finished.last().unwrap().archive().clone())
        }
        Err(Refusal::NoGoodRevision { kept, .. }) => Err(kept.into_iter().map(|kept| kept.deployment).collect()),
        Err(other) => panic!("{other}"),
    }
}

/// Returns to the revision of a named deployment.
fn returned_to(host: &mut Host, number: u64, to: u64) {
    let remembered = &mut host.state.groups.get_mut(&key("prod").id()).unwrap().finished;
    remembered.iter_mut().for_each(|d| d.request.revision.bundle_type = Some(BundleType::Tar));
    assert_eq!(asked(host, number, Some(id(to))), Ok(id(to)));
}

/// The target of a rollback that fails at this event.
fn fails_to_return_to(host: &mut Host, number: u64, event: LifecycleEvent) -> DeploymentId {
    (host.fail_at, host.rollbacks_fail) = (Some(event), true);
    let target = returns_to(host, number).unwrap();
    (host.fail_at, host.rollbacks_fail) = (None, false);
    assert_eq!(group(host).finished.last().unwrap().outcome, Some(Outcome::Failed));
    target
}

#[test]
fn rollbacks_in_a_row_go_further_back_and_never_to_what_a_rollback_left() {
    let mut host = Host::default();
    for number in [1, 2, 3] {
        deployed(&mut host, number, named(None));
    }
    assert_eq!(returns_to(&mut host, 4), Ok(id(2)));
    assert_eq!(returns_to(&mut host, 5), Ok(id(1)));
    assert_eq!(returns_to(&mut host, 6), Err(vec![id(2), id(3)]), "and not forward again; 2 was there last");
    // By name it goes forward, and from there back past what was left.
    returned_to(&mut host, 7, 3);
    assert_eq!(returns_to(&mut host, 8), Ok(id(1)), "2 was left too");
    // A new deployment of what was left makes it good again.
    deployed(&mut host, 9, named(None));
    deployed(&mut host, 10, named(None));
    assert_eq!(returns_to(&mut host, 11), Ok(id(9)));
    assert_eq!(returns_to(&mut host, 12), Ok(id(1)));
}

#[test]
fn a_rollback_after_a_failure_returns_to_what_ran_before_it() {
    let mut host = Host::default();
    for number in [1, 2] {
        deployed(&mut host, number, named(None));
    }
    failed(&mut host, 3, without_rollback(named(None)));
    assert_eq!(returns_to(&mut host, 4), Ok(id(2)), "also where it is the one that was good");
    assert_eq!(returns_to(&mut host, 5), Ok(id(1)));
}

#[test]
fn a_rollback_after_one_that_failed_goes_further_back_if_it_can() {
    // Also where the first one touches nothing, and the last revision goes on.
    for event in [LifecycleEvent::AfterInstall, LifecycleEvent::DownloadBundle] {
        let mut host = deployed_in_order(&["z", "b", "c"]);
        assert_eq!(fails_to_return_to(&mut host, 4, event), id(2), "{event}");
        assert_eq!(fails_to_return_to(&mut host, 5, event), id(1), "{event}");
        assert_eq!(returns_to(&mut host, 6), Ok(id(1)), "nothing else is there: {event}");
        assert_eq!(returns_to(&mut host, 7), Err(vec![id(3), id(2)]), "{event}");
        // What failed as a target is good again once it has succeeded.
        returned_to(&mut host, 8, 2);
        deployed(&mut host, 9, of("d"));
        assert_eq!(returns_to(&mut host, 10), Ok(id(2)), "{event}");
    }
}

#[test]
fn a_failure_says_nothing_against_the_content_that_was_good_before() {
    let mut host = deployed_in_order(&["z", "a", "b"]);
    failed(&mut host, 4, of("a"));
    assert_eq!(group(&host).installed.unwrap().archive, id(3), "it was rolled back");
    assert_eq!(returns_to(&mut host, 6), Ok(id(2)), "not to z");
    // Content that never succeeded is no target, whatever rolled it back.
    let mut host = deployed_in_order(&["a"]);
    failed(&mut host, 2, of("bad"));
    deployed(&mut host, 4, of("c"));
    assert_eq!(returns_to(&mut host, 5), Ok(id(1)));
}

#[test]
fn a_rollback_that_failed_by_itself_is_repeated_by_hand() {
    let mut host = deployed_in_order(&["a", "b"]);
    host.rollbacks_fail = true;
    failed(&mut host, 3, of("bad"));
    host.rollbacks_fail = false;
    assert!(group(&host).finished.last().unwrap().request.purpose.rolls_back().is_some());
    assert_eq!(returns_to(&mut host, 5), Ok(id(2)));
    assert_eq!(returns_to(&mut host, 6), Ok(id(1)));
}

#[test]
fn what_was_left_for_an_older_revision_is_no_target_whatever_brought_that_one() {
    // As `release --previous` does: the same content in a new archive.
    let mut host = deployed_in_order(&["good", "bad", "good"]);
    assert_eq!(returns_to(&mut host, 4), Err(vec![id(2)]), "1 has the content that is installed");
    deployed(&mut host, 5, of("next"));
    assert_eq!(returns_to(&mut host, 6), Ok(id(3)), "what ran before");
    // All that were jumped over are left.
    let mut host = deployed_in_order(&["z", "a", "b", "c", "a"]);
    assert_eq!(returns_to(&mut host, 6), Ok(id(1)));
    // Content that is deployed once more and succeeds is the newest again.
    let mut host = deployed_in_order(&["a", "b", "a", "b"]);
    assert_eq!(returns_to(&mut host, 5), Ok(id(3)));
    assert!(returns_to(&mut host, 6).is_err());
}

#[test]
fn where_a_rollbacks_own_record_is_forgotten_the_next_one_does_not_go_forward() {
    let mut host = deployed_in_order(&["a", "b", "c"]);
    assert_eq!(returns_to(&mut host, 4), Ok(id(2)));
    let remembered = &mut host.state.groups.get_mut(&key("prod").id()).unwrap().finished;
    remembered.retain(|d| d.id != id(4));
    assert_eq!(returns_to(&mut host, 5), Ok(id(1)));
}

#[test]
fn a_group_that_was_never_deployed_is_not_said_to_lack_a_good_revision() {
    let mut host = deployed_in_order(&["a"]);
    let ask = |name: &str| {
        let key = GroupKey::new("other".parse().unwrap(), name.parse().unwrap());
        Event::Rollback { id: id(2), key, to: None, force: false, asked_by: "root".to_owned(), policy: Box::default() }
    };
    let refused = host.step(ask("group")).unwrap_err();
    assert_eq!(refused.exit_code(), crate::codes::ExitCode::NotFound);
    let known = key("prod");
    assert_eq!(refused.to_string(), format!("nothing of other/group was ever deployed on this host; it has {known}"));
}

#[test]
fn a_refusal_lists_the_revisions_to_return_to_with_their_names() {
    let mut labelled = of("a");
    labelled.revision.label = Some("1.4.2".parse().unwrap());
    let short = labelled.revision.digest.unwrap().short();
    let mut host = Host::default();
    deployed(&mut host, 1, labelled);
    deployed(&mut host, 2, of("b"));
    let ask = Event::Rollback {
        id: id(3),
        key: key("prod"),
        to: Some("d-NONE".parse().unwrap()),
        force: false,
        asked_by: "root".to_owned(),
        policy: Box::default(),
    };
    let refused = host.step(ask).unwrap_err().to_string();
    assert!(refused.ends_with(&format!("the group can return to {}: 1.4.2 ({short})", id(1))), "{refused}");
}

#[test]
fn each_revision_is_listed_once_and_what_was_left_is_newer() {
    let listed = |host: &Host| {
        let found = group(host);
        let times: Vec<_> = earlier(&found).map(|d| last_installed_ms(&found, d).unwrap()).collect();
        assert!(times.is_sorted_by(|one, next| one > next), "{times:?}");
        assert!(times.iter().all(|at| *at < found.installed.as_ref().unwrap().at_ms), "{times:?}");
        earlier(&found).map(|d| (d.id.clone(), is_left(&found, d))).collect::<Vec<_>>()
    };
    let mut host = deployed_in_order(&["a", "b", "b", "c"]);
    assert_eq!(listed(&host), [(id(3), false), (id(1), false)]);
    assert_eq!(returns_to(&mut host, 5), Ok(id(3)));
    assert_eq!(listed(&host), [(id(4), true), (id(1), false)]);
    assert_eq!(returns_to(&mut host, 6), Ok(id(1)));
    assert_eq!(listed(&host), [(id(3), true), (id(4), true)], "b was there after c");
    // Forth again, by name: c is installed, a before it, and b stays left.
    returned_to(&mut host, 7, 4);
    assert_eq!(listed(&host), [(id(1), false), (id(3), true)]);
    // What was left stays left when a new revision comes, and the rollback goes to the first row that is not.
    deployed(&mut host, 8, of("d"));
    assert_eq!(listed(&host), [(id(4), false), (id(1), false), (id(3), true)]);
    assert_eq!(returns_to(&mut host, 9), Ok(id(4)));
}

#[test]
fn one_revision_again_and_again_displaces_none_to_return_to() {
    let two = |content: &str| {
        let request = of(content);
        Request { policy: Policy { max_revisions: 2, ..request.policy.clone() }, ..request }
    };
    let mut host = Host::default();
    for (number, content) in (1..).zip(["a", "b"].into_iter().chain(std::iter::repeat_n("c", 30))) {
        deployed(&mut host, number, two(content));
    }
    let found = group(&host);
    let listed: Vec<_> = earlier(&found).map(|d| d.id.clone()).collect();
    assert_eq!(listed, [id(2)], "two revisions, whatever brought them: b and c");
    let kept = retention::kept(&found, found.finished.last().unwrap());
    assert_eq!((kept.always, kept.while_room), (vec![id(32), id(31)], vec![id(2)]));
    assert!(found.finished.len() <= state::REMEMBERED_DEPLOYMENTS);
    assert_eq!(returns_to(&mut host, 33), Ok(id(2)));
    assert_eq!(returns_to(&mut host, 34), Err(vec![id(32)]), "a has made way, and c was left");
}

#[test]
fn where_the_first_deployment_of_a_revision_is_remembered_the_one_that_was_left_stays_left() {
    let mut host = deployed_in_order(&["a", "bad", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"]);
    assert_eq!(returns_to(&mut host, 16), Err(vec![id(2)]), "not forward again to what was left");
    // Deployments without a digest are revisions of their own, and as many directories stay as revisions.
    let mut host = Host::default();
    for number in 1..=9 {
        deployed(&mut host, number, named(None));
    }
    let found = group(&host);
    let kept = retention::kept(&found, found.finished.last().unwrap());
    assert_eq!(kept.always.len() + kept.while_room.len(), 5);
}
