//! A plan as text for users: one line for each path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::actions::{Action, Attributes, InstalledKind, NEW_DIRECTORY_MODE, Plan};
use super::problem::shown;
use crate::shared_path::SharedPath;

/// The change of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It does not exist and will.
    Added,
    /// It exists and gets other content or another kind.
    Changed,
    /// It exists and is replaced by the same content.
    Unchanged,
    /// It exists and is replaced; the contents were not compared.
    Replaced,
    /// It is removed.
    Removed,
    /// It belongs to the last install and stays: a directory that is still wanted, or a path that clean-up leaves.
    Kept,
    /// It is wanted, existed before, and is left alone.
    Retained,
}

impl Change {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Kept => "kept",
            Self::Retained => "retained",
        }
    }
}

/// The replaced files and links whose content stays the same or changes; paths that were not compared are in neither
/// set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentComparison {
    /// The content stays the same.
    pub same: BTreeSet<SharedPath>,
    /// The content changes.
    pub different: BTreeSet<SharedPath>,
}

/// One path of a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryEntry {
    /// The path on the host.
    pub path: SharedPath,
    /// The change.
    pub change: Change,
    /// Its kind; `None` for a retained path, which may be anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<InstalledKind>,
    /// Its permissions from the appspec, and the mode of new directories.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Arc<Attributes>,
}

fn is_default(attributes: &Arc<Attributes>) -> bool {
    **attributes == Attributes::default()
}

/// The change of each path, ordered by path, each path once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of paths for each change; changes that do not occur are left out.
    pub totals: BTreeMap<Change, usize>,
    /// The paths.
    pub entries: Vec<SummaryEntry>,
}

impl Summary {
    /// Sums up a plan.
    pub fn new(plan: &Plan, compared: &ContentComparison) -> Self {
        let mut entries: BTreeMap<&Path, SummaryEntry> = BTreeMap::new();
        let line = |path: &SharedPath, change, kind, attributes: Option<&Arc<Attributes>>| SummaryEntry {
            path: path.clone(),
            change,
            kind,
            attributes: attributes.cloned().unwrap_or_default(),
        };
        for action in &plan.actions {
            let path = action.path();
            let mut entry = match action {
                Action::Remove { kind, .. } => line(path, Change::Removed, Some(*kind), None),
                Action::MakeDirectory { attributes, .. } => {
                    let mode = attributes.mode.or(Some(NEW_DIRECTORY_MODE));
                    let made = Attributes { mode, ..Attributes::clone(attributes) }.into();
                    line(path, Change::Added, Some(InstalledKind::Directory), Some(&made))
                }
                Action::KeepDirectory { attributes, .. } => {
                    line(path, Change::Kept, Some(InstalledKind::Directory), Some(attributes))
                }
                Action::PutFile { replaces, attributes, .. } => {
                    line(path, put(path, *replaces, compared), Some(InstalledKind::File), Some(attributes))
                }
                Action::PutLink { replaces, attributes, .. } => {
                    line(path, put(path, *replaces, compared), Some(InstalledKind::Link), Some(attributes))
                }
            };
            // Removed to make room for the new object.
            if entries.contains_key(path.as_path()) {
                entry.change = Change::Changed;
            }
            entries.insert(path, entry);
        }
        for entry in &plan.installed {
            let kept = || line(&entry.path, Change::Kept, Some(entry.kind), None);
            entries.entry(&entry.path).or_insert_with(kept);
        }
        for path in &plan.kept {
            entries.entry(path).or_insert_with(|| line(path, Change::Kept, None, None));
        }
        for path in &plan.retained {
            entries.entry(path).or_insert_with(|| line(path, Change::Retained, None, None));
        }
        let mut totals = BTreeMap::new();
        for entry in entries.values() {
            *totals.entry(entry.change).or_insert(0) += 1;
        }
        Self { totals, entries: entries.into_values().collect() }
    }
}

fn put(path: &Path, replaces: bool, compared: &ContentComparison) -> Change {
    match replaces {
        false => Change::Added,
        true if compared.same.contains(path) => Change::Unchanged,
        true if compared.different.contains(path) => Change::Changed,
        true => Change::Replaced,
    }
}

impl fmt::Display for Summary {
    /// One line for each path, then one line of totals. Control characters in names are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let slash = if entry.kind == Some(InstalledKind::Directory) { "/" } else { "" };
            write!(f, "{:<10} {}{slash}", entry.change.as_str(), shown(&entry.path))?;
            let attributes = describe(&entry.attributes);
            if attributes.is_empty() { writeln!(f)? } else { writeln!(f, "  ({})", attributes.join(", "))? }
        }
        let totals: Vec<String> = self.totals.iter().map(|(change, n)| format!("{n} {}", change.as_str())).collect();
        if totals.is_empty() { writeln!(f, "nothing to install") } else { writeln!(f, "{}", totals.join(", ")) }
    }
}

fn describe(attributes: &Attributes) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(attributes.mode.map(|mode| format!("mode {mode:04o}")));
    parts.extend(attributes.uid.map(|uid| format!("user {uid}")));
    parts.extend(attributes.gid.map(|gid| format!("group {gid}")));
    if !attributes.acls.is_empty() {
        parts.push(format!("{} access control list entries", attributes.acls.len()));
    }
    parts.extend(attributes.context.as_ref().map(|context| format!("context {}", context.context_type)));
    parts
}
