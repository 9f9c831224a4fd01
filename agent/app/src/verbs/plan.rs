//! `hostler plan WHAT`: what a deployment would do on this host as it is. Nothing is changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::machine::state::{Group, Policy};
use hostler_core::plan::{Problem, Summary};
use hostler_host::archive::{self, UnpackOptions};
use hostler_host::ledger;
use hostler_host::observe::{PlanError, compare_contents};
use serde::Serialize;

use crate::cli::{PlanArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::session::{ledger_failure, read_state};
use crate::setup::{Setup, existing};
use crate::work::bundle::{last_install, plan_install, problems_text, read_appspec};

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    /// Whether it can be deployed.
    deployable: bool,
    problems: Vec<Problem>,
    files: Option<Summary>,
    hooks: Vec<PlannedHook>,
}

#[derive(Debug, Serialize)]
struct PlannedHook {
    event: &'static str,
    location: String,
    user: Option<String>,
    timeout_seconds: u64,
}

pub fn run(shared: &Shared, arguments: &PlanArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let what = existing(&arguments.what)?;
    let scratch = tempfile::tempdir()?;
    let directory = unpacked(&setup, &what, scratch.path())?;
    let listing = archive::list(&directory)?;
    let read = read_appspec(&directory, &listing, arguments.appspec_filename.as_deref(), &setup.limits)
        .map_err(|f| Failure::say(ExitCode::Failed, f.message))?;
    let (group, policy) = group(&setup, shared, arguments)?;
    let last = match &group {
        Some(group) => last_install(&setup, group).map_err(|e| Failure::say(ExitCode::Failed, e))?,
        None => None,
    };
    let planned = plan_install(&setup, &read.spec, &listing, last.as_deref(), &policy);
    let hooks = hooks(&read.spec);
    let document = match planned {
        Ok(planned) => {
            let compared = compare_contents(&planned.plan, &directory, setup.layout.root())?;
            let files = Some(Summary::new(&planned.plan, &compared));
            Document { version: 1, deployable: true, problems: vec![], files, hooks }
        }
        Err(PlanError::Problems(problems)) => Document { version: 1, deployable: false, problems, files: None, hooks },
        Err(error @ PlanError::Observe(_)) => return Err(Failure::from(error)),
    };
    if setup.json {
        output::json(&document)?;
    } else {
        output::text(&text(&document))?;
    }
    Ok(if document.deployable { ExitCode::Ok } else { ExitCode::Failed })
}

fn unpacked(setup: &Setup, what: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    if what.is_dir() {
        return Ok(what.to_owned());
    }
    let file = std::fs::File::open(what)?;
    let target = scratch.join("bundle");
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    archive::unpack(&file, archive::detect(&file)?, &target, &options)?;
    Ok(target)
}

/// The group as it is on this host, and its policy; a group that is not named is one that was never deployed.
fn group(setup: &Setup, shared: &Shared, arguments: &PlanArgs) -> Result<(Option<Group>, Policy), Failure> {
    let key = match setup.group(shared) {
        Ok(key) => key,
        Err(_) if shared.application.is_none() && shared.group.is_none() => {
            hostler_core::ids::GroupKey { application: "local".parse()?, group: "local".parse()? }
        }
        Err(failure) => return Err(failure),
    };
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
    let state = read_state(&snapshot.map(|s| s.state).unwrap_or_default())?;
    let policy = setup.settings.policy(&key);
    let behavior = arguments.file_exists_behavior.map_or(policy.file_exists_behavior, Into::into);
    let policy = Policy { file_exists_behavior: behavior, ..policy };
    Ok((state.groups.get(&key.id()).cloned(), policy))
}

fn hooks(spec: &hostler_core::appspec::spec::AppSpec) -> Vec<PlannedHook> {
    let events = LifecycleEvent::ORDER.into_iter().filter(|event| event.has_scripts() && !event.runs_old_revision());
    events
        .flat_map(|event| spec.scripts(event.name()).iter().map(move |script| (event, script)))
        .map(|(event, script)| PlannedHook {
            event: event.name(),
            location: script.location.clone(),
            user: if script.sudo { Some("root".to_owned()) } else { script.runas.clone() },
            timeout_seconds: script.timeout_seconds,
        })
        .collect()
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    if !document.problems.is_empty() {
        let _ = writeln!(text, "this cannot be deployed:\n{}", problems_text(&document.problems));
        return text;
    }
    if let Some(files) = &document.files {
        let _ = writeln!(text, "{files}");
    }
    for hook in &document.hooks {
        let user = hook.user.as_deref().unwrap_or("the agent's user");
        let _ = writeln!(text, "{}: {} as {user}, at most {} s", hook.event, hook.location, hook.timeout_seconds);
    }
    text
}
