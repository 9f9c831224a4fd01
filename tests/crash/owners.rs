//! The promises to a user who is not root, and about other users' files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Tree;
use crate::support::host::{Bundle, HOSTLER, Host, root_or_skip, tree, write};
use crate::support::skip;

/// A host of a user who is not root, or `None` with a printed reason.
fn plain_user() -> Option<Host> {
    let host = Host::new();
    if !nix::unistd::Uid::effective().is_root() {
        return Some(host);
    }
    let host = host.used_by(65534);
    if host.command(&["--version"]).output().is_err() {
        skip(format_args!("another user cannot run {HOSTLER}"));
        return None;
    }
    Some(host)
}

fn closed(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
}

/// A directory of the host's user.
fn owned(path: &Path) {
    fs::create_dir_all(path).unwrap();
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

#[test]
fn a_state_directory_of_somebody_else_is_named() {
    let Some(host) = plain_user() else { return };
    closed(&host.at("var/lib"));
    let bundle = Bundle::new(&host, "v1").app().write();
    for arguments in [vec!["deploy", bundle.to_str().unwrap()], vec!["run", "--once"], vec!["run"]] {
        let ended = host.run(&arguments).with_code(1);
        ended.saying(&["error: cannot", host.state().to_str().unwrap(), "Permission denied"]);
    }
    assert!(!host.at("srv").exists());
}

#[test]
fn a_destination_that_is_not_writable_is_named_and_nothing_is_touched() {
    let Some(host) = plain_user() else { return };
    for directory in ["state", "root/run/hostler"] {
        owned(&host.path(directory));
    }
    closed(&host.at("srv"));
    owned(&host.at("opt"));
    let state = host.path("state");
    let bundle = Bundle::new(&host, "v1").content("y", "y").files("y", "/opt").app().write();
    let ended = host.deploy(&bundle, &["--state-dir", state.to_str().unwrap()]).with_code(1);
    ended.saying(&["may not write in /srv", "user "]);
    assert_eq!(tree(&host.at("srv")), Tree::new());
    assert_eq!(tree(&host.at("opt")), Tree::new(), "half of it is there");
}

#[test]
fn a_socket_directory_of_somebody_else_is_named() {
    let Some(host) = plain_user() else { return };
    owned(&host.at("var/lib/hostler"));
    closed(&host.at("run/hostler"));
    let ended = host.run(&["run", "--once"]).with_code(1);
    ended.saying(&["cannot listen on", host.at("run/hostler/hostler.sock").to_str().unwrap(), "Permission denied"]);
}

#[test]
fn what_root_keeps_is_not_shown_to_others_as_nothing() {
    if !root_or_skip("a state of root's") {
        return;
    }
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let host = host.used_by(65534);
    if host.command(&["--version"]).output().is_err() {
        skip(format_args!("another user cannot run {HOSTLER}"));
        return;
    }
    for arguments in [&["status"][..], &["history"], &["logs"]] {
        host.run(arguments).with_code(1).saying(&["Permission denied", host.state().to_str().unwrap()]);
    }
    write(&host.path("bundle-v1/app/version"), "changed\n");
    let bundle = host.path("bundle-v1");
    host.deploy(&bundle, &[]).with_code(1).saying(&["Permission denied", host.state().to_str().unwrap()]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}
