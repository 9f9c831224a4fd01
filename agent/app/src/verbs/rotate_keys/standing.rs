//! The release in the channel when the keys change. It stays the same release, byte for byte, and gets signatures of the
//! new keys: hosts that run it have nothing to deploy, and fresh ones may follow it at once.

use std::fmt;

use hostler_core::codes::ExitCode;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::release::{Document, EXPIRY_TOLERANCE, RevisionSource, SigningPolicy, verify};
use hostler_core::store::{Location, S3Location, Store as _, release_key};
use hostler_host::{clock, signature};
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::publication::{self, Current, Publication};
use crate::setup::Setup;
use crate::signatures::Chain;
use crate::signing::{self, Signer};
use crate::stores::{self, AnyStore};

/// How often a lost race with another publisher is run again.
const ATTEMPTS: u32 = 5;

/// What became of the release in the channel.
#[derive(Debug)]
pub enum Standing {
    /// Nothing has been released.
    None,
    /// It was not to be touched.
    LeftAlone,
    /// Enough of the new keys had signed it.
    Signed {
        /// Its sequence.
        sequence: u64,
        /// What it is of.
        revision: Sha256Digest,
    },
    /// It has their signatures now.
    SignedAgain {
        /// Its sequence.
        sequence: u64,
        /// What it is of.
        revision: Sha256Digest,
    },
}

impl Standing {
    /// The same for programs.
    pub fn json(&self) -> Value {
        let of = |sequence: u64, revision: Sha256Digest, signed_again: bool| serde_json::json!({ "sequence": sequence, "revision": revision, "signed_again": signed_again });
        match self {
            Self::None | Self::LeftAlone => Value::Null,
            Self::Signed { sequence, revision } => of(*sequence, *revision, false),
            Self::SignedAgain { sequence, revision } => of(*sequence, *revision, true),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing has been released yet"),
            Self::LeftAlone => {
                f.write_str("the release in the channel is left as it is: publish one with the new keys")
            }
            Self::Signed { sequence, revision } => {
                write!(f, "release {sequence} ({revision}) has enough signatures of the new keys")
            }
            Self::SignedAgain { sequence, revision } => write!(
                f,
                "release {sequence} ({revision}) is signed with the new keys; if it is not what you mean to run, publish another \
                 one now"
            ),
        }
    }
}

/// Gives the release in the channel signatures of the new keys, if the keys before stood for it.
///
/// # Errors
/// Verification failed when hosts did not follow the release before, or when the new signatures are too few.
pub async fn sign_again(
    setup: &Setup,
    store: &AnyStore,
    group: &GroupKey,
    chain: &Chain,
    signers: &[Signer],
) -> Result<Standing, Failure> {
    for _ in 0..ATTEMPTS {
        let Some(current) = publication::current(setup, store, group, Some(&chain.end)).await? else {
            return Ok(Standing::None);
        };
        let (sequence, revision) =
            (current.document.release.sequence, current.document.release.revision.content.sha256);
        warn_of(setup, store, &current.document).await;
        if current.trust.is_ok() {
            return Ok(Standing::Signed { sequence, revision });
        }
        refuse_strangers(store, group, &current, chain)?;
        let publication = signed(&current.document, &chain.end, signers).await?;
        publication.refuse_unless_accepted()?;
        if publication.publish(setup, store, Some(&current)).await? {
            return Ok(Standing::SignedAgain { sequence, revision });
        }
    }
    Err(publication::always_overtaken(group))
}

/// What the keys before did not stand for gets no signature by standing in the channel.
fn refuse_strangers(store: &AnyStore, group: &GroupKey, current: &Current, chain: &Chain) -> Result<(), Failure> {
    let before = chain.before.as_ref().unwrap_or(&chain.end);
    let release = &current.document.release;
    let problem = match verify(Some(before), &current.document.envelope, &signature::verify) {
        Ok(_) if release.group_key() == *group => return Ok(()),
        Ok(_) => format!("it is for {}", release.group_key()),
        Err(missing) => missing.to_string(),
    };
    let place = store.location(&release_key(group));
    let message = format!(
        "{place} (release {}) is not signed again, because hosts did not follow it before: {problem}",
        release.sequence
    );
    Err(Failure::say(ExitCode::VerificationFailed, message)
        .hint("publish what hosts shall run with the new keys: hostler release"))
}

async fn signed(document: &Document, policy: &SigningPolicy, signers: &[Signer]) -> Result<Publication, Failure> {
    let mut envelope = document.envelope.clone();
    let message = envelope.pae();
    envelope.retain_signatures(|made| policy.keys.iter().any(|key| signature::verify(key, &message, &made.bytes)));
    let of_policy: Vec<&Signer> = signers.iter().filter(|signer| policy.keys.contains(signer.public())).collect();
    signing::sign(&mut envelope, of_policy).await?;
    Ok(Publication::new(document.release.clone(), envelope, Some(policy)))
}

/// Says what fresh hosts will meet: new signatures neither bring a bundle back nor make a release young.
async fn warn_of(setup: &Setup, store: &AnyStore, document: &Document) {
    let release = &document.release;
    let sequence = release.sequence;
    if let Some(expires) = release.expires
        && clock::now().duration_since(expires) > EXPIRY_TOLERANCE
    {
        warn(&format!("release {sequence} expired at {expires}: fresh hosts do not follow it; publish a new one"));
    }
    match bundle_is_there(setup, store, &release.revision.source, release.revision.version_id.clone()).await {
        Ok(true) => {}
        Ok(false) => {
            let revision = release.revision.content.sha256;
            warn(&format!(
                "the bundle of release {sequence} ({revision}) is gone: fresh hosts cannot deploy it; push it again"
            ));
        }
        Err(failure) => warn(&format!("the bundle of release {sequence} was not looked for: {}", failure.one_line())),
    }
}

async fn bundle_is_there(
    setup: &Setup,
    store: &AnyStore,
    source: &RevisionSource,
    version_id: Option<String>,
) -> Result<bool, Failure> {
    match source {
        RevisionSource::Key(key) => Ok(store.size(key).await.map_err(stores::failure)?.is_some()),
        RevisionSource::Location(Location::S3(place)) => {
            let object = setup.stores.object(S3Location { version_id, ..place.clone() })?;
            Ok(object.facts().await.map_err(stores::failure)?.is_some())
        }
        // A web server may be asked only for the whole of it, and a file of the hosts need not be here.
        RevisionSource::Location(_) => Ok(true),
    }
}

fn warn(warning: &str) {
    output::notice(&format!("warning: {warning}"));
}
