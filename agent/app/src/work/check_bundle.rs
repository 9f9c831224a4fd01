//! The effect CheckBundle: finds lasting problems of the bundle, and reasons why its scripts cannot start here, before
//! the old revision's scripts run.

use std::path::Path;
use std::sync::Arc;

use hostler_core::bundle::BundleListing;
use hostler_core::machine::WorkResult;
use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_host::archive::Unpacked;
use hostler_host::layout::DeploymentPaths;

use crate::access;
use crate::failure::fail;
use crate::ports::Job;
use crate::setup::Setup;
use crate::threads::in_turn;
use crate::work::bundle::{adapted_lines, problems_text, read_deployed_appspec};
use crate::work::fetch::FetchedBundle;
use crate::work::ports::Ports;
use crate::work::scripts;

/// Fetches the bundle if it can be fetched now, and looks into it. It is unpacked beside the deployment's own place,
/// where Prepare finds it.
pub async fn check(setup: Arc<Setup>, ports: &'static dyn Ports, job: Job) -> WorkResult {
    let paths = setup.layout.deployment(&job.group.key, &job.deployment.id);
    let made = access::make_lasting_directory(&setup, &job.group.key, &job.deployment.id);
    let fetched = match made {
        Ok(()) => ports.bundles(&job.deployment.request.source).fetch(&setup, &job, &paths).await,
        Err(failure) => Err(failure),
    };
    let fetched = match fetched {
        Ok(fetched) => fetched,
        // It is not the requested bundle, and will not become it.
        Err(failure) if failure.kind == FailureKind::Verification => {
            return WorkResult::Checked { fault: Some(failure), warnings: Vec::new() };
        }
        Err(failure) => {
            let later = format!("the bundle is not here yet, DownloadBundle tries again: {}", failure.message);
            return WorkResult::Checked { fault: None, warnings: vec![later] };
        }
    };
    let found = in_turn(move || look(&setup, ports, &job, fetched, &paths)).await;
    let (fault, warnings) = found.unwrap_or_else(|failure| (Some(failure), Vec::new()));
    WorkResult::Checked { fault, warnings }
}

/// The problems of its appspec and scripts, and the changes to its entries.
///
/// # Errors
/// The bundle cannot be unpacked.
fn look(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    fetched: FetchedBundle,
    paths: &DeploymentPaths,
) -> Result<(Option<WorkFailure>, Vec<String>), WorkFailure> {
    let checked = paths.checked();
    let bundles = ports.bundles(&job.deployment.request.source);
    let (_, Unpacked { listing, adapted }) = bundles.unpack(setup, job, fetched, &checked)?;
    Ok((look_inside(setup, ports, job, &checked, &listing).err(), adapted_lines(&adapted)))
}

fn look_inside(
    setup: &Setup,
    ports: &dyn Ports,
    job: &Job,
    checked: &Path,
    listing: &BundleListing,
) -> Result<(), WorkFailure> {
    let read = read_deployed_appspec(&job.deployment.request, checked, listing, &setup.limits)?;
    let (errors, _) = scripts::check(setup, ports, job, checked, &read.spec, listing)?;
    if errors.is_empty() { Ok(()) } else { Err(fail(problems_text(&errors))) }
}
