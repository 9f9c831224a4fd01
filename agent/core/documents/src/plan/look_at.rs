//! The paths of the host that a plan must examine.

use std::collections::BTreeSet;
use std::path::Path;

use super::actions::{InstalledEntry, InstalledKind};
use super::wanted::{Follow, LookAt, WantedKind, WantedObject, find};
use crate::shared_path::SharedPath;

/// The last install's kind at this path; its entries are ordered.
pub(super) fn last_kind(last: &[InstalledEntry], path: &Path) -> Option<InstalledKind> {
    last.binary_search_by(|e| e.path.as_path().cmp(path)).ok().and_then(|i| last.get(i)).map(|e| e.kind)
}

/// The paths to examine: wanted paths, installed paths, and all their ancestors.
pub(super) fn look_at(objects: &[WantedObject], last: &[InstalledEntry]) -> Vec<LookAt> {
    let unfollowed = |path: &SharedPath| LookAt { path: path.clone(), follow: Follow::Never };
    let mut all = vec![LookAt { path: "/".into(), follow: Follow::Never }];
    // Both lists are in order; for a path in both, the wanted one counts.
    let mut left = last.iter().peekable();
    for object in objects {
        while let Some(entry) = left.next_if(|entry| entry.path < object.path) {
            all.push(unfollowed(&entry.path));
        }
        let before = left.next_if(|entry| entry.path == object.path).map(|entry| entry.kind);
        let above = matches!(object.kind, WantedKind::Directory { above: true });
        // A link that the last install put where a directory comes now makes room; the agent does not follow it.
        let follow = above && before != Some(InstalledKind::Link);
        let follow = if follow { Follow::Always } else { Follow::Never };
        all.push(LookAt { path: object.path.clone(), follow });
    }
    all.extend(left.map(|entry| unfollowed(&entry.path)));
    let above = above_the_last(objects, last);
    if !above.is_empty() {
        all.extend(above);
        // Two sorted lists: the sort is a merge.
        all.sort_by(|a, b| a.path.cmp(&b.path));
    }
    all
}

/// The directories above the last install's entries that are in neither list.
fn above_the_last(objects: &[WantedObject], last: &[InstalledEntry]) -> Vec<LookAt> {
    let mut known: BTreeSet<&Path> = BTreeSet::new();
    let mut before: Option<&Path> = None;
    for entry in last {
        // Most entries are in the directory of the one before, whose ancestors are known.
        let parent = entry.path.parent();
        if before.map(Path::as_os_str) == parent.map(Path::as_os_str) {
            continue;
        }
        before = parent;
        for path in entry.path.ancestors().skip(1).filter(|p| p.parent().is_some()) {
            // The ancestors of those are known, or listed for their own sake.
            if last_kind(last, path).is_some() || find(objects, path).is_some() || !known.insert(path) {
                break;
            }
        }
    }
    let follow = |path: &Path| match path.ancestors().any(|p| last_kind(last, p).is_some()) {
        true => Follow::Never,
        false => Follow::IfTrusted,
    };
    known.into_iter().map(|path| LookAt { path: path.into(), follow: follow(path) }).collect()
}
