//! The daemon, in phases: take the lock, open the control socket, find out which host this is, follow the channels,
//! wait for the end, drain.

mod control_events;
mod controllers;
mod state_line;
mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_core::codes::ExitCode;
use hostler_core::ids::InstanceId;
use hostler_core::operator_events::OperatorEvent;
use hostler_core::text::counted;
use hostler_host::{codedeploy_agent, notify};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::codedeploy::exposure;
use crate::codedeploy::source::{self, Following};
use crate::control::listening::ControlSocket;
use crate::control::server_context::{ReloadAnswer, ServerContext};
use crate::controller::{self, Controller as _, Sources};
use crate::daemon::control_events::{ControlEvent, ControlEvents};
use crate::daemon::controllers::Beside;
use crate::failure::{Failure, Outcome};
use crate::health;
use crate::identity::{self, IdentitySource};
use crate::lifecycle::{self, LifecycleController};
use crate::log_output::{self, operator_event};
use crate::machine_events;
use crate::session::Session;
use crate::setup::{Setup, SetupWatch};
use crate::shipping::{self, Shipping};
use crate::sources::channel_status::Channels;
use crate::sources::followers::Followers;
use crate::state_file::LockedState;
use crate::tasks::{caught, kept};

/// How long the start waits for the Auto Scaling group's answer before it follows the channels.
const FIRST_LOOK: Duration = Duration::from_secs(20);

/// Writes the record that operators alert on: a start and each way to a reload come here.
fn refused(what: &str, failure: &Failure) {
    operator_event!(Error, OperatorEvent::ConfigurationRefused; "{what}: {}", failure.one_line());
}

/// The record of a start that the configuration ends. A terminal shows the failure itself, and has no use for a record.
pub fn refused_at_start(failure: &Failure) {
    if failure.code == ExitCode::Usage && log_output::goes_to_the_journal() {
        refused("the configuration is refused, so the agent does not start", failure);
    }
}

/// Runs until it is asked to stop, or until the state can no longer be persisted. `read` reads the configuration again.
///
/// # Errors
/// Lock held when another agent has the state; otherwise the error that stopped the daemon.
pub async fn run(setup: Setup, read: impl Fn() -> Result<Setup, Failure>) -> Outcome {
    log_output::configure(setup.settings.log_level);
    let stop = Arc::new(Notify::new());
    let (reload, reloads) = mpsc::channel(4);
    let channels = Channels::default();
    let context = ServerContext {
        stop: Some(Arc::clone(&stop)),
        reload: Some(reload),
        channels: channels.clone(),
        ..ServerContext::default()
    };
    let shipping_at_door = Arc::clone(&context.shipping);
    let (reports, following) = (context.reports.clone(), context.following.clone());
    let mut control_events = ControlEvents::new(stop, reloads)?;
    if let Some(compat) = &setup.codedeploy_compat {
        source::refuse_beside_the_agent(&setup, compat)?;
        exposure::refuse_exposed(&setup, compat)?;
        exposure::warn_of_exposed_files(&setup, compat);
    }
    let hold = LockedState::take(&setup)?;
    let (setups, setup_watch) = SetupWatch::new(Arc::new(setup));
    let configuration = Configuration { read, setups, setup_watch: setup_watch.clone() };
    let control = ControlSocket::open(&hold, &setup_watch, context)?;
    notify::ready();
    let instance = {
        let _alive = watchdog::keep(None, &channels);
        match find_out(&configuration, hold.state.instance.as_ref(), &control, &mut control_events).await? {
            Some(instance) => instance,
            None => return Ok(ExitCode::Ok),
        }
    };
    let session = Session::start(hold, control, &setup_watch, instance.clone())?;
    let setup = setup_watch.now();
    let shipping = Shipping::start(&setup_watch, &instance, session.handle.state()).await?;
    if let Some(shipping) = &shipping {
        shipping_at_door.get_or_init(|| shipping.handle());
    }
    log::info!(
        hostler_event = "started", state:% = setup.layout.state().display(), groups = setup.settings.groups.len();
        "hostler runs: version {}, {}, state in {}",
        env!("HOSTLER_VERSION"), counted(setup.settings.groups.len(), "deployment group"), setup.layout.state().display()
    );
    if setup.codedeploy_compat.is_none() && setup.settings.groups.iter().all(|group| group.channel.is_none()) {
        log::warn!("no deployment group has a channel, so this daemon follows nothing");
    }
    let _alive = watchdog::keep(Some(session.handle.clone()), &channels);
    let beside = Beside {
        sources: Sources::new(setup_watch.clone(), session.handle.state(), session.health_watch.watch()),
        handle: session.handle.clone(),
        health_watch: session.health_watch.clone(),
        instance: instance.clone(),
        reports,
        following: following.clone(),
    };
    let mut watchers = beside.start();
    if let Some(address) = setup.settings.health_listener {
        let (state, health_watch) = (session.handle.state(), session.health_watch.watch());
        watchers.push(health::listen(address, setup_watch.clone(), state, health_watch).await?);
    }
    lifecycle::check(&setup)?;
    machine_events::set_up(&setup, &session.handle).await;
    let logs = shipping.as_ref().map(Shipping::handle);
    let attend = {
        let (setup_watch, handle, health_watch) =
            (setup_watch.clone(), session.handle.clone(), session.health_watch.clone());
        move || {
            LifecycleController::new(
                setup_watch.clone(),
                handle.clone(),
                health_watch.clone(),
                instance.clone(),
                logs.clone(),
            )
        }
    };
    // The group is asked before any channel is followed: a host in the warm pool must not start anything.
    let mut controller = attend();
    let mut sources = beside.sources.clone();
    // If the look takes longer, the host starts as the journal has it.
    let first = caught(tokio::time::timeout(FIRST_LOOK, controller.reconcile(&sources.view()))).await;
    let mut controller = first.is_ok().then_some(controller);
    watchers.push(controller::start(&sources, move || controller.take().unwrap_or_else(&attend)));
    let service = setup.codedeploy_compat.clone().map(|compat| {
        let (setup, handle, following) = (Arc::clone(&setup), session.handle.clone(), following.clone());
        let follow = move || source::follow(Arc::clone(&setup), Arc::clone(&compat), handle.clone(), following.clone());
        tokio::spawn(kept("codedeploy", follow))
    });
    let followers = Followers::new(setup_watch.clone(), session.handle.clone(), channels);
    let ended = serve(session, followers, (shipping, following), &configuration, &mut control_events).await;
    watchers.iter().for_each(JoinHandle::abort);
    if let (Some(service), Some(compat)) = (service, &setup.codedeploy_compat) {
        service.abort();
        codedeploy_agent::remove_pid_file(&compat.pid_file(&setup.layout));
    }
    ended
}

/// Asks which host this is until the answer is known; `None` when the daemon is asked to stop before.
async fn find_out<R: Fn() -> Result<Setup, Failure>>(
    configuration: &Configuration<R>,
    known: Option<&InstanceId>,
    control: &ControlSocket,
    control_events: &mut ControlEvents,
) -> Result<Option<InstanceId>, Failure> {
    loop {
        let imds = match identity::find(&configuration.setup_watch.now(), known)? {
            IdentitySource::Known(instance) => return Ok(Some(instance)),
            IdentitySource::Ask(imds) => imds,
        };
        let tell = |why: &str| {
            control.wait_for(why);
            notify::status(why);
        };
        let asking = "waiting for the instance metadata service";
        tell(asking);
        tokio::select! {
            instance = identity::wait(&imds, tell) => return Ok(Some(instance)),
            heard = control_events.next() => match heard {
                ControlEvent::Stop => {
                    notify::stopping();
                    return Ok(None);
                }
                // The new configuration may name the host.
                ControlEvent::Reload(answer) => configuration.reload(answer, None),
            },
        }
    }
}

/// Follows the channels until the daemon is asked to stop, then drains.
async fn serve<R: Fn() -> Result<Setup, Failure>>(
    mut session: Session,
    mut followers: Followers,
    open: (Option<Shipping>, Following),
    configuration: &Configuration<R>,
    control_events: &mut ControlEvents,
) -> Outcome {
    followers.follow(&configuration.setup_watch.now().settings.groups);
    loop {
        tokio::select! {
            heard = control_events.next() => match heard {
                ControlEvent::Stop => break,
                ControlEvent::Reload(answer) => configuration.reload(answer, Some(&mut followers)),
            },
            ended = session.ended() => {
                if let Err(failure) = ended {
                    operator_event!(Error, OperatorEvent::StateWriteFailed; "the state cannot be kept: {}", failure.one_line());
                    return Err(failure);
                }
                break;
            }
        }
    }
    drop(followers);
    notify::stopping();
    log::info!(hostler_event = "stopping"; "hostler stops; hooks that are running go on");
    tokio::select! {
        left = leave(session, open, configuration) => left?,
        () = control_events.second_stop() => {
            log::warn!("told twice to stop: the step that is going on, and logs that are not shipped, are left to the next start");
        }
    }
    Ok(ExitCode::Ok)
}

/// Finishes the work that must not be broken off. The control socket closes last: the caller of `stop` waits for all of
/// it.
async fn leave<R>(
    mut session: Session,
    (shipping, following): (Option<Shipping>, Following),
    configuration: &Configuration<R>,
) -> Result<(), Failure> {
    let began = Instant::now();
    let ship = async {
        if let Some(shipping) = shipping {
            shipping.finish().await;
        }
    };
    // If the open poll brings a command, the engine must still record it.
    tokio::join!(ship, following.end());
    let bound = Duration::from_secs(configuration.setup_watch.now().limits.drain_seconds);
    match tokio::time::timeout(left_of(bound, began.elapsed()), session.drain()).await {
        Ok(drained) => drained,
        Err(_) => {
            log::warn!(
                "the step that is going on has not ended within {} seconds; the next start takes it up",
                bound.as_secs()
            );
            Ok(())
        }
    }
}

/// How long to wait for the step in progress. The bound covers the whole stop: otherwise the service manager would kill
/// an agent that had waited for a poll before (the unit's TimeoutStopSec). An idle engine ends at once.
fn left_of(bound: Duration, passed: Duration) -> Duration {
    bound.saturating_sub(passed).max(Duration::from_secs(1))
}

/// The configuration in force, and how to read it again.
struct Configuration<R> {
    read: R,
    setups: watch::Sender<Arc<Setup>>,
    setup_watch: SetupWatch,
}

impl<R: Fn() -> Result<Setup, Failure>> Configuration<R> {
    /// Puts the configuration on disk in force, all of it or nothing.
    fn reload(&self, answer: Option<ReloadAnswer>, followers: Option<&mut Followers>) {
        notify::reloading();
        let outcome = self.replace(followers.is_some());
        match &outcome {
            Ok(setup) => {
                if let Some(followers) = followers {
                    followers.follow(&setup.settings.groups);
                }
                log::info!(hostler_event = "reloaded", groups = setup.settings.groups.len(); "the configuration was read again: {}", counted(setup.settings.groups.len(), "deployment group"));
            }
            Err(failure) => {
                refused("the configuration was read again and is refused, the one before stays in force", failure);
            }
        }
        notify::ready();
        if let Some(answer) = answer {
            // The caller may be gone.
            let _ = answer.send(outcome.map(|_| ()).map_err(|failure| (failure.code as u8, failure.one_line())));
        }
    }

    fn replace(&self, named: bool) -> Result<Arc<Setup>, Failure> {
        let mut setup = (self.read)()?;
        let before = self.setup_watch.now();
        // History, ledger and hooks carry the name: it cannot change while the daemon runs.
        if named && setup.settings.instance_id != before.settings.instance_id {
            return Err(Failure::say(ExitCode::Usage, "instance_id was changed, which needs a restart of the daemon"));
        }
        // Its tokens are in memory only, and the agent follows its service since the start.
        if setup.settings.codedeploy != before.settings.codedeploy {
            return Err(Failure::say(ExitCode::Usage, "codedeploy was changed, which needs a restart of the daemon"));
        }
        // Only the daemon's start makes this task; the task's settings can change.
        if named && setup.settings.logs.is_some() != before.settings.logs.is_some() {
            return Err(Failure::say(
                ExitCode::Usage,
                "logs was added or removed, which needs a restart of the daemon",
            ));
        }
        shipping::check(&setup)?;
        setup.codedeploy_compat.clone_from(&before.codedeploy_compat);
        // The client and its certificates are read again only where their settings differ.
        if (&setup.settings.aws, &setup.settings.downloads) == (&before.settings.aws, &before.settings.downloads) {
            setup.stores = Arc::clone(&before.stores);
        }
        lifecycle::check(&setup)?;
        log_output::configure(setup.settings.log_level);
        let setup = Arc::new(setup);
        self.setups.send_replace(Arc::clone(&setup));
        Ok(setup)
    }
}

#[cfg(test)]
mod tests {
    use hostler_core::limits::Limits;

    use super::*;

    #[test]
    fn a_stop_that_waited_for_a_poll_ends_within_the_units_patience_all_the_same() {
        let unit = include_str!("../../../systemd/hostler.service");
        let patience = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
        let patience = Duration::from_secs(patience.parse().unwrap());
        let bound = Duration::from_secs(Limits::default().drain_seconds);
        for waited in [0, 10, 24, 25, 26].map(Duration::from_secs) {
            let left = left_of(bound, waited);
            assert!(waited + left < patience && !left.is_zero(), "{waited:?} and {left:?}");
        }
        assert_eq!(left_of(bound, Duration::ZERO), bound);
    }
}
