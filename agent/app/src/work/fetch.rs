//! Fetches a bundle, unless it is already here.

use std::path::PathBuf;

use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_core::store::Content;
use hostler_host::layout::DeploymentPaths;

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::bundle_cache::{Bundles, is_here, unpacked_before};
use crate::work::download::{Origin, copy, from_network, origin};

/// A fetched bundle: the packed bundle lies at the deployment's path, unless there is a tree.
#[derive(Debug)]
pub struct FetchedBundle {
    /// The revision, as far as it is known.
    pub revision: Revision,
    /// The same bundle as unpacked by an earlier deployment, unchanged since.
    pub tree: Option<PathBuf>,
}

impl From<Revision> for FetchedBundle {
    fn from(revision: Revision) -> Self {
        Self { revision, tree: None }
    }
}

/// Fetches the bundle of a job from a store or an address. A job whose bundle is here needs nothing.
pub async fn fetch(setup: &Setup, job: &Job, paths: &DeploymentPaths) -> Result<FetchedBundle, WorkFailure> {
    let request = &job.deployment.request;
    let expected = match (request.revision.digest, request.revision.size) {
        (Some(sha256), Some(size)) => Some(Content { size, sha256 }),
        _ => None,
    };
    match &request.source {
        Source::Path { .. } | Source::Kept { .. } => return Ok(request.revision.clone().into()),
        // `origin` refuses all but stores and addresses.
        _ => {}
    }
    if let Some(expected) = &expected
        && is_here(&paths.bundle(), expected).await?
    {
        return Ok(request.revision.clone().into());
    }
    let object = match origin(setup, &request.source)? {
        Origin::Network(object) => object,
        Origin::Directory(store, key) => {
            copy(&store, &key, expected, &paths.bundle()).await?;
            return Ok(request.revision.clone().into());
        }
    };
    let bundles = Bundles::of(&setup.layout, &job.group.key);
    if let Some(expected) = &expected
        && bundles.kept_is(expected).await?
    {
        log::info!("the bundle is here already");
        bundles.share(&paths.bundle())?;
        return Ok(request.revision.clone().into());
    }
    if let Some(expected) = &expected
        && let Some(tree) = unpacked_before(setup, &job.group, &expected.sha256).await?
    {
        log::info!(tree:% = tree.display(); "the revision is here already, in {}", tree.display());
        return Ok(FetchedBundle { revision: request.revision.clone(), tree: Some(tree) });
    }
    let (bundle, revision) = (paths.bundle(), &request.revision);
    let fetched = from_network(setup, &bundles, &object, expected, &bundle, revision, Some(&job.meter)).await;
    fetched.map(FetchedBundle::from)
}
