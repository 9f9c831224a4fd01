//! The daemon, in phases: take the lock, open the door, follow the channels, wait for the end, drain.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::machine::State;
use hostler_core::status::{Health, one_line};
use hostler_host::notify;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::failure::Outcome;
use crate::health;
use crate::session::Session;
use crate::setup::Setup;
use crate::sources::channel;

/// Runs until somebody asks for its end, or until the state cannot be persisted any more.
///
/// # Errors
/// Lock held when another agent has the state; otherwise whatever stopped it.
pub async fn run(setup: Arc<Setup>) -> Outcome {
    let stop = Arc::new(Notify::new());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut session = Session::open(&setup, Some(Arc::clone(&stop)))?;
    log::info!(state:% = setup.layout.state().display(), groups = setup.settings.groups.len(); "hostler runs");
    let mut watchers = Vec::new();
    for group in setup.settings.groups.clone() {
        if let Some(channel) = group.channel.clone() {
            watchers.push(tokio::spawn(channel::watch(Arc::clone(&setup), group, channel, session.handle.clone())));
        }
    }
    watchers.push(tokio::spawn(show_state(session.handle.state(), session.board.watch())));
    watchers.push(tokio::spawn(health::monitor(Arc::clone(&setup), session.handle.state(), session.board.clone())));
    if let Some(address) = setup.settings.health_listener {
        watchers
            .push(health::listen(address, Arc::clone(&setup), session.handle.state(), session.board.watch()).await?);
    }
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
    ended?;
    notify::stopping();
    log::info!("hostler stops; hooks that are running go on");
    session.drain().await?;
    Ok(ExitCode::Ok)
}

/// Keeps the line that `systemctl status` shows true.
async fn show_state(mut state: watch::Receiver<Arc<State>>, mut health: watch::Receiver<Health>) {
    let mut shown = String::new();
    loop {
        let line = one_line(&state.borrow_and_update(), &health.borrow_and_update());
        if line != shown {
            notify::status(&line);
            shown = line;
        }
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = health.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
