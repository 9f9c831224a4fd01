//! The state always fits in the ledger, and never at the cost of anything that a decision needs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codedeploy::diagnostics::Report;
use crate::health::{Check, Probe};
use crate::machine::command::{Command, CommandStage, Order};
use crate::machine::room::{WARNINGS_BYTES, bytes, fit, keep_warnings};
use crate::machine::state::{Deployment, Group, Script};
use crate::machine_events::MachineEvent;

const ROOM: usize = 1 << 20;

/// A host with hostile texts only: long, and longer as JSON.
struct Hostile {
    state: State,
    effects: Vec<Effect>,
    now: u64,
    room: usize,
    disk_is_full: bool,
    /// The groups at the last measurement, with their bytes: one step usually changes one of them.
    measured: BTreeMap<String, (Group, usize)>,
}

fn text(kind: usize, length: usize) -> String {
    let piece = ["\"\\", "\u{1}", "x", "a line\n", "ä€𝄞"][kind % 5];
    piece.repeat(length / piece.len() + 1)
}

/// This many texts. Of long ones, only enough for five times the room that the state has for them: more of those change
/// only the test's time.
fn texts(words: &str, many: usize) -> Vec<String> {
    vec![words.to_owned(); many.min(1 + 5 * WARNINGS_BYTES / words.len().max(1))]
}

impl Hostile {
    fn new(disk_is_full: bool) -> Self {
        let mut state = State::default();
        state.machine_events.present = MachineEvent::ALL.into_iter().collect();
        Self { state, effects: Vec::new(), now: 0, room: ROOM, disk_is_full, measured: BTreeMap::new() }
    }

    /// Bytes of the state as the ledger has it. Writing all of it after each step took most of the tests' time.
    fn size(&mut self) -> usize {
        let groups = std::mem::take(&mut self.state.groups);
        let mut size = bytes(&self.state) + groups.len().saturating_sub(1);
        self.measured.retain(|key, (group, _)| groups.get(key) == Some(&*group));
        for (key, group) in &groups {
            let new = || (group.clone(), bytes(group));
            size += bytes(key) + ":".len() + self.measured.entry(key.clone()).or_insert_with(new).1;
        }
        self.state.groups = groups;
        size
    }

    /// One event, followed by the work of the state's writer.
    fn step(&mut self, event: Event) -> Result<(), Refusal> {
        self.now += 1;
        let active: Vec<_> = self.state.all_active().map(|(_, d)| d.id.clone()).collect();
        let context = Context { room: self.room, ..context(self.now) };
        let stepped = step(std::mem::take(&mut self.state), event, &context);
        self.state = stepped.state;
        self.effects.extend(stepped.effects);
        let size = self.size();
        if size > self.room {
            assert_eq!(size, bytes(&self.state));
            let before = self.state.clone();
            assert!(fit(&mut self.state, self.room));
            let size = serde_json::to_vec(&self.state).unwrap().len();
            assert!(size <= self.room, "{size} bytes after {} steps", self.now);
            only_what_people_read_is_gone(&before, &self.state);
        }
        // A running deployment continues or has ended; it is never gone.
        for id in active {
            let known = |group: &Group| group.active.iter().chain(&group.finished).any(|d| d.id == id);
            assert!(self.state.groups.values().any(known), "{id} is gone");
        }
        if !self.disk_is_full && self.state.history.wants_sync() {
            self.state.history.settled();
        }
        stepped.reply
    }

    fn deploy(&mut self, group: usize, words: &str) -> Result<(), Refusal> {
        let mut request = request(&format!("g{group}"), None);
        request.policy.max_revisions = 100;
        request.asked_by = words.to_owned();
        request.revision.location = words.to_owned();
        self.step(Event::Deploy { id: id(self.now), request: Box::new(request) })
    }

    fn command(&mut self, group: usize, words: &str, scripts: usize) {
        let mut request = request(&format!("g{group}"), None);
        request.purpose = Purpose::Commanded;
        request.revision.location = text(2, 100);
        let deployment = id(1_000_000_000 + self.now);
        let hooks = hooks(&[LifecycleEvent::AfterInstall], false);
        let script = Script { location: words.to_owned(), ..Script::new(deployment.clone(), &hooks[0].scripts[0]) };
        let order = Order {
            deployment,
            name: "AfterInstall".to_owned(),
            event: Some(LifecycleEvent::AfterInstall),
            scripts: vec![script; scripts],
            checks_bundle_first: false,
            request,
        };
        let identifier = format!("c{}", self.now);
        let order = if scripts == 0 { Err(Report::failed(words)) } else { Ok(Box::new(order)) };
        self.step(Event::Commanded { identifier: identifier.clone(), execution: String::new(), order }).unwrap();
        let answer = crate::codedeploy::wire::CommandStatus::InProgress;
        self.step(Event::Acknowledged { identifier, answer }).unwrap();
    }

    /// Ends one effect, successfully or not.
    fn end(&mut self, pick: usize, fails: bool, words: &str, many: usize) {
        if self.effects.is_empty() {
            return;
        }
        let effect = self.effects.remove(pick % self.effects.len());
        let failure = || WorkFailure::other(words);
        let warnings = || texts(words, many);
        let result = match effect.work {
            Work::Prepare if fails => WorkResult::Prepared(Err(failure())),
            Work::Prepare => {
                let mut hooks = hooks(&LifecycleEvent::ORDER, false);
                for script in hooks.iter_mut().flat_map(|hooks| &mut hooks.scripts) {
                    script.options.environment = vec![("A".to_owned(), text(2, many * 40))];
                }
                let check = Check {
                    name: text(pick, many * 20),
                    probe: Probe::Tcp { address: "localhost:80".to_owned() },
                    interval_seconds: 1,
                    timeout_seconds: 1,
                    successes: 1,
                    failures: 1,
                    grace_seconds: 0,
                    deadline_seconds: 1,
                };
                let health = PreparedHealth { checks: vec![check], any: true, bake_seconds: 0 };
                let (old_hooks, revision) = (hooks.clone(), revision());
                let warnings = warnings();
                WorkResult::Prepared(Ok(Prepared { revision, hooks, old_hooks, health, takes_out: false, warnings }))
            }
            Work::CheckBundle => WorkResult::Checked { fault: fails.then(failure), warnings: warnings() },
            Work::RunHook { .. } => {
                let outcome = match (fails, pick % 3) {
                    (false, _) => HookOutcome::Exited { code: 0 },
                    (true, 0) => HookOutcome::Exited { code: 1 },
                    (true, 1) => HookOutcome::TimedOut { killed: texts(words, many) },
                    (true, _) => HookOutcome::could_not_start(words.to_owned()),
                };
                WorkResult::Hook(HookResult { tail: warnings(), ..hook_result(outcome) })
            }
            Work::Install if fails => WorkResult::Installed(Err(failure())),
            Work::Install => WorkResult::Installed(Ok(InstallReport {
                entries: 1,
                entries_digest: Sha256Digest::of(b""),
                warnings: vec![],
            })),
            Work::Probe { .. } => WorkResult::Probed(if fails { Err(failure()) } else { Ok(()) }),
            Work::Reboot => WorkResult::Rebooted(Ok(())),
            Work::Finish { .. } => WorkResult::Finished { warnings: warnings() },
            Work::Traffic { .. } => WorkResult::TrafficMoved(Ok(warnings())),
        };
        self.step(Event::Finished { effect: effect.number, result: Box::new(result) }).unwrap();
    }

    /// The machine's own events: the first run in the queue begins with this many scripts, and some of them end.
    fn machine_events(&mut self, words: &str, many: usize) {
        use crate::machine_events::Change;
        let Some(run) = self.state.machine_events.queue.first().map(|run| run.number) else { return };
        let _ = self.step(Event::Machine(Change::Begin(run, vec!["s".repeat(255); many])));
        for _ in 0..20 {
            let first = self.state.machine_events.queue.first().filter(|first| first.number == run);
            let Some(script) = first.and_then(|run| run.script()).map(|(script, _)| script) else { return };
            let outcome = HookOutcome::could_not_start(words.to_owned());
            let _ = self.step(Event::Machine(Change::ScriptEnded(run, script, outcome, u64::MAX)));
        }
    }

    fn run_to_the_end(&mut self, fails: bool, words: &str) {
        for _ in 0..10_000 {
            if self.effects.is_empty() {
                return;
            }
            self.end(0, fails, words, 3);
        }
        panic!("no end: {:?}", self.effects);
    }
}

fn only_what_people_read_is_gone(before: &State, after: &State) {
    for (key, group) in &before.groups {
        let Some(now) = after.groups.get(key) else {
            assert!(group.installed.is_none() && group.active.is_none(), "{key} is forgotten");
            continue;
        };
        assert_eq!((&now.installed, &now.last_good), (&group.installed, &group.last_good));
        assert_eq!(now.active.as_ref().map(|d| &d.in_flight), group.active.as_ref().map(|d| &d.in_flight));
        assert_eq!(now.finished.last().map(|d| &d.id), group.finished.last().map(|d| &d.id));
    }
    assert_eq!((&after.history, &after.lifecycle), (&before.history, &before.lifecycle));
}

#[test]
fn failures_over_time_do_not_fill_the_ledger() {
    for disk_is_full in [false, true] {
        let mut host = Hostile::new(disk_is_full);
        for number in 0..90 {
            host.deploy(number % 3, "x").unwrap();
            host.end(0, false, "", 0);
            host.end(0, true, &text(number, 4000), 20);
            host.run_to_the_end(true, &text(number, 10_000));
        }
        let bytes = bytes(&host.state);
        // For each group two failures with everything, and the others without their output.
        assert!(bytes < ROOM * 3 / 4, "{bytes} bytes");
        let texts = |d: &&Deployment| !d.warnings.is_empty() || d.failure.as_ref().is_some_and(|f| !f.tail.is_empty());
        assert!(
            host.state.groups.values().all(|g| g.finished.len() == 30 && g.finished.iter().filter(texts).count() <= 2)
        );
    }
}

#[test]
fn groups_come_until_there_is_no_room_and_then_are_refused_while_the_others_go_on() {
    let mut host = Hostile { room: 640 << 10, ..Hostile::new(false) };
    let refused = (0..2000).find_map(|number| {
        let refusal = host.deploy(number, &text(0, 3000)).err();
        host.run_to_the_end(false, &text(number, 500));
        refusal
    });
    let refusal = refused.expect("there is an end to everything");
    assert!(matches!(&refusal, Refusal::NoRoom { groups, .. } if *groups > 5), "{refusal:?}");
    let words = refusal.to_string();
    assert!(words.contains("no room for another deployment") && words.contains("hostler remove"), "{words}");
    // A known group can still fail, roll back and be removed.
    let asked_by = text(0, 5000);
    host.step(Event::Remove { id: id(9_000_000), key: key("g1"), asked_by, policy: Default::default() }).unwrap();
    host.run_to_the_end(false, "");
    assert!(host.state.groups[&key("g1").id()].installed.is_none());
}

#[test]
fn more_than_the_state_takes_of_one_bundle_or_request_is_refused_with_the_numbers() {
    let mut host = Hostile::new(false);
    let refusal = host.deploy(1, &text(2, 20_000)).unwrap_err().to_string();
    assert!(refusal.contains("takes 40") && refusal.contains("may take 16384"), "{refusal}");
    assert!(host.state.all_active().next().is_none());
    host.deploy(1, "x").unwrap();
    host.end(0, false, "", 1000);
    host.run_to_the_end(false, "");
    let failure = host.state.groups[&key("g1").id()].finished[0].failure.clone().unwrap();
    assert_eq!(failure.event, LifecycleEvent::DownloadBundle);
    assert!(failure.message.contains("and may take 131072: shorten them"), "{}", failure.message);
    // The next one deploys.
    host.deploy(1, "x").unwrap();
    host.run_to_the_end(false, "");
    assert_eq!(host.state.groups[&key("g1").id()].finished[1].outcome, Some(Outcome::Succeeded));
}

#[test]
fn warnings_are_kept_until_they_take_all_of_their_room_and_counted_from_then_on() {
    let mut host = Hostile::new(false);
    host.deploy(1, "x").unwrap();
    let mut deployment = host.state.groups[&key("g1").id()].active.clone().unwrap();
    for (word, many, kept, left_out) in [("x".repeat(1000), 20, 8, 12), ("short".to_owned(), 30, 28, 22)] {
        keep_warnings(&mut deployment, &texts(&word, many));
        assert_eq!((deployment.warnings.len(), deployment.warnings_left_out), (kept, left_out));
        assert!(bytes(&deployment.warnings) <= WARNINGS_BYTES);
    }
}

#[test]
fn a_state_that_is_too_large_sheds_the_oldest_texts_first_and_always_the_same() {
    let mut host = Hostile::new(false);
    for number in 0..4 {
        host.deploy(number % 2, "x").unwrap();
        host.end(0, false, "", 0);
        host.end(0, true, &text(3, 2000), 4);
        host.run_to_the_end(false, &text(3, 500));
    }
    let all = bytes(&host.state);
    let mut state = host.state.clone();
    assert!(!fit(&mut state, all) && state == host.state, "what fits is left alone");
    assert!(fit(&mut state, all - 1));
    let tails = |state: &State, key: &GroupKey| -> Vec<bool> {
        let of = |d: &Deployment| d.failure.as_ref().is_some_and(|f| !f.tail.is_empty());
        state.groups[&key.id()].finished.iter().map(of).collect()
    };
    assert_eq!((tails(&host.state, &key("g0")), tails(&state, &key("g0"))), (vec![true, true], vec![false, true]));
    assert_eq!(tails(&state, &key("g1")), [true, true]);
    let mut again = host.state.clone();
    fit(&mut again, all - 1);
    assert_eq!(again, state);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases((ProptestConfig::default().cases / 128).max(2)))]

    #[test]
    fn no_sequence_of_events_makes_the_state_exceed_the_ledger(
        disk_is_full in any::<bool>(),
        // Measuring the states takes most of the time, so other tests have the many and long sequences.
        events in prop::collection::vec((0usize..12, 0usize..40, 0usize..8000, 0usize..100), 5..20),
    ) {
        let mut host = Hostile::new(disk_is_full);
        for (what, group, length, many) in events {
            let words = text(length, length);
            match what {
                0 | 1 => drop(host.deploy(group, &text(length, length / 10))),
                2 => host.command(100 + group, &words, many % 4),
                3 => {
                    let (id, asked_by) = (id(5_000_000 + host.now), words);
                    drop(host.step(Event::Rollback { id, key: key(&format!("g{group}")), to: None, force: false, asked_by, policy: Default::default() }));
                }
                4 => drop(host.step(Event::Resume { key: key(&format!("r{length}")), asked_by: words })),
                5 => {
                    let verdict = crate::cfn_signals::Verdict { success: false, reason: words };
                    let change = crate::cfn_signals::Change::Decide(format!("stack{length}"), verdict);
                    drop(host.step(Event::Signals(change)));
                    let end = crate::cfn_signals::End::GivenUp { message: text(length, length) };
                    drop(host.step(Event::Signals(crate::cfn_signals::Change::End(format!("stack{length}"), end))));
                }
                6 => host.machine_events(&words, many),
                7 => {
                    let ended = |c: &Command| matches!(c.stage, CommandStage::Ended(_));
                    let ended = host.state.service.commands.iter().find(|c| ended(c)).map(|c| c.identifier.clone());
                    if let Some(identifier) = ended {
                        drop(host.step(Event::Reported { identifier }));
                    }
                }
                _ => host.end(group, many % 3 == 0, &words, many),
            }
        }
        host.disk_is_full = false;
        host.run_to_the_end(false, "");
    }
}
