//! Brings a bundle here, unless it is here already.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hostler_aws::store_s3::Landing;
use hostler_core::codedeploy::specification::RevisionLocation;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Group, Revision, Source};
use hostler_core::store::{Content, Key, Location, S3Location, Store as _, StoreError, StoreErrorKind};
use hostler_host::archive;
use hostler_host::digest::digest_file;
use hostler_host::layout::{DeploymentPaths, Layout};
use hostler_host::store_dir::DirectoryStore;

use crate::ports::Job;
use crate::setup::Setup;
use crate::sources::store::{AnyObject, AnyStore};
use crate::work::{access, blocking, chain, delta, fail, service_bundle};

/// Whether a bundle comes over the network, so that it is worth keeping.
pub fn is_remote(source: &Source) -> bool {
    match source {
        Source::Store { store, .. } => store.starts_with("s3://"),
        Source::Location { .. } => true,
        Source::CodeDeploy { location, .. } => matches!(location, RevisionLocation::S3 { .. }),
        Source::Path { .. } | Source::Kept { .. } => false,
    }
}

/// What was brought: the packed bundle lies where the deployment has it, unless there is a tree.
pub struct Brought {
    /// What it is, as far as that was found out.
    pub revision: Revision,
    /// The same bundle as an earlier deployment unpacked it, which nobody has changed since.
    pub tree: Option<PathBuf>,
}

impl From<Revision> for Brought {
    fn from(revision: Revision) -> Self {
        Self { revision, tree: None }
    }
}

/// Brings the bundle of a job here. A job whose bundle is here needs nothing.
pub async fn fetch(setup: &Setup, job: &Job, paths: &DeploymentPaths) -> Result<Brought, WorkFailure> {
    let request = &job.deployment.request;
    let expected = match (request.revision.digest, request.revision.size) {
        (Some(sha256), Some(size)) => Some(Content { size, sha256 }),
        _ => None,
    };
    match &request.source {
        Source::Path { .. } | Source::Kept { .. } => return Ok(request.revision.clone().into()),
        Source::CodeDeploy { location, reuse } => {
            return service_bundle::fetch(setup, job, paths, location, reuse.as_ref()).await.map(Brought::from);
        }
        Source::Store { .. } | Source::Location { .. } => {}
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
        log::info!(tree:% = tree.display(); "the revision is here already");
        return Ok(Brought { revision: request.revision.clone(), tree: Some(tree) });
    }
    from_network(setup, &bundles, &object, expected, &paths.bundle(), &request.revision).await.map(Brought::from)
}

/// Where a bundle that is not on this host yet comes from.
pub enum Origin {
    /// Over the network.
    Network(AnyObject),
    /// From a store that is a directory.
    Directory(DirectoryStore, Key),
}

/// Where a release's bundle comes from.
///
/// # Errors
/// The place is not one, or the configuration leads to no client for it.
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
        Source::Path { .. } | Source::Kept { .. } | Source::CodeDeploy { .. } => {
            Err(fail("a fault in hostler: the bundle comes from nowhere else"))
        }
    }
}

/// Copies a bundle out of a directory store, which holds it under what the release says.
///
/// # Errors
/// What the store says, or that the file cannot be written. Nothing of a bundle that is not what the release says stays.
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

/// The unpacked bundle of an earlier deployment of the same digest, if it is as it was unpacked.
pub async fn unpacked_before(
    setup: &Setup,
    group: &Group,
    digest: &Sha256Digest,
) -> Result<Option<PathBuf>, WorkFailure> {
    let earlier = group.finished.iter().rev().filter(|d| d.request.revision.digest.as_ref() == Some(digest));
    let candidates: Vec<_> = earlier.map(|d| setup.layout.deployment(&group.key, d.archive())).collect();
    blocking(move || {
        let unchanged = |paths: &DeploymentPaths| {
            let noted = fs::read_to_string(paths.fingerprint()).ok();
            noted.is_some() && noted == archive::fingerprint(&paths.archive()).ok().map(|found| found.to_string())
        };
        Ok(candidates.iter().find(|paths| unchanged(paths)).map(DeploymentPaths::archive))
    })
    .await
}

/// Whether a file is exactly this content.
async fn is_here(path: &Path, content: &Content) -> Result<bool, WorkFailure> {
    let (path, content) = (path.to_owned(), *content);
    blocking(move || {
        let found = File::open(path).and_then(|file| digest_file(&file));
        Ok(found.is_ok_and(|found| found == (content.size, content.sha256)))
    })
    .await
}

/// Brings an object here.
///
/// # Errors
/// What the store or server says.
pub async fn from_network(
    setup: &Setup,
    bundles: &Bundles,
    object: &AnyObject,
    expected: Option<Content>,
    bundle: &Path,
    revision: &Revision,
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
    let landing = Landing { file: partial.file.as_fd(), note: Some(partial.note.as_fd()) };
    let settings = &setup.stores.downloads;
    let fetched = match object.download(landing, expected.as_ref(), settings).await {
        // What is kept only saves bytes; a deployment is worth more.
        Err(error) if error.kind == StoreErrorKind::Full && bundles.give_up_kept() => {
            object.download(landing, expected.as_ref(), settings).await
        }
        other => other,
    };
    let fetched = fetched.map_err(|error| {
        if matches!(error.kind, StoreErrorKind::Mismatch | StoreErrorKind::TooLarge | StoreErrorKind::Full) {
            partial.remove();
        }
        store_failure(&error)
    })?;
    log::info!(bytes = fetched.content.size, moved = fetched.moved; "the bundle was fetched");
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

/// A store's error as the failure of an effect.
pub fn store_failure(error: &StoreError) -> WorkFailure {
    WorkFailure {
        verification: error.kind == StoreErrorKind::Mismatch,
        absent: error.kind == StoreErrorKind::Absent,
        message: chain(error),
    }
}

/// Creates or empties a file that only the agent's own user reads.
pub fn create_private(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn cannot_write(path: &Path, error: &io::Error) -> WorkFailure {
    fail(format!("cannot write {}: {error}", path.display()))
}

/// A group's packed bundles: one that is kept, named by its digest, and one that is being fetched.
pub struct Bundles {
    layout: Layout,
    key: GroupKey,
    directory: PathBuf,
}

impl Bundles {
    /// Those of a group. Their directory is made when there is something to put into it.
    pub fn of(layout: &Layout, key: &GroupKey) -> Self {
        Self { layout: layout.clone(), key: key.clone(), directory: layout.bundles(key) }
    }

    fn make_directory(&self) -> Result<(), WorkFailure> {
        access::make_private(&self.layout, &self.key, &self.directory)
    }

    /// The bundle that is kept.
    pub fn kept(&self) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| path.extension().is_none())
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Files for a bundle that is fetched: what an earlier try brought of the same one is in them. Those of others go.
    fn begin(&self, name: &Sha256Digest) -> Result<Partial, WorkFailure> {
        self.make_directory()?;
        let path = |suffix: &str| self.directory.join(format!("{}.{suffix}", name.hex()));
        let (path, note_path) = (path("partial"), path("parts"));
        for other in self.paths() {
            if other.extension().is_some() && other != path && other != note_path {
                let _ = fs::remove_file(other);
            }
        }
        let open = |path: &Path| {
            let options = &mut File::options();
            let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
            opened.map_err(|e| cannot_write(path, &e))
        };
        Ok(Partial { file: open(&path)?, note: open(&note_path)?, path, note_path })
    }

    /// Whether the kept bundle is this one.
    pub async fn kept_is(&self, content: &Content) -> Result<bool, WorkFailure> {
        match self.kept().filter(|kept| kept.ends_with(content.sha256.hex())) {
            Some(kept) => is_here(&kept, content).await,
            None => Ok(false),
        }
    }

    /// The kept bundle, also at another path.
    fn share(&self, at: &Path) -> Result<(), WorkFailure> {
        let Some(kept) = self.kept() else { return Ok(()) };
        match fs::remove_file(at) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot_write(at, &e)),
            _ => {}
        }
        fs::hard_link(kept, at).map_err(|e| cannot_write(at, &e))
    }

    /// Keeps a bundle instead of the one that is kept.
    pub fn keep(&self, bundle: &Path, digest: &Sha256Digest) -> io::Result<()> {
        let place = self.directory.join(digest.hex());
        self.make_directory().map_err(|failure| io::Error::other(failure.message))?;
        for other in self.paths() {
            if other != place && other.extension().is_none() {
                fs::remove_file(other)?;
            }
        }
        fs::rename(bundle, place)?;
        // A rename from one name of a file to another of the same file leaves both.
        match fs::remove_file(bundle) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes what is kept; whether there was anything.
    pub fn give_up_kept(&self) -> bool {
        self.kept().is_some_and(|kept| fs::remove_file(kept).is_ok())
    }
}

/// A bundle that is being fetched.
pub struct Partial {
    /// Its bytes.
    pub file: File,
    note: File,
    path: PathBuf,
    note_path: PathBuf,
}

impl Partial {
    /// Puts the complete bundle where the deployment has it.
    fn finish(self, bundle: &Path) -> Result<(), WorkFailure> {
        fs::rename(&self.path, bundle).map_err(|e| cannot_write(bundle, &e))?;
        let _ = fs::remove_file(&self.note_path);
        Ok(())
    }

    /// Whether an earlier try has brought parts of it.
    pub fn is_begun(&self) -> bool {
        self.note.metadata().is_ok_and(|note| note.len() > 0)
    }

    fn remove(&self) {
        // The next fetch of another bundle removes them too.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.note_path);
    }
}
