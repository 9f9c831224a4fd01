//! `hostler run`: the daemon; `--once`: one pass; `--recover`: only settle interrupted Installs.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::GroupSettings;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::release_decision::Follow;
use hostler_core::machine::{Event, State, again_at_ms};
use hostler_core::status::Status;

use crate::cli::{RunArgs, Shared};
use crate::codedeploy::verbs::local;
use crate::daemon;
use crate::failure::{Failure, Outcome};
use crate::interrupted::Found;
use crate::output;
use crate::session::Session;
use crate::setup::Setup;
use crate::sources::channel::{LookForKeys, PollError, PollResult, look};
use crate::verbs::{EngineAccess, Patience};
use crate::wings;
use crate::work::recover::settle_all;

pub fn run(shared: &Shared, arguments: &RunArgs) -> Outcome {
    let read = || read_setup(shared, arguments);
    match (arguments.once, arguments.recover) {
        (_, true) => recover(&read()?, arguments.give_up.as_ref()),
        (true, _) => super::block_on(once(Arc::new(read()?))),
        (false, false) => super::block_on(daemon::run(read().inspect_err(daemon::refused_at_start)?, read)),
    }
}

/// The configuration with the flags on top.
fn read_setup(shared: &Shared, arguments: &RunArgs) -> Result<Setup, Failure> {
    let mut setup = Setup::new(shared)?;
    if let Some(id) = &arguments.instance_id {
        setup.settings.instance_id = Some(id.clone());
    }
    for group in &mut setup.settings.groups {
        group.poll_seconds = arguments.poll.unwrap_or(group.poll_seconds);
        group.policy.ignore_application_stop_failures |= arguments.ignore_application_stop_failures;
    }
    Ok(setup)
}

/// Finishes the work in the ledger, follows each channel once, and ends with the worst outcome.
async fn once(setup: Arc<Setup>) -> Outcome {
    let patience = Patience::new();
    match super::way(&setup, &patience).await? {
        EngineAccess::Local(session) => session.during(setup.json, async |session| pass(&setup, session).await).await,
        EngineAccess::Remote(mut client) => Err(beside(&client.status().await?)),
    }
}

/// Another process holds the state and does the work of a pass.
fn beside(status: &Status) -> Failure {
    let daemon = status.daemon.as_ref();
    let pid = daemon.map_or(0, |daemon| daemon.pid);
    if daemon.is_some_and(|daemon| daemon.channels.is_empty()) {
        let message = format!("hostler (process {pid}) is at work on this host and follows no channel");
        return Failure::say(ExitCode::LockHeld, message).hint("`hostler status` shows what it does; wait for its end");
    }
    let message = format!("the daemon (process {pid}) follows the channels already; nothing is done twice");
    Failure::say(ExitCode::LockHeld, message).hint("`hostler status` shows what runs; `hostler stop` ends the daemon")
}

async fn pass(setup: &Setup, session: &mut Session) -> Outcome {
    let has_work = has_work(&session.handle.state().borrow());
    let mut code = finish_interrupted(setup, session).await?;
    code = worse(code, roll_back_again(setup, session).await);
    if setup.settings.groups.is_empty() && !has_work {
        // A timer or cron job with a forgotten configuration must not look well.
        return Err(nothing_configured());
    }
    if setup.settings.groups.iter().all(|group| group.channel.is_none()) {
        output::notice(
            "no deployment group has a channel, so there is nothing to follow; `hostler deploy DIR` deploys by hand",
        );
    }
    for group in &setup.settings.groups {
        let Some(channel) = &group.channel else { continue };
        if waits_to_be_undone(session, &group.key) {
            continue;
        }
        // One group's broken channel must not stop the others.
        let this = follow_once(setup, group, channel, session).await.unwrap_or_else(|failure| {
            failure.print();
            failure.code
        });
        code = worse(code, this);
    }
    Ok(code)
}

/// Whether a pass has something to do beside following channels.
fn has_work(state: &State) -> bool {
    !Found::of(state).is_empty() || state.groups.values().any(|group| again_at_ms(group).is_some())
}

fn nothing_configured() -> Failure {
    Failure::say(ExitCode::Usage, "no deployment group is configured, so `run --once` has nothing to follow")
        .hint("name groups with their channels in the configuration, or give --application, --group and --channel")
}

/// Retries the rollbacks that had no space.
async fn roll_back_again(setup: &Setup, session: &mut Session) -> ExitCode {
    let state = Arc::clone(&session.handle.state().borrow());
    let mut code = ExitCode::Ok;
    for group in state.groups.values().filter(|group| again_at_ms(group).is_some()) {
        let key = group.key.clone();
        let again = session.deploy(setup.json, |id| Event::RollbackAgain { id, key }).await;
        // One group's failure must not stop the others.
        let this = again.unwrap_or_else(|failure| {
            failure.print();
            failure.code
        });
        code = worse(code, this);
    }
    code
}

/// Whether a deployment of the group blocks it until it is undone, which was reported.
fn waits_to_be_undone(session: &Session, key: &GroupKey) -> bool {
    let state = session.handle.state().borrow().clone();
    let active = state.groups.get(&key.id()).and_then(|group| group.active.as_ref());
    active.is_some_and(|deployment| deployment.waits_to_be_undone().is_some())
}

/// Follows one channel now.
async fn follow_once(setup: &Setup, group: &GroupSettings, channel: &str, session: &mut Session) -> Outcome {
    let looked = look(setup, group, channel, &session.handle, None, LookForKeys::Always).await;
    match looked.map_err(PollError::into_failure)? {
        PollResult::Empty => {
            let message = format!("{channel} holds no release for {}", group.key);
            Err(Failure::say(ExitCode::NotFound, message)
                .hint("publish one: hostler release STORE --application A --group G REVISION"))
        }
        PollResult::Release { follow: Follow::Deploy, request, .. } => {
            session.deploy(setup.json, |id| Event::Deploy { id, request }).await
        }
        PollResult::Release { sequence, follow, .. } => say_why_not(setup, &group.key.to_string(), sequence, &follow),
        PollResult::Unchanged => Ok(ExitCode::Ok),
    }
}

/// Waits for the interrupted deployments and prints their outcomes.
async fn finish_interrupted(setup: &Setup, session: &mut Session) -> Outcome {
    let found = Found::of(&session.handle.state().borrow());
    session.settle().await?;
    let state = Arc::clone(&session.handle.state().borrow());
    found.tell(&state, setup.json)
}

fn say_why_not(setup: &Setup, group: &str, sequence: u64, follow: &Follow) -> Outcome {
    let (code, text) = match follow {
        Follow::UpToDate | Follow::Deploy => (ExitCode::Ok, format!("{group} runs release {sequence}")),
        Follow::ByHand(deployment) => (
            ExitCode::Ok,
            format!(
                "release {sequence} of {group} was deployed, and {deployment} by hand since; `hostler resume` deploys the \
                 release again"
            ),
        ),
        // This run has deployed nothing, so nothing failed in it.
        Follow::Failed => (
            ExitCode::Refused,
            format!(
                "release {sequence} of {group} was tried and failed; it is not tried again by itself: publish a higher \
                 one, or `hostler resume` to try it again"
            ),
        ),
        Follow::Held(why) => {
            (ExitCode::Refused, format!("{group} is held ({why}); `hostler resume` follows release {sequence} again"))
        }
        Follow::Busy => (ExitCode::Refused, format!("a deployment of {group} is going on")),
    };
    if !setup.json {
        output::remark(&format!("{text}\n"))?;
    }
    Ok(code)
}

fn worse(a: ExitCode, b: ExitCode) -> ExitCode {
    if a == ExitCode::Ok { b } else { a }
}

/// Settles every open install journal, before application units start.
fn recover(setup: &Setup, given_up: Option<&DeploymentId>) -> Outcome {
    let local = given_up.filter(|deployment| local::is_local(deployment));
    let here =
        settle_all(setup, wings::ALL, given_up.filter(|_| local.is_none())).map_err(|failure| match failure.code {
            ExitCode::LockHeld => Failure::say(
                ExitCode::LockHeld,
                "the agent is at work and brings interrupted Installs to an end itself",
            )
            .hint("`hostler status` shows what it does"),
            _ => failure,
        });
    // If one state cannot be settled, the other still is.
    local::recover(setup, local)?;
    here.map(|()| ExitCode::Ok)
}
