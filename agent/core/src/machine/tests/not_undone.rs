//! An Install that cannot be undone yet.

use super::*;
use crate::machine::state::{Group, NotUndone};

impl Host {
    /// Runs a deployment over a good one until its Install is stuck.
    fn deploy_until_stuck(&mut self, group: &str) -> Effect {
        let effects = self.deploy(1, request(group, None)).unwrap();
        self.run(effects, never);
        self.stuck = Some(key(group));
        let mut effects = self.deploy(2, request(group, None)).unwrap();
        loop {
            let effect = effects.pop().expect("the Install is reached");
            effects = self.end(&effect);
            if effect.work == Work::Install {
                assert!(effects.is_empty(), "{effects:?}");
                return effect;
            }
        }
    }

    fn end(&mut self, effect: &Effect) -> Vec<Effect> {
        let result = Box::new(self.perform(effect));
        self.step(Event::Finished { effect: effect.number, result }).unwrap()
    }

    fn not_undone(&self, group: &str) -> NotUndone {
        self.group(group).active.as_ref().and_then(|active| active.not_undone.clone()).expect("it is not undone")
    }

    fn group(&self, group: &str) -> &Group {
        &self.state.groups[&key(group).id()]
    }
}

#[test]
fn nothing_of_the_group_goes_on_before_it_is_undone() {
    let mut host = Host::default();
    let install = host.deploy_until_stuck("prod");
    let ran = host.ran.len();
    assert!(!host.state.is_busy(), "whoever waits for the host need not wait for this");
    let active = host.group("prod").active.clone().unwrap();
    assert_eq!((active.in_flight.as_ref(), active.outcome), (Some(&install), None));
    for again in [host.deploy(3, request("prod", None)), host.deploy(4, request("prod", Some(7)))] {
        let refusal = again.unwrap_err();
        assert!(matches!(&refusal, Refusal::NotUndone { not_undone, .. } if not_undone.journal == id(2)), "{refusal}");
        assert!(refusal.to_string().contains("/srv is not mounted"), "{refusal}");
    }
    let rollback = Event::Rollback {
        id: id(5),
        key: key("prod"),
        to: None,
        force: false,
        asked_by: "test".to_owned(),
        policy: Box::new(Policy::default()),
    };
    assert!(matches!(host.step(rollback), Err(Refusal::NotUndone { .. })));
    assert_eq!(host.ran.len(), ran, "no script of the old revision is run on a mixture");
}

#[test]
fn it_is_tried_again_after_a_while_and_at_every_start_and_then_the_deployment_ends() {
    let mut host = Host::default();
    let install = host.deploy_until_stuck("prod");
    let first = host.not_undone("prod");
    assert_eq!(host.step(Event::Proceed).unwrap(), [], "it is not due");
    assert_eq!(host.state.next_due_ms(), Some(first.next_try_ms()));
    host.now = first.next_try_ms();
    assert_eq!(host.step(Event::Proceed).unwrap(), std::slice::from_ref(&install));
    assert!(host.state.is_busy() && host.state.next_due_ms().is_none(), "it goes on");
    assert_eq!(host.end(&install), []);
    let second = host.not_undone("prod");
    assert_eq!((second.tries, second.since_ms), (2, first.since_ms));
    assert!(second.next_try_ms() > second.at_ms);

    assert_eq!(host.crash(), std::slice::from_ref(&install), "a start does not wait");
    assert!(host.state.is_busy());
    host.stuck = None;
    host.fail_at = Some(LifecycleEvent::Install);
    let effects = host.end(&install);
    host.run(effects, never);
    let outcomes = host.outcomes("prod");
    assert_eq!(outcomes[1], (id(2), Some(Outcome::Failed)));
    assert_eq!((outcomes.len(), outcomes[2].1), (3, Some(Outcome::Succeeded)), "the rollback follows: {outcomes:?}");
    assert_eq!(host.group("prod").finished[1].not_undone, None);
}

#[test]
fn another_groups_install_waits_for_one_more_try_and_no_longer() {
    let mut host = Host::default();
    let stuck = host.deploy_until_stuck("prod");
    let mut effects = host.deploy(10, request("other", None)).unwrap();
    while effects.iter().all(|effect| *effect != stuck) {
        let effect = effects.pop().expect("the other one goes on");
        assert!(effect.work != Work::Install, "the other Install begins before the try");
        effects = host.end(&effect);
    }
    let after = host.end(&stuck);
    assert_eq!(after.iter().map(|effect| &effect.work).collect::<Vec<_>>(), [&Work::Install]);
    assert_ne!(after, [stuck]);
    let effects = host.end(&after[0]);
    host.run_to_the_end_of_others(effects);
    assert_eq!(host.outcomes("other"), [(id(10), Some(Outcome::Succeeded))]);
    assert_eq!(host.not_undone("prod").tries, 2);
}

impl Host {
    fn run_to_the_end_of_others(&mut self, mut effects: Vec<Effect>) {
        while let Some(effect) = effects.pop() {
            effects.extend(self.end(&effect));
        }
    }
}

#[test]
fn what_could_not_be_put_back_is_in_warnings_and_history() {
    let mut host = Host::default();
    let mut effects = host.deploy(1, request("prod", None)).unwrap();
    while effects[0].work != Work::Install {
        effects = host.end(&effects[0].clone());
    }
    let warnings = vec!["/srv/x was not put back".to_owned()];
    let report = InstallReport { entries: 0, entries_digest: Sha256Digest::of(b""), warnings };
    let context = context(99);
    let result = Box::new(WorkResult::Installed(Ok(report)));
    let stepped = step(host.state, Event::Finished { effect: effects[0].number, result }, &context);
    assert_eq!(stepped.state.groups.values().next().unwrap().active.as_ref().unwrap().warnings.len(), 1);
    assert!(stepped.progress.iter().any(|p| matches!(p, Progress::Warning { .. })), "{:?}", stepped.progress);
    let records = serde_json::to_string(&stepped.state.history.pending).unwrap();
    assert!(records.contains("/srv/x was not put back"), "{records}");
}

#[test]
fn a_state_that_an_earlier_agent_wrote_is_read() {
    let mut host = Host::default();
    host.deploy_until_stuck("prod");
    let mut document = serde_json::to_value(&host.state).unwrap();
    let active = document["groups"][key("prod").id()]["active"].as_object_mut().unwrap();
    assert!(active.remove("not_undone").is_some());
    let mut read: State = serde_json::from_value(document).unwrap();
    take_up(&mut read);
    assert_eq!(resume(&read).len(), 1);
}

#[test]
fn a_clock_that_is_set_back_does_not_make_it_wait() {
    let mut host = Host { now: 10_000_000, ..Host::default() };
    let install = host.deploy_until_stuck("prod");
    host.now = 5_000_000;
    assert_eq!(host.step(Event::Proceed).unwrap(), [install]);
}

#[test]
fn it_keeps_no_other_group_from_being_stopped_when_the_host_leaves_service() {
    use crate::lifecycle::{Action, ActionKind};
    use crate::machine::stopping::{Stopping, stopping};
    let mut host = Host::default();
    let effects = host.deploy(3, request("other", None)).unwrap();
    host.run(effects, never);
    host.deploy_until_stuck("prod");
    let action = Action {
        entry: 1,
        kind: ActionKind::Shutdown,
        group: None,
        hooks: Vec::new(),
        begun_ms: host.now,
        deadline_ms: None,
        stops: true,
        decided: None,
    };
    assert_eq!(stopping(&action, &host.state, false), Stopping::Begin(vec![key("other")]));
}

/// The waiting deployment took the host out of service, and only its own undo puts it back. A deployment of another
/// group must not wait for that, and must not put the host back either.
#[test]
fn another_groups_traffic_does_not_wait_for_it_and_stays_where_it_was_put() {
    let mut host = Host { takes_out: true, ..Host::default() };
    host.deploy_until_stuck("prod");
    let of_prod = host.state.traffic.clone().expect("the host is out of service");
    let effects = host.deploy(3, request("other", None)).unwrap();
    host.run_to_the_end_of_others(effects);
    assert_eq!(host.outcomes("other"), [(id(3), Some(Outcome::Succeeded))]);
    assert_eq!(host.state.traffic, Some(of_prod));
    let skipped = host.group("other").finished[0].step(LifecycleEvent::AllowTraffic).unwrap().status;
    assert_eq!(skipped, StepStatus::Skipped);
}
