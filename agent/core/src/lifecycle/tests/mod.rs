//! Every edge case of docs/protocols/auto-scaling.md#edge-cases, by the real functions; and a year of a host's life.

mod announced;
mod life;
mod year;

use super::*;

fn word(target: Option<&str>, current: Option<&str>) -> Look {
    Look {
        now_ms: 1_000_000,
        target: target.map(TargetLifecycleState::read),
        current: current
            .map(|word| if word.is_empty() { LifecycleState::NotMember } else { LifecycleState::read(word) }),
        group: Some("web".to_owned()),
        notices: Some(Vec::new()),
        rebalance: Rebalance::Note,
    }
}

/// The same when EC2 announces something.
fn announcing(look: Look, notices: &[&Notice]) -> Look {
    Look { notices: Some(notices.iter().map(|notice| (*notice).clone()).collect()), ..look }
}

fn spot(at_ms: u64) -> Notice {
    notice("spot-1", NoticeKind::Interruption, Some(at_ms))
}

fn notice(id: &str, kind: NoticeKind, at_ms: Option<u64>) -> Notice {
    Notice { id: id.to_owned(), kind, word: "word".to_owned(), at_ms }
}

fn hook(name: &str) -> Hook {
    Hook { name: name.to_owned(), heartbeat_seconds: 60, global_seconds: 6000, completed: false, unknown_answers: 0 }
}

/// A journal with an open action.
fn open(kind: ActionKind, hooks: &[&str]) -> Lifecycle {
    let mut journal = Lifecycle::default();
    let hooks = hooks.iter().map(|name| hook(name)).collect();
    journal.take(Change::Open(Opening { kind, group: Some("web".to_owned()), hooks, deadline_ms: None }), 1000);
    journal
}

fn decided(mut journal: Lifecycle, result: HookOutcome) -> Lifecycle {
    let entry = journal.entries;
    journal.take(Change::Decide(entry, Decided { result, why: "done".to_owned() }), 2000);
    journal
}

fn closes(next: &Next) -> bool {
    matches!(next, Next::Change(Change::Close(..)))
}

/// Looks until something other than a change comes, as the shell does.
fn settle(journal: &mut Lifecycle, look: &Look) -> Next {
    for _ in 0..10 {
        match decide(journal, look) {
            Next::Change(change) => journal.take(change, look.now_ms),
            other => return other,
        }
    }
    panic!("changes without end: {journal:?} {look:?}");
}

#[test]
fn each_pair_of_states_leads_to_its_action() {
    let launch = Next::OpenForHooks(ActionKind::Launch);
    for (target, current, expected) in [
        (Some("InService"), Some("Pending:Wait"), launch.clone()),
        // IMDS is off: the group's own answer is enough.
        (None, Some("Pending:Wait"), launch),
        (Some("Warmed:Stopped"), Some("Warmed:Pending:Wait"), Next::OpenForHooks(ActionKind::Prepare)),
        (Some("Terminated"), Some("Terminating:Wait"), Next::OpenForHooks(ActionKind::Shutdown)),
        (None, Some("Terminating:Wait"), Next::OpenForHooks(ActionKind::Shutdown)),
        (Some("Warmed:Stopped"), Some("Terminating:Wait"), Next::OpenForHooks(ActionKind::ReturnToPool)),
        (Some("Warmed:Terminated"), Some("Warmed:Terminating:Wait"), Next::OpenForHooks(ActionKind::Shutdown)),
        (Some("InService"), Some("InService"), Next::Nothing),
        (Some("Standby"), Some("Standby"), Next::Nothing),
        (Some("InService"), Some("Pending"), Next::Nothing),
        // The load balancer still drains: not yet.
        (Some("Terminated"), Some("Terminating"), Next::Nothing),
        (Some("Terminated"), Some("InService"), Next::Nothing),
        (Some("Detached"), Some("Detaching"), Next::Nothing),
        (None, Some(""), Next::Nothing),
        (None, None, Next::Nothing),
        (Some("Terminated"), Some("Terminating:Retained"), Next::Nothing),
    ] {
        let mut journal = Lifecycle::default();
        assert_eq!(settle(&mut journal, &word(target, current)), expected, "{target:?} {current:?}");
    }
}

#[test]
fn words_of_the_future_are_held_without_a_destructive_step() {
    for (target, current) in [
        (Some("ReplacingRootVolume"), Some("ReplacingRootVolume:Wait")),
        (Some("InService"), Some("ReplacingRootVolume:Proceed")),
        (Some("Somewhere"), Some("Elsewhere:Wait")),
    ] {
        let mut journal = Lifecycle::default();
        assert_eq!(settle(&mut journal, &word(target, current)), Next::Nothing, "{target:?} {current:?}");
        assert_eq!((journal.instance_state, &journal.action), (InstanceState::InService, &None));
        // A running action is neither given up nor completed.
        let mut journal = decided(open(ActionKind::Launch, &["a"]), HookOutcome::Continue);
        assert_eq!(settle(&mut journal, &word(target, current)), Next::Nothing);
        assert!(journal.action.is_some());
        let mut journal = open(ActionKind::Launch, &["a"]);
        assert_eq!(settle(&mut journal, &word(target, current)), Next::Work);
    }
}

#[test]
fn a_decided_action_is_completed_after_a_restart_and_never_with_another_result() {
    let mut journal = decided(open(ActionKind::Shutdown, &["ours"]), HookOutcome::Continue);
    // The agent died between the work's end and the completion: only the journal is left.
    let document = serde_json::to_vec(&journal).unwrap();
    journal = serde_json::from_slice(&document).unwrap();
    let look = word(Some("Terminated"), Some("Terminating:Wait"));
    assert_eq!(settle(&mut journal, &look), Next::Complete);
    let entry = journal.entries;
    journal.take(Change::Decide(entry, Decided { result: HookOutcome::Abandon, why: "late".into() }), 1);
    assert_eq!(journal.action.as_ref().unwrap().decided.as_ref().unwrap().result, HookOutcome::Continue);
    journal.take(Change::Completed(entry, "ours".into()), 1);
    assert_eq!(settle(&mut journal, &look), Next::Nothing, "it is not completed again while the state lags behind");
}

#[test]
fn two_hooks_one_ours_the_others_wait_is_left_alone() {
    let mut journal = decided(open(ActionKind::Launch, &["ours"]), HookOutcome::Continue);
    let look = word(Some("InService"), Some("Pending:Wait"));
    assert_eq!(settle(&mut journal, &look), Next::Complete);
    let entry = journal.entries;
    journal.take(Change::Completed(entry, "ours".into()), 1);
    assert_eq!(settle(&mut journal, &look), Next::Nothing);
    assert_eq!(settle(&mut journal, &word(Some("InService"), Some("InService"))), Next::Nothing);
    assert_eq!((journal.action.is_none(), journal.served), (true, true));
}

#[test]
fn a_hook_that_was_deleted_while_it_was_waited_for_is_not_completed_for_ever() {
    let mut journal = decided(open(ActionKind::Shutdown, &["gone"]), HookOutcome::Continue);
    let look = word(Some("Terminated"), Some("Terminating:Wait"));
    let mut tries = 0;
    while settle(&mut journal, &look) == Next::Complete {
        tries += 1;
        let entry = journal.entries;
        journal.take(Change::UnknownToGroup(entry, "gone".into()), 1);
    }
    assert_eq!(tries, MOST_UNKNOWN_ANSWERS);
    assert_eq!(settle(&mut journal, &look), Next::Nothing);
}

#[test]
fn a_hook_whose_time_was_over_while_the_agent_was_down_is_closed() {
    for (target, current) in [("InService", "InService"), ("InService", "Pending:Proceed"), ("Detached", "")] {
        let mut journal = decided(open(ActionKind::Launch, &["ours"]), HookOutcome::Continue);
        assert_eq!(settle(&mut journal, &word(Some(target), Some(current))), Next::Nothing, "{current}");
        assert!(journal.action.is_none(), "{current}");
    }
    // The default result was ABANDON: the instance is leaving, and its applications are stopped if there is time.
    let mut journal = open(ActionKind::Launch, &["ours"]);
    settle(&mut journal, &word(Some("Terminated"), Some("Terminating")));
    assert_eq!((journal.action.is_none(), journal.instance_state), (true, InstanceState::Terminating));
    let mut journal = open(ActionKind::Shutdown, &["ours"]);
    assert_eq!(settle(&mut journal, &word(Some("Terminated"), Some("Terminating:Proceed"))), Next::Work);
}

#[test]
fn termination_while_a_launch_waits_gives_the_launch_up_without_completing_it() {
    let mut journal = open(ActionKind::Launch, &["launch"]);
    let next = decide(&journal, &word(Some("Terminated"), Some("Pending:Wait")));
    assert!(matches!(next, Next::Change(Change::Found(InstanceState::Terminating, _))), "{next:?}");
    settle(&mut journal, &word(Some("Terminated"), Some("Pending:Wait")));
    assert!(journal.action.is_none());
    let shutdown = settle(&mut journal, &word(Some("Terminated"), Some("Terminating:Wait")));
    assert_eq!(shutdown, Next::OpenForHooks(ActionKind::Shutdown));
}

#[test]
fn detach_during_a_launch_closes_it_and_leaves_the_host_free() {
    let mut journal = open(ActionKind::Launch, &["launch"]);
    assert!(closes(&decide(&journal, &word(Some("Detached"), Some("Detaching")))));
    settle(&mut journal, &word(Some("Detached"), Some("Detaching")));
    assert_eq!(settle(&mut journal, &word(Some("Detached"), Some(""))), Next::Nothing);
    assert_eq!((journal.action.is_none(), journal.instance_state), (true, InstanceState::InService));
}

#[test]
fn a_double_notice_keeps_the_nearer_deadline_and_one_action() {
    let at = 2_000_000;
    let mut journal = Lifecycle { served: true, ..Lifecycle::default() };
    let mut look = word(Some("InService"), Some("InService"));
    look = announcing(look, &[&spot(at)]);
    assert_eq!(settle(&mut journal, &look), Next::Work);
    let action = journal.action.clone().unwrap();
    assert_eq!((action.kind, action.deadline_ms), (ActionKind::Shutdown, Some(at - MARGIN_MS)));
    assert_eq!(
        (journal.instance_state, journal.notices.as_slice()),
        (InstanceState::Terminating, &["spot-1".to_owned()][..])
    );
    // The group's own notice comes while the work is running.
    let mut both = word(Some("Terminated"), Some("Terminating:Wait"));
    both = announcing(both, &[&spot(at)]);
    assert_eq!(settle(&mut journal, &both), Next::Work);
    assert_eq!(journal.entries, 1);
    // Once stopped, the hook gets an action of its own, whose work is done already.
    let entry = journal.entries;
    journal.take(Change::Decide(entry, Decided { result: HookOutcome::Continue, why: "stopped".into() }), 1);
    assert_eq!(settle(&mut journal, &both), Next::OpenForHooks(ActionKind::Shutdown));
    // The other way round: the hook first, the notice later.
    let mut journal = open(ActionKind::Shutdown, &["ours"]);
    assert_eq!(settle(&mut journal, &both), Next::Work);
    assert_eq!(journal.action.unwrap().deadline_ms, Some(at - MARGIN_MS));
}

#[test]
fn a_notice_that_was_handled_is_not_handled_again_after_a_reboot() {
    let mut journal = Lifecycle { served: true, ..Lifecycle::default() };
    let mut look = word(Some("InService"), Some("InService"));
    look = announcing(look, &[&spot(2_000_000)]);
    settle(&mut journal, &look);
    let entry = journal.entries;
    journal.take(Change::Decide(entry, Decided { result: HookOutcome::Continue, why: "stopped".into() }), 1);
    // The spot instance was stopped and started again; long after its time it is in service as before.
    look = announcing(look, &[]);
    look.now_ms = 2_000_000 + WITHDRAWN_MS + 1;
    assert_eq!(settle(&mut journal, &look), Next::Nothing);
    assert_eq!((journal.action.is_none(), journal.instance_state), (true, InstanceState::InService));
    look = announcing(look, &[&spot(2_000_000)]);
    assert_eq!(settle(&mut journal, &look), Next::Nothing, "the same notice");
}

#[test]
fn what_was_launched_is_stopped_in_the_pool_though_nobody_saw_it_serve() {
    let mut journal = decided(open(ActionKind::Launch, &["ours"]), HookOutcome::Continue);
    // The group's API does not answer while the instance serves and is sent back.
    assert_eq!(settle(&mut journal, &word(Some("InService"), None)), Next::Nothing);
    let look = word(Some("Warmed:Stopped"), Some("Warmed:Pending:Wait"));
    assert_eq!(settle(&mut journal, &look), Next::OpenForHooks(ActionKind::Prepare));
    let prepare =
        Opening { kind: ActionKind::Prepare, group: Some("web".to_owned()), hooks: vec![], deadline_ms: None };
    journal.take(Change::Open(prepare), 3000);
    assert!(journal.action.is_some_and(|action| action.stops));
}

#[test]
fn where_the_group_takes_it_is_enough_to_begin_nothing() {
    for (target, instance_state) in
        [("Warmed:Stopped", InstanceState::WarmPool), ("Terminated", InstanceState::Terminating)]
    {
        let mut journal = Lifecycle::default();
        assert_eq!(settle(&mut journal, &word(Some(target), None)), Next::Nothing);
        assert_eq!(journal.instance_state, instance_state);
    }
}

#[test]
fn reboot_is_not_termination() {
    // A waiting launch, or a serving host: only the group's answer ends either.
    let mut journal = open(ActionKind::Launch, &["launch"]);
    assert_eq!(settle(&mut journal, &word(None, None)), Next::Work);
    assert_eq!(settle(&mut journal, &word(Some("InService"), Some("Pending:Wait"))), Next::Work);
    assert!(journal.action.as_ref().unwrap().decided.is_none());
}

#[test]
fn an_operators_standby_is_left_alone_and_ends_with_it() {
    let mut journal = Lifecycle { served: true, ..Lifecycle::default() };
    assert_eq!(settle(&mut journal, &word(Some("Standby"), Some("EnteringStandby"))), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::Standby);
    // Launch is suspended, so the instance cannot leave Standby: still nothing.
    assert_eq!(settle(&mut journal, &word(Some("Standby"), Some("Standby"))), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::Standby);
    // Out of Standby no hook is invoked.
    assert_eq!(settle(&mut journal, &word(Some("InService"), Some("Pending"))), Next::Nothing);
    assert_eq!(settle(&mut journal, &word(Some("InService"), Some("InService"))), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::InService);
}

#[test]
fn an_instance_that_was_launched_before_its_hook_existed_or_was_attached_by_hand_just_serves() {
    let mut journal = Lifecycle::default();
    assert_eq!(settle(&mut journal, &word(None, Some(""))), Next::Nothing);
    assert_eq!(settle(&mut journal, &word(Some("InService"), Some("InService"))), Next::Nothing);
    assert_eq!((journal.instance_state, journal.entries), (InstanceState::InService, 0));
}

#[test]
fn the_group_is_asked_only_while_something_goes_on() {
    let (in_service, warmed) = (TargetLifecycleState::InService, TargetLifecycleState::WarmPool);
    let rest = Lifecycle::default();
    let settled = (Some(in_service.clone()), LifecycleState::InService);
    assert!(needs_description(&rest, Some(&in_service), None), "the first look");
    assert!(!needs_description(&rest, Some(&in_service), Some(&settled)));
    assert!(needs_description(&rest, Some(&TargetLifecycleState::Terminated), Some(&settled)));
    assert!(needs_description(&open(ActionKind::Launch, &[]), Some(&in_service), Some(&settled)));
    assert!(!needs_description(&rest, Some(&warmed), Some(&(Some(warmed.clone()), LifecycleState::WarmPool))));
    assert!(!needs_description(&rest, None, Some(&(None, LifecycleState::NotMember))), "in no group, IMDS says 404");
    assert!(needs_description(&rest, None, Some(&(None, LifecycleState::InService))), "IMDS is off");
}
