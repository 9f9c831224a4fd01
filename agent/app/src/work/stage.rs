//! Prepares a bundle before its deployment is requested: fetched, verified, unpacked, planned. Nothing is started and
//! no state is kept. The packed bundle remains under its digest, where a deployment looks first and verifies it again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostler_core::ids::GroupKey;
use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_core::machine::state::{Group, Request};
use hostler_core::plan::judge_scripts;
use hostler_core::store::Content;
use hostler_host::archive::Unpacked;
use hostler_host::remove_tree::remove_tree;

use crate::access;
use crate::failure::fail;
use crate::ports::Installs;
use crate::setup::Setup;
use crate::signatures;
use crate::threads::in_turn;
use crate::work::bundle::{may_change, plan_failure, plan_install, problems_text, read_appspec, without_made_later};
use crate::work::bundle_cache::has_room;
use crate::work::bundle_cache::{Bundles, unpacked_before};
use crate::work::download::{Origin, copy, from_network, is_remote, origin};
use crate::work::ports::{Ports, ScriptDefaults};
use crate::work::scripts;
use crate::work::unpack::unpack;

/// Why a bundle is not ready.
#[derive(Debug)]
pub enum NotStaged {
    /// It could not be fetched; another try may succeed.
    Later(String),
    /// It is wrong, or does not fit on this host in its present state.
    Wrong(String),
}

/// The group, and the Installs of the host's other groups.
pub type Ground = (Group, Vec<Installs>);

/// Prepares a channel's release for its deployment.
///
/// # Errors
/// [`NotStaged`].
pub async fn stage(
    setup: &Arc<Setup>,
    ports: &'static dyn Ports,
    ground: Ground,
    request: Request,
) -> Result<(), NotStaged> {
    let group = &ground.0;
    let wrong = |message: String| NotStaged::Wrong(message);
    signatures::admit(&setup.settings, &request.purpose, &request.trust).map_err(wrong)?;
    let (Some(sha256), Some(size)) = (request.revision.digest, request.revision.size) else {
        return Err(wrong("the release does not say what the bundle must be".to_owned()));
    };
    let expected = Content { size, sha256 };
    let bundles = Bundles::of(&setup.layout, &group.key);
    let later = |failure: WorkFailure| NotStaged::Later(failure.message);
    if bundles.kept_is(&expected).await.map_err(later)?
        || unpacked_before(setup, group, &expected.sha256).await.map_err(later)?.is_some()
    {
        return Ok(());
    }
    let staging = Staging::begin(setup, &group.key).map_err(later)?;
    fetch_bundle(setup, &bundles, &request, expected, &staging.bundle()).await.map_err(|failure| {
        match failure.kind {
            FailureKind::Verification => NotStaged::Wrong(failure.message),
            FailureKind::Absent | FailureKind::NoSpace | FailureKind::Other => NotStaged::Later(failure.message),
        }
    })?;
    let setup = Arc::clone(setup);
    let checked = in_turn(move || {
        check(&setup, ports, &ground, &request, &staging)?;
        if is_remote(&request.source) && has_room(&staging.bundle()) {
            bundles.keep(&staging.bundle(), &expected.sha256).map_err(|e| WorkFailure::from(&e))?;
        }
        Ok(())
    });
    checked.await.map_err(|failure| NotStaged::Wrong(failure.message))
}

async fn fetch_bundle(
    setup: &Setup,
    bundles: &Bundles,
    request: &Request,
    expected: Content,
    bundle: &Path,
) -> Result<(), WorkFailure> {
    match origin(setup, &request.source)? {
        Origin::Network(object) => {
            from_network(setup, bundles, &object, Some(expected), bundle, &request.revision, None).await.map(drop)
        }
        Origin::Directory(store, key) => copy(&store, &key, Some(expected), bundle).await,
    }
}

/// The checks of DownloadBundle, on the host in its present state.
fn check(
    setup: &Setup,
    ports: &dyn Ports,
    ground: &Ground,
    request: &Request,
    staging: &Staging,
) -> Result<(), WorkFailure> {
    let group = &ground.0;
    let archive = staging.archive();
    let (_, Unpacked { listing, .. }) = unpack(setup, &staging.bundle(), request.revision.clone(), &archive)?;
    let read = read_appspec(&archive, &listing, request.policy.appspec(), &setup.limits)?;
    let recheck = read.spec.extension.recheck_after_before_install;
    let revision = scripts::Revision {
        archive: &archive,
        spec: &read.spec,
        listing: &listing,
        runs_in: &archive,
        defaults: ScriptDefaults::default(),
    };
    let (errors, warnings) = judge_scripts(scripts::problems(revision)?, recheck);
    for warning in warnings {
        log::warn!(group:% = group.key; "{}: {warning}", group.key);
    }
    if !errors.is_empty() {
        return Err(fail(problems_text(&errors)));
    }
    let spec = without_made_later(&read.spec, &read.diagnostics);
    match plan_install(setup, ports, &spec, listing, (Some(&ground.0), &ground.1), &request.policy) {
        Ok(_) => Ok(()),
        Err(error) if may_change(&error) && recheck => Ok(()),
        Err(error) => Err(plan_failure(&error)),
    }
}

/// A directory for one bundle, deleted with this value.
struct Staging(PathBuf);

impl Staging {
    fn begin(setup: &Setup, key: &GroupKey) -> Result<Self, WorkFailure> {
        let directory = setup.layout.staging(key);
        clear(&directory)
            .map_err(|e| WorkFailure::because(format!("cannot clear {}: {e}", directory.display()), &e))?;
        access::make_private(&setup.layout, key, &directory)?;
        Ok(Self(directory))
    }

    fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    fn archive(&self) -> PathBuf {
        self.0.join("archive")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If this fails, the end of the next deployment clears it.
        let _ = clear(&self.0);
    }
}

/// Removes the files of an earlier staging.
pub fn clear(directory: &Path) -> std::io::Result<()> {
    match remove_tree(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
