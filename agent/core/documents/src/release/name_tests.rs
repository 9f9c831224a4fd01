//! Labels and messages, and the revision to return to.

use super::tests::{refused, release, revision, with};
use super::*;

#[test]
fn the_revision_before_is_another_one() {
    let (one, two, three) = (revision(b"1"), revision(b"2"), revision(b"3"));
    let mut current = Release { revision: two.clone(), ..release(7) };
    assert_eq!(current.before(&three), Some(two.clone()));
    assert_eq!(current.before(&two), None, "nothing was released before");
    current.previous = Some(one.clone());
    assert_eq!(current.before(&two), Some(one), "the same revision is released again");
    assert_eq!(current.before(&Revision { label: Some("again".parse().unwrap()), ..two.clone() }), current.previous);
    current.previous = Some(two.clone());
    assert_eq!(current.before(&two), None, "as agents before wrote it");
}

#[test]
fn a_release_without_a_label_or_a_message_is_written_as_before_there_were_any() {
    let plain = String::from_utf8(release(7).seal(&Limits::default()).unwrap().payload().to_vec()).unwrap();
    assert!(!plain.contains("label") && !plain.contains("message"), "{plain}");
    assert!(refused(&with("revision.label", Some("a\nb".into()))).contains("label"));
    assert!(refused(&with("message", Some("x".repeat(257).into()))).contains("256 bytes"));
}
