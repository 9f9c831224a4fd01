//! The channel's release when the keys change. The release stays the same, byte for byte, and gets signatures of the
//! new keys: hosts that run it have nothing to deploy, and new hosts may follow it at once.

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

/// The most tries after lost races with other publishers.
const ATTEMPTS: u32 = 5;

/// The result for the channel's release.
#[derive(Debug)]
pub enum Standing {
    /// Nothing has been released.
    None,
    /// The command left it alone.
    LeftAlone,
    /// Enough of the new keys had already signed it.
    Signed {
        /// Its sequence.
        sequence: u64,
        /// Its revision.
        revision: Sha256Digest,
    },
    /// The new keys have signed it now.
    SignedAgain {
        /// Its sequence.
        sequence: u64,
        /// Its revision.
        revision: Sha256Digest,
    },
}

impl Standing {
    /// The result as JSON.
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

/// Adds signatures of the new keys to the channel's release, if the previous keys have signed it.
///
/// # Errors
/// Verification failed when hosts do not follow the present release, or when the new signatures are too few.
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

/// Refuses a release that the previous keys have not signed: its place in the channel alone earns no signature.
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

/// Warns of problems for new hosts: new signatures neither restore a deleted bundle nor make an old release new.
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
        // A web server can only be asked for the whole file, and a file of the hosts need not exist here.
        RevisionSource::Location(_) => Ok(true),
    }
}

fn warn(warning: &str) {
    output::notice(&format!("warning: {warning}"));
}
