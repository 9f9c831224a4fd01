//! Brings a bundle here, unless it is here already.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use hostler_aws::store_s3::{Landing, S3Object};
use hostler_core::ids::Sha256Digest;
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_core::store::{Content, Key, S3Location, Store as _, StoreError, StoreErrorKind};
use hostler_host::atomic;
use hostler_host::digest::digest_file;
use hostler_host::layout::DeploymentPaths;

use crate::ports::Job;
use crate::setup::Setup;
use crate::sources::store::AnyStore;
use crate::work::{blocking, chain, delta, fail, service_bundle};

/// Brings the bundle of a job here, and says what it is as far as that was found out. A job whose bundle is here needs
/// nothing.
pub async fn fetch(setup: &Setup, job: &Job, paths: &DeploymentPaths) -> Result<Revision, WorkFailure> {
    let request = &job.deployment.request;
    let expected = match (request.revision.digest, request.revision.size) {
        (Some(sha256), Some(size)) => Some(Content { size, sha256 }),
        _ => None,
    };
    let object = match &request.source {
        Source::Path { .. } | Source::Kept { .. } => return Ok(request.revision.clone()),
        Source::Store { store, key } => {
            let expected = expected.ok_or_else(|| fail("the release does not say what the bundle must be"))?;
            if is_here(&paths.bundle(), &expected).await? {
                return Ok(request.revision.clone());
            }
            let key: Key = key.parse().map_err(fail)?;
            match setup.stores.open(store).map_err(|f| fail(f.one_line()))? {
                AnyStore::S3(store) => store.object(&key),
                AnyStore::Directory(store) => {
                    let bundle = paths.bundle();
                    let file = File::create(&bundle).map_err(|e| cannot_write(&bundle, &e))?;
                    let copied = store.download(&key, file.as_fd(), &expected).await;
                    copied.map_err(|error| {
                        // Nothing of a bundle that is not what the release says stays here.
                        let _ = fs::remove_file(&bundle);
                        store_failure(&error)
                    })?;
                    return Ok(request.revision.clone());
                }
            }
        }
        Source::CodeDeploy { location, reuse } => {
            return service_bundle::fetch(setup, job, paths, location, reuse.as_ref()).await;
        }
        Source::Location { location } => {
            let place: S3Location = location.parse().map_err(fail)?;
            if let Some(expected) = &expected
                && is_here(&paths.bundle(), expected).await?
            {
                return Ok(request.revision.clone());
            }
            setup.stores.object(place).map_err(|f| fail(f.one_line()))?
        }
    };
    let bundles = Bundles::new(setup.layout.bundles(&job.group.key));
    from_s3(setup, &bundles, &object, expected, &paths.bundle(), &request.revision).await
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

/// Brings an object of S3 here.
///
/// # Errors
/// What the store says.
pub async fn from_s3(
    setup: &Setup,
    bundles: &Bundles,
    object: &S3Object,
    expected: Option<Content>,
    bundle: &Path,
    revision: &Revision,
) -> Result<Revision, WorkFailure> {
    let kept = bundles.kept();
    if let (Some(expected), Some(kept)) = (&expected, &kept)
        && kept.ends_with(expected.sha256.hex())
        && is_here(kept, expected).await?
    {
        log::info!(bundle:% = kept.display(); "the bundle is here already");
        bundles.share(kept, bundle)?;
        return Ok(revision.clone());
    }
    let name = expected.map_or_else(|| Sha256Digest::of(object.location().as_bytes()), |expected| expected.sha256);
    let partial = bundles.begin(&name)?;
    if let (Some(expected), Some(kept)) = (&expected, &kept)
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
    WorkFailure { verification: error.kind == StoreErrorKind::Mismatch, message: chain(error) }
}

fn cannot_write(path: &Path, error: &io::Error) -> WorkFailure {
    fail(format!("cannot write {}: {error}", path.display()))
}

/// A group's packed bundles: one that is kept, named by its digest, and one that is being fetched.
pub struct Bundles(PathBuf);

impl Bundles {
    /// Those in this directory, which is made when there is something to put into it.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The bundle that is kept.
    pub fn kept(&self) -> Option<PathBuf> {
        self.paths().into_iter().find(|path| path.extension().is_none())
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Files for a bundle that is fetched: what an earlier try brought of the same one is in them. Those of others go.
    fn begin(&self, name: &Sha256Digest) -> Result<Partial, WorkFailure> {
        atomic::create_directories(&self.0, 0o755).map_err(|e| fail(chain(&e)))?;
        let path = |suffix: &str| self.0.join(format!("{}.{suffix}", name.hex()));
        let (path, note_path) = (path("partial"), path("parts"));
        for other in self.paths() {
            if other.extension().is_some() && other != path && other != note_path {
                let _ = fs::remove_file(other);
            }
        }
        let open = |path: &Path| {
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
            opened.map_err(|e| cannot_write(path, &e))
        };
        Ok(Partial { file: open(&path)?, note: open(&note_path)?, path, note_path })
    }

    /// The kept bundle, also at another path.
    fn share(&self, kept: &Path, at: &Path) -> Result<(), WorkFailure> {
        match fs::remove_file(at) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(cannot_write(at, &e)),
            _ => {}
        }
        fs::hard_link(kept, at).map_err(|e| cannot_write(at, &e))
    }

    /// Keeps a bundle instead of the one that is kept.
    pub fn keep(&self, bundle: &Path, digest: &Sha256Digest) -> io::Result<()> {
        let place = self.0.join(digest.hex());
        fs::create_dir_all(&self.0)?;
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
