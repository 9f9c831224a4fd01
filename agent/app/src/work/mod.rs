//! The effects on this host. Each may be started again after a crash (`Work::after_a_crash`).

pub mod bundle;
pub mod bundle_cache;
mod check_bundle;
mod delta;
pub mod download;
pub mod fetch;
mod finish;
pub mod hook;
mod in_full;
mod install;
pub mod last_install;
mod mounts;
pub mod old_hooks;
pub mod plain;
pub mod ports;
pub mod prepare;
mod probe;
mod reboot;
pub mod recover;
pub mod revisions;
mod room;
pub mod scripts;
pub mod stage;
mod traffic;
pub mod unpack;
pub mod unsettled;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::ids::InstanceId;
use hostler_core::machine::event::{Prepared, WorkFailure};
use hostler_core::machine::{Work, WorkResult};
use hostler_core::traffic::{TrafficPhase, Withdrawal};
use hostler_host::hooks::Launcher;

use crate::failure::Failure;
use crate::health::HealthWatch;
use crate::ports::{Job, Worker};
use crate::setup::{Setup, SetupWatch};
use crate::threads::blocking;
use crate::work::ports::Ports;

/// The worker of a real host.
#[derive(Debug)]
pub struct HostWorker {
    setup_watch: SetupWatch,
    instance: InstanceId,
    launcher: Launcher,
    health_watch: HealthWatch,
    ports: &'static dyn Ports,
    /// This program, beside which a hook's supervisor lies.
    program: PathBuf,
}

impl HostWorker {
    /// Finds out how to start hooks on this host.
    ///
    /// # Errors
    /// When the path of this program is unknown.
    pub fn new(
        setup_watch: SetupWatch,
        instance: InstanceId,
        health_watch: HealthWatch,
        ports: &'static dyn Ports,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(Self { setup_watch, instance, launcher: Launcher::detect(), health_watch, ports, program })
    }
}

impl HostWorker {
    /// The launcher of supervisors, and their program.
    pub fn means(&self) -> (Launcher, PathBuf) {
        (self.launcher, self.program.clone())
    }
}

impl Worker for HostWorker {
    async fn perform(&self, job: Job) -> WorkResult {
        let setup = self.setup_watch.now();
        let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
        let result = self.work(setup, job).await;
        in_full::bound(result, &paths)
    }

    async fn put_back(&self, withdrawal: Withdrawal) -> WorkResult {
        log::warn!(deployment = withdrawal.deployment.as_str(); "no deployment puts this host back into service, so the agent does it now: {withdrawal}");
        let done = traffic::allow(&self.setup_watch.now(), &self.instance, Some(&withdrawal)).await;
        match &done {
            Ok(warnings) => warnings.iter().for_each(|warning| log::warn!("{warning}")),
            Err(failure) => log::error!("{}; it is tried again", failure.message),
        }
        WorkResult::TrafficMoved(done)
    }
}

impl HostWorker {
    /// Performs an effect; returns its uncut result.
    async fn work(&self, setup: Arc<Setup>, job: Job) -> WorkResult {
        if job.deployment.request.purpose.is_rollback() {
            let setup = Arc::clone(&setup);
            // Work that fails for lack of space reports it itself.
            let _ = tokio::task::spawn_blocking(move || room::give_up_if_needed(&setup)).await;
        }
        let ports = self.ports;
        match job.effect.work.clone() {
            Work::Prepare => {
                let mut prepared = match traffic::check(&setup, &self.instance, &job).await {
                    Ok(takes_out) => {
                        prepare::prepare(setup, ports, job).await.map(|found| Prepared { takes_out, ..found })
                    }
                    Err(failure) => Err(failure),
                };
                if let (Launcher::Plain, Ok(prepared)) = (self.launcher, &mut prepared) {
                    prepare::warn_of_limits(prepared);
                }
                WorkResult::Prepared(prepared)
            }
            Work::CheckBundle => check_bundle::check(setup, ports, job).await,
            Work::RunHook { event, index, attempt } => {
                WorkResult::Hook(hook::run_or_end(self, &setup, &job, event, index, attempt).await)
            }
            Work::Install => {
                let done = blocking(move || Ok(install::install(&setup, ports, &job))).await;
                done.unwrap_or_else(|failure| WorkResult::Installed(Err(failure)))
            }
            Work::Probe { phase } => WorkResult::Probed(probe::probe(self, &setup, &job, phase).await),
            Work::Traffic { phase } => self.traffic(&setup, &job, phase).await,
            Work::Reboot => WorkResult::Rebooted(reboot::reboot(&setup, &job).await),
            Work::Finish { commit, keep } => {
                let done = blocking(move || Ok(finish::finish(&setup, ports, &job, commit, &keep))).await;
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
