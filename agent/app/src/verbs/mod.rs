//! The verbs, one file each. What they share is here.

mod bundle_check;
pub mod codedeploy_agent;
pub mod codedeploy_local;
mod deploy;
mod doctor;
mod given;
mod history;
mod keygen;
mod logs;
mod migrate;
mod plan;
mod push;
mod release;
mod reload;
mod remove;
mod resume;
mod rollback;
mod rotate_keys;
mod run;
mod seal;
mod sign;
mod signal;
mod status;
mod stop;
mod validate;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::Event;
use hostler_host::perms::passage;

use tokio::time::Instant;

use crate::cli::{Cli, Verb};
use crate::control::ControlRequest;
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::interrupted::{Found, Interrupts};
use crate::session::Session;
use crate::setup::Setup;
use crate::tasks::caught;

/// Does what the command line says.
///
/// # Errors
/// Whatever went wrong, with its exit code.
pub fn run(cli: Cli) -> Outcome {
    let level = if matches!(cli.verb, Verb::Run(_)) { log::LevelFilter::Info } else { log::LevelFilter::Error };
    crate::log_output::start(level);
    if !cli.verb.writes_the_callers_own() {
        passage::forget_the_callers_umask();
    }
    let shared = cli.shared;
    match cli.verb {
        Verb::Run(arguments) => run::run(&shared, &arguments),
        Verb::Deploy(arguments) => deploy::run(&shared, arguments),
        Verb::Rollback(arguments) => rollback::run(&shared, arguments),
        Verb::Resume => resume::run(&shared),
        Verb::Remove(arguments) => remove::run(&shared, &arguments),
        Verb::Stop => stop::run(&shared),
        Verb::Reload => reload::run(&shared),
        Verb::Seal => seal::run(&shared),
        Verb::Doctor(arguments) => doctor::run(&shared, &arguments),
        Verb::Signal(arguments) => signal::run(&shared, arguments),
        Verb::Status(arguments) => status::run(&shared, &arguments),
        Verb::History(arguments) => history::run(&shared, &arguments),
        Verb::Logs(arguments) => logs::run(&shared, &arguments),
        Verb::Validate(arguments) => validate::run(&shared, &arguments),
        Verb::Plan(arguments) => plan::run(&shared, &arguments),
        Verb::Push(arguments) => push::run(&shared, &arguments),
        Verb::Migrate(arguments) => migrate::run(&shared, &arguments),
        Verb::Release(arguments) => release::run(&shared, &arguments),
        Verb::Sign(arguments) => sign::run(&shared, &arguments),
        Verb::Keygen(arguments) => keygen::run(&shared, &arguments),
        Verb::RotateKeys(arguments) => rotate_keys::run(&shared, &arguments),
    }
}

/// Runs a verb that waits for things, on one thread; blocking work gets threads of its own, few and small.
///
/// # Errors
/// Whatever the verb's work says.
pub fn block_on<F: Future<Output = Outcome>>(work: F) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(8).build()?;
    let outcome = runtime.block_on(caught(work));
    // A step that blocks is not waited for once its outcome is not either; the next start takes it up.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panicked| Err(Failure::new(ExitCode::Failed, panicked)))
}

/// How long a verb waits for a daemon that is just starting or stopping.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// Who has the state: a daemon that answers, or from now on this process.
pub enum EngineAccess {
    /// The daemon.
    Remote(Client),
    /// This process holds the lock.
    Local(Session),
}

/// With daemons that are starting or stopping.
pub struct Patience(Instant);

impl Patience {
    /// From now on.
    pub fn new() -> Self {
        Self(Instant::now() + CONTROL_TIMEOUT)
    }

    /// Waits a moment after a failure that says that somebody else has the state for now.
    ///
    /// # Errors
    /// The failure itself when it is another one, or when it has gone on for too long.
    pub async fn after(&self, failure: Failure) -> Result<(), Failure> {
        if failure.code != ExitCode::LockHeld || Instant::now() > self.0 {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }
}

/// Finds the way to the state. A daemon that holds the lock and does not answer yet is waited for.
///
/// # Errors
/// Lock held when somebody has the state and does not open the control socket in time.
pub async fn way(setup: &Arc<Setup>, patience: &Patience) -> Result<EngineAccess, Failure> {
    loop {
        if let Some(client) = Client::connect(setup).await {
            return Ok(EngineAccess::Remote(client));
        }
        match Session::open(setup).await {
            Ok(session) => return Ok(EngineAccess::Local(session)),
            Err(failure) => patience.after(failure).await?,
        }
    }
}

/// Has a deployment done through the control socket, or here, and shows it to its end.
///
/// # Errors
/// When it is refused or cannot be shown to its end.
pub async fn deploy_by(setup: &Arc<Setup>, ask: ControlRequest, event: impl FnOnce(DeploymentId) -> Event) -> Outcome {
    let patience = Patience::new();
    let session = loop {
        match way(setup, &patience).await? {
            EngineAccess::Remote(mut client) => match client.deploy(ask.clone()).await {
                Ok(deployment) => return follow(client, deployment, setup.json).await,
                Err(failure) => patience.after(failure).await?,
            },
            EngineAccess::Local(session) => break session,
        }
    };
    session.during(setup.json, async |session| deploy_here(setup, session, ask.group(), event).await).await
}

/// Has a deployment done here. What was interrupted in its group comes first; what was in others goes on beside it.
async fn deploy_here(
    setup: &Setup,
    session: &mut Session,
    key: Option<&GroupKey>,
    event: impl FnOnce(DeploymentId) -> Event,
) -> Outcome {
    if let Some(key) = key {
        let found = Found::of(&session.handle.state().borrow()).of_group(key);
        found.say_first();
        session.settle_group(key).await?;
        let state = Arc::clone(&session.handle.state().borrow());
        found.tell(&state, setup.json)?;
    }
    session.deploy(setup.json, event).await
}

/// Shows a deployment that another process carries out. To be told to end only ends the looking.
async fn follow(mut client: Client, deployment: DeploymentId, json: bool) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    tokio::select! {
        outcome = client.follow(deployment.clone(), json) => outcome,
        () = interrupts.next() => Err(Failure::say(ExitCode::Failed, format!("{deployment} is not watched any more and goes on"))
            .hint("`hostler status` shows how far it is")),
    }
}
