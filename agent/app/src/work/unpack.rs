//! Unpacks a bundle into the directory of a deployment.

use std::fs::File;
use std::path::Path;

use hostler_core::bundle::BundleType;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::Revision;
use hostler_host::archive::{self, UnpackOptions, Unpacked};
use hostler_host::digest::digest_file;
use hostler_host::regular;
use hostler_host::remove_tree::remove_tree;

use crate::failure::chain;
use crate::setup::Setup;

/// Unpacks a bundle and detects its type from its content; `archive` appears as a whole.
///
/// # Errors
/// The problem of the bundle.
pub fn unpack(
    setup: &Setup,
    bundle: &Path,
    revision: Revision,
    archive: &Path,
) -> Result<(Revision, Unpacked), WorkFailure> {
    let open = |e| WorkFailure::because(format!("cannot open the bundle {}: {e}", bundle.display()), &e);
    let file = regular::open_bundle(bundle).map_err(open)?;
    let found =
        archive::detect(&file).map_err(|e| WorkFailure::because(format!("{}: {}", bundle.display(), chain(&e)), &e))?;
    if let Some(promised) = revision.bundle_type.filter(|promised| *promised != found) {
        let message = format!("the release says {} and the bundle is {}", promised.name(), found.name());
        return Err(WorkFailure::verification(message));
    }
    let revision = match (found, revision.digest) {
        (BundleType::Directory, _) | (_, Some(_)) => revision,
        (_, None) => {
            let (size, digest) = digest_file(&file).map_err(open)?;
            Revision { size: Some(size), digest: Some(digest), ..revision }
        }
    };
    let unpacked = unpack_as(setup, &file, found, bundle, archive)?;
    Ok((Revision { bundle_type: Some(found), ..revision }, unpacked))
}

/// Unpacks a bundle of a known type; `archive` appears as a whole.
///
/// # Errors
/// The problem of the bundle.
pub fn unpack_as(
    setup: &Setup,
    file: &File,
    kind: BundleType,
    bundle: &Path,
    archive: &Path,
) -> Result<Unpacked, WorkFailure> {
    // An earlier try's directory is complete (it appears as a whole) but may come from other bytes.
    match remove_tree(archive) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(WorkFailure::because(format!("cannot clear {}: {e}", archive.display()), &e));
        }
        _ => {}
    }
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    archive::unpack(file, kind, archive, &options).map_err(|e| {
        WorkFailure::because(
            format!("cannot unpack {} into {}: {}", bundle.display(), archive.display(), chain(&e)),
            &e,
        )
    })
}
