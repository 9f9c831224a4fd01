//! `hostler plan`: the effects of a deployment, without any change.

use std::fs;
use std::os::unix::fs::symlink;

use super::{SCRIPT, good_for_anybody, host_with_good};
use crate::support::golden;
use crate::support::host::{GROUP, Host, root_or_skip, tree_with_times};

/// Plans a bundle for the group, compares the text with the golden one, proves that nothing changed, and returns the
/// exit code.
fn planned(host: &Host, name: &str, arguments: &[&str]) -> Option<i32> {
    let before = tree_with_times(&host.path(""));
    let output = host.hostler(&[&["plan"], arguments, &GROUP].concat());
    golden(&format!("plan/{name}.txt"), &host.plain(&format!("{}{}", output.out, output.err)));
    let json = host.hostler(&[&["plan", "--json"], arguments, &GROUP].concat());
    assert_eq!(json.code, output.code);
    if !json.out.is_empty() {
        let document = json.json();
        assert_eq!(document["version"], 1);
        assert_eq!(document["deployable"].as_bool(), Some(output.code == Some(0)));
    }
    let after = tree_with_times(&host.path(""));
    // The directory for temporary files is as empty as before.
    let changed: Vec<_> =
        before.iter().filter(|(path, was)| !path.ends_with("tmp") && after.get(*path) != Some(*was)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    output.code
}

fn deploy(host: &Host, bundle: &str) {
    let revision = host.push(bundle);
    host.release_revision(&revision);
    host.run_once().with_code(0);
}

#[test]
fn a_first_deployment() {
    if !root_or_skip("a script that runs as root") {
        return;
    }
    let host = host_with_good();
    assert_eq!(planned(&host, "first", &["good"]), Some(0));
    let json = host.hostler(&["plan", "good", "--json"]).with_code(0).out;
    golden("plan/first.json", &host.plain(&json));
}

#[test]
fn a_root_that_does_not_exist_is_an_empty_host() {
    if !root_or_skip("a script that runs as root") {
        return;
    }
    let host = host_with_good();
    fs::remove_dir(host.path("root")).unwrap();
    assert_eq!(planned(&host, "first", &["good"]), Some(0));
    assert!(!host.path("root").exists());
}

#[test]
fn every_change_of_a_second_deployment() {
    let host = Host::new();
    let appspec = "\
version: 0.0
os: linux
files:
  - source: site
    destination: /srv/site
hooks:
  ApplicationStop:
    - location: hooks/stop.sh
      timeout: 10
  ApplicationStart:
    - location: hooks/start.sh
      timeout: 20
    - location: hooks/start.sh
";
    let files =
        [("appspec.yml", appspec), ("hooks/stop.sh", SCRIPT), ("hooks/start.sh", SCRIPT), ("site/same.txt", "same\n")];
    host.bundle("one", &[&files[..], &[("site/old/gone.txt", "gone\n"), ("site/new.txt", "1\n")]].concat());
    host.bundle("two", &[&files[..], &[("site/more.txt", "more\n"), ("site/new.txt", "2\n")]].concat());
    deploy(&host, "one");
    assert_eq!(planned(&host, "second", &["two"]), Some(0));
    // Without the clean-up, old files are kept.
    host.write("config.yaml", "groups:\n  - application: shop\n    group: web\n    cleanup: false\n");
    assert_eq!(planned(&host, "second-without-cleanup", &["two", "--config", "config.yaml"]), Some(0));
    // A foreign file in a directory that would be removed.
    host.write("root/srv/site/old/foreign.txt", "foreign\n");
    assert_eq!(planned(&host, "second-with-foreign-file", &["two"]), Some(0));
}

#[test]
fn files_that_are_there_already() {
    if !root_or_skip("a script that runs as root") {
        return;
    }
    let host = host_with_good();
    host.write("root/srv/site/index.html", "somebody's\n");
    assert_eq!(planned(&host, "conflict-disallow", &["good"]), Some(1));
    assert_eq!(planned(&host, "conflict-overwrite", &["good", "-b", "overwrite"]), Some(0));
    assert_eq!(planned(&host, "conflict-retain", &["good", "-b", "RETAIN"]), Some(0));
    let recheck = format!("{}hostler:\n  install:\n    recheck_after: BeforeInstall\n", super::GOOD);
    host.bundle("good", &[("appspec.yml", &recheck)]);
    assert_eq!(planned(&host, "conflict-checked-again", &["good"]), Some(0));
}

#[test]
fn facts_of_the_bundle_come_before_facts_of_the_host() {
    let host = Host::new();
    let appspec = "\
version: 0.0
os: linux
files:
  - source: a
    destination: /srv
  - source: b
    destination: /srv
";
    host.bundle("bad", &[("appspec.yml", appspec), ("a/x", "1"), ("b/x", "2")]);
    host.write("root/srv/x", "3");
    assert_eq!(planned(&host, "bundle-facts", &["bad"]), Some(1));
    fs::remove_file(host.path("bad/b/x")).unwrap();
    host.bundle("bad", &[("b/y", "2")]);
    fs::create_dir(host.path("root/srv/y")).unwrap();
    let with_owner = format!("{appspec}permissions:\n  - object: /srv\n    owner: nobody-knows-them\n");
    host.bundle("bad", &[("appspec.yml", &with_owner)]);
    assert_eq!(planned(&host, "host-facts", &["bad"]), Some(1));
    fs::write(host.path("bad/appspec.yml"), "version: 0.0\nos: linux\nfiles: nothing\n").unwrap();
    assert_eq!(planned(&host, "unreadable-appspec", &["bad"]), Some(1));
    assert_eq!(planned(&host, "no-bundle", &["root"]), Some(1));
}

#[test]
fn links_of_the_host_stay_links() {
    let host = Host::new();
    host.bundle(
        "good",
        &[("appspec.yml", &good_for_anybody()), ("hooks/after.sh", SCRIPT), ("site/index.html", "1\n")],
    );
    host.bundle("good", &[("site/deep/page.html", "2\n")]);
    // A link to a directory above or at a destination is followed and stays.
    fs::create_dir_all(host.path("root/data/site")).unwrap();
    symlink("data", host.path("root/srv")).unwrap();
    assert_eq!(planned(&host, "link-above", &["good"]), Some(0));
    deploy(&host, "good");
    assert_eq!(fs::read_link(host.path("root/srv")).unwrap().to_str(), Some("data"));
    assert_eq!(fs::read_to_string(host.path("root/data/site/deep/page.html")).unwrap(), "2\n");
    // Below a destination, links are not followed.
    let other = Host::new();
    other.bundle(
        "good",
        &[("appspec.yml", &good_for_anybody()), ("hooks/after.sh", SCRIPT), ("site/deep/page.html", "2\n")],
    );
    fs::create_dir_all(other.path("root/srv/site")).unwrap();
    fs::create_dir_all(other.path("root/elsewhere")).unwrap();
    symlink("/elsewhere", other.path("root/srv/site/deep")).unwrap();
    assert_eq!(planned(&other, "link-below", &["good"]), Some(1));
    assert_eq!(tree_with_times(&other.path("root/elsewhere")).len(), 1);
}

#[test]
fn links_of_the_bundle_are_put_as_links() {
    if !root_or_skip("a script that runs as root") {
        return;
    }
    let host = host_with_good();
    symlink("deep", host.path("good/site/current")).unwrap();
    host.bundle("good", &[("site/deep/page.html", "2\n")]);
    assert_eq!(planned(&host, "links-of-the-bundle", &["good"]), Some(0));
}
