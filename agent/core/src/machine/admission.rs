//! Deployments and the instance's lifecycle: which deployments may begin when, and what happens to the running ones on
//! a host that leaves service.

use crate::event_order::LifecycleEvent;
use crate::lifecycle::{Change, InstanceState, Lifecycle, ends_deployments};
use crate::machine::event::Refusal;
use crate::machine::state::{Creator, Deployment, Group, Policy, Purpose, Request, State, Stop};
use crate::machine::stopping::stopped;
use crate::traffic::Withdrawal;

/// Refuses deployments that must not begin on a host that is out of service. The agent follows no channel before a new
/// instance is set up either: the scripts of Setup prepare what the channel deploys.
pub fn admit(state: &State, creator: Creator) -> Result<(), Refusal> {
    let why = match (instance_state(state), creator) {
        (InstanceState::InService, Creator::Channel) if state.machine_events.sets_up() => "being set up",
        (InstanceState::InService, _) => return Ok(()),
        (InstanceState::Terminating, _) => "on its way out",
        // An administrator at the keyboard knows that nothing serves here.
        (InstanceState::WarmPool | InstanceState::Standby | InstanceState::RebalanceHold, creator)
            if creator != Creator::Channel =>
        {
            return Ok(());
        }
        (InstanceState::WarmPool, _) => "in the warm pool",
        (InstanceState::Standby, _) => "in Standby",
        (InstanceState::RebalanceHold, _) => "to be replaced, as EC2 recommends (auto_scaling: rebalance: hold)",
    };
    Err(Refusal::OutOfService { why })
}

/// What may be done on this host. A Standby that the agent itself asked for holds nothing back.
pub fn instance_state(state: &State) -> InstanceState {
    let ours = state.traffic.as_ref().is_some_and(Withdrawal::is_standby);
    if state.lifecycle.instance_state == InstanceState::Standby && ours {
        InstanceState::InService
    } else {
        state.lifecycle.instance_state
    }
}

/// Applies a change to the journal. A host that comes back into service starts again the deployments that were stopped:
/// its channels' releases count as not tried.
pub fn take(state: &mut State, change: Change, now_ms: u64) {
    let before = state.lifecycle.instance_state;
    state.lifecycle.take(change, now_ms);
    let back = before != InstanceState::InService && state.lifecycle.instance_state == InstanceState::InService;
    for group in state.groups.values_mut().filter(|group| back && stopped(group).is_some()) {
        group.following.tried_sequence = 0;
    }
    let Some(action) = &state.lifecycle.action else { return };
    let active = state.groups.values_mut().filter_map(|group| group.active.as_mut());
    // The remaining scripts have the time that the action has now.
    for deployment in active {
        if let Purpose::Stop(stop) = &mut deployment.request.purpose
            && stop.entry == action.entry
        {
            stop.deadline_ms = action.deadline_ms;
        }
    }
}

/// The deployment that only stops the installed application; `None` when nothing is installed or no stopping action is
/// open.
pub fn stop(lifecycle: &Lifecycle, group: &Group, policy: Policy) -> Option<Request> {
    let action = lifecycle.action.as_ref().filter(|action| action.stops)?;
    let installed = group.installed.as_ref()?;
    Some(Request {
        key: group.key.clone(),
        purpose: Purpose::Stop(Stop { entry: action.entry, deadline_ms: action.deadline_ms }),
        asked_by: action.kind.words().to_owned(),
        source: crate::machine::state::Source::Kept { deployment: installed.archive.clone() },
        revision: installed.revision.clone(),
        trust: installed.trust.clone(),
        policy,
    })
}

/// Whether an event is part of stopping an application.
pub fn of_stop(event: LifecycleEvent) -> bool {
    event == LifecycleEvent::DownloadBundle || event == LifecycleEvent::BlockTraffic || event.runs_old_revision()
}

/// Whether a deployment must end where it is: the host is leaving, and this deployment does not do the stopping itself.
pub fn shall_end(lifecycle: &Lifecycle, deployment: &Deployment) -> bool {
    ends_deployments(lifecycle) && deployment.request.purpose.stop().is_none() && deployment.current().is_some()
}
