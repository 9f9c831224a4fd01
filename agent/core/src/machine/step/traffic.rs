//! Out of service and back. The journal has each removal before it happens, and drops it when the host was put back by
//! any deployment, or by the agent itself when no deployment will.

use crate::event_order::LifecycleEvent;
use crate::machine::event::{Effect, TrafficFound, Work, WorkFailure, WorkResult};
use crate::machine::state::{Deployment, State, StepStatus};
use crate::traffic::{PutBack, PutBackWork, TrafficPhase, Withdrawal};

use super::Turn;

impl Turn<'_> {
    /// Whether the deployment's group has taken the host out, in this deployment or an earlier one.
    pub(super) fn is_withdrawn(&self, deployment: &Deployment) -> bool {
        self.state.traffic.as_ref().is_some_and(|withdrawal| withdrawal.group == deployment.request.key)
    }

    /// Whether this deployment's traffic must wait until another group's deployment, or the agent itself, has put the
    /// host back.
    pub(super) fn waits_for_another(&self, deployment: &Deployment, work: &Work) -> bool {
        let Some(withdrawal) = self.state.traffic.as_ref().filter(|_| matches!(work, Work::Traffic { .. })) else {
            return false;
        };
        let holder = self.state.groups.get(&withdrawal.group.id());
        // A deployment that waits to undo its Install may wait for ever: the host stays where that deployment put it.
        let goes_on = |active: &Deployment| active.waits_to_be_undone().is_none();
        let holds = holder.is_some_and(|group| group.active.as_ref().is_some_and(goes_on))
            && withdrawal.group != deployment.request.key;
        holds || withdrawal.in_flight.is_some()
    }

    pub(super) fn is_exclusive_going_on(&self) -> bool {
        // An Install of one group that cannot be undone yet does not hold the other groups.
        let going_on = self.state.all_active().filter(|(_, deployment)| deployment.waits_to_be_undone().is_none());
        let mut of_deployments = going_on.filter_map(|(_, deployment)| deployment.in_flight.as_ref());
        let returns = self.state.traffic.as_ref().is_some_and(|withdrawal| withdrawal.in_flight.is_some());
        returns || of_deployments.any(|effect| effect.work.is_exclusive())
    }

    pub(super) fn traffic_found(&mut self, deployment: &mut Deployment, result: Result<TrafficFound, WorkFailure>) {
        let found = match result {
            Ok(found) => found,
            Err(failure) => return self.fail(deployment, None, failure, Vec::new()),
        };
        self.warn(deployment, found.warnings);
        // Another group's withdrawal stays: the host is where that group put it.
        let Some(place) = found.place.filter(|_| self.state.traffic.is_none()) else {
            for step in deployment.steps.iter_mut().filter(|step| step.event == LifecycleEvent::AllowTraffic) {
                step.status = StepStatus::Skipped;
            }
            return self.end_step(deployment, StepStatus::Skipped, None);
        };
        self.state.traffic = Some(Withdrawal {
            group: deployment.request.key.clone(),
            deployment: deployment.id.clone(),
            since_ms: self.context.now_ms,
            place,
            suppresses_status_checks: found.suppresses_status_checks,
            touched: false,
            in_flight: None,
            problem: None,
        });
    }

    pub(super) fn traffic_moved(
        &mut self,
        deployment: &mut Deployment,
        phase: TrafficPhase,
        result: Result<Vec<String>, WorkFailure>,
    ) {
        match result {
            Ok(warnings) => {
                self.warn(deployment, warnings);
                if phase == TrafficPhase::Allow && self.is_withdrawn(deployment) {
                    self.state.traffic = None;
                } else if let Some(withdrawal) = &mut self.state.traffic {
                    withdrawal.problem = None;
                }
                self.end_step(deployment, StepStatus::Succeeded, None);
            }
            Err(failure) => {
                if let Some(withdrawal) = &mut self.state.traffic {
                    withdrawal.failed(phase, failure.message.clone(), self.context.now_ms);
                }
                self.fail(deployment, None, failure, Vec::new());
            }
        }
    }

    /// Notes whether the host could serve if the agent put it back. From ApplicationStop on it could not, until every
    /// event before AllowTraffic has succeeded.
    pub(super) fn note_touched(&mut self, deployment: &Deployment) {
        let Some(event) = deployment.current().map(|step| step.event) else { return };
        let ours = self.state.traffic.as_mut().filter(|withdrawal| withdrawal.group == deployment.request.key);
        if let Some(withdrawal) = ours.filter(|_| event > LifecycleEvent::AfterBlockTraffic) {
            withdrawal.touched = event < LifecycleEvent::AllowTraffic;
        }
    }

    pub(super) fn is_put_back(&self, number: u64) -> bool {
        let effect = self.state.traffic.as_ref().and_then(|withdrawal| withdrawal.in_flight.as_ref());
        effect.is_some_and(|effect| effect.number == number)
    }

    pub(super) fn put_back_ended(&mut self, result: WorkResult) {
        let Some(withdrawal) = &mut self.state.traffic else { return };
        match result {
            WorkResult::TrafficMoved(Ok(_)) => self.state.traffic = None,
            WorkResult::TrafficMoved(Err(failure)) => {
                withdrawal.in_flight = None;
                withdrawal.failed(TrafficPhase::Allow, failure.message, self.context.now_ms);
            }
            // The shell answers each kind of work with its own kind of result.
            _ => withdrawal.in_flight = None,
        }
    }

    /// Puts the host back if no deployment will.
    pub(super) fn put_back_if_due(&mut self) {
        if self.state.put_back_at_ms().is_none_or(|at| self.context.now_ms < at) {
            return;
        }
        let phase = TrafficPhase::Allow;
        let Effect { number, begun_ms, boot_id, .. } = self.effect(Work::Traffic { phase });
        if let Some(withdrawal) = &mut self.state.traffic {
            let work = PutBackWork::Traffic { phase };
            withdrawal.in_flight = Some(PutBack { number, work, begun_ms, boot_id });
        }
    }
}

impl State {
    /// When the agent puts the host back without a deployment, milliseconds since 1970. `None` when a deployment will,
    /// when it already happens, and on a host that is leaving.
    pub fn put_back_at_ms(&self) -> Option<u64> {
        let withdrawal = self.traffic.as_ref().filter(|withdrawal| withdrawal.in_flight.is_none())?;
        let active = self.groups.get(&withdrawal.group.id()).is_some_and(|group| group.active.is_some());
        let leaves = !matches!(crate::machine::instance_state(self), crate::lifecycle::InstanceState::InService);
        (!active && !leaves && withdrawal.may_return()).then(|| withdrawal.next_try_ms())
    }
}
