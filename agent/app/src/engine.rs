//! The engine loop: the only writer of state.
//!
//! The loop waits for one event, steps, persists, and only then starts the effects and tells the watchers.

mod records;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_core::hook::{HookOutcome, HookResult};
use hostler_core::ids::{DeploymentId, InstanceId};
use hostler_core::machine::event::{StillOpen, WorkFailure};
use hostler_core::machine::{self, Effect, Event, Moment, Progress, Refusal, State, Work, WorkResult};
use hostler_core::traffic::{TrafficPhase, Withdrawal};
use hostler_host::clock;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::ports::{Installs, Job, StateStore, Worker};
use crate::tasks::{Panicked, caught};
use crate::transfers::Transfers;

/// How far a slow watcher can fall behind before it misses progress.
const PROGRESS_BACKLOG: usize = 256;

enum Message {
    Event(Box<Event>, oneshot::Sender<Result<(), Refusal>>),
    Drain,
    LeaveWhenIdle,
    Turn(oneshot::Sender<()>),
}

/// A handle to a running engine.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Message>,
    state: watch::Receiver<Arc<State>>,
    progress: broadcast::Sender<Progress>,
    transfers: Transfers,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The state machine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine is gone.
    #[error("the agent is stopping and takes no requests")]
    Stopping,
}

impl Handle {
    /// Sends a request to the engine; the answer comes once the state with the decision is durable.
    ///
    /// # Errors
    /// When the engine refuses it or has ended.
    pub async fn ask(&self, event: Event) -> Result<(), AskError> {
        let (answer, wait) = oneshot::channel();
        let sent = self.inbox.send(Message::Event(Box::new(event), answer)).await;
        sent.map_err(|_| AskError::Stopping)?;
        Ok(wait.await.map_err(|_| AskError::Stopping)??)
    }

    /// Ends the engine once the effects in progress, except hooks, have ended. Hooks outlive the engine.
    pub async fn drain(&self) {
        // An engine that has ended needs no drain.
        let _ = self.inbox.send(Message::Drain).await;
    }

    /// Ends the engine as soon as no deployment is active; until then it goes on as before.
    pub async fn leave_when_idle(&self) {
        // An engine that has ended has left.
        let _ = self.inbox.send(Message::LeaveWhenIdle).await;
    }

    /// Waits until the loop has turned once: it took this message, and with it all earlier ones.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn turn(&self) -> Result<(), AskError> {
        let (answer, wait) = oneshot::channel();
        self.inbox.send(Message::Turn(answer)).await.map_err(|_| AskError::Stopping)?;
        wait.await.map_err(|_| AskError::Stopping)
    }

    /// A receiver of the state: its current value and all changes.
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// A receiver of the progress from now on.
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What goes on in a deployment at the moment.
    pub fn moment(&self, deployment: &DeploymentId) -> Moment {
        let transferred = self.transfers.of(deployment);
        let state = self.state.borrow();
        state.active(deployment).map_or_else(Moment::default, |(_, active)| Moment::of(active, transferred))
    }
}

/// The identity of this agent, which is part of every history record.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This host.
    pub host: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The agent's version.
    pub agent_version: String,
}

/// The loop with everything it owns.
pub struct Engine<K, W> {
    state: State,
    state_store: K,
    worker: Arc<W>,
    identity: Identity,
    inbox: mpsc::Receiver<Message>,
    finished: mpsc::Receiver<(u64, WorkResult)>,
    results: mpsc::Sender<(u64, WorkResult)>,
    watchers: watch::Sender<Arc<State>>,
    progress: broadcast::Sender<Progress>,
    transfers: Transfers,
    draining: bool,
    leave_when_idle: bool,
}

impl<K: StateStore, W: Worker> Engine<K, W> {
    /// A new engine, which does not run yet, and its handle.
    pub fn new(mut state: State, state_store: K, worker: Arc<W>, identity: Identity) -> (Self, Handle) {
        machine::take_up(&mut state);
        let (inbox_sender, inbox) = mpsc::channel(16);
        let (results, finished) = mpsc::channel(16);
        let (watchers, watcher) = watch::channel(Arc::new(state.clone()));
        let (progress, _) = broadcast::channel(PROGRESS_BACKLOG);
        let transfers = Transfers::default();
        let (shown, progress_of) = (transfers.clone(), progress.clone());
        let handle = Handle { inbox: inbox_sender, state: watcher, progress: progress_of, transfers: shown };
        let engine = Self {
            state,
            state_store,
            worker,
            identity,
            inbox,
            finished,
            results,
            watchers,
            progress,
            transfers,
            draining: false,
            leave_when_idle: false,
        };
        (engine, handle)
    }

    /// Resumes the work in the ledger and runs until the engine is drained or its handles are gone. Returns the store,
    /// which holds the state's lock.
    ///
    /// # Errors
    /// When the state cannot be persisted. Work that is not in the ledger never begins.
    pub async fn run(mut self) -> anyhow::Result<K> {
        for effect in machine::resume(&self.state) {
            records::taken_up_again(&effect, &self.state);
            self.start(effect);
        }
        self.step(Event::Proceed, None)?;
        loop {
            tokio::select! {
                Some((effect, result)) = self.finished.recv() => {
                    self.step(Event::Finished { effect, result: Box::new(result) }, None)?;
                }
                message = self.inbox.recv() => match message {
                    // Dropping the sender tells the caller that the agent is stopping.
                    Some(Message::Event(..)) if self.draining => {}
                    Some(Message::Event(event, answer)) => self.step(*event, Some(answer))?,
                    // The caller may be gone.
                    Some(Message::Turn(answer)) => answer.send(()).unwrap_or_default(),
                    Some(Message::LeaveWhenIdle) => self.leave_when_idle = true,
                    Some(Message::Drain) | None => self.draining = true,
                },
                () = due(&self.state), if !self.draining => self.step(Event::Proceed, None)?,
            }
            let idle = !self.state.is_busy() && self.state.machine_events.queue.is_empty();
            let going_on = self.state.all_active().filter(|(_, d)| d.waits_to_be_undone().is_none());
            let mut in_flight = going_on.filter_map(|(_, d)| d.in_flight.as_ref());
            let drained = in_flight.all(|effect| effect.work.outlives_the_agent());
            if (self.draining && drained) || (self.leave_when_idle && idle) {
                return Ok(self.state_store);
            }
        }
    }

    fn step(&mut self, event: Event, answer: Option<oneshot::Sender<Result<(), Refusal>>>) -> anyhow::Result<()> {
        let context = machine::Context {
            now_ms: clock::now_ms(),
            since_boot_ms: clock::since_boot_ms(),
            fresh: clock::fresh_deployment_id().context("no randomness for a deployment id")?,
            host: self.identity.host.clone(),
            boot_id: self.identity.boot_id.clone(),
            agent_version: self.identity.agent_version.clone(),
            draining: self.draining,
            room: self.state_store.room(),
        };
        let stepped = machine::step(self.state.clone(), event, &context);
        if stepped.state != self.state {
            self.state = stepped.state;
            let settled = stepped.progress.iter().any(|p| matches!(p, Progress::Finished { .. }));
            self.state_store.persist(&mut self.state, settled)?;
            self.watchers.send_replace(Arc::new(self.state.clone()));
        }
        for progress in stepped.progress {
            records::note(&progress, &self.state);
            // There may be no watcher.
            let _ = self.progress.send(progress);
        }
        for effect in stepped.effects {
            self.start(effect);
        }
        if let Some(answer) = answer {
            // The caller may be gone.
            let _ = answer.send(stepped.reply);
        }
        Ok(())
    }

    fn start(&mut self, effect: Effect) {
        let (worker, results) = (Arc::clone(&self.worker), self.results.clone());
        let puts_back = |w: &Withdrawal| w.in_flight.as_ref().is_some_and(|put_back| put_back.number == effect.number);
        if let Some(withdrawal) = self.state.traffic.clone().filter(puts_back) {
            tokio::spawn(async move {
                let result = caught(worker.put_back(withdrawal)).await;
                let result = result.unwrap_or_else(|panicked| WorkResult::TrafficMoved(Err(fault(&panicked))));
                // When this engine has ended, the next one resumes the effect.
                let _ = results.send((effect.number, result)).await;
            });
            return;
        }
        let found = self.state.all_active().find(|(_, d)| d.in_flight.as_ref() == Some(&effect));
        let Some((group, deployment)) = found else { return };
        let withdrawal = self.state.traffic.clone();
        let others = Installs::of_others(&self.state, &group.key);
        let meter = self.transfers.begin(&deployment.id);
        let watchers = self.progress.clone();
        let job =
            Job { deployment: deployment.clone(), group: group.clone(), others, withdrawal, effect, meter, watchers };
        tokio::spawn(async move {
            let (number, work, deployment) = (job.effect.number, job.effect.work.clone(), job.deployment.id.clone());
            let result = caught(worker.perform(job)).await;
            let result = result.unwrap_or_else(|panicked| failed(deployment, &work, &panicked));
            // When this engine has ended, the next one resumes the effect.
            let _ = results.send((number, result)).await;
        });
    }
}

/// The result of an effect that panicked: the effect has failed. An Install may have stopped anywhere, so its journal
/// settles it first, as after a crash.
fn failed(deployment: DeploymentId, work: &Work, panicked: &Panicked) -> WorkResult {
    let failure = fault(panicked);
    match work {
        Work::Prepare => WorkResult::Prepared(Err(failure)),
        Work::CheckBundle => WorkResult::Checked { fault: Some(failure), warnings: Vec::new() },
        Work::RunHook { .. } => {
            let (outcome, now) = (HookOutcome::could_not_start(failure.message), clock::now_ms());
            WorkResult::Hook(HookResult::without_output(outcome, now, now))
        }
        Work::Install => {
            let (why, cause) = (failure.message.clone(), Some(failure));
            WorkResult::NotUndone(StillOpen { journal: deployment, why, cause })
        }
        Work::Probe { .. } => WorkResult::Probed(Err(failure)),
        Work::Traffic { phase: TrafficPhase::Look } => WorkResult::TrafficFound(Err(failure)),
        Work::Traffic { .. } => WorkResult::TrafficMoved(Err(failure)),
        Work::Reboot => WorkResult::Rebooted(Err(failure)),
        Work::Finish { .. } => WorkResult::Finished { warnings: vec![failure.message] },
    }
}

fn fault(panicked: &Panicked) -> WorkFailure {
    WorkFailure::other(panicked)
}

/// Waits until the next time at which the state machine must act without an effect's end; forever where there is none.
async fn due(state: &State) {
    let Some(at_ms) = state.next_due_ms() else { return std::future::pending().await };
    // An overdue step that has not begun waits for another effect's end.
    let wait = Duration::from_millis(at_ms.saturating_sub(clock::now_ms()));
    // After a clock was set back, a due time may be far away.
    tokio::time::sleep(wait.clamp(Duration::from_secs(1), Duration::from_secs(60))).await;
}

#[cfg(test)]
pub mod doubles;
#[cfg(test)]
mod tests;
