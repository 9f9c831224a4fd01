//! A group's channel: what it says and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::GroupSettings;
use hostler_core::ids::GroupKey;
use hostler_core::machine::Event;
use hostler_core::machine::follow::{Follow, follow};
use hostler_core::machine::state::{Creator, Policy, Request, Revision, Source};
use hostler_core::release::{self, Document, Highest, RevisionSource, Terms, Trust};
use hostler_core::store::{ETag, GetOutcome, S3Location, Store as _, release_key};
use hostler_host::clock;

use tokio::sync::Notify;

use crate::engine::{AskError, Handle};
use crate::failure::Failure;
use crate::setup::Setup;
use crate::sources::{signatures, store, wake_up};

/// What a look at the channel found.
#[derive(Debug)]
pub enum Look {
    /// Nothing has been released.
    Empty,
    /// The document is the one that was seen last time.
    Unchanged,
    /// A release, and what it means for the group.
    Release {
        /// Its sequence.
        sequence: u64,
        /// What follows.
        follow: Follow,
        /// The deployment that it asks for.
        request: Box<Request>,
        /// The document's ETag.
        etag: ETag,
    },
}

/// Reads the channel once.
///
/// # Errors
/// When the store cannot be read or the release must not be followed.
pub async fn look(
    setup: &Setup,
    group: &GroupSettings,
    channel: &str,
    handle: &Handle,
    known: Option<&ETag>,
) -> Result<Look, Failure> {
    let store = setup.stores.open(channel)?;
    let key = release_key(&group.key);
    let at_most = release::stored_bytes(&setup.limits);
    let (bytes, etag) = match store.get(&key, known, at_most).await.map_err(store::failure)? {
        GetOutcome::NotFound => return Ok(Look::Empty),
        GetOutcome::NotModified => return Ok(Look::Unchanged),
        GetOutcome::Found { bytes, etag } => (bytes, etag),
    };
    let state = handle.state().borrow().clone();
    let keys = signatures::channel_keys(setup, &store, &group.key, &state).await?;
    if let Some(accepted) = keys.accepted {
        // Before anything is followed that only the new keys stand for.
        handle.ask(Event::KeysAccepted { key: group.key.clone(), keys: Box::new(accepted) }).await?;
    }
    let place = store.location(&key);
    let (document, trust) = signatures::open(&bytes, &place, &setup.limits, keys.policy.as_ref())?;
    let known_group = state.groups.get(&group.key.id());
    let highest = known_group.and_then(|g| g.following.highest);
    let terms = Terms { group: &group.key, highest: at_least(highest, group.minimum_sequence), now: clock::now() };
    release::accept(&document, &terms)
        .map_err(|e| Failure::new(ExitCode::VerificationFailed, anyhow::Error::new(e)))?;
    let sequence = document.release.sequence;
    let request = Box::new(request(&group.key, group.policy.clone(), channel, &document, trust)?);
    Ok(Look::Release { sequence, follow: follow(known_group, sequence), request, etag })
}

/// The configured floor, where nothing above it was seen.
fn at_least(highest: Option<Highest>, floor: Option<u64>) -> Option<Highest> {
    let floor = floor.map(|sequence| Highest { sequence, digest: None });
    match (highest, floor) {
        (Some(seen), Some(floor)) if floor.sequence > seen.sequence => Some(floor),
        (Some(seen), _) => Some(seen),
        (None, floor) => floor,
    }
}

fn request(
    key: &GroupKey,
    policy: Policy,
    channel: &str,
    document: &Document,
    trust: Trust,
) -> Result<Request, Failure> {
    let release = &document.release;
    let source = match &release.revision.source {
        RevisionSource::Key(key) => Source::Store { store: channel.to_owned(), key: key.as_str().to_owned() },
        RevisionSource::Location(location) => match location.parse::<S3Location>() {
            Ok(place) => {
                let place = S3Location { version_id: release.revision.version_id.clone(), ..place };
                Source::Location { location: place.to_string() }
            }
            Err(_) => {
                let message = format!("release {} names {location}, which this version cannot fetch", release.sequence);
                return Err(Failure::say(ExitCode::Failed, message)
                    .hint("release an object of S3, or push the bundle into the channel's store"));
            }
        },
    };
    Ok(Request {
        key: key.clone(),
        creator: Creator::Channel,
        asked_by: format!("release {} in {channel}", release.sequence),
        revision: Revision {
            location: match &source {
                Source::Location { location } => location.clone(),
                _ => channel.to_owned(),
            },
            digest: Some(release.revision.content.sha256),
            size: Some(release.revision.content.size),
            bundle_type: Some(release.revision.bundle_type),
        },
        source,
        release: Some(Highest { sequence: release.sequence, digest: Some(document.digest) }),
        trust,
        rolls_back: None,
        removes: false,
        policy: Policy {
            ignore_application_stop_failures: policy.ignore_application_stop_failures
                || release.ignore_application_stop_failures,
            cleanup: policy.cleanup && release.cleanup,
            file_exists_behavior: release.file_exists_behavior.unwrap_or(policy.file_exists_behavior),
            ..policy
        },
    })
}

/// Follows the channel for as long as it is polled: when its time has come, and when its queue says that it changed.
pub async fn watch(setup: Arc<Setup>, group: GroupSettings, channel: String, handle: Handle) {
    let changed = Notify::new();
    let polls = poll(&setup, &group, &channel, &handle, &changed);
    match &group.wake_up_queue {
        None => polls.await,
        Some(url) => {
            tokio::join!(polls, wake_up::listen(&setup, &group.key, url, &changed));
        }
    }
}

async fn poll(setup: &Setup, group: &GroupSettings, channel: &str, handle: &Handle, changed: &Notify) {
    let mut known: Option<ETag> = None;
    let mut last_problem: Option<String> = None;
    if setup.settings.signatures.channel.is_none() {
        log::warn!(group:% = group.key, channel; "releases are followed unsigned: no keys are configured");
    }
    loop {
        match look(setup, group, channel, handle, known.as_ref()).await {
            Ok(found) => {
                if last_problem.take().is_some() {
                    log::info!(group:% = group.key, channel; "the channel can be read again");
                }
                known = take(handle, &group.key, found, known).await;
            }
            Err(failure) => {
                let problem = failure.one_line();
                // Once for each problem: a channel that is away for a night must not fill the log.
                if last_problem.as_ref() != Some(&problem) {
                    log::warn!(group:% = group.key, channel; "the channel is not followed: {problem}");
                }
                last_problem = Some(problem);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(group.poll_seconds)) => {}
            () = changed.notified() => {}
        }
    }
}

/// Acts on what was found; the ETag is kept only when nothing is left to do about the document, so that it is read
/// again until then.
async fn take(handle: &Handle, key: &GroupKey, found: Look, known: Option<ETag>) -> Option<ETag> {
    match found {
        Look::Empty => None,
        Look::Unchanged => known,
        Look::Release { sequence, follow: Follow::Deploy, request, .. } => {
            log::info!(group:% = key, sequence; "release {sequence} is followed ({})", request.trust);
            if let Err(error) = deploy(handle, *request).await {
                log::warn!(group:% = key, sequence; "the release is not deployed: {error}");
            }
            None
        }
        Look::Release { follow: Follow::Busy | Follow::Held(_) | Follow::Failed, .. } => None,
        Look::Release { follow: Follow::UpToDate, etag, .. } => Some(etag),
    }
}

async fn deploy(handle: &Handle, request: Request) -> Result<(), AskError> {
    let id = clock::fresh_deployment_id().map_err(|_| AskError::Stopping)?;
    handle.ask(Event::Deploy { id, request: Box::new(request) }).await
}

/// Nine tenths to eleven tenths of the interval: a fleet that booted together must not poll together.
fn jittered(seconds: u64) -> Duration {
    let milliseconds = seconds.saturating_mul(1000);
    let byte = clock::random_bytes::<1>().map_or(128, |[b]| u64::from(b));
    Duration::from_millis(milliseconds * 9 / 10 + milliseconds / 5 * byte / 255)
}
