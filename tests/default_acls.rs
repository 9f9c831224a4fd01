//! Default access control lists of the directories below which files are installed: new entries keep their rights.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::host::{Bundle, Host, root_or_skip};

/// A user and a group that exist on every system and own nothing here.
const USER: &str = "nobody";
const GROUP: &str = "daemon";

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} {path:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A directory whose default list lets a user and a group write.
fn shared(path: &Path) {
    fs::create_dir_all(path).unwrap();
    let entries = format!("u:{USER}:rwx,d:u:{USER}:rwx,g:{GROUP}:rwx,d:g:{GROUP}:rwx,d:o::---");
    run("setfacl", &["-m", &entries], path);
}

fn list(path: &Path) -> String {
    run("getfacl", &["-cpE"], path)
}

/// The user and the group may write here; others have no access.
#[track_caller]
fn is_shared(path: &Path) {
    let list = list(path);
    for line in [format!("user:{USER}:rwx"), format!("group:{GROUP}:rwx"), "mask::rwx".into(), "other::---".into()] {
        assert!(list.lines().any(|found| found == line), "{path:?} has no {line}:\n{list}");
    }
}

#[test]
fn new_directories_keep_the_rights_of_a_default_list_in_every_release() {
    if !root_or_skip("access control lists for other users") {
        return;
    }
    let host = Host::new();
    shared(&host.at("srv"));
    // Above the destination, at the destination, and below it.
    let first = Bundle::new(&host, "v1").content("app/storage/cache/.gitkeep", "").content("app/plain", "1");
    host.deploy(&first.files("app", "/srv/deep/app").write(), &[]).with_code(0);
    for directory in ["srv/deep", "srv/deep/app", "srv/deep/app/storage", "srv/deep/app/storage/cache"] {
        is_shared(&host.at(directory));
    }
    // A file's mode comes from the bundle, and so does its mask.
    let file = list(&host.at("srv/deep/app/plain"));
    assert!(file.lines().any(|line| line == "mask::r--"), "{file}");

    let second = Bundle::new(&host, "v2").content("app/storage/new/x", "").content("app/storage/cache/.gitkeep", "");
    host.deploy(&second.files("app", "/srv/deep/app").write(), &[]).with_code(0);
    for directory in ["srv/deep/app/storage/cache", "srv/deep/app/storage/new"] {
        is_shared(&host.at(directory));
    }

    // A rollback restores a directory that the Install removed.
    let failing = Bundle::new(&host, "v3").content("app/plain", "3").files("app", "/srv/deep/app");
    host.deploy(&failing.hook("AfterInstall", "exit 1").write(), &[]).with_code(1);
    is_shared(&host.at("srv/deep/app/storage/new"));
}

#[test]
fn a_mode_of_the_appspec_counts_more_than_a_default_list() {
    if !root_or_skip("access control lists for other users") {
        return;
    }
    let host = Host::new();
    shared(&host.at("srv/app"));
    let bundle =
        Bundle::new(&host, "v1").content("app/closed/x", "").content("app/open/x", "").files("app", "/srv/app");
    let permissions = "  - object: /srv/app\n    pattern: closed\n    type: [directory]\n    mode: 700\n";
    host.deploy(&bundle.permissions(permissions).write(), &[]).with_code(0);
    is_shared(&host.at("srv/app/open"));
    let closed = list(&host.at("srv/app/closed"));
    assert!(closed.lines().any(|line| line == "mask::---"), "{closed}");
}
