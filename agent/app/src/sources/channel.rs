//! A group's channel: its release, and the action that follows from it.

use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::GroupSettings;
use hostler_core::ids::GroupKey;
use hostler_core::machine::release_decision::{Follow, follow_accepted};
use hostler_core::machine::state::{Creator, Policy, Purpose, Request, Revision, Source};
use hostler_core::machine::{Event, admit};
use hostler_core::operator_events::OperatorEvent;
use hostler_core::release::{self, Acceptance, Document, Highest, RevisionSource, SigningPolicy, Terms, Trust};
use hostler_core::retry::{Backoff, jittered_ms};
use hostler_core::store::{ETag, GetOutcome, Location, S3Location, Store as _, release_key};
use hostler_host::clock;
use tokio::sync::Notify;

use crate::controller::LogOnce;
use crate::engine::{AskError, Handle};
use crate::failure::Failure;
use crate::log_output::operator_event;
use crate::setup::{Setup, SetupWatch};
use crate::sources::channel_status::Channels;
use crate::sources::idle::sleep_idle;
use crate::sources::wake_up;
use crate::stores::AnyStore;
use crate::{signatures, stores};

/// The result of a poll of the channel.
#[derive(Debug)]
pub enum PollResult {
    /// Nothing has been released.
    Empty,
    /// The same document as at the last poll.
    Unchanged,
    /// A release, and its meaning for the group.
    Release {
        /// Its sequence.
        sequence: u64,
        /// The action that follows.
        follow: Follow,
        /// The deployment that it asks for.
        request: Box<Request>,
        /// The document's ETag.
        etag: ETag,
    },
}

/// Why a poll had no result.
#[derive(Debug)]
pub enum PollError {
    /// The channel could not be read; another try may succeed.
    Unread(Failure),
    /// The release must not be followed.
    Refused(Failure),
}

impl PollError {
    /// The failure of either kind.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Unread(failure) | Self::Refused(failure) => failure,
        }
    }
}

/// Which key policies a poll looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookForKeys {
    /// Those that a changed release may need.
    ForRelease,
    /// A newer policy in any case: a user with write access to the store could hide it behind an unchanged release.
    Always,
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
    look_for: LookForKeys,
) -> Result<PollResult, PollError> {
    let unread = PollError::Unread;
    let store = setup.stores.open(channel).map_err(unread)?;
    let key = release_key(&group.key);
    let at_most = release::stored_bytes(&setup.limits);
    let found = store.get(&key, known, at_most).await.map_err(|e| unread(stores::failure(e)))?;
    let (bytes, etag) = match found {
        GetOutcome::Found { bytes, etag } => (bytes, etag),
        GetOutcome::NotFound | GetOutcome::NotModified => {
            if look_for == LookForKeys::Always {
                accepted_keys(setup, &store, group, handle).await?;
            }
            return Ok(if matches!(found, GetOutcome::NotFound) { PollResult::Empty } else { PollResult::Unchanged });
        }
    };
    let policy = accepted_keys(setup, &store, group, handle).await?;
    let (document, trust) =
        signatures::open(&bytes, &store.location(&key), &setup.limits, policy.as_ref()).map_err(PollError::Refused)?;
    let state = handle.state().borrow().clone();
    let known_group = state.groups.get(&group.key.id());
    let name = store.name();
    let terms = Terms {
        group: &group.key,
        store: Some(&name),
        require_store: group.require_store,
        highest: known_group.and_then(|g| g.following.highest),
        minimum_sequence: group.minimum_sequence,
        epoch: group.sequence_epoch,
        key_policy: policy.map(|policy| policy.version),
        now: clock::now(),
    };
    let accepted = release::accept(&document, &terms)
        .map_err(|e| PollError::Refused(Failure::new(ExitCode::VerificationFailed, anyhow::Error::new(e))))?;
    let sequence = document.release.sequence;
    let is = match accepted {
        Acceptance::New(highest) => highest,
        Acceptance::Known => {
            let known = terms.highest.unwrap_or_else(|| Highest::new(sequence, Some(document.digest)));
            Highest { epoch: group.sequence_epoch, ..known }
        }
    };
    let request = request(&group.key, group.policy.clone(), channel, (&document, is), trust);
    let follow = follow_accepted(known_group, accepted, sequence);
    Ok(PollResult::Release { sequence, follow, request: Box::new(request), etag })
}

/// The key policy in force. The ledger holds a newer policy before the agent follows a release that only the new keys
/// have signed.
async fn accepted_keys(
    setup: &Setup,
    store: &AnyStore,
    group: &GroupSettings,
    handle: &Handle,
) -> Result<Option<SigningPolicy>, PollError> {
    let state = handle.state().borrow().clone();
    let keys = signatures::channel_keys(setup, store, &group.key, &state).await.map_err(PollError::Unread)?;
    if let Some(accepted) = keys.accepted {
        let accepted = Event::KeysAccepted { key: group.key.clone(), keys: Box::new(accepted) };
        handle.ask(accepted).await.map_err(|e| PollError::Unread(e.into()))?;
    }
    Ok(keys.policy)
}

fn request(
    key: &GroupKey,
    policy: Policy,
    channel: &str,
    (document, is): (&Document, Highest),
    trust: Trust,
) -> Request {
    let release = &document.release;
    let (location, source) = match &release.revision.source {
        RevisionSource::Key(key) => {
            (channel.to_owned(), Source::Store { store: channel.to_owned(), key: key.as_str().to_owned() })
        }
        RevisionSource::Location(place) => {
            let version_id = release.revision.version_id.clone();
            let place = match place.clone() {
                Location::S3(place) => Location::S3(S3Location { version_id, ..place }),
                other => other,
            };
            (place.shown(), stores::source(place))
        }
    };
    Request {
        key: key.clone(),
        purpose: Purpose::Release(is),
        asked_by: format!("release {} in {channel}", release.sequence),
        revision: Revision {
            location,
            digest: Some(release.revision.content.sha256),
            size: Some(release.revision.content.size),
            bundle_type: Some(release.revision.bundle_type),
            label: release.revision.label.clone(),
        },
        source,
        trust,
        policy: Policy {
            ignore_application_stop_failures: policy.ignore_application_stop_failures
                || release.ignore_application_stop_failures,
            cleanup: policy.cleanup && release.cleanup,
            file_exists_behavior: release.file_exists_behavior.unwrap_or(policy.file_exists_behavior),
            ..policy
        },
    }
}

/// Waits after failures: short at first, and short enough that a role that is attached late is noticed within two
/// minutes.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 5000, most_ms: 110_000 };

/// Polls between two searches for a newer key policy: on a host whose release does not change, a removed key can count
/// for this long.
const LOOKS_PER_KEYS: u32 = 10;

/// Follows the channel for as long as it is polled: at its interval, and when its queue reports a change. A poll that
/// finds nothing new changes nothing on this host.
pub async fn watch(setup_watch: SetupWatch, group: GroupSettings, channel: String, handle: Handle, channels: Channels) {
    let changed = Notify::new();
    let polls = poll(&setup_watch, &group, &channel, &handle, &channels, &changed);
    match &group.wake_up_queue {
        None => polls.await,
        Some(url) => {
            tokio::join!(polls, wake_up::listen(setup_watch.clone(), &group.key, url, &changed));
        }
    }
}

async fn poll(
    setup_watch: &SetupWatch,
    group: &GroupSettings,
    channel: &str,
    handle: &Handle,
    channels: &Channels,
    changed: &Notify,
) {
    let mut known: Option<ETag> = None;
    let mut tried = tried_sequence(handle, &group.key);
    let mut log = LogOnce::default();
    let mut failures = 0;
    let mut looks_since_keys = LOOKS_PER_KEYS;
    if setup_watch.now().settings.signatures.channel.is_none() {
        log::warn!(
            hostler_event = "unsigned", group:% = group.key, channel;
            "{}: releases are followed unsigned, because no keys are configured", group.key
        );
    }
    loop {
        // A release that is to be tried again is read although it has not changed.
        let before = std::mem::replace(&mut tried, tried_sequence(handle, &group.key));
        known = known.filter(|_| before == tried);
        let look_for = match looks_since_keys >= LOOKS_PER_KEYS {
            true => LookForKeys::Always,
            false => LookForKeys::ForRelease,
        };
        looks_since_keys = looks_since_keys.saturating_add(1);
        match look(&setup_watch.now(), group, channel, handle, known.as_ref(), look_for).await {
            Ok(found) => {
                failures = 0;
                if look_for == LookForKeys::Always {
                    looks_since_keys = 1;
                }
                channels.note(&group.key, None);
                if log.ends() {
                    log::info!(hostler_event = "channel-read-again", group:% = group.key, channel; "{}: the channel can be read again ({channel})", group.key);
                }
                known = take(handle, &group.key, found, known).await;
            }
            Err(error) => {
                failures += 1;
                let refused = matches!(error, PollError::Refused(_));
                let failure = error.into_failure();
                let problem = failure.one_line();
                channels.note(&group.key, Some(&problem));
                if log.differs(&failure.without_request_ids()) {
                    tell(&group.key, channel, refused, &problem);
                }
            }
        }
        let pause = Duration::from_millis(wait_ms(group.poll_seconds, failures, clock::random()));
        tokio::select! {
            () = sleep_idle(handle, pause) => {}
            () = changed.notified() => {}
        }
    }
}

fn tried_sequence(handle: &Handle, key: &GroupKey) -> u64 {
    handle.state().borrow().groups.get(&key.id()).map_or(0, |group| group.following.tried_sequence)
}

fn tell(key: &GroupKey, channel: &str, refused: bool, problem: &str) {
    if refused {
        operator_event!(Error, OperatorEvent::ChannelRefused, group = key, channel = channel; "{key}: the channel is not followed: {problem}");
    } else {
        log::warn!(hostler_event = "channel-unreadable", group:% = key, channel; "{key}: the channel is not followed: {problem}");
    }
}

/// Milliseconds until the next poll: the interval, and after failures a growing time with a bound; the hosts of a fleet
/// poll at different times.
fn wait_ms(poll_seconds: u64, failures: u32, random: u64) -> u64 {
    let interval = poll_seconds.saturating_mul(1000);
    match failures {
        0 => jittered_ms(interval, random),
        _ => {
            // A host that polls often should also notice soon that a store is back.
            let first_ms = AFTER_FAILURES.first_ms.min(interval);
            let most_ms = AFTER_FAILURES.most_ms.min(interval.saturating_mul(8));
            Backoff { first_ms, most_ms }.wait_ms(failures, random)
        }
    }
}

/// Acts on the result of a poll. Keeps the ETag only when nothing is left to do about the document, so that it is read
/// again until then.
async fn take(handle: &Handle, key: &GroupKey, found: PollResult, known: Option<ETag>) -> Option<ETag> {
    match found {
        PollResult::Empty => None,
        PollResult::Unchanged => known,
        // The log of the lifecycle, or of the Setup scripts, gives the reason once.
        PollResult::Release { follow: Follow::Deploy, .. }
            if admit(&handle.state().borrow(), Creator::Channel).is_err() =>
        {
            None
        }
        PollResult::Release { sequence, follow: Follow::Deploy, request, .. } => {
            log::info!(group:% = key, sequence; "{key}: release {sequence} is followed ({})", request.trust);
            if let Err(error) = deploy(handle, *request).await {
                log::warn!(group:% = key, sequence; "{key}: release {sequence} is not deployed: {error}");
            }
            None
        }
        PollResult::Release { follow: Follow::Busy, request, .. } => {
            stand_for_active(handle, *request).await;
            None
        }
        PollResult::Release { follow: Follow::Held(_) | Follow::Failed, .. } => None,
        PollResult::Release { follow: Follow::UpToDate | Follow::ByHand(_), etag, .. } => Some(etag),
    }
}

/// The keys changed while this release was being deployed, and the new keys have signed it.
async fn stand_for_active(handle: &Handle, request: Request) {
    let state = handle.state().borrow().clone();
    let active = state.groups.get(&request.key.id()).and_then(|group| group.active.as_ref());
    let is_outdated = active.is_some_and(|active| active.outdated_keys);
    if let (true, Some(release)) = (is_outdated, request.purpose.release().and_then(|is| is.digest)) {
        let event = Event::SignedAgain { key: request.key, release, trust: request.trust };
        if let Err(error) = handle.ask(event).await {
            log::warn!("the new signatures of the release that is being deployed are not noted: {error}");
        }
    }
}

async fn deploy(handle: &Handle, request: Request) -> Result<(), AskError> {
    let id = clock::fresh_deployment_id().map_err(|_| AskError::Stopping)?;
    handle.ask(Event::Deploy { id, request: Box::new(request) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_waited_out_longer_and_never_for_two_minutes() {
        for poll in [1, 10, 60, 3600] {
            assert!(wait_ms(poll, 0, 7) >= poll * 900);
            let waits: Vec<u64> = (1..100).map(|failures| wait_ms(poll, failures, u64::MAX)).collect();
            assert!(waits[0] <= 5000 && waits[0] <= poll * 1000, "{waits:?}");
            assert!(waits.iter().all(|wait| *wait < 120_000), "{waits:?}");
            assert!(waits[98] >= (poll * 4000).min(55_000), "{waits:?}");
        }
    }
}
