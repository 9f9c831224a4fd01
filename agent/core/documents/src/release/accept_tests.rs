//! The order of releases: key policies before sequences, jumps that are too long, new beginnings, and stores.

use proptest::prelude::*;

use super::tests::{document, group, release, time};
use super::*;

fn made_under(key_policy: u64, sequence: u64) -> Document {
    let mut made = release(sequence);
    made.key_policy = key_policy;
    document(&made)
}

fn terms(group: &GroupKey, highest: Option<Highest>, key_policy: Option<u64>) -> Terms<'_> {
    Terms { highest, key_policy, ..Terms::by_hand(group, time("2026-11-21T12:00:00Z")) }
}

fn new(accepted: Result<Acceptance, Refusal>) -> Highest {
    match accepted {
        Ok(Acceptance::New(highest)) => highest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_far_above_the_highest_one_is_refused_and_says_what_leads_on() {
    let group = group();
    let highest = Some(Highest::new(7, None));
    let last = 7 + LONGEST_JUMP;
    assert!(accept(&made_under(1, last), &terms(&group, highest, None)).is_ok());
    for sequence in [last + 1, HIGHEST_SEQUENCE] {
        let refused = accept(&made_under(1, sequence), &terms(&group, highest, None)).unwrap_err();
        assert_eq!(refused, Refusal::Jump { sequence, highest: 7 });
        for way in ["hostler rotate-keys, then hostler release", "sequence_epoch"] {
            assert!(refused.to_string().contains(way), "{refused}");
        }
    }
    // A fresh host has nothing to compare with.
    assert!(accept(&made_under(1, last + 1), &terms(&group, None, None)).is_ok());
}

#[test]
fn what_is_refused_as_older_names_a_way_that_exists() {
    let group = group();
    let said = |highest| {
        let terms = terms(&group, Some(Highest::new(highest, None)), None);
        accept(&made_under(1, 2), &terms).unwrap_err().to_string()
    };
    assert!(said(9).contains("hostler release --sequence-above 9"), "{}", said(9));
    let end = said(HIGHEST_SEQUENCE);
    assert!(end.contains("no sequence is above that") && end.contains("sequence_epoch"), "{end}");
    assert!(!end.contains("--sequence-above"), "{end}");
}

#[test]
fn a_release_under_later_keys_counts_whatever_its_sequence_and_ends_those_before() {
    let group = group();
    let forwarded = Highest::new(HIGHEST_SEQUENCE, None);
    let accepted = new(accept(&made_under(2, 6), &terms(&group, Some(forwarded), Some(2))));
    assert_eq!((accepted.key_policy, accepted.sequence), (2, 6));
    assert!(accepted.begins_anew_after(&forwarded));
    // The number of an old release, signed by a kept key, does not bring it back.
    let replayed = accept(&made_under(1, 7), &terms(&group, Some(accepted), Some(2)));
    assert_eq!(replayed, Err(Refusal::EarlierKeys { found: 1, accepted: 2 }));
    // Under the same keys sequences count as usual.
    let older = accept(&made_under(2, 5), &terms(&group, Some(accepted), Some(2)));
    assert_eq!(older, Err(Refusal::Older { sequence: 5, highest: 6 }));
    // A release cannot name keys that do not exist: a holder of a key could use up the versions with this number.
    let ahead = accept(&made_under(3, 7), &terms(&group, Some(accepted), Some(2)));
    assert_eq!(ahead, Err(Refusal::LaterKeys { found: 3, known: 2 }));
}

#[test]
fn what_is_not_verified_does_not_say_under_which_keys_it_was_made() {
    let group = group();
    let accepted = new(accept(&made_under(99, 6), &terms(&group, Some(Highest::new(5, None)), None)));
    assert_eq!(accepted.key_policy, 1);
    let older = accept(&made_under(99, 5), &terms(&group, Some(accepted), None));
    assert_eq!(older, Err(Refusal::Older { sequence: 5, highest: 6 }));
}

#[test]
fn another_epoch_forgets_sequences_and_not_the_release_that_stands() {
    let group = group();
    let standing = made_under(1, 9);
    let highest = new(accept(&standing, &terms(&group, None, None)));
    let anew = Terms { epoch: 1, ..terms(&group, Some(highest), None) };
    assert_eq!(accept(&standing, &anew), Ok(Acceptance::Known), "it is not deployed again");
    let accepted = new(accept(&made_under(1, 2), &anew));
    assert_eq!((accepted.sequence, accepted.epoch), (2, 1));
    assert!(accepted.begins_anew_after(&highest));
    let same = Terms { highest: Some(accepted), ..anew };
    let older = accept(&made_under(1, 1), &same);
    assert_eq!(older, Err(Refusal::Older { sequence: 1, highest: 2 }), "within it they count");
}

#[test]
fn a_release_that_is_bound_to_a_store_is_followed_from_there_only() {
    let group = group();
    let mut bound = release(7);
    bound.store = Some("s3://prod/st".to_owned());
    let (bound, free) = (document(&bound), document(&release(7)));
    let from = |store| Terms { store: Some(store), ..terms(&group, None, None) };
    assert!(accept(&bound, &from("s3://prod/st")).is_ok());
    assert!(accept(&free, &from("s3://copy/st")).is_ok());
    let refused = accept(&bound, &from("s3://copy/st")).unwrap_err().to_string();
    assert!(refused.contains("s3://prod/st") && refused.contains("s3://copy/st"), "{refused}");
    let strict = |store| Terms { require_store: true, ..from(store) };
    assert_eq!(accept(&free, &strict("s3://prod/st")), Err(Refusal::NotBound));
    assert!(accept(&bound, &strict("s3://prod/st")).is_ok());
    // A release by hand has no store.
    assert!(accept(&bound, &terms(&group, None, None)).is_ok());
}

#[test]
fn the_fields_are_left_out_where_they_say_nothing() {
    let plain = serde_json::to_string(&release(7)).unwrap();
    assert!(!plain.contains("key_policy") && !plain.contains("store"), "{plain}");
    // The format of earlier agents, written and read.
    let highest: Highest = serde_json::from_str(r#"{"sequence":7}"#).unwrap();
    assert_eq!(highest, Highest::new(7, None));
    assert_eq!(serde_json::to_string(&highest).unwrap(), r#"{"sequence":7}"#);
    let mut zero = release(7);
    zero.key_policy = 0;
    assert!(zero.seal(&Limits::default()).unwrap_err().to_string().contains("key_policy"));
}

/// The writer of the store chooses these texts, and users see them.
#[test]
fn texts_that_would_act_on_a_terminal_are_refused() {
    let payload = serde_json::to_string(&release(7)).unwrap();
    for (from, to) in [
        (r#""sequence":7"#, r#""sequence":7,"store":"s3://a/\u001b[2J""#),
        (r#""sequence":7"#, r#""sequence":7,"store":"""#),
        (r#""size":"#, r#""version_id":"a\u001b[2J","size":"#),
        (r#""size":"#, r#""version_id":"","size":"#),
    ] {
        let payload = payload.replace(from, to);
        let envelope = Envelope::unsigned(PAYLOAD_TYPE, payload.into_bytes(), &Limits::default()).unwrap();
        let bytes = envelope.to_bytes(&Limits::default()).unwrap();
        let agent = AgentVersion { major: 1, minor: 2, patch: 3 };
        let error = Document::parse(&bytes, &Limits::default(), agent).unwrap_err().to_string();
        assert!(error.contains("store") || error.contains("version_id"), "{error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

#[test]
fn publishers_add_one_and_begin_anew_only_under_later_keys() {
    assert_eq!(next_sequence(None, 1, None), Ok(1));
    assert_eq!(next_sequence(Some((1, 7)), 1, None), Ok(8));
    assert_eq!(next_sequence(Some((1, 7)), 1, Some(40)), Ok(41));
    assert_eq!(next_sequence(Some((1, 7)), 1, Some(3)), Ok(8));
    assert_eq!(next_sequence(Some((1, 7)), 2, None), Ok(8));
    assert_eq!(next_sequence(Some((1, HIGHEST_SEQUENCE)), 2, None), Ok(1));
    assert_eq!(next_sequence(None, 1, Some(5_000_000)), Ok(5_000_001), "hosts may have seen so much");
    assert!(next_sequence(Some((1, 7)), 1, Some(5_000_000)).unwrap_err().contains("hosts would refuse it"));
    assert!(next_sequence(Some((3, 7)), 2, None).unwrap_err().contains("made under key policy 3"));
    let end = next_sequence(Some((2, HIGHEST_SEQUENCE)), 2, None).unwrap_err();
    assert!(end.contains("rotate-keys") && end.contains("sequence_epoch"), "{end}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Under verified keys the accepted position never falls: key policies come first, sequences second.
    #[test]
    fn the_accepted_position_never_falls(
        releases in prop::collection::vec((1u64..5, 1u64..4, prop::sample::select(vec![0, 5, LONGEST_JUMP])), 1..40),
    ) {
        let group = group();
        let mut highest: Option<Highest> = None;
        for (key_policy, sequence, jump) in releases {
            let arrived = made_under(key_policy, sequence + jump);
            match accept(&arrived, &terms(&group, highest, Some(3))) {
                Ok(Acceptance::New(new)) => {
                    let position = |h: &Highest| (h.key_policy, h.sequence);
                    prop_assert!(highest.is_none_or(|h| position(&new) > position(&h)));
                    prop_assert!(new.key_policy <= 3);
                    highest = Some(new);
                }
                Ok(Acceptance::Known) => prop_assert_eq!(highest.and_then(|h| h.digest), Some(arrived.digest)),
                Err(_) => {}
            }
        }
    }
}
