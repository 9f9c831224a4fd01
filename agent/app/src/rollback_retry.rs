//! Retries a rollback that had no space: at the daemon's start, and from time to time once there is room.

use std::sync::Arc;
use std::time::Duration;

use hostler_core::ids::GroupKey;
use hostler_core::machine::{Event, State, again_at_ms};
use hostler_host::{clock, reserve};
use tokio::sync::watch;

use crate::engine::{AskError, Handle};
use crate::setup::SetupWatch;

/// Longer than any wait between two tries, milliseconds.
const MOST_WAIT_MS: u64 = 3_600_000;

/// Time between two checks for room.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Retries for as long as the engine runs.
pub async fn retry(setup_watch: SetupWatch, handle: Handle) {
    let mut state = handle.state();
    // The start itself is an occasion: an administrator may have freed space and restarted the agent.
    let mut at_once = true;
    loop {
        let due = earliest(&state.borrow_and_update());
        let Some((at_ms, key)) = due else {
            at_once = false;
            if state.changed().await.is_err() {
                return;
            }
            continue;
        };
        let now = clock::now_ms();
        // A time further away than any wait was set by a clock that has been set back since.
        let is_due = at_once || now >= at_ms || at_ms - now > MOST_WAIT_MS;
        // Each try writes records, and a full disk has no room for them.
        if is_due && reserve::has_room(setup_watch.now().layout.state()).unwrap_or(true) {
            at_once = false;
            if let Err(error) = ask(&handle, key).await {
                log::warn!("the rollback is not tried again: {error}");
            }
        }
        if wait(&mut state, at_ms.saturating_sub(now)).await.is_err() {
            return;
        }
    }
}

async fn ask(handle: &Handle, key: GroupKey) -> Result<(), AskError> {
    let id = clock::fresh_deployment_id().map_err(|_| AskError::Stopping)?;
    handle.ask(Event::RollbackAgain { id, key }).await
}

/// Waits until the state changes, or until it is time to look again: in `due_ms` milliseconds, or when there may be
/// room.
async fn wait(state: &mut watch::Receiver<Arc<State>>, due_ms: u64) -> Result<(), watch::error::RecvError> {
    let pause = if due_ms == 0 { LOOK_AGAIN } else { LOOK_AGAIN.min(Duration::from_millis(due_ms)) };
    tokio::select! {
        changed = state.changed() => changed,
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

/// The rollback to retry first, and when, in milliseconds since 1970.
fn earliest(state: &State) -> Option<(u64, GroupKey)> {
    let waiting = state.groups.values().filter_map(|group| Some((again_at_ms(group)?, &group.key)));
    waiting.min_by_key(|(at_ms, _)| *at_ms).map(|(at_ms, key)| (at_ms, key.clone()))
}
