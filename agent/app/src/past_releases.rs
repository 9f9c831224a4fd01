//! The releases that were in a group's channel before the one of now. A publisher keeps the release that it replaces.

use hostler_core::ids::GroupKey;
use hostler_core::release::{self, Document, Release, SigningPolicy};
use hostler_core::store::{Key, PastRelease, Store, past_releases_key};
use hostler_host::signature;

use crate::failure::Failure;
use crate::output;
use crate::publication;
use crate::setup::Setup;
use crate::stores;

/// The most names that are listed.
const MOST: usize = 100_000;

/// The most documents that are read in search of one.
const MOST_READ: usize = 100;

/// The keys of a group's earlier releases, newest first.
///
/// # Errors
/// The store's error.
pub async fn keys(store: &impl Store, group: &GroupKey) -> Result<Vec<Key>, Failure> {
    let listed = store.list(&past_releases_key(group), "", MOST).await.map_err(stores::failure)?;
    let named = listed.into_iter().filter_map(|object| Some((PastRelease::of_key(&object.key)?, object.key)));
    let mut named: Vec<(PastRelease, Key)> = named.collect();
    named.sort();
    Ok(named.into_iter().rev().map(|(_, key)| key).collect())
}

/// One of them. A document that cannot be read is left out with a warning, and so is one that is not the release of its
/// name: under another one an old release would count as newer than those after it.
///
/// # Errors
/// The store's error.
pub async fn read(setup: &Setup, store: &impl Store, group: &GroupKey, key: &Key) -> Result<Option<Document>, Failure> {
    let why = match publication::read(setup, store, key).await {
        Ok(Some((document, _))) if is_named(&document, group, key) => return Ok(Some(document)),
        Ok(Some(_)) => format!("{} is left out: it is not the release that its name says", store.location(key)),
        Ok(None) => return Ok(None),
        Err(failure) if failure.is_store_error() => return Err(failure),
        Err(failure) => failure.one_line(),
    };
    output::notice(&format!("warning: {why}"));
    Ok(None)
}

/// The newest one that hosts with these keys would follow and that `is_wanted`.
///
/// # Errors
/// The store's error.
pub async fn newest(
    setup: &Setup,
    store: &impl Store,
    group: &GroupKey,
    policy: Option<&SigningPolicy>,
    is_wanted: impl Fn(&Release) -> bool,
) -> Result<Option<Release>, Failure> {
    for key in keys(store, group).await?.into_iter().take(MOST_READ) {
        let Some(document) = read(setup, store, group, &key).await? else { continue };
        let is_followed = release::verify(policy, &document.envelope, &signature::verify).is_ok();
        if is_followed && is_wanted(&document.release) {
            return Ok(Some(document.release));
        }
    }
    Ok(None)
}

fn is_named(document: &Document, group: &GroupKey, key: &Key) -> bool {
    let release = &document.release;
    release.group_key() == *group && PastRelease::of_key(key) == Some(release.past(&document.digest))
}
