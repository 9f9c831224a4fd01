use super::*;

fn group() -> GroupKey {
    GroupKey::new("web".parse().unwrap(), "prod@eu".parse().unwrap())
}

#[test]
fn keys_are_safe_as_relative_paths() {
    for good in ["a", "a/b", "web/prod/reports/7/AROAEXAMPLE:i-0123.json", "a+b=c,d@e/f_-g.h"] {
        assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
    }
    let long = "x".repeat(201);
    let longer = vec!["x".repeat(100); 10].join("/");
    for bad in
        ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".", "a/.hidden", "a\\b", "a b", "a\0", "ä", "a*", &long, &longer]
    {
        let error = bad.parse::<Key>().unwrap_err();
        assert_eq!(error.text, bad);
        assert!(serde_json::from_value::<Key>(serde_json::Value::from(bad)).is_err(), "{bad:?} came in through JSON");
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let digest = Sha256Digest::of(b"");
    assert_eq!(release_key(&group()).as_str(), "web/prod@eu/release.json");
    assert_eq!(plan_key(&group()).as_str(), "web/prod@eu/plan.json");
    assert_eq!(signing_policy_key(&group(), 3).as_str(), "web/prod@eu/keys/3.json");
    assert_eq!(revision_key(&digest).as_str(), format!("revisions/{}", digest.hex()));
    assert_eq!(label_key(&digest).as_str(), format!("labels/{}.json", digest.hex()));
    assert_eq!(report_key(&group(), 7, "AROA:i-1").unwrap().as_str(), "web/prod@eu/reports/7/AROA:i-1.json");
    assert_eq!(once_key(&group(), 7, "migrate.sh", 2).unwrap().as_str(), "web/prod@eu/once/7/migrate.sh/2.json");
    assert_eq!(host_key(&group(), "i-1").unwrap().as_str(), "web/prod@eu/hosts/i-1.json");
    assert_eq!(history_key("i-1", 12).unwrap().as_str(), "history/i-1/00000000000000000012.json");
}

#[test]
fn an_earlier_release_is_found_by_its_name() {
    let past = |key_policy, sequence| PastRelease { key_policy, sequence, digest: "4d8271e2".to_owned() };
    let key = past_release_key(&group(), &past(2, 17));
    assert_eq!(key.as_str(), "web/prod@eu/releases/2-0000000000000017-4d8271e2.json");
    assert_eq!(PastRelease::of_key(&key), Some(past(2, 17)));
    let highest = past_release_key(&group(), &past(u64::MAX, u64::MAX));
    assert_eq!(PastRelease::of_key(&highest), Some(past(u64::MAX, u64::MAX)));
    for other in ["17.json", "2-17-4d8271e2.json", "2-0000000000000017-4d8271e2", "x-0000000000000017-4d8271e2.json"] {
        assert_eq!(PastRelease::of_key(&format!("web/prod/releases/{other}").parse().unwrap()), None, "{other}");
    }
    let mut releases = [past(2, 1), past(1, 9), past(1, 10)];
    releases.sort();
    assert_eq!(releases, [past(1, 9), past(1, 10), past(2, 1)]);
}

#[test]
fn what_the_layout_makes_is_a_key() {
    let widest = GroupKey::new("a".repeat(100).parse().unwrap(), "g".repeat(100).parse().unwrap());
    let dotted = GroupKey::new(".hostler".parse().unwrap(), ".g".parse().unwrap());
    assert_eq!(release_key(&dotted).as_str(), ":.hostler/:.g/release.json");
    for group in [widest, dotted] {
        for key in [release_key(&group), plan_key(&group), signing_policy_key(&group, u64::MAX)] {
            assert_eq!(key.as_str().parse::<Key>().unwrap(), key);
        }
    }
}

#[test]
fn a_name_cannot_leave_its_place() {
    for user in ["i-1/../i-2", "../i-2", "a/b", "", " "] {
        if let Ok(key) = host_key(&group(), user) {
            // An empty name leaves `.json`, which begins with a dot and is refused.
            panic!("{user:?} became {key}");
        }
        assert!(report_key(&group(), 1, user).is_err(), "{user:?}");
        assert!(once_key(&group(), 1, user, 1).is_err(), "{user:?}");
        assert!(history_key(user, 1).is_err(), "{user:?}");
    }
}

#[test]
fn only_what_may_pass_by_itself_is_tried_again() {
    use StoreErrorKind::*;
    let retryable: Vec<_> = [Denied, Absent, TooLarge, Mismatch, Full, Throttled, Transient, Fatal]
        .into_iter()
        .filter(|kind| kind.is_retryable())
        .collect();
    assert_eq!(retryable, [Full, Throttled, Transient]);
}
