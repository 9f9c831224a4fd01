//! Replaced files that could not be deleted when their deployment succeeded: the daemon retries until they are gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::ids::DeploymentId;
use hostler_core::machine::State;
use hostler_core::machine::state::{Group, Purpose};
use hostler_core::retry::Backoff;
use hostler_host::clock;
use hostler_host::install::{self, InstallLock, JournalState};
use tokio::sync::watch;

use crate::failure::chain;
use crate::setup::{Setup, SetupWatch};

const BETWEEN_TRIES: Backoff = Backoff { first_ms: 30_000, most_ms: 900_000 };

/// Deletes such files whenever no deployment is active; ends with the engine.
pub async fn delete_left(setup_watch: SetupWatch, mut state: watch::Receiver<Arc<State>>) {
    let mut failures = 0;
    loop {
        let now = Arc::clone(&state.borrow_and_update());
        let setup = setup_watch.now();
        let open = if now.is_busy() { Vec::new() } else { left(&setup, &now) };
        if open.is_empty() {
            failures = 0;
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let tried =
            tokio::task::spawn_blocking(move || open.iter().filter(|(id, path)| !delete(&setup, id, path)).count());
        // The next turn finds that nothing is left.
        failures = if tried.await.is_ok_and(|left| left == 0) { 0 } else { failures + 1 };
        tokio::time::sleep(Duration::from_millis(BETWEEN_TRIES.wait_ms(failures, clock::now_ms()))).await;
    }
}

/// The deployments with such files, and their journals.
fn left(setup: &Setup, state: &State) -> Vec<(DeploymentId, PathBuf)> {
    let groups = state.groups.values().filter(|group| group.active.is_none());
    let all = groups.flat_map(|group| {
        let installs = [&group.installed, &group.installed_before].into_iter().flatten();
        // Files that a removal replaced belong to no installation.
        let ended =
            group.finished.iter().filter(|ended| ended.request.purpose == Purpose::Remove).map(|ended| &ended.id);
        installs.map(|installed| &installed.deployment).chain(ended).map(move |id| (group, id))
    });
    let paths = all.map(|(group, id)| (group, id, setup.layout.deployment(&group.key, id).journal()));
    let open =
        paths.filter(|(group, id, journal)| install::state(journal).is_ok_and(|state| is_left(group, id, state)));
    open.map(|(_, id, journal)| (id.clone(), journal)).collect()
}

/// The files of a failed deployment stay on purpose: a rollback puts them back.
fn is_left(group: &Group, deployment: &DeploymentId, state: JournalState) -> bool {
    let good = group.last_good.as_ref().is_some_and(|good| good.deployment == *deployment);
    state == JournalState::Committing || (state == JournalState::Installed && good)
}

fn delete(setup: &Setup, deployment: &DeploymentId, journal: &std::path::Path) -> bool {
    let alone = InstallLock::wait(setup.layout.install_lock());
    match alone.map(|_alone| install::commit(journal)) {
        Ok(Ok(_)) => {
            log::info!(deployment = deployment.as_str(); "the files that {deployment} replaced, and that could not be deleted then, are deleted now");
            true
        }
        Ok(Err(error)) => {
            log::warn!(deployment = deployment.as_str(); "the files that {deployment} replaced are not deleted yet: {}", chain(&error));
            false
        }
        Err(error) => {
            log::warn!("cannot lock {}: {error}", setup.layout.install_lock().display());
            false
        }
    }
}
