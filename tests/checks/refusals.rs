//! Invalid input and invalid places: refused with the matching exit code and a message that says what and where,
//! without any change to the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{SCRIPT, good_for_anybody};
use crate::support::golden;
use crate::support::host::{Ended, GROUP, Host, tree_with_times};
use crate::support::skip;

/// A host with a bundle that any user can deploy.
fn host() -> Host {
    let host = Host::new();
    let files =
        [("appspec.yml", good_for_anybody()), ("hooks/after.sh", SCRIPT.into()), ("site/index.html", "1\n".into())];
    files.iter().for_each(|(name, content)| drop(host.write(PathBuf::from("good").join(name), content)));
    host
}

fn refused(host: &Host, name: &str, code: i32, output: Ended) {
    let output = output.with_code(code);
    golden(&format!("refusals/{name}.txt"), &host.plain(&format!("{}{}", output.out, output.err)));
}

/// Only the agent's own state is on the host.
fn untouched(host: &Host) {
    let made =
        tree_with_times(&host.root()).into_keys().filter(|path| !path.starts_with("var") && !path.starts_with("run"));
    assert_eq!(made.filter(|path| path.as_os_str() != "").collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

fn release_document(host: &Host) -> PathBuf {
    let revision = host.push("good");
    let released = host.hostler_for_group(&["release", "store", &revision, "--json"]).with_code(0).json();
    released["location"].as_str().unwrap().trim_start_matches("file://").into()
}

#[test]
fn a_bundle_that_cannot_be_pushed() {
    let host = host();
    host.bundle("empty", &[("readme.txt", "no appspec")]);
    refused(&host, "push-without-appspec", 1, host.hostler(&["push", "empty", "store"]));
    refused(&host, "push-absent", 5, host.hostler(&["push", "absent", "store"]));
    refused(&host, "push-file", 1, host.hostler(&["push", "good/appspec.yml", "store"]));
    refused(&host, "push-store-missing", 5, host.hostler(&["push", "good", "nowhere"]));
    refused(&host, "push-store-is-file", 1, host.hostler(&["push", "good", "good/appspec.yml"]));
    refused(&host, "push-store-unknown-kind", 2, host.hostler(&["push", "good", "s4://bucket/prefix"]));
    for forgotten in ["s3:/my-bucket/deploy", "my-bucket/deploy"] {
        let hint = "correct the name of the store; for a bucket write s3://my-bucket/deploy";
        host.hostler(&["push", "good", forgotten]).with_code(5).saying(&[hint]);
    }
    assert_eq!(tree_with_times(&host.path("store")).len(), 1, "{:?}", tree_with_times(&host.path("store")));
}

#[test]
fn an_address_of_a_bundle_that_is_none() {
    let host = host();
    for verb in ["deploy", "plan"] {
        host.hostler(&[verb, "s3://my-bucket"]).with_code(2).saying(&["no object in it; write s3://BUCKET/KEY"]);
        host.hostler(&[verb, "s3:/my-bucket/x.zip"]).with_code(5).saying(&["write s3://my-bucket/x.zip"]);
    }
    let channel = ["--channel", "s3://My_Bucket/x", "--application", "a", "--group", "g"];
    host.hostler(&[&["run", "--once"][..], &channel].concat()).with_code(2).saying(&["no valid bucket name"]);
    untouched(&host);
}

#[test]
fn a_store_that_cannot_be_written() {
    if !nix::unistd::geteuid().is_root() {
        skip("becoming another user needs root");
        return;
    }
    let host = host();
    refused(&host, "push-store-not-writable", 1, host.hostler_as_nobody(&["push", "good", "store"]));
    assert_eq!(tree_with_times(&host.path("store")).len(), 1, "{:?}", tree_with_times(&host.path("store")));
    let revision = host.push("good");
    let again = host.hostler_as_nobody(&["push", "good", "store"]);
    // A bundle that is already there needs no writing; if it is refused, then for the permission.
    assert!(again.code == Some(0) && again.out.trim() == revision || again.err.contains("ermission"), "{again:?}");
}

#[test]
fn a_revision_whose_bytes_are_others() {
    let host = host();
    let revision = host.push("good");
    host.release_revision(&revision);
    let stored = host.path("store/revisions").join(revision.trim_start_matches("sha256:"));
    let mut bytes = fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&stored, &bytes).unwrap();
    let output = host.run_once().with_code(6);
    let found = hostler_core::ids::Sha256Digest::of(&bytes);
    for digest in [revision.as_str(), &found.to_string()] {
        assert!(output.out.contains(digest), "no word of {digest}: {}", output.out);
    }
    untouched(&host);
    // Cut short: the size is wrong before the digest is known.
    fs::write(&stored, &bytes[..middle]).unwrap();
    host.hostler_for_group(&["resume"]).with_code(0);
    host.run_once().with_code(6);
    untouched(&host);
    // Deleted.
    fs::remove_file(&stored).unwrap();
    host.hostler_for_group(&["resume"]).with_code(0);
    let output = host.run_once().with_code(5);
    assert!(output.out.contains(revision.trim_start_matches("sha256:")), "{}", output.out);
    untouched(&host);
}

#[test]
fn a_configuration_with_an_unknown_key() {
    let host = host();
    host.write(
        "root/etc/hostler/config.yaml",
        "groups:\n  - application: shop\n    group: web\n    chanel: /srv/store\n",
    );
    refused(&host, "configuration-unknown-key", 2, host.hostler(&["run", "--once"]));
    // Verbs that only read still work; `status` says what keeps a daemon from running.
    let why = "error: no daemon runs: the configuration is wrong";
    host.hostler(&["status"]).with_code(1).saying(&["nothing is deployed on this host", why]);
    refused(&host, "configuration-absent", 2, host.hostler(&["run", "--once", "--config", "absent.yaml"]));
    host.write("root/etc/hostler/config.yaml", "groups: [\n");
    refused(&host, "configuration-syntax", 2, host.hostler(&["run", "--once"]));
    assert!(!host.path("root/var").exists(), "nothing is made for a wrong configuration");
}

#[test]
fn a_release_of_a_revision_that_is_not_there() {
    let host = host();
    let absent = format!("sha256:{}", "0".repeat(64));
    refused(&host, "release-absent", 5, host.hostler_for_group(&["release", "store", &absent]));
    refused(&host, "release-absent-prefix", 5, host.hostler_for_group(&["release", "store", "sha256:0000000"]));
    refused(&host, "release-not-a-revision", 2, host.hostler_for_group(&["release", "store", "main"]));
    refused(&host, "release-without-group", 2, host.hostler(&["release", "store", &absent]));
    for end in ["a", "b"] {
        host.write(PathBuf::from("store/revisions").join(format!("{}{end}", "2".repeat(63))), "");
    }
    let output = host.hostler_for_group(&["release", "store", "2222222"]).with_code(2);
    assert!(output.err.contains("several revisions begin with 2222222"), "{}", output.err);
    refused(&host, "release-short-prefix", 2, host.hostler_for_group(&["release", "store", "222222"]));
    // A file that is not a bundle.
    let digest = "1".repeat(64);
    host.write(PathBuf::from("store/revisions").join(&digest), "no bundle");
    refused(&host, "release-no-bundle", 6, host.hostler_for_group(&["release", "store", &digest]));
}

#[test]
fn a_release_document_that_is_wrong() {
    let host = host();
    let path = release_document(&host);
    let good = fs::read_to_string(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for (name, text) in [("cut", &good[..good.len() - 9]), ("other-json", "{\"version\": 1}"), ("text", "hello\n")] {
        fs::write(&path, text).unwrap();
        refused(&host, &format!("document-{name}"), 1, host.run_once());
        // The publisher must not overwrite it silently either.
        let revision = host.push("good");
        host.hostler_for_group(&["release", "store", &revision]).with_code(1);
    }
    untouched(&host);
    fs::write(&path, &good).unwrap();
    host.run_once().with_code(0);
}

#[test]
fn a_release_for_another_group() {
    let host = host();
    let path = release_document(&host);
    let other = path.display().to_string().replace("/web/", "/batch/");
    assert_ne!(other, path.display().to_string(), "the group is part of the key");
    fs::create_dir_all(PathBuf::from(&other).parent().unwrap()).unwrap();
    fs::copy(&path, &other).unwrap();
    let group = ["--application", "shop", "--group", "batch", "--channel", "store", "--instance-id", "i-test"];
    refused(&host, "document-other-group", 6, host.hostler(&[&["run", "--once"], &group[..]].concat()));
    untouched(&host);
}

#[test]
fn a_channel_that_goes_back() {
    let host = host();
    let path = release_document(&host);
    let first = fs::read(&path).unwrap();
    host.write("good/site/index.html", "2\n");
    release_document(&host);
    host.run_once().with_code(0);
    let before = tree_with_times(&host.path("root/srv"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, &first).unwrap();
    refused(&host, "document-older", 6, host.run_once());
    // The same number with other content.
    let revision = host.push("good");
    host.hostler_for_group(&["release", "store", &revision, "-b", "retain"]).with_code(0);
    let output = host.run_once().with_code(6);
    assert!(output.err.contains("sequence 2 like the one accepted before, and other content"), "{}", output.err);
    assert_eq!(tree_with_times(&host.path("root/srv")), before);
}

#[test]
fn every_exit_code() {
    let host = host();
    let revision = host.push("good");
    // 5: nothing is released yet.
    refused(&host, "channel-empty", 5, host.run_once());
    host.release_revision(&revision);
    host.run_once().with_code(0);
    // 1: a hook fails, and the deployment is rolled back.
    host.write("good/hooks/after.sh", "#!/bin/sh\necho no luck\nexit 3\n");
    host.release_revision(&host.push("good"));
    let output = host.run_once().with_code(1);
    assert!(output.out.contains("no luck"), "{}", output.out);
    // 3: the agent does not retry by itself, and this pass has deployed nothing.
    host.run_once().with_code(3);
    // 3: by hand, and the channel is held.
    host.write("good/hooks/after.sh", SCRIPT);
    host.write("good/site/index.html", "the next\n");
    host.release_revision(&host.push("good"));
    host.run_once().with_code(0);
    host.hostler_for_group(&["rollback"]).with_code(0);
    host.run_once().with_code(3);
    // 4: another process has the state.
    let lock = fs::File::options().write(true).open(host.path("root/var/lib/hostler/lock")).unwrap();
    lock.lock().unwrap();
    let output = host.run_once().with_code(4);
    assert!(output.err.contains("lock"), "{}", output.err);
    drop(lock);
    // 2: the command line.
    for wrong in
        [&["deploi"][..], &["run", "--pol", "5m"], &["run", "--poll", "often"], &["status", "--group", "a b"], &[]]
    {
        host.hostler(wrong).with_code(2);
    }
    host.hostler(&["run", "--once", "--channel", "store"]).with_code(2);
    // 5: no such deployment.
    host.hostler(&["logs", "d-AAAAAAAAA"]).with_code(5);
    host.hostler(&[&["rollback", "--to", "d-AAAAAAAAA"], &GROUP[..]].concat()).with_code(5);
    // 6 and the rest: the other tests here.
}
