//! A revision in a release.

use serde::{Deserialize, Serialize};

use crate::bundle::BundleType;
use crate::ids::Sha256Digest;
use crate::label::{Label, revision_name};
use crate::store::{Content, InvalidLocation, Key, Location};

/// The place of a revision's bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionSource {
    /// In the channel's own store.
    Key(Key),
    /// Elsewhere.
    Location(Location),
}

/// A revision in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRevision", into = "WrittenRevision")]
pub struct Revision {
    /// The place of its bundle.
    pub source: RevisionSource,
    /// The object's S3 version, if the bucket has versions.
    pub version_id: Option<String>,
    /// The required size and digest of its bundle.
    pub content: Content,
    /// The bundle's type; never a directory.
    pub bundle_type: BundleType,
    /// What its publisher calls it.
    pub label: Option<Label>,
}

impl Revision {
    /// The revision for people: its label and the beginning of its digest.
    pub fn name(&self) -> String {
        revision_name(self.label.as_ref(), &self.content.sha256)
    }
}

/// [`Revision`] as written in the manifest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRevision {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    sha256: Sha256Digest,
    size: u64,
    #[serde(rename = "type")]
    bundle_type: BundleType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<Label>,
}

impl TryFrom<WrittenRevision> for Revision {
    type Error = String;
    fn try_from(written: WrittenRevision) -> Result<Self, String> {
        let source = match (written.key, written.location) {
            (Some(key), None) => RevisionSource::Key(key),
            (None, Some(location)) => {
                RevisionSource::Location(location.parse().map_err(|e: InvalidLocation| format!("location {e}"))?)
            }
            (None, None) => return Err("needs a key (in this store) or a location (elsewhere)".to_owned()),
            (Some(_), Some(_)) => return Err("has both a key and a location; leave one out".to_owned()),
        };
        if let Some(id) = &written.version_id
            && (id.is_empty() || id.len() > 1024 || !id.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(format!("version_id {id:?} is no version of S3: 1 to 1,024 letters without spaces"));
        }
        if written.bundle_type == BundleType::Directory {
            return Err("type is directory, which has no digest; publish a tar, tgz, tar.zst or zip".to_owned());
        }
        if written.size == 0 {
            return Err("size is 0; no bundle is empty, so the publisher did not know it".to_owned());
        }
        Ok(Self {
            source,
            version_id: written.version_id,
            content: Content { size: written.size, sha256: written.sha256 },
            bundle_type: written.bundle_type,
            label: written.label,
        })
    }
}

impl From<Revision> for WrittenRevision {
    fn from(revision: Revision) -> Self {
        let (key, location) = match revision.source {
            RevisionSource::Key(key) => (Some(key), None),
            RevisionSource::Location(location) => (None, Some(location.to_string())),
        };
        Self {
            key,
            location,
            version_id: revision.version_id,
            sha256: revision.content.sha256,
            size: revision.content.size,
            bundle_type: revision.bundle_type,
            label: revision.label,
        }
    }
}
