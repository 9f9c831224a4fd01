//! A place that the host was taken out of is in the journal until the host was put back, despite failures and crashes.

use crate::machine::event::TrafficFound;
use crate::traffic::{Place, TrafficPhase};

use super::*;

/// The load balancers' view and their failures.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    in_service: bool,
    /// Number of next looks that fail.
    looks_fail: u32,
    /// Number of next put-backs that fail.
    allows_fail: u32,
    /// How often the host left service.
    left: u32,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { in_service: true, looks_fail: 0, allows_fail: 0, left: 0 }
    }
}

impl Host {
    /// Whether the host is being put back outside of a deployment.
    pub(super) fn returns(&self) -> bool {
        self.state.traffic.as_ref().is_some_and(|withdrawal| withdrawal.in_flight.is_some())
    }

    /// The invariant of the journal.
    pub(super) fn nothing_is_forgotten(&self) {
        assert!(self.traffic.in_service || self.state.traffic.is_some(), "out of service, and nobody knows");
    }

    /// AWS's part, on each request: it has no memory of effects.
    pub(super) fn move_traffic(&mut self, number: u64, phase: TrafficPhase) -> WorkResult {
        let deployment =
            self.state.all_active().find(|(_, d)| d.in_flight.as_ref().is_some_and(|e| e.number == number));
        let rollback = deployment.is_some_and(|(_, d)| d.request.purpose.is_rollback());
        let failure = || WorkFailure::other("told to fail");
        let counted = |left: &mut u32| {
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        };
        match phase {
            TrafficPhase::Look if !rollback && counted(&mut self.traffic.looks_fail) => {
                WorkResult::TrafficFound(Err(failure()))
            }
            TrafficPhase::Look => {
                let place = Place::Standby { auto_scaling_group: "asg".to_owned(), lowers_desired_capacity: true };
                let place = (self.traffic.in_service && self.state.traffic.is_none()).then_some(place);
                WorkResult::TrafficFound(Ok(TrafficFound { place, suppresses_status_checks: false, warnings: vec![] }))
            }
            TrafficPhase::Block => {
                assert!(self.state.traffic.is_some(), "it is taken out before that is written down");
                self.traffic.left += u32::from(self.traffic.in_service);
                // A call that failed may have taken effect.
                self.traffic.in_service = false;
                let fails = !rollback && self.fail_at == Some(LifecycleEvent::BlockTraffic);
                WorkResult::TrafficMoved(if fails { Err(failure()) } else { Ok(vec![]) })
            }
            TrafficPhase::Allow if counted(&mut self.traffic.allows_fail) => WorkResult::TrafficMoved(Err(failure())),
            TrafficPhase::Allow => {
                self.traffic.in_service = true;
                WorkResult::TrafficMoved(Ok(vec![]))
            }
        }
    }

    /// Lets time pass and does all due work, until there is none.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.now += 1_000_000;
            let effects = self.step(Event::Proceed).unwrap();
            self.run(effects, never);
        }
    }

    fn runs_well(&mut self, number: u64, group: &str) {
        let effects = self.deploy(number, request(group, None)).unwrap();
        self.run(effects, never);
    }
}

fn serving() -> Host {
    let mut host = Host::default();
    host.runs_well(1, "prod");
    host.takes_out = true;
    host
}

#[test]
fn a_deployment_takes_the_host_out_once_and_puts_it_back() {
    let mut host = serving();
    host.runs_well(2, "prod");
    assert!(host.traffic.in_service && host.state.traffic.is_none());
    assert_eq!(host.traffic.left, 1);
    let group = &host.state.groups[&key("prod").id()];
    for event in [LifecycleEvent::BlockTraffic, LifecycleEvent::AllowTraffic] {
        assert_eq!(group.finished.last().unwrap().step(event).unwrap().status, StepStatus::Succeeded);
    }
}

/// The load balancer's health check may be answered by this host itself.
#[test]
fn a_host_that_is_put_back_says_that_it_serves_before_it_is_asked() {
    use crate::machine::checks::in_service;
    let mut host = serving();
    let mut effects = host.deploy(2, request("prod", None)).unwrap();
    let mut seen = Vec::new();
    while let Some(effect) = effects.pop() {
        if let Work::Traffic { phase } = effect.work {
            seen.push((phase, in_service(&host.state.groups[&key("prod").id()])));
        }
        let result = Box::new(host.perform(&effect));
        effects = host.step(Event::Finished { effect: effect.number, result }).unwrap();
    }
    assert_eq!(seen, [(TrafficPhase::Look, false), (TrafficPhase::Block, false), (TrafficPhase::Allow, true)]);
}

#[test]
fn where_nothing_serves_the_events_are_skipped() {
    let mut host = serving();
    // In an operator's Standby, in a launch, in no group: the look finds nothing.
    host.state.traffic = None;
    let effects = host.deploy(2, request("prod", None)).unwrap();
    host.traffic.in_service = true;
    host.run_until_look(effects);
    let group = &host.state.groups[&key("prod").id()];
    for event in [LifecycleEvent::BlockTraffic, LifecycleEvent::AllowTraffic] {
        assert_eq!(group.finished.last().unwrap().step(event).unwrap().status, StepStatus::Skipped);
    }
    assert_eq!(host.traffic.left, 0);
}

impl Host {
    /// Runs to the end, and finds nothing to take the host out of.
    fn run_until_look(&mut self, mut effects: Vec<Effect>) {
        while let Some(effect) = effects.pop() {
            let result = match effect.work {
                Work::Traffic { phase: TrafficPhase::Look } => WorkResult::TrafficFound(Ok(TrafficFound {
                    place: None,
                    suppresses_status_checks: false,
                    warnings: vec![],
                })),
                Work::Traffic { .. } => panic!("nothing was found, and something is done"),
                _ => self.perform(&effect),
            };
            effects.extend(self.step(Event::Finished { effect: effect.number, result: Box::new(result) }).unwrap());
        }
    }
}

#[test]
fn a_removed_application_leaves_the_host_out_of_service_and_the_next_deployment_puts_it_back() {
    let mut host = serving();
    let policy = Box::new(Policy::default());
    let event = Event::Remove { id: id(2), key: key("prod"), asked_by: "test".to_owned(), policy };
    let effects = host.step(event).unwrap();
    host.run(effects, never);
    host.rest();
    assert!(!host.traffic.in_service && host.state.traffic.as_ref().unwrap().touched);
    host.runs_well(3, "prod");
    assert!(host.traffic.in_service && host.state.traffic.is_none());
}

#[test]
fn a_host_on_its_way_out_is_not_put_back() {
    use crate::lifecycle::{Change, InstanceState};
    let mut host = serving();
    host.fail_at = Some(LifecycleEvent::BlockTraffic);
    host.traffic.allows_fail = 1;
    let mut r = request("prod", None);
    r.policy.rollback = RollbackPolicy::Never;
    let effects = host.deploy(2, r).unwrap();
    host.run(effects, never);
    host.step(Event::Lifecycle(Change::Found(InstanceState::Terminating, None))).unwrap();
    host.rest();
    assert!(!host.traffic.in_service, "its group has taken it");
    // The announced event did not happen.
    host.traffic.allows_fail = 0;
    let effects = host.step(Event::Lifecycle(Change::Found(InstanceState::InService, None))).unwrap();
    host.run(effects, never);
    assert!(host.traffic.in_service && host.state.traffic.is_none());
}

#[test]
fn our_own_standby_holds_no_release_back_and_an_operators_does() {
    use crate::lifecycle::{Change, InstanceState};
    let mut host = serving();
    host.fail_at = Some(LifecycleEvent::AfterInstall);
    let mut r = request("prod", Some(2));
    r.policy.rollback = RollbackPolicy::Never;
    let effects = host.deploy(2, r).unwrap();
    host.run(effects, never);
    host.step(Event::Lifecycle(Change::Found(InstanceState::Standby, None))).unwrap();
    host.rest();
    assert!(host.state.traffic.as_ref().unwrap().touched, "a broken application is not put back");
    host.fail_at = None;
    let effects = host.deploy(3, request("prod", Some(3))).unwrap();
    host.run(effects, never);
    assert!(host.traffic.in_service && host.state.traffic.is_none());
    assert!(matches!(host.deploy(4, request("prod", Some(4))), Err(Refusal::OutOfService { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 64))]

    /// At every step, despite failures and crashes: out of service means in the journal. In the end the host serves, or
    /// the journal says that its application is broken.
    #[test]
    fn nothing_is_ever_forgotten(
        deployments in prop::collection::vec((any_failure(), any::<bool>(), 0..3_u32, 0..2_u32), 1..5),
        crashes in prop::collection::vec(any::<bool>(), 400),
    ) {
        let mut host = serving();
        let mut plan = crashes.into_iter();
        for (number, (fail_at, rolls_back, allows_fail, looks_fail)) in (2..).zip(deployments) {
            host.fail_at = fail_at;
            host.traffic.allows_fail = allows_fail;
            host.traffic.looks_fail = looks_fail;
            let mut r = request("prod", Some(number));
            if !rolls_back {
                r.policy.rollback = RollbackPolicy::Never;
            }
            let Ok(effects) = host.deploy(number, r) else { continue };
            host.run(effects, || plan.next().unwrap_or(false));
        }
        host.traffic.allows_fail = 0;
        host.rest();
        let broken = host.state.traffic.as_ref().is_some_and(|withdrawal| withdrawal.touched);
        prop_assert!(host.traffic.in_service != broken, "{:?}", host.state.traffic);
        // A working deployment puts it back.
        host.fail_at = None;
        host.traffic.looks_fail = 0;
        host.runs_well(90, "prod");
        prop_assert!(host.traffic.in_service && host.state.traffic.is_none());
    }

    /// The groups of a host take it out one after the other, and none waits for ever.
    #[test]
    fn groups_take_turns(order in prop::collection::vec(0..3_usize, 1..40), fail_at in any_failure()) {
        let mut host = serving();
        host.fail_at = fail_at;
        host.deploy_side_by_side(10, &order);
        prop_assert_eq!(host.state.all_active().count(), 0);
    }
}

#[test]
fn what_puts_the_host_back_is_in_the_ledger_as_every_effect_is() {
    use crate::traffic::{PutBack, PutBackWork};

    let phase = TrafficPhase::Allow;
    let boot_id = "boot".to_owned();
    let put_back = PutBack { number: 7, work: PutBackWork::Traffic { phase }, begun_ms: 5, boot_id: boot_id.clone() };
    let effect = Effect { number: 7, work: Work::Traffic { phase }, begun_ms: 5, boot_id };
    assert_eq!(Effect::from(&put_back), effect);
    let written = serde_json::to_string(&put_back).unwrap();
    assert_eq!(written, r#"{"number":7,"work":{"work":"traffic","phase":"allow"},"begun_ms":5,"boot_id":"boot"}"#);
    assert_eq!(written, serde_json::to_string(&effect).unwrap());
    assert_eq!(serde_json::from_str::<PutBack>(&written).unwrap(), put_back);
}
