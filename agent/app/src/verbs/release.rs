//! `hostler release STORE REVISION`: publish the revision for a deployment group.

use std::fmt::Display;

use hostler_aws::asg::AutoScaling;
use hostler_aws::store_s3::check_conditions;
use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::ids::Sha256Digest;
use hostler_core::machine::State;
use hostler_core::release::{self, LONGEST_JUMP, Release};
use hostler_core::traffic::common_misfit;
use hostler_host::clock;
use jiff::SignedDuration;

use crate::cli::{FileExists, ReleaseArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::publication::{self, Current, Publication};
use crate::setup::Setup;
use crate::signatures::channel_keys;
use crate::signing;
use crate::stores::{self, AnyStore};

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

/// The most tries after lost races with other publishers.
const ATTEMPTS: u32 = 5;

pub fn run(shared: &Shared, arguments: &ReleaseArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let key = setup.group(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        if let Some(name) = &arguments.auto_scaling_group {
            warn_of_group(&setup, name).await?;
        }
        if let AnyStore::S3(store) = &store {
            let nonce = Sha256Digest::from_bytes(clock::random_bytes()?);
            check_conditions(store, &nonce).await.map_err(stores::failure)?;
        }
        let signers = signing::signers(&setup, &arguments.signing).await?;
        let revision = revision::find(&setup, &store, &arguments.revision, !arguments.no_validate).await?;
        for _ in 0..ATTEMPTS {
            // The keys are read before the release: a rotation changes the release afterwards.
            let policy = channel_keys(&setup, &store, &key, &State::default()).await?.policy;
            let current = publication::current(&setup, &store, &key, policy.as_ref()).await?;
            let key_policy = match (&policy, &current) {
                (Some(policy), _) => policy.version,
                // A signer without configured keys does not know the policy: the previous release's is used.
                (None, Some(current)) => current.document.release.key_policy,
                (None, None) => 1,
            };
            let sequence = next_sequence(arguments, current.as_ref(), key_policy)?;
            let mut release = Release::new(key.clone(), sequence, clock::now(), revision.clone());
            release.key_policy = key_policy;
            release.store = arguments.bind_store.then(|| store.name());
            let release = with_terms(release, arguments, current.as_ref());
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
                if !arguments.propose {
                    publication::must_be_followed(&setup, &store, &key, policy.as_ref()).await?;
                }
                return publication.say(&setup, &store, &arguments.store, arguments.propose);
            }
        }
        Err(publication::always_overtaken(&key))
    })
}

/// Warns about the hosts that leave service for the release. It never refuses the release: the traffic settings are on
/// the hosts.
async fn warn_of_group(setup: &Setup, name: &str) -> Result<(), Failure> {
    match AutoScaling::of_clients(&*setup.stores.clients()?).await.facts(name).await {
        Ok(facts) => {
            if let Some(misfit) = common_misfit(&facts) {
                warn(&misfit);
            }
        }
        Err(fault) => warn(&format!("the Auto Scaling group {name} was not looked at: {fault}")),
    }
    Ok(())
}

fn warn(warning: &dyn Display) {
    output::notice(&format!("warning: {warning}"));
}

/// The sequence after the channel's. A release without valid signatures may carry any number.
fn next_sequence(arguments: &ReleaseArgs, current: Option<&Current>, key_policy: u64) -> Result<u64, Failure> {
    let trusted = current.filter(|c| c.trust.is_ok() || arguments.sequence_above.is_none());
    let made_under = |c: &Current| if c.trust.is_ok() { c.document.release.key_policy } else { key_policy };
    let position = trusted.map(|c| (made_under(c), c.document.release.sequence));
    if let Some((_, sequence)) = position.filter(|(_, sequence)| *sequence > LONGEST_JUMP)
        && current.is_some_and(|c| c.trust.is_err())
    {
        let message = format!("the release in the channel is not signed as it must be, and has sequence {sequence}");
        return Err(Failure::say(ExitCode::Refused, message)
            .hint("say the highest sequence that hosts have seen (`hostler status`): --sequence-above SEQUENCE"));
    }
    release::next_sequence(position, key_policy, arguments.sequence_above)
        .map_err(|problem| Failure::say(ExitCode::Refused, problem))
}

fn with_terms(mut release: Release, arguments: &ReleaseArgs, current: Option<&Current>) -> Release {
    // A rollback must not lead to a release that was slipped in without a signature.
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
