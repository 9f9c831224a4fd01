use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_host_follows_what_the_configured_key_signed_and_shows_who_it_was() {
    let signed = Signed::new(&["ci"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    let said = signed.release(&revision, &["--key", "ci"]).with_code(0).out;
    let made = signed.host.hostler(&["validate", "store/shop/web/release.json", "--json"]).with_code(0).json();
    let id = made["signatures"]["good"][0].as_str().unwrap().to_owned();
    assert!(said.contains(&format!(", signed by {}", short(&id))), "{said}");
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert_eq!(signed.status()["signature"]["verified"]["key_ids"][0], id.as_str());
    let status = signed.host.hostler(&["status"]).with_code(0).out;
    assert!(status.contains(&format!(", signed by {}", short(&id))), "{status}");
    let history = signed.host.hostler(&["history", "--json"]).with_code(0).out;
    assert!(history.contains(&format!(r#""signature":{{"verified":{{"key_ids":["{id}"]}}}}"#)), "{history}");
}

#[test]
fn without_keys_unsigned_is_followed_and_shown() {
    let signed = Signed::new(&["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &[]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.status()["signature"], "unsigned");
    assert!(signed.host.hostler(&["status"]).with_code(0).out.contains(", unsigned"));
    assert!(signed.host.hostler(&["history", "--json"]).with_code(0).out.contains(r#""signature":"unsigned""#));
    // Signatures that cannot be verified do not help, and the message says so.
    signed.write_bundle("v2");
    let revision = signed.host.push("v2");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    signed.host.run_once().with_code(0);
    let status = signed.host.hostler(&["status"]).with_code(0).out;
    assert!(status.contains("not verified: no keys are configured"), "{status}");
}

/// Each of these must leave the host unchanged, with exit code 6 or 1 and the reason.
#[test]
fn nothing_that_was_tampered_with_is_followed() {
    let signed = Signed::new(&["ci", "other"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let good = signed.read_document();
    let refused = |code: i32, words: &str| {
        let output = signed.host.run_once().with_code(code);
        assert!(output.err.contains(words), "{words}: {}", output.err);
        assert_eq!(signed.serves(), None);
    };
    let mut document = good.clone();
    document["signatures"] = serde_json::json!([]);
    signed.write_document(&document);
    refused(6, "it is not signed, and 1 of 1 keys must sign");
    // Wrong key: the same release, signed by another key.
    signed.require_nothing();
    fs::remove_file(signed.document()).unwrap();
    signed.release(&revision, &["--key", "other"]).with_code(0);
    signed.require("channel", 1, &["ci"]);
    refused(6, "by keys that are not among them");
    let others = signed.read_document();
    // The other key's signature under this key's name.
    document = others;
    document["signatures"][0]["keyid"] = good["signatures"][0]["keyid"].clone();
    signed.write_document(&document);
    refused(6, "does not match what is signed");
    // Another payload under the good signature.
    document = good.clone();
    document["payload"] = change(&good, "\"sequence\":1", "\"sequence\":2").into();
    signed.write_document(&document);
    refused(6, "does not match what is signed");
    // Wrong domain: the signature of a document of another type.
    document = good.clone();
    document["payloadType"] = "application/vnd.hostler.keys+json".into();
    signed.write_document(&document);
    refused(1, "payloadType");
    // A key twice in the document itself.
    let text = good.to_string();
    fs::write(signed.document(), text.replacen("{\"payload\"", "{\"signatures\":[],\"payload\"", 1)).unwrap();
    refused(1, "comes twice");
    // In its original form it is followed.
    signed.write_document(&good);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
}

/// The document's payload with one text replaced by another, of any length.
fn change(document: &Value, from: &str, to: &str) -> String {
    let payload = data_encoding::BASE64.decode(document["payload"].as_str().unwrap().as_bytes()).unwrap();
    let text = String::from_utf8(payload).unwrap();
    assert!(text.contains(from), "{text}");
    data_encoding::BASE64.encode(text.replace(from, to).as_bytes())
}

#[test]
fn a_bundle_that_was_swapped_or_cut_off_is_not_unpacked() {
    let signed = Signed::new(&["ci"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let object = signed.host.path(format!("store/revisions/{}", revision.trim_start_matches("sha256:")));
    let good = fs::read(&object).unwrap();
    let mut swapped = good.clone();
    *swapped.last_mut().unwrap() ^= 1;
    for bad in [&swapped[..], &good[..good.len() - 1]] {
        fs::write(&object, bad).unwrap();
        signed.host.run_once().with_code(6);
        assert_eq!(signed.serves(), None);
        signed.host.hostler_for_group(&["resume"]).with_code(0);
    }
    fs::write(&object, good).unwrap();
    signed.host.run_once().with_code(0);
}

#[test]
fn an_older_or_expired_release_is_refused_and_a_floor_guards_fresh_hosts() {
    let signed = Signed::new(&["ci"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let first = signed.read_document();
    signed.write_bundle("v2");
    let second = signed.host.push("v2");
    signed.release(&second, &["--key", "ci"]).with_code(0);
    signed.host.run_once().with_code(0);
    signed.write_document(&first);
    let output = signed.host.run_once().with_code(6);
    assert!(output.err.contains("the release has sequence 1, and 2 was seen already"), "{}", output.err);
    assert_eq!(signed.serves().as_deref(), Some("v2"));
    // A host without history accepts an old release that has not expired, unless it has a floor.
    for directory in ["root/var", "root/srv"] {
        fs::remove_dir_all(signed.host.path(directory)).unwrap();
    }
    let config = signed.host.path("root/etc/hostler/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let store = signed.host.path("store").display().to_string();
    let floor = format!("groups: [{{application: shop, group: web, channel: {store}, minimum_sequence: 2}}]\n");
    fs::write(&config, format!("{text}{floor}")).unwrap();
    let output = signed.host.run_once().with_code(6);
    let floor = "the release has sequence 1, and minimum_sequence of this host's configuration is 2";
    assert!(output.err.contains(floor), "{}", output.err);
    // A rollback has a higher sequence number.
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert_eq!(signed.status()["highest_sequence"], 2);
}

#[test]
fn a_release_says_until_when_and_for_which_agents_it_is() {
    let signed = Signed::new(&["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci", "--expires-in", "30d"]).with_code(0);
    let payload = data_encoding::BASE64.decode(signed.read_document()["payload"].as_str().unwrap().as_bytes()).unwrap();
    let manifest: Value = serde_json::from_slice(&payload).unwrap();
    let time = |name: &str| manifest[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires").as_second() - time("created").as_second(), 30 * 86_400);
    signed.release(&revision, &["--minimum-agent-version", "999.0.0"]).with_code(0);
    let output = signed.host.run_once().with_code(1);
    assert!(output.err.contains("minimum_agent_version is 999.0.0"), "{}", output.err);
}

#[test]
fn keys_are_made_once_and_kept_private() {
    let signed = Signed::new(&["ci"]);
    let host = &signed.host;
    let again = host.hostler(&["keygen", "ci"]).with_code(1);
    assert!(again.err.contains("is not overwritten"), "{}", again.err);
    let made = host.hostler(&["keygen", "p256", "--algorithm", "ecdsa-p256", "--json"]).with_code(0).json();
    assert_eq!((made["algorithm"].as_str(), made["private_key_file"].as_str()), (Some("ECDSA P-256"), Some("p256")));
    assert_eq!(made["public_key"].as_str().unwrap(), signed.line("p256"));
    // The lines that it prints are valid configuration.
    let said = host.hostler(&["keygen", "third"]).with_code(0).out;
    let lines = said.split_once("signatures:").unwrap().1;
    host.write("printed.yaml", format!("signatures:{lines}"));
    host.hostler(&["validate", "printed.yaml"]).with_code(0);
    let revision = host.push("v1");
    fs::set_permissions(host.path("ci"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = signed.release(&revision, &["--key", "ci"]).with_code(2);
    assert!(open.err.contains("has mode 0644"), "{}", open.err);
    assert!(!signed.document().exists(), "nothing is published");
    let public = signed.release(&revision, &["--key", "ci.pub"]).with_code(2);
    assert!(public.err.contains("ci.pub"), "{}", public.err);
    signed.release(&revision, &["--key", "p256"]).with_code(0);
}

#[test]
fn what_no_host_would_follow_is_not_published() {
    let signed = Signed::new(&["ci", "other"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    for arguments in [&[][..], &["--key", "other"]] {
        let output = signed.release(&revision, arguments).with_code(6);
        assert!(output.err.contains("hosts would not follow this release"), "{}", output.err);
        assert!(output.err.contains("hint: sign it with --key"), "{}", output.err);
    }
    assert!(!signed.document().exists());
}

#[test]
fn a_rollback_never_leads_to_what_was_slipped_in() {
    let signed = Signed::new(&["ci"]);
    signed.write_bundle("evil");
    let evil = signed.host.push("evil");
    signed.release(&evil, &[]).with_code(0);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let manifest = || {
        let payload = signed.read_document()["payload"].as_str().unwrap().to_owned();
        serde_json::from_slice::<Value>(&data_encoding::BASE64.decode(payload.as_bytes()).unwrap()).unwrap()
    };
    assert_eq!((manifest()["sequence"].as_u64(), manifest().get("previous")), (Some(2), None));
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    assert_eq!(manifest().get("previous"), None, "it is the same revision");
    signed.write_bundle("v2");
    signed.release(&signed.host.push("v2"), &["--key", "ci"]).with_code(0);
    assert_eq!(manifest()["previous"]["sha256"], revision.as_str());
}

#[test]
fn validate_names_each_signature() {
    let signed = Signed::new(&["ci", "other"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let validate = |keys: &[&str]| {
        let flags: Vec<&str> = keys.iter().flat_map(|key| ["--public-key", key]).collect();
        signed.host.hostler(&[&["validate", "store/shop/web/release.json"][..], &flags].concat())
    };
    assert!(validate(&["ci.pub"]).with_code(0).out.contains("signed by sha256:"));
    let both = validate(&["ci.pub", "other.pub"]).with_code(1).out;
    assert!(both.contains("1 of the 2 signatures"), "{both}");
    let other = validate(&["other.pub"]).with_code(1).out;
    assert!(other.contains("signed by another key, not checked: sha256:"), "{other}");
    validate(&[]).with_code(0);
}

/// Hosts that require no signatures have no new keys to start over with.
#[test]
fn an_epoch_is_the_way_back_where_nothing_is_signed() {
    let signed = Signed::new(&[]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &[]).with_code(0);
    signed.host.run_once().with_code(0);
    let first = signed.read_document();
    let written = |sequence: u64| {
        let mut document = first.clone();
        document["payload"] = change(&first, "\"sequence\":1", &format!("\"sequence\":{sequence}")).into();
        signed.write_document(&document);
    };
    written(1_000_002);
    let refused = signed.host.run_once().with_code(6).err;
    assert!(refused.contains("more than 1000000 above 1, the highest that was accepted"), "{refused}");
    written(900_000);
    signed.host.run_once().with_code(0);
    signed.write_document(&first);
    let refused = signed.host.run_once().with_code(6).err;
    assert!(refused.contains("hostler release --sequence-above 900000"), "{refused}");
    let store = signed.host.path("store").display().to_string();
    let configure = |more: &str| {
        let group = format!("groups: [{{application: shop, group: web, channel: {store}{more}}}]\n");
        signed.host.write("root/etc/hostler/config.yaml", group);
    };
    configure(", sequence_epoch: 1");
    signed.write_bundle("v2");
    let second = signed.host.push("v2");
    signed.release(&second, &[]).with_code(0);
    signed.host.run_once().with_code(0);
    assert_eq!((signed.serves().as_deref(), signed.status()["highest_sequence"].as_u64()), (Some("v2"), Some(2)));
    signed.write_document(&first);
    signed.host.run_once().with_code(6);
}

#[test]
fn a_release_that_is_bound_to_its_store_is_not_followed_from_a_copy() {
    let signed = Signed::new(&["ci"]);
    signed.require("channel", 1, &["ci"]);
    let revision = signed.host.push("v1");
    signed.release(&revision, &["--key", "ci", "--bind-store"]).with_code(0);
    let (store, copy) = (signed.host.path("store"), signed.host.path("copy"));
    assert!(std::process::Command::new("cp").arg("-a").args([store, copy]).status().unwrap().success());
    let run = |store: &str| signed.host.hostler_for_group(&["run", "--once", "--channel", store]);
    let refused = run("copy").with_code(6).err;
    let names = [signed.host.path("store"), signed.host.path("copy")].map(|path| path.display().to_string());
    let said = format!("the release is bound to the store {}, and this host reads it from {}", names[0], names[1]);
    assert!(refused.contains(&said), "{refused}");
    assert_eq!(signed.serves(), None);
    run("store").with_code(0);
    // Every spelling names the same store.
    for spelled in ["store/", "./store", "copy/../store"] {
        let release = ["release", spelled, &revision, "--key", "ci", "--bind-store"];
        signed.host.hostler_for_group(&release).with_code(0);
        run("store/").with_code(0);
    }
    // A host may require it.
    let config = signed.host.path("root/etc/hostler/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}groups: [{{application: shop, group: web, require_store: true}}]\n")).unwrap();
    run("store").with_code(0);
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    let refused = run("store").with_code(6).err;
    assert!(refused.contains("bound to no store") && refused.contains("--bind-store"), "{refused}");
    // A signer never signs for another store than intended.
    signed.release(&revision, &["--bind-store", "--propose"]).with_code(0);
    fs::copy(signed.host.path("store/shop/web/proposed.json"), signed.host.path("copy/shop/web/proposed.json"))
        .unwrap();
    let refused = signed.host.hostler_for_group(&["sign", "copy", &revision, "--key", "ci"]).with_code(6).err;
    assert!(refused.contains("is bound to the store"), "{refused}");
}
