//! The effect Install: plans again on the host in its present state, and puts the files in place in one transaction.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use hostler_core::appspec::spec::AppSpec;
use hostler_core::bundle::BundleListing;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::WorkResult;
use hostler_core::machine::event::{InstallReport, StillOpen, WorkFailure};
use hostler_core::machine::state::{Purpose, Source};
use hostler_core::plan::ProblemCode;
use hostler_core::plan::actions::{InstalledEntry, Plan};
use hostler_core::plan::destinations;
use hostler_host::archive;
use hostler_host::clock;
use hostler_host::digest::DigestWriter;
use hostler_host::install::{self, InstallError, InstallLock, InstallRequest, JournalState, Settled, Undone};

use crate::failure::{chain, fail};
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::bundle::{self, plan_failure};
use crate::work::ports::Ports;
use crate::work::{finish, mounts, unsettled};

/// Why an Install did not succeed.
enum Stopped {
    /// The old files are in place.
    Failed(WorkFailure),
    /// Old and new files may be side by side.
    Open(StillOpen),
}

impl From<WorkFailure> for Stopped {
    fn from(failure: WorkFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Installs, or leaves the host unchanged. If neither is possible now, the result asks for another try.
pub fn install(setup: &Setup, ports: &dyn Ports, job: &Job) -> WorkResult {
    let mut warnings = Vec::new();
    match attempt(setup, ports, job, &mut warnings) {
        Ok(report) => WorkResult::Installed(Ok(InstallReport { warnings, ..report })),
        Err(Stopped::Failed(failure)) => failed(setup, job, failure, warnings),
        Err(Stopped::Open(open)) => WorkResult::NotUndone(open),
    }
}

/// The old files are in place, unless the journal says otherwise: then they are put back before the Install fails.
fn failed(setup: &Setup, job: &Job, failure: WorkFailure, warnings: Vec<String>) -> WorkResult {
    let journal = setup.layout.deployment(&job.group.key, &job.deployment.id).journal();
    match install::state(&journal) {
        Ok(JournalState::None | JournalState::Undone | JournalState::Committing | JournalState::Committed) => {
            let message = [vec![failure.message], warnings].concat().join("\n");
            WorkResult::Installed(Err(WorkFailure { message, ..failure }))
        }
        Ok(JournalState::Open | JournalState::Installed) | Err(_) => {
            let (why, cause) = (failure.message.clone(), Some(failure));
            WorkResult::NotUndone(StillOpen { journal: job.deployment.id.clone(), why, cause })
        }
    }
}

fn attempt(setup: &Setup, ports: &dyn Ports, job: &Job, warnings: &mut Vec<String>) -> Result<InstallReport, Stopped> {
    let compatibility = ports.compatibility(&job.group.key);
    let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
    let journal = paths.journal();
    let lock = setup.layout.install_lock();
    let _alone = InstallLock::wait(lock)
        .map_err(|e| WorkFailure::because(format!("cannot lock {}: {e}", lock.display()), &e))?;
    let cause = job.deployment.not_undone.as_ref().and_then(|not_undone| not_undone.cause.clone());
    // An interrupted Install is settled first. An Install that stands is not repeated; an Install that failed although
    // its files are in place is undone.
    match (settle(setup, job, &job.deployment.id, warnings)?, &cause) {
        (Settled::Installed, Some(_)) => {
            let undone = install::undo(&journal).map_err(|e| stopped(&journal, &job.deployment.id, e))?;
            warnings.extend(not_put_back(&job.deployment.id, &undone));
        }
        (Settled::Installed | Settled::Committed(_), _) => {
            let entries = install::installed(&journal).map_err(|e| WorkFailure::from(&e))?;
            compatibility.installed(setup, job, &entries)?;
            return Ok(report(&entries)?);
        }
        (Settled::None | Settled::Undone(_), _) => {}
    }
    for earlier in unsettled::left_open(setup, &job.group) {
        settle(setup, job, &earlier, warnings)?;
    }
    if let Some(cause) = cause {
        return Err(cause.into());
    }
    refuse_after_a_reboot(job)?;
    settle_the_last_install(setup, job, warnings)?;
    let archive = setup.layout.deployment(&job.group.key, job.deployment.archive()).archive();
    if job.deployment.request.purpose != Purpose::Remove {
        compatibility.check_bundle(setup, &job.group.key, job.deployment.archive()).map_err(fail)?;
    }
    let (plan, destinations) = plan(setup, ports, job, &archive, warnings)?;
    let request = InstallRequest {
        deployment: &job.deployment.id,
        archive: &archive,
        root: setup.layout.root(),
        journal: &journal,
        links: &plan.links,
        destinations: &destinations,
        plan: &plan,
    };
    compatibility.installs(setup, job, &plan, &archive)?;
    let entries = install::run(&request).map_err(|e| stopped(&journal, &job.deployment.id, e))?.entries;
    compatibility.installed(setup, job, &entries)?;
    Ok(report(&entries)?)
}

/// Settles an Install, or its undo.
fn settle(setup: &Setup, job: &Job, deployment: &DeploymentId, warnings: &mut Vec<String>) -> Result<Settled, Stopped> {
    let journal = setup.layout.deployment(&job.group.key, deployment).journal();
    let settled = install::settle(&journal).map_err(|e| stopped(&journal, deployment, e))?;
    if let Settled::Undone(undone) = &settled {
        warnings.extend(not_put_back(deployment, undone));
    }
    Ok(settled)
}

/// The state of the host after an error, from the journal.
fn stopped(journal: &Path, deployment: &DeploymentId, error: InstallError) -> Stopped {
    let closed = install::state(journal).is_ok_and(|state| state != JournalState::Open);
    match error {
        error if closed => Stopped::Failed(failure_of(&error)),
        InstallError::NotUndone { cause, source } => {
            let cause = Some(failure_of(&cause));
            Stopped::Open(StillOpen { journal: deployment.clone(), why: chain(&source), cause })
        }
        error => Stopped::Open(StillOpen { journal: deployment.clone(), why: chain(&error), cause: None }),
    }
}

/// An Install that was undone but for some files tells its cause in its own words, and has its kind.
fn failure_of(error: &InstallError) -> WorkFailure {
    match error {
        InstallError::UndoneBut { cause, .. } => WorkFailure::because(chain(error), cause),
        error => WorkFailure::from(error),
    }
}

/// A text for people; `None` if everything is as before.
pub fn not_put_back(deployment: &DeploymentId, undone: &Undone) -> Option<String> {
    let text = (!undone.left.is_empty()).then(|| install::left_text(&undone.left))?;
    Some(format!("the Install of {deployment} was undone, but {text}"))
}

/// The plan on the host in its present state, and the destinations. A removal is the plan of an empty bundle.
fn plan(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    archive: &Path,
    warnings: &mut Vec<String>,
) -> Result<(Plan, Vec<PathBuf>), WorkFailure> {
    let policy = &job.deployment.request.policy;
    mounts::check_removal(setup, ports, job).map_err(fail)?;
    let (spec, listing) = if job.deployment.request.purpose == Purpose::Remove {
        (AppSpec::default(), BundleListing::default())
    } else {
        bundle_as_it_is(setup, job, archive)?
    };
    mounts::check_destinations(setup, &job.group, &spec, &listing).map_err(fail)?;
    let planned = bundle::plan_install(setup, ports, &spec, listing, (Some(&job.group), &job.others), policy);
    let planned = planned.map_err(|error| plan_failure(&error))?;
    // The other warnings were reported when the deployment was prepared.
    for warning in &planned.warnings {
        let of_ways = matches!(warning.code, ProblemCode::UnsafePath | ProblemCode::PlaceChanged);
        if of_ways || warning.code == ProblemCode::CannotLook {
            let id = &job.deployment.id;
            log::warn!(deployment = id.as_str(); "{id}: {warning}");
        }
        // A hook may have changed an owner since.
        let text = warning.to_string();
        if of_ways && !job.deployment.warnings.contains(&text) {
            warnings.push(text);
        }
    }
    Ok((planned.plan, destinations(&spec)))
}

fn bundle_as_it_is(setup: &Setup, job: &Job, archive: &Path) -> Result<(AppSpec, BundleListing), WorkFailure> {
    // Hooks may have changed the bundle (a build, a download), so it is listed again.
    let listing = archive::list(archive).map_err(|e| WorkFailure::from(&e))?;
    let appspec_name = job.deployment.request.policy.appspec();
    let reader: bundle::AppspecReader = match job.deployment.request.source {
        Source::Kept { .. } => bundle::read_kept_appspec,
        // DownloadBundle has decided about misspelt names, under this version of hostler or under an earlier one.
        _ => bundle::read_accepted_appspec,
    };
    let read = reader(archive, &listing, appspec_name, &setup.limits)?;
    bundle::check_made(&read.diagnostics)?;
    Ok((read.spec, listing))
}

/// Refuses an Install after a reboot: the boot has started the old application again, which ApplicationStop had
/// stopped, and new files must not go below a running application. A rollback continues, since nothing follows it.
fn refuse_after_a_reboot(job: &Job) -> Result<(), WorkFailure> {
    if job.effect.boot_id == clock::boot_id() || job.deployment.request.purpose.is_rollback() {
        return Ok(());
    }
    Err(fail("interrupted: the host went down before the new files were in place; the old ones are"))
}

fn report(entries: &[InstalledEntry]) -> Result<InstallReport, WorkFailure> {
    let mut list = BufWriter::new(DigestWriter::new(io::sink(), u64::MAX));
    serde_json::to_writer(&mut list, entries).map_err(fail)?;
    let (_, _, entries_digest) = list.into_inner().map_err(fail)?.finish();
    Ok(InstallReport { entries: entries.len() as u64, entries_digest, warnings: Vec::new() })
}

/// The group's last Install may still keep its replaced files, because its deployment failed. A rollback undoes that
/// Install, which also restores files that were not the group's; every other deployment accepts it. An interrupted undo
/// or accept is completed first.
fn settle_the_last_install(setup: &Setup, job: &Job, warnings: &mut Vec<String>) -> Result<(), Stopped> {
    let Some(installed) = &job.group.installed else { return Ok(()) };
    let last = &installed.deployment;
    let journal = setup.layout.deployment(&job.group.key, last).journal();
    match install::state(&journal).map_err(|e| WorkFailure::from(&e))? {
        JournalState::Open | JournalState::Undone => settle(setup, job, last, warnings).map(drop),
        JournalState::Installed
            if job.deployment.request.purpose.is_rollback() && knows_what_was_before(setup, job)? =>
        {
            // An undo that has not begun counts too: the rollback exists for it and waits.
            let open = |e| StillOpen { journal: last.clone(), why: chain(&e), cause: None };
            let undone = install::undo(&journal).map_err(|e| Stopped::Open(open(e)))?;
            warnings.extend(not_put_back(last, &undone));
            Ok(())
        }
        JournalState::Installed | JournalState::Committing => Ok(accept(&journal, last, warnings)?),
        JournalState::None | JournalState::Committed => Ok(()),
    }
}

/// Deletes the files that the last Install replaced. A failed deletion does not stop the next Install: the daemon
/// retries.
fn accept(journal: &Path, last: &DeploymentId, warnings: &mut Vec<String>) -> Result<(), WorkFailure> {
    match install::commit(journal) {
        Ok(committed) => warnings.extend(finish::not_deleted(&committed)),
        Err(error) if install::state(journal).is_ok_and(|state| state == JournalState::Committing) => {
            warnings.push(format!("files that {last} replaced are not deleted yet: {}", chain(&error)));
        }
        Err(error) => return Err(WorkFailure::from(&error)),
    }
    Ok(())
}

/// Whether the files that undoing the last Install restores are known to be the group's. They are not if the Install
/// before was itself undone; then the last Install stays and its files are replaced.
fn knows_what_was_before(setup: &Setup, job: &Job) -> Result<bool, WorkFailure> {
    let Some(before) = &job.group.installed_before else { return Ok(true) };
    let journal = setup.layout.deployment(&job.group.key, &before.deployment).journal();
    let state = install::state(&journal).map_err(|e| WorkFailure::from(&e))?;
    Ok(matches!(state, JournalState::Installed | JournalState::Committing | JournalState::Committed))
}
