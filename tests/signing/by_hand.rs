use super::*;
use crate::support::host::{Bundle, Host as DaemonHost};

#[test]
fn deployments_by_hand_need_a_signed_release_where_the_configuration_says_so() {
    let signed = Signed::new(&["ci", "other"]);
    let host = &signed.host;
    let revision = host.push("v1");
    let bundle = format!("store/revisions/{}", revision.trim_start_matches("sha256:"));
    signed.release(&revision, &["--key", "ci"]).with_code(0);
    signed.require("cli", 1, &["ci"]);
    let deploy = |arguments: &[&str]| host.hostler_for_group(&[&["deploy"][..], arguments].concat());
    for what in ["v1", bundle.as_str()] {
        let output = deploy(&[what]).with_code(6);
        assert!(output.err.contains("must be signed on this host"), "{}", output.err);
        assert!(output.err.contains("hint: give the bundle's release document with --release FILE"));
        assert_eq!(signed.serves(), None);
    }
    let directory = deploy(&["v1", "--release", "store/shop/web/release.json"]).with_code(2);
    assert!(directory.err.contains("a directory has no digest"), "{}", directory.err);
    // Another bundle of the same size with the good release.
    let mut other = fs::read(host.path(&bundle)).unwrap();
    *other.last_mut().unwrap() ^= 1;
    host.write("other.tgz", other);
    let swapped = deploy(&["other.tgz", "--release", "store/shop/web/release.json"]).with_code(6);
    assert!(swapped.out.contains("is not what the release says"), "{}{}", swapped.out, swapped.err);
    assert_eq!(signed.serves(), None);
    deploy(&[&bundle, "--release", "store/shop/web/release.json"]).with_code(0);
    assert_eq!(signed.serves().as_deref(), Some("v1"));
    assert!(signed.status()["signature"]["verified"]["key_ids"][0].is_string());
    // Another group's release, and a release signed by another key.
    let elsewhere =
        ["deploy", &bundle, "--release", "store/shop/web/release.json", "--application", "shop", "--group", "db"];
    let output = host.hostler(&elsewhere).with_code(6);
    assert!(output.err.contains("is for shop/web"), "{}", output.err);
    signed.require("cli", 1, &["other"]);
    deploy(&[&bundle, "--release", "store/shop/web/release.json"]).with_code(6);
}

#[test]
fn what_came_unsigned_before_signatures_were_asked_for_can_be_removed() {
    let signed = Signed::new(&["ci"]);
    signed.host.hostler_for_group(&["deploy", "v1"]).ends(0);
    signed.require("cli", 1, &["ci"]);
    signed.host.hostler_for_group(&["deploy", "v1"]).ends(6);
    signed.host.hostler_for_group(&["remove"]).ends(0);
    assert_eq!(signed.serves(), None);
}

#[test]
fn the_daemon_judges_what_is_handed_in_through_its_door() {
    let keys = Signed::new(&["ci"]);
    let host = DaemonHost::new();
    host.configure(&format!("signatures: {{cli: {{keys: [{}]}}}}\n", keys.line("ci")));
    let daemon = host.daemon(&[]);
    let bundle = Bundle::new(&host, "v1").app().write();
    host.deploy(&bundle, &[]).with_code(6).saying(&["must be signed on this host"]);
    // A command line with another configuration changes nothing: the daemon's counts.
    let lax = host.path("lax.yaml");
    fs::write(&lax, "poll: 60s\n").unwrap();
    host.deploy(&bundle, &["--config", lax.to_str().unwrap()]).with_code(6);
    assert!(!host.at("srv/app/version").exists());
    daemon.kill();
}
