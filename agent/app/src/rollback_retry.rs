//! Retries a rollback that had no space: at the daemon's start, and from time to time once there is room.

use std::time::Duration;

use hostler_core::ids::GroupKey;
use hostler_core::machine::{Event, State, again_at_ms};
use hostler_host::{clock, reserve};

use crate::controller::{Controller, LogOnce, View, Wake};
use crate::engine::{AskError, Handle};
use crate::setup::Setup;

/// Longer than any wait between two tries, milliseconds.
const MOST_WAIT_MS: u64 = 3_600_000;

/// Time between two checks for room.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a retry needs of this host.
pub trait Rollbacks: Send + Sync {
    /// The rollback to retry first, and when, in milliseconds since 1970.
    fn earliest(&self, state: &State) -> Option<(u64, GroupKey)>;

    /// Whether the disk has room for a try.
    fn has_room(&self, setup: &Setup) -> bool;

    /// Asks the engine to try again.
    fn again(&self, key: GroupKey) -> impl Future<Output = Result<(), AskError>> + Send;
}

/// Retries for as long as the engine runs.
#[derive(Debug)]
pub struct RollbackRetry<R = OfHost> {
    rollbacks: R,
    /// The start itself is an occasion: an administrator may have freed space and restarted the agent.
    at_once: bool,
    log: LogOnce,
}

impl RollbackRetry {
    /// A start.
    pub fn new(handle: Handle) -> Self {
        Self::of(OfHost { handle })
    }
}

impl<R: Rollbacks> Controller for RollbackRetry<R> {
    const NAME: &'static str = "rollbacks that wait";

    async fn reconcile(&mut self, view: &View) -> Wake {
        let Some((at_ms, key)) = self.rollbacks.earliest(&view.state) else {
            self.at_once = false;
            self.log.ends();
            return Wake::on_state();
        };
        let now_ms = view.now_ms;
        // A time further away than any wait was set by a clock that has been set back since.
        let is_due = self.at_once || now_ms >= at_ms || at_ms - now_ms > MOST_WAIT_MS;
        // Each try writes records, and a full disk has no room for them.
        if is_due && self.rollbacks.has_room(&view.setup) {
            self.at_once = false;
            self.again(key).await;
        }
        let due = Duration::from_millis(at_ms.saturating_sub(now_ms));
        Wake::on_state().after(if due.is_zero() { LOOK_AGAIN } else { LOOK_AGAIN.min(due) })
    }
}

impl<R: Rollbacks> RollbackRetry<R> {
    fn of(rollbacks: R) -> Self {
        Self { rollbacks, at_once: true, log: LogOnce::default() }
    }

    async fn again(&mut self, key: GroupKey) {
        match self.rollbacks.again(key).await {
            Ok(()) => _ = self.log.ends(),
            Err(error) if self.log.differs(&error.to_string()) => {
                log::warn!("the rollback is not tried again: {error}");
            }
            Err(_) => {}
        }
    }
}

/// The engine and the disk.
#[derive(Debug)]
pub struct OfHost {
    handle: Handle,
}

impl Rollbacks for OfHost {
    fn earliest(&self, state: &State) -> Option<(u64, GroupKey)> {
        earliest(state)
    }

    fn has_room(&self, setup: &Setup) -> bool {
        reserve::has_room(setup.layout.state()).unwrap_or(true)
    }

    async fn again(&self, key: GroupKey) -> Result<(), AskError> {
        let id = clock::fresh_deployment_id().map_err(|_| AskError::Stopping)?;
        self.handle.ask(Event::RollbackAgain { id, key }).await
    }
}

/// The rollback to retry first, and when, in milliseconds since 1970.
fn earliest(state: &State) -> Option<(u64, GroupKey)> {
    let waiting = state.groups.values().filter_map(|group| Some((again_at_ms(group)?, &group.key)));
    waiting.min_by_key(|(at_ms, _)| *at_ms).map(|(at_ms, key)| (at_ms, key.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::test_support::{Host, listen, logged, setup};

    /// One rollback that waits until `at_ms`.
    #[derive(Default)]
    struct Faked {
        at_ms: Mutex<Option<u64>>,
        is_full: AtomicBool,
        refusals: Mutex<VecDeque<AskError>>,
        asked: Mutex<u32>,
    }

    fn key() -> GroupKey {
        GroupKey::new("web".parse().unwrap(), "blue".parse().unwrap())
    }

    impl Rollbacks for &Faked {
        fn earliest(&self, _: &State) -> Option<(u64, GroupKey)> {
            self.at_ms.lock().unwrap().map(|at_ms| (at_ms, key()))
        }

        fn has_room(&self, _: &Setup) -> bool {
            !self.is_full.load(Ordering::SeqCst)
        }

        async fn again(&self, asked: GroupKey) -> Result<(), AskError> {
            assert_eq!(asked, key());
            *self.asked.lock().unwrap() += 1;
            self.refusals.lock().unwrap().pop_front().map_or(Ok(()), Err)
        }
    }

    struct Retrying<'f> {
        faked: &'f Faked,
        controller: RollbackRetry<&'f Faked>,
        host: Host,
    }

    impl<'f> Retrying<'f> {
        fn of(faked: &'f Faked) -> Self {
            let host = Host::new(setup("/nowhere".as_ref(), ""));
            Self { faked, controller: RollbackRetry::of(faked), host }
        }

        /// Looks at this time of the host's clock; returns the tries so far, and when the next look is.
        async fn at(&mut self, now_ms: u64) -> (u32, Wake) {
            let view = View { now_ms, ..self.host.view() };
            let wake = self.controller.reconcile(&view).await;
            (*self.faked.asked.lock().unwrap(), wake)
        }
    }

    fn after(seconds: u64) -> Wake {
        Wake::on_state().at(Instant::now() + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollback_is_tried_at_the_start_and_then_when_it_is_due_and_there_is_room() {
        let faked = Faked { at_ms: Mutex::new(Some(100_000)), ..Faked::default() };
        let mut retrying = Retrying::of(&faked);
        assert_eq!(retrying.at(40_000).await, (1, after(15)), "at the start, before it is due");
        assert_eq!(retrying.at(55_000).await, (1, after(15)), "once");
        assert_eq!(retrying.at(91_000).await, (1, after(9)));
        faked.is_full.store(true, Ordering::SeqCst);
        assert_eq!(retrying.at(100_000).await, (1, after(15)), "without room");
        faked.is_full.store(false, Ordering::SeqCst);
        assert_eq!(retrying.at(115_000).await, (2, after(15)));
        *faked.at_ms.lock().unwrap() = None;
        assert_eq!(retrying.at(130_000).await, (2, Wake::on_state()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_does_not_hold_a_rollback_back() {
        let faked = Faked::default();
        let mut retrying = Retrying::of(&faked);
        assert_eq!(retrying.at(0).await, (0, Wake::on_state()), "the start is over");
        *faked.at_ms.lock().unwrap() = Some(MOST_WAIT_MS + 10);
        assert_eq!(retrying.at(10).await, (0, after(15)));
        assert_eq!(retrying.at(9).await, (1, after(15)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_once_and_tried_again() {
        listen();
        let faked = Faked { at_ms: Mutex::new(Some(0)), ..Faked::default() };
        faked.refusals.lock().unwrap().extend([AskError::Stopping, AskError::Stopping]);
        let mut retrying = Retrying::of(&faked);
        for tries in 1..=3 {
            assert_eq!(retrying.at(1).await.0, tries);
        }
        let logged = logged();
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert!(logged[0].starts_with("WARN: the rollback is not tried again"), "{logged:?}");
    }
}
