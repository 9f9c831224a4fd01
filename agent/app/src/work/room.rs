//! Room for a rollback on the state directory's disk: reserved before anything is stopped, released when a rollback
//! finds the disk full.

use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::RollbackPolicy;
use hostler_host::reserve::{RESERVE_BYTES, Reserve, is_full};

use crate::ports::Job;
use crate::setup::Setup;

/// Reserves room before a deployment that a rollback may follow.
///
/// # Errors
/// Without the room the deployment could not be rolled back.
pub fn set_aside(setup: &Setup, job: &Job) -> Result<(), WorkFailure> {
    let request = &job.deployment.request;
    if !request.purpose.brings_new_revision() {
        return Ok(());
    }
    let Err(error) = Reserve::of(setup.layout.state()).fill() else { return Ok(()) };
    let needed = job.group.last_good.is_some() && request.policy.rollback != RollbackPolicy::Never;
    if needed && is_full(&error) {
        let (directory, kib) = (setup.layout.state().display(), (RESERVE_BYTES * 2) >> 10);
        let message = format!(
            "{directory} has no {kib} KiB for a deployment and its rollback to write down what they do: {error}; free space there"
        );
        return Err(WorkFailure::because(message, &error));
    }
    log::debug!("no room is set aside for a rollback: {error}");
    Ok(())
}

/// Releases the room if the disk is full.
pub fn give_up_if_needed(setup: &Setup) {
    match Reserve::of(setup.layout.state()).give_up_if_needed() {
        Ok(true) => log::warn!("the disk is full: the room that was set aside for a rollback is used"),
        Ok(false) => {}
        Err(error) => log::warn!("the room that was set aside for a rollback cannot be used: {error}"),
    }
}
