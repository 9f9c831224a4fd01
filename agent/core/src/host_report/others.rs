//! The documents of other hosts. Each host may write its own, so every field is checked.

use super::{CAUSE_CHARACTERS, HostReport};
use crate::ids::GroupKey;
use crate::machine_events::{Member, shown};
use crate::store::{Key, host_key};

/// Bytes of an AWS user id, and of a version: far more than any known one.
const USER_BYTES: usize = 200;
const VERSION_BYTES: usize = 64;

impl HostReport {
    /// Reads another host's document below this key for this group.
    ///
    /// # Errors
    /// The problem, for users; no part of the document may be used then.
    pub fn of_other(bytes: &[u8], key: &Key, group: &GroupKey) -> Result<Self, String> {
        // The library's message repeats the text that it found.
        let report: Self = serde_json::from_slice(bytes).map_err(|error| shown(&error.to_string()))?;
        let content = &report.content;
        if content.key != *group {
            return Err(format!("it is of the group {}", content.key));
        }
        let is_plain = |text: &str, bytes: usize| text.len() <= bytes && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(&content.user, USER_BYTES) || host_key(group, &content.user).ok().as_ref() != Some(key) {
            return Err(format!("user {} is not the one that it is named for", shown(&content.user)));
        }
        // The user id of an instance's role ends with the instance: with it a host could pose as another one.
        let of_user = content.user.rsplit(':').next().unwrap_or_default();
        if is_of_ec2(of_user) && is_of_ec2(content.instance.as_str()) && of_user != content.instance.as_str() {
            return Err(format!("instance {} is not the one that writes it", shown(content.instance.as_str())));
        }
        if !is_plain(&content.agent_version, VERSION_BYTES) {
            return Err(format!("agent_version {} is no version", shown(&content.agent_version)));
        }
        if let Some(cause) = &content.cause
            && cause.chars().count() > CAUSE_CHARACTERS
        {
            return Err(format!("cause has more than {CAUSE_CHARACTERS} characters"));
        }
        report.as_member()?;
        Ok(report)
    }

    /// The document's host as a member.
    ///
    /// # Errors
    /// The problem with its content, for users.
    pub fn as_member(&self) -> Result<Member, String> {
        let content = &self.content;
        Member::new(content.instance.as_str(), content.zone.as_deref(), Some(&content.address))
    }
}

fn is_of_ec2(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lifecycle::InstanceState;

    fn group() -> GroupKey {
        let key = GroupKey::new("web".parse().unwrap(), "a".parse().unwrap());
        GroupKey { codedeploy_group_id: Some("id-of-a".parse().unwrap()), ..key }
    }

    fn document() -> Value {
        json!({
            "version": 1, "counter": 1, "written_ms": 5, "user": "AROAX:i-0123456789abcdef0",
            "instance": "i-0123456789abcdef0", "zone": "eu-central-1a", "address": "10.0.0.1", "agent_version": "0.1.0",
            "application": "web", "group": "a", "codedeploy_group_id": "id-of-a", "instance_state": "in_service",
            "condition": "good",
        })
    }

    fn read(document: &Value) -> Result<HostReport, String> {
        let key = host_key(&group(), "AROAX:i-0123456789abcdef0").unwrap();
        HostReport::of_other(document.to_string().as_bytes(), &key, &group())
    }

    #[test]
    fn the_words_of_older_agents_are_read() {
        let of = |document: &Value| read(document).unwrap().content;
        let mut older = document();
        let fields = older.as_object_mut().unwrap();
        fields.remove("instance_state");
        fields.insert("posture".to_owned(), json!("free"));
        let id = fields.remove("codedeploy_group_id").unwrap();
        fields.insert("service_id".to_owned(), id);
        assert_eq!((of(&older).key, of(&older).instance_state), (of(&document()).key, InstanceState::InService));
        for (word, state) in
            [("pooled", "warm_pool"), ("parked", "standby"), ("at_risk", "rebalance_hold"), ("leaving", "terminating")]
        {
            older["posture"] = json!(word);
            assert_eq!(serde_json::to_value(of(&older).instance_state).unwrap(), state);
        }
    }

    #[test]
    fn what_another_host_says_is_taken_only_if_it_is_what_it_should_be() {
        let good = read(&document()).unwrap().as_member().unwrap();
        assert_eq!((good.zone.as_deref(), good.address.as_deref()), (Some("eu-central-1a"), Some("10.0.0.1")));
        for (field, value, said) in [
            ("address", json!("10.0.0.1\nhost evil"), "IP address"),
            ("zone", json!("`id`"), "availability zone"),
            ("instance", json!("i-0123456789abcdef1"), "not the one that writes it"),
            ("instance", json!("a b"), "instance id"),
            ("user", json!("AROAX:i-0123456789abcdef1"), "not the one that it is named for"),
            ("user", json!("AROAX:\u{1b}[2J"), "not the one that it is named for"),
            ("group", json!("b"), "it is of the group web/b"),
            ("agent_version", json!("\u{1b}[2J"), "is no version"),
            ("cause", json!("x".repeat(201)), "more than 200 characters"),
            ("counter", json!("\u{7}"), "invalid type"),
        ] {
            let mut wrong = document();
            wrong[field] = value;
            let error = read(&wrong).unwrap_err();
            assert!(error.contains(said) && !error.chars().any(char::is_control), "{field}: {error:?}");
        }
        // A name of one's own beside the instance of the role.
        let mut named = document();
        named["instance"] = json!("web-1");
        assert_eq!(read(&named).unwrap().as_member().unwrap().instance, "web-1");
    }
}
