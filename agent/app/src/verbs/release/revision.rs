//! The revision for `release`: a pushed bundle, or any bundle that a build job has stored.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hostler_aws::store_s3::DownloadTarget;
use hostler_core::codes::ExitCode;
use hostler_core::ids::Sha256Digest;
use hostler_core::release::{Revision, RevisionSource};
use hostler_core::store::{Content, Location, S3Location, Store as _, revision_key, revisions_key};
use hostler_core::transfer::Meter;
use hostler_host::archive::{self, ArchiveError};
use hostler_host::digest::digest_file;
use hostler_host::regular;
use hostler_host::store_dir::DirectoryStore;

use crate::failure::Failure;
use crate::setup::{Setup, existing};
use crate::stores::{self, AnyObject, AnyStore};
use crate::terminal::shown;
use crate::verbs::bundle_check;

/// The fewest digits that name a revision.
const FEWEST_DIGITS: usize = 7;

/// Finds the revision that a text names: the digest of a stored bundle or its beginning, or the location of another
/// bundle. `push` has checked its own bundles; others are checked now, if `validate` says so.
pub async fn find(setup: &Setup, store: &AnyStore, text: &str, validate: bool) -> Result<Revision, Failure> {
    let check = |file: &File, shown: &str| if validate { bundle_check::packed(setup, file, shown) } else { Ok(()) };
    let place = stores::location(Path::new(text))?;
    if let Some(place) = &place
        && let Some(object) = setup.stores.elsewhere(place)?
    {
        return elsewhere(setup, place.clone(), &object, check).await;
    }
    match (place, store) {
        (Some(Location::File(path)), AnyStore::Directory(directory)) if directory.key_of(&path).is_some() => {
            return in_directory(directory, &path, check);
        }
        (Some(Location::File(path)), _) => return on_hosts(path, check),
        (_, AnyStore::Directory(directory)) if text.contains('/') => {
            return in_directory(directory, Path::new(text), check);
        }
        _ => {}
    }
    let digest = match text.parse::<Sha256Digest>() {
        Ok(digest) => digest,
        Err(_) => by_prefix(store, text).await?,
    };
    let key = revision_key(&digest);
    let Some((head, size)) = store.head(&key, archive::HEAD_BYTES).await.map_err(stores::failure)? else {
        return Err(Failure::say(ExitCode::NotFound, format!("{} does not exist", store.location(&key)))
            .hint("push it first: hostler push DIR STORE"));
    };
    let bundle_type = archive::detect_head(&head).map_err(|e| not_a_bundle(e, &store.location(&key).to_string()))?;
    let content = Content { size, sha256: digest };
    Ok(Revision { source: RevisionSource::Key(key), version_id: None, content, bundle_type, label: None })
}

async fn by_prefix(store: &AnyStore, text: &str) -> Result<Sha256Digest, Failure> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("{text:?} is not a revision");
        return Err(Failure::say(ExitCode::Usage, message).hint("write sha256: and the digits that `push` printed"));
    }
    if prefix.len() < FEWEST_DIGITS {
        let message = format!("{text:?} is too short for a revision");
        return Err(Failure::say(ExitCode::Usage, message)
            .hint("write at least 7 digits: a slip of the hand must not release another revision"));
    }
    let found = store.list(&revisions_key(), &prefix, 2).await.map_err(stores::failure)?;
    match found.as_slice() {
        [one] => Ok(one.key.as_str().rsplit('/').next().unwrap_or_default().parse()?),
        [] => Err(Failure::say(ExitCode::NotFound, format!("the store holds no revision that begins with {prefix}"))
            .hint("push it first: hostler push DIR STORE")),
        _ => Err(Failure::say(ExitCode::Usage, format!("several revisions begin with {prefix}"))
            .hint("write more of its digits")),
    }
}

/// An S3 object with any key, or a file on a web server: downloaded now to compute its digest.
async fn elsewhere(
    setup: &Setup,
    place: Location,
    object: &AnyObject,
    check: impl Fn(&File, &str) -> Result<(), Failure>,
) -> Result<Revision, Failure> {
    let file = tempfile::tempfile().context("cannot make a temporary file for the bundle")?;
    let meter = Arc::new(Meter::default());
    let target = DownloadTarget { file: file.as_fd(), note: None, meter: Some(&meter) };
    let download = object.download(target, None, &setup.stores.downloads);
    let fetched = shown("download: ", &meter, download).await.map_err(stores::failure)?;
    let bundle_type = bundle_type(&file, &object.location())?;
    check(&file, &object.location())?;
    let (version_id, location) = match place {
        // If the bucket has versions, hosts fetch the version that was hashed.
        Location::S3(place) => {
            let version_id = fetched.version_id.or_else(|| place.version_id.clone());
            (version_id, Location::S3(S3Location { version_id: None, ..place }))
        }
        other => (None, other),
    };
    Ok(Revision {
        source: RevisionSource::Location(location),
        version_id,
        content: fetched.content,
        bundle_type,
        label: None,
    })
}

/// A file with any key in the store's directory.
fn in_directory(
    store: &DirectoryStore,
    path: &Path,
    check: impl Fn(&File, &str) -> Result<(), Failure>,
) -> Result<Revision, Failure> {
    let path = existing(path)?;
    let key = store.key_of(&path).ok_or_else(|| {
        Failure::say(ExitCode::Usage, format!("{} is not in the store {}", path.display(), store.root().display()))
            .hint(
                "copy it into the store's directory, or push it: hostler push DIR STORE; for a file that every host has \
                 write file:///PATH",
            )
    })?;
    of_file(RevisionSource::Key(key), &path, check)
}

/// A file that exists at the same path on every host and on this machine.
fn on_hosts(path: PathBuf, check: impl Fn(&File, &str) -> Result<(), Failure>) -> Result<Revision, Failure> {
    let here = existing(&path)?;
    of_file(RevisionSource::Location(Location::File(path)), &here, check)
}

fn of_file(
    source: RevisionSource,
    path: &Path,
    check: impl Fn(&File, &str) -> Result<(), Failure>,
) -> Result<Revision, Failure> {
    let file = regular::open_bundle(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (size, sha256) = digest_file(&file).with_context(|| format!("cannot read {}", path.display()))?;
    let bundle_type = bundle_type(&file, &path.display().to_string())?;
    check(&file, &path.display().to_string())?;
    Ok(Revision { source, version_id: None, content: Content { size, sha256 }, bundle_type, label: None })
}

fn bundle_type(file: &File, location: &str) -> Result<hostler_core::bundle::BundleType, Failure> {
    archive::detect(file).map_err(|e| not_a_bundle(e, location))
}

fn not_a_bundle(error: ArchiveError, location: &str) -> Failure {
    Failure::new(ExitCode::VerificationFailed, anyhow::Error::new(error).context(format!("{location} is not a bundle")))
}
