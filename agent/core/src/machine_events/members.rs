//! The members of the group that this host is in, as Configure's scripts get them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, Sha256Digest};
use crate::retry::jittered_ms;

/// The current version of [`Membership`].
const MEMBERSHIP_VERSION: u32 = 1;

/// Members that are kept. Prevents: a document without end in a host's memory.
const MOST_MEMBERS: usize = 10_000;

/// The document, at the path that `HOSTLER_MEMBERS` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Version of this document.
    pub version: u32,
    /// The members that serve, by their instance ids.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its instance id.
    pub instance: String,
    /// Its availability zone, where it is known.
    pub zone: Option<String>,
    /// Its address, if known: an Auto Scaling group does not have it.
    pub address: Option<String>,
}

/// Characters of a refused text that the error shows.
const SHOWN_CHARACTERS: usize = 64;

impl Member {
    /// A member from other hosts' data. Root's scripts put it into their configuration, so only the name of an
    /// instance, the name of a zone, and an address are accepted.
    ///
    /// # Errors
    /// The invalid value, for users.
    pub fn new(instance: &str, zone: Option<&str>, address: Option<&str>) -> Result<Self, String> {
        let instance: InstanceId = instance.parse().map_err(|_| format!("{} is no instance id", shown(instance)))?;
        if let Some(zone) = zone.filter(|zone| !is_zone(zone)) {
            return Err(format!("zone {} is no availability zone", shown(zone)));
        }
        let address = match address.map(|address| address.parse::<IpAddr>().map_err(|_| address)) {
            None => None,
            Some(Ok(address)) => Some(address.to_string()),
            Some(Err(address)) => return Err(format!("address {} is no IP address", shown(address))),
        };
        Ok(Self { instance: instance.into(), zone: zone.map(str::to_owned), address })
    }
}

/// As in `eu-central-1a` and `us-east-1-wl1-bos-wlz-1`.
fn is_zone(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
}

/// The beginning of a foreign text, in quotes, without characters that a terminal or a log would act on.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN_CHARACTERS).collect::<String>())
}

impl Membership {
    /// The document of these members, sorted: the same members give the same document.
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort();
        members.dedup_by(|later, earlier| later.instance == earlier.instance);
        members.truncate(MOST_MEMBERS);
        Self { version: MEMBERSHIP_VERSION, members }
    }

    /// Whether this host is among them.
    pub fn has(&self, instance: &InstanceId) -> bool {
        self.members.iter().any(|member| member.instance == instance.as_str())
    }

    /// The document's bytes and their digest.
    ///
    /// # Errors
    /// None is known: the document holds only texts.
    pub fn to_bytes(&self) -> Result<(Vec<u8>, Sha256Digest), serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        let digest = Sha256Digest::of(&bytes);
        Ok((bytes, digest))
    }
}

/// Milliseconds until a host looks at the members again: a minute, and longer in a group of more than 120, so that all
/// of them together ask about twice a second.
pub fn look_again_ms(members: usize, random: u64) -> u64 {
    let seconds = u64::try_from(members / 2).unwrap_or(u64::MAX).max(60);
    jittered_ms(seconds.saturating_mul(1000), random)
}

/// Milliseconds after which a member's own document is read again: one host reads at most ten a minute, regardless of
/// their number.
pub fn read_again_ms(members: usize) -> u64 {
    u64::try_from(members).unwrap_or(u64::MAX).saturating_mul(6000).max(60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_are_taken_from_others() {
        let good = Member::new("i-0abc", Some("us-east-1-wl1-bos-wlz-1"), Some("10.0.0.1")).unwrap();
        assert_eq!((good.instance.as_str(), good.address.as_deref()), ("i-0abc", Some("10.0.0.1")));
        assert_eq!(Member::new("i-1", None, Some("2001:DB8::1")).unwrap().address.as_deref(), Some("2001:db8::1"));
        assert!(Member::new("web-1.example", None, None).is_ok());
        for (instance, zone, address, said) in [
            ("i-1", Some("eu-central-1a\n"), None, "availability zone"),
            ("i-1", Some("a; reboot"), None, "availability zone"),
            ("i-1", Some("$(id)"), None, "availability zone"),
            ("i-1", Some(""), None, "availability zone"),
            ("i-1", Some("-rf"), None, "availability zone"),
            ("i-1", Some(&*"a".repeat(65)), None, "availability zone"),
            ("i-1", None, Some("10.0.0.1 evil"), "IP address"),
            ("i-1", None, Some("10.0.0.1;"), "IP address"),
            ("i-1", None, Some("host.example"), "IP address"),
            ("i-1", None, Some("fe80::1%eth0"), "IP address"),
            ("i-1", None, Some(""), "IP address"),
            ("i 1", None, None, "instance id"),
            ("../i-1", None, None, "instance id"),
        ] {
            let error = Member::new(instance, zone, address).unwrap_err();
            assert!(error.contains(said) && !error.chars().any(char::is_control), "{error:?}");
        }
        assert!(Member::new("i-1", None, Some(&"1".repeat(9000))).unwrap_err().len() < 100, "what is shown is short");
    }
}
