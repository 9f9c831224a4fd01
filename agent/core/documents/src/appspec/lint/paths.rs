//! Paths of an appspec, normalised as text alone.

use std::path::{Component, Path, PathBuf};

/// A `source` or `location` relative to the bundle's top; empty for the whole bundle, `None` if it leads out of it.
///
/// A leading slash has no meaning. The function does not look at links in the bundle.
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

/// An absolute path on the host: relative ones start at `/`; `.` and `..` are resolved as text.
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
            // Every part but the last may match at its first position.
            let Some(place) = rest.find(previous) else { return false };
            rest = rest.get(place + previous.len()..).unwrap_or_default();
        }
    }
    match last {
        None => rest.is_empty(),
        Some(part) => rest.ends_with(part),
    }
}
