//! Properties of the real `step`, driven by a simulated host that crashes at every persisted point.

use proptest::prelude::*;

use super::*;

mod by_hand;
mod commands;
mod host;
mod keys;
mod not_undone;
mod properties;
mod rollback_target;
mod room;
mod timed_out;
mod traffic;
mod want_of_space;

use host::*;

use crate::appspec::spec::{EventHooks, HookOptions, HookScript, Position};
use crate::event_order::LifecycleEvent;
use crate::hook::{HOOK_DOCUMENT_VERSION, HookOutcome, HookResult};
use crate::ids::{DeploymentId, GroupKey, Sha256Digest};
use crate::machine::checks::{PreparedHealth, ProbePhase};
use crate::machine::event::{FailureKind, InstallReport, Prepared, StillOpen, WorkFailure};
use crate::machine::release_decision::{Follow, follow, follow_accepted};
use crate::machine::state::{
    BootTime, Outcome, Policy, Purpose, Request, Revision, RollbackPolicy, Source, StepStatus,
};
use crate::release::{Acceptance, Highest};

#[test]
fn a_deployment_runs_its_events_in_order_with_the_hooks_of_the_right_revision() {
    let mut host = Host::default();
    for number in [1, 2] {
        let effects = host.deploy(number, request("prod", None)).unwrap();
        host.run(effects, never);
    }
    let expected: Vec<_> = LifecycleEvent::ORDER
        .into_iter()
        .filter(|e| e.has_scripts())
        .map(|e| (if e.runs_old_revision() { id(1) } else { id(2) }, e))
        .collect();
    let first = host.ran.iter().filter(|(_, e)| e.runs_old_revision()).count();
    assert_eq!(first, 3, "the first deployment has no old revision");
    assert_eq!(host.ran[host.ran.len() - expected.len()..], expected[..]);
}

#[test]
fn durations_are_the_boots_clocks_and_times_for_people_the_walls() {
    let at = |now_ms, since_boot_ms| Context { since_boot_ms, ..context(now_ms) };
    let deploy = Event::Deploy { id: id(1), request: Box::new(request("prod", None)) };
    let mut stepped = step(State::default(), deploy, &at(1_000_000, 500));
    let failure = WorkFailure::other("no");
    let mut result = WorkResult::Prepared(Err(failure));
    let mut durations = Vec::new();
    // The clock is set a day ahead, and then back by more than it was ever ahead.
    for (now_ms, since_boot_ms) in [(87_400_000, 800), (5, 900)] {
        let Some(effect) = stepped.effects.first().map(|effect| effect.number) else { break };
        stepped = step(stepped.state, Event::Finished { effect, result: Box::new(result) }, &at(now_ms, since_boot_ms));
        durations.extend(stepped.progress.iter().filter_map(|progress| match progress {
            Progress::EventFinished { milliseconds, .. } | Progress::Finished { milliseconds, .. } => {
                Some(*milliseconds)
            }
            _ => None,
        }));
        result = WorkResult::Finished { warnings: Vec::new() };
    }
    assert_eq!(durations, [300, 400]);
    let ended = stepped.state.groups.values().flat_map(|group| &group.finished).next().unwrap();
    assert_eq!((ended.started_ms, ended.finished_ms, ended.lasted_ms), (1_000_000, Some(5), Some(400)));
    assert_eq!(ended.steps[0].lasted_ms, Some(300));
}

#[test]
fn across_a_boot_and_for_what_an_older_agent_began_the_walls_clock_counts() {
    let now = BootTime { boot_id: "b".to_owned(), ms: 50 };
    let begun = |boot_id: &str, ms| BootTime { boot_id: boot_id.to_owned(), ms };
    assert_eq!(now.lasted_ms(Some(&begun("b", 20)), 1000, 9000), 30);
    assert_eq!(now.lasted_ms(Some(&begun("a", 20)), 1000, 9000), 8000);
    assert_eq!(now.lasted_ms(None, 1000, 9000), 8000);
}

#[test]
fn a_second_deployment_of_an_active_group_is_refused_by_name() {
    let mut host = Host::default();
    host.deploy(1, request("prod", None)).unwrap();
    let refusal = host.deploy(2, request("prod", None)).unwrap_err();
    assert!(matches!(&refusal, Refusal::DeploymentActive { active, .. } if active == &id(1)), "{refusal:?}");
}

#[test]
fn a_failure_after_start_stops_the_new_application_and_puts_the_good_revision_back() {
    let mut host = Host::default();
    let effects = host.deploy(1, request("prod", Some(1))).unwrap();
    host.run(effects, never);
    host.fail_at = Some(LifecycleEvent::ValidateService);
    host.ran.clear();
    let effects = host.deploy(2, request("prod", Some(2))).unwrap();
    host.run(effects, never);
    let group = &host.state.groups[&key("prod").id()];
    assert_eq!(group.installed.as_ref().unwrap().archive, id(1));
    assert_eq!(group.last_good.as_ref().unwrap().archive, id(1));
    let stop = host.ran.iter().rposition(|r| r == &(id(2), LifecycleEvent::ApplicationStop)).unwrap();
    let start = host.ran.iter().rposition(|r| r == &(id(1), LifecycleEvent::ApplicationStart)).unwrap();
    assert!(stop < start, "{:?}", host.ran);
    assert_eq!(follow(Some(group), 2), Follow::Failed, "a failed release is not tried again by itself");
    assert_eq!(follow(Some(group), 3), Follow::Deploy);
}

fn with_checks() -> Host {
    Host { health: PreparedHealth { checks: vec![], any: true, bake_seconds: 60 }, ..Host::default() }
}

#[test]
fn the_checks_come_after_the_scripts_of_their_events_also_when_every_step_crashes() {
    for crashes in [false, true] {
        let mut host = with_checks();
        let effects = host.deploy(1, request("prod", None)).unwrap();
        let mut moment = 0;
        host.run(effects, || {
            moment += 1;
            crashes && moment % 3 == 0
        });
        let expected = [(id(1), ProbePhase::Validate), (id(1), ProbePhase::Bake { seconds: 60 })];
        assert_eq!(host.probed, expected);
        assert_eq!(host.outcomes("prod"), [(id(1), Some(Outcome::Succeeded))]);
    }
}

#[test]
fn a_revision_that_does_not_become_healthy_is_rolled_back_and_the_old_one_is_probed_too() {
    let mut host = with_checks();
    let effects = host.deploy(1, request("prod", None)).unwrap();
    host.run(effects, never);
    host.unhealthy = true;
    host.probed.clear();
    let effects = host.deploy(2, request("prod", None)).unwrap();
    host.run(effects, never);
    let group = &host.state.groups[&key("prod").id()];
    let failed = group.finished.iter().find(|d| d.id == id(2)).unwrap();
    assert_eq!(failed.failure.as_ref().unwrap().event, LifecycleEvent::ValidateService);
    assert_eq!(group.installed.as_ref().unwrap().archive, id(1));
    assert_eq!(host.probed.len(), 2, "{:?}", host.probed);
    assert!(host.probed.iter().all(|(deployment, _)| *deployment == group.finished.last().unwrap().id));
}

#[test]
fn a_host_is_out_of_service_from_the_first_event_that_touches_it_until_traffic_is_allowed() {
    use crate::machine::checks::in_service;
    let mut host = with_checks();
    let mut shown = Vec::new();
    for number in [1, 2] {
        host.unhealthy = number == 2;
        let mut effects = host.deploy(number, request("prod", None)).unwrap();
        while let Some(effect) = effects.pop() {
            let group = &host.state.groups[&key("prod").id()];
            let active = group.active.as_ref().unwrap();
            let event = active.current().map(|s| s.event);
            shown.push((number, active.request.purpose.is_rollback(), event, in_service(group)));
            let result = host.perform(&effect);
            effects = host.step(Event::Finished { effect: effect.number, result: Box::new(result) }).unwrap();
        }
    }
    assert!(in_service(&host.state.groups[&key("prod").id()]));
    for (number, rollback, event, serves) in shown {
        let expected = match event {
            // The old revision serves while the next one is fetched, but not while a failed one is rolled back.
            Some(LifecycleEvent::DownloadBundle) => number == 2 && !rollback,
            Some(event) => event > LifecycleEvent::AllowTraffic,
            None => number == 1 || rollback,
        };
        assert_eq!(serves, expected, "{number} {rollback} {event:?}");
    }
}

#[test]
fn a_failure_before_install_only_starts_the_old_application_again() {
    let mut host = Host::default();
    let effects = host.deploy(1, request("prod", None)).unwrap();
    host.run(effects, never);
    host.fail_at = Some(LifecycleEvent::BeforeInstall);
    let effects = host.deploy(2, request("prod", None)).unwrap();
    host.run(effects, never);
    let group = &host.state.groups[&key("prod").id()];
    let rollback = group.finished.last().unwrap();
    assert!(rollback.request.purpose.is_rollback());
    assert!(rollback.step(LifecycleEvent::Install).is_none(), "the old files were never replaced");
    assert_eq!(rollback.step(LifecycleEvent::ApplicationStart).unwrap().status, StepStatus::Succeeded);
    assert_eq!(rollback.outcome, Some(Outcome::Succeeded));
}

#[test]
fn a_bundle_that_is_refused_touches_nothing_and_needs_no_rollback() {
    let mut host = Host::default();
    let effects = host.deploy(1, request("prod", None)).unwrap();
    host.run(effects, never);
    let ran = host.ran.len();
    host.fail_at = Some(LifecycleEvent::DownloadBundle);
    let effects = host.deploy(2, request("prod", None)).unwrap();
    host.run(effects, never);
    assert_eq!(host.ran.len(), ran, "no script may run for a bundle that was refused");
    assert_eq!(host.outcomes("prod"), [(id(1), Some(Outcome::Succeeded)), (id(2), Some(Outcome::Failed))]);
}

#[test]
fn an_old_stop_script_that_fails_blocks_only_without_the_policy() {
    let mut host = Host::default();
    let effects = host.deploy(1, request("prod", None)).unwrap();
    host.run(effects, never);
    host.fail_at = Some(LifecycleEvent::ApplicationStop);
    let effects = host.deploy(2, request("prod", None)).unwrap();
    host.run(effects, never);
    let mut lenient = request("prod", None);
    lenient.policy.ignore_application_stop_failures = true;
    let effects = host.deploy(3, lenient).unwrap();
    host.run(effects, never);
    let group = &host.state.groups[&key("prod").id()];
    let third = group.finished.last().unwrap();
    assert_eq!((&third.id, third.outcome), (&id(3), Some(Outcome::Succeeded)));
    assert_eq!(third.step(LifecycleEvent::ApplicationStop).unwrap().status, StepStatus::Ignored);
}

#[test]
fn a_rollback_by_hand_holds_the_sequence_until_a_higher_one_or_resume() {
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
    let group = |host: &Host| host.state.groups[&key("prod").id()].clone();
    assert_eq!(group(&host).installed.unwrap().archive, id(1));
    assert!(matches!(follow(Some(&group(&host)), 2), Follow::Held(_)));
    assert_eq!(follow(Some(&group(&host)), 3), Follow::Deploy);
    host.step(Event::Resume { key: key("prod"), asked_by: "root".to_owned() }).unwrap();
    assert_eq!(follow(Some(&group(&host)), 2), Follow::Deploy);
}

#[test]
fn an_interrupted_script_is_run_again_only_when_it_is_declared_repeatable_and_a_cancelled_one_always() {
    for (repeatable, outcome, again) in [
        (false, HookOutcome::Interrupted, false),
        (true, HookOutcome::Interrupted, true),
        (false, HookOutcome::Cancelled, true),
    ] {
        let mut host = Host::default();
        let mut effects = host.deploy(1, request("prod", None)).unwrap();
        let prepared = Prepared {
            revision: revision(),
            hooks: hooks(&[LifecycleEvent::BeforeInstall], repeatable),
            old_hooks: vec![],
            health: PreparedHealth::default(),
            takes_out: false,
            warnings: vec![],
        };
        let result = Box::new(WorkResult::Prepared(Ok(prepared)));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
        let result = Box::new(WorkResult::Hook(hook_result(outcome)));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
        match &effects[0].work {
            Work::RunHook { attempt, .. } => assert!(again && *attempt == 2),
            Work::Finish { commit, .. } => assert!(!again && !commit),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_script_may_ask_for_a_reboot_and_the_event_goes_on_after_it() {
    let mut host = Host::default();
    let mut effects = host.deploy(1, request("prod", None)).unwrap();
    let mut two = hooks(&[LifecycleEvent::AfterInstall], false);
    let second = HookScript { location: "second.sh".to_owned(), ..two[0].scripts[0].clone() };
    two[0].scripts.push(second);
    let prepared = Prepared {
        revision: revision(),
        hooks: two,
        old_hooks: vec![],
        health: PreparedHealth::default(),
        takes_out: false,
        warnings: vec![],
    };
    let finish = |host: &mut Host, effects: &[Effect], result| {
        host.step(Event::Finished { effect: effects[0].number, result: Box::new(result) }).unwrap()
    };
    effects = finish(&mut host, &effects, WorkResult::Prepared(Ok(prepared)));
    let report = InstallReport { entries: 1, entries_digest: Sha256Digest::of(b""), warnings: vec![] };
    effects = finish(&mut host, &effects, WorkResult::Installed(Ok(report)));
    effects = finish(&mut host, &effects, WorkResult::Hook(hook_result(HookOutcome::Exited { code: 194 })));
    assert_eq!(effects[0].work, Work::Reboot);
    assert_eq!(resume(&host.state), effects, "the reboot itself is found in flight in the next boot");
    effects = finish(&mut host, &effects, WorkResult::Rebooted(Ok(())));
    assert!(matches!(effects[0].work, Work::RunHook { index: 1, .. }), "{effects:?}");
    effects = finish(&mut host, &effects, WorkResult::Hook(hook_result(HookOutcome::Exited { code: 194 })));
    effects = finish(&mut host, &effects, WorkResult::Rebooted(Ok(())));
    assert!(matches!(effects[0].work, Work::Finish { commit: true, .. }), "{effects:?}");
}

#[test]
fn a_removal_stops_the_application_takes_its_files_away_and_holds_the_channel() {
    let mut host = Host::default();
    let remove = |number| Event::Remove {
        id: id(number),
        key: key("prod"),
        asked_by: "root".to_owned(),
        policy: Box::default(),
    };
    assert!(matches!(host.step(remove(1)), Err(Refusal::NotInstalled { .. })));
    let effects = host.deploy(2, request("prod", Some(1))).unwrap();
    host.run(effects, never);
    host.ran.clear();
    let effects = host.step(remove(3)).unwrap();
    host.run(effects, never);
    let events: Vec<_> = host.ran.iter().map(|(_, event)| *event).collect();
    assert!(events.iter().all(|e| e.runs_old_revision()) && events.contains(&LifecycleEvent::ApplicationStop));
    let group = &host.state.groups[&key("prod").id()];
    assert_eq!((&group.installed, &group.last_good), (&None, &None));
    assert!(matches!(follow(Some(group), 1), Follow::Held(_)));
}

#[test]
fn a_rollback_follows_only_the_events_that_the_policy_names() {
    for (named, follows) in [(LifecycleEvent::ValidateService, true), (LifecycleEvent::AfterInstall, false)] {
        let mut host = Host::default();
        let effects = host.deploy(1, request("prod", None)).unwrap();
        host.run(effects, never);
        host.fail_at = Some(LifecycleEvent::ValidateService);
        let mut wish = request("prod", None);
        wish.policy.rollback = RollbackPolicy::Events(vec![named]);
        let effects = host.deploy(2, wish).unwrap();
        host.run(effects, never);
        let group = &host.state.groups[&key("prod").id()];
        assert_eq!(group.finished.last().unwrap().request.purpose.is_rollback(), follows, "{named}");
    }
}

#[test]
fn a_script_that_was_cancelled_before_it_started_is_run_again() {
    let mut host = Host::default();
    let mut effects = host.deploy(1, request("prod", None)).unwrap();
    let hooks = hooks(&[LifecycleEvent::BeforeInstall], false);
    let prepared = Prepared {
        revision: revision(),
        hooks,
        old_hooks: vec![],
        health: PreparedHealth::default(),
        takes_out: false,
        warnings: vec![],
    };
    let result = Box::new(WorkResult::Prepared(Ok(prepared)));
    effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    for attempt in 2..=6 {
        let result = Box::new(WorkResult::Hook(hook_result(HookOutcome::Cancelled)));
        effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
        match &effects[0].work {
            Work::RunHook { attempt: begun, .. } => assert_eq!(*begun, attempt),
            Work::Finish { commit: false, .. } => assert_eq!(attempt, 6, "it fails in the end"),
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn any_failure() -> impl Strategy<Value = Option<LifecycleEvent>> {
    prop::option::of(prop::sample::select(LifecycleEvent::ORDER.to_vec()))
}
