use proptest::prelude::*;

use super::{Strategy, *};
use crate::bundle::BundleType;
use crate::store::Content;

const AGENT: AgentVersion = AgentVersion { major: 1, minor: 2, patch: 3 };

pub(super) fn group() -> GroupKey {
    GroupKey::new("web".parse().unwrap(), "prod".parse().unwrap())
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn revision(content: &[u8]) -> Revision {
    let sha256 = Sha256Digest::of(content);
    Revision {
        source: RevisionSource::Key(crate::store::revision_key(&sha256)),
        version_id: None,
        content: Content { size: content.len() as u64, sha256 },
        bundle_type: BundleType::Tgz,
        label: None,
    }
}

pub(super) fn release(sequence: u64) -> Release {
    Release::new(group(), sequence, time("2026-11-21T10:00:00Z"), revision(b"bundle"))
}

pub(super) fn document(release: &Release) -> Document {
    let limits = Limits::default();
    let bytes = release.seal(&limits).unwrap().to_bytes(&limits).unwrap();
    Document::parse(&bytes, &limits, AGENT).unwrap()
}

/// Puts any payload into an envelope and reads it.
fn parse_payload(payload: &str) -> Result<Document, ReleaseError> {
    let envelope = serde_json::json!({
        "payload": data_encoding::BASE64.encode(payload.as_bytes()), "payloadType": PAYLOAD_TYPE, "signatures": [],
    });
    Document::parse(envelope.to_string().as_bytes(), &Limits::default(), AGENT)
}

/// The manifest with one field changed (`None` removes it).
pub(super) fn with(field: &str, value: Option<serde_json::Value>) -> String {
    let mut manifest = serde_json::to_value(release(7)).unwrap();
    let mut at = &mut manifest;
    let (parents, last) = field.rsplit_once('.').unwrap_or(("", field));
    for parent in parents.split('.').filter(|p| !p.is_empty()) {
        at = at.as_object_mut().unwrap().entry(parent).or_insert_with(|| serde_json::json!({}));
    }
    let at = at.as_object_mut().unwrap();
    match value {
        Some(value) => drop(at.insert(last.to_owned(), value)),
        None => drop(at.remove(last).unwrap()),
    }
    manifest.to_string()
}

pub(super) fn refused(payload: &str) -> String {
    parse_payload(payload).map(|d| d.release).expect_err(payload).to_string()
}

#[test]
fn the_pre_authentication_encoding_is_the_published_one() {
    // The example of the DSSE protocol's own page.
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
}

#[test]
fn a_release_is_read_as_it_was_sealed() {
    let mut full = release(7);
    full.expires = Some(time("2026-12-21T10:00:00Z"));
    full.previous = Some(Revision {
        source: RevisionSource::Location("s3://other/old.zip".parse().unwrap()),
        version_id: Some("v1".to_owned()),
        bundle_type: BundleType::Zip,
        ..revision(b"old")
    });
    full.revision.label = Some("1.4.2".parse().unwrap());
    full.message = Some("the summer sale".parse().unwrap());
    full.minimum_agent_version = Some(AGENT);
    full.policy = Policy {
        strategy: Strategy::Canary,
        max_unavailable: Some(Amount::Percent(25)),
        minimum_healthy: Some(Amount::Count(3)),
        canary: Some(Canary { count: 2, bake_seconds: 600 }),
        ..Policy::default()
    };
    full.file_exists_behavior = Some(FileExistsBehavior::Overwrite);
    full.ignore_application_stop_failures = true;
    full.cleanup = false;
    for release in [release(1), full] {
        let read = document(&release);
        assert_eq!(read.release, release);
        assert_eq!(read.release.group_key(), group());
        assert_eq!(read.digest, Sha256Digest::of(read.envelope.payload()));
    }
}

#[test]
fn the_manifest_is_written_in_the_documented_words() {
    let sealed = release(7).seal(&Limits::default()).unwrap();
    let digest = Sha256Digest::of(b"bundle");
    let expected = format!(
        r#"{{"domain":"hostler/release","format":1,"application":"web","group":"prod","sequence":7,"created":"2026-11-21T10:00:00Z","revision":{{"key":"revisions/{}","sha256":"{digest}","size":6,"type":"tgz"}},"ignore_application_stop_failures":false,"cleanup":true}}"#,
        digest.hex()
    );
    assert_eq!(std::str::from_utf8(sealed.payload()).unwrap(), expected);
}

#[test]
fn a_minimal_manifest_gets_the_defaults() {
    let minimal = ["ignore_application_stop_failures", "cleanup"].iter().fold(
        serde_json::to_value(release(7)).unwrap(),
        |mut manifest, field| {
            manifest.as_object_mut().unwrap().remove(*field).unwrap();
            manifest
        },
    );
    assert_eq!(parse_payload(&minimal.to_string()).unwrap().release, release(7));
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    use serde_json::json;
    let cases: Vec<(&str, Option<serde_json::Value>, &[&str])> = vec![
        ("domain", Some(json!("hostler/plan")), &["domain", "\"hostler/plan\"", "\"hostler/release\""]),
        ("domain", None, &["domain", "missing"]),
        ("format", Some(json!(2)), &["format is 2", "format 1", "update the agent"]),
        ("format", Some(json!("1")), &["format"]),
        ("minimum_agent_version", Some(json!("1.2.4")), &["1.2.4", "1.2.3", "update the agent"]),
        ("minimum_agent_version", Some(json!("1.2")), &["minimum_agent_version", "1.2.3"]),
        ("sequence", Some(json!(0)), &["sequence", "is 0"]),
        ("sequence", Some(json!(u64::MAX)), &["sequence"]),
        ("sequence", Some(json!(-1)), &["sequence"]),
        ("sequence", Some(json!(1.5)), &["sequence"]),
        ("sequence", None, &["sequence"]),
        ("application", Some(json!("a/b")), &["application", "a/b"]),
        ("group", Some(json!("..")), &["group"]),
        ("created", Some(json!("yesterday")), &["created"]),
        ("expires", Some(json!("2026-11-21T10:00:00Z")), &["expires", "not after created"]),
        ("unheard_of", Some(json!(1)), &["unheard_of", "unknown field"]),
        ("revision.size", Some(json!(0)), &["revision", "size is 0"]),
        ("revision.size", Some(json!(u64::MAX)), &["revision.size", "bundle"]),
        ("revision.sha256", Some(json!("sha256:12")), &["revision.sha256", "64 hexadecimal"]),
        ("revision.key", None, &["revision", "key", "location"]),
        ("revision.key", Some(json!("../x")), &["revision.key", "dot"]),
        ("revision.location", Some(json!("s3://b/k")), &["revision", "both"]),
        ("revision.type", Some(json!("directory")), &["revision", "directory"]),
        ("revision.type", Some(json!("rar")), &["revision.type", "rar", "tgz"]),
        ("revision.md5", Some(json!("x")), &["revision", "md5"]),
        ("policy.strategy", Some(json!("yolo")), &["policy.strategy", "yolo", "one-at-a-time"]),
        ("policy.strategy", Some(json!("rolling")), &["policy.max_unavailable", "missing"]),
        ("policy.strategy", Some(json!("canary")), &["policy.canary", "missing"]),
        ("policy.max_unavailable", Some(json!(2)), &["policy.max_unavailable", "one-at-a-time"]),
        ("policy.max_unavailable", Some(json!("101%")), &["policy.max_unavailable", "101%"]),
        ("policy.max_unavailable", Some(json!("+5%")), &["policy.max_unavailable"]),
        ("policy.max_unavailable", Some(json!(0)), &["policy.max_unavailable", "no host"]),
        ("policy.canary", Some(json!({"count": 1})), &["policy.canary", "one-at-a-time"]),
        ("policy.approval_after_canary", Some(json!(true)), &["policy.approval_after_canary"]),
        ("policy.baking", Some(json!(1)), &["policy", "baking"]),
        ("file_exists_behavior", Some(json!("overwrite")), &["file_exists_behavior", "OVERWRITE"]),
    ];
    for (field, value, expected) in cases {
        let message = refused(&with(field, value.clone()));
        for part in expected {
            assert!(message.contains(part), "{field} = {value:?}: {message:?} does not say {part:?}");
        }
    }
}

#[test]
fn locations_are_of_known_kinds() {
    for (location, good) in [
        ("s3://bucket/key", true),
        ("https://host/x.tgz", true),
        ("file:///srv/x.tgz", true),
        ("http://host/x", false),
        ("s3://", false),
        ("/srv/x", false),
        ("s3://b/a b", false),
        ("s3://b/a\nb", false),
        ("file://host/x", false),
    ] {
        let mut manifest: serde_json::Value = serde_json::from_slice(with("revision.key", None).as_bytes()).unwrap();
        manifest["revision"]["location"] = location.into();
        assert_eq!(parse_payload(&manifest.to_string()).is_ok(), good, "{location}");
    }
}

#[test]
fn a_later_format_is_refused_for_that_and_not_for_its_new_fields() {
    let mut manifest: serde_json::Value = serde_json::from_slice(with("format", Some(2.into())).as_bytes()).unwrap();
    manifest["new_field"] = 1.into();
    manifest["revision"] = "other shape".into();
    assert!(matches!(parse_payload(&manifest.to_string()), Err(ReleaseError::Format { found: 2 })));
    let mut manifest: serde_json::Value =
        serde_json::from_slice(with("minimum_agent_version", Some("9.0.0".into())).as_bytes()).unwrap();
    manifest["new_field"] = 1.into();
    assert!(matches!(parse_payload(&manifest.to_string()), Err(ReleaseError::AgentTooOld { .. })));
}

#[test]
fn a_key_that_comes_twice_is_refused_at_any_depth() {
    let good = serde_json::to_string(&release(7)).unwrap();
    for (from, to, key) in [
        (r#""sequence":7"#, r#""sequence":7,"sequence":8"#, "sequence"),
        (r#""sequence":7"#, r#""sequence":7,"sequ\u0065nce":8"#, "sequence"),
        (r#""size":6"#, r#""size":6,"size":6"#, "size"),
        (r#""cleanup":true"#, r#""cleanup":true,"policy":{"alarms":[],"alarms":[]}"#, "alarms"),
    ] {
        let twice = good.replace(from, to);
        assert_ne!(twice, good);
        match parse_payload(&twice) {
            Err(ReleaseError::DuplicateKey { part: "release manifest", key: found }) => assert_eq!(found, key),
            other => panic!("{twice}: {other:?}"),
        }
    }
    let limits = Limits::default();
    let envelope = String::from_utf8(release(7).seal(&limits).unwrap().to_bytes(&limits).unwrap()).unwrap();
    for twice in [
        envelope.replace("{\"payload\"", "{\"payload\":\"\",\"payload\""),
        envelope.replace("\"signatures\":[]", "\"signatures\":[{\"sig\":\"\",\"x\":{\"a\":1,\"a\":2}}]"),
    ] {
        assert_ne!(twice, envelope);
        let result = Document::parse(twice.as_bytes(), &limits, AGENT);
        assert!(matches!(result, Err(ReleaseError::DuplicateKey { part: "release document", .. })), "{result:?}");
    }
}

#[test]
fn signatures_are_kept_and_unsigned_is_visible() {
    let limits = Limits::default();
    let mut envelope = release(7).seal(&limits).unwrap();
    assert_eq!(envelope.claimed(), Trust::Unsigned);
    assert_eq!(envelope.claimed().to_string(), "unsigned");
    envelope.add_signature(Signature { key_id: Some("ci-2026".to_owned()), bytes: vec![0xfb; 64] });
    envelope.add_signature(Signature { key_id: None, bytes: vec![1; 64] });
    let bytes = envelope.to_bytes(&limits).unwrap();
    let read = Document::parse(&bytes, &limits, AGENT).unwrap();
    assert_eq!(read.envelope, envelope);
    assert_eq!(read.envelope.pae(), release(7).seal(&limits).unwrap().pae(), "signing must not change what is signed");
    assert_eq!(read.envelope.claimed().to_string(), "signed by ci-2026, ?, not verified: no keys are configured");
    // Both alphabets of base64 mean the same.
    let mut other: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let url_safe = data_encoding::BASE64URL.encode(&[0xfb; 64]);
    assert!(url_safe.contains('-') && url_safe.contains('_'), "{url_safe} must differ from the other alphabet");
    other["signatures"][0]["sig"] = url_safe.into();
    let other = other.to_string();
    assert_eq!(Document::parse(other.as_bytes(), &limits, AGENT).unwrap().envelope, envelope);
}

#[test]
fn broken_envelopes_are_refused_by_name() {
    let limits = Limits::default();
    let good = String::from_utf8(release(7).seal(&limits).unwrap().to_bytes(&limits).unwrap()).unwrap();
    for (bad, expected) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "release document"),
        (good.replace("application/vnd", "text/vnd"), "payloadType"),
        (good.replace("\"payload\":\"", "\"payload\":\"*"), "payload: is not base64"),
        (good.replace(",\"signatures\":[]", ""), "signatures"),
        (good.replace("[]", "[{\"sig\":\"*\"}]"), "signatures[0].sig: is not base64"),
        (good.replace("[]", "[{}]"), "signatures[0]"),
        (
            good.replace("[]", &format!("[{}]", vec!["{\"sig\":\"\"}"; 33].join(","))),
            "signatures: are 33, and may be 32",
        ),
        (format!("{good}x"), "trailing"),
        ("x".repeat(stored_bytes(&limits) + 1), "is this key really a release"),
        (good.replace("[]", &"[".repeat(500)), "recursion"),
    ] {
        let error = Document::parse(bad.as_bytes(), &limits, AGENT).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn what_is_signed_has_at_most_4096_bytes() {
    let limits = Limits::default();
    let mut padded = release(7);
    let room = limits.release_bytes - padded.seal(&limits).unwrap().pae().len();
    let overhead = ",\"alarms\":[\"\"]".len();
    padded.policy.alarms = vec!["a".repeat(room - overhead)];
    let mut widest = padded.seal(&limits);
    // The length's own digits may take one byte more.
    while widest.is_err() {
        padded.policy.alarms[0].pop();
        widest = padded.seal(&limits);
    }
    let widest = widest.unwrap();
    assert_eq!(widest.pae().len(), 4096);
    let bytes = widest.to_bytes(&limits).unwrap();
    assert_eq!(Document::parse(&bytes, &limits, AGENT).unwrap().release, padded);
    padded.policy.alarms[0].push('a');
    let error = padded.seal(&limits).unwrap_err();
    assert!(matches!(error, ReleaseError::ManifestTooLarge { bytes: 4097, at_most: 4096 }), "{error}");
    let error = parse_payload(&serde_json::to_string(&padded).unwrap()).unwrap_err();
    assert!(matches!(error, ReleaseError::ManifestTooLarge { bytes: 4097, .. }), "{error}");
}

#[test]
fn only_rising_sequences_of_the_own_group_are_accepted() {
    let group = group();
    let now = time("2026-11-21T12:00:00Z");
    let terms = |highest| Terms { highest, ..Terms::by_hand(&group, now) };
    let seven = document(&release(7));
    let highest = Highest::new(7, Some(seven.digest));
    assert_eq!(accept(&seven, &terms(None)), Ok(Acceptance::New(highest)));
    assert_eq!(accept(&seven, &terms(Some(highest))), Ok(Acceptance::Known));
    assert_eq!(accept(&seven, &terms(Some(Highest::new(6, None)))), Ok(Acceptance::New(highest)));
    // A floor without a digest allows its own number.
    assert_eq!(accept(&seven, &terms(Some(Highest::new(7, None)))), Ok(Acceptance::New(highest)));
    assert_eq!(accept(&document(&release(6)), &terms(Some(highest))), Err(Refusal::Older { sequence: 6, highest: 7 }));
    let mut other = release(7);
    other.cleanup = false;
    assert!(matches!(accept(&document(&other), &terms(Some(highest))), Err(Refusal::Replaced { sequence: 7, .. })));
    let elsewhere = GroupKey::new(group.application.clone(), "test".parse().unwrap());
    let refusal = accept(&seven, &Terms::by_hand(&elsewhere, now)).unwrap_err();
    assert!(refusal.to_string().contains("web/prod") && refusal.to_string().contains("web/test"), "{refusal}");
}

#[test]
fn an_expired_release_is_not_accepted_anew() {
    let group = group();
    let mut expiring = release(7);
    expiring.expires = Some(time("2026-11-21T11:00:00Z"));
    let expiring = document(&expiring);
    let known = Highest::new(7, Some(expiring.digest));
    for (now, fresh_host) in [
        ("2026-11-21T10:59:59Z", true),
        ("2026-11-21T11:05:00Z", true),
        ("2026-11-21T11:05:01Z", false),
        ("2027-11-21T11:05:01Z", false),
    ] {
        let now = time(now);
        assert_eq!(accept(&expiring, &Terms::by_hand(&group, now)).is_ok(), fresh_host, "{now}");
        let again = accept(&expiring, &Terms { highest: Some(known), ..Terms::by_hand(&group, now) });
        assert_eq!(again, Ok(Acceptance::Known), "{now}");
    }
}

#[test]
fn versions_are_three_numbers() {
    assert!(AgentVersion::current().is_ok());
    let version = |text: &str| text.parse::<AgentVersion>();
    assert!(version("1.10.0").unwrap() > version("1.9.9").unwrap());
    for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.-3", "1.2.+3", " 1.2.3", "1..3", "1.2.99999999999"] {
        assert!(version(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// The accepted sequence never falls, in any order of releases.
    #[test]
    fn the_accepted_sequence_never_falls(sequences in prop::collection::vec((1u64..20, any::<bool>()), 1..40)) {
        let group = group();
        let mut highest: Option<Highest> = None;
        for (sequence, cleanup) in sequences {
            let mut arrived = release(sequence);
            arrived.cleanup = cleanup;
            let arrived = document(&arrived);
            let terms = Terms { highest, ..Terms::by_hand(&group, time("2026-11-21T12:00:00Z")) };
            match accept(&arrived, &terms) {
                Ok(Acceptance::New(new)) => {
                    prop_assert!(highest.is_none_or(|h| new.sequence > h.sequence));
                    highest = Some(new);
                }
                Ok(Acceptance::Known) => prop_assert_eq!(highest, Some(Highest::new(sequence, Some(arrived.digest)))),
                Err(_) => prop_assert!(highest.is_some_and(|h| sequence <= h.sequence)),
            }
        }
    }

    /// Reading arbitrary and damaged bytes ends in an error or a release, never in a panic.
    #[test]
    fn damaged_documents_do_no_harm(at in 0usize..900, byte: u8, cut in 0usize..900) {
        let limits = Limits::default();
        let mut bytes = release(7).seal(&limits).unwrap().to_bytes(&limits).unwrap();
        if let Some(place) = bytes.get_mut(at) { *place = byte; }
        let _ = Document::parse(&bytes, &limits, AGENT);
        bytes.truncate(cut);
        if cut < bytes.len() { prop_assert!(Document::parse(&bytes, &limits, AGENT).is_err()); }
    }
}
