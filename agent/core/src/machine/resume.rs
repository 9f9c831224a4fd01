//! What the agent resumes when it starts.

use crate::machine::event::Effect;
use crate::machine::state::State;

/// The effects that were running when the state was last persisted. A stop, a crash and a power loss all end here: each
/// effect starts again and finds out by itself how far it came ([`crate::machine::event::AfterACrash`]).
pub fn resume(state: &State) -> Vec<Effect> {
    let of_deployments = state.all_active().filter_map(|(_, deployment)| deployment.in_flight.clone());
    let put_back = state.traffic.as_ref().and_then(|withdrawal| withdrawal.in_flight.as_ref());
    of_deployments.chain(put_back.map(Effect::from)).collect()
}

/// Prepares a state for [`resume`]: an Install that waits to be undone is tried at once.
pub fn take_up(state: &mut State) {
    let active = state.groups.values_mut().filter_map(|group| group.active.as_mut());
    for not_undone in active.filter_map(|deployment| deployment.not_undone.as_mut()) {
        not_undone.waits = false;
    }
}
