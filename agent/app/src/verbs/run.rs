//! `hostler run`: the daemon; `--once`: one pass; `--recover`: only bring an interrupted Install to an end.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::GroupSettings;
use hostler_core::machine::Event;
use hostler_core::machine::follow::Follow;
use hostler_core::machine::state::{Deployment, Outcome as DeploymentOutcome};

use crate::cli::{RunArgs, Shared};
use crate::daemon;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::failure_text;
use crate::session::Session;
use crate::setup::Setup;
use crate::sources::channel::{Look, LookError, look};
use crate::work::recover::settle_all;

pub fn run(shared: &Shared, arguments: &RunArgs) -> Outcome {
    let read = || read_setup(shared, arguments);
    match (arguments.once, arguments.recover) {
        (_, true) => recover(&read()?),
        (true, _) => {
            log::set_max_level(log::LevelFilter::Warn);
            super::block_on(once(Arc::new(read()?)))
        }
        (false, false) => super::block_on(daemon::run(read()?, read)),
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

/// Finishes what the ledger holds, does what the channels say, and ends with the worst outcome.
async fn once(setup: Arc<Setup>) -> Outcome {
    let mut session = Session::open(&setup).await?;
    let mut code = finish_interrupted(&setup, &mut session).await?;
    for group in setup.settings.groups.clone() {
        let Some(channel) = &group.channel else { continue };
        // One group's broken channel is no reason to leave the others as they are.
        let this = follow_once(&setup, &group, channel, &mut session).await.unwrap_or_else(|failure| {
            failure.print();
            failure.code
        });
        code = worse(code, this);
    }
    session.leave().await?;
    Ok(code)
}

/// Does what one channel says, now.
async fn follow_once(setup: &Setup, group: &GroupSettings, channel: &str, session: &mut Session) -> Outcome {
    match look(setup, group, channel, &session.handle, None).await.map_err(LookError::into_failure)? {
        Look::Empty => {
            let message = format!("{channel} holds no release for {}", group.key);
            Err(Failure::say(ExitCode::NotFound, message)
                .hint("publish one: hostler release STORE --application A --group G REVISION"))
        }
        Look::Release { follow: Follow::Deploy, request, .. } => {
            session.deploy(setup.json, |id| Event::Deploy { id, request }).await
        }
        Look::Release { sequence, follow, .. } => say_why_not(setup, &group.key.to_string(), sequence, &follow),
        Look::Unchanged => Ok(ExitCode::Ok),
    }
}

/// Waits for the deployments that were interrupted and says what became of them.
async fn finish_interrupted(setup: &Setup, session: &mut Session) -> Outcome {
    let before = session.handle.state().borrow().clone();
    let interrupted: Vec<_> = before.all_active().map(|(group, d)| (group.key.clone(), d.id.clone())).collect();
    session.settle().await?;
    let after = session.handle.state().borrow().clone();
    let mut code = ExitCode::Ok;
    for (key, id) in interrupted {
        let finished = after.groups.get(&key.id()).and_then(|g| g.finished.iter().find(|d| d.id == id));
        if let Some(deployment) = finished {
            if !setup.json {
                output::text(&found_text(deployment))?;
            }
            if deployment.outcome == Some(DeploymentOutcome::Failed) {
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

fn found_text(deployment: &Deployment) -> String {
    let word = match deployment.outcome {
        Some(DeploymentOutcome::Succeeded) => "succeeded",
        Some(DeploymentOutcome::Failed) | None => "failed",
    };
    let mut text =
        format!("{} of {} was interrupted; taken up again, it {word}\n", deployment.id, deployment.request.key);
    if let Some(failure) = &deployment.failure {
        text.push_str(&failure_text(failure));
    }
    text
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
        Follow::Failed => (
            ExitCode::Failed,
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
        output::text(&format!("{text}\n"))?;
    }
    Ok(code)
}

fn worse(a: ExitCode, b: ExitCode) -> ExitCode {
    if a == ExitCode::Ok { b } else { a }
}

/// Brings every open install journal to an end, before application units start.
fn recover(setup: &Setup) -> Outcome {
    output::text(&settle_all(setup)?)?;
    output::text(&super::codedeploy_local::recover(setup)?)?;
    Ok(ExitCode::Ok)
}
