//! Shared storage: a hook turns a directory of the bundle into a link, as in deployments of Laravel, Rails and
//! WordPress; and links that an operator made before the first deployment.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::host::{Bundle, Host, hook_lines_of, tree, write};

/// The directory of the uploads, which must survive everything.
pub fn shared(host: &Host) -> PathBuf {
    let shared = host.at("mnt/efs/storage");
    if !shared.exists() {
        write(&shared.join("upload"), "a customer's");
    }
    shared
}

/// The hook's body: the bundle's directory becomes a link.
pub fn link_storage(host: &Host) -> String {
    let storage = host.at("srv/app/storage").display().to_string();
    format!("rm -rf {storage}; ln -s {} {storage}", shared(host).display())
}

/// A revision with `storage/.gitkeep` and `storage/cache/`, which a hook turns into a link.
pub fn revision(host: &Host, version: &str) -> Bundle {
    Bundle::new(host, version)
        .app()
        .content("app/storage/.gitkeep", "")
        .content("app/storage/cache/.gitkeep", "")
        .hook("AfterInstall", &link_storage(host))
}

/// The application of this version runs on its shared storage, which is unchanged.
#[track_caller]
pub fn assert_runs(host: &Host, version: &str) {
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), format!("{version}\n"));
    assert_links_storage(host, version);
    assert_untouched(host);
    let left = tree(&host.at("srv")).into_keys().find(|path| path.to_string_lossy().contains(".hostler-"));
    assert_eq!(left, None, "{version}");
}

#[track_caller]
pub fn assert_links_storage(host: &Host, version: &str) {
    let link = host.at("srv/app/storage");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{version}");
    assert_eq!(fs::canonicalize(&link).unwrap(), fs::canonicalize(shared(host)).unwrap(), "{version}");
}

/// The operator's link. Below a root prefix, only a relative link leads to the same place as without one.
pub fn link_by_hand(host: &Host) {
    shared(host);
    fs::create_dir_all(host.at("srv/app")).unwrap();
    symlink("../../mnt/efs/storage", host.at("srv/app/storage")).unwrap();
}

#[track_caller]
fn assert_untouched(host: &Host) {
    let there: Vec<_> = tree(&shared(host)).into_keys().collect();
    assert_eq!(there, [Path::new("upload")], "nothing was put behind the link, and nothing taken away");
}

#[test]
fn what_a_hook_links_makes_way_for_updates_rollbacks_and_removals() {
    let host = Host::new();
    for version in ["v1", "v2", "v3"] {
        host.deploy(&revision(&host, version).all_hooks().write(), &[]).with_code(0);
        assert_runs(&host, version);
    }
    // A failure before, in and after the hook that links; each is rolled back, and the next deployment is not refused.
    let bodies = [("BeforeInstall", "exit 1"), ("ValidateService", "exit 1")];
    for (event, body) in bodies {
        let bad = revision(&host, "bad").hook(event, body).write();
        host.deploy(&bad, &[]).with_code(1);
        assert_runs(&host, "v3");
        assert_eq!(host.status()["condition"], "rolled_back");
    }
    let bad = Bundle::new(&host, "bad").app().content("app/storage/.gitkeep", "").hook("AfterInstall", "exit 1");
    host.deploy(&bad.write(), &[]).with_code(1);
    assert_runs(&host, "v3");
    host.deploy(&revision(&host, "v4").write(), &[]).with_code(0);
    assert_runs(&host, "v4");
    host.ok(&["rollback"]);
    assert_runs(&host, "v3");
    // A revision without the directory leaves the link; a rollback to a revision with it is not refused.
    host.deploy(&Bundle::new(&host, "v5").app().write(), &[]).with_code(0);
    assert_runs(&host, "v5");
    host.ok(&["rollback"]);
    assert_runs(&host, "v3");
    host.ok(&["remove"]);
    assert!(!host.at("srv/app").exists(), "{:?}", tree(&host.at("srv")));
    assert_untouched(&host);
    host.deploy(&revision(&host, "v6").write(), &[]).with_code(0);
    assert_runs(&host, "v6");
}

#[test]
fn a_failed_first_revision_with_the_directory_leaves_no_link_in_its_way() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    // The rollback removes the hook's link together with the directory that it replaced.
    host.deploy(&revision(&host, "bad").hook("ValidateService", "exit 1").write(), &[]).with_code(1);
    assert!(fs::symlink_metadata(host.at("srv/app/storage")).is_err(), "{:?}", tree(&host.at("srv")));
    host.deploy(&revision(&host, "v2").write(), &[]).with_code(0);
    assert_runs(&host, "v2");
}

#[test]
fn a_channel_deploys_over_what_a_hook_linked() {
    let host = Host::new();
    fs::create_dir_all(host.store()).unwrap();
    let store = host.store();
    for version in ["v1", "v2", "v3"] {
        host.release(&revision(&host, version).write(), &[]);
        host.ok(&["run", "--once", "--channel", store.to_str().unwrap()]);
        assert_runs(&host, version);
    }
}

#[test]
fn a_link_to_nothing_and_one_to_a_file_make_way_too() {
    let host = Host::new();
    let storage = host.at("srv/app/storage").display().to_string();
    let file = host.at("srv/app/version").display().to_string();
    for (version, target) in [("v1", "/nowhere"), ("v2", file.as_str()), ("v3", "/nowhere")] {
        let bundle = Bundle::new(&host, version)
            .app()
            .content("app/storage/.gitkeep", "")
            .hook("AfterInstall", &format!("rm -rf {storage}; ln -s {target} {storage}"));
        host.deploy(&bundle.write(), &[]).with_code(0);
        assert_eq!(fs::read_link(&storage).unwrap(), Path::new(target));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{version}\n"));
    }
}

/// A host with a running application; its operator then linked shared storage to where the next bundle has a directory.
fn linked_by_an_operator() -> Host {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    link_by_hand(&host);
    host.clear_hook_lines();
    host
}

/// A revision with a directory at the link.
fn with_storage(host: &Host) -> Bundle {
    Bundle::new(host, "v2").app().content("app/storage/.gitkeep", "").all_hooks()
}

#[test]
fn a_link_that_was_there_before_is_refused_before_anything_stops() {
    let host = linked_by_an_operator();
    for more in [&[][..], &["--file-exists-behavior", "OVERWRITE"], &["--file-exists-behavior", "RETAIN"]] {
        host.deploy(&with_storage(&host).write(), more).with_code(1).saying(&[
            "/srv/app/storage is a symbolic link to",
            "link_below_destination",
            "leave that directory out",
        ]);
        assert_eq!(host.hook_lines(), [""; 0]);
        assert_runs(&host, "v1");
    }
}

#[test]
fn every_way_out_of_the_refusal_works() {
    // To keep the link: remove the directory from the bundle.
    let host = linked_by_an_operator();
    host.deploy(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]).with_code(0);
    assert_runs(&host, "v2");

    // To write through it: use a separate entry, with the link as destination.
    let host = linked_by_an_operator();
    let bundle = Bundle::new(&host, "v2").app().content("storage/.gitkeep", "").files("storage", "/srv/app/storage");
    host.deploy(&bundle.all_hooks().write(), &[]).with_code(0);
    assert!(shared(&host).join(".gitkeep").exists() && shared(&host).join("upload").exists());
    assert_links_storage(&host, "v2");

    // To install the bundle's directory: remove the link by hand, and let a hook make it again.
    let host = linked_by_an_operator();
    fs::remove_file(host.at("srv/app/storage")).unwrap();
    for version in ["v2", "v3"] {
        host.deploy(&revision(&host, version).write(), &[]).with_code(0);
        assert_runs(&host, version);
    }

    // Or in BeforeInstall, with the check repeated after it.
    let host = linked_by_an_operator();
    let unlink = format!("rm -f {}", host.at("srv/app/storage").display());
    for version in ["v2", "v3"] {
        let bundle = revision(&host, version)
            .hook("BeforeInstall", &unlink)
            .extension("  install: {recheck_after: BeforeInstall}\n")
            .all_hooks();
        host.deploy(&bundle.write(), &[]).with_code(0);
        assert_runs(&host, version);
    }
    assert_eq!(host.hook_lines()[..9], hook_lines_of(Some("v1"), "v2"));
}

/// With a root prefix, a link that contains the prefix means the same as without one.
#[test]
fn an_absolute_link_at_the_destination_that_holds_the_root_prefix_is_followed() {
    let host = Host::new();
    let releases = host.at("srv/releases");
    fs::create_dir_all(releases.join("1")).unwrap();
    symlink(releases.join("1"), host.at("srv/app")).unwrap();
    for version in ["v1", "v2"] {
        host.deploy(&Bundle::new(&host, version).app().write(), &[]).with_code(0);
        assert_eq!(fs::read_to_string(releases.join("1/version")).unwrap(), format!("{version}\n"));
        assert_eq!(fs::read_link(host.at("srv/app")).unwrap(), releases.join("1"));
    }
    host.deploy(&Bundle::new(&host, "v3").app().hook("AfterInstall", "exit 1").write(), &[]).with_code(1);
    assert_eq!(fs::read_to_string(releases.join("1/version")).unwrap(), "v2\n", "it was put back through the link");
    // A link that leaves the prefix is refused before anything stops.
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_file(host.at("srv/app")).unwrap();
    symlink(&outside, host.at("srv/app")).unwrap();
    host.clear_hook_lines();
    let said = host.deploy(&Bundle::new(&host, "v4").app().all_hooks().write(), &[]).with_code(1);
    said.saying(&["DownloadBundle failed", "link_leaves_root"]);
    assert!(host.hook_lines().is_empty());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
