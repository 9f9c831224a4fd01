//! Stores by their names on the command line or in the configuration. Each is opened once and then reused.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hostler_aws::clients::Clients;
use hostler_aws::codedeploy::credentials;
use hostler_aws::https::HttpsObject;
use hostler_aws::store_s3::{DownloadTarget, Fetched, S3Object, S3Store, check_conditions};
use hostler_core::codedeploy::agent_config::OnPremisesCredentials;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::{AwsSettings, DownloadSettings, Settings};
use hostler_core::ids::Sha256Digest;
use hostler_core::limits::Limits;
use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_core::machine::state::Source;
use hostler_core::store::{
    Condition, Content, DeleteOutcome, ETag, GetOutcome, Key, Listed, Location, PutOutcome, S3Location, Store,
    StoreError, StoreErrorKind, without_secrets,
};
use hostler_core::transfer::Meter;
use hostler_host::clock;
use hostler_host::store_dir::DirectoryStore;

use crate::failure::{Failure, chain};

/// The open stores, and the AWS clients that they share.
#[derive(Debug)]
pub struct Stores {
    aws: AwsSettings,
    limits: Arc<Limits>,
    /// The settings for downloads.
    pub downloads: DownloadSettings,
    on_premises: Option<OnPremisesCredentials>,
    clients: OnceLock<Arc<Clients>>,
    open: Mutex<HashMap<String, AnyStore>>,
}

impl Stores {
    /// Opens no store; the AWS clients are made when a store first needs them. Hosts outside EC2 may have credentials
    /// from the CodeDeploy agent.
    pub fn new(settings: &Settings, limits: &Limits, on_premises: Option<OnPremisesCredentials>) -> Self {
        Self {
            aws: settings.aws.clone(),
            limits: Arc::new(limits.clone()),
            downloads: settings.downloads.clone(),
            on_premises,
            clients: OnceLock::new(),
            open: Mutex::default(),
        }
    }

    /// The store with this name: `s3://BUCKET/PREFIX`, `file:///DIR` or a path.
    ///
    /// # Errors
    /// A usage failure for a text that names no store of a supported kind; not found when a directory is missing.
    pub fn open(&self, name: &str) -> Result<AnyStore, Failure> {
        if let Some(store) = self.lock().get(name) {
            return Ok(store.clone());
        }
        let store = match name.starts_with("s3://") {
            true => {
                let place: S3Location =
                    name.parse().map_err(|e| Failure::new(ExitCode::Usage, anyhow::Error::new(e)))?;
                let place = place.into_store().map_err(|e| Failure::new(ExitCode::Usage, e))?;
                AnyStore::S3(S3Store::new(self.clients()?, place, Arc::clone(&self.limits), self.downloads.clone()))
            }
            false => {
                let opened = DirectoryStore::open(directory(name)?);
                AnyStore::Directory(opened.map_err(|error| failure(perhaps_a_bucket(error, name)))?)
            }
        };
        log::debug!("the store {} is opened", without_secrets(name));
        self.lock().insert(name.to_owned(), store.clone());
        Ok(store)
    }

    /// An S3 object, which may be outside every store.
    ///
    /// # Errors
    /// A usage failure when the configuration for AWS is invalid.
    pub fn object(&self, place: S3Location) -> Result<S3Object, Failure> {
        Ok(S3Object::new(self.clients()?, place, Arc::clone(&self.limits)))
    }

    /// The object at a network location; `None` for a file of this host.
    ///
    /// # Errors
    /// A usage failure when the configuration's certificates or proxy cannot be used.
    pub fn elsewhere(&self, place: &Location) -> Result<Option<AnyObject>, Failure> {
        Ok(match place {
            Location::S3(place) => Some(AnyObject::S3(self.object(place.clone())?)),
            Location::Https(place) => {
                let clients = self.clients()?;
                let object = HttpsObject::new(&clients, place.clone(), Arc::clone(&self.limits));
                Some(AnyObject::Https(object.map_err(|e| Failure::new(ExitCode::Usage, e))?))
            }
            Location::File(_) => None,
        })
    }

    /// The AWS clients, made when they are first needed.
    ///
    /// # Errors
    /// A usage failure when the configuration's certificates or proxy cannot be used.
    pub fn clients(&self) -> Result<Arc<Clients>, Failure> {
        if let Some(clients) = self.clients.get() {
            return Ok(Arc::clone(clients));
        }
        let made = Clients::new(self.aws.clone()).map_err(|e| Failure::new(ExitCode::Usage, e))?;
        let made = match &self.on_premises {
            Some(on_premises) => made.with_credentials(credentials(on_premises)),
            None => made,
        };
        Ok(Arc::clone(self.clients.get_or_init(|| Arc::new(made))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, AnyStore>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a directory that does not exist, with the address of the bucket that its name may have been meant for.
fn perhaps_a_bucket(mut error: StoreError, name: &str) -> StoreError {
    if error.kind == StoreErrorKind::Absent
        && let Some(place) = S3Location::meant_by(name)
    {
        error.problem.push_str(&format!("; for a bucket write {place}"));
    }
    error
}

/// The location of an argument with a scheme; `None` for a path.
///
/// # Errors
/// A usage failure for a scheme from which bundles cannot be fetched.
pub fn location(text: &Path) -> Result<Option<Location>, Failure> {
    match text.to_str().filter(|text| text.contains("://") && !text.starts_with(['/', '.'])) {
        Some(text) => text.parse().map(Some).map_err(|e| Failure::new(ExitCode::Usage, anyhow::Error::new(e))),
        None => Ok(None),
    }
}

/// The source of a deployment for a bundle at a location.
pub fn source(place: Location) -> Source {
    match place {
        Location::S3(_) | Location::Https(_) => Source::Location { location: place.to_string() },
        Location::File(path) => Source::Path { path },
    }
}

fn directory(name: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = name.strip_prefix("file://") {
        if path.starts_with('/') {
            return Ok(PathBuf::from(path));
        }
        return Err(Failure::say(ExitCode::Usage, format!("{} names no directory", without_secrets(name)))
            .hint("write file:///DIR"));
    }
    if name.contains("://") {
        return Err(Failure::say(
            ExitCode::Usage,
            format!("{} is not a store that this version can use", without_secrets(name)),
        )
        .hint("use s3://BUCKET/PREFIX, file:///DIR or a path"));
    }
    Ok(std::path::absolute(Path::new(name))?)
}

/// The exit code of a store's error.
pub fn failure(error: StoreError) -> Failure {
    let code = match error.kind {
        StoreErrorKind::Absent => ExitCode::NotFound,
        StoreErrorKind::Mismatch => ExitCode::VerificationFailed,
        StoreErrorKind::Denied
        | StoreErrorKind::TooLarge
        | StoreErrorKind::Full
        | StoreErrorKind::Throttled
        | StoreErrorKind::Transient
        | StoreErrorKind::Fatal => ExitCode::Failed,
    };
    Failure::new(code, error)
}

/// Refuses a bucket that does not keep conditional writes: several publishers in it would all succeed. It writes a
/// scratch object. A directory keeps them.
///
/// # Errors
/// The write that the store let through, or the store's error.
pub async fn must_keep_conditions(store: &AnyStore) -> Result<(), Failure> {
    if let AnyStore::S3(store) = store {
        let nonce = Sha256Digest::from_bytes(clock::random_bytes()?);
        check_conditions(store, &nonce).await.map_err(failure)?;
    }
    Ok(())
}

/// A store's error as the failure of an effect.
pub fn store_failure(error: &StoreError) -> WorkFailure {
    let kind = match error.kind {
        StoreErrorKind::Mismatch => FailureKind::Verification,
        StoreErrorKind::Absent => FailureKind::Absent,
        StoreErrorKind::Full => FailureKind::NoSpace,
        _ => FailureKind::of(error),
    };
    WorkFailure { message: chain(error), kind }
}

/// A bundle on the network.
#[derive(Debug, Clone)]
pub enum AnyObject {
    /// In a bucket.
    S3(S3Object),
    /// On a web server.
    Https(HttpsObject),
}

impl AnyObject {
    /// Its location, for people.
    pub fn location(&self) -> String {
        match self {
            Self::S3(object) => object.location(),
            Self::Https(object) => object.location(),
        }
    }

    /// Downloads it into a file; see the two kinds.
    ///
    /// # Errors
    /// The error of the store or server.
    pub async fn download(
        &self,
        target: DownloadTarget<'_>,
        expected: Option<&Content>,
        settings: &DownloadSettings,
    ) -> Result<Fetched, StoreError> {
        match self {
            Self::S3(object) => object.download(target, expected, settings).await,
            Self::Https(object) => object.download(target, expected, settings).await,
        }
    }
}

/// A store of either kind.
#[derive(Debug, Clone)]
pub enum AnyStore {
    /// In a directory.
    Directory(DirectoryStore),
    /// In a bucket.
    S3(S3Store),
}

impl AnyStore {
    /// Its name, as in releases that are bound to it: `s3://BUCKET/PREFIX`, or a directory.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(store) => store.name(),
            Self::S3(store) => store.name(),
        }
    }

    /// The same store. Uploads into a bucket are counted there; a directory takes a file as fast as the disk writes.
    #[must_use]
    pub fn counted_by(self, uploaded: &Arc<Meter>) -> Self {
        match self {
            Self::Directory(store) => Self::Directory(store),
            Self::S3(store) => Self::S3(store.counted_by(Arc::clone(uploaded))),
        }
    }
}

impl Store for AnyStore {
    fn location(&self, key: &Key) -> String {
        match self {
            Self::Directory(store) => store.location(key),
            Self::S3(store) => store.location(key),
        }
    }

    async fn get(&self, key: &Key, known: Option<&ETag>, at_most: usize) -> Result<GetOutcome, StoreError> {
        match self {
            Self::Directory(store) => store.get(key, known, at_most).await,
            Self::S3(store) => store.get(key, known, at_most).await,
        }
    }

    async fn put(&self, key: &Key, bytes: &[u8], condition: Condition<'_>) -> Result<PutOutcome, StoreError> {
        match self {
            Self::Directory(store) => store.put(key, bytes, condition).await,
            Self::S3(store) => store.put(key, bytes, condition).await,
        }
    }

    async fn put_file(&self, key: &Key, from: BorrowedFd<'_>, content: &Content) -> Result<PutOutcome, StoreError> {
        match self {
            Self::Directory(store) => store.put_file(key, from, content).await,
            Self::S3(store) => store.put_file(key, from, content).await,
        }
    }

    async fn download(&self, key: &Key, into: BorrowedFd<'_>, content: &Content) -> Result<(), StoreError> {
        match self {
            Self::Directory(store) => store.download(key, into, content).await,
            Self::S3(store) => store.download(key, into, content).await,
        }
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Directory(store) => store.size(key).await,
            Self::S3(store) => store.size(key).await,
        }
    }

    async fn head(&self, key: &Key, count: usize) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        match self {
            Self::Directory(store) => store.head(key, count).await,
            Self::S3(store) => store.head(key, count).await,
        }
    }

    async fn list(&self, directory: &Key, prefix: &str, at_most: usize) -> Result<Vec<Listed>, StoreError> {
        match self {
            Self::Directory(store) => store.list(directory, prefix, at_most).await,
            Self::S3(store) => store.list(directory, prefix, at_most).await,
        }
    }

    async fn directories(&self, below: Option<&Key>, at_most: usize) -> Result<Vec<Key>, StoreError> {
        match self {
            Self::Directory(store) => store.directories(below, at_most).await,
            Self::S3(store) => store.directories(below, at_most).await,
        }
    }

    async fn delete(&self, key: &Key, known: Option<&ETag>) -> Result<DeleteOutcome, StoreError> {
        match self {
            Self::Directory(store) => store.delete(key, known).await,
            Self::S3(store) => store.delete(key, known).await,
        }
    }
}
