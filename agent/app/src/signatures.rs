//! The signatures that each source needs, and whether they are present.

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::Settings;
use hostler_core::ids::GroupKey;
use hostler_core::limits::Limits;
use hostler_core::machine::state::{Purpose, Revision, State};
use hostler_core::release::{
    self, AcceptedKeys, AgentVersion, Document, MOST_STEPS, OpenError, SigningPolicy, Terms, Trust,
};
use hostler_core::store::{GetOutcome, Store, signing_policy_key};
use hostler_host::{clock, signature};

use crate::failure::{self, Failure};
use crate::setup::Setup;
use crate::stores;

/// The keys that must sign a channel's releases.
#[derive(Debug, Default)]
pub struct ChannelKeys {
    /// The policy; `None` where no keys are configured.
    pub policy: Option<SigningPolicy>,
    /// The keys for the ledger, if the store had newer ones since the last poll.
    pub accepted: Option<AcceptedKeys>,
}

/// Follows the key policies in the store, from the configured and the accepted one. A policy without the signatures of
/// the previous keys ends the chain and changes nothing.
///
/// # Errors
/// When the store cannot be read, or leads to older keys than before.
pub async fn channel_keys(
    setup: &Setup,
    store: &impl Store,
    group: &GroupKey,
    state: &State,
) -> Result<ChannelKeys, Failure> {
    let Some(configured) = &setup.settings.signatures.channel else { return Ok(ChannelKeys::default()) };
    let accepted = state.groups.get(&group.id()).and_then(|g| g.following.keys.as_ref());
    let begin = release::start(configured, accepted);
    let Chain { end, .. } = follow(begin.clone(), &setup.limits, store, group).await?;
    release::not_fallen_back(&end, accepted).map_err(|e| Failure::new(ExitCode::VerificationFailed, e))?;
    let kept = AcceptedKeys::new(configured, end.clone());
    let is_news = end.version > configured.version && accepted != Some(&kept);
    Ok(ChannelKeys { policy: Some(end), accepted: is_news.then_some(kept) })
}

/// The end of the key policies in a store.
#[derive(Debug)]
pub struct Chain {
    /// The previous policy; `None` where the chain is only the configured policy.
    pub before: Option<SigningPolicy>,
    /// The last policy, which counts.
    pub end: SigningPolicy,
}

/// The chain as a publisher sees it, from the configured keys; `None` without them.
///
/// # Errors
/// When the store cannot be read.
pub async fn publishers_chain(setup: &Setup, store: &impl Store, group: &GroupKey) -> Result<Option<Chain>, Failure> {
    match &setup.settings.signatures.channel {
        Some(configured) => follow(configured.clone(), &setup.limits, store, group).await.map(Some),
        None => Ok(None),
    }
}

async fn follow(
    policy: SigningPolicy,
    limits: &Limits,
    store: &impl Store,
    group: &GroupKey,
) -> Result<Chain, Failure> {
    let mut chain = Chain { before: None, end: policy };
    for _ in 0..MOST_STEPS {
        let key = signing_policy_key(group, chain.end.version.saturating_add(1));
        let GetOutcome::Found { bytes, .. } =
            store.get(&key, None, release::stored_bytes(limits)).await.map_err(stores::failure)?
        else {
            break;
        };
        match release::next_policy(&chain.end, &bytes, group, limits, &signature::verify) {
            Ok(next) => chain = Chain { before: Some(chain.end), end: next },
            Err(error) => {
                log::warn!(group:% = group; "{group}: {} is not followed: {}", store.location(&key), failure::chain(&error));
                break;
            }
        }
    }
    Ok(chain)
}

/// Reads a release document and judges its signatures.
///
/// # Errors
/// Verification failed when the policy is not satisfied; failed when the document cannot be read.
pub fn open(
    bytes: &[u8],
    place: &str,
    limits: &Limits,
    policy: Option<&SigningPolicy>,
) -> Result<(Document, Trust), Failure> {
    Document::open(bytes, limits, AgentVersion::current()?, policy, &signature::verify).map_err(|error| {
        let (code, hint) = match &error {
            OpenError::NotEnough(_) => (
                ExitCode::VerificationFailed,
                Some("sign it (hostler release --key, hostler sign), or correct `signatures` in the configuration"),
            ),
            OpenError::Unreadable(_) => (ExitCode::Failed, None),
        };
        let failure = Failure::new(code, anyhow::Error::new(error).context(format!("cannot use {place}")));
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Reads the release that comes with a bundle by hand. Its sequence number is not checked: a user may deploy an older
/// release by hand than the channel holds.
///
/// # Errors
/// Verification failed when the policy for deployments by hand is not satisfied.
pub fn by_hand(
    setup: &Setup,
    group: &GroupKey,
    location: String,
    document: Option<&str>,
) -> Result<(Revision, Trust), Failure> {
    let policy = setup.settings.signatures.cli.as_ref();
    let Some(text) = document else {
        if policy.is_some() {
            let message = "deployments by hand must be signed on this host (signatures: cli in the configuration)";
            let failure = Failure::say(ExitCode::VerificationFailed, message);
            return Err(failure.hint("give the bundle's release document with --release FILE"));
        }
        return Ok((Revision { location, digest: None, size: None, bundle_type: None, label: None }, Trust::Unsigned));
    };
    let (document, trust) = open(text.as_bytes(), "the release document", &setup.limits, policy)?;
    let terms = Terms::by_hand(group, clock::now());
    release::accept(&document, &terms).map_err(|e| Failure::new(ExitCode::VerificationFailed, e))?;
    let revision = &document.release.revision;
    Ok((
        Revision {
            location,
            digest: Some(revision.content.sha256),
            size: Some(revision.content.size),
            bundle_type: Some(revision.bundle_type),
            label: revision.label.clone(),
        },
        trust,
    ))
}

/// Checks that a deployment may go on under the current configuration. This is the second check, for every source.
/// Rollbacks return to an admitted revision, a removal and a stop install nothing, and the CodeDeploy service's specifications are
/// verified where they are opened.
///
/// # Errors
/// The missing signatures.
pub fn admit(settings: &Settings, purpose: &Purpose, trust: &Trust) -> Result<(), String> {
    let (source, policy) = match purpose {
        Purpose::Release(_) => ("channel", &settings.signatures.channel),
        Purpose::ByHand => ("cli", &settings.signatures.cli),
        Purpose::Commanded | Purpose::RollBack(_) | Purpose::RollBackByHand | Purpose::Remove | Purpose::Stop(_) => {
            return Ok(());
        }
    };
    match (policy, trust) {
        (None, _) | (_, Trust::Verified { .. }) => Ok(()),
        (Some(_), _) => {
            Err(format!("it is {trust}, and signatures: {source} in the configuration asks for signatures"))
        }
    }
}
