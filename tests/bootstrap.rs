//! The ways in which a host comes to hostler by itself, on booted hosts: user data and an image. `packaging/check-bootstrap` runs
//! the user data under cloud-init, and the Ansible role by ansible-pull.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use crate::support::eventually;
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{Kind, Packages, main_pid, state};

const CONFIGURATION: &str =
    "groups:\n  - application: web\n    group: production\n    channel: file:///srv/channel\n    poll: 1s\n";

#[test]
fn user_data_installs_and_starts_and_a_second_run_changes_nothing() {
    let Some(host) = host("userdata") else { return };
    // The package comes from the network in the shipped file.
    let script = with(&shipped("user-data/install.sh"), "s3://my-bucket/deploy", "file:///srv/channel");
    let script = with(&script, "s3://my-bucket/packages/hostler_0.1.0-1_amd64.deb", "s3://my-bucket/hostler_0.0.1.deb");
    put(&host, &script, "/root/user-data");
    // Only the AWS CLI's part is a double: it copies a file, and notes that it did.
    put(&host, "#!/bin/sh\necho \"$*\" >> /root/aws.log\ncp /root/hostler.deb \"$5\"\n", "/usr/local/bin/aws");

    let first = host.sh("sh /root/user-data 2>&1");
    assert!(first.contains("hostler user data: hostler runs"), "{first}");
    assert_eq!(state(&host, "hostler"), "active");
    assert_eq!(host.sh("systemctl is-enabled hostler"), "enabled");
    assert_eq!(host.sh(&access("50-user-data")), "640 root:hostler");
    let (daemon, written) = (main_pid(&host), host.sh("stat -c %Z /etc/hostler/config.d/50-user-data.yaml"));

    host.sh("sh /root/user-data");
    assert_eq!(main_pid(&host), daemon, "the daemon was not started again");
    assert_eq!(host.sh("stat -c %Z /etc/hostler/config.d/50-user-data.yaml"), written);
    assert_eq!(host.sh("wc -l < /root/aws.log"), "1", "the package was not fetched again");

    put(&host, &with(&script, "group: production", "gruop: production"), "/root/user-data");
    let refused = host.try_sh("sh /root/user-data").unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("hostler user data: failed with exit code 1"), "{}", text(&refused));
    assert_eq!(host.sh("stat -c %Z /etc/hostler/config.d/50-user-data.yaml"), written, "the good file stays");
    assert_eq!(main_pid(&host), daemon);
}

#[test]
fn the_image_script_deploys_and_seals_and_an_instance_of_the_image_deploys_again() {
    let Some(mut host) = host("image") else { return };
    put(&host, CONFIGURATION, "/root/config.yaml");
    host.copy_in(&top().join("packaging/image/install.sh"), "/root/install.sh");
    host.copy_in(&top().join("hooks-examples/hello"), "/root/hello");
    // The release is there before the host has hostler, as it is for a real image.
    host.copy_in(Path::new(env!("CARGO_BIN_EXE_hostler")), "/root/publisher");
    host.sh("/root/publisher push /root/hello /srv/channel > /root/revision");
    host.sh(
        "/root/publisher release /srv/channel \"$(tail -n 1 /root/revision)\" --application web --group production",
    );

    let said = host.sh("HOSTLER_DEPLOY=1 sh /root/install.sh /root/hostler.deb /root/config.yaml 2>&1");
    assert!(said.contains("ApplicationStart     succeeded"), "{said}");
    assert_eq!(state(&host, "hostler"), "inactive", "a running agent cannot be sealed");
    assert_eq!(host.sh(&access("50-image")), "640 root:hostler");
    assert_eq!(host.sh("ls /srv/hello"), "about.html\ndoc\nindex.html");
    assert_eq!(host.sh("ls /var/lib/hostler/history.ndjson 2>/dev/null || true"), "", "the instance is forgotten");

    host.power_cut();
    host.start_again();
    eventually("an instance of the image deploys", Duration::from_secs(30), || {
        let history = text(&host.try_sh("hostler history")?);
        let deployed = history.lines().filter(|line| line.contains("web/production") && line.contains("succeeded"));
        if deployed.count() == 1 { Ok(()) } else { Err(history) }
    });
}

/// A host with a package at `/root/hostler.deb` and an empty store at `/srv/channel`.
fn host(name: &str) -> Option<Machine> {
    let host = Packages::build(Kind::Deb, &["hostler"])?.host(name, Layout::Unified)?;
    host.sh("mkdir -p /srv/channel");
    Some(host)
}

/// Prints who may read a configuration file.
fn access(name: &str) -> String {
    format!("stat -c '%a %U:%G' /etc/hostler/config.d/{name}.yaml")
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped(path: &str) -> String {
    fs::read_to_string(top().join("packaging").join(path)).unwrap()
}

/// The text with a value of this test in the place of one that a reader replaces.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

fn put(host: &Machine, text: &str, path: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    host.copy_in(file.path(), path);
    host.sh(&format!("chmod 755 {path}"));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
