use super::*;

fn proposed() -> (Signed, String) {
    let signed = Signed::new(&["one", "two", "three"]);
    signed.require("channel", 2, &["one", "two", "three"]);
    let revision = signed.host.push("v1");
    (signed, revision)
}

#[test]
fn two_of_three_sign_before_any_host_sees_the_release() {
    let (signed, revision) = proposed();
    let host = &signed.host;
    let alone = signed.release(&revision, &["--key", "one"]).with_code(6);
    assert!(alone.err.contains("1 of the 2 signatures that it needs from 3 keys"), "{}", alone.err);
    let named = ["--key", "one", "--propose", "--label", "1.0", "--message", "the sale"];
    let said = signed.release(&revision, &named).with_code(0);
    assert!(said.out.contains("no host follows it yet") && !said.err.contains("holds unsigned"), "{said:?}");
    host.run_once().with_code(5);
    // The same key again still counts once; another revision is not the one that the second signer named.
    let again = host.hostler_for_group(&["sign", "store", &revision, "--key", "one"]).with_code(0);
    assert!(again.out.contains("proposed release 1"), "{}", again.out);
    again.saying(&["this signs release 1 of shop/web: 1.0 (", r#"; message: "the sale"; previous revision: none"#]);
    host.hostler_for_group(&["sign", "store", "sha256:00", "--key", "two"]).with_code(6);
    assert!(!signed.document().exists());
    let second = host.hostler_for_group(&["sign", "store", &revision, "--key", "three"]).with_code(0).out;
    assert!(second.starts_with("release 1 of shop/web"), "{second}");
    assert!(!host.path("store/shop/web/proposed.json").exists());
    host.run_once().with_code(0);
    assert_eq!(signed.status()["signature"]["verified"]["key_ids"].as_array().unwrap().len(), 2);
    host.hostler_for_group(&["sign", "store", &revision, "--key", "two"]).with_code(5);
}

#[test]
fn one_command_may_hold_both_keys() {
    let (signed, revision) = proposed();
    signed.release(&revision, &["--key", "one", "--key", "one"]).with_code(6);
    signed.release(&revision, &["--key", "one", "--key", "two"]).with_code(0);
    signed.host.run_once().with_code(0);
}

#[test]
fn a_proposal_that_was_overtaken_is_not_published() {
    let (signed, revision) = proposed();
    signed.release(&revision, &["--key", "one", "--propose"]).with_code(0);
    signed.release(&revision, &["--key", "one", "--key", "two"]).with_code(0);
    let late = signed.host.hostler_for_group(&["sign", "store", &revision, "--key", "two"]).with_code(3);
    assert!(late.err.contains("release 1 is published already"), "{}", late.err);
}

/// Two signatures by one key under two spellings of its name still count once.
#[test]
fn two_signatures_by_one_key_are_one() {
    let (signed, revision) = proposed();
    signed.release(&revision, &["--key", "one", "--key", "two"]).with_code(0);
    let mut document = signed.read_document();
    let mut same = document["signatures"][0].clone();
    let upper = same["keyid"].as_str().unwrap().trim_start_matches("sha256:").to_uppercase();
    same["keyid"] = upper.into();
    document["signatures"][1] = same.clone();
    same.as_object_mut().unwrap().remove("keyid");
    document["signatures"].as_array_mut().unwrap().push(same);
    signed.write_document(&document);
    let output = signed.host.run_once().with_code(6);
    assert!(output.err.contains("1 of the 2 signatures"), "{}", output.err);
}
