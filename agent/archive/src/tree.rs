//! The tree of a list of entries: one entry for each path, a directory above each, in one order.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use hostler_core::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_core::limits::Limits;

use super::error::{ArchiveError, EntryProblem};
use super::policy::Meter;

/// The mode of a directory that no entry names.
pub(super) const IMPLIED_DIRECTORY_MODE: u32 = 0o755;

/// A time of last modification. A reproducible packer writes zero, which means "the time of unpacking".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ModifiedTime {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl ModifiedTime {
    pub(super) fn is_unset(self) -> bool {
        self == Self::default()
    }
}

/// One entry on its way into the listing.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: BundleEntry,
    pub(super) modified: ModifiedTime,
    /// Whether its name began with a slash; `None` if no entry names it.
    slash: Option<bool>,
    /// For a zip: which record of the central directory it is.
    pub(super) record: u32,
}

impl Item {
    pub(super) fn new(path: BundlePath, kind: EntryKind, mode: u32, modified: ModifiedTime) -> Self {
        Self { entry: BundleEntry { path, kind, mode }, modified, slash: None, record: u32::MAX }
    }

    /// An entry that an archive names, with or without a slash at the beginning.
    pub(super) fn named(path: BundlePath, kind: EntryKind, mode: u32, modified: ModifiedTime, slash: bool) -> Self {
        Self { slash: Some(slash), ..Self::new(path, kind, mode, modified) }
    }

    pub(super) fn implied_directory(path: BundlePath) -> Self {
        Self::new(path, EntryKind::Directory, IMPLIED_DIRECTORY_MODE, ModifiedTime::default())
    }

    fn path(&self) -> &Path {
        self.entry.path.as_path()
    }
}

/// The kind of an entry, in words.
pub(super) fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "a file",
        EntryKind::Directory => "a directory",
        EntryKind::Symlink { .. } => "a symbolic link",
    }
}

/// The order of [`BundleListing`], by components; on bytes, because `Path` is slow at it.
fn path_order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let rank = |byte: Option<&u8>| byte.map_or(0, |byte| if *byte == b'/' { 1 } else { u16::from(*byte) + 2 });
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => rank(a.get(at)).cmp(&rank(b.get(at))),
        None => a.len().cmp(&b.len()),
    }
}

/// Sorts the entries (given in archive order), keeps the last of several entries with the same path, and adds the
/// directories that no entry names.
///
/// # Errors
/// A path occurs as two different kinds, or with and without a leading slash; an entry is below something that is not a
/// directory; or there are more entries, with the added directories, than the limits allow.
pub(super) fn settle(mut items: Vec<Item>, limits: &Limits) -> Result<Vec<Item>, ArchiveError> {
    items.sort_by(|a, b| path_order(a.path(), b.path()));
    let mut problem = None;
    items.dedup_by(|later, kept| {
        if later.path() != kept.path() {
            return false;
        }
        if std::mem::discriminant(&later.entry.kind) != std::mem::discriminant(&kept.entry.kind) {
            let (first, second) = (kind_name(&kept.entry.kind), kind_name(&later.entry.kind));
            problem.get_or_insert(ArchiveError::at(later.path(), EntryProblem::KindChanges { first, second }));
        }
        if let (Some(first), Some(second)) = (kept.slash, later.slash)
            && first != second
        {
            problem.get_or_insert(ArchiveError::at(later.path(), EntryProblem::SlashTwin));
        }
        later.slash = later.slash.or(kept.slash);
        // `dedup_by` drops the later one, but the later one counts.
        std::mem::swap(later, kept);
        true
    });
    match problem {
        Some(error) => Err(error),
        None => with_parents(items, limits),
    }
}

fn with_parents(items: Vec<Item>, limits: &Limits) -> Result<Vec<Item>, ArchiveError> {
    let mut missing = Vec::new();
    let mut meter = Meter::new(limits, u64::MAX);
    let mut above: Vec<(&BundlePath, bool)> = Vec::new();
    let mut before = Path::new("");
    for item in &items {
        meter.entry(item.path().as_os_str().as_bytes())?;
        // In this order, a path is followed at once by everything below it.
        while above.last().is_some_and(|(path, _)| !item.path().starts_with(path.as_path())) {
            above.pop();
        }
        if let Some((ancestor, false)) = above.last() {
            let ancestor = ancestor.as_path().to_string_lossy().into_owned();
            return Err(ArchiveError::at(item.path(), EntryProblem::BelowNonDirectory { ancestor }));
        }
        let nearest = above.last().map(|(path, _)| path.as_path()).unwrap_or(Path::new(""));
        // A path that is also above the item before was found there.
        let unnamed = item.path().ancestors().skip(1).take_while(|path| *path != nearest && !before.starts_with(path));
        for path in unnamed.filter_map(BundlePath::new) {
            meter.entry(path.as_path().as_os_str().as_bytes())?;
            missing.push(path);
        }
        before = item.path();
        above.push((&item.entry.path, matches!(item.entry.kind, EntryKind::Directory)));
    }
    if missing.is_empty() {
        return Ok(items);
    }
    let mut items = items;
    items.extend(missing.into_iter().map(Item::implied_directory));
    items.sort_by(|a, b| path_order(a.path(), b.path()));
    Ok(items)
}

/// The single directory at the top that is stripped: the only entry there, with a child whose name contains `appspec`
/// in any case (as for the CodeDeploy agent). The items are settled.
pub(super) fn leading_directory(items: &[Item]) -> Option<OsString> {
    let top = items.first().filter(|item| matches!(item.entry.kind, EntryKind::Directory))?.path();
    let rest = items.get(1..)?;
    if !rest.iter().all(|item| item.path().starts_with(top)) {
        return None;
    }
    let names_appspec = |item: &Item| {
        let mut below = item.path().components().skip(1);
        match (below.next(), below.next()) {
            (Some(Component::Normal(name)), None) => name.to_string_lossy().to_lowercase().contains("appspec"),
            _ => false,
        }
    };
    rest.iter().any(names_appspec).then(|| top.as_os_str().to_owned())
}

/// The listing of settled items, as seen from within the leading directory if there is one.
pub(super) fn listing(items: Vec<Item>, leading: Option<&OsString>) -> BundleListing {
    let entries = items.into_iter().filter_map(|item| match leading {
        None => Some(item.entry),
        Some(top) => {
            let below = item.entry.path.as_path().strip_prefix(top).ok()?.to_owned();
            Some(BundleEntry { path: BundlePath::new(below)?, ..item.entry })
        }
    });
    BundleListing::new(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, kind: EntryKind) -> Item {
        Item::new(BundlePath::new(path).unwrap(), kind, 0o644, ModifiedTime::default())
    }

    fn file(path: &str, size: u64) -> Item {
        item(path, EntryKind::File { size })
    }

    fn settled(items: Vec<Item>) -> Result<Vec<Item>, ArchiveError> {
        settle(items, &Limits::default())
    }

    fn paths(items: &[Item]) -> Vec<&str> {
        items.iter().map(|i| i.path().to_str().unwrap()).collect()
    }

    #[test]
    fn parents_are_added_and_the_order_is_that_of_the_listing() {
        let items = settled(vec![file("b/c/d", 1), file("a-b", 1), file("a/x", 1), file("a.b", 1), file("b/c.d", 1)]);
        let items = items.unwrap();
        assert_eq!(paths(&items), ["a", "a/x", "a-b", "a.b", "b", "b/c", "b/c/d", "b/c.d"]);
        let mut by_path = paths(&items);
        by_path.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(by_path, paths(&items));
    }

    #[test]
    fn directories_that_no_entry_names_count() {
        let deep = || vec![file("a/b/c/one", 1), file("a/b/c/two", 1), file("a/d/three", 1)];
        // Three files, and a, a/b, a/b/c, a/d.
        let (entries, all_path_bytes) = (7, 9 + 9 + 9 + 1 + 3 + 5 + 3);
        let just = Limits { entries, all_path_bytes, ..Limits::default() };
        assert_eq!(settle(deep(), &just).unwrap().len(), 7);
        for less in [Limits { entries: 6, ..just.clone() }, Limits { all_path_bytes: all_path_bytes - 1, ..just }] {
            assert!(matches!(settle(deep(), &less), Err(ArchiveError::TooLarge { .. })), "{less:?}");
        }
    }

    #[test]
    fn the_last_of_two_files_counts_and_kinds_may_not_change() {
        let items = settled(vec![file("a", 1), file("b", 5), file("a", 2), file("a", 3)]).unwrap();
        assert_eq!(items[0].entry.kind, EntryKind::File { size: 3 });
        assert_eq!(items.len(), 2);
        for (first, second) in [
            (file("a", 1), item("a", EntryKind::Directory)),
            (item("a", EntryKind::Symlink { target: "/".into() }), file("a", 1)),
        ] {
            assert!(matches!(
                settled(vec![first, second]),
                Err(ArchiveError::Entry { problem: EntryProblem::KindChanges { .. }, .. })
            ));
        }
    }

    #[test]
    fn nothing_lies_below_a_file_or_a_link() {
        for upper in [file("a", 1), item("a", EntryKind::Symlink { target: "/".into() })] {
            let error = settled(vec![file("a/b/c", 1), upper]).unwrap_err();
            assert!(error.to_string().contains("a/b/c"), "{error}");
        }
    }

    #[test]
    fn one_directory_with_an_appspec_is_leading() {
        let leads = |items: Vec<Item>| leading_directory(&settled(items).unwrap()).is_some();
        assert!(leads(vec![file("top/AppSpec.yml", 1), file("top/x/y", 1)]));
        assert!(leads(vec![file("top/my-appspec-old", 1)]));
        assert!(!leads(vec![file("top/x/appspec.yml", 1)]));
        assert!(!leads(vec![file("top/appspec.yml", 1), file("other", 1)]));
        assert!(!leads(vec![file("top/appspec.yml", 1), file("top2/x", 1)]));
        assert!(!leads(vec![file("appspec.yml", 1)]));
        assert!(!leads(vec![]));
    }
}
