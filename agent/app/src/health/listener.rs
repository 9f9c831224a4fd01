//! The answers to a load balancer's health checks.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::machine::State;
use hostler_core::machine::checks::in_service;
use hostler_core::status::Health;
use hostler_host::health_listener::{self, Answer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::setup::{Setup, SetupWatch};
use crate::tasks::kept;

/// Opens the address and answers there until the task is aborted.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    setup_watch: SetupWatch,
    state: watch::Receiver<Arc<State>>,
    health: watch::Receiver<Health>,
) -> Result<JoinHandle<()>, Failure> {
    let listener = health_listener::open(address).await;
    let listener = listener.with_context(|| format!("cannot answer health checks on {address} (health_listener)"))?;
    // The port may have been chosen by the kernel.
    log::info!("health checks are answered on {}", listener.local_addr()?);
    let first = answer(&setup_watch.now(), &state.borrow(), &health.borrow());
    let (send, answers) = watch::channel(first);
    let (send, listener) = (Arc::new(send), Arc::new(listener));
    Ok(tokio::spawn(kept("health listener", move || {
        let keep = keep_answer(setup_watch.clone(), state.clone(), health.clone(), Arc::clone(&send));
        let serve = health_listener::serve(Arc::clone(&listener), answers.clone());
        async move {
            tokio::join!(keep, serve);
        }
    })))
}

async fn keep_answer(
    mut setup_watch: SetupWatch,
    mut state: watch::Receiver<Arc<State>>,
    mut health: watch::Receiver<Health>,
    send: Arc<watch::Sender<Answer>>,
) {
    loop {
        send.send_replace(answer(&setup_watch.now(), &state.borrow_and_update(), &health.borrow_and_update()));
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = health.changed() => changed,
            () = setup_watch.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The host may get traffic when every group on it serves and is healthy.
fn answer(setup: &Setup, state: &State, health: &Health) -> Answer {
    let no = |text: String| Answer { healthy: false, text };
    if state.groups.values().all(|group| group.installed.is_none()) {
        return no("nothing is installed".to_owned());
    }
    for group in state.groups.values() {
        let key = &group.key;
        if (group.installed.is_some() || group.active.is_some()) && !in_service(group) {
            return no(format!("{key} is being deployed"));
        }
        let checks = group.installed.as_ref().map_or(0, |i| i.health.len()) + setup.settings.health(key).len();
        match health.get(&key.id()) {
            Some(report) if !report.is_healthy() => {
                return no(format!("{key} is {}: {}", report.colour.word(), report.causes.join("; ")));
            }
            // The daemon has just started.
            None if checks > 0 && group.active.is_none() => return no(format!("{key} was not checked yet")),
            Some(_) | None => {}
        }
    }
    Answer { healthy: true, text: "healthy".to_owned() }
}
