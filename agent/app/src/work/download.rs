//! The sources of bundles, and how bundles are fetched.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use hostler_aws::store_s3::DownloadTarget;
use hostler_core::ids::Sha256Digest;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_core::store::{Content, Key, Location, S3Location, Store as _, StoreErrorKind};
use hostler_core::transfer::Meter;
use hostler_host::store_dir::DirectoryStore;

use crate::failure::fail;
use crate::setup::Setup;
use crate::stores::{AnyObject, AnyStore, store_failure};
use crate::work::bundle_cache::{Bundles, cannot_write, create_private};
use crate::work::delta;

/// Whether a bundle comes from a store or an address over the network, and is therefore worth keeping.
pub fn is_remote(source: &Source) -> bool {
    match source {
        Source::Store { store, .. } => store.starts_with("s3://"),
        Source::Location { .. } => true,
        // On this host, or another port's.
        _ => false,
    }
}

/// The source of a bundle that is not on this host yet.
pub enum Origin {
    /// Over the network.
    Network(AnyObject),
    /// From a store that is a directory.
    Directory(DirectoryStore, Key),
}

/// The source of a release's bundle.
///
/// # Errors
/// An invalid location, or a configuration without a client for it.
pub fn origin(setup: &Setup, source: &Source) -> Result<Origin, WorkFailure> {
    match source {
        Source::Store { store, key } => {
            let key: Key = key.parse().map_err(fail)?;
            Ok(match setup.stores.open(store).map_err(|f| fail(f.one_line()))? {
                AnyStore::S3(store) => Origin::Network(AnyObject::S3(store.object(&key))),
                AnyStore::Directory(store) => Origin::Directory(store, key),
            })
        }
        Source::Location { location } => {
            let place: Location = location.parse().map_err(fail)?;
            let object = setup.stores.elsewhere(&place).map_err(|f| fail(f.one_line()))?;
            object.map(Origin::Network).ok_or_else(|| fail(format!("{place} is not reached over the network")))
        }
        _ => Err(fail("a fault in hostler: the bundle comes from nowhere else")),
    }
}

/// Copies a bundle from a directory store and checks it against the release.
///
/// # Errors
/// The store's error, or that the file cannot be written. A bundle that does not match the release is deleted.
pub async fn copy(
    store: &DirectoryStore,
    key: &Key,
    expected: Option<Content>,
    bundle: &Path,
) -> Result<(), WorkFailure> {
    let expected = expected.ok_or_else(|| fail("the release does not say what the bundle must be"))?;
    let file = create_private(bundle).map_err(|e| cannot_write(bundle, &e))?;
    store.download(key, file.as_fd(), &expected).await.map_err(|error| {
        let _ = fs::remove_file(bundle);
        store_failure(&error)
    })
}

/// Downloads an object, and counts its bytes.
///
/// # Errors
/// The error of the store or server.
pub async fn from_network(
    setup: &Setup,
    bundles: &Bundles,
    object: &AnyObject,
    expected: Option<Content>,
    bundle: &Path,
    revision: &Revision,
    meter: Option<&Arc<Meter>>,
) -> Result<Revision, WorkFailure> {
    let kept = bundles.kept();
    let name = expected.map_or_else(|| Sha256Digest::of(object.location().as_bytes()), |expected| expected.sha256);
    let partial = bundles.begin(&name)?;
    if let (Some(expected), Some(kept), AnyObject::S3(object)) = (&expected, &kept, object)
        && delta::rebuild(setup, object, kept, &partial, expected).await?
    {
        partial.finish(bundle)?;
        return Ok(revision.clone());
    }
    let target = DownloadTarget { file: partial.file.as_fd(), note: Some(partial.note.as_fd()), meter };
    let settings = &setup.stores.downloads;
    let fetched = match object.download(target, expected.as_ref(), settings).await {
        // The kept bundle only saves bytes; the deployment matters more.
        Err(error) if error.kind == StoreErrorKind::Full && bundles.drop_cached() => {
            object.download(target, expected.as_ref(), settings).await
        }
        other => other,
    };
    let fetched = fetched.map_err(|error| {
        if matches!(error.kind, StoreErrorKind::Mismatch | StoreErrorKind::TooLarge | StoreErrorKind::Full) {
            partial.remove();
        }
        store_failure(&error)
    })?;
    log::info!(bytes = fetched.content.size, moved = fetched.moved; "the bundle of {} bytes was fetched: {} bytes came over the network", fetched.content.size, fetched.moved);
    partial.finish(bundle)?;
    let location = match (&expected, object.location().parse::<S3Location>()) {
        (None, Ok(place)) if place.version_id.is_none() => {
            S3Location { version_id: fetched.version_id, ..place }.to_string()
        }
        _ => revision.location.clone(),
    };
    let Content { size, sha256 } = fetched.content;
    Ok(Revision { location, digest: Some(sha256), size: Some(size), ..revision.clone() })
}
