//! `release --previous`: the revision that the release in the channel replaced.

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::label::Message;
use hostler_core::release::{Release, Revision, RevisionSource, SigningPolicy};
use hostler_core::store::{Location, S3Location, Store as _};

use super::{Before, Wanted};
use crate::cli::ReleaseArgs;
use crate::failure::Failure;
use crate::labels;
use crate::past_releases;
use crate::publication::Current;
use crate::setup::{Setup, existing};
use crate::stores::{self, AnyObject, AnyStore};

/// The channel that goes back.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// Its store.
    pub store: &'a AnyStore,
    /// Its group.
    pub group: &'a GroupKey,
    /// The keys that its hosts follow.
    pub policy: Option<&'a SigningPolicy>,
}

/// The revision that was released before the current one and is another one. Its bundle is there. What the publisher is told once
/// it is published goes into `notes`.
///
/// # Errors
/// Not found if there is none or its bundle is gone; verification failed if hosts would not follow the release in the
/// channel, whose word this is.
pub async fn find(
    setup: &Setup,
    channel: Channel<'_>,
    current: Option<&Current>,
    arguments: &ReleaseArgs,
    notes: &mut Vec<String>,
) -> Result<Wanted, Failure> {
    let Channel { store, group, policy } = channel;
    let Some(current) = current else {
        return Err(none(format!("nothing was released for {group}, so there is nothing to go back to")));
    };
    let release = &current.document.release;
    if let Err(missing) = &current.trust {
        let message = format!("release {} in the channel is not signed as it must be: {missing}", release.sequence);
        return Err(Failure::say(ExitCode::VerificationFailed, message)
            .hint("name the revision that the hosts shall run: `hostler revisions` lists those of the store"));
    }
    let is_other = |of: &Release| of.revision.content.sha256 != release.revision.content.sha256;
    let newest_other = async || past_releases::newest(setup, store, group, policy, is_other).await;
    let found = match release.before(&release.revision) {
        Some(found) => Some(found),
        // Publishers of earlier versions named the revision itself when they released it again.
        None if release.previous.is_some() => newest_other().await?.map(|of| of.revision),
        None => None,
    };
    let Some(mut revision) = found else {
        return Err(none(nothing_before(group, release, newest_other().await?.as_ref())));
    };
    must_be_there(setup, store, &revision).await?;
    let naming = &arguments.naming;
    revision.label = match (&naming.label, naming.no_label) {
        (Some(label), _) => Some(label.clone()),
        (None, true) => None,
        (None, false) => match revision.label {
            Some(label) => Some(label),
            None => {
                let label = labels::find(store, &revision.content.sha256).await.and_then(|stored| stored.label);
                if arguments.signing.signs() {
                    notes.extend(labels::taken(label.as_ref(), None));
                }
                label
            }
        },
    };
    let is_of_it = |of: &Release| of.revision.content.sha256 == revision.content.sha256;
    let known = past_releases::newest(setup, store, group, policy, is_of_it).await?;
    notes.push(goes_back_words(&revision, known.as_ref(), release));
    let before = match known {
        Some(of) => {
            let left = of.message.as_ref().filter(|_| naming.message.is_none());
            notes.extend(left.map(|message| left_words(&of, message)));
            Before::Known(of.before(&revision))
        }
        // The revision that is left must not count as the one before: a second `--previous` would lead forward to it.
        None => {
            notes.push(format!(
                "the store does not say what was released before {}, so this is as far back as --previous leads",
                revision.name()
            ));
            Before::Known(None)
        }
    };
    Ok(Wanted { revision, message: naming.message.clone(), before })
}

/// Where `--previous` goes, and how to go elsewhere: the revision before a bad one may be bad, too.
fn goes_back_words(to: &Revision, of: Option<&Release>, left: &Release) -> String {
    let of = of.map_or_else(String::new, |of| format!(", the revision of release {}", of.sequence));
    format!(
        "--previous goes back from {}, the revision of release {}, to {}{of}; `hostler releases` lists them all, and \
         `hostler release STORE DIGEST` goes to another one",
        left.revision.name(),
        left.sequence,
        to.name()
    )
}

/// A message says why its release was made, which is not why the hosts go back to it.
fn left_words(of: &Release, message: &Message) -> String {
    format!(
        "the message of release {}, {message:?}, does not come back with its revision: --message says why the hosts go \
         back",
        of.sequence
    )
}

/// `left` is the newest release of another revision: one that was left by going back.
fn nothing_before(group: &GroupKey, release: &Release, left: Option<&Release>) -> String {
    let (sequence, name) = (release.sequence, release.revision.name());
    match left {
        None => format!("no other revision was released for {group} before release {sequence}, {name}"),
        Some(left) => format!(
            "no revision was released for {group} before {name}, which release {sequence} is of; --previous leads back \
             only, and not to {}, which release {} was of",
            left.revision.name(),
            left.sequence
        ),
    }
}

fn none(message: String) -> Failure {
    Failure::say(ExitCode::NotFound, message)
        .hint("name the revision that the hosts shall run: `hostler revisions` lists those of the store")
}

/// Refuses a revision whose bundle is gone. A web server is not asked: its answer costs the whole download.
async fn must_be_there(setup: &Setup, store: &AnyStore, revision: &Revision) -> Result<(), Failure> {
    let size = match &revision.source {
        RevisionSource::Key(key) => store.size(key).await.map_err(stores::failure)?,
        RevisionSource::Location(Location::File(path)) => {
            return existing(path).map(drop).map_err(|_| gone(revision, &path.display().to_string()));
        }
        RevisionSource::Location(Location::S3(place)) => {
            let place = S3Location { version_id: revision.version_id.clone(), ..place.clone() };
            match setup.stores.elsewhere(&Location::S3(place))? {
                Some(AnyObject::S3(object)) => object.facts().await.map_err(stores::failure)?.map(|facts| facts.size),
                _ => return Ok(()),
            }
        }
        RevisionSource::Location(Location::Https(_)) => return Ok(()),
    };
    let place = match &revision.source {
        RevisionSource::Key(key) => store.location(key),
        RevisionSource::Location(place) => place.shown(),
    };
    match size {
        None => Err(gone(revision, &place)),
        Some(size) if size != revision.content.size => {
            let message = format!("{place} has {size} bytes, and {} has {}", revision.name(), revision.content.size);
            Err(Failure::say(ExitCode::VerificationFailed, message).hint("delete it and push the bundle again"))
        }
        Some(_) => Ok(()),
    }
}

fn gone(revision: &Revision, place: &str) -> Failure {
    let message = format!("{}, the revision released before, is gone: {place} does not exist", revision.name());
    Failure::say(ExitCode::NotFound, message)
        .hint("push it again, or name another revision: `hostler revisions` lists those of the store")
}
