//! `codedeploy-local`: a deployment with the CodeDeploy agent's layout and options, from the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_core::appspec::AppspecName;
use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codedeploy::diagnostics::Report;
use hostler_core::codedeploy::local;
use hostler_core::codedeploy::specification::{RevisionLocation, Specification};
use hostler_core::codedeploy::wire::CommandStatus;
use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::command::{CommandStage, Order};
use hostler_core::machine::state::Request;
use hostler_core::machine::{Event, State};
use hostler_host::clock;
use hostler_host::layout::Layout;
use hostler_host::perms::passage;

use crate::cli::{CodeDeployLocal, FileExists, Shared};
use crate::codedeploy::compat::CodeDeployCompat;
use crate::codedeploy::exposure;
use crate::codedeploy::source::order::order;
use crate::failure::{Failure, Outcome};
use crate::log_output::also_as_the_agent;
use crate::output;
use crate::session::Session;
use crate::setup::Setup;
use crate::threads::block_on;
use crate::wings;
use crate::work::recover::settle_all;

/// The name of this program, of its log, and of the requester of its deployments.
const NAME: &str = "codedeploy-local";

/// The suffix of the ids of local deployments.
const LOCAL: &str = "-local";

/// The version that `codedeploy-local --version` has always printed.
const VERSION: &str = "1.0\n";

/// Time between two checks whether another local deployment has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Deploys.
///
/// # Errors
/// Failed for invalid arguments and for a failed event, as with the CodeDeploy agent's program; refused if other users
/// may change the agent's directories.
pub fn run(arguments: CodeDeployLocal) -> Outcome {
    begin(arguments).map_err(|mut failure| {
        if matches!(failure.code, ExitCode::Usage | ExitCode::NotFound) {
            failure.code = ExitCode::Failed;
        }
        failure
    })
}

fn begin(arguments: CodeDeployLocal) -> Outcome {
    if arguments.version {
        output::text(VERSION)?;
        return Ok(ExitCode::Ok);
    }
    crate::log_output::start(log::LevelFilter::Warn, None, crate::log_output::Form::Brief);
    passage::forget_the_callers_umask();
    let usage = |error: local::InvalidArgument| Failure::new(ExitCode::Usage, error);
    let events = local::events(arguments.events.as_deref()).map_err(usage)?;
    let here = std::env::current_dir().context("the working directory is gone")?;
    let location = local::location(&arguments.bundle_location, &arguments.bundle_type, &here).map_err(usage)?;
    check_place(&location, AppspecName::only(arguments.appspec_filename.as_deref()))?;
    if !arguments.agent_configuration_file.is_file() {
        let message = format!("the configuration {} does not exist", arguments.agent_configuration_file.display());
        return Err(Failure::say(ExitCode::Usage, message).hint("name one with --agent-configuration-file"));
    }
    let setup = Arc::new(setup(&arguments.root, &arguments.agent_configuration_file, Some(here))?);
    let compat = setup.codedeploy_compat.clone().context("a fault in hostler: no configuration of the agent")?;
    exposure::refuse_exposed(&setup, &compat)?;
    also_as_the_agent(&setup.layout.beneath_root(&compat.agent.log_dir), NAME);
    let specification = specification(arguments, location)?;
    block_on(deploy(setup, compat, specification, events))
}

/// Settles a local deployment's Install that a power loss interrupted, and prints the result. It finds the deployments
/// made with this host's agent configuration.
///
/// # Errors
/// As [`settle_all`], except for a running local deployment, which settles its own Installs.
pub fn recover(daemons: &Setup, given_up: Option<&DeploymentId>) -> Result<(), Failure> {
    let configuration = daemons.layout.beneath_root(&daemons.settings.codedeploy.agent_config);
    let root = daemons.layout.root();
    if !Layout::local_state(root).is_dir() || !configuration.is_file() {
        return Ok(());
    }
    match settle_all(&setup(root, &configuration, None)?, wings::ALL, given_up) {
        Err(failure) if failure.code == ExitCode::LockHeld => Ok(()),
        settled => settled,
    }
}

/// Whether this id is a local deployment's.
pub fn is_local(deployment: &DeploymentId) -> bool {
    deployment.as_str().ends_with(LOCAL)
}

/// The CodeDeploy agent's local deployments run beside its service; so do these, with their own ledger. `here` is the
/// directory where scripts run, unless the configuration names another.
fn setup(root: &Path, configuration: &Path, here: Option<PathBuf>) -> Result<Setup, Failure> {
    let shared = Shared {
        config: None,
        state_dir: Some(Layout::local_state(root)),
        root: root.to_owned(),
        application: None,
        group: None,
        channel: None,
        json: false,
    };
    let (configuration, root) = (std::path::absolute(configuration)?, std::path::absolute(root)?);
    let mut setup = Setup::adjusted(&shared, |settings| {
        settings.codedeploy.enabled = true;
        settings.hooks.working_directory = settings.hooks.working_directory.take().or(here);
        // The user named the file as it is, but it is looked up below the root.
        settings.codedeploy.agent_config =
            configuration.strip_prefix(&root).map_or(configuration.clone(), |below| Path::new("/").join(below));
    })?;
    // Its Installs and the daemon's wait for each other.
    setup.layout = setup.layout.with_install_lock_of(&Layout::new(&root, None));
    Ok(setup)
}

/// Checks a path of the host, and the appspec in a directory, before any script runs.
fn check_place(location: &RevisionLocation, appspec: AppspecName<'_>) -> Result<(), Failure> {
    let RevisionLocation::Local { path, bundle_type } = location else { return Ok(()) };
    let directory = *bundle_type == hostler_core::bundle::BundleType::Directory;
    let metadata = std::fs::metadata(path).map_err(|error| {
        Failure::say(ExitCode::NotFound, format!("cannot open the bundle {}: {error}", path.display()))
    })?;
    if metadata.is_dir() && directory {
        let names = appspec.candidates();
        if names.iter().any(|name| path.join(name).exists()) {
            return Ok(());
        }
        let message = format!("the directory {} has no {}", path.display(), names.join(" and no "));
        let hint = "call it in the bundle's directory, or name that directory with --bundle-location and the file with \
                    --appspec-filename";
        return Err(Failure::say(ExitCode::Failed, message).hint(hint));
    }
    if metadata.is_dir() == directory {
        return Ok(());
    }
    let (is, kind) = if metadata.is_dir() { ("a directory", "directory") } else { ("no directory", "tgz, tar or zip") };
    Err(Failure::say(ExitCode::Usage, format!("{} is {is}", path.display())).hint(format!("say so: --type {kind}")))
}

fn specification(arguments: CodeDeployLocal, location: RevisionLocation) -> Result<Specification, Failure> {
    let id = clock::fresh_deployment_id().context("no randomness for a deployment id")?;
    Ok(Specification {
        deployment: format!("{id}{LOCAL}").parse()?,
        group: GroupKey {
            application: arguments.application_name,
            group: arguments.deployment_group_name,
            codedeploy_group_id: Some(arguments.deployment_group),
        },
        revision: beneath_no_root(location, &arguments.root)?,
        github_token: None,
        blue_green_rollback: false,
        blue_green: false,
        appspec_only: arguments.appspec_filename.is_some(),
        appspec_name: arguments.appspec_filename,
        file_exists_behavior: match arguments.file_exists_behavior {
            FileExists::Disallow => FileExistsBehavior::Disallow,
            FileExists::Overwrite => FileExistsBehavior::Overwrite,
            FileExists::Retain => FileExistsBehavior::Retain,
        },
        reuse_archive_from: None,
    })
}

/// A path on the command line is a path of this machine; the service's revisions are looked up below the root prefix.
fn beneath_no_root(location: RevisionLocation, root: &Path) -> Result<RevisionLocation, Failure> {
    let RevisionLocation::Local { path, bundle_type } = location else { return Ok(location) };
    let (path, root) = (path.canonicalize()?, std::path::absolute(root)?.canonicalize()?);
    match path.strip_prefix(&root) {
        Ok(below) => Ok(RevisionLocation::Local { path: Path::new("/").join(below), bundle_type }),
        Err(_) => Err(Failure::say(ExitCode::Usage, format!("{} is not below {}", path.display(), root.display()))),
    }
}

async fn deploy(
    setup: Arc<Setup>,
    compat: Arc<CodeDeployCompat>,
    specification: Specification,
    events: Vec<LifecycleEvent>,
) -> Outcome {
    let paths = setup.layout.deployment(&specification.group, &specification.deployment);
    output::text(&format!("Starting to execute deployment from within folder {}\n", paths.directory().display()))?;
    let (id, revision) = (&specification.deployment, &specification.revision);
    log::info!(deployment = id.as_str(), revision:%; "{id}: local deployment of {revision} started");
    let mut session = open_when_free(&setup).await?;
    let mut failed = None;
    for event in events.iter().copied() {
        let mut report = carry_out(&setup, &compat, &session, event, &specification).await?;
        if event == LifecycleEvent::DownloadBundle && report.status == CommandStatus::Succeeded {
            let known = session.handle.state().borrow().clone();
            report = own_events_are_there(&setup, &compat, &known, &events, &specification).err().unwrap_or(report);
        }
        if report.status == CommandStatus::Failed {
            log::info!("{event} failed: {}", words(&report));
            failed = Some((event, report));
            break;
        }
    }
    session.leave().await?;
    output::text(&format!("See the deployment log at {} for more details\n", paths.scripts_log().display()))?;
    match failed {
        Some((event, report)) => Err(Failure::say(ExitCode::Failed, format!("{event} failed: {}", words(&report)))),
        None => {
            output::text("AppSpec file valid. Local deployment successful\n")?;
            Ok(ExitCode::Ok)
        }
    }
}

/// Opens the session. Two concurrent local deployments wait for each other.
async fn open_when_free(setup: &Arc<Setup>) -> Result<Session, Failure> {
    let mut told = false;
    loop {
        match Session::open(setup).await {
            Err(failure) if failure.code == ExitCode::LockHeld => {
                if !told {
                    log::warn!("another local deployment is going on; this one waits for its end");
                    told = true;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Checks that the appspec has the user's own events, and the bundle their scripts. No earlier check covers events
/// outside the standard ones; this one runs once the bundle is unpacked.
fn own_events_are_there(
    setup: &Setup,
    compat: &CodeDeployCompat,
    known: &State,
    events: &[LifecycleEvent],
    specification: &Specification,
) -> Result<(), Report> {
    for event in events.iter().filter(|event| matches!(event, LifecycleEvent::Custom(_))) {
        let order = order(setup, compat, known, event.name(), Some(*event), specification.clone());
        match order {
            Ok(order) if !order.is_noop() => scripts_are_there(setup, event, &order)?,
            Ok(_) => return Err(Report::failed(&format!("the appspec has no hooks for {event}"))),
            Err(problem) => return Err(Report::failed(&problem)),
        }
    }
    Ok(())
}

fn scripts_are_there(setup: &Setup, event: &LifecycleEvent, order: &Order) -> Result<(), Report> {
    for script in &order.scripts {
        let archive = setup.layout.deployment(&order.request.key, &script.archive).archive();
        if !archive.join(script.location.trim_start_matches('/')).is_file() {
            return Err(Report::failed(&format!("the bundle holds no script {} of {event}", script.location)));
        }
    }
    Ok(())
}

/// Carries out one event: as if the service had commanded it, without the acknowledgement and the report.
async fn carry_out(
    setup: &Arc<Setup>,
    compat: &Arc<CodeDeployCompat>,
    session: &Session,
    event: LifecycleEvent,
    specification: &Specification,
) -> Result<Report, Failure> {
    let mut state = session.handle.state();
    let known = state.borrow().clone();
    let order = order(setup, compat, &known, event.name(), Some(event), specification.clone());
    let ours = |order: Order| Order { request: Request { asked_by: NAME.to_owned(), ..order.request }, ..order };
    let order = order.map(ours).map(Box::new).map_err(|problem| Report::failed(&problem));
    let identifier = identifier(&specification.deployment, event);
    let ask = Event::Commanded { identifier: identifier.clone(), execution: String::new(), order };
    session.handle.ask(ask).await?;
    let answer = CommandStatus::InProgress;
    session.handle.ask(Event::Acknowledged { identifier: identifier.clone(), answer }).await?;
    let ended = |state: &Arc<State>| match &state.service.command(&identifier)?.stage {
        CommandStage::Ended(report) => Some(report.clone()),
        _ => None,
    };
    let report = state.wait_for(|state| ended(state).is_some()).await.map(|state| ended(&state));
    let report = report.ok().flatten().context("the engine ended before the event")?;
    session.handle.ask(Event::Reported { identifier }).await?;
    Ok(report)
}

fn identifier(deployment: &DeploymentId, event: LifecycleEvent) -> String {
    format!("{deployment}/{event}")
}

/// The text of a report for people.
fn words(report: &Report) -> String {
    let value: serde_json::Value = serde_json::from_str(&report.payload).unwrap_or_default();
    let text = |key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    format!("{}\n{}", text("message"), text("log")).trim_end().to_owned()
}
