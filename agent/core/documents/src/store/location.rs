//! The place of a bundle outside all stores: `s3://BUCKET/KEY`, `https://HOST/PATH` or `file:///PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{InvalidS3Location, S3Location};

/// Bytes of an address; servers refuse longer ones.
const HTTPS_BYTES: usize = 2048;

/// An address for messages. It leaves out the query, which may be the secret of a presigned address; if the address has
/// or may have a user and password, only the scheme is left.
pub fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    if rest.contains('@') {
        return format!("{scheme}://…");
    }
    match rest.split_once('?') {
        Some((before, _)) => format!("{scheme}://{before}?…"),
        None => text.to_owned(),
    }
}

/// Why a text is not a bundle's location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// It begins with `s3://` and is not a valid place there.
    #[error(transparent)]
    S3(#[from] InvalidS3Location),
    /// A web client would request another path.
    #[error(
        "{text:?} has {part:?} in its path, which is taken out before a server is asked, so that another object would \
         come; write the path without it"
    )]
    Rewritten {
        /// The text, without possible secrets.
        text: String,
        /// The part.
        part: String,
    },
    /// It is not a place from which a bundle can be fetched.
    #[error("{text:?} {problem}")]
    Other {
        /// The text, without possible secrets.
        text: String,
        /// The problem, and the allowed form.
        problem: &'static str,
    },
}

/// The location of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An object of S3.
    S3(S3Location),
    /// An address of a web server.
    Https(HttpsLocation),
    /// A file of the host itself.
    File(PathBuf),
}

impl Location {
    /// The place for readers that may not know all of it: the query of an address can be a secret (a presigned one).
    pub fn shown(&self) -> String {
        match self {
            Self::Https(place) => place.shown(),
            other => other.to_string(),
        }
    }
}

impl FromStr for Location {
    type Err = InvalidLocation;
    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let wrong = |problem| InvalidLocation::Other { text: without_secrets(text), problem };
        if text.starts_with("s3://") {
            return Ok(Self::S3(text.parse::<S3Location>()?.into_object()?));
        }
        if text.starts_with("https://") {
            return text.parse().map(Self::Https);
        }
        match text.strip_prefix("file://") {
            Some(path) if path.len() > 1 && path.starts_with('/') && !path.contains(char::is_control) => {
                Ok(Self::File(PathBuf::from(path)))
            }
            Some(_) => Err(wrong("names no file; write file:///PATH")),
            None => Err(wrong("must begin with s3://, https:// or file:///")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(place) => place.fmt(f),
            Self::Https(place) => f.write_str(place.as_str()),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// An `https://` address without user, password and fragment. Only its server decides what path and query mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsLocation(String);

impl HttpsLocation {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without its query.
    pub fn shown(&self) -> String {
        match self.0.split_once('?') {
            Some((before, _)) => format!("{before}?…"),
            None => self.0.clone(),
        }
    }
}

impl FromStr for HttpsLocation {
    type Err = InvalidLocation;
    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let wrong = |problem| Err(InvalidLocation::Other { text: without_secrets(text), problem });
        let Some(rest) = text.strip_prefix("https://") else { return wrong("does not begin with https://") };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() {
            return wrong("names no host; write https://HOST/PATH");
        }
        if host.contains('@') {
            return wrong("holds a user or password, which everyone could read who sees the release; leave it out");
        }
        let port = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map(|(_, port)| port);
        if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
            return wrong("has a port that is no number (and may hold no user and password)");
        }
        if rest.contains('#') {
            return wrong("has a #, which no server ever sees; leave it out, or write %23");
        }
        if text.len() > HTTPS_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return wrong("must have at most 2,048 bytes, all of them ASCII (write others as %XX)");
        }
        if let Some(part) = rewritten(text) {
            return Err(InvalidLocation::Rewritten { text: without_secrets(text), part: part.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The part of an address's path that clients do not send as written: `.` and `..`, also as `%2e`, which they remove
/// (WHATWG URL), and a backslash, which they turn into a slash. With it a presigned address has a wrong signature.
pub fn rewritten(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.split('/').skip(1).find(|part| {
        let plain = part.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".." || part.contains('\\')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written_back() {
        for text in [
            "s3://own-bucket/a/b.zip?versionId=v1",
            "https://example.com/a/b.tgz",
            "https://example.com:8443?file=b.tgz",
            "https://[::1]:8443/b",
            "file:///srv/bundle.tgz",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        for text in [
            "https://me:secret@example.com/b",
            "https://me:se/cret@example.com/b",
            "https://me:se?cret@example.com/b#secret",
            "https://me:secret@example.com/b?X-Amz-Signature=secret",
            "https://example.com/b?X-Amz-Signature=secret#x",
            "https://example.com/ä?X-Amz-Signature=secret",
            "http://me:secret@example.com/b",
        ] {
            let problem = text.parse::<Location>().unwrap_err().to_string();
            assert!(!problem.contains("cret") && problem.contains("://"), "{problem}");
        }
        assert_eq!(without_secrets("https://example.com/b?s=1"), "https://example.com/b?…");
        assert_eq!(without_secrets("https://example.com/b"), "https://example.com/b");
        assert_eq!(without_secrets("/srv/a?b@c"), "/srv/a?b@c");
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_is_allowed() {
        for (text, said) in [
            ("http://example.com/b", "https://"),
            ("ftp://example.com/b", "s3://, https:// or file:///"),
            ("/srv/bundle.tgz", "s3://, https:// or file:///"),
            ("https://", "no host"),
            ("https:///b", "no host"),
            ("https://me:secret@example.com/b", "password"),
            ("https://example.com/b#c", "#"),
            ("https://example.com/a b", "%XX"),
            ("https://example.com/ä", "ASCII"),
            ("file://srv/b", "file:///PATH"),
            ("file:///", "file:///PATH"),
            ("file:///a\nb", "file:///PATH"),
            ("s3://ab", "bucket"),
            ("s3://own-bucket", "no object in it"),
            ("s3://own-bucket/", "no object in it"),
        ] {
            let problem = text.parse::<Location>().unwrap_err().to_string();
            assert!(problem.contains(said), "{text}: {problem}");
        }
        assert!(format!("https://h/{}", "a".repeat(2048)).parse::<Location>().is_err());
    }

    #[test]
    fn an_address_that_would_be_rewritten_is_refused_with_the_part() {
        for (path, part) in [
            ("a/./b", "."),
            ("a/../b", ".."),
            ("a/..", ".."),
            ("%2e%2e/b", "%2e%2e"),
            ("a/.%2E/b", ".%2E"),
            ("%2E/b?x=1", "%2E"),
            ("a\\b", "a\\\\b"),
        ] {
            let problem = format!("https://h/{path}").parse::<Location>().unwrap_err().to_string();
            assert!(problem.contains(&format!("has \"{part}\" in its path")), "{path}: {problem}");
        }
        for path in ["a//b", "a/...", ".a/b.", "a/%2e%2e%2e", "a?x=/../", "a%2fb/%20c+d", ""] {
            let text = format!("https://h/{path}");
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        let place: Location = "https://h/b.zip?X-Amz-Signature=secret".parse().unwrap();
        assert_eq!(place.shown(), "https://h/b.zip?…");
        assert_eq!(
            "s3://own-bucket/b?versionId=v".parse::<Location>().unwrap().shown(),
            "s3://own-bucket/b?versionId=v"
        );
    }
}
