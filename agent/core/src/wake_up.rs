//! Messages about changes in a bucket: whether one is about a group's release.
//!
//! S3 sends its own form or EventBridge's; SNS between them wraps either as text. A message only makes a host poll its
//! channel sooner: the agent believes nothing in it.

use serde_json::Value;

use crate::ids::GroupKey;
use crate::store::release_key;

/// SNS is unwrapped once or, behind another topic, twice.
const MOST_WRAPPERS: usize = 2;

/// Whether a message is about the group's release. Test notifications (`s3:TestEvent`), other objects and texts in
/// another form are not.
pub fn is_about_release(message: &str, group: &GroupKey) -> bool {
    let mut message: Value = match serde_json::from_str(message) {
        Ok(message) => message,
        Err(_) => return false,
    };
    for _ in 0..MOST_WRAPPERS {
        let wrapped = message.get("Message").and_then(Value::as_str);
        match wrapped.and_then(|text| serde_json::from_str(text).ok()) {
            Some(inner) => message = inner,
            None => break,
        }
    }
    let release = release_key(group);
    let is_release = |key: &str| {
        let above = key.strip_suffix(release.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('/'))
    };
    let in_records = message.get("Records").and_then(Value::as_array).into_iter().flatten();
    let s3 = in_records.filter_map(|record| record.pointer("/s3/object/key")?.as_str());
    let event_bridge = message.pointer("/detail/object/key").and_then(Value::as_str);
    // S3 writes keys as in a URL's query, EventBridge as they are.
    s3.map(from_query).any(|key| is_release(&key)) || event_bridge.is_some_and(is_release)
}

/// The few characters that hostler's keys may hold and a query does not: `=`, `,`, `@`, `:`, `+` and the slash.
fn from_query(key: &str) -> String {
    [("%3D", "="), ("%2C", ","), ("%40", "@"), ("%3A", ":"), ("%2B", "+"), ("%2F", "/")]
        .iter()
        .fold(key.to_owned(), |key, (written, sign)| key.replace(written, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupKey {
        serde_json::from_str(r#"{"application":"shop","group":"web"}"#).unwrap()
    }

    fn s3(key: &str) -> String {
        serde_json::json!({"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}]})
            .to_string()
    }

    #[test]
    fn only_the_groups_release_wakes() {
        let wakes = |message: &str| is_about_release(message, &group());
        assert!(wakes(&s3("shop/web/release.json")));
        assert!(wakes(&s3("pre/fix/shop/web/release.json")));
        assert!(wakes(&s3("pre%3Dfix/shop%2Fweb/release.json")));
        assert!(wakes(
            &serde_json::json!({"Type": "Notification", "Message": s3("shop/web/release.json")}).to_string()
        ));
        let bridge =
            |key: &str| serde_json::json!({"source": "aws.s3", "detail": {"object": {"key": key}}}).to_string();
        assert!(wakes(&bridge("shop/web/release.json")));
        for other in [
            s3("shop/db/release.json"),
            s3("workshop/web/release.json"),
            s3("shop/web/plan.json"),
            bridge("revisions/abc"),
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#.to_owned(),
            r#"{"Type":"Notification","Message":"hello"}"#.to_owned(),
            "[]".to_owned(),
            "not JSON".to_owned(),
        ] {
            assert!(!wakes(&other), "{other}");
        }
    }
}
