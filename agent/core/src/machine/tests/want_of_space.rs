//! A rollback that fails for want of space is tried again for its remaining work; any other holds still.

use super::*;
use crate::machine::again_at_ms;
use crate::machine::state::{Group, RollbackExtent};
use crate::status::{Condition, condition, one_line, problems, status};

const FULL: &str = "cannot create the directory /x: No space left on device (os error 28)";

fn group(host: &Host) -> &Group {
    &host.state.groups[&key("prod").id()]
}

/// The message is the same for every kind: words decide nothing.
fn failure(kind: FailureKind) -> WorkFailure {
    WorkFailure { message: FULL.to_owned(), kind }
}

/// A second deployment that fails at an event, up to the rollback that follows it.
fn rolls_back(fails_at: LifecycleEvent) -> (Host, Vec<Effect>) {
    let mut host = Host::default();
    let effects = host.deploy(1, request("prod", None)).unwrap();
    host.run(effects, never);
    host.fail_at = Some(fails_at);
    let mut effects = host.deploy(2, request("prod", None)).unwrap();
    while group(&host).active.as_ref().unwrap().request.purpose.rolls_back().is_none() {
        let result = Box::new(host.perform(&effects[0]));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    }
    (host, effects)
}

/// Lets the rollback fail in this work.
fn fails(host: &mut Host, mut effects: Vec<Effect>, in_work: fn(&Work) -> bool, kind: FailureKind) {
    while !in_work(&effects[0].work) {
        let result = Box::new(host.perform(&effects[0]));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    }
    let result = match effects[0].work {
        Work::Prepare => WorkResult::Prepared(Err(failure(kind))),
        Work::Install => WorkResult::Installed(Err(failure(kind))),
        _ => WorkResult::Hook(hook_result(HookOutcome::CouldNotStart {
            message: FULL.to_owned(),
            no_space: kind == FailureKind::NoSpace,
        })),
    };
    effects = host.step(Event::Finished { effect: effects[0].number, result: Box::new(result) }).unwrap();
    host.run(effects, never);
    assert_eq!(condition(group(host)), Condition::Failed);
}

fn again(host: &mut Host, number: u64) -> Result<Vec<Effect>, Refusal> {
    host.step(Event::RollbackAgain { id: id(number), key: key("prod") })
}

fn starts_the_application(work: &Work) -> bool {
    matches!(work, Work::RunHook { event: LifecycleEvent::ApplicationStart, .. })
}

#[test]
fn what_is_done_is_not_done_again_and_the_old_application_is_started_in_the_end() {
    use RollbackExtent::{Reinstall, Restart, StopAndReinstall};
    let prepare: fn(&Work) -> bool = |work| *work == Work::Prepare;
    let install: fn(&Work) -> bool = |work| *work == Work::Install;
    let cases = [
        (LifecycleEvent::BeforeInstall, prepare, Restart),
        (LifecycleEvent::BeforeInstall, starts_the_application, Restart),
        (LifecycleEvent::AfterInstall, prepare, Reinstall),
        (LifecycleEvent::AfterInstall, install, Reinstall),
        (LifecycleEvent::ValidateService, prepare, StopAndReinstall),
        (LifecycleEvent::ValidateService, install, Reinstall),
        (LifecycleEvent::ValidateService, starts_the_application, Restart),
    ];
    for (number, (event, in_work, extent)) in cases.into_iter().enumerate() {
        let (mut host, effects) = rolls_back(event);
        fails(&mut host, effects, in_work, FailureKind::NoSpace);
        assert!(again_at_ms(group(&host)).is_some(), "case {number}");
        host.ran.clear();
        let effects = again(&mut host, 7).unwrap();
        let began = group(&host).active.as_ref().unwrap().request.purpose.rolls_back().cloned().unwrap();
        assert_eq!((began.deployment, began.extent), (id(2), extent), "case {number}");
        host.run(effects, never);
        assert_eq!(condition(group(&host)), Condition::RolledBack, "case {number}");
        assert!(host.ran.contains(&(id(1), LifecycleEvent::ApplicationStart)), "case {number}: {:?}", host.ran);
        assert_eq!(group(&host).installed.as_ref().unwrap().archive, id(1), "case {number}");
        let listed: Vec<_> = group(&host).finished.iter().map(|d| d.id.clone()).collect();
        assert_eq!(listed, [id(1), id(2), id(7)], "the try before is in the history only");
        assert!(matches!(again(&mut host, 8), Err(Refusal::NothingWaits { .. })), "case {number}");
    }
}

#[test]
fn a_rollback_that_fails_for_another_reason_holds_still() {
    let (mut host, effects) = rolls_back(LifecycleEvent::AfterInstall);
    fails(&mut host, effects, starts_the_application, FailureKind::Other);
    assert_eq!(again_at_ms(group(&host)), None);
    assert!(matches!(again(&mut host, 7), Err(Refusal::NothingWaits { .. })));
}

#[test]
fn a_script_that_fails_is_no_want_of_space_whatever_it_prints() {
    let (mut host, mut effects) = rolls_back(LifecycleEvent::AfterInstall);
    while !starts_the_application(&effects[0].work) {
        let result = Box::new(host.perform(&effects[0]));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    }
    let mut result = hook_result(HookOutcome::Exited { code: 1 });
    result.tail = vec![FULL.to_owned()];
    let result = Box::new(WorkResult::Hook(result));
    effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    host.run(effects, never);
    assert_eq!(again_at_ms(group(&host)), None);
}

#[test]
fn it_is_tried_soon_at_first_and_never_more_rarely_than_every_ten_minutes() {
    let (mut host, effects) = rolls_back(LifecycleEvent::BeforeInstall);
    fails(&mut host, effects, |work| *work == Work::Prepare, FailureKind::NoSpace);
    let mut waits = Vec::new();
    for number in 10..30 {
        let ended = group(&host).finished.last().unwrap().finished_ms.unwrap();
        let at = again_at_ms(group(&host)).unwrap();
        waits.push(at - ended);
        host.now = at;
        let effects = again(&mut host, number).unwrap();
        fails(&mut host, effects, |work| *work == Work::Prepare, FailureKind::NoSpace);
    }
    assert_eq!(waits[0], 15_000);
    assert!(waits.is_sorted() && waits[19] == 600_000, "{waits:?}");
}

#[test]
fn who_looks_is_told_that_it_is_tried_again() {
    let (mut host, effects) = rolls_back(LifecycleEvent::BeforeInstall);
    fails(&mut host, effects, |work| *work == Work::Prepare, FailureKind::NoSpace);
    let shown = status(&host.state, None, host.now);
    assert_eq!(shown.groups[0].rollback_again_ms, again_at_ms(group(&host)));
    let line = one_line(&host.state, &crate::status::Health::new());
    assert!(line.contains("failed in DownloadBundle for want of space, and is tried again"), "{line}");
    let daemon = crate::status::Daemon {
        agent_version: "1".to_owned(),
        pid: 1,
        started_ms: 0,
        waiting: None,
        not_followed: None,
        channels: Vec::new(),
        logs: None,
        reports: Vec::new(),
        health: crate::status::Health::new(),
    };
    let said = problems(&status(&host.state, Some(daemon), host.now), host.now);
    assert_eq!(said, ["web/prod: the rollback has no space, and is tried again"]);
}

#[test]
fn what_is_refused_meanwhile_does_not_make_it_forgotten() {
    let (mut host, effects) = rolls_back(LifecycleEvent::AfterInstall);
    fails(&mut host, effects, |work| *work == Work::Install, FailureKind::NoSpace);
    // The next deployment finds the same disk full, before it touches anything.
    host.fail_at = Some(LifecycleEvent::DownloadBundle);
    let effects = host.deploy(5, request("prod", None)).unwrap();
    host.run(effects, never);
    assert_eq!(group(&host).finished.last().unwrap().id, id(5));
    assert!(again_at_ms(group(&host)).is_some());
    host.fail_at = None;
    let effects = again(&mut host, 7).unwrap();
    host.run(effects, never);
    let ended: Vec<_> = group(&host).finished.iter().map(|d| d.id.clone()).collect();
    assert_eq!(ended, [id(1), id(2), id(5), id(7)], "the try before it made way");
    assert_eq!((condition(group(&host)), again_at_ms(group(&host))), (Condition::RolledBack, None));
}
