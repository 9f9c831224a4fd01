//! The content of a revision bundle: the listing that unpacking produces and planning reads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::shared_path::SharedPath;

/// The format of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleType {
    /// An uncompressed tar archive.
    #[serde(rename = "tar")]
    Tar,
    /// A tar archive in gzip.
    #[serde(rename = "tgz")]
    Tgz,
    /// A tar archive in Zstandard.
    #[serde(rename = "tar.zst")]
    TarZst,
    /// A zip archive.
    #[serde(rename = "zip")]
    Zip,
    /// A directory on this host.
    #[serde(rename = "directory")]
    Directory,
}

impl BundleType {
    /// The name as CodeDeploy and the release document write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Tgz => "tgz",
            Self::TarZst => "tar.zst",
            Self::Zip => "zip",
            Self::Directory => "directory",
        }
    }
}

/// A path inside a bundle: relative, of plain names only (no `..`, no `.`, no empty component), not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(SharedPath);

impl BundlePath {
    /// Accepts a relative path of plain names; `None` for anything else.
    pub fn new(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        let plain = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        // Rebuilt, so that `a//b/` and `a/b` are one path.
        let clean: PathBuf = path.components().collect();
        (plain && !clean.as_os_str().is_empty()).then(|| Self(clean.into()))
    }

    /// The path, relative to the bundle's top.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path as a shared value.
    pub fn shared(&self) -> &SharedPath {
        &self.0
    }
}

/// The kind of a bundle's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link with its target as written.
    Symlink {
        /// The target, not resolved.
        target: OsString,
    },
}

/// One entry of an unpacked bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleEntry {
    /// Its path, relative to the bundle's top.
    pub path: BundlePath,
    /// Its kind.
    pub kind: EntryKind,
    /// Permission bits (07777); setuid, setgid and sticky only if the policy allowed them.
    pub mode: u32,
}

/// All entries of an unpacked bundle, ordered by path, each path once, every parent directory before its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleListing {
    entries: Vec<BundleEntry>,
}

impl BundleListing {
    /// Sorts the entries by path. The caller guarantees that each path is there once and that parents are entries too.
    pub fn new(mut entries: Vec<BundleEntry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self { entries }
    }

    /// The entries in path order.
    pub fn entries(&self) -> &[BundleEntry] {
        &self.entries
    }

    /// The entry at exactly this path.
    pub fn get(&self, path: &Path) -> Option<&BundleEntry> {
        self.entries.binary_search_by(|e| e.path.as_path().cmp(path)).ok().and_then(|i| self.entries.get(i))
    }

    /// The bytes of all regular files.
    pub fn file_bytes(&self) -> u64 {
        self.entries
            .iter()
            .map(|e| match e.kind {
                EntryKind::File { size } => size,
                EntryKind::Directory | EntryKind::Symlink { .. } => 0,
            })
            .sum()
    }
}

/// A change that made entries of a bundle or directory acceptable; one value covers all entries with the same change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapted {
    /// The change.
    pub how: Adaptation,
    /// The first such entry, as the archive names it.
    pub first: String,
    /// The number of such entries.
    pub number: u64,
}

/// A change that makes an entry acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adaptation {
    /// The leading slashes of its name, or of a hard link's target name, are removed.
    LeadingSlash,
    /// Its file capabilities (capabilities(7)) are dropped.
    Capabilities,
    /// Its owner differs from that of the archive's first entry and is dropped.
    Owner,
}
