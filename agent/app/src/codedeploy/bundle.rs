//! Bundles of the CodeDeploy service's deployments, and where they come from.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use hostler_aws::codedeploy::Commit;
use hostler_aws::store_s3::S3Object;
use hostler_core::bundle::BundleType;
use hostler_core::codedeploy::specification::RevisionLocation;
use hostler_core::hook::BundleOrigin;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_core::store::{S3Location, StoreError};
use hostler_host::archive::{self, Unpacked};
use hostler_host::atomic;
use hostler_host::layout::DeploymentPaths;
use hostler_host::remove_tree::remove_tree;

use crate::codedeploy::exposure::{Use, check_archive};
use crate::failure::fail;
use crate::ports::Job;
use crate::setup::Setup;
use crate::stores::AnyObject;
use crate::stores::store_failure;
use crate::work::bundle_cache::{Bundles, create_private};
use crate::work::download::from_network;
use crate::work::fetch::FetchedBundle;
use crate::work::ports::{BundleSource, Pending};
use crate::work::unpack::unpack;

/// Bundles of commanded deployments.
#[derive(Debug)]
pub struct CommandedBundles;

impl BundleSource for CommandedBundles {
    fn fetch<'a>(
        &'a self,
        setup: &'a Setup,
        job: &'a Job,
        paths: &'a DeploymentPaths,
    ) -> Pending<'a, Result<FetchedBundle, WorkFailure>> {
        Box::pin(async move { fetch(setup, job, paths).await.map(FetchedBundle::from) })
    }

    fn unpack(
        &self,
        setup: &Setup,
        job: &Job,
        fetched: FetchedBundle,
        into: &Path,
    ) -> Result<(Revision, Unpacked), WorkFailure> {
        let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
        unpack_into(setup, job, fetched.revision, &paths, into)
    }

    fn is_remote(&self, source: &Source) -> bool {
        matches!(source, Source::CodeDeploy { location: RevisionLocation::S3 { .. }, .. })
    }

    fn origin(&self, source: &Source) -> BundleOrigin {
        match source {
            Source::CodeDeploy { location: RevisionLocation::S3 { bucket, key, version, etag, .. }, .. } => {
                let (bucket, key) = (bucket.clone(), key.clone());
                BundleOrigin::S3 { bucket, key, version: version.clone(), etag: etag.clone() }
            }
            Source::CodeDeploy { location: RevisionLocation::GitHub { commit, .. }, .. } => {
                BundleOrigin::GitHub { commit: commit.clone() }
            }
            _ => BundleOrigin::Other,
        }
    }
}

/// The place and the deployment to be reused that a commanded deployment names.
fn commanded(job: &Job) -> Result<(&RevisionLocation, Option<&DeploymentId>), WorkFailure> {
    match &job.deployment.request.source {
        Source::CodeDeploy { location, reuse } => Ok((location, reuse.as_ref())),
        _ => Err(fail("a fault in hostler: the deployment is not the CodeDeploy service's")),
    }
}

/// Fetches the bundle, unless it is already here, is a directory of this host, or is reused from another deployment.
///
/// # Errors
/// The failure; an object other than the requested one is a failed verification.
async fn fetch(setup: &Setup, job: &Job, paths: &DeploymentPaths) -> Result<Revision, WorkFailure> {
    let (location, reuse) = commanded(job)?;
    let revision = &job.deployment.request.revision;
    if paths.checked().is_dir() || reusable(setup, job, reuse).is_some() {
        return Ok(revision.clone());
    }
    if let Some(other) = reuse {
        let id = &job.deployment.id;
        log::info!(deployment = id.as_str(); "{id}: the bundle of {other} is not here to be used again, so it is downloaded");
    }
    match location {
        RevisionLocation::S3 { bucket, key, version, etag, .. } => {
            let place = S3Location { bucket: bucket.clone(), key: key.clone(), version_id: version.clone() };
            let object = setup.stores.object(place).map_err(|f| fail(f.one_line()))?;
            check_etag(&object, etag.as_deref()).await?;
            let any = AnyObject::S3(object.clone());
            let bundles = Bundles::of(&setup.layout, &job.group.key);
            let fetched =
                from_network(setup, &bundles, &any, None, &paths.bundle(), revision, Some(&job.meter)).await?;
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
            let cannot =
                |e: std::io::Error| WorkFailure::because(format!("cannot write {}: {e}", partial.display()), &e);
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
    let cannot = |e: std::io::Error| {
        WorkFailure::because(format!("cannot link {} to {}: {e}", at.display(), file.display()), &e)
    };
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
    Err(WorkFailure::verification(message))
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
fn unpack_into(
    setup: &Setup,
    job: &Job,
    revision: Revision,
    paths: &DeploymentPaths,
    into: &Path,
) -> Result<(Revision, Unpacked), WorkFailure> {
    let (location, reuse) = commanded(job)?;
    let checked = paths.checked();
    if checked.is_dir() && checked != into {
        remove_tree(into).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }).map_err(fail)?;
        atomic::put_in_place(&checked, into).map_err(|e| WorkFailure::from(&e))?;
        let listing = archive::list(into).map_err(|e| WorkFailure::from(&e))?;
        // The earlier check either used the packed bundle, which is still here, or a directory. Changes to its entries
        // were reported when it was unpacked.
        let is_packed = fs::symlink_metadata(paths.bundle()).is_ok();
        let bundle_type = if is_packed { revision.bundle_type } else { Some(BundleType::Directory) };
        return Ok((Revision { bundle_type, ..revision }, Unpacked { listing, adapted: Vec::new() }));
    }
    if let Some(archive) = reusable(setup, job, reuse) {
        log::info!(archive:% = archive.display(); "the bundle of an earlier deployment in {} is used again", archive.display());
        return unpack(setup, &archive, revision, into);
    }
    match location {
        RevisionLocation::Local { path, bundle_type: BundleType::Directory } => {
            unpack(setup, &setup.layout.beneath_root(path), revision, into)
        }
        _ => unpack(setup, &paths.bundle(), revision, into),
    }
}
