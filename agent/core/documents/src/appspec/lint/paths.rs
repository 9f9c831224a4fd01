//! Paths of an appspec, cleaned by their text alone.

use std::path::{Component, Path, PathBuf};

/// A `source` or `location` relative to the bundle's top; empty for the whole bundle, `None` where it leads out of it.
///
/// A leading slash means nothing. Links in the bundle are not looked at.
pub fn bundle_path(text: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => return None,
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

/// A path on the host, absolute: taken from `/` where it is relative, `.` and `..` resolved by their text.
pub fn host_path(text: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Whether a name matches a pattern in which only `*` is special.
pub(super) fn matches(name: &str, pattern: &str) -> bool {
    let mut rest = name;
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            // Everything but the last part may stand at its first place.
            let Some(place) = rest.find(previous) else { return false };
            rest = rest.get(place + previous.len()..).unwrap_or_default();
        }
    }
    match last {
        None => rest.is_empty(),
        Some(part) => rest.ends_with(part),
    }
}
