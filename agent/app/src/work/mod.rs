//! What effects do on this host. Each may be started again after a crash (`Work::after_a_crash`).

pub mod access;
pub mod bundle;
mod delta;
mod fetch;
mod finish;
pub mod hook;
mod in_full;
mod install;
pub mod last_install;
mod mounts;
pub mod old_hooks;
pub mod prepare;
mod probe;
mod reboot;
pub mod recover;
mod room;
pub mod scripts;
mod service_bundle;
pub mod service_files;
pub mod service_revisions;
pub mod stage;
mod traffic;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::ids::InstanceId;
use hostler_core::machine::event::{Prepared, WorkFailure};
use hostler_core::machine::state::Creator;
use hostler_core::machine::{Work, WorkResult};
use hostler_core::traffic::{TrafficPhase, Withdrawal};
use hostler_host::hooks::Launcher;
use hostler_host::memory;
use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::health::Board;
use crate::ports::{Job, Worker};
use crate::setup::{Live, Setup};

/// The worker of a real host.
#[derive(Debug)]
pub struct HostWorker {
    live: Live,
    instance: InstanceId,
    launcher: Launcher,
    board: Board,
    /// This program, which is started again as each hook's supervisor.
    program: PathBuf,
}

impl HostWorker {
    /// Finds out how hooks are started here.
    ///
    /// # Errors
    /// When this program's own file is not known.
    pub fn new(live: Live, instance: InstanceId, board: Board) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(Self { live, instance, launcher: Launcher::detect(), board, program })
    }
}

impl HostWorker {
    /// By whom supervisors are started, and of which program.
    pub fn means(&self) -> (Launcher, PathBuf) {
        (self.launcher, self.program.clone())
    }
}

impl Worker for HostWorker {
    async fn perform(&self, job: Job) -> WorkResult {
        let setup = self.live.now();
        let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
        let result = self.work(setup, job).await;
        in_full::bound(result, &paths)
    }

    async fn put_back(&self, withdrawal: Withdrawal) -> WorkResult {
        log::warn!(deployment = withdrawal.deployment.as_str(); "no deployment puts this host back into service, so it is done now: {withdrawal}");
        let done = traffic::allow(&self.live.now(), &self.instance, Some(&withdrawal)).await;
        match &done {
            Ok(warnings) => warnings.iter().for_each(|warning| log::warn!("{warning}")),
            Err(failure) => log::error!("{}; it is tried again", failure.message),
        }
        WorkResult::TrafficMoved(done)
    }
}

impl HostWorker {
    /// What comes of an effect, in full.
    async fn work(&self, setup: Arc<Setup>, job: Job) -> WorkResult {
        if job.deployment.request.creator == Creator::Rollback {
            let setup = Arc::clone(&setup);
            // What it cannot do without space says so itself.
            let _ = tokio::task::spawn_blocking(move || room::give_up_if_needed(&setup)).await;
        }
        match job.effect.work.clone() {
            Work::Prepare => {
                let mut prepared = match traffic::check(&setup, &self.instance, &job).await {
                    Ok(takes_out) => prepare::prepare(setup, job).await.map(|found| Prepared { takes_out, ..found }),
                    Err(failure) => Err(failure),
                };
                if let (Launcher::Plain, Ok(prepared)) = (self.launcher, &mut prepared) {
                    prepare::warn_of_limits(prepared);
                }
                WorkResult::Prepared(prepared)
            }
            Work::CheckBundle => service_bundle::check(setup, job).await,
            Work::RunHook { event, index, attempt } => {
                WorkResult::Hook(hook::run_or_end(self, &setup, &job, event, index, attempt).await)
            }
            Work::Install => {
                let done = blocking(move || Ok(install::install(&setup, &job))).await;
                done.unwrap_or_else(|failure| WorkResult::Installed(Err(failure)))
            }
            Work::Probe { phase } => WorkResult::Probed(probe::probe(self, &setup, &job, phase).await),
            Work::Traffic { phase } => self.traffic(&setup, &job, phase).await,
            Work::Reboot => WorkResult::Rebooted(reboot::reboot(&setup, &job).await),
            Work::Finish { commit, keep } => {
                let done = blocking(move || Ok(finish::finish(&setup, &job, commit, &keep))).await;
                let warnings = done.unwrap_or_else(|failure: WorkFailure| vec![failure.message]);
                WorkResult::Finished { warnings }
            }
        }
    }

    async fn traffic(&self, setup: &Setup, job: &Job, phase: TrafficPhase) -> WorkResult {
        match phase {
            TrafficPhase::Look => WorkResult::TrafficFound(traffic::look(setup, &self.instance, job).await),
            TrafficPhase::Block => WorkResult::TrafficMoved(traffic::block(setup, &self.instance, job).await),
            TrafficPhase::Allow => {
                WorkResult::TrafficMoved(traffic::allow(setup, &self.instance, job.withdrawal.as_ref()).await)
            }
        }
    }
}

/// Work that blocks, on a thread of its own. A panic there is one here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // What a large bundle took must not lie there while the next effect takes its own.
    let work = || {
        let result = work();
        memory::return_freed_memory();
        result
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => Err(fail(format!("the agent ends: {error}"))),
        },
    }
}

/// A failure that is not about digests.
fn fail(message: impl std::fmt::Display) -> WorkFailure {
    WorkFailure { message: message.to_string(), verification: false, absent: false }
}

/// Bundles that are unpacked and planned at a time. More would take the memory and the threads from everything else, and
/// finish none of them earlier.
static UNPACKING: Semaphore = Semaphore::const_new(2);

/// Work that blocks for long and takes much, when its turn has come.
async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkFailure> + Send + 'static,
) -> Result<T, WorkFailure> {
    // It is never closed.
    let _turn = UNPACKING.acquire().await.map_err(fail)?;
    blocking(work).await
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
