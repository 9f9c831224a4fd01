//! The state always fits in the ledger. Three rules ensure this:
//!
//! * Input is bounded: the agent cuts texts (failures, warnings, how scripts ended), and refuses bundles and requests
//!   that bring too much.
//! * Nothing new begins on a host whose state has no room for it.
//! * Texts that only people read, and that no decision needs, make way before a state gets too large, oldest first
//!   ([`fit`]).

use serde::Serialize;

use crate::codedeploy::diagnostics::Report;
use crate::codedeploy::wire::CommandStatus;
use crate::machine::command::{CommandStage, Order};
use crate::machine::event::{Refusal, WorkFailure};
use crate::machine::seal::in_use;
use crate::machine::state::{Deployment, Group, Request, State};
use crate::text::{bounded, head_that_fits, newest_lines};

/// Bytes of a failure's message, as JSON like all of these. Prevents: one reason for each file of a bundle.
pub const MESSAGE_BYTES: usize = 4 << 10;
/// Bytes of the last lines of output that are kept with a failure. Prevents: scripts that print documents.
pub const TAIL_BYTES: usize = 8 << 10;
/// Bytes of all warnings of a deployment. Prevents: both of the above.
pub const WARNINGS_BYTES: usize = 8 << 10;
/// Bytes of a text that another text says in full: why a host could not be put back, or an event's end in the history
/// beside the deployment's end.
pub const NOTE_BYTES: usize = 1 << 10;
/// Bytes of a message that was shortened to make room.
const OLD_MESSAGE_BYTES: usize = 256;
/// Bytes of a request. Prevents: a path or an address of a hundred kilobytes.
const REQUEST_BYTES: usize = 16 << 10;
/// Bytes of a revision's hooks, their environments and health checks. Prevents: an appspec of a megabyte in the state.
const REVISION_BYTES: usize = 128 << 10;

/// Bytes that a running deployment may add until its end, after all its texts have made way.
const TO_GO_ON: usize = 16 << 10;
/// Bytes for everything outside deployments: pending records of the history, the journals of lifecycle, signals,
/// traffic and machine events, the reports of commands.
const OF_THE_HOST: usize = 320 << 10;

/// Bytes of a value as JSON.
pub fn bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // JSON can hold every state; a value that it refused would not be written either.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Refuses a request with more text than the state has room for.
pub(super) fn admit_request(request: &Request) -> Result<(), Refusal> {
    let bytes = bytes(request);
    if bytes > REQUEST_BYTES { Err(Refusal::RequestTooLong { bytes, most: REQUEST_BYTES }) } else { Ok(()) }
}

/// Refuses a command with more text than the state has room for.
pub(super) fn admit_order(order: &Order) -> Result<(), WorkFailure> {
    let bytes = bytes(order);
    if bytes <= REQUEST_BYTES + REVISION_BYTES {
        return Ok(());
    }
    let most = REQUEST_BYTES + REVISION_BYTES;
    let message = format!(
        "the command with its scripts and their environments takes {bytes} bytes of the agent's state, and may take {most}: \
         shorten them, or have a script read its settings from a file of the bundle"
    );
    Err(WorkFailure::other(message))
}

/// Refuses a bundle whose hooks and health checks do not fit; `state` is the state without the deployment.
pub(super) fn admit_revision(state: &State, deployment: &Deployment, room: usize) -> Result<(), WorkFailure> {
    let of_revision = bytes(&deployment.steps) + bytes(&deployment.health);
    let message = if of_revision > REVISION_BYTES {
        format!(
            "the hooks of the appspec (and those of the revision that is on the host) with their environments and the health \
             checks take {of_revision} bytes of the agent's state, and may take {REVISION_BYTES}: shorten them, or have a \
             script read its settings from a file of the bundle"
        )
    } else if let Err(full) = has_room(state, bytes(deployment) + to_end(deployment), room) {
        format!("the hooks and health checks of the appspec do not fit: {full}")
    } else {
        return Ok(());
    };
    Err(WorkFailure::other(message))
}

/// Refuses a new deployment when the state has no room for it and for the ends of all running ones.
pub(super) fn leaves_room(state: &State, room: usize) -> Result<(), Refusal> {
    has_room(state, 0, room)
}

fn has_room(state: &State, more: usize, room: usize) -> Result<(), Refusal> {
    let to_end: usize = state.all_active().map(|(_, deployment)| to_end(deployment)).sum();
    let reserved = more + OF_THE_HOST + to_end;
    let fits = |bytes: usize| bytes + reserved <= room;
    if fits(bytes(state)) {
        return Ok(());
    }
    // Only now is a copy worth it.
    let mut least = state.clone();
    least.history = Default::default();
    fit(&mut least, 0);
    let bytes = bytes(&least);
    if fits(bytes) { Ok(()) } else { Err(Refusal::NoRoom { bytes, room, groups: state.groups.len() }) }
}

/// Bytes that a deployment may add to the state until and at its end: its own record, and the entries it leaves as the
/// installed revision, the last good one, and the one before the next.
fn to_end(deployment: &Deployment) -> usize {
    TO_GO_ON + 3 * bytes(&deployment.to_installed(0))
}

/// A text that another text says in full, as the state keeps it.
pub fn note(text: &str) -> String {
    bounded(text, NOTE_BYTES, "")
}

/// A failure, as the state keeps it.
pub(super) fn failure(failure: WorkFailure) -> WorkFailure {
    WorkFailure { message: bounded(&failure.message, MESSAGE_BYTES, ""), ..failure }
}

/// The last lines of output, as the state keeps them.
pub(super) fn tail(lines: Vec<String>) -> Vec<String> {
    newest_lines(lines, TAIL_BYTES)
}

/// Adds warnings (already bounded) to a deployment's, or counts them when the kept ones take all of their room.
pub(super) fn keep_warnings(deployment: &mut Deployment, messages: &[String]) {
    // Serialize the kept ones once and not for each message: a bundle may lead to thousands.
    let mut taken = bytes(&deployment.warnings);
    for message in messages {
        let comma = usize::from(!deployment.warnings.is_empty());
        let more = bytes(message) + comma;
        if taken + more > WARNINGS_BYTES {
            deployment.warnings_left_out = deployment.warnings_left_out.saturating_add(1);
        } else {
            taken += more;
            deployment.warnings.push(message.clone());
        }
    }
}

/// Removes the texts that only a group's newest deployments keep.
pub(super) fn forget_texts(deployment: &mut Deployment) {
    clear_tail(deployment);
    clear_warnings(deployment);
}

/// Makes the state fit in `room` bytes as JSON. Tails of ended deployments go first, oldest deployment first; then
/// their warnings; their messages except for the beginning; reports that the CodeDeploy service has accepted; their
/// scripts; and the deployments themselves, except for each group's newest and those whose files are on the host. Then
/// go the texts of running deployments, undelivered reports except for how they ended, and groups that left nothing on
/// the host. Returns whether anything went.
///
/// Only texts for people go: the agent forgets nothing that is on the host and gives up nothing that runs.
pub fn fit(state: &mut State, room: usize) -> bool {
    let before = bytes(state);
    let mut excess = before.saturating_sub(room);
    if excess == 0 {
        return false;
    }
    for shorten in [clear_tail, clear_warnings, shorten_message] {
        shed_of_finished(state, &mut excess, shorten);
    }
    shed_reports(state, &mut excess, |stage| matches!(stage, CommandStage::Reported(_)));
    shed_of_finished(state, &mut excess, clear_scripts);
    forget_oldest(state, &mut excess);
    for active in state.groups.values_mut().filter_map(|group| group.active.as_mut()) {
        for shorten in [clear_tail, clear_warnings, shorten_message] {
            shed(active, &mut excess, shorten);
        }
    }
    shed_reports(state, &mut excess, |stage| matches!(stage, CommandStage::Ended(_)));
    if excess > 0 {
        state.groups.retain(|_, group| !left_nothing(group));
    }
    true
}

fn clear_tail(deployment: &mut Deployment) {
    deployment.failure.iter_mut().for_each(|failure| failure.tail.clear());
}

fn clear_warnings(deployment: &mut Deployment) {
    deployment.warnings_left_out += deployment.warnings.len() as u64;
    deployment.warnings.clear();
}

fn shorten_message(deployment: &mut Deployment) {
    let shorten = |message: &mut String| *message = bounded(message, OLD_MESSAGE_BYTES, "");
    deployment.failure.iter_mut().for_each(|failure| shorten(&mut failure.message));
    let fault = deployment.commanded.as_mut().and_then(|commanded| commanded.fault.as_mut());
    fault.into_iter().for_each(|fault| shorten(&mut fault.message));
}

fn clear_scripts(deployment: &mut Deployment) {
    if deployment.commanded.is_some() {
        // The CodeDeploy service may ask for its events again, and their scripts need unused run directories.
        return;
    }
    deployment.steps.iter_mut().for_each(|step| step.scripts = Vec::new());
}

fn shed<T: Serialize>(from: &mut T, excess: &mut usize, shorten: impl FnOnce(&mut T)) {
    if *excess > 0 {
        let before = bytes(from);
        shorten(from);
        *excess = excess.saturating_sub(before.saturating_sub(bytes(from)));
    }
}

/// Shortens ended deployments, oldest first, until the excess is gone.
fn shed_of_finished(state: &mut State, excess: &mut usize, shorten: fn(&mut Deployment)) {
    let mut finished: Vec<&mut Deployment> = state.groups.values_mut().flat_map(|group| &mut group.finished).collect();
    finished.sort_by_key(|deployment| deployment.finished_ms);
    finished.into_iter().for_each(|deployment| shed(deployment, excess, shorten));
}

fn shed_reports(state: &mut State, excess: &mut usize, of: fn(&CommandStage) -> bool) {
    let taken_away = Report::failed("what it said is not kept any more: the agent's state had no more room for it");
    for command in state.service.commands.iter_mut().filter(|command| of(&command.stage)) {
        shed(&mut command.stage, excess, |stage| match stage {
            CommandStage::Ended(report) | CommandStage::Reported(report) => match report.status {
                CommandStatus::Failed if report.payload.len() > taken_away.payload.len() => {
                    *report = taken_away.clone()
                }
                CommandStatus::Failed => {}
                _ => *report = Report::succeeded(""),
            },
            CommandStage::Received(_) | CommandStage::Accepted(_) | CommandStage::CarriedOut(_) => {}
        });
    }
}

/// Forgets ended deployments, oldest first, until the excess is gone; no later decision needs them.
fn forget_oldest(state: &mut State, excess: &mut usize) {
    let mut oldest: Vec<(Option<u64>, String, crate::ids::DeploymentId)> = Vec::new();
    for (key, group) in &state.groups {
        let of_use = in_use(group);
        let old = group.finished.iter().rev().skip(1).filter(|deployment| !of_use.contains(&deployment.id));
        oldest.extend(old.map(|deployment| (deployment.finished_ms, key.clone(), deployment.id.clone())));
    }
    oldest.sort();
    for (_, key, id) in oldest {
        if let Some(group) = state.groups.get_mut(&key) {
            shed(&mut group.finished, excess, |finished| finished.retain(|deployment| deployment.id != id));
        }
    }
}

/// Whether a group has left no trace.
fn left_nothing(group: &Group) -> bool {
    in_use(group).is_empty()
        && group.active.is_none()
        && group.following.highest.is_none()
        && group.following.keys.is_none()
}

/// The caller's name, as the state keeps it.
pub(super) fn asked_by(name: &str) -> String {
    head_that_fits(name, OLD_MESSAGE_BYTES).to_owned()
}
