//! In the CodeDeploy agent's place: what hostler writes down, checks and deletes as that agent does, for the groups of
//! the CodeDeploy service.

use std::path::Path;

use hostler_core::hook::{DEFAULT_PATH, HookRun};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::retention::{Kept, kept};
use hostler_core::machine::state::{Purpose, Script, Source};
use hostler_core::plan::SearchPath;
use hostler_core::plan::actions::{InstalledEntry, Plan};
use hostler_host::codedeploy_agent::places::owner_of;
use hostler_host::users::own_uid;

use crate::codedeploy::exposure::{Use, check_archive, refuse_exposed};
use crate::codedeploy::{environment, records, revisions};
use crate::failure::Failure;
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::ports::{Compatibility, LastEntries, Pending, ScriptDefaults};

/// The CodeDeploy agent's place.
#[derive(Debug)]
pub struct AgentsPlace;

impl Compatibility for AgentsPlace {
    /// Deletes old revisions before the new one is fetched, as that agent does, so that never more than
    /// `max_revisions` are unpacked.
    fn make_room(&self, setup: &Setup, job: &Job) -> Vec<String> {
        let Source::CodeDeploy { reuse, .. } = &job.deployment.request.source else { return Vec::new() };
        let keep = kept(&job.group, &job.deployment).always.into_iter().chain(reuse.clone()).collect();
        revisions::delete_oldest(setup, job, keep)
    }

    fn unpacked(&self, setup: &Setup, job: &Job) -> Result<(), WorkFailure> {
        match job.deployment.request.source {
            Source::CodeDeploy { .. } => records::write_most_recent(setup, &job.group.key, &job.deployment.id),
            // Nothing was unpacked for it.
            _ => Ok(()),
        }
    }

    fn installs(&self, setup: &Setup, job: &Job, plan: &Plan, archive: &Path) -> Result<(), WorkFailure> {
        records::write_plan(setup, &job.group.key, plan, archive)
    }

    fn installed(&self, setup: &Setup, job: &Job, entries: &[InstalledEntry]) -> Result<(), WorkFailure> {
        // The record names the directory of the unpacked bundle: a rollback has none of its own.
        records::write_installed(setup, &job.group.key, job.deployment.archive(), entries)
    }

    fn finished(&self, setup: &Setup, job: &Job, kept: &Kept, open: Vec<DeploymentId>) -> Vec<String> {
        if let Some(compat) = &setup.codedeploy_compat {
            compat.tokens.forget(&job.deployment.id);
        }
        revisions::delete_oldest(setup, job, [kept.always.clone(), open].concat())
    }

    fn last_install(
        &self,
        setup: &Setup,
        key: &GroupKey,
        ours: Option<Vec<InstalledEntry>>,
    ) -> Result<Option<LastEntries>, String> {
        records::last_install(setup, key, ours)
    }

    fn check_bundle(&self, setup: &Setup, key: &GroupKey, deployment: &DeploymentId) -> Result<(), String> {
        check_archive(setup, key, deployment, Use::Install)
    }

    fn check_script(&self, setup: &Setup, key: &GroupKey, script: &Script, run_directory: &Path) -> Result<(), String> {
        // A script that already runs is followed, whatever happened to its bundle.
        if owner_of(run_directory) == Some(own_uid()) {
            return Ok(());
        }
        check_archive(setup, key, &script.archive, Use::Run(script))
    }

    fn check_journals(&self, setup: &Setup) -> Result<(), Failure> {
        setup.codedeploy_compat.as_ref().map_or(Ok(()), |compat| refuse_exposed(setup, compat))
    }

    fn follows_safe_links(&self) -> bool {
        true
    }

    fn script_defaults(&self, setup: &Setup, job: &Job) -> ScriptDefaults {
        if job.deployment.request.purpose != Purpose::Commanded {
            return ScriptDefaults::default();
        }
        let user = setup.codedeploy_compat.as_ref().and_then(|compat| compat.agent.user.clone());
        // A profile of the host may set another search path.
        ScriptDefaults { user, search_path: SearchPath::Likely(DEFAULT_PATH) }
    }

    fn surround<'a>(&'a self, setup: &'a Setup, job: &'a Job, run: &'a mut HookRun) -> Pending<'a, ()> {
        match &setup.codedeploy_compat {
            Some(compat) if job.deployment.request.purpose == Purpose::Commanded => {
                Box::pin(environment::surround(run, setup, compat))
            }
            _ => Box::pin(std::future::ready(())),
        }
    }
}
