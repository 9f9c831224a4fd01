//! Identifiers that cannot be mixed up: one type for each kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier of the requested kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} {problem}")]
pub struct InvalidId {
    /// The expected kind: "application name", "SHA-256 digest" …
    pub kind: &'static str,
    /// The text.
    pub text: String,
    /// The problem, and the allowed form.
    pub problem: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        text_id!($(#[$doc])* $name, $kind, $check, $check);
    };
    // The persisted form may be wider than the parsed one.
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr, $given:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn checked(text: &str, check: fn(&str) -> Result<(), &'static str>) -> Result<Self, InvalidId> {
                match check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(problem) => Err(InvalidId { kind: $kind, text: text.to_owned(), problem }),
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::checked(text, $check)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::checked(&text, $given)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// CodeDeploy's rule for application and deployment group names, without names that are not a safe path component.
fn check_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 100 {
        return Err("must have 1 to 100 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+=,@-".contains(&b)) {
        return Err("may hold only letters, digits and . _ + = , @ -");
    }
    if [".", ".."].contains(&text) {
        return Err("must hold more than dots, which would name a directory above");
    }
    Ok(())
}

/// A name given by hand for a group that has an id: it is only shown and passed to scripts.
fn check_given_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 100 {
        return Err("must have 1 to 100 characters");
    }
    if text.chars().any(|c| c.is_control() || c == '/') || text.trim() != text {
        return Err("must hold no slash and no control character, and no blank at its ends");
    }
    Ok(())
}

fn check_component(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 128 {
        return Err("must have 1 to 128 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) || text.starts_with('.') {
        return Err("may hold only letters, digits, dots, dashes and underscores, and must not begin with a dot");
    }
    Ok(())
}

text_id!(
    /// The name of an application; parsing applies CodeDeploy's rule.
    ApplicationName, "application name", check_name, check_given_name
);
text_id!(
    /// The name of a deployment group; parsing applies CodeDeploy's rule.
    GroupName, "deployment group name", check_name, check_given_name
);
text_id!(
    /// The CodeDeploy service's id of a deployment group; it is also the name of the group's directory.
    DeploymentGroupId, "deployment group id", check_component
);
text_id!(
    /// One attempt to put one revision on this host: `d-` and nine characters.
    DeploymentId, "deployment id", check_component
);
text_id!(
    /// The name of this host: the EC2 instance id, or off EC2 the configured name.
    InstanceId, "instance id", check_component
);

impl ApplicationName {
    /// A name from the arguments of `codedeploy-local`: blanks and other characters are allowed, as in that program.
    ///
    /// # Errors
    /// It is empty, too long, or has a slash or a control character.
    pub fn given(text: &str) -> Result<Self, InvalidId> {
        Self::checked(text, check_given_name)
    }
}

impl GroupName {
    /// As [`ApplicationName::given`].
    ///
    /// # Errors
    /// As there.
    pub fn given(text: &str) -> Result<Self, InvalidId> {
        Self::checked(text, check_given_name)
    }
}

impl DeploymentId {
    /// The deployment id in the logs of a machine event's scripts.
    pub fn of_machine_event(number: u64) -> Self {
        // Letters, digits and dashes only: a valid id by construction.
        Self(format!("machine-event-{number}"))
    }
}

/// An application and one of its deployment groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// The application.
    pub application: ApplicationName,
    /// The deployment group.
    pub group: GroupName,
    /// The CodeDeploy service's id for it; `None` for a group that the service does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(alias = "service_id")]
    pub codedeploy_group_id: Option<DeploymentGroupId>,
}

impl GroupKey {
    /// A group that the CodeDeploy service does not know.
    pub fn new(application: ApplicationName, group: GroupName) -> Self {
        Self { application, group, codedeploy_group_id: None }
    }

    /// The group's directory name and its `DEPLOYMENT_GROUP_ID`: one path component. It is the service's id, or a name
    /// that is unique because `~` is in neither part; characters that no parsed name may hold are escaped.
    pub fn id(&self) -> String {
        match &self.codedeploy_group_id {
            Some(id) => id.to_string(),
            None => format!("{}~{}", component(self.application.as_str()), component(self.group.as_str())),
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.application, self.group)
    }
}

/// Reads a name in a document from another program: by its rule, without the names that are only given by hand.
///
/// # Errors
/// The same as parsing it.
pub(crate) fn parsed<'de, D: serde::Deserializer<'de>, T: FromStr<Err = InvalidId>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// A name as part of a path component.
pub(crate) fn component(name: &str) -> std::borrow::Cow<'_, str> {
    if check_name(name).is_ok() {
        return name.into();
    }
    let plain = |byte: u8, at: usize| byte.is_ascii_alphanumeric() || (at > 0 && b"._+=,@-".contains(&byte));
    let escaped = name
        .bytes()
        .enumerate()
        .map(|(at, byte)| if plain(byte, at) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    escaped.collect::<String>().into()
}

/// A SHA-256 digest; written as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits, without the prefix.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The first 8 hexadecimal digits, by which people tell the digests of one store apart.
    pub fn short(&self) -> String {
        self.hex().chars().take(8).collect()
    }
}

impl FromStr for Sha256Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(hex.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(InvalidId {
                kind: "SHA-256 digest",
                text: text.to_owned(),
                problem: "must be 64 hexadecimal digits, with or without sha256: before them",
            })
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_safe_path_component() {
        for good in ["web", "Web-1.2_3+a=b,c@d", "x", ".net-shop", "...", ".x"] {
            assert_eq!(good.parse::<ApplicationName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a~b", "ä", &"x".repeat(101)] {
            assert!(bad.parse::<ApplicationName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_name_that_is_given_by_hand_may_hold_more_and_stays_one_safe_path_component() {
        for good in ["web", "My App", ".hidden", "Größe (2)", "a~b", "..", "a%20b"] {
            let name = ApplicationName::given(good).unwrap();
            assert_eq!(name.as_str(), good);
            // The state holds it.
            let written = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<ApplicationName>(&written).unwrap(), name);
        }
        for bad in ["", " x", "x ", "a/b", "a\nb", "a\0b", &"x".repeat(101)] {
            assert!(GroupName::given(bad).is_err(), "{bad:?} was accepted");
            assert!(serde_json::from_value::<GroupName>(bad.into()).is_err(), "{bad:?} was accepted");
        }
        let id =
            |application: &str| GroupKey::new(ApplicationName::given(application).unwrap(), "g".parse().unwrap()).id();
        assert_eq!(id("My App"), "My%20App~g");
        assert_eq!(id(".."), "%2E.~g");
        assert_eq!(id("a~b"), "a%7Eb~g");
        assert_eq!(id("a%20b"), "a%2520b~g");
        assert_eq!(id("Web-1.2_3+a=b,c@d"), "Web-1.2_3+a=b,c@d~g");
    }

    #[test]
    fn a_digest_is_read_with_and_without_its_prefix() {
        let digest = Sha256Digest::of(b"");
        assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.hex().parse::<Sha256Digest>().unwrap(), digest);
        assert_eq!(digest.to_string().parse::<Sha256Digest>().unwrap(), digest);
        assert!("sha256:e3".parse::<Sha256Digest>().is_err());
    }
}
