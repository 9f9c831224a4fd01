//! Bundles of the CodeDeploy service's deployments: their sources, and the check before scripts of the old revision
//! run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use hostler_aws::codedeploy::Commit;
use hostler_aws::store_s3::S3Object;
use hostler_core::bundle::{BundleListing, BundleType};
use hostler_core::codedeploy::specification::RevisionLocation;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::WorkResult;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_core::store::{S3Location, StoreError};
use hostler_host::archive::{self, Unpacked};
use hostler_host::atomic;
use hostler_host::layout::DeploymentPaths;
use hostler_host::remove_tree::remove_tree;

use crate::access;
use crate::codedeploy::exposure::{Use, check_archive};
use crate::failure::{chain, fail};
use crate::ports::Job;
use crate::setup::Setup;
use crate::stores::AnyObject;
use crate::stores::store_failure;
use crate::threads::in_turn;
use crate::work::bundle::{adapted_lines, problems_text, read_appspec};
use crate::work::bundle_cache::{Bundles, create_private};
use crate::work::download::from_network;
use crate::work::scripts;
use crate::work::unpack::unpack;

/// Fetches the bundle, unless it is already here, is a directory of this host, or is reused from another deployment.
///
/// # Errors
/// The failure; an object other than the requested one is a failed verification.
pub async fn fetch(
    setup: &Setup,
    job: &Job,
    paths: &DeploymentPaths,
    location: &RevisionLocation,
    reuse: Option<&DeploymentId>,
) -> Result<Revision, WorkFailure> {
    let revision = &job.deployment.request.revision;
    if paths.checked().is_dir() || reusable(setup, job, reuse).is_some() {
        return Ok(revision.clone());
    }
    if let Some(other) = reuse {
        log::info!(deployment = job.deployment.id.as_str(); "the bundle of {other} is not here to be used again: it is downloaded");
    }
    match location {
        RevisionLocation::S3 { bucket, key, version, etag, .. } => {
            let place = S3Location { bucket: bucket.clone(), key: key.clone(), version_id: version.clone() };
            let object = setup.stores.object(place).map_err(|f| fail(f.one_line()))?;
            check_etag(&object, etag.as_deref()).await?;
            let any = AnyObject::S3(object.clone());
            let bundles = Bundles::of(&setup.layout, &job.group.key);
            let fetched = from_network(setup, &bundles, &any, None, &paths.bundle(), revision).await?;
            // The object that came in between is not the requested one either.
            check_etag(&object, etag.as_deref()).await?;
            Ok(fetched)
        }
        RevisionLocation::GitHub { account, repository, commit, bundle_type, private } => {
            let compat = setup.codedeploy_compat.as_ref().filter(|_| *private);
            let token = match compat {
                Some(compat) => Some(compat.tokens.get(&job.deployment.id).await),
                None => None,
            };
            let api = &setup.settings.codedeploy.github_api;
            let commit = Commit { api, account, repository, commit, bundle_type: *bundle_type, token: token.as_ref() };
            let partial = paths.bundle().with_extension("partial");
            let cannot = |e: std::io::Error| fail(format!("cannot write {}: {e}", partial.display()));
            let clients = setup.stores.clients().map_err(|f| fail(f.one_line()))?;
            let file = create_private(&partial).map_err(cannot)?;
            commit.download(&clients, &file, &setup.limits).await.map_err(fail)?;
            file.sync_all().and_then(|()| fs::rename(&partial, paths.bundle())).map_err(cannot)?;
            Ok(revision.clone())
        }
        RevisionLocation::Local { path, bundle_type } => {
            if *bundle_type != BundleType::Directory {
                link(&setup.layout.beneath_root(path), &paths.bundle())?;
            }
            Ok(revision.clone())
        }
    }
}

/// Links the bundle's name to the file, as the CodeDeploy agent does.
fn link(file: &Path, at: &Path) -> Result<(), WorkFailure> {
    let cannot = |e: std::io::Error| fail(format!("cannot link {} to {}: {e}", at.display(), file.display()));
    match fs::remove_file(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(file, at).map_err(cannot)
}

async fn check_etag(object: &S3Object, etag: Option<&str>) -> Result<(), WorkFailure> {
    let Some(wanted) = etag else { return Ok(()) };
    let found = object.must_exist().await.map_err(|error: StoreError| store_failure(&error))?;
    let found = found.etag.as_str().trim_matches('"').to_owned();
    if found == wanted {
        return Ok(());
    }
    let message = format!("{} has the ETag {found} and the deployment is of {wanted}", object.location());
    Err(WorkFailure { message, verification: true, absent: false })
}

/// The unpacked bundle of the deployment to be reused, if it still exists.
fn reusable(setup: &Setup, job: &Job, reuse: Option<&DeploymentId>) -> Option<std::path::PathBuf> {
    let archive = setup.layout.deployment(&job.group.key, reuse?).archive();
    match check_archive(setup, &job.group.key, reuse?, Use::Install) {
        Ok(()) => archive.is_dir().then_some(archive),
        Err(problem) => {
            log::warn!("the bundle is fetched again: {problem}");
            None
        }
    }
}

/// Unpacks the fetched bundle; `into` appears as a whole.
///
/// # Errors
/// The problem of the bundle.
pub fn unpack_into(
    setup: &Setup,
    job: &Job,
    revision: Revision,
    paths: &DeploymentPaths,
    into: &Path,
) -> Result<(Revision, Unpacked), WorkFailure> {
    let Source::CodeDeploy { location, reuse } = &job.deployment.request.source else {
        return Err(fail("a fault in hostler: the deployment is not the CodeDeploy service's"));
    };
    let checked = paths.checked();
    if checked.is_dir() && checked != into {
        remove_tree(into).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }).map_err(fail)?;
        atomic::put_in_place(&checked, into).map_err(|e| fail(chain(&e)))?;
        let listing = archive::list(into).map_err(|e| fail(chain(&e)))?;
        // The earlier check either used the packed bundle, which is still here, or a directory. Changes to its entries
        // were reported when it was unpacked.
        let is_packed = fs::symlink_metadata(paths.bundle()).is_ok();
        let bundle_type = if is_packed { revision.bundle_type } else { Some(BundleType::Directory) };
        return Ok((Revision { bundle_type, ..revision }, Unpacked { listing, adapted: Vec::new() }));
    }
    if let Some(archive) = reusable(setup, job, reuse.as_ref()) {
        log::info!(archive:% = archive.display(); "the bundle of an earlier deployment is used again");
        return unpack(setup, &archive, revision, into);
    }
    match location {
        RevisionLocation::Local { path, bundle_type: BundleType::Directory } => {
            unpack(setup, &setup.layout.beneath_root(path), revision, into)
        }
        _ => unpack(setup, &paths.bundle(), revision, into),
    }
}

/// The effect CheckBundle: finds lasting problems of the bundle, and reasons why its scripts cannot start here, before
/// the old revision's scripts run.
pub async fn check(setup: Arc<Setup>, job: Job) -> WorkResult {
    let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
    let Source::CodeDeploy { location, reuse } = &job.deployment.request.source else {
        return WorkResult::Checked { fault: None, warnings: Vec::new() };
    };
    let made = access::make_lasting_directory(&setup, &job.group.key, &job.deployment.id);
    let fetched = match made {
        Ok(()) => fetch(&setup, &job, &paths, location, reuse.as_ref()).await,
        Err(failure) => Err(failure),
    };
    let revision = match fetched {
        Ok(revision) => revision,
        // It is not the requested bundle, and will not become it.
        Err(failure) if failure.verification => {
            return WorkResult::Checked { fault: Some(failure), warnings: Vec::new() };
        }
        Err(failure) => {
            let later = format!("the bundle is not here yet, DownloadBundle tries again: {}", failure.message);
            return WorkResult::Checked { fault: None, warnings: vec![later] };
        }
    };
    let found = in_turn(move || look(&setup, &job, revision, &paths)).await;
    let (fault, warnings) = found.unwrap_or_else(|failure| (Some(failure), Vec::new()));
    WorkResult::Checked { fault, warnings }
}

/// The problems of its appspec and scripts, and the changes to its entries.
///
/// # Errors
/// The bundle cannot be unpacked.
fn look(
    setup: &Setup,
    job: &Job,
    revision: Revision,
    paths: &DeploymentPaths,
) -> Result<(Option<WorkFailure>, Vec<String>), WorkFailure> {
    let checked = paths.checked();
    let (_, Unpacked { listing, adapted }) = unpack_into(setup, job, revision, paths, &checked)?;
    Ok((look_inside(setup, job, &checked, &listing).err(), adapted_lines(&adapted)))
}

fn look_inside(setup: &Setup, job: &Job, checked: &Path, listing: &BundleListing) -> Result<(), WorkFailure> {
    let name = job.deployment.request.policy.appspec();
    let read = read_appspec(checked, listing, name, &setup.limits)?;
    let (errors, _) = scripts::check(setup, job, checked, &read.spec, listing)?;
    if errors.is_empty() { Ok(()) } else { Err(fail(problems_text(&errors))) }
}
