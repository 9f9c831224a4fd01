//! The effect Prepare (the event DownloadBundle): fetches, verifies and unpacks the bundle, and checks everything that
//! can be known before any change to the host.

use std::fs::{self, DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use hostler_core::appspec::diagnose;
use hostler_core::appspec::spec::{AppSpec, EventHooks};
use hostler_core::bundle::{BundleListing, BundleType};
use hostler_core::event_order::LifecycleEvent;
use hostler_core::health::Check;
use hostler_core::machine::checks::PreparedHealth;
use hostler_core::machine::event::{FailureKind, Prepared, WorkFailure};
use hostler_core::machine::state::{Purpose, Revision, Source};
use hostler_core::plan::Problems;
use hostler_core::store::Content;
use hostler_host::archive::{self, Unpacked};
use hostler_host::atomic;
use hostler_host::digest::digest_file;
use hostler_host::install;
use hostler_host::layout::DeploymentPaths;
use hostler_host::regular;

use crate::access;
use crate::failure::{chain, fail};
use crate::ports::Job;
use crate::setup::Setup;
use crate::signatures;
use crate::threads::{blocking, in_turn};
use crate::work::bundle::{
    ReadAppspec, adapted_lines, may_change, plan_error_text, plan_failure, plan_install, problems_text,
    read_deployed_appspec, refuses_link, untold, without_made_later,
};
use crate::work::download::is_remote;
use crate::work::fetch::FetchedBundle;
use crate::work::old_hooks::old_hooks;
use crate::work::ports::Ports;
use crate::work::unpack::{unpack, unpack_as};
use crate::work::{mounts, room, scripts};

/// Prepares a deployment, or returns all of its problems.
pub async fn prepare(setup: Arc<Setup>, ports: &'static dyn Ports, job: Job) -> Result<Prepared, WorkFailure> {
    let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
    room::set_aside(&setup, &job)?;
    access::make_deployment_directory(&setup, &job.group.key, &job.deployment.id)?;
    make_directories(&paths)?;
    let stayed = make_room_for_revision(&setup, ports, &job).await?;
    let request = &job.deployment.request;
    signatures::admit(&setup.settings, &request.purpose, &request.trust).map_err(WorkFailure::verification)?;
    let fetched = ports.bundles(&request.source).fetch(&setup, &job, &paths).await?;
    // A deployment without unpacking waits for no other group: a stop, or a restart of the application.
    let request = &job.deployment.request;
    let unpacks = request.purpose.brings_new_revision();
    let work = move || {
        let mut prepared = unpack_and_check(&setup, ports, &job, fetched)?;
        prepared.warnings.extend(stayed);
        // One sync for all files: hooks and Install then read the checked bytes, also after a power loss, and the
        // directories for their records and the journal exist.
        atomic::sync_file_system(paths.directory()).map_err(|e| WorkFailure::from(&e))?;
        Ok(prepared)
    };
    if unpacks { in_turn(work).await } else { blocking(work).await }
}

async fn make_room_for_revision(
    setup: &Arc<Setup>,
    ports: &'static dyn Ports,
    job: &Job,
) -> Result<Vec<String>, WorkFailure> {
    let (setup, job) = (Arc::clone(setup), job.clone());
    blocking(move || Ok(ports.compatibility(&job.group.key).make_room(&setup, &job))).await
}

/// Makes the directories for the records of later events.
fn make_directories(paths: &DeploymentPaths) -> Result<(), WorkFailure> {
    let runs = paths.hook_runs();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&runs);
    made.map_err(|e| WorkFailure::because(format!("cannot create the directory {}: {e}", runs.display()), &e))?;
    install::prepare(&paths.journal()).map_err(|e| WorkFailure::from(&e))
}

fn unpack_and_check(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    fetched: FetchedBundle,
) -> Result<Prepared, WorkFailure> {
    let purpose = &job.deployment.request.purpose;
    if matches!(purpose, Purpose::Remove | Purpose::Stop(_)) {
        let mut warnings = if *purpose == Purpose::Remove { check_removal(setup, ports, job)? } else { Vec::new() };
        let (old_hooks, warning) = old_hooks_for(setup, job)?;
        warnings.extend(warning);
        let health = PreparedHealth::default();
        return Ok(Prepared {
            revision: fetched.revision,
            hooks: Vec::new(),
            old_hooks,
            health,
            takes_out: false,
            warnings,
        });
    }
    let archive = setup.layout.deployment(&job.group.key, &job.deployment.id).archive();
    let bundles = ports.bundles(&job.deployment.request.source);
    let (revision, unpacked) = bundles.unpack(setup, job, fetched, &archive)?;
    ports.compatibility(&job.group.key).unpacked(setup, job)?;
    check(setup, ports, job, revision, unpacked)
}

/// The bundle of a store, an address or a path, unpacked into this directory, and the revision found in it.
///
/// # Errors
/// The problem of the bundle.
pub fn unpacked(
    setup: &Setup,
    job: &Job,
    fetched: FetchedBundle,
    into: &Path,
) -> Result<(Revision, Unpacked), WorkFailure> {
    let paths = &setup.layout.deployment(&job.group.key, &job.deployment.id);
    let revision = fetched.revision;
    if let Some(tree) = fetched.tree {
        let file = regular::open_bundle(&tree)
            .map_err(|e| WorkFailure::because(format!("cannot open {}: {e}", tree.display()), &e))?;
        let unpacked = unpack_as(setup, &file, BundleType::Directory, &tree, into)?;
        note_fingerprint(paths);
        return Ok((revision, unpacked));
    }
    match &job.deployment.request.source {
        Source::Kept { deployment } => {
            let archive = setup.layout.deployment(&job.group.key, deployment).archive();
            let listing = archive::list(&archive).map_err(|e| {
                WorkFailure::because(format!("the bundle of {deployment} is not kept any more: {}", chain(&e)), &e)
            })?;
            Ok((revision, Unpacked { listing, adapted: Vec::new() }))
        }
        source @ (Source::Store { .. } | Source::Location { .. }) => {
            let found = unpack(setup, &paths.bundle(), revision, into)?;
            if is_remote(source) {
                note_fingerprint(paths);
            }
            Ok(found)
        }
        Source::Path { path } => match (revision.digest, revision.size) {
            (Some(sha256), Some(size)) => {
                copy_bundle(path, &paths.bundle(), &Content { size, sha256 })?;
                unpack(setup, &paths.bundle(), revision, into)
            }
            _ => unpack(setup, path, revision, into),
        },
        _ => Err(fail("a fault in hostler: the bundle is another port's")),
    }
}

/// Stores the fingerprint, which later shows that the unpacked bundle is unchanged; without it the bundle is fetched
/// again.
fn note_fingerprint(paths: &DeploymentPaths) {
    match archive::fingerprint(&paths.archive()).map(|found| fs::write(paths.fingerprint(), found.to_string())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("the unpacked bundle's fingerprint is not noted: {error}"),
        Err(error) => log::debug!("the unpacked bundle has no fingerprint: {error}"),
    }
}

/// Copies a release's bundle to a place that no other user can write, and only then verifies it.
fn copy_bundle(from: &Path, to: &Path, content: &Content) -> Result<(), WorkFailure> {
    let failed = |e: std::io::Error| {
        let is_absent = e.kind() == std::io::ErrorKind::NotFound && !from.exists();
        let kind = if is_absent { FailureKind::Absent } else { FailureKind::of(&e) };
        WorkFailure { message: format!("cannot copy {} to {}: {e}", from.display(), to.display()), kind }
    };
    let mut source = regular::open(from).map_err(failed)?.take(content.size.saturating_add(1));
    let options = &mut File::options();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let mut copy = options.open(to).map_err(failed)?;
    std::io::copy(&mut source, &mut copy).map_err(failed)?;
    let (size, sha256) = digest_file(&copy).map_err(failed)?;
    if (size, sha256) != (content.size, content.sha256) {
        let message = format!("{} is not what the release says: it must be {}", from.display(), content.sha256);
        return Err(WorkFailure::verification(message));
    }
    Ok(())
}

/// Checks everything that can be known now: the appspec, the scripts, the plan on this host.
fn check(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    revision: Revision,
    unpacked: Unpacked,
) -> Result<Prepared, WorkFailure> {
    let Unpacked { listing, adapted } = unpacked;
    let archive = setup.layout.deployment(&job.group.key, job.deployment.archive()).archive();
    let read = read_deployed_appspec(&job.deployment.request, &archive, &listing, &setup.limits)?;
    let mut warnings = adapted_lines(&adapted);
    warnings.extend(read.diagnostics.iter().map(diagnose::one_line));
    let (script_errors, script_warnings) = scripts::check(setup, ports, job, &archive, &read.spec, &listing)?;
    warnings.extend(script_warnings.iter().map(ToString::to_string));
    // A rollback that only restarts the old application installs nothing; the events of a commanded deployment are not
    // known yet.
    if job.deployment.request.purpose == Purpose::Commanded || job.deployment.step(LifecycleEvent::Install).is_some() {
        let checked = check_install(setup, ports, job, &read, listing);
        warnings.extend(checked.map_err(|failure| after(&script_errors, failure))?);
    }
    if !script_errors.is_empty() {
        return Err(fail(problems_text(&script_errors)));
    }
    if job.deployment.request.purpose == Purpose::Commanded {
        // Each command says which scripts run, and of which revision.
        let health = PreparedHealth::default();
        return Ok(Prepared { revision, hooks: Vec::new(), old_hooks: Vec::new(), health, takes_out: false, warnings });
    }
    let (old_hooks, old_warning) = old_hooks_for(setup, job)?;
    warnings.extend(old_warning);
    let health = health(setup, job, &read.spec);
    Ok(Prepared { revision, hooks: read.spec.hooks, old_hooks, health, takes_out: false, warnings })
}

fn health(setup: &Setup, job: &Job, spec: &AppSpec) -> PreparedHealth {
    let checks: Vec<Check> = spec.extension.health.iter().map(|check| check.check.clone()).collect();
    PreparedHealth {
        any: !checks.is_empty() || !setup.settings.health(&job.group.key).is_empty(),
        checks,
        bake_seconds: spec.extension.bake_seconds.unwrap_or(job.deployment.request.policy.bake_seconds),
    }
}

/// Reports all problems at once.
fn after(errors: &Problems, failure: WorkFailure) -> WorkFailure {
    if errors.is_empty() {
        return failure;
    }
    WorkFailure { message: format!("{}\n{}", problems_text(errors), failure.message), ..failure }
}

/// Whether the files can be installed on the host in its present state, as far as this must hold already.
fn check_install(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    read: &ReadAppspec,
    listing: BundleListing,
) -> Result<Vec<String>, WorkFailure> {
    let later =
        job.deployment.request.purpose == Purpose::Commanded || read.spec.extension.recheck_after_before_install;
    let spec = without_made_later(&read.spec, &read.diagnostics);
    if let Err(missing) = mounts::check_destinations(setup, &job.group, &spec, &listing) {
        // BeforeInstall may mount it; the Install checks again.
        return if later { Ok(vec![missing]) } else { Err(fail(missing)) };
    }
    let policy = &job.deployment.request.policy;
    let planned = plan_install(setup, ports, &spec, listing, (Some(&job.group), &job.others), policy);
    match planned {
        Ok(planned) => Ok(untold(planned.warnings, &read.diagnostics).iter().map(ToString::to_string).collect()),
        // The rollback first undoes the failed Install, which removes the obstacles and frees its space.
        Err(error) if may_change(&error) && job.deployment.request.purpose.rolls_back().is_some() => Ok(Vec::new()),
        // A service that commands continues in any state of the host: BeforeInstall may repair it. A link that another
        // user could redirect is refused now.
        Err(error)
            if may_change(&error) && job.deployment.request.purpose == Purpose::Commanded && !refuses_link(&error) =>
        {
            Ok(vec![plan_error_text(&error)])
        }
        Err(error) if may_change(&error) && read.spec.extension.recheck_after_before_install => {
            let text = plan_error_text(&error);
            Ok(vec![format!("(checked again after BeforeInstall, as the appspec says)\n{text}")])
        }
        Err(error) => Err(plan_failure(&error)),
    }
}

/// Whether the group's installed files can be removed on the host in its present state.
fn check_removal(setup: &Setup, ports: &dyn Ports, job: &Job) -> Result<Vec<String>, WorkFailure> {
    mounts::check_removal(setup, ports, job).map_err(fail)?;
    let (spec, listing, policy) = (AppSpec::default(), BundleListing::default(), &job.deployment.request.policy);
    let planned = plan_install(setup, ports, &spec, listing, (Some(&job.group), &job.others), policy)
        .map_err(|error| plan_failure(&error))?;
    Ok(planned.warnings.iter().map(ToString::to_string).collect())
}

/// The old revision's hooks. A rollback continues without hooks that cannot be read now: the host is waiting for it.
fn old_hooks_for(setup: &Setup, job: &Job) -> Result<(Vec<EventHooks>, Option<String>), WorkFailure> {
    match old_hooks(setup, &job.group) {
        Err(failure) if job.deployment.request.purpose.rolls_back().is_some() => {
            Ok((Vec::new(), Some(failure.message)))
        }
        found => found,
    }
}

/// Warns that without systemd as launcher no limits apply to the processes and memory of hooks.
pub fn warn_of_limits(prepared: &mut Prepared) {
    let scripts = prepared.hooks.iter().chain(&prepared.old_hooks).flat_map(|hooks| &hooks.scripts);
    let limited = scripts.filter(|script| script.options.tasks_max.is_some() || script.options.memory_max.is_some());
    let warnings = limited.map(|script| {
        format!("{}: its limits are not enforced, because systemd does not start the hooks here", script.location)
    });
    prepared.warnings.extend(warnings.collect::<Vec<_>>());
}
