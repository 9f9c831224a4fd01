//! An engine in this process: the ledger opened and locked, the worker and the loop started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::Settings;
use hostler_core::history;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::limits::Limits;
use hostler_core::machine::state::{Creator, Policy, Request, STATE_VERSION, Source};
use hostler_core::machine::{Event, State};
use hostler_host::history_file::{self, HistoryFile, HistoryFileError};
use hostler_host::ledger::{Ledger, LedgerError};
use hostler_host::{clock, journal, socket};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::door::DeployWish;
use crate::door::server::Server;
use crate::engine::{AskError, Engine, Handle, Identity};
use crate::failure::{Failure, Outcome};
use crate::ports::Keeper;
use crate::progress::Printer;
use crate::setup::Setup;
use crate::sources::signatures;
use crate::work::{HostWorker, recover};

/// A running engine in this process. It holds the state's lock until it is closed.
#[derive(Debug)]
pub struct Session {
    /// The door to it.
    pub handle: Handle,
    /// `None` once its end was seen.
    engine: Option<JoinHandle<anyhow::Result<()>>>,
    door: JoinHandle<()>,
    /// Ends with the last conversation at the door.
    conversations: mpsc::Receiver<()>,
}

/// How long people at the door may take to hear the end of what they asked for.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Session {
    /// Takes the lock, reads the state, starts the engine and opens the door; what was interrupted goes on at once.
    /// `stop` is told when somebody asks for the daemon's end; a session that ends by itself has none.
    ///
    /// # Errors
    /// Lock held when another process has the state; failed when the ledger is damaged.
    pub fn open(setup: &Arc<Setup>, stop: Option<Arc<Notify>>) -> Result<Self, Failure> {
        let instance = setup.instance()?;
        let ledger = Ledger::open(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
        let mut state = read_state(&ledger.current().state)?;
        state.instance = Some(instance.clone());
        recover::confirm_all(setup, &state)?;
        let identity = Identity {
            host: instance.clone(),
            boot_id: clock::boot_id(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let books = Books::open(ledger, &mut state, &identity, &setup.limits)?;
        let worker = HostWorker::new(Arc::clone(setup), instance)?;
        let (engine, handle) = Engine::new(state, books, Arc::new(worker), identity);
        let listener = socket::listen(setup.layout.socket())?;
        let (server, conversations) = Server::new(handle.clone(), Arc::clone(setup), stop);
        let door = tokio::spawn(server.serve(listener));
        Ok(Self { handle, engine: Some(tokio::spawn(engine.run())), door, conversations })
    }

    /// Ends the engine with the step that it is in. Hooks that are going on outlive it.
    ///
    /// # Errors
    /// When the engine had ended because the state could not be persisted.
    pub async fn drain(self) -> Result<(), Failure> {
        self.handle.drain().await;
        self.close().await
    }

    /// Ends the engine once every deployment has ended, those included that came in through the door meanwhile.
    ///
    /// # Errors
    /// When the engine had ended because the state could not be persisted.
    pub async fn leave(self) -> Result<(), Failure> {
        self.handle.leave_when_idle().await;
        self.close().await
    }

    async fn close(mut self) -> Result<(), Failure> {
        let ended = self.ended().await;
        self.door.abort();
        // Whoever has not listened by then has gone to sleep.
        let _ = tokio::time::timeout(LAST_WORDS, self.conversations.recv()).await;
        ended
    }

    /// Waits until the engine ends by itself, which it does only when it cannot go on.
    ///
    /// # Errors
    /// Why it ended, the first time that somebody asks.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let ended = engine.await.context("the engine panicked");
        self.engine = None;
        Ok(ended??)
    }

    /// Waits until no deployment is active.
    ///
    /// # Errors
    /// When the engine ends before.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        let mut state = self.handle.state();
        let settled = state.wait_for(|s| !s.is_busy());
        if settled.await.is_err() {
            self.ended().await?;
        }
        Ok(())
    }

    /// Asks for a deployment and shows it, and the rollback that may follow it, to its end.
    ///
    /// # Errors
    /// When it is refused, or when the engine ends before it.
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
                            return Ok(code);
                        }
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                },
                ended = self.ended() => {
                    ended?;
                    break;
                }
            }
        }
        Err(Failure::say(ExitCode::Failed, "the engine ended before the deployment"))
    }
}

/// The ledger and the history, written in this order: what the history lacks after a crash or for want of space, the
/// ledger still holds.
struct Books {
    ledger: Ledger,
    history: HistoryFile,
    /// How many of the state's pending records are in the file already.
    appended: usize,
    /// Whether people were told that the history cannot be written.
    told: bool,
}

impl Books {
    /// Brings history and ledger together after whatever happened before.
    fn open(mut ledger: Ledger, state: &mut State, identity: &Identity, limits: &Limits) -> anyhow::Result<Self> {
        let context = history::Context {
            host: identity.host.clone(),
            boot_id: identity.boot_id.clone(),
            time_ms: clock::now_ms(),
            agent_version: identity.agent_version.clone(),
        };
        let fresh = ledger.current().state.is_empty();
        let known = (!fresh).then_some(&state.history);
        let reconciled = history_file::survey(ledger.lock(), known, &context, limits)?;
        state.history.clone_from(&reconciled.state);
        if !fresh || !state.history.pending.is_empty() {
            ledger.persist(&serde_json::to_vec(state)?)?;
        }
        let history = HistoryFile::open(ledger.lock(), &reconciled)?;
        let appended = state.history.pending.len().saturating_sub(reconciled.append.len());
        let mut books = Self { ledger, history, appended, told: false };
        books.write_history(state, true)?;
        Ok(books)
    }

    /// Brings the file up to date. On a full disk the records stay in the ledger, which has its room, and are written
    /// when there is space again: neither an outcome nor the deployment is lost for them.
    fn write_history(&mut self, state: &mut State, settled: bool) -> anyhow::Result<()> {
        match self.append_and_sync(state, settled) {
            Err(error) if error.is_full() => {
                if !self.told {
                    let error = anyhow::Error::new(error);
                    log::warn!("the ledger keeps the newest records of the history until there is space: {error:#}");
                }
                self.told = true;
                Ok(())
            }
            Err(error) => Err(anyhow::Error::new(error).context("cannot write the history")),
            Ok(()) => {
                self.told = false;
                Ok(())
            }
        }
    }

    fn append_and_sync(&mut self, state: &mut State, settled: bool) -> Result<(), HistoryFileError> {
        for record in state.history.pending.iter().skip(self.appended) {
            self.history.append(record)?;
            self.appended += 1;
        }
        if settled && !state.history.pending.is_empty() {
            self.history.sync()?;
            state.history.settled();
            self.appended = 0;
            if let Some(anchor) = state.history.chain.anchor() {
                journal::send_anchor(self.ledger.lock().directory(), &anchor);
            }
        }
        Ok(())
    }
}

impl Keeper for Books {
    fn persist(&mut self, state: &mut State, settled: bool) -> anyhow::Result<()> {
        self.ledger.persist(&serde_json::to_vec(state)?)?;
        self.write_history(state, settled)?;
        if settled {
            // The ledger alone says then how far the file goes, which shows a tail that somebody cuts off.
            self.ledger.persist(&serde_json::to_vec(state)?)?;
        }
        Ok(())
    }
}

/// The state as the ledger holds it; a fresh ledger holds nothing.
///
/// # Errors
/// When a newer agent wrote it.
pub fn read_state(bytes: &[u8]) -> Result<State, Failure> {
    if bytes.is_empty() {
        return Ok(State::default());
    }
    let state: State =
        serde_json::from_slice(bytes).context("the ledger holds a state that this version cannot read")?;
    if state.version != STATE_VERSION {
        let message = format!("the ledger's state has version {} and this agent knows {STATE_VERSION}", state.version);
        return Err(Failure::say(ExitCode::Failed, message).hint("install the version of hostler that wrote it"));
    }
    Ok(state)
}

/// The exit code that a ledger error means.
pub fn ledger_failure(error: LedgerError) -> Failure {
    match error {
        LedgerError::LockHeld { .. } => Failure::new(ExitCode::LockHeld, error),
        other => Failure::new(ExitCode::Failed, other),
    }
}

/// A deployment by hand as the state machine takes it.
///
/// # Errors
/// Verification failed when what is deployed by hand must be signed on this host and is not.
pub fn deploy_request(setup: &Setup, wish: DeployWish, policy: Policy, asked_by: String) -> Result<Request, Failure> {
    let (revision, trust) = signatures::by_hand(setup, &wish.key, location(&wish.source), wish.release.as_deref())?;
    if revision.digest.is_some() && matches!(&wish.source, Source::Path { path } if path.is_dir()) {
        let message = "a directory has no digest that a release could name";
        return Err(Failure::say(ExitCode::Usage, message).hint("give the bundle file that was released"));
    }
    Ok(Request {
        revision,
        key: wish.key,
        creator: Creator::Cli,
        asked_by,
        source: wish.source,
        release: None,
        trust,
        rolls_back: None,
        removes: false,
        policy,
    })
}

/// How a group is removed: by its own policy, and what the command says about a failing ApplicationStop.
pub fn removal_policy(settings: &Settings, key: &GroupKey, ignore_application_stop_failures: bool) -> Policy {
    let policy = settings.policy(key);
    Policy {
        ignore_application_stop_failures: policy.ignore_application_stop_failures || ignore_application_stop_failures,
        cleanup: true,
        ..policy
    }
}

fn location(source: &Source) -> String {
    match source {
        Source::Path { path } => path.display().to_string(),
        Source::Location { location } => location.clone(),
        Source::Store { store, key } => format!("{store}/{key}"),
        Source::Kept { deployment } => deployment.to_string(),
        Source::CodeDeploy { location, .. } => location.to_string(),
    }
}
