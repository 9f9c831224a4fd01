use super::*;

fn rotate(signed: &Signed, arguments: &[&str]) -> Output {
    signed.host.hostler_for_group(&[&["rotate-keys", "store"][..], arguments].concat())
}

/// `v1` runs, signed by `old`; from then on `new` signs.
fn rotated() -> Signed {
    let signed = Signed::new(&["old", "new", "newer"]);
    signed.require("channel", 1, &["old"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).ends(0);
    signed.host.run_once().ends(0);
    rotate(&signed, &["--public-key", "new.pub", "--key", "old", "--key", "new"]).ends(0);
    signed
}

fn release_v2(signed: &Signed, key: &str) -> Output {
    signed.write_bundle("v2");
    let revision = signed.host.push("v2");
    signed.release(&revision, &["--key", key])
}

#[test]
fn hosts_follow_the_chain_of_keys_and_the_old_one_ends() {
    let signed = rotated();
    release_v2(&signed, "old").ends(6);
    release_v2(&signed, "new").ends(0);
    signed.host.run_once().ends(0);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
    assert_eq!(signed.status()["key_policy"], 2);
    let history = signed.host.hostler(&["history"]).ends(0).stdout;
    assert!(history.contains("shop/web: key policy 2, 1 of sha256:"), "{history}");
    // A fresh host with the old configuration follows the chain as well.
    fs::remove_dir_all(signed.host.path("root/var")).unwrap();
    fs::remove_dir_all(signed.host.path("root/srv")).unwrap();
    signed.host.run_once().ends(0);
    // And the next step goes on from there.
    rotate(&signed, &["--public-key", "newer.pub", "--key", "new", "--key", "newer"]).ends(0);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "newer"]).ends(0);
    signed.host.run_once().ends(0);
    assert_eq!(signed.status()["key_policy"], 3);
}

#[test]
fn a_policy_needs_the_old_and_the_new_keys_and_is_never_replaced() {
    let signed = rotated();
    for keys in [&["--key", "newer"][..], &["--key", "new"], &["--key", "old", "--key", "newer"]] {
        let output = rotate(&signed, &[&["--public-key", "newer.pub"][..], keys].concat()).ends(6);
        assert!(output.stderr.contains("do not stand for the key policy"), "{}", output.stderr);
    }
    assert!(!signed.host.path("store/shop/web/keys/3.json").exists());
    signed.require_nothing();
    let output = rotate(&signed, &["--public-key", "newer.pub", "--key", "newer"]).ends(3);
    assert!(output.stderr.contains("no keys are configured here"), "{}", output.stderr);
}

#[test]
fn whoever_takes_the_policy_out_of_the_store_does_not_bring_the_old_key_back() {
    let signed = rotated();
    release_v2(&signed, "new").ends(0);
    signed.host.run_once().ends(0);
    fs::remove_file(signed.host.path("store/shop/web/keys/2.json")).unwrap();
    // Published under the old key, as the store alone would have it.
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).ends(0);
    let output = signed.host.run_once().ends(6);
    assert!(output.stderr.contains("by keys that are not among them"), "{}", output.stderr);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
}

#[test]
fn a_policy_that_the_keys_do_not_stand_for_changes_nothing() {
    let signed = rotated();
    // Somebody who can write the store puts a next step there.
    let stolen = fs::read(signed.host.path("store/shop/web/keys/2.json")).unwrap();
    fs::write(signed.host.path("store/shop/web/keys/3.json"), stolen).unwrap();
    release_v2(&signed, "new").ends(0);
    let output = signed.host.run_once().ends(0);
    assert!(output.stderr.contains("3.json is not followed"), "{}", output.stderr);
    assert_eq!(signed.status()["key_policy"], 2);
}

/// The operator's word on the host wins, but not below what the host has seen.
#[test]
fn a_changed_configuration_begins_the_chain_anew_and_never_below() {
    let signed = rotated();
    release_v2(&signed, "new").ends(0);
    signed.host.run_once().ends(0);
    signed.require("channel", 1, &["newer"]);
    let output = signed.host.run_once().ends(6);
    assert!(output.stderr.contains("key policy 2 was accepted before"), "{}", output.stderr);
    let text = format!("signatures: {{channel: {{version: 3, keys: [{}]}}}}\n", signed.line("newer"));
    signed.host.write("root/etc/hostler/config.yaml", text);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "newer"]).ends(0);
    signed.host.run_once().ends(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
}
