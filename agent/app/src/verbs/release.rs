//! `hostler release STORE REVISION`: publish what a deployment group shall run.

use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::machine::State;
use hostler_core::release::{Release, Revision, RevisionSource};
use hostler_core::store::{Content, Store as _, revision_key, revisions_key};
use hostler_host::store_dir::DirectoryStore;
use hostler_host::{archive, clock};
use jiff::SignedDuration;

use crate::cli::{FileExists, ReleaseArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::publication::{self, Current, Publication};
use crate::setup::Setup;
use crate::signing;
use crate::sources::signatures::channel_keys;
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
        let signers = signing::signers(&setup, &arguments.signing).await?;
        let revision = find_revision(&store, &arguments.revision).await?;
        let policy = channel_keys(&setup, &store, &key, &State::default()).await?.policy;
        for _ in 0..ATTEMPTS {
            let current = publication::current(&setup, &store, &key, policy.as_ref()).await?;
            let release = next(&key, &revision, arguments, current.as_ref());
            let mut envelope = release.seal(&setup.limits)?;
            signing::sign(&mut envelope, &signers).await?;
            let publication = Publication::new(release, envelope, policy.as_ref());
            let stored = if arguments.propose {
                publication.propose(&setup, &store, None).await?
            } else {
                publication.refuse_unless_accepted()?;
                publication.publish(&setup, &store, current.as_ref()).await?
            };
            if stored {
                return publication.say(&setup, &store, arguments.propose);
            }
        }
        Err(publication::always_overtaken(&key))
    })
}

fn next(key: &GroupKey, revision: &Revision, arguments: &ReleaseArgs, current: Option<&Current>) -> Release {
    let sequence = current.map_or(1, |c| c.document.release.sequence.saturating_add(1));
    let mut release = Release::new(key.clone(), sequence, clock::now(), revision.clone());
    // A rollback must not lead to what somebody slipped in without a signature.
    release.previous = current.filter(|c| c.trust.is_ok()).map(|c| c.document.release.revision.clone());
    release.expires = arguments
        .expires_in
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| release.created.checked_add(SignedDuration::from_secs(seconds)).ok());
    release.minimum_agent_version = arguments.minimum_agent_version;
    release.ignore_application_stop_failures = arguments.ignore_application_stop_failures;
    release.file_exists_behavior = arguments.file_exists_behavior.map(Into::into);
    release
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
