//! The effect RunHook: one script of one event, under its supervisor.

use std::path::Path;

use hostler_core::event_order::LifecycleEvent;
use hostler_core::hook::{
    HOOK_DOCUMENT_VERSION, HookFacts, HookOutcome, HookResult, HookRun, environment, with_defaults, with_own,
};
use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_core::machine::state::Script;
use hostler_host::hooks;
use hostler_host::users::User;
use hostler_host::{atomic, clock, locale};

use crate::access;
use crate::access::Way;
use crate::failure::fail;
use crate::ports::Job;
use crate::setup::Setup;
use crate::tasks::{Restarts, caught};
use crate::work::HostWorker;

/// How often the agent returns to a run after a fault of its own.
const TRIES: u32 = 3;

/// Runs the script. After a fault of its own, the agent returns to the run, which continues meanwhile. It ends a run
/// that it cannot follow, since nothing may run beside it.
pub async fn run_or_end(
    worker: &HostWorker,
    setup: &Setup,
    job: &Job,
    event: LifecycleEvent,
    index: usize,
    attempt: u32,
) -> HookResult {
    let mut restarts = Restarts::new("hook");
    for _ in 1..TRIES {
        match caught(run(worker, setup, job, event, index, attempt)).await {
            Ok(result) => return result,
            Err(panicked) => tokio::time::sleep(restarts.after(&panicked)).await,
        }
    }
    match caught(run(worker, setup, job, event, index, attempt)).await {
        Ok(result) => result,
        Err(panicked) => {
            let directory = setup.layout.deployment(&job.group.key, &job.deployment.id).run(event, index, attempt);
            if let Err(error) = hooks::cancel(&directory) {
                log::warn!(error:%; "a hook that cannot be followed cannot be ended either: {error}");
            }
            could_not_start(fail(panicked))
        }
    }
}

fn could_not_start(failure: WorkFailure) -> HookResult {
    let now = clock::now_ms();
    let no_space = failure.kind == FailureKind::NoSpace;
    HookResult::without_output(HookOutcome::CouldNotStart { message: failure.message, no_space }, now, now)
}

/// Starts the script, or attaches to a run that was started before.
async fn run(
    worker: &HostWorker,
    setup: &Setup,
    job: &Job,
    event: LifecycleEvent,
    index: usize,
    attempt: u32,
) -> HookResult {
    let Some(script) = job.deployment.step(event).and_then(|s| s.scripts.get(index)) else {
        return could_not_start(fail(format!("a fault in hostler: {event} has no script number {}", index + 1)));
    };
    let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
    // The service may request an event before DownloadBundle, which otherwise makes a deployment's directory.
    if let Err(failure) = access::make_lasting_directory(setup, &job.group.key, &job.deployment.id) {
        return could_not_start(failure);
    }
    let runs = paths.hook_runs();
    let made = if runs.is_dir() { Ok(()) } else { atomic::create_directories(&runs, 0o700) };
    if let Err(error) = made {
        return could_not_start(WorkFailure::from(&error));
    }
    let run_directory = paths.run(event, index, attempt);
    let compatibility = worker.ports.compatibility(&job.group.key);
    if let Err(problem) = compatibility.check_script(setup, &job.group.key, script, &run_directory) {
        return could_not_start(fail(problem));
    }
    let mut run = surrounded(worker, setup, job, event, index, script).await;
    match Way::to(setup, &job.group.key, &script.archive).admit(run.user.as_deref()).await {
        // run.json is text. Without the user there, the supervisor looks it up.
        Ok(found) => run.account = found.filter(User::is_text),
        Err(failure) => return could_not_start(failure),
    }
    hooks::run(&worker.launcher, &worker.program, &run_directory, &run).await
}

/// The run of a script with what it sees of the host: what the scripts of another agent are used to, and the locale.
async fn surrounded(
    worker: &HostWorker,
    setup: &Setup,
    job: &Job,
    event: LifecycleEvent,
    index: usize,
    script: &Script,
) -> HookRun {
    let mut run = hook_run(worker, setup, job, event, index, script);
    worker.ports.compatibility(&job.group.key).surround(setup, job, &mut run).await;
    run.environment = with_defaults(run.environment, locale_of_scripts(setup));
    run
}

/// The host's locale, without the variables that scripts inherit from the agent's own environment.
pub fn locale_of_scripts(setup: &Setup) -> Vec<(String, String)> {
    let inherited = |name: &str| setup.settings.hooks.inherit_environment && std::env::var_os(name).is_some();
    let mut locale = locale::of_host(setup.layout.root());
    locale.retain(|(name, _)| !inherited(name));
    locale
}

fn hook_run(
    worker: &HostWorker,
    setup: &Setup,
    job: &Job,
    event: LifecycleEvent,
    index: usize,
    script: &Script,
) -> HookRun {
    let request = &job.deployment.request;
    let layout = &setup.layout;
    let logs = setup.settings.logs.as_ref();
    let paths = layout.deployment(&job.group.key, &job.deployment.id);
    let archive = layout.deployment(&job.group.key, &script.archive).archive();
    let revision = request.revision.digest.map_or_else(|| request.revision.location.clone(), |d| d.to_string());
    let root = layout.root_prefix().map(|root| root.to_string_lossy());
    let facts = HookFacts {
        event: event.name(),
        deployment: &job.deployment.id,
        application: request.key.application.as_str(),
        group: request.key.group.as_str(),
        group_id: &request.key.id(),
        bundle: &worker.ports.bundles(&request.source).origin(&request.source),
        instance: &worker.instance,
        revision: &revision,
        timeout_seconds: timeout_seconds(job, script),
        root: root.as_deref(),
    };
    HookRun {
        version: HOOK_DOCUMENT_VERSION,
        deployment: job.deployment.id.clone(),
        event: event.name().to_owned(),
        first_of_event: index == 0,
        location: script.location.clone(),
        working_directory: setup.settings.hooks.working_directory.clone().unwrap_or_else(|| archive.clone()),
        archive,
        user: script.user().map(str::to_owned),
        account: None,
        environment: with_own(environment(&facts), &script.environment),
        inherit_environment: setup.settings.hooks.inherit_environment,
        timeout_seconds: timeout_seconds(job, script),
        grace_seconds: setup.limits.kill_grace_seconds,
        start_seconds: setup.limits.supervisor_start_seconds,
        overdue_seconds: setup.limits.supervisor_overdue_seconds,
        umask: 0o022,
        tasks_max: script.tasks_max,
        memory_max: script.memory_max,
        scripts_log: paths.scripts_log(),
        deployments_log: Some(layout.deployments_log(&job.group.key)),
        log_bytes: setup.limits.hook_log_bytes,
        log_bytes_per_second: setup.limits.hook_log_bytes_per_second,
        line_bytes: setup.limits.log_line_bytes,
        tail_lines: setup.limits.tail_lines,
        redact_patterns: logs.map(|logs| logs.redact.clone()).unwrap_or_default(),
        redact_values_from: logs.map(|logs| logs.redact_values_from.clone()).unwrap_or_default(),
        secret_file_bytes: setup.limits.secret_file_bytes,
        unsafe_paths: setup.settings.unsafe_paths,
        open_files: hooks::open_files(),
        security: Some(setup.layout.beneath_root(Path::new("/etc/security"))),
    }
}

/// The script's own timeout, or the time until the host has to be gone, in seconds.
fn timeout_seconds(job: &Job, script: &Script) -> u64 {
    let deadline_ms = job.deployment.request.purpose.stop().and_then(|stop| stop.deadline_ms);
    let left = deadline_ms.map(|at| (at.saturating_sub(clock::now_ms()) / 1000).max(1));
    left.map_or(script.timeout_seconds, |left| left.min(script.timeout_seconds))
}

#[cfg(test)]
mod tests;
