//! Whether the scripts of a revision can start on this host in its present state.

use std::collections::BTreeMap;
use std::path::Path;

use hostler_core::appspec::spec::AppSpec;
use hostler_core::bundle::BundleListing;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::Purpose;
use hostler_core::plan::{
    Problem, Problems, ScriptFacts, ScriptProblem, ScriptQuestions, ScriptUser, Scripts, judge_scripts,
};
use hostler_host::users::UserError;
use hostler_host::{mounts, observe, programs, users};

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::bundle::script_heads;
use crate::work::ports::{Ports, ScriptDefaults};

/// A revision's unpacked bundle, and how its scripts run.
#[derive(Debug, Clone)]
pub struct Revision<'a> {
    /// The unpacked bundle.
    pub archive: &'a Path,
    /// Its appspec.
    pub spec: &'a AppSpec,
    /// Its contents.
    pub listing: &'a BundleListing,
    /// The path of the bundle when its scripts run.
    pub runs_in: &'a Path,
    /// What holds for scripts to which the appspec says nothing else.
    pub defaults: ScriptDefaults,
}

/// Errors and warnings about scripts of a deployment that cannot start. If an earlier script may repair the problem, it
/// only counts as a warning where the appspec says so, and in commanded deployments: the agents that such a service has
/// of its own never checked.
///
/// # Errors
/// The user database does not answer.
pub fn check(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    archive: &Path,
    spec: &AppSpec,
    listing: &BundleListing,
) -> Result<(Problems, Vec<Problem>), WorkFailure> {
    let commanded = job.deployment.request.purpose == Purpose::Commanded;
    let defaults = ports.compatibility(&job.group.key).script_defaults(setup, job);
    let found = problems(Revision { archive, spec, listing, runs_in: archive, defaults });
    if job.deployment.request.purpose.rolls_back().is_some() {
        // The new application is gone either way: the scripts of the old one that can start are started.
        let found = found.unwrap_or_else(|failure| {
            log::warn!(deployment = job.deployment.id.as_str(); "{}: scripts are not checked before a rollback: {}", job.deployment.id, failure.message);
            Vec::new()
        });
        return Ok((Problems::default(), found.into_iter().map(|found| found.problem).collect()));
    }
    let found = found?;
    Ok(judge_scripts(found, commanded || spec.extension.recheck_after_before_install))
}

/// The problems that keep scripts from starting.
///
/// # Errors
/// The user database does not answer.
pub fn problems(revision: Revision<'_>) -> Result<Vec<ScriptProblem>, WorkFailure> {
    let Revision { archive, spec, listing, runs_in, defaults } = revision;
    let heads = script_heads(archive, spec, listing);
    let scripts = Scripts {
        spec,
        listing,
        heads: &heads,
        default_user: defaults.user.as_deref(),
        search_path: defaults.search_path,
    };
    Ok(scripts.problems(&answers(scripts.questions(), runs_in)?))
}

fn answers(questions: ScriptQuestions, runs_in: &Path) -> Result<ScriptFacts, WorkFailure> {
    let mut known = BTreeMap::new();
    for name in questions.users {
        match users::lookup(&name) {
            Ok(user) => drop(known.insert(name, ScriptUser { uid: user.uid, gids: user.groups })),
            Err(UserError::Unknown { .. }) => {}
            Err(error) => return Err(WorkFailure::from(&error)),
        }
    }
    Ok(ScriptFacts {
        users: known,
        programs: questions.programs.into_iter().filter(|path| users::is_program(path)).collect(),
        noexec: mounts::noexec_mount(runs_in),
        machine: programs::machine(),
        agent: observe::agent().map_err(|e| WorkFailure::from(&e))?,
    })
}
