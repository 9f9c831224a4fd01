use super::*;

fn rotate(signed: &Signed, arguments: &[&str]) -> Ended {
    signed.host.hostler_for_group(&[&["rotate-keys", "store"][..], arguments].concat())
}

/// `v1` runs, signed by `old`; afterwards `new` signs.
fn rotated() -> Signed {
    let signed = Signed::new(&["old", "new", "newer"]);
    signed.require("channel", 1, &["old"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).with_code(0);
    signed.host.run_once().with_code(0);
    rotate(&signed, &["--public-key", "new.pub", "--key", "old", "--key", "new"]).with_code(0);
    signed
}

fn release_v2(signed: &Signed, key: &str) -> Ended {
    signed.write_bundle("v2");
    let revision = signed.host.push("v2");
    signed.release(&revision, &["--key", key])
}

#[test]
fn hosts_follow_the_chain_of_keys_and_the_old_one_ends() {
    let signed = rotated();
    release_v2(&signed, "old").with_code(6);
    release_v2(&signed, "new").with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
    assert_eq!(signed.status()["key_policy"], 2);
    let history = signed.host.hostler(&["history", "--events"]).with_code(0).out;
    assert!(history.contains("shop/web: key policy 2, 1 of sha256:"), "{history}");
    // A new host with the old configuration follows the chain as well.
    fs::remove_dir_all(signed.host.path("root/var")).unwrap();
    fs::remove_dir_all(signed.host.path("root/srv")).unwrap();
    signed.host.run_once().with_code(0);
    // The next rotation continues from there.
    rotate(&signed, &["--public-key", "newer.pub", "--key", "new", "--key", "newer"]).with_code(0);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "newer"]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.status()["key_policy"], 3);
}

fn forget_the_host(signed: &Signed) {
    for directory in ["root/var", "root/srv"] {
        fs::remove_dir_all(signed.host.path(directory)).unwrap();
    }
}

fn deployments(signed: &Signed) -> usize {
    signed.host.hostler(&["history", "--json"]).with_code(0).out.matches(r#""deployment_started""#).count()
}

#[test]
fn the_release_in_the_channel_gets_the_new_signatures_and_no_host_deploys_it_again() {
    let signed = rotated();
    let before = deployments(&signed);
    assert!(before > 0);
    let said = signed.host.run_once().with_code(0);
    assert_eq!(signed.status()["key_policy"], 2, "{said:?}");
    assert_eq!(deployments(&signed), before, "what runs is not deployed again");
    let keys = signed.read_document()["signatures"].as_array().unwrap().len();
    assert_eq!(keys, 1, "the old key's signature is gone");
    // A new host follows the release at once.
    forget_the_host(&signed);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert_eq!(signed.status()["highest_sequence"], 1);
}

/// As after a kill between the policy and the release. A second run changes nothing more.
#[test]
fn a_rotation_that_was_interrupted_is_completed_by_the_same_command() {
    let signed = Signed::new(&["old", "new"]);
    signed.require("channel", 1, &["old"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).with_code(0);
    let arguments = ["--public-key", "new.pub", "--key", "old", "--key", "new"];
    let by_old = signed.read_document();
    rotate(&signed, &arguments).with_code(0);
    signed.write_document(&by_old);
    signed.host.run_once().with_code(6);
    let said = rotate(&signed, &arguments).with_code(0).out;
    assert!(said.contains("release 1 (sha256:") && said.contains("is signed with the new keys"), "{said}");
    assert!(said.contains("key policy 2"), "{said}");
    signed.host.run_once().with_code(0);
    let good = signed.read_document();
    let again = rotate(&signed, &arguments).with_code(0).out;
    assert!(again.contains("has enough signatures of the new keys"), "{again}");
    assert_eq!(signed.read_document(), good);
    assert!(!signed.host.path("store/shop/web/keys/3.json").exists());
}

#[test]
fn a_rotation_says_what_stands_in_the_channel() {
    let signed = Signed::new(&["old", "new", "other"]);
    signed.require("channel", 1, &["other"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "other"]).with_code(0);
    let strange = signed.read_document();
    fs::remove_file(signed.document()).unwrap();
    signed.require("channel", 1, &["old"]);
    // Without a release, only the policy is published.
    let arguments = ["--public-key", "new.pub", "--key", "old", "--key", "new"];
    let said = rotate(&signed, &arguments).with_code(0).out;
    assert!(said.contains("nothing has been released yet"), "{said}");
    assert!(!signed.document().exists());
    // A release that hosts did not follow before gets no signature.
    signed.write_document(&strange);
    let refused = rotate(&signed, &arguments).with_code(6).err;
    assert!(refused.contains("is not signed again, because hosts did not follow it before"), "{refused}");
    assert!(refused.contains("key policy 2 is published: "), "this much is done: {refused}");
    assert_eq!(signed.read_document(), strange);
    // With `--keys-only` it is not read either.
    let said = rotate(&signed, &[&arguments[..], &["--keys-only"]].concat()).with_code(0).out;
    assert!(said.contains("is left as it is"), "{said}");
    assert_eq!(signed.read_document(), strange);
    // Signatures do not restore a deleted bundle.
    fs::remove_file(signed.document()).unwrap();
    signed.release(&revision, &["--key", "new"]).with_code(0);
    fs::remove_file(signed.host.path(format!("store/revisions/{}", revision.trim_start_matches("sha256:")))).unwrap();
    let warned = rotate(&signed, &arguments).with_code(0).err;
    assert!(warned.contains("the bundle of release 1") && warned.contains("is gone"), "{warned}");
}

/// A host that was led to the highest sequence number, as by an older agent without a bound.
#[test]
fn new_keys_are_the_way_back_from_a_sequence_that_was_run_ahead() {
    let signed = Signed::new(&["old", "new"]);
    signed.require("channel", 1, &["old"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).with_code(0);
    let first = signed.read_document();
    signed.write_bundle("v2");
    let second = signed.host.push("v2");
    // A new host has no sequence number to compare with.
    fs::remove_file(signed.document()).unwrap();
    signed.release(&second, &["--key", "old", "--sequence-above", "9007199254740990"]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
    let end = signed.release(&revision, &["--key", "old"]).with_code(3).err;
    assert!(end.contains("no sequence is above 9007199254740991") && end.contains("rotate-keys"), "{end}");
    signed.write_document(&first);
    let refused = signed.host.run_once().with_code(6).err;
    assert!(refused.contains("no sequence is above that: let sequences begin anew: with new keys"), "{refused}");
    rotate(&signed, &["--public-key", "new.pub", "--key", "old", "--key", "new"]).with_code(0);
    signed.host.run_once().with_code(6);
    signed.release(&revision, &["--key", "new"]).with_code(0);
    let by_new = signed.read_document();
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert_eq!(signed.status()["highest_sequence"], 2);
    // A release from before the rotation is not accepted again, even with a signature of a kept key.
    signed.write_document(&first);
    rotate(&signed, &["--public-key", "new.pub", "--key", "old", "--key", "new"]).with_code(0);
    let refused = signed.host.run_once().with_code(6).err;
    assert!(refused.contains("made under key policy 1, and a release of key policy 2 was accepted"), "{refused}");
    signed.write_document(&by_new);
    signed.host.run_once().with_code(0);
}

#[test]
fn a_policy_needs_the_old_and_the_new_keys_and_is_never_replaced() {
    let signed = rotated();
    for keys in [&["--key", "newer"][..], &["--key", "new"], &["--key", "old", "--key", "newer"]] {
        let output = rotate(&signed, &[&["--public-key", "newer.pub"][..], keys].concat()).with_code(6);
        assert!(output.err.contains("do not stand for the key policy"), "{}", output.err);
    }
    assert!(!signed.host.path("store/shop/web/keys/3.json").exists());
    signed.require_nothing();
    let output = rotate(&signed, &["--public-key", "newer.pub", "--key", "newer"]).with_code(3);
    assert!(output.err.contains("no keys are configured here"), "{}", output.err);
}

#[test]
fn whoever_takes_the_policy_out_of_the_store_does_not_bring_the_old_key_back() {
    let signed = rotated();
    release_v2(&signed, "new").with_code(0);
    signed.host.run_once().with_code(0);
    fs::remove_file(signed.host.path("store/shop/web/keys/2.json")).unwrap();
    // Published under the old key, as a writer of the store alone would do.
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "old"]).with_code(0);
    let output = signed.host.run_once().with_code(6);
    assert!(output.err.contains("by keys that are not among them"), "{}", output.err);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
}

#[test]
fn a_policy_that_the_keys_do_not_stand_for_changes_nothing() {
    let signed = rotated();
    // A user with write access to the store puts a next step there.
    let stolen = fs::read(signed.host.path("store/shop/web/keys/2.json")).unwrap();
    fs::write(signed.host.path("store/shop/web/keys/3.json"), stolen).unwrap();
    release_v2(&signed, "new").with_code(0);
    let output = signed.host.run_once().with_code(0);
    assert!(output.err.contains("3.json is not followed"), "{}", output.err);
    assert_eq!(signed.status()["key_policy"], 2);
}

/// The operator's configuration on the host wins, but not below the versions that the host has seen.
#[test]
fn a_changed_configuration_begins_the_chain_anew_and_never_below() {
    let signed = rotated();
    release_v2(&signed, "new").with_code(0);
    signed.host.run_once().with_code(0);
    signed.require("channel", 1, &["newer"]);
    let output = signed.host.run_once().with_code(6);
    assert!(output.err.contains("key policy 2 was accepted before"), "{}", output.err);
    let text = format!("signatures: {{channel: {{version: 3, keys: [{}]}}}}\n", signed.line("newer"));
    signed.host.write("root/etc/hostler/config.yaml", text);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "newer"]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
}
