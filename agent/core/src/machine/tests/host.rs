//! A simulated host: executes effects, and crashes where the test says so.

use std::collections::BTreeMap;

use super::*;

pub(super) fn key(name: &str) -> GroupKey {
    GroupKey::new("web".parse().unwrap(), name.parse().unwrap())
}

pub(super) fn id(number: u64) -> DeploymentId {
    format!("d-{number}").parse().unwrap()
}

pub(super) fn context(now_ms: u64) -> Context {
    Context {
        now_ms,
        since_boot_ms: now_ms,
        fresh: id(1_000_000 + now_ms),
        host: "i-1".parse().unwrap(),
        boot_id: "boot".to_owned(),
        agent_version: "0".to_owned(),
        draining: false,
        room: 1 << 20,
    }
}

pub(super) fn revision() -> Revision {
    Revision { location: "test".to_owned(), digest: None, size: None, bundle_type: None, label: None }
}

pub(super) fn request(group: &str, sequence: Option<u64>) -> Request {
    Request {
        key: key(group),
        purpose: sequence.map_or(Purpose::ByHand, |sequence| Purpose::Release(Highest::new(sequence, None))),
        asked_by: "test".to_owned(),
        source: Source::Path { path: "/bundle".into() },
        revision: revision(),
        trust: Default::default(),
        policy: Policy::default(),
    }
}

pub(super) fn hooks(events: &[LifecycleEvent], repeatable: bool) -> Vec<EventHooks> {
    let script = |event: &LifecycleEvent| HookScript {
        location: format!("scripts/{event}.sh"),
        timeout_seconds: 60,
        timeout_line: Some(12),
        runas: None,
        sudo: false,
        options: HookOptions { repeatable, ..HookOptions::default() },
        at: Position::default(),
        runas_at: None,
    };
    events
        .iter()
        .map(|event| EventHooks {
            event: event.name().to_owned(),
            scripts: vec![script(event)],
            unusable: false,
            at: Position::default(),
        })
        .collect()
}

pub(super) fn hook_result(outcome: HookOutcome) -> HookResult {
    HookResult {
        version: HOOK_DOCUMENT_VERSION,
        outcome,
        started_ms: 0,
        finished_ms: 0,
        tail: vec![],
        output_bytes: 0,
        dropped_lines: 0,
        output_digest: None,
    }
}

/// A host that executes effects, remembers its scripts, and fails where the test says so.
#[derive(Default)]
pub(super) struct Host {
    pub(super) state: State,
    pub(super) now: u64,
    pub(super) fail_at: Option<LifecycleEvent>,
    /// Whether rollbacks fail there, too.
    pub(super) rollbacks_fail: bool,
    /// Each script run: (archive, event).
    pub(super) ran: Vec<(DeploymentId, LifecycleEvent)>,
    pub(super) done: BTreeMap<u64, WorkResult>,
    pub(super) most_active: usize,
    pub(super) health: PreparedHealth,
    pub(super) unhealthy: bool,
    /// Each time that the checks let a deployment continue.
    pub(super) probed: Vec<(DeploymentId, ProbePhase)>,
    pub(super) takes_out: bool,
    /// The group whose install journal cannot be settled.
    pub(super) stuck: Option<GroupKey>,
    /// The load balancers' side.
    pub(super) traffic: traffic::Traffic,
}

impl Host {
    /// Applies an event; returns the effects and panics if an invariant is broken.
    pub(super) fn step(&mut self, event: Event) -> Result<Vec<Effect>, Refusal> {
        self.now += 1;
        let stepped = step(std::mem::take(&mut self.state), event, &context(self.now));
        self.state = stepped.state;
        self.check_invariants();
        // The shell does so when a deployment has ended and its records are in the file.
        self.state.history.settled();
        stepped.reply.map(|()| stepped.effects)
    }

    /// The agent dies and starts again, with only the persisted document.
    pub(super) fn crash(&mut self) -> Vec<Effect> {
        let document = serde_json::to_vec(&self.state).unwrap();
        let read = serde_json::from_slice(&document).unwrap();
        assert_eq!(self.state, read, "the state does not survive being written");
        self.state = read;
        take_up(&mut self.state);
        resume(&self.state)
    }

    pub(super) fn check_invariants(&mut self) {
        let in_flight: Vec<&Effect> = self.state.all_active().filter_map(|(_, d)| d.in_flight.as_ref()).collect();
        let going_on = self.state.all_active().filter(|(_, d)| d.waits_to_be_undone().is_none());
        let exclusive = going_on.filter_map(|(_, d)| d.in_flight.as_ref()).filter(|e| e.work.is_exclusive()).count();
        assert!(exclusive <= 1, "two Installs at once: {in_flight:?}");
        self.nothing_is_forgotten();
        for (_, deployment) in self.state.all_active() {
            let waits_for_install = deployment.current().is_some_and(|s| s.event == LifecycleEvent::Install);
            let exclusive = exclusive.max(usize::from(self.returns()));
            let waits_for_traffic = deployment.current().is_some_and(|s| s.event == LifecycleEvent::BlockTraffic);
            assert!(
                deployment.in_flight.is_some()
                    || deployment.waits_for_command()
                    || (waits_for_install && exclusive == 1)
                    || (waits_for_traffic && (exclusive == 1 || self.state.traffic.is_some())),
                "{} waits for nothing that has a name",
                deployment.id
            );
        }
        self.most_active = self.most_active.max(in_flight.len());
    }

    /// Does the work once per effect number; a second start of the same effect finds the first one's result, as hooks
    /// and install journals do.
    pub(super) fn perform(&mut self, effect: &Effect) -> WorkResult {
        if let Some(result) = self.done.get(&effect.number) {
            return result.clone();
        }
        if let Work::Traffic { phase } = effect.work {
            return self.move_traffic(effect.number, phase);
        }
        let (_, deployment) = self
            .state
            .all_active()
            .find(|(_, d)| d.in_flight.as_ref().map(|e| e.number) == Some(effect.number))
            .expect("an effect belongs to an active deployment");
        let rollback = deployment.request.purpose.is_rollback();
        let fails = |event| (self.rollbacks_fail || !rollback) && self.fail_at == Some(event);
        let failure = || WorkFailure::other("told to fail");
        let result = match &effect.work {
            Work::Prepare if fails(LifecycleEvent::DownloadBundle) => WorkResult::Prepared(Err(failure())),
            Work::Prepare => WorkResult::Prepared(Ok(Prepared {
                revision: Revision { location: "test".to_owned(), ..deployment.request.revision.clone() },
                hooks: hooks(&LifecycleEvent::ORDER.map(|e| e), false),
                old_hooks: hooks(&LifecycleEvent::ORDER.map(|e| e), false),
                health: self.health.clone(),
                takes_out: self.takes_out,
                warnings: vec![],
            })),
            Work::CheckBundle => {
                WorkResult::Checked { fault: fails(LifecycleEvent::DownloadBundle).then(failure), warnings: vec![] }
            }
            Work::RunHook { event, index, .. } => {
                let script = &deployment.step(*event).unwrap().scripts[*index];
                self.ran.push((script.archive.clone(), *event));
                let code = i32::from(fails(*event));
                WorkResult::Hook(hook_result(HookOutcome::Exited { code }))
            }
            Work::Install if self.stuck.as_ref() == Some(&deployment.request.key) => {
                let (journal, why) = (deployment.id.clone(), "/srv is not mounted".to_owned());
                return WorkResult::NotUndone(StillOpen {
                    journal,
                    why,
                    cause: Some(WorkFailure::other("cannot write")),
                });
            }
            Work::Install if fails(LifecycleEvent::Install) => WorkResult::Installed(Err(failure())),
            Work::Install => WorkResult::Installed(Ok(InstallReport {
                entries: 1,
                entries_digest: Sha256Digest::of(b""),
                warnings: vec![],
            })),
            Work::Probe { .. } if self.unhealthy && !rollback => WorkResult::Probed(Err(failure())),
            Work::Probe { phase } => {
                self.probed.push((deployment.id.clone(), *phase));
                WorkResult::Probed(Ok(()))
            }
            Work::Reboot => WorkResult::Rebooted(Ok(())),
            Work::Finish { .. } => WorkResult::Finished { warnings: vec![] },
            Work::Traffic { .. } => unreachable!("done above"),
        };
        self.done.insert(effect.number, result.clone());
        result
    }

    /// Runs everything to its end. After each persisted state for which `crash` returns true, the running effects are
    /// forgotten and resumed from the state alone.
    pub(super) fn run(&mut self, mut effects: Vec<Effect>, mut crash: impl FnMut() -> bool) {
        for _ in 0..500 {
            if crash() {
                effects = self.crash();
            }
            let Some(effect) = effects.pop() else {
                let left = self.crash();
                assert!(left.is_empty(), "a start finds something to do: {left:?}");
                return;
            };
            let result = self.perform(&effect);
            if crash() {
                // The work was done and the agent died before it recorded the result.
                effects = self.crash();
                continue;
            }
            effects.extend(self.step(Event::Finished { effect: effect.number, result: Box::new(result) }).unwrap());
        }
        panic!("no end after 500 steps: {:?}", self.state);
    }

    pub(super) fn deploy(&mut self, number: u64, request: Request) -> Result<Vec<Effect>, Refusal> {
        self.step(Event::Deploy { id: id(number), request: Box::new(request) })
    }

    /// Deploys to three groups in this order, with numbers from `first` on, and ends one effect between two
    /// deployments.
    pub(super) fn deploy_side_by_side(&mut self, first: u64, order: &[usize]) {
        let mut waiting: Vec<Effect> = Vec::new();
        for (number, pick) in (first..).zip(order) {
            if let Ok(effects) = self.deploy(number, request(["a", "b", "c"][*pick], None)) {
                waiting.extend(effects);
            }
            if !waiting.is_empty() {
                let effect = waiting.remove(pick % waiting.len());
                let result = Box::new(self.perform(&effect));
                waiting.extend(self.step(Event::Finished { effect: effect.number, result }).unwrap());
            }
        }
        self.run(waiting, never);
    }

    pub(super) fn outcomes(&self, group: &str) -> Vec<(DeploymentId, Option<Outcome>)> {
        self.state.groups[&key(group).id()].finished.iter().map(|d| (d.id.clone(), d.outcome)).collect()
    }
}

pub(super) fn never() -> bool {
    false
}
