//! The verbs, one file each; this file holds the shared parts.

mod acting_group;
mod bundle_check;
mod completions;
mod deploy;
mod doctor;
mod given;
mod history;
mod init;
mod keygen;
mod logs;
mod man_pages;
mod outside;
mod plan;
mod push;
mod release;
mod releases;
mod reload;
mod remove;
mod resume;
mod revisions;
mod rollback;
mod rotate_keys;
mod run;
mod seal;
mod sign;
mod signal;
mod status;
mod stop;
mod store_groups;
mod validate;
mod version;

use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::Event;
use hostler_host::perms::passage;
use log::LevelFilter;
use tokio::time::Instant;

use crate::cli::{Cli, Verb};
use crate::codedeploy::verbs::migrate;
use crate::control::ControlRequest;
use crate::control::client::Client;
use crate::failure::{Failure, Outcome};
use crate::interrupted::{Found, Interrupts};
use crate::log_output::{self, Form, level};
use crate::session::Session;
use crate::setup::Setup;
use crate::terminal;
use crate::threads::block_on;

/// Runs the command.
///
/// # Errors
/// The failure of the verb, with its exit code.
pub fn run(cli: Cli) -> Outcome {
    terminal::use_colours(cli.display.color.into());
    if cli.display.quiet {
        terminal::be_quiet();
    }
    start_logging(&cli)?;
    if !matches!(&cli.verb, Verb::Run(arguments) if !arguments.once) {
        log_output::deployments_are_shown();
    }
    if !cli.verb.writes_the_callers_own() {
        passage::forget_the_callers_umask();
    }
    let only_shows = only_shows(&cli.verb);
    match carry_out(cli) {
        // The reader has what it wanted (`| head`).
        Err(closed) if only_shows && closed.is_output_closed() => Ok(ExitCode::Ok),
        outcome => outcome,
    }
}

/// Whether the exit code says nothing but that the verb could show what it was asked for.
fn only_shows(verb: &Verb) -> bool {
    match verb {
        Verb::History(arguments) => !arguments.verify,
        Verb::Status(arguments) => !arguments.health,
        Verb::Logs(_) | Verb::Revisions(_) | Verb::Releases(_) | Verb::Completions(_) | Verb::Version => true,
        _ => false,
    }
}

fn carry_out(cli: Cli) -> Outcome {
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
        Verb::Version => version::run(&shared),
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::ManPages(arguments) => man_pages::run(&arguments),
        Verb::Doctor(arguments) => doctor::run(&shared, &arguments),
        Verb::Signal(arguments) => signal::run(&shared, arguments),
        Verb::Status(arguments) => status::run(&shared, &arguments),
        Verb::History(arguments) => history::run(&shared, &arguments),
        Verb::Logs(arguments) => logs::run(&shared, &arguments),
        Verb::Init(arguments) => init::run(&shared, arguments),
        Verb::Validate(arguments) => validate::run(&shared, &arguments),
        Verb::Plan(arguments) => plan::run(&shared, &arguments),
        Verb::Push(arguments) => push::run(&shared, &arguments),
        Verb::Migrate(arguments) => migrate::run(&shared, &arguments),
        Verb::Release(arguments) => release::run(&shared, &arguments),
        Verb::Releases(arguments) => releases::run(&shared, &arguments),
        Verb::Revisions(arguments) => revisions::run(&shared, &arguments),
        Verb::Sign(arguments) => sign::run(&shared, &arguments),
        Verb::Keygen(arguments) => keygen::run(&shared, &arguments),
        Verb::RotateKeys(arguments) => rotate_keys::run(&shared, &arguments),
    }
}

/// Starts the log. A daemon says what it does; other verbs show it themselves, and log only problems. A daemon starts with
/// its usual level where the variable has a wrong value: it must not leave a host without an agent.
fn start_logging(cli: &Cli) -> Result<(), Failure> {
    let (usual, form) = match &cli.verb {
        Verb::Run(arguments) if arguments.once => (LevelFilter::Warn, Form::Brief),
        Verb::Run(_) => (LevelFilter::Info, Form::Timed),
        _ => (LevelFilter::Error, Form::Brief),
    };
    let asked = level::asked(&cli.display, usual, std::env::var_os(level::VARIABLE).as_deref());
    let (asked, unfit) = match asked {
        Err(failure) if usual == LevelFilter::Info => (None, Some(failure)),
        asked => (asked?, None),
    };
    let times = asked.is_some() && !cli.display.quiet;
    log_output::start(usual, asked, if times { Form::Timed } else { form });
    if let Some(failure) = unfit {
        log::warn!("{}: the usual level is in force", failure.one_line());
    }
    Ok(())
}

/// How long a verb waits for a daemon that is starting or stopping.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// The owner of the state: a daemon that answers, or this process.
pub enum EngineAccess {
    /// The daemon.
    Remote(Client),
    /// This process holds the lock.
    Local(Session),
}

/// The limit of the wait for a daemon that is starting or stopping.
pub struct Patience(Instant);

impl Patience {
    /// Starts the time now.
    pub fn new() -> Self {
        Self(Instant::now() + CONTROL_TIMEOUT)
    }

    /// Waits a moment after a failure that says that another process has the state for now.
    ///
    /// # Errors
    /// The failure itself if it says something else, or if the wait has been too long.
    pub async fn after(&self, failure: Failure) -> Result<(), Failure> {
        if failure.code != ExitCode::LockHeld || Instant::now() > self.0 {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }
}

/// Finds the owner of the state. Waits for a daemon that holds the lock and does not answer yet.
///
/// # Errors
/// Lock held when another process has the state and does not open the control socket in time.
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

/// Runs a deployment through the control socket, or in this process, and shows it to its end.
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

/// Runs a deployment in this process. Interrupted work of its group comes first; other groups' goes on concurrently.
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

/// Shows a deployment that another process carries out. A request to stop only ends the display.
async fn follow(mut client: Client, deployment: DeploymentId, json: bool) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    tokio::select! {
        outcome = client.follow(deployment.clone(), json) => outcome,
        () = interrupts.next() => Err(Failure::say(ExitCode::Failed, format!("{deployment} is not watched any more and goes on"))
            .hint("`hostler status` shows how far it is")),
    }
}
