//! `hostler sign STORE REVISION`: add a signature to the release that another signer proposed. The last missing
//! signature publishes it.

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::machine::State;
use hostler_core::release::{Document, Release, Revision};
use hostler_core::store::{ETag, Store as _, proposal_key};

use crate::cli::{Shared, SignArgs};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::publication::{self, Publication};
use crate::setup::Setup;
use crate::signatures::channel_keys;
use crate::signing;
use crate::stores::{self, AnyStore};

/// The most tries after lost races with other signers.
const ATTEMPTS: u32 = 5;

pub fn run(shared: &Shared, arguments: &SignArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let key = setup.group(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        stores::must_keep_conditions(&store).await?;
        let signers = signing::signers(&setup, &arguments.signing).await?;
        for _ in 0..ATTEMPTS {
            let policy = channel_keys(&setup, &store, &key, &State::default()).await?.policy;
            let (document, etag) = proposed(&setup, &store, &key, &arguments.revision).await?;
            output::notice(&signed_words(&document.release));
            let mut envelope = document.envelope;
            signing::sign(&mut envelope, &signers).await?;
            let is = (document.release.key_policy, document.release.sequence);
            let revision = document.release.revision.clone();
            let publication = Publication::new(document.release, envelope, policy.as_ref());
            if !publication.is_accepted() {
                if publication.propose(&setup, &store, Some(&etag)).await? {
                    return publication.say(&setup, &store, &arguments.store, true);
                }
                continue;
            }
            let current = publication::current(&setup, &store, &key, policy.as_ref()).await?;
            let published = current.as_ref().map(|c| (c.document.release.key_policy, c.document.release.sequence));
            if let Some(published) = published.filter(|published| is <= *published) {
                return Err(overtaken(is.1, published.1));
            }
            if publication.publish(&setup, &store, current.as_ref()).await? {
                if let Some(current) = current.filter(|current| current.is_of(&revision)) {
                    output::notice(&current.same_words(is.1));
                }
                // Its sequence is in use now, so a remaining proposal can never be published again.
                let _ = store.delete(&proposal_key(&key), Some(&etag)).await;
                publication::must_be_followed(&setup, &store, &key, policy.as_ref()).await?;
                return publication.say(&setup, &store, &arguments.store, false);
            }
        }
        Err(publication::always_overtaken(&key))
    })
}

/// The proposal, if its revision is the one that the signer named.
async fn proposed(
    setup: &Setup,
    store: &AnyStore,
    group: &GroupKey,
    revision: &str,
) -> Result<(Document, ETag), Failure> {
    let place = proposal_key(group);
    let Some((document, etag)) = publication::read(setup, store, &place).await? else {
        let message = format!("nothing is proposed for {group}: {} does not exist", store.location(&place));
        return Err(Failure::say(ExitCode::NotFound, message).hint("propose it: hostler release … --propose"));
    };
    if document.release.group_key() != *group {
        let message = format!("{} is for {}, not for {group}", store.location(&place), document.release.group_key());
        return Err(Failure::say(ExitCode::VerificationFailed, message));
    }
    let name = store.name();
    if let Some(other) = document.release.store.as_ref().filter(|other| **other != name) {
        let message = format!("{} is bound to the store {other}, not to {name}", store.location(&place));
        return Err(Failure::say(ExitCode::VerificationFailed, message).hint("sign only what you mean to run"));
    }
    let digits = revision.strip_prefix("sha256:").unwrap_or(revision).to_ascii_lowercase();
    let proposed = document.release.revision.content.sha256;
    if digits.is_empty() || !proposed.hex().starts_with(&digits) {
        let message = format!("the proposed release {} is of {proposed}, not of {revision}", document.release.sequence);
        return Err(Failure::say(ExitCode::VerificationFailed, message).hint("sign only what you mean to run"));
    }
    Ok((document, etag))
}

/// The words of a proposal that the signer did not name and that hosts take from it as signed.
fn signed_words(release: &Release) -> String {
    let message =
        release.message.as_ref().map_or_else(|| "none".to_owned(), |message| format!("{:?}", message.as_str()));
    let previous = release.previous.as_ref().map_or_else(|| "none".to_owned(), Revision::name);
    format!(
        "this signs release {} of {}: {}; message: {message}; previous revision: {previous}",
        release.sequence,
        release.group_key(),
        release.revision.name()
    )
}

fn overtaken(sequence: u64, published: u64) -> Failure {
    let message = format!("the proposal has sequence {sequence}, and release {published} is published already");
    Failure::say(ExitCode::Refused, message).hint("propose it anew: hostler release … --propose")
}
