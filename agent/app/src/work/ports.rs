//! The two ports that the effects ask about what differs by the way in which a deployment came to this host: where its
//! bundle comes from, and what another agent, in whose place hostler is, has beside it. The implementations lie above;
//! the session hands them to the worker.

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use hostler_core::hook::{BundleOrigin, DEFAULT_PATH, HookRun};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::retention::Kept;
use hostler_core::machine::state::Revision;
use hostler_core::machine::state::{Script, Source};
use hostler_core::plan::SearchPath;
use hostler_core::plan::actions::{InstalledEntry, Plan};
use hostler_host::archive::Unpacked;
use hostler_host::layout::DeploymentPaths;

use crate::failure::Failure;
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::fetch::FetchedBundle;
use crate::work::finish::delete_by_retention;

/// A future of a port.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Chooses the ports of a deployment.
pub trait Ports: Debug + Sync {
    /// Where bundles of this source come from.
    fn bundles(&self, source: &Source) -> &dyn BundleSource;

    /// What another agent has beside the deployments of this group.
    fn compatibility(&self, key: &GroupKey) -> &dyn Compatibility;
}

/// Where bundles come from.
pub trait BundleSource: Debug + Sync {
    /// Fetches the bundle of a job to the deployment's paths. A bundle that is here already is not fetched again.
    ///
    /// # Errors
    /// The failure: a failed verification if it is another bundle than the requested one, and absent if the revision
    /// does not exist.
    fn fetch<'a>(
        &'a self,
        setup: &'a Setup,
        job: &'a Job,
        paths: &'a DeploymentPaths,
    ) -> Pending<'a, Result<FetchedBundle, WorkFailure>>;

    /// Unpacks the fetched bundle; `into` appears as a whole. Returns the revision as the bundle shows it.
    ///
    /// # Errors
    /// The problem of the bundle.
    fn unpack(
        &self,
        setup: &Setup,
        job: &Job,
        fetched: FetchedBundle,
        into: &Path,
    ) -> Result<(Revision, Unpacked), WorkFailure>;

    /// Whether the bundle comes over the network and can be kept for the next deployment.
    fn is_remote(&self, source: &Source) -> bool;

    /// Where the bundle came from, for the `BUNDLE_` variables of scripts.
    fn origin(&self, _: &Source) -> BundleOrigin {
        BundleOrigin::Other
    }
}

/// What another agent, in whose place hostler is, has beside a deployment: its records at each phase, which earlier
/// files are there, and what its scripts are used to. Without an agent in that place there is nothing beside: each
/// method has that as its default.
pub trait Compatibility: Debug + Sync {
    /// Makes room on the disk before the bundle is fetched. Returns warnings for the user.
    fn make_room(&self, _: &Setup, _: &Job) -> Vec<String> {
        Vec::new()
    }

    /// The bundle is unpacked.
    ///
    /// # Errors
    /// When the record of it cannot be written.
    fn unpacked(&self, _: &Setup, _: &Job) -> Result<(), WorkFailure> {
        Ok(())
    }

    /// The Install of this plan, from this unpacked bundle, begins.
    ///
    /// # Errors
    /// When the record of it cannot be written; nothing is installed then.
    fn installs(&self, _: &Setup, _: &Job, _: &Plan, _archive: &Path) -> Result<(), WorkFailure> {
        Ok(())
    }

    /// These entries are installed. Told again after a crash.
    ///
    /// # Errors
    /// When the record of it cannot be written; the Install is undone then.
    fn installed(&self, _: &Setup, _: &Job, _: &[InstalledEntry]) -> Result<(), WorkFailure> {
        Ok(())
    }

    /// The deployment has ended: deletes old revisions, except those in `kept` and those in `open`, whose Installs are
    /// not settled. Returns warnings for the user.
    fn finished(&self, setup: &Setup, job: &Job, kept: &Kept, open: Vec<DeploymentId>) -> Vec<String> {
        delete_by_retention(setup, job, kept, open)
    }

    /// The entries of the group's last Install on this host, by either agent. `ours` are those of hostler's own last
    /// Install.
    ///
    /// # Errors
    /// When the other agent's records cannot be read.
    fn last_install(
        &self,
        _: &Setup,
        _: &GroupKey,
        ours: Option<Vec<InstalledEntry>>,
    ) -> Result<Option<LastEntries>, String> {
        Ok(ours.map(|entries| LastEntries { entries, ours: true }))
    }

    /// Checks that no other user may have replaced the unpacked bundle of a deployment, before it is installed.
    ///
    /// # Errors
    /// The reason for the refusal, and the remedy.
    fn check_bundle(&self, _: &Setup, _: &GroupKey, _: &DeploymentId) -> Result<(), String> {
        Ok(())
    }

    /// The same before a script of a bundle runs. `run_directory` exists if the script has been started already.
    ///
    /// # Errors
    /// The reason for the refusal, and the remedy.
    fn check_script(&self, _: &Setup, _: &GroupKey, _: &Script, _run_directory: &Path) -> Result<(), String> {
        Ok(())
    }

    /// Checks that the journals of the group's Installs can be trusted: no other user may have written them.
    ///
    /// # Errors
    /// The reason for the refusal, and the remedy.
    fn check_journals(&self, _: &Setup) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether an Install follows links below its destinations that only root could have made.
    fn follows_safe_links(&self) -> bool {
        false
    }

    /// What holds for scripts to which the appspec says nothing else.
    fn script_defaults(&self, _: &Setup, _: &Job) -> ScriptDefaults {
        ScriptDefaults::default()
    }

    /// Sets the environment in which a script of the other agent would run.
    fn surround<'a>(&'a self, _: &'a Setup, _: &'a Job, _: &'a mut HookRun) -> Pending<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The entries that the last Install put on the host, by either agent.
#[derive(Debug, Default)]
pub struct LastEntries {
    /// The entries.
    pub entries: Vec<InstalledEntry>,
    /// Whether it was hostler's own, which has a journal.
    pub ours: bool,
}

/// What holds for scripts to which the appspec says nothing else.
#[derive(Debug, Clone)]
pub struct ScriptDefaults {
    /// The user; `None` is the agent's own.
    pub user: Option<String>,
    /// Where `env` looks for programs.
    pub search_path: SearchPath<'static>,
}

impl Default for ScriptDefaults {
    fn default() -> Self {
        Self { user: None, search_path: SearchPath::Known(DEFAULT_PATH) }
    }
}
