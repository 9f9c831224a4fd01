use super::*;

#[test]
fn the_label_on_a_host_is_the_signed_one_and_the_way_back_is_a_signed_one() {
    let signed = Signed::new(&["ci"]);
    signed.require("channel", 1, &["ci"]);
    let first = signed.host.hostler(&["push", "v1", "store", "--label", "1.0"]).with_code(0).out.trim().to_owned();
    signed.write_bundle("v2");
    let second = signed.host.push("v2");
    let taken = r#"this signs text that the store holds unsigned: label "1.0" ("#;
    signed.release(&first, &["--key", "ci"]).with_code(0).saying(&[taken]);
    signed.release(&second, &["--key", "ci"]).with_code(0);
    // A label in the store is a suggestion to the next publisher and no more.
    let label = signed.host.path(format!("store/labels/{}.json", first.trim_start_matches("sha256:")));
    fs::write(label, r#"{"version":1,"label":"evil"}"#).unwrap();
    let back = |more: &[&str]| signed.host.hostler_for_group(&[&["release", "store", "--previous"][..], more].concat());
    back(&[]).with_code(6).saying(&["hosts would not follow this release"]);
    back(&["--key", "ci"]).with_code(0).saying(&["release 3 of shop/web: 1.0 (", ", signed by "]);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert_eq!(signed.status()["installed"]["revision"]["label"], "1.0");

    // A release that hosts would not follow does not say where the way back leads, and is not kept.
    signed.require_nothing();
    signed.release(&second, &["--label", "slipped in"]).with_code(0);
    signed.require("channel", 1, &["ci"]);
    back(&["--key", "ci"]).with_code(6).saying(&["is not signed as it must be"]);
    signed.release(&second, &["--key", "ci", "--sequence-above", "3"]).with_code(0);
    let kept = signed.host.hostler(&["releases", "store"]).with_code(0).out;
    assert!(kept.contains("1.0 (") && !kept.contains("slipped in"), "{kept}");
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
}
