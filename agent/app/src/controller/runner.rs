//! The loop of every controller: wait for a change, look, reconcile.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

use hostler_core::machine::State;
use hostler_core::status::Health;
use hostler_host::clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Controller, View, Wake};
use crate::setup::SetupWatch;
use crate::tasks::kept;

/// What views are made of.
#[derive(Debug, Clone)]
pub struct Sources {
    setup_watch: SetupWatch,
    state: watch::Receiver<Arc<State>>,
    health: watch::Receiver<Health>,
}

impl Sources {
    /// The configuration, the engine's state and the results of the health checks.
    pub fn new(setup_watch: SetupWatch, state: watch::Receiver<Arc<State>>, health: watch::Receiver<Health>) -> Self {
        Self { setup_watch, state, health }
    }

    /// The host as it is now. Only later changes count as changes.
    pub fn view(&mut self) -> View {
        View {
            state: Arc::clone(&self.state.borrow_and_update()),
            health: self.health.borrow_and_update().clone(),
            setup: self.setup_watch.update(),
            now: Instant::now(),
            now_ms: clock::now_ms(),
        }
    }

    /// Waits until the controller is to be called again. Returns false when the engine has ended.
    async fn wait(&mut self, wake: Wake, own_change: impl Future<Output = ()>) -> bool {
        let mut own_change = pin!(own_change);
        loop {
            let (changed, counts) = tokio::select! {
                changed = self.state.changed() => (changed, wake.state),
                changed = self.health.changed() => (changed, wake.health),
                () = self.setup_watch.changed() => (Ok(()), true),
                () = due(wake.at) => (Ok(()), true),
                () = &mut own_change => (Ok(()), true),
            };
            if changed.is_err() || counts {
                return changed.is_ok();
            }
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// Starts a controller's task. It ends with the engine, or when it is aborted; if the controller panics, a new one
/// begins after a wait.
pub fn start<C: Controller + 'static>(
    sources: &Sources,
    mut begin: impl FnMut() -> C + Send + 'static,
) -> JoinHandle<()> {
    let sources = sources.clone();
    tokio::spawn(kept(C::NAME, move || run(sources.clone(), begin())))
}

async fn run<C: Controller>(mut sources: Sources, mut controller: C) {
    loop {
        let view = sources.view();
        let wake = controller.reconcile(&view).await;
        // Held over the wait, it would keep a state of a hundred thousand files in memory.
        drop(view);
        if !sources.wait(wake, controller.own_change()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
