use super::*;

fn events() -> MachineEvents {
    MachineEvents { present: MachineEvent::ALL.into(), ..MachineEvents::default() }
}

fn digest(of: &str) -> Sha256Digest {
    Sha256Digest::of(of.as_bytes())
}

const GOOD: HookOutcome = HookOutcome::Exited { code: 0 };

/// Runs all waiting events; returns the names of the scripts.
fn run_all(events: &mut MachineEvents) -> Vec<String> {
    let mut ran = Vec::new();
    while let Some(run) = events.queue.first().cloned() {
        match run.script() {
            None => events.take(Change::Begin(run.number, vec!["10-a".to_owned(), "20-b".to_owned()]), false, 1),
            Some((index, script)) => {
                ran.push(format!("{}/{}", run.event, script.name));
                events.take(Change::ScriptEnded(run.number, index, GOOD, 60), false, 2);
            }
        }
    }
    ran
}

#[test]
fn an_instance_is_set_up_once() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    assert!(events.sets_up());
    assert_eq!(run_all(&mut events), ["Setup/10-a", "Setup/20-b"]);
    assert!(!events.sets_up());
    events.take(Change::SetUp, false, 0);
    assert_eq!(run_all(&mut events), [""; 0]);
}

#[test]
fn an_instance_whose_setup_was_refused_can_still_be_set_up() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    events.take(Change::Refused(1, "10-a can be written by others".to_owned()), false, 0);
    assert_eq!(events.last[&MachineEvent::Setup].failures, ["10-a can be written by others"]);
    events.take(Change::SetUp, false, 0);
    assert_eq!(run_all(&mut events), ["Setup/10-a", "Setup/20-b"]);
}

#[test]
fn what_has_no_scripts_leaves_no_trace() {
    let mut events = MachineEvents { present: [MachineEvent::Setup].into(), ..MachineEvents::default() };
    events.take(Change::Members(digest("a")), false, 0);
    assert_eq!((events.entries, events.queue.len()), (0, 0));
    events.take(Change::SetUp, false, 0);
    let number = events.queue[0].number;
    events.take(Change::Begin(number, Vec::new()), false, 0);
    assert!(events.queue.is_empty() && events.last.is_empty());
}

#[test]
fn members_that_change_again_and_again_lead_to_one_run_for_the_newest() {
    let mut events = events();
    events.take(Change::Members(digest("a")), false, 0);
    events.take(Change::Begin(1, vec!["10-a".to_owned()]), false, 0);
    for members in ["b", "c", "d"] {
        events.take(Change::Members(digest(members)), false, 0);
    }
    assert_eq!(events.queue.iter().map(|run| run.members).collect::<Vec<_>>(), [Some(digest("a")), None]);
    events.take(Change::ScriptEnded(1, 0, GOOD, 60), false, 0);
    events.take(Change::Begin(2, vec!["10-a".to_owned()]), false, 0);
    assert_eq!(events.queue[0].members, Some(digest("d")));
    events.take(Change::Members(digest("d")), false, 0);
    assert_eq!(events.queue.len(), 1);
}

#[test]
fn a_script_that_timed_out_says_after_how_long() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    events.take(Change::Begin(1, ["10-a", "20-b", "30-c"].map(str::to_owned).to_vec()), false, 5);
    events.take(Change::ScriptEnded(1, 0, HookOutcome::TimedOut { killed: Vec::new() }, 60), false, 6);
    events.take(Change::ScriptEnded(1, 1, HookOutcome::TimedOut { killed: vec!["7 sleep".to_owned()] }, 1), false, 7);
    events.take(Change::ScriptEnded(1, 2, HookOutcome::Exited { code: 3 }, 60), false, 8);
    let expected =
        ["10-a: timed out after 60 s", "20-b: timed out after 1 s; had to be killed: 7 sleep", "30-c: exit status 3"];
    assert_eq!(events.last[&MachineEvent::Setup].failures, expected);
    // As agents of earlier versions noted it.
    let before = r#"{"name":"10-a","attempts":1,"outcome":{"kind":"timed_out","killed":[]}}"#;
    let script: Script = serde_json::from_str(before).unwrap();
    assert_eq!(failure(&script).unwrap(), "10-a: timed out");
    assert_eq!(serde_json::to_string(&script).unwrap(), before);
}

#[test]
fn a_failed_script_does_not_keep_the_others_from_running_and_is_named() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    events.take(Change::Begin(1, vec!["10-a".to_owned(), "20-b".to_owned()]), false, 5);
    events.take(Change::ScriptEnded(1, 0, HookOutcome::Exited { code: 3 }, 60), false, 6);
    assert_eq!(events.queue[0].script().unwrap().1.name, "20-b");
    events.take(Change::ScriptEnded(1, 1, GOOD, 60), false, 7);
    let ended = &events.last[&MachineEvent::Setup];
    assert_eq!(
        (ended.begun_ms, ended.ended_ms, ended.failures.as_slice()),
        (5, 7, &["10-a: exit status 3".to_owned()][..])
    );
}

#[test]
fn what_did_not_run_is_begun_again_and_what_was_interrupted_is_not() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    events.take(Change::Begin(1, vec!["10-a".to_owned()]), false, 0);
    for attempt in 2..=MOST_ATTEMPTS {
        events.take(Change::ScriptEnded(1, 0, HookOutcome::Cancelled, 60), false, 0);
        assert_eq!(events.queue[0].script().unwrap().1.attempts, attempt);
    }
    events.take(Change::ScriptEnded(1, 0, HookOutcome::Cancelled, 60), false, 0);
    assert!(events.last[&MachineEvent::Setup].failures[0].contains("cancelled"));
    events.take(Change::Members(digest("a")), false, 0);
    events.take(Change::Begin(2, vec!["10-a".to_owned()]), false, 0);
    events.take(Change::ScriptEnded(2, 0, HookOutcome::Interrupted, 60), false, 0);
    assert!(events.last[&MachineEvent::Configure].failures[0].contains("interrupted"));
}

#[test]
fn the_end_of_the_instance_comes_before_everything_and_once_for_each_action() {
    let mut events = events();
    events.take(Change::SetUp, false, 0);
    events.take(Change::Begin(1, vec!["10-a".to_owned(), "20-b".to_owned()]), false, 0);
    events.take(Change::Members(digest("a")), false, 0);
    events.take(Change::ShutDown(7, Some(9000)), true, 0);
    events.take(Change::ShutDown(7, Some(9000)), true, 0);
    assert!(events.is_hurried());
    assert_eq!(events.shutdown(7), None);
    let waiting: Vec<MachineEvent> = events.queue.iter().map(|run| run.event).collect();
    assert_eq!(waiting, [MachineEvent::Setup, MachineEvent::Shutdown]);
    let aborted = HookOutcome::Aborted { killed: Vec::new() };
    events.take(Change::ScriptEnded(1, 0, aborted, 60), true, 0);
    assert_eq!(events.last[&MachineEvent::Setup].failures[1], "20-b: left out, the instance ends");
    assert_eq!(events.queue[0].timeout_seconds(1800, 4000), 5);
    assert_eq!(run_all(&mut events), ["Shutdown/10-a", "Shutdown/20-b"]);
    assert_eq!(events.shutdown(7), Some(&[][..]));
    assert_eq!(events.shutdown(8), None);
    // Nothing new begins on the way out.
    events.take(Change::Members(digest("b")), true, 0);
    assert!(events.queue.is_empty());
    events.take(Change::ShutDown(8, None), true, 0);
    assert_eq!(run_all(&mut events), ["Shutdown/10-a", "Shutdown/20-b"]);
}

#[test]
fn a_failed_shutdown_is_told_and_abandons_where_that_is_wished() {
    let decided = || Decided { result: Completion::Continue, why: "stopped".to_owned() };
    assert_eq!(after_shutdown(decided(), &[], true), decided());
    let failed = ["10-a: exit status 1".to_owned()];
    assert_eq!(after_shutdown(decided(), &failed, false).result, Completion::Continue);
    let abandoned = after_shutdown(decided(), &failed, true);
    assert_eq!(
        (abandoned.result, abandoned.why.as_str()),
        (Completion::Abandon, "stopped; Shutdown failed: 10-a: exit status 1")
    );
}

#[test]
fn late_words_change_nothing_and_the_queue_is_bounded() {
    let mut events = events();
    events.take(Change::Begin(1, vec!["10-a".to_owned()]), false, 0);
    events.take(Change::ScriptEnded(1, 0, GOOD, 60), false, 0);
    events.take(Change::Refused(1, "no".to_owned()), false, 0);
    assert!(events.last.is_empty());
    for _ in 0..100 {
        events.add(MachineEvent::Deploy, None, None, 0);
    }
    assert_eq!((events.queue.len(), events.queue[0].number), (MOST_WAITING, 85));
}

#[test]
fn the_same_members_are_the_same_document_and_a_fleet_asks_slowly() {
    let member = |name: &str| Member { instance: name.to_owned(), zone: None, address: None };
    let one = Membership::new(vec![member("i-2"), member("i-1"), member("i-2")]).to_bytes().unwrap();
    let other = Membership::new(vec![member("i-1"), member("i-2")]).to_bytes().unwrap();
    assert_eq!(one, other);
    for random in [0, u64::MAX / 3, u64::MAX] {
        assert!((54_000..=66_000).contains(&look_again_ms(3, random)));
        assert!(look_again_ms(10_000, random) >= 4_500_000);
    }
    assert_eq!((read_again_ms(2), read_again_ms(1000)), (60_000, 6_000_000));
}
