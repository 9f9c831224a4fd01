//! The journal and the deployments together: launch, pool and shutdown by the real state machine.

use super::*;
use crate::ids::GroupKey;
use crate::machine::checks::PreparedHealth;
use crate::machine::event::{InstallReport, Prepared, WorkFailure};
use crate::machine::state::{Outcome, Policy};
use crate::machine::stopping::{Stopping, stopping};
use crate::machine::{Event, Refusal, Work, WorkResult, resume};
use crate::status::tests::Host;

fn key() -> GroupKey {
    GroupKey::new("web".parse().unwrap(), "a".parse().unwrap())
}

fn change(host: &mut Host, change: Change) {
    host.take(Event::Lifecycle(change));
}

fn begin(host: &mut Host, kind: ActionKind) -> Action {
    let opening = Opening { kind, group: Some("asg".to_owned()), hooks: vec![hook("ours")], deadline_ms: Some(9) };
    change(host, Change::Open(opening));
    host.state.lifecycle.action.clone().unwrap()
}

fn stop() -> Event {
    Event::Stop { id: "d-STOP".parse().unwrap(), key: key(), policy: Box::new(Policy::default()) }
}

/// Ends the running effect.
fn end(host: &mut Host, fails: bool) {
    let effect = resume(&host.state).remove(0);
    let failure = || WorkFailure::other("no");
    let result = match effect.work {
        Work::Prepare if fails => WorkResult::Prepared(Err(failure())),
        Work::Prepare => WorkResult::Prepared(Ok(Prepared {
            revision: host.state.all_active().next().unwrap().1.request.revision.clone(),
            hooks: vec![],
            old_hooks: vec![],
            health: PreparedHealth::default(),
            takes_out: false,
            warnings: vec![],
        })),
        Work::Install => {
            let entries_digest = crate::ids::Sha256Digest::of(b"");
            WorkResult::Installed(Ok(InstallReport { entries: 0, entries_digest, warnings: vec![] }))
        }
        Work::Finish { .. } => WorkResult::Finished { warnings: vec![] },
        other => panic!("{other:?}"),
    };
    host.take(Event::Finished { effect: effect.number, result: Box::new(result) });
}

/// Ends every effect successfully until none runs.
fn run(host: &mut Host) {
    while host.state.all_active().next().is_some() {
        end(host, false);
    }
}

#[test]
fn a_shutdown_stops_each_group_once_and_continues() {
    let mut host = Host::new();
    host.deploy("a", 1);
    run(&mut host);
    let action = begin(&mut host, ActionKind::Shutdown);
    assert_eq!(stopping(&action, &host.state, false), Stopping::Begin(vec![key()]));
    host.take(stop());
    assert_eq!(stopping(&action, &host.state, false), Stopping::Waiting);
    run(&mut host);
    let group = host.state.groups.values().next().unwrap();
    let last = group.finished.last().unwrap();
    assert_eq!((last.outcome, last.request.purpose.stop().unwrap().deadline_ms), (Some(Outcome::Succeeded), Some(9)));
    assert!(last.steps.iter().all(|step| !step.event.name().contains("Install")), "{:?}", last.steps);
    let Stopping::Ended(decided) = stopping(&action, &host.state, false) else { panic!("it has not ended") };
    assert_eq!(decided.result, HookOutcome::Continue);
    // A second action, for the hook after a spot notice, finds it done.
    change(&mut host, Change::Close(action.entry, "x".into()));
    let again = begin(&mut host, ActionKind::Shutdown);
    assert!(matches!(stopping(&again, &host.state, false), Stopping::Ended(_)));
}

#[test]
fn the_scripts_of_a_stop_that_goes_on_have_the_nearer_deadline() {
    let mut host = Host::new();
    host.deploy("a", 1);
    run(&mut host);
    begin(&mut host, ActionKind::Shutdown);
    host.take(stop());
    let deadline = |host: &Host| host.state.all_active().next().unwrap().1.request.purpose.stop().unwrap().deadline_ms;
    assert_eq!(deadline(&host), Some(9));
    change(&mut host, Change::Hurry(5));
    assert_eq!(deadline(&host), Some(5));
    change(&mut host, Change::ClockSet(1000));
    assert_eq!(deadline(&host), Some(1005));
}

#[test]
fn a_deployment_that_goes_on_ends_at_its_next_step_without_a_rollback() {
    let mut host = Host::new();
    host.deploy("a", 1);
    run(&mut host);
    host.deploy("a", 2);
    let action = begin(&mut host, ActionKind::Shutdown);
    assert_eq!(stopping(&action, &host.state, false), Stopping::Waiting);
    run(&mut host);
    let group = host.state.groups.values().next().unwrap();
    let ended = group.finished.last().unwrap();
    assert!(ended.failure.as_ref().unwrap().message.contains("on its way out"), "{ended:?}");
    assert!(ended.request.purpose.rolls_back().is_none() && group.finished.len() == 2, "no rollback follows");
    assert_eq!(stopping(&action, &host.state, false), Stopping::Begin(vec![key()]));
}

#[test]
fn a_failed_stop_abandons_only_where_that_is_wished() {
    let mut host = Host::new();
    host.deploy("a", 1);
    run(&mut host);
    let action = begin(&mut host, ActionKind::Shutdown);
    host.take(stop());
    end(&mut host, true);
    run(&mut host);
    for (abandon, result) in [(false, HookOutcome::Continue), (true, HookOutcome::Abandon)] {
        let Stopping::Ended(decided) = stopping(&action, &host.state, abandon) else { panic!("it has not ended") };
        assert_eq!(decided.result, result);
        assert!(decided.why.contains("web/a"), "{}", decided.why);
    }
}

#[test]
fn out_of_the_pool_what_was_stopped_is_deployed_again_and_in_it_nothing_is() {
    let mut host = Host::new();
    host.deploy("a", 1);
    run(&mut host);
    host.state.groups.values_mut().next().unwrap().following.tried_sequence = 7;
    for kind in [ActionKind::ReturnToPool, ActionKind::Prepare] {
        host.state.lifecycle.served = true;
        let action = begin(&mut host, kind);
        if !matches!(stopping(&action, &host.state, false), Stopping::Ended(_)) {
            host.take(stop());
            run(&mut host);
        }
        assert_eq!(host.state.groups.values().next().unwrap().following.tried_sequence, 7);
        change(&mut host, Change::Close(action.entry, "in the warm pool".into()));
        let admitted = host.asked_by_channel("a", 3);
        assert!(matches!(admitted, Err(Refusal::OutOfService { .. })), "{admitted:?}");
        let launch = begin(&mut host, ActionKind::Launch);
        assert_eq!(host.state.groups.values().next().unwrap().following.tried_sequence, 0, "it is tried again");
        host.state.groups.values_mut().next().unwrap().following.tried_sequence = 7;
        change(&mut host, Change::Close(launch.entry, "in service".into()));
    }
}

#[test]
fn a_launch_proves_every_group_and_an_empty_channel_does_not_end_it() {
    let groups = |found: &[Launched]| -> Vec<(GroupKey, Launched)> {
        found.iter().map(|found| (key(), found.clone())).collect()
    };
    let result = |found: &[Launched], without, late| launch(&groups(found), without, late).map(|d| d.result);
    use Launched::{Bad, Good, Held, NoRelease, Waiting};
    let (go, give_up) = (Some(HookOutcome::Continue), Some(HookOutcome::Abandon));
    let (cont, wait) = (WithoutRelease::Continue, WithoutRelease::Wait);
    assert_eq!(result(&[], cont, false), go);
    assert_eq!(result(&[Good, NoRelease, Held], cont, false), go);
    assert_eq!(result(&[Good, Waiting], cont, false), None);
    assert_eq!(result(&[Good, Waiting], cont, true), give_up);
    assert_eq!(result(&[Waiting, Bad("503".into())], cont, false), give_up);
    assert_eq!(result(&[NoRelease], wait, false), None);
    assert_eq!(result(&[NoRelease], wait, true), give_up);
    assert_eq!(result(&[NoRelease], WithoutRelease::Abandon, false), give_up);
}
