//! `hostler release STORE REVISION`: publish what a deployment group shall run.

use hostler_aws::store_s3::check_conditions;
use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::release::{self, AgentVersion, Document, Release, Revision};
use hostler_core::store::{Condition, ETag, GetOutcome, Key, PutOutcome, Store as _, release_key};
use hostler_host::clock;

use crate::cli::{FileExists, ReleaseArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::sources::store::{self, AnyStore};

impl From<FileExists> for FileExistsBehavior {
    fn from(word: FileExists) -> Self {
        match word {
            FileExists::Disallow => Self::Disallow,
            FileExists::Overwrite => Self::Overwrite,
            FileExists::Retain => Self::Retain,
        }
    }
}

mod revision;

/// How often a lost race with another publisher is run again.
const ATTEMPTS: u32 = 5;

pub fn run(shared: &Shared, arguments: &ReleaseArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let key = setup.group(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        if let AnyStore::S3(store) = &store {
            let nonce = Sha256Digest::from_bytes(clock::random_bytes()?);
            check_conditions(store, &nonce).await.map_err(store::failure)?;
        }
        let revision = revision::find(&setup, &store, &arguments.revision).await?;
        for _ in 0..ATTEMPTS {
            if let Some(release) = publish(&setup, &store, &key, &revision, arguments).await? {
                return say(&setup, &store, &release);
            }
        }
        Err(Failure::say(ExitCode::Failed, format!("others kept publishing releases of {key} at the same time"))
            .hint("look at what they published, then try again"))
    })
}

/// Publishes once; `None` when somebody else published in between.
async fn publish(
    setup: &Setup,
    store: &AnyStore,
    key: &GroupKey,
    revision: &Revision,
    arguments: &ReleaseArgs,
) -> Result<Option<Release>, Failure> {
    let document_key = release_key(key);
    let current = read(setup, store, &document_key).await?;
    let sequence = current.as_ref().map_or(1, |(document, _)| document.release.sequence + 1);
    let mut release = Release::new(key.clone(), sequence, clock::now(), revision.clone());
    release.previous = current.as_ref().map(|(document, _)| document.release.revision.clone());
    release.ignore_application_stop_failures = arguments.ignore_application_stop_failures;
    release.file_exists_behavior = arguments.file_exists_behavior.map(Into::into);
    let bytes = release.seal(&setup.limits)?.to_bytes(&setup.limits)?;
    let condition = current.as_ref().map_or(Condition::IfAbsent, |(_, etag)| Condition::IfMatch(etag));
    match store.put(&document_key, &bytes, condition).await.map_err(store::failure)? {
        PutOutcome::Stored(_) => Ok(Some(release)),
        PutOutcome::PreconditionFailed => Ok(None),
    }
}

async fn read(setup: &Setup, store: &AnyStore, key: &Key) -> Result<Option<(Document, ETag)>, Failure> {
    match store.get(key, None, release::stored_bytes(&setup.limits)).await.map_err(store::failure)? {
        GetOutcome::Found { bytes, etag } => {
            let document = Document::parse(&bytes, &setup.limits, AgentVersion::current()?).map_err(|e| {
                let error = anyhow::Error::new(e).context(format!("cannot use {}", store.location(key)));
                Failure::new(ExitCode::Failed, error)
            })?;
            Ok(Some((document, etag)))
        }
        GetOutcome::NotFound | GetOutcome::NotModified => Ok(None),
    }
}

fn say(setup: &Setup, store: &AnyStore, release: &Release) -> Outcome {
    let location = store.location(&release_key(&release.group_key()));
    if setup.json {
        output::json(&serde_json::json!({
            "version": 1,
            "sequence": release.sequence,
            "application": release.application,
            "group": release.group,
            "revision": release.revision.content.sha256,
            "signed": false,
            "location": location,
        }))?;
    } else {
        let group = release.group_key();
        let digest = release.revision.content.sha256;
        output::text(&format!("release {} of {group}: {digest} (unsigned)\n", release.sequence))?;
    }
    Ok(ExitCode::Ok)
}
