//! `s3://bucket/prefix` of a store, and `s3://bucket/key?versionId=…` of one object.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a place in S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}")]
pub struct InvalidS3Location {
    /// The text.
    pub text: String,
    /// The problem, and the allowed form.
    pub problem: &'static str,
}

/// A place in a bucket.
///
/// A bucket's name is S3's (3 to 63 bytes of lower-case letters, digits, dots and dashes) or the ARN of an access
/// point. A key counts as written, up to 1,024 bytes. In it a question mark is `%3F`, and a percent sign before two
/// hexadecimal digits is `%25`, so that `?versionId=` is unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// The key, or the prefix of a store; no slash at its ends for a prefix. Empty for the whole bucket.
    pub key: String,
    /// The version of the object.
    pub version_id: Option<String>,
}

impl S3Location {
    /// The same as the place of a store: a prefix without slashes around it and without a version.
    ///
    /// # Errors
    /// It has a version, or the prefix has empty components.
    pub fn into_store(self) -> Result<Self, InvalidS3Location> {
        let text = self.to_string();
        let wrong = |problem| Err(InvalidS3Location { text: text.clone(), problem });
        if self.version_id.is_some() {
            return wrong("names a version; a store is s3://BUCKET/PREFIX");
        }
        let key = self.key.trim_matches('/').to_owned();
        if key.len() > 100 || key.contains("//") {
            return wrong("has a prefix of more than 100 bytes or with two slashes in a row");
        }
        Ok(Self { key, ..self })
    }

    /// The same as the place of one object.
    ///
    /// # Errors
    /// It has no key.
    pub fn into_object(self) -> Result<Self, InvalidS3Location> {
        if self.key.is_empty() {
            let problem = "names a bucket and no object in it; write s3://BUCKET/KEY";
            return Err(InvalidS3Location { text: self.to_string(), problem });
        }
        Ok(self)
    }

    /// The place in S3 that a text without `s3://` was probably meant to be: `s3:/BUCKET/KEY`, `BUCKET/KEY`. Only for
    /// hints about a path that does not exist.
    pub fn meant_by(text: &str) -> Option<Self> {
        // A word alone is a directory rather than a bucket.
        if text.contains("://") || !(text.contains('/') || text.starts_with("s3:")) {
            return None;
        }
        let rest = text.strip_prefix("s3:").map_or(text, |rest| rest.trim_start_matches('/'));
        format!("s3://{rest}").parse().ok()
    }
}

fn check_bucket(name: &str) -> Result<(), &'static str> {
    if name.starts_with("arn:") {
        return Ok(());
    }
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        Err(
            "has no valid bucket name: write s3://BUCKET/KEY, the bucket in 3 to 63 characters of a-z, 0-9, dots and hyphens",
        )
    }
}

impl FromStr for S3Location {
    type Err = InvalidS3Location;
    fn from_str(text: &str) -> Result<Self, InvalidS3Location> {
        let wrong = |problem| InvalidS3Location { text: text.to_owned(), problem };
        let rest = text.strip_prefix("s3://").ok_or_else(|| wrong("does not begin with s3://"))?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        // The ARN of an access point has a slash of its own: arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME.
        let skip = if path.starts_with("arn:") { path.find('/').map_or(0, |at| at + 1) } else { 0 };
        let cut = path.get(skip..).and_then(|tail| tail.find('/')).map(|at| at + skip);
        let (bucket, key) = match cut {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (path, ""),
        };
        check_bucket(bucket).map_err(wrong)?;
        let key = unescape(key);
        if key.len() > 1024 || key.chars().any(char::is_control) {
            return Err(wrong("has a key of more than 1,024 bytes, or with control characters"));
        }
        let version_id = match query {
            None => None,
            Some(query) => match query.strip_prefix("versionId=").or_else(|| query.strip_prefix("version_id=")) {
                Some(id) if !id.is_empty() && id.len() <= 1024 && id.bytes().all(|b| b.is_ascii_graphic()) => {
                    Some(id.to_owned())
                }
                _ => {
                    return Err(wrong(
                        "has something after the question mark that is not versionId=…; write %3F for a question mark of the key",
                    ));
                }
            },
        };
        Ok(Self { bucket: bucket.to_owned(), key, version_id })
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.key.is_empty() {
            write!(f, "/{}", escape(&self.key))?;
        }
        match &self.version_id {
            Some(id) => write!(f, "?versionId={id}"),
            None => Ok(()),
        }
    }
}

/// Escapes only ambiguous characters: a key is shown as its owner wrote it.
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    let mut rest = key;
    while let Some(c) = rest.chars().next() {
        match c {
            '?' => escaped.push_str("%3F"),
            ' ' => escaped.push_str("%20"),
            '%' if unescaped(rest).is_some() => escaped.push_str("%25"),
            c => escaped.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    escaped
}

/// The three escapes that [`escape`] writes.
fn unescaped(text: &str) -> Option<char> {
    match text.get(..3)? {
        "%3F" | "%3f" => Some('?'),
        "%20" => Some(' '),
        "%25" => Some('%'),
        _ => None,
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (c, length) = unescaped(rest).map_or((c, c.len_utf8()), |c| (c, 3));
        plain.push(c);
        rest = &rest[length..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_read_and_written_back() {
        for (text, bucket, key, version) in [
            ("s3://own-bucket", "own-bucket", "", None),
            ("s3://own.bucket/a/b.zip", "own.bucket", "a/b.zip", None),
            ("s3://own-bucket/a%20b%3Fc%25d", "own-bucket", "a b?c%d", None),
            ("s3://own-bucket/a#d%3Fe.tgz", "own-bucket", "a#d?e.tgz", None),
            ("s3://own-bucket/a/./b//../%2e+ü", "own-bucket", "a/./b//../%2e+ü", None),
            ("s3://own-bucket/a/b?versionId=3HL4kq.t_~-", "own-bucket", "a/b", Some("3HL4kq.t_~-")),
            (
                "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/ours/k",
                "arn:aws:s3:eu-west-1:123456789012:accesspoint/ours",
                "k",
                None,
            ),
        ] {
            let found: S3Location = text.parse().unwrap();
            assert_eq!(
                (found.bucket.as_str(), found.key.as_str(), found.version_id.as_deref()),
                (bucket, key, version)
            );
            assert_eq!(found.to_string().parse::<S3Location>().unwrap(), found);
        }
        let unescaped = "s3://own-bucket/a#d?e.tgz".parse::<S3Location>().unwrap_err().to_string();
        assert!(unescaped.contains("write %3F for a question mark"), "{unescaped}");
        for bad in [
            "s3://",
            "s3:///key",
            "s3://ab",
            "s3://Bucket/k",
            "https://bucket",
            "s3://bucket/k?x=1",
            "s3://bucket/k?versionId=",
        ] {
            assert!(bad.parse::<S3Location>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_store_is_a_prefix_without_version() {
        let store = |text: &str| text.parse::<S3Location>().unwrap().into_store();
        assert_eq!(store("s3://own-bucket/a/b/").unwrap().key, "a/b");
        assert_eq!(store("s3://own-bucket/").unwrap().key, "");
        assert!(store("s3://own-bucket/a?versionId=1").is_err());
        assert!(store("s3://own-bucket/a//b").is_err());
    }

    #[test]
    fn an_object_has_a_key() {
        let object = |text: &str| text.parse::<S3Location>().unwrap().into_object();
        assert_eq!(object("s3://own-bucket/a").unwrap().key, "a");
        for without in ["s3://own-bucket", "s3://own-bucket/", "s3://own-bucket?versionId=1"] {
            let problem = object(without).unwrap_err().to_string();
            assert!(problem.contains("no object in it; write s3://BUCKET/KEY"), "{without}: {problem}");
        }
    }

    #[test]
    fn a_forgotten_scheme_is_guessed_where_a_bucket_may_be_meant() {
        let meant = |text: &str| S3Location::meant_by(text).map(|place| place.to_string());
        for text in ["s3:/own-bucket/x", "s3:own-bucket/x", "own-bucket/x"] {
            assert_eq!(meant(text).as_deref(), Some("s3://own-bucket/x"), "{text}");
        }
        for text in ["own-bucket", "/srv/x", "./x", "../x", "Own/x", "s3://own-bucket/x", "file:///srv", "s3:", ""] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_key_survives_being_written(key in "[^\\p{Cc}/][^\\p{Cc}]{0,60}") {
            let place = S3Location { bucket: "own-bucket".to_owned(), key, version_id: Some("v1".to_owned()) };
            prop_assert_eq!(place.to_string().parse::<S3Location>().unwrap(), place);
        }
    }
}
