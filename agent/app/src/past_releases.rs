//! The releases that were in a group's channel before the one of now. A publisher keeps the release that it replaces.

use hostler_core::ids::GroupKey;
use hostler_core::release::Document;
use hostler_core::store::{Key, PastRelease, Store, past_releases_key};

use crate::failure::Failure;
use crate::output;
use crate::publication;
use crate::setup::Setup;
use crate::stores;

/// The most names that are listed.
const MOST: usize = 100_000;

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

/// One of them, if it is this group's. A document that cannot be read is left out with a warning.
///
/// # Errors
/// The store's error.
pub async fn read(setup: &Setup, store: &impl Store, group: &GroupKey, key: &Key) -> Result<Option<Document>, Failure> {
    match publication::read(setup, store, key).await {
        Ok(found) => Ok(found.map(|(document, _)| document).filter(|d| d.release.group_key() == *group)),
        Err(failure) if failure.is_store_error() => Err(failure),
        Err(failure) => {
            output::notice(&format!("warning: {}", failure.one_line()));
            Ok(None)
        }
    }
}
