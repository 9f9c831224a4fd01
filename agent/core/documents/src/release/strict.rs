//! Strict reading of JSON, so that no two readers can understand it differently.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::{ReleaseError, malformed};

/// Reads a document; an error names the invalid field.
pub(super) fn read<T: DeserializeOwned>(part: &'static str, bytes: &[u8]) -> Result<T, ReleaseError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut json).map_err(|e| malformed(part, &e.path().to_string(), &e.inner()))?;
    json.end().map_err(|e| malformed(part, ".", &e))?;
    Ok(value)
}

/// Refuses a document in which an object, at any depth, has the same key twice.
pub(super) fn refuse_duplicate_keys(part: &'static str, bytes: &[u8]) -> Result<(), ReleaseError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut duplicate = None;
    let walked = Walk { duplicate: &mut duplicate }.deserialize(&mut json).and_then(|()| json.end());
    match (duplicate, walked) {
        (Some(key), _) => Err(ReleaseError::DuplicateKey { part, key }),
        (None, Err(e)) => Err(malformed(part, ".", &e)),
        (None, Ok(())) => Ok(()),
    }
}

/// Walks any JSON value; serde_json bounds the depth.
struct Walk<'a> {
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk { duplicate: self.duplicate })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                *self.duplicate = Some(key);
                return Err(A::Error::custom("a key comes twice"));
            }
            seen.insert(key);
            entries.next_value_seed(Walk { duplicate: self.duplicate })?;
        }
        Ok(())
    }
}
