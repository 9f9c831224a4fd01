//! `hostler release STORE REVISION`: publish what a deployment group shall run.

use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::release::{self, AgentVersion, Document, Release, Revision, RevisionSource};
use hostler_core::store::{
    Condition, Content, ETag, GetOutcome, Key, PutOutcome, Store as _, release_key, revision_key, revisions_key,
};
use hostler_host::store_dir::DirectoryStore;
use hostler_host::{archive, clock};

use crate::cli::{FileExists, ReleaseArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::sources::store;

impl From<FileExists> for FileExistsBehavior {
    fn from(word: FileExists) -> Self {
        match word {
            FileExists::Disallow => Self::Disallow,
            FileExists::Overwrite => Self::Overwrite,
            FileExists::Retain => Self::Retain,
        }
    }
}

/// How often a lost race with another publisher is run again.
const ATTEMPTS: u32 = 5;

pub fn run(shared: &Shared, arguments: &ReleaseArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let key = setup.group(shared)?;
    let store = store::open(&arguments.store)?;
    super::block_on(async {
        let revision = find_revision(&store, &arguments.revision).await?;
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
    store: &DirectoryStore,
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

async fn read(setup: &Setup, store: &DirectoryStore, key: &Key) -> Result<Option<(Document, ETag)>, Failure> {
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

/// The stored bundle whose digest is, or begins, as written.
async fn find_revision(store: &DirectoryStore, text: &str) -> Result<Revision, Failure> {
    let digest = match text.parse::<Sha256Digest>() {
        Ok(digest) => digest,
        Err(_) => by_prefix(store, text).await?,
    };
    let key = revision_key(&digest);
    let Some((head, size)) = store.head(&key, archive::HEAD_BYTES).await.map_err(store::failure)? else {
        return Err(Failure::say(ExitCode::NotFound, format!("{} does not exist", store.location(&key)))
            .hint("push it first: hostler push DIR STORE"));
    };
    let bundle_type = archive::detect_head(&head).ok_or_else(|| {
        Failure::say(ExitCode::VerificationFailed, format!("{} is not a bundle", store.location(&key)))
    })?;
    let content = Content { size, sha256: digest };
    Ok(Revision { source: RevisionSource::Key(key), version_id: None, content, bundle_type })
}

async fn by_prefix(store: &DirectoryStore, text: &str) -> Result<Sha256Digest, Failure> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("{text:?} is not a revision");
        return Err(Failure::say(ExitCode::Usage, message).hint("write sha256: and the digits that `push` printed"));
    }
    let found = store.list(&revisions_key(), &prefix, 2).await.map_err(store::failure)?;
    match found.as_slice() {
        [one] => Ok(one.as_str().rsplit('/').next().unwrap_or_default().parse()?),
        [] => Err(Failure::say(ExitCode::NotFound, format!("the store holds no revision that begins with {prefix}"))
            .hint("push it first: hostler push DIR STORE")),
        _ => Err(Failure::say(ExitCode::Usage, format!("several revisions begin with {prefix}"))
            .hint("write more of its digits")),
    }
}

fn say(setup: &Setup, store: &DirectoryStore, release: &Release) -> Outcome {
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
