//! The daemon, in phases: take the lock, open the door, follow the channels, wait for the end, drain.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::machine::State;
use hostler_core::status::one_line;
use hostler_host::{codedeploy_agent, notify};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::failure::Outcome;
use crate::session::Session;
use crate::setup::Setup;
use crate::sources::{channel, codedeploy};

/// Runs until somebody asks for its end, or until the state cannot be persisted any more.
///
/// # Errors
/// Lock held when another agent has the state; otherwise whatever stopped it.
pub async fn run(setup: Arc<Setup>) -> Outcome {
    let stop = Arc::new(Notify::new());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if let Some(drop_in) = &setup.drop_in {
        codedeploy::refuse_beside_the_agent(&setup, drop_in)?;
    }
    let mut session = Session::open(&setup, Some(Arc::clone(&stop)))?;
    log::info!(state:% = setup.layout.state().display(), groups = setup.settings.groups.len(); "hostler runs");
    let mut watchers = Vec::new();
    for group in setup.settings.groups.clone() {
        if let Some(channel) = group.channel.clone() {
            watchers.push(tokio::spawn(channel::watch(Arc::clone(&setup), group, channel, session.handle.clone())));
        }
    }
    if let Some(drop_in) = &setup.drop_in {
        let (setup, drop_in) = (Arc::clone(&setup), Arc::clone(drop_in));
        watchers.push(tokio::spawn(codedeploy::follow(setup, drop_in, session.handle.clone())));
    }
    watchers.push(tokio::spawn(show_state(session.handle.state())));
    notify::ready();
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = stop.notified() => Ok(()),
        ended = session.ended() => ended,
    };
    for watcher in watchers {
        watcher.abort();
    }
    if let Some(drop_in) = &setup.drop_in {
        codedeploy_agent::remove_pid_file(&drop_in.pid_file(&setup.layout));
    }
    ended?;
    notify::stopping();
    log::info!("hostler stops; hooks that are running go on");
    session.drain().await?;
    Ok(ExitCode::Ok)
}

/// Keeps the line that `systemctl status` shows true.
async fn show_state(mut state: watch::Receiver<Arc<State>>) {
    let mut shown = String::new();
    loop {
        let line = one_line(&state.borrow_and_update());
        if line != shown {
            notify::status(&line);
            shown = line;
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
