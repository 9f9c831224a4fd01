//! EC2's announcements, and clocks that jump.

use super::*;
use crate::lifecycle::notices::LEAD_MS;

/// A serving host's look.
fn serving(notices: &[&Notice], rebalance: Rebalance) -> Look {
    Look { rebalance, ..announcing(word(Some("InService"), Some("InService")), notices) }
}

fn served() -> Lifecycle {
    Lifecycle { served: true, ..Lifecycle::default() }
}

fn decide_open(journal: &mut Lifecycle) {
    let entry = journal.entries;
    journal.take(Change::Decide(entry, Decided { result: HookOutcome::Continue, why: "stopped".to_owned() }), 1);
}

#[test]
fn what_is_announced_is_remembered_and_shown_and_what_is_not_any_more_is_forgotten() {
    let reboot = notice("e-1", NoticeKind::Reboot, Some(1_000_500));
    let mut journal = served();
    assert_eq!(settle(&mut journal, &serving(&[&reboot], Rebalance::Drain)), Next::Nothing);
    assert_eq!((journal.announced.as_slice(), journal.entries), (&[reboot.clone()][..], 0), "never a termination");
    let line = crate::status::lifecycle_line(&journal).unwrap();
    assert_eq!(line, "auto scaling: EC2 announces word at 1970-01-01T00:16:40Z");
    // The metadata service does not answer: known facts stay.
    let silent = Look { notices: None, ..serving(&[], Rebalance::Note) };
    assert_eq!(settle(&mut journal, &silent), Next::Nothing);
    assert_eq!(journal.announced.len(), 1);
    assert_eq!(settle(&mut journal, &serving(&[], Rebalance::Note)), Next::Nothing);
    assert_eq!((journal.announced.len(), crate::status::lifecycle_line(&journal)), (0, None));
}

#[test]
fn a_journal_of_the_version_before_can_be_read() {
    let mut value = serde_json::to_value(Lifecycle::default()).unwrap();
    value.as_object_mut().unwrap().remove("announced").unwrap();
    assert_eq!(serde_json::from_value::<Lifecycle>(value).unwrap(), Lifecycle::default());
}

#[test]
fn a_recommendation_is_shown_holds_or_drains_as_the_configuration_says() {
    let rebalance = notice("rebalance-1", NoticeKind::Rebalance, None);
    for (wish, instance_state, entries) in [
        (Rebalance::Note, InstanceState::InService, 0),
        (Rebalance::Hold, InstanceState::RebalanceHold, 0),
        (Rebalance::Drain, InstanceState::Terminating, 1),
    ] {
        let mut journal = served();
        settle(&mut journal, &serving(&[&rebalance], wish));
        assert_eq!((journal.instance_state, journal.entries), (instance_state, entries), "{wish:?}");
        // A metadata service that does not answer ends none of it.
        settle(&mut journal, &Look { notices: None, ..serving(&[], wish) });
        assert_eq!((journal.instance_state, journal.entries), (instance_state, entries), "{wish:?}");
    }
}

#[test]
fn a_launch_goes_on_under_a_recommendation_that_only_holds() {
    let rebalance = notice("rebalance-1", NoticeKind::Rebalance, None);
    let mut journal = open(ActionKind::Launch, &["launch"]);
    let look =
        Look { rebalance: Rebalance::Hold, ..announcing(word(Some("InService"), Some("Pending:Wait")), &[&rebalance]) };
    assert_eq!(settle(&mut journal, &look), Next::Work);
    assert_eq!(journal.instance_state, InstanceState::InService);
}

#[test]
fn a_drained_host_serves_again_once_the_recommendation_is_gone_and_not_because_nobody_answers() {
    let rebalance = notice("rebalance-1", NoticeKind::Rebalance, None);
    let mut journal = served();
    assert_eq!(settle(&mut journal, &serving(&[&rebalance], Rebalance::Drain)), Next::Work);
    decide_open(&mut journal);
    assert_eq!(settle(&mut journal, &serving(&[&rebalance], Rebalance::Drain)), Next::Nothing);
    assert_eq!(settle(&mut journal, &Look { notices: None, ..serving(&[], Rebalance::Drain) }), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::Terminating);
    settle(&mut journal, &serving(&[], Rebalance::Drain));
    assert_eq!((journal.action.is_none(), journal.instance_state), (true, InstanceState::InService));
}

#[test]
fn an_announced_stop_begins_shortly_before_its_time_and_an_interruption_hurries_it() {
    let at = 100_000_000;
    let stop = notice("e-1@x", NoticeKind::Stop, Some(at));
    let look = |now_ms, notices: &[&Notice]| Look { now_ms, ..serving(notices, Rebalance::Note) };
    let mut journal = served();
    assert_eq!(settle(&mut journal, &look(at - LEAD_MS - 1, &[&stop])), Next::Nothing);
    assert_eq!((journal.instance_state, journal.entries), (InstanceState::InService, 0));
    assert_eq!(settle(&mut journal, &look(at - LEAD_MS, &[&stop])), Next::Work);
    assert_eq!(journal.action.as_ref().unwrap().deadline_ms, Some(at - MARGIN_MS));
    let spot = spot(at - LEAD_MS + 120_000);
    assert_eq!(settle(&mut journal, &look(at - LEAD_MS, &[&stop, &spot])), Next::Work);
    assert_eq!(journal.action.as_ref().unwrap().deadline_ms, Some(at - LEAD_MS + 120_000 - MARGIN_MS));
    assert_eq!(journal.notices.len(), 2);
}

#[test]
fn a_stop_that_ec2_is_late_with_or_called_off_leaves_nothing_stopped() {
    let at = 100_000_000;
    let stop = notice("e-1@x", NoticeKind::Stop, Some(at));
    let look = |now_ms, notices: &[&Notice]| Look { now_ms, ..serving(notices, Rebalance::Note) };
    let mut journal = served();
    settle(&mut journal, &look(at - LEAD_MS, &[&stop]));
    decide_open(&mut journal);
    // Hours late, and still announced.
    assert_eq!(settle(&mut journal, &look(at + 36_000_000, &[&stop])), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::Terminating);
    // Done or called off: the host continues as before, even if the reboot comes only now.
    settle(&mut journal, &look(at + 36_000_000, &[]));
    assert_eq!((journal.action.is_none(), journal.instance_state), (true, InstanceState::InService));
    assert_eq!(settle(&mut journal, &look(at + 36_000_000, &[&stop])), Next::Nothing, "the same event is handled once");
}

#[test]
fn a_host_in_no_group_that_was_stopped_for_a_notice_stays_stopped() {
    let at = 100_000_000;
    let look = |now_ms, notices: &[&Notice]| Look { now_ms, group: None, ..announcing(word(None, Some("")), notices) };
    let mut journal = served();
    settle(&mut journal, &look(at, &[&spot(at + 120_000)]));
    decide_open(&mut journal);
    assert_eq!(settle(&mut journal, &look(at + 60_000, &[&spot(at + 120_000)])), Next::Nothing);
    assert_eq!(journal.instance_state, InstanceState::Terminating, "nothing is deployed again in the last minute");
}

#[test]
fn a_decided_action_rests_while_the_group_does_not_answer() {
    let mut journal = decided(open(ActionKind::Shutdown, &["ours"]), HookOutcome::Continue);
    assert_eq!(settle(&mut journal, &word(Some("Terminated"), None)), Next::Nothing);
}

#[test]
fn a_deadline_that_was_made_with_a_wrong_clock_is_moved_with_it() {
    let hour = 3_600_000;
    let mut journal = open(ActionKind::Launch, &["launch"]);
    journal.action.as_mut().unwrap().deadline_ms = Some(5000);
    // Resumed from hibernation with yesterday's clock, which is corrected a moment later.
    journal.take(Change::ClockSet(hour), 1);
    let action = journal.action.clone().unwrap();
    assert_eq!((action.begun_ms, action.deadline_ms), (1000 + hour as u64, Some(5000 + hour as u64)));
    assert!(heartbeat_is_due(&action, &action.hooks[0], None, 1000 + hour as u64, 0), "its global time is not over");
    // This host's clock does not affect EC2's own times.
    let mut journal = served();
    settle(&mut journal, &serving(&[&spot(2_000_000)], Rebalance::Note));
    journal.take(Change::ClockSet(hour), 1);
    assert_eq!(journal.action.unwrap().deadline_ms, Some(2_000_000 - MARGIN_MS));
}

#[test]
fn logs_are_shipped_before_the_end_and_within_its_margin() {
    let of = |kind, result| {
        let action = open(kind, &["ours"]).action.unwrap();
        wants_flush(&action, &Decided { result, why: String::new() })
    };
    assert!(of(ActionKind::Shutdown, HookOutcome::Continue) && of(ActionKind::ReturnToPool, HookOutcome::Continue));
    assert!(of(ActionKind::Launch, HookOutcome::Abandon), "what a failed launch wrote is gone with the instance");
    assert!(!of(ActionKind::Launch, HookOutcome::Continue));
    let action = |deadline_ms| Action { deadline_ms, ..open(ActionKind::Shutdown, &["ours"]).action.unwrap() };
    assert_eq!(flush_ms(&action(None), 7), 10_000);
    assert_eq!(flush_ms(&action(Some(100_000)), 7), 10_000);
    assert_eq!(flush_ms(&action(Some(100_000)), 104_000), 6000);
    assert_eq!(flush_ms(&action(Some(100_000)), 200_000), 0);
}
