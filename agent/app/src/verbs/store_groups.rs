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

/// What becomes of a name of an application or group alone that no release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// An error: the command asks for releases.
    Refused,
    /// No group: the command asks for bundles, and shows releases beside them.
    Empty,
}

/// The groups that the command line names, or all of the store, each with the release in its channel. Signatures are
/// not judged: each group may have other keys.
///
/// # Errors
/// The store's error; not found if a named group has no release.
pub async fn released(
    setup: &Setup,
    store: &AnyStore,
    shared: &Shared,
    unknown: Unknown,
) -> Result<Vec<(GroupKey, Current)>, Failure> {
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
    let mut others = Vec::new();
    for application in directories(store, None).await? {
        for directory in directories(store, Some(&application)).await? {
            let Some((key, current)) = of_directory(setup, store, &directory).await? else { continue };
            let is_named = shared.application.as_ref().is_none_or(|name| *name == key.application)
                && shared.group.as_ref().is_none_or(|name| *name == key.group);
            if is_named {
                found.push((key, current));
            } else {
                others.push(key.to_string());
            }
        }
    }
    if found.is_empty() && !others.is_empty() && unknown == Unknown::Refused {
        others.sort();
        return Err(none_of_that_name(store, shared, &others));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The store holds releases, and none of the named application or group.
fn none_of_that_name(store: &AnyStore, shared: &Shared, others: &[String]) -> Failure {
    let application = shared.application.as_ref().map(|name| format!("an application {name}"));
    let group = shared.group.as_ref().map(|name| format!("a group {name}"));
    let named = application.or(group).unwrap_or_default();
    let message = format!("{} holds no release of {named}; it has releases of {}", store.name(), others.join(", "));
    Failure::say(ExitCode::NotFound, message)
}

async fn directories(store: &AnyStore, below: Option<&Key>) -> Result<Vec<Key>, Failure> {
    // One more shows that there are more.
    let mut found = store.directories(below, MOST + 1).await.map_err(stores::failure)?;
    let place = || below.map_or_else(|| store.name(), |key| store.location(key));
    if let Some(warning) = shorten(&mut found, MOST, place) {
        output::notice(&warning);
    }
    Ok(found)
}

/// Leaves the first so many, and says so if there are more.
fn shorten(found: &mut Vec<Key>, most: usize, place: impl FnOnce() -> String) -> Option<String> {
    if found.len() <= most {
        return None;
    }
    found.truncate(most);
    let place = place();
    Some(format!(
        "warning: only the first {most} directories of {place} are looked at (--application with --group names one)"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said() {
        let mut found: Vec<Key> = ["a", "b", "c"].map(|name| name.parse().unwrap()).into();
        assert_eq!(shorten(&mut found, 3, || unreachable!()), None);
        let said = shorten(&mut found, 2, || "s3://b/st".to_owned()).unwrap();
        assert!(said.starts_with("warning: only the first 2 directories of s3://b/st are looked at"), "{said}");
        assert_eq!(found.iter().map(Key::as_str).collect::<Vec<_>>(), ["a", "b"]);
    }
}
