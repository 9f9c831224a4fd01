//! `hostler release STORE REVISION`: publish the revision for a deployment group.

use std::fmt::Display;

use hostler_aws::asg::AutoScaling;
use hostler_core::appspec::spec::FileExistsBehavior;
use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::label::Message;
use hostler_core::machine::State;
use hostler_core::release::{self, Document, LONGEST_JUMP, Release, Revision, SigningPolicy};
use hostler_core::traffic::common_misfit;
use hostler_host::clock;
use jiff::SignedDuration;

use crate::cli::{FileExists, ReleaseArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::labels;
use crate::output;
use crate::past_releases;
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

mod previous;
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
        stores::must_keep_conditions(&store).await?;
        let signers = signing::signers(&setup, &arguments.signing).await?;
        let named = match &arguments.revision {
            Some(text) => Some(wanted(&setup, &store, text, arguments).await?),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            // What is true only once the release is published. After a lost race, the next try has words of its own.
            let mut notes = Vec::new();
            // The keys are read before the release: a rotation changes the release afterwards.
            let policy = channel_keys(&setup, &store, &key, &State::default()).await?.policy;
            let current = publication::current(&setup, &store, &key, policy.as_ref()).await?;
            let key_policy = match (&policy, &current) {
                (Some(policy), _) => policy.version,
                // A signer without configured keys does not know the policy: the previous release's is used.
                (None, Some(current)) => current.document.release.key_policy,
                (None, None) => 1,
            };
            let wanted = match &named {
                Some(wanted) => wanted.clone(),
                None => {
                    let channel = previous::Channel { store: &store, group: &key, policy: policy.as_ref() };
                    previous::find(&setup, channel, current.as_ref(), arguments, &mut notes).await?
                }
            };
            let same = current.as_ref().filter(|current| current.is_of(&wanted.revision));
            if let Some(current) = same.filter(|_| arguments.if_changed) {
                let Document { envelope, release, .. } = current.document.clone();
                return Publication::new(release, envelope, policy.as_ref()).say_unchanged(&setup, &store);
            }
            let lost = match &current {
                Some(_) => None,
                None => kept(&setup, &store, &key, policy.as_ref(), &mut notes).await,
            };
            let sequence = next_sequence(arguments, current.as_ref(), lost.as_ref(), key_policy, &mut notes)?;
            notes.extend(same.map(|current| current.same_words(sequence)));
            let mut release = Release::new(key.clone(), sequence, clock::now(), wanted.revision);
            release.key_policy = key_policy;
            release.message = wanted.message;
            release.store = arguments.bind_store.then(|| store.name());
            let release = with_terms(release, arguments, current.as_ref(), wanted.before);
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
                notes.iter().for_each(|note| output::notice(note));
                if !arguments.propose {
                    publication::must_be_followed(&setup, &store, &key, policy.as_ref()).await?;
                }
                return publication.say(&setup, &store, &arguments.store, arguments.propose);
            }
        }
        Err(publication::always_overtaken(&key))
    })
}

/// A revision to release, with the message that goes with it.
#[derive(Debug, Clone)]
struct Wanted {
    revision: Revision,
    message: Option<Message>,
    before: Before,
}

/// Where the next `release --previous` leads.
#[derive(Debug, Clone)]
enum Before {
    /// To the revision that is replaced now.
    Current,
    /// Further back: to what was there before the revision that is put back, if anything was.
    Known(Option<Revision>),
}

/// The revision that the command line names, as its publisher calls it.
async fn wanted(setup: &Setup, store: &AnyStore, text: &str, arguments: &ReleaseArgs) -> Result<Wanted, Failure> {
    let naming = &arguments.naming;
    let mut revision = revision::find(setup, store, text, !arguments.no_validate).await?;
    // Without the label, agents that know neither label nor message must be able to read the release.
    let is_known = naming.no_label || (naming.label.is_some() && naming.message.is_some());
    let stored = if is_known { None } else { labels::find(store, &revision.content.sha256).await };
    let (label, message) = stored.map(|stored| (stored.label, stored.message)).unwrap_or_default();
    let label = label.filter(|_| naming.label.is_none());
    let message = message.filter(|_| naming.message.is_none());
    if arguments.signing.signs() {
        labels::say_taken(label.as_ref(), message.as_ref());
    }
    revision.label = naming.label.clone().or(label);
    Ok(Wanted { revision, message: naming.message.clone().or(message), before: Before::Current })
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

/// The newest release that the store keeps. A publisher who may not list them goes on without.
async fn kept(
    setup: &Setup,
    store: &AnyStore,
    key: &GroupKey,
    policy: Option<&SigningPolicy>,
    notes: &mut Vec<String>,
) -> Option<Release> {
    match past_releases::newest(setup, store, key, policy, |_| true).await {
        Ok(found) => found,
        Err(failure) => {
            let why = failure.one_line();
            notes.push(format!("warning: the releases that the store keeps were not looked at: {why}"));
            None
        }
    }
}

/// The sequence after the channel's, or after the newest one that is kept where the channel's was `lost`: hosts refuse a
/// lower one. A release without valid signatures may carry any number.
fn next_sequence(
    arguments: &ReleaseArgs,
    current: Option<&Current>,
    lost: Option<&Release>,
    key_policy: u64,
    notes: &mut Vec<String>,
) -> Result<u64, Failure> {
    if let Some(lost) = lost {
        // The release that was lost is the one after it.
        let above = arguments.sequence_above.unwrap_or_default().max(lost.sequence.saturating_add(1));
        notes.push(format!(
            "the channel has no release, and the store keeps release {}: this one becomes release {}",
            lost.sequence,
            above.saturating_add(1)
        ));
        return release::next_sequence(Some((lost.key_policy, lost.sequence)), key_policy, Some(above))
            .map_err(|problem| Failure::say(ExitCode::Refused, problem));
    }
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

fn with_terms(mut release: Release, arguments: &ReleaseArgs, current: Option<&Current>, before: Before) -> Release {
    // A rollback must not lead to a release that was slipped in without a signature.
    let previous = match before {
        Before::Known(before) => before,
        Before::Current => {
            current.filter(|c| c.trust.is_ok()).and_then(|c| c.document.release.before(&release.revision))
        }
    };
    release.previous = previous.map(|previous| match arguments.naming.no_label {
        true => Revision { label: None, ..previous },
        false => previous,
    });
    release.expires = arguments
        .expires_in
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| release.created.checked_add(SignedDuration::from_secs(seconds)).ok());
    release.minimum_agent_version = arguments.minimum_agent_version;
    release.ignore_application_stop_failures = arguments.ignore_application_stop_failures;
    release.file_exists_behavior = arguments.file_exists_behavior.map(Into::into);
    release
}
