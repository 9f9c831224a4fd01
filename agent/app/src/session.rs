//! An engine in this process: the ledger opened and locked, the worker and the loop started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey, InstanceId};
use hostler_core::machine::{Event, State};
use hostler_host::{clock, socket};
use tokio::task::JoinHandle;

use crate::access;
use crate::codedeploy::exposure;
use crate::control::listening::ControlSocket;
use crate::control::server_context::ServerContext;
use crate::controller::{self, Sources};
use crate::engine::{AskError, Engine, Handle, Identity};
use crate::failure::{Failure, Outcome};
use crate::health::HealthWatch;
use crate::identity::{self, IdentitySource};
use crate::interrupted::{Found, Interrupts, leave_off};
use crate::machine_events::{self, Runner};
use crate::output;
use crate::progress::Printer;
use crate::seal;
use crate::setup::{Setup, SetupWatch};
use crate::state_file::LockedState;
use crate::state_store::LedgerAndHistory;
use crate::wings;
use crate::work::{HostWorker, unsettled};

/// A running engine in this process. It holds the state's lock until it is closed.
#[derive(Debug)]
pub struct Session {
    /// The control socket to it.
    pub handle: Handle,
    /// The results of the health checks.
    pub health_watch: HealthWatch,
    /// `None` once its end was seen.
    engine: Option<JoinHandle<anyhow::Result<()>>>,
    control: ControlSocket,
}

/// How long peers at the control socket may take to read their last answers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// Takes the lock, opens the control socket, finds out which host this is and starts the engine.
    ///
    /// # Errors
    /// Lock held when another process has the state; failed when the ledger is damaged or the host's name is unknown;
    /// refused in the CodeDeploy agent's place if other users may change the agent's directories, because the agent
    /// would obey their journals.
    pub async fn open(setup: &Arc<Setup>) -> Result<Self, Failure> {
        setup.must_be_read()?;
        if let Some(compat) = &setup.codedeploy_compat {
            exposure::refuse_exposed(setup, compat)?;
        }
        let hold = LockedState::take(setup)?;
        let setup_watch = SetupWatch::fixed(Arc::clone(setup));
        let control = ControlSocket::open(&hold, &setup_watch, ServerContext::default())?;
        let instance = match identity::find(setup, hold.state.instance.as_ref())? {
            IdentitySource::Known(instance) => instance,
            IdentitySource::Ask(imds) => identity::ask(&imds).await.map_err(identity::failure)?,
        };
        Self::start(hold, control, &setup_watch, instance)
    }

    /// Starts the engine behind an open control socket; interrupted work resumes at once.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn start(
        mut hold: LockedState,
        control: ControlSocket,
        setup_watch: &SetupWatch,
        instance: InstanceId,
    ) -> Result<Self, Failure> {
        let setup = setup_watch.now();
        unsettled::confirm_all(&setup, hold.state.groups.values())?;
        access::rename_group_directories(&setup, &hold.state);
        access::tighten(&setup, &hold.state);
        let identity = Identity {
            host: instance.clone(),
            boot_id: clock::boot_id(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        seal::forget_another_host(&setup, &mut hold, &identity)?;
        let LockedState { ledger, mut state } = hold;
        state.instance = Some(instance.clone());
        let store = LedgerAndHistory::open(ledger, &mut state, &identity, &setup.limits)?;
        let health_watch = control.health_watch.clone();
        state.machine_events.present = machine_events::present(&setup);
        let worker = HostWorker::new(setup_watch.clone(), instance.clone(), health_watch.clone(), wings::ALL)?;
        let (launcher, program) = worker.means();
        let (engine, handle) = Engine::new(state, store, Arc::new(worker), identity);
        control.attach_engine(handle.clone());
        let runner = Runner::new(handle.clone(), instance, launcher, program);
        let sources = Sources::new(setup_watch.clone(), handle.state(), health_watch.watch());
        // Ends with the engine, whose state it follows.
        controller::start(&sources, move || runner.clone());
        let socket = setup.layout.socket().to_owned();
        let engine = async move {
            // As long as this process holds the lock, the socket is its own: afterwards it may be the next process's.
            let _lock = engine.run().await?;
            socket::remove(&socket);
            Ok(())
        };
        Ok(Self { handle, health_watch, engine: Some(tokio::spawn(engine)), control })
    }

    /// Ends the engine after its current step. Running hooks outlive it.
    ///
    /// # Errors
    /// When the engine had ended because the state could not be persisted.
    pub async fn drain(&mut self) -> Result<(), Failure> {
        self.handle.drain().await;
        self.close().await
    }

    /// Ends the engine once every deployment has ended, including those that came through the control socket meanwhile.
    ///
    /// # Errors
    /// When the engine had ended because the state could not be persisted.
    pub async fn leave(&mut self) -> Result<(), Failure> {
        self.handle.leave_when_idle().await;
        self.close().await
    }

    async fn close(&mut self) -> Result<(), Failure> {
        let ended = self.ended().await;
        self.control.close(CLOSE_TIMEOUT).await;
        ended
    }

    /// Waits until the engine ends by itself, which it does only when it cannot go on.
    ///
    /// # Errors
    /// The reason, on the first call.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let ended = engine.await.context("the engine panicked");
        self.engine = None;
        Ok(ended??)
    }

    /// Waits until no deployment is active and none waits for the setup of a new instance.
    ///
    /// # Errors
    /// When the engine ends before.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        self.wait_for(|state| !state.is_busy() && !state.machine_events.sets_up()).await
    }

    /// Waits until a deployment of this group can begin, or is refused because an Install cannot be undone yet. Other
    /// groups do not matter.
    ///
    /// # Errors
    /// When the engine ends before.
    pub async fn settle_group(&mut self, key: &GroupKey) -> Result<(), Failure> {
        let id = key.id();
        let is_free = |state: &Arc<State>| {
            let active = state.groups.get(&id).and_then(|group| group.active.as_ref());
            active.is_none_or(|active| active.waits_for_command() || active.waits_to_be_undone().is_some())
        };
        self.wait_for(|state| is_free(state) && !state.machine_events.sets_up()).await
    }

    async fn wait_for(&mut self, is_met: impl FnMut(&Arc<State>) -> bool) -> Result<(), Failure> {
        let mut state = self.handle.state();
        if state.wait_for(is_met).await.is_err() {
            self.ended().await?;
        }
        Ok(())
    }

    /// Runs `work` with the session and leaves it. If the process is asked to stop meanwhile, it ends after the current
    /// step; if asked again, at once. Hooks outlive it.
    ///
    /// # Errors
    /// The failure of the work, or the list of unfinished work.
    pub async fn during(mut self, json: bool, work: impl AsyncFnOnce(&mut Self) -> Outcome) -> Outcome {
        let mut interrupts = Interrupts::new()?;
        let found = Found::of(&self.handle.state().borrow());
        let all = async {
            let outcome = work(&mut self).await;
            let state = self.handle.state();
            let waits = Found::of(&state.borrow());
            waits.say_waits();
            self.leave().await?;
            found.and(&waits).tell(&state.borrow(), json)?;
            outcome
        };
        tokio::select! {
            outcome = all => return outcome,
            () = interrupts.next() => {}
        }
        output::notice(
            "this command ends, and a script that is running goes on without it; a second ^C ends it at once",
        );
        let state = self.handle.state();
        let before = Arc::clone(&state.borrow());
        tokio::select! {
            drained = self.drain() => drained?,
            () = interrupts.next() => {}
        }
        let after = Arc::clone(&state.borrow());
        leave_off(&before, &after, json)
    }

    /// Requests a deployment and shows it, and the rollback that may follow it, to its end.
    ///
    /// # Errors
    /// When it is refused, or when the engine ends first.
    pub async fn deploy(&mut self, json: bool, event: impl FnOnce(DeploymentId) -> Event) -> Outcome {
        let id = clock::fresh_deployment_id().context("no randomness for a deployment id")?;
        let mut progress = self.handle.progress();
        match self.handle.ask(event(id.clone())).await {
            Ok(()) => {}
            Err(AskError::Refused(refusal)) => return Err(Failure::new(refusal.exit_code(), refusal)),
            Err(AskError::Stopping) => {
                self.ended().await?;
                return Err(Failure::say(ExitCode::Failed, "the engine ended"));
            }
        }
        let mut printer = Printer::new(json, id);
        loop {
            tokio::select! {
                piece = progress.recv() => match piece {
                    Ok(piece) => {
                        if let Some(code) = printer.show(&piece)? {
                            printer.finish().await?;
                            return Ok(code);
                        }
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                },
                () = printer.refresh_due() => {
                    printer.goes_on(self.handle.moment(printer.waiting()));
                    printer.refresh();
                }
                ended = self.ended() => {
                    ended?;
                    break;
                }
            }
        }
        Err(Failure::say(ExitCode::Failed, "the engine ended before the deployment"))
    }
}
