//! Replaced files that could not be deleted when their deployment succeeded: the daemon retries until they are gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostler_core::ids::DeploymentId;
use hostler_core::machine::State;
use hostler_core::machine::state::{Group, Purpose};
use hostler_core::retry::Backoff;
use hostler_host::install::{self, InstallLock, JournalState};

use crate::controller::{Controller, LogOnce, Retries, View, Wake};
use crate::failure::chain;
use crate::setup::Setup;

const BETWEEN_TRIES: Backoff = Backoff { first_ms: 30_000, most_ms: 900_000 };

/// The files on this host.
pub trait Files: Clone + Send + 'static {
    /// The deployments with such files, and their journals.
    fn left(&self, setup: &Setup, state: &State) -> Vec<(DeploymentId, PathBuf)>;

    /// Deletes those of one journal.
    ///
    /// # Errors
    /// Why they are still there.
    fn delete(&self, setup: &Setup, journal: &Path) -> Result<(), String>;
}

/// Deletes such files whenever no deployment is active.
#[derive(Debug)]
pub struct Backups<F = OnDisk> {
    files: F,
    retries: Retries,
    problems: BTreeMap<DeploymentId, LogOnce>,
}

impl Backups {
    /// Nothing was tried yet.
    pub fn new() -> Self {
        Self::of(OnDisk)
    }
}

impl<F: Files> Controller for Backups<F> {
    const NAME: &'static str = "backups that stayed";

    async fn reconcile(&mut self, view: &View) -> Wake {
        let left = if view.state.is_busy() { Vec::new() } else { self.files.left(&view.setup, &view.state) };
        if left.is_empty() {
            self.retries.succeeded();
            self.problems.clear();
            return Wake::on_state();
        }
        if self.retries.is_due() {
            match self.delete_all(&view.setup, left).await {
                true => self.retries.succeeded(),
                false => _ = self.retries.failed(),
            }
        }
        match self.retries.next() {
            // The state changes often, and the obstacle does not go with it.
            Some(next) => Wake::on_reload().at(next),
            None => Wake::on_state(),
        }
    }
}

impl<F: Files> Backups<F> {
    fn of(files: F) -> Self {
        Self { files, retries: Retries::new(BETWEEN_TRIES), problems: BTreeMap::new() }
    }

    /// Returns whether everything is deleted.
    async fn delete_all(&mut self, setup: &Arc<Setup>, left: Vec<(DeploymentId, PathBuf)>) -> bool {
        let (files, setup) = (self.files.clone(), Arc::clone(setup));
        let tried = tokio::task::spawn_blocking(move || {
            let tried = left.into_iter().map(|(id, journal)| (id, files.delete(&setup, &journal)));
            tried.collect::<Vec<_>>()
        });
        let Ok(tried) = tried.await else { return false };
        let all = tried.iter().all(|(_, deleted)| deleted.is_ok());
        for (id, deleted) in tried {
            self.tell(id, deleted);
        }
        all
    }

    fn tell(&mut self, id: DeploymentId, deleted: Result<(), String>) {
        match deleted {
            Ok(()) => {
                log::info!(deployment = id.as_str(); "the files that {id} replaced, and that could not be deleted then, are deleted now");
            }
            Err(problem) if self.problems.entry(id.clone()).or_default().differs(&problem) => {
                log::warn!(deployment = id.as_str(); "the files that {id} replaced are not deleted yet: {problem}");
            }
            Err(_) => {}
        }
    }
}

/// The real ones.
#[derive(Debug, Clone, Copy)]
pub struct OnDisk;

impl Files for OnDisk {
    fn left(&self, setup: &Setup, state: &State) -> Vec<(DeploymentId, PathBuf)> {
        left(setup, state)
    }

    fn delete(&self, setup: &Setup, journal: &Path) -> Result<(), String> {
        let lock = setup.layout.install_lock();
        let _alone = InstallLock::wait(lock).map_err(|error| format!("cannot lock {}: {error}", lock.display()))?;
        install::commit(journal).map(|_| ()).map_err(|error| chain(&error))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::controller::start;
    use crate::test_support::{Host, listen, logged, setup};

    /// Files of two deployments; those of a stuck one cannot be deleted.
    #[derive(Clone, Default)]
    struct Faked {
        left: Arc<Mutex<BTreeSet<&'static str>>>,
        stuck: Arc<Mutex<BTreeSet<&'static str>>>,
        tries: Arc<Mutex<Vec<(Instant, String)>>>,
    }

    impl Files for Faked {
        fn left(&self, _: &Setup, _: &State) -> Vec<(DeploymentId, PathBuf)> {
            self.left.lock().unwrap().iter().map(|id| (id.parse().unwrap(), id.into())).collect()
        }

        fn delete(&self, _: &Setup, journal: &Path) -> Result<(), String> {
            let id = journal.to_str().unwrap();
            self.tries.lock().unwrap().push((Instant::now(), id.to_owned()));
            if self.stuck.lock().unwrap().contains(id) {
                return Err("Operation not permitted".to_owned());
            }
            self.left.lock().unwrap().remove(id);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_stay_are_tried_again_ever_later_and_logged_once() {
        listen();
        let files = Faked::default();
        files.left.lock().unwrap().extend(["d-1", "d-2"]);
        files.stuck.lock().unwrap().insert("d-2");
        let (host, given) = (Host::new(setup("/nowhere".as_ref(), "")), files.clone());
        let task = start(&host.sources, move || Backups::of(given.clone()));
        let tries = || files.tries.lock().unwrap().iter().filter(|(_, id)| id == "d-2").map(|(at, _)| *at).collect();
        let wait_for = async |count: usize| -> Vec<Instant> {
            loop {
                let tries: Vec<Instant> = tries();
                if tries.len() >= count {
                    return tries;
                }
                host.touch_state();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let tries = wait_for(4).await;
        for (longest, two) in [30, 60, 120].into_iter().zip(tries.windows(2)) {
            let wait = (two[1] - two[0]).as_secs();
            assert!((longest / 2..=longest).contains(&wait), "{tries:?}");
        }
        files.stuck.lock().unwrap().clear();
        wait_for(5).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let logged = logged();
        let count = |text: &str| logged.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count("d-1 replaced, and that could not be deleted then, are deleted now"), 1, "{logged:?}");
        assert_eq!(count("d-2 replaced are not deleted yet: Operation not permitted"), 1, "{logged:?}");
        assert_eq!(count("d-2 replaced, and that could not be deleted then, are deleted now"), 1, "{logged:?}");
        assert_eq!(logged.len(), 3, "{logged:?}");
        task.abort();
    }
}
