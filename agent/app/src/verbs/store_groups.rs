//! The deployment groups of a store, by their releases.

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::store::{Key, Store as _, release_key};

use crate::cli::Shared;
use crate::failure::Failure;
use crate::output;
use crate::publication::{self, Current};
use crate::setup::Setup;
use crate::stores::{self, AnyStore};

/// The most applications of a store, and the most groups of an application, that are looked at.
const MOST: usize = 1000;

/// The groups that the command line names, or all of the store, each with the release in its channel. Signatures are
/// not judged: each group may have other keys.
///
/// # Errors
/// The store's error; not found if a named group has no release.
pub async fn released(setup: &Setup, store: &AnyStore, shared: &Shared) -> Result<Vec<(GroupKey, Current)>, Failure> {
    if let (Some(application), Some(group)) = (&shared.application, &shared.group) {
        let key = GroupKey::new(application.clone(), group.clone());
        let Some(current) = publication::current(setup, store, &key, None).await? else {
            let message = format!("{} holds no release for {key}", store.name());
            return Err(
                Failure::say(ExitCode::NotFound, message).hint("without names all groups of the store are shown")
            );
        };
        return Ok(vec![(key, current)]);
    }
    let mut found = Vec::new();
    for application in store.directories(None, MOST).await.map_err(stores::failure)? {
        for directory in store.directories(Some(&application), MOST).await.map_err(stores::failure)? {
            let Some((key, current)) = of_directory(setup, store, &directory).await? else { continue };
            let is_named = shared.application.as_ref().is_none_or(|name| *name == key.application)
                && shared.group.as_ref().is_none_or(|name| *name == key.group);
            if is_named {
                found.push((key, current));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The group of a directory, if the release there is of the group that the directory is named after.
async fn of_directory(
    setup: &Setup,
    store: &AnyStore,
    directory: &Key,
) -> Result<Option<(GroupKey, Current)>, Failure> {
    let place: Key = format!("{directory}/release.json").parse()?;
    let (document, etag) = match publication::read(setup, store, &place).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(failure) if failure.is_store_error() => return Err(failure),
        Err(failure) => {
            output::notice(&format!("warning: {}", failure.one_line()));
            return Ok(None);
        }
    };
    let key = document.release.group_key();
    let trust = Ok(document.envelope.claimed());
    Ok((release_key(&key) == place).then_some((key, Current { document, etag, trust })))
}
