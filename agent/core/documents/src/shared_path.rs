//! Paths that many lists hold at the same time.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A path whose clones share one text. A bundle's listing, the wanted objects, the host's facts, the plan and the
/// installed entries name the same paths: with clones, a hundred thousand files take their text only once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedPath(Arc<Path>);

impl SharedPath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Deref for SharedPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for SharedPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

// Equality, order and hash are the path's own.
impl Borrow<Path> for SharedPath {
    fn borrow(&self) -> &Path {
        &self.0
    }
}

impl fmt::Debug for SharedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&Path> for SharedPath {
    fn from(path: &Path) -> Self {
        Self(Arc::from(path))
    }
}

impl From<PathBuf> for SharedPath {
    fn from(path: PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&str> for SharedPath {
    fn from(path: &str) -> Self {
        Self::from(Path::new(path))
    }
}

impl From<String> for SharedPath {
    fn from(path: String) -> Self {
        Self::from(path.as_str())
    }
}

impl PartialEq<&Path> for SharedPath {
    fn eq(&self, other: &&Path) -> bool {
        *self.0 == **other
    }
}

impl Serialize for SharedPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SharedPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SharedPath, E> {
                Ok(SharedPath::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn clones_share_the_text_and_are_found_by_a_plain_path() {
        let path = SharedPath::from("/srv/app");
        let clone = path.clone();
        assert!(std::ptr::eq(path.as_path(), clone.as_path()));
        assert!(HashSet::from([path.clone()]).contains(Path::new("/srv/app")));
        assert!(BTreeSet::from([path]).contains(Path::new("/srv/app")));
    }

    #[test]
    fn a_document_holds_it_as_any_path() {
        let path = PathBuf::from("/srv/a b\n\u{e9}");
        let text = serde_json::to_string(&path).unwrap();
        let shared: SharedPath = serde_json::from_str(&text).unwrap();
        assert_eq!(shared.as_path(), path);
        assert_eq!(serde_json::to_string(&shared).unwrap(), text);
        assert!(serde_json::from_str::<SharedPath>("1").is_err());
    }
}
