//! Groups of one host with overlapping files, and parts of an old revision that cannot be examined.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::crash::strace_or_skip;
use crate::support::host::{Bundle, Ended, Host, write};

/// Deploys a bundle of these files below /srv/x to a group.
fn deploy(host: &Host, group: &str, version: &str, files: &[&str], more: &[&str]) -> Ended {
    let mut bundle = Bundle::new(host, &format!("{group}-{version}")).files("x", "/srv/x");
    for file in files {
        bundle = bundle.content(&format!("x/{file}"), format!("{group} {version}"));
    }
    let bundle = bundle.write();
    let who = ["--application", "shop", "--group", group];
    host.run(&[&["deploy", bundle.to_str().unwrap()][..], &who, more].concat())
}

fn read(host: &Host, file: &str) -> Option<String> {
    fs::read_to_string(host.at("srv/x").join(file)).ok()
}

#[test]
fn a_clean_up_leaves_what_another_group_installed_too() {
    let host = Host::new();
    let overwrite = ["--file-exists-behavior", "OVERWRITE"];
    deploy(&host, "a", "1", &["a", "common"], &[]).with_code(0);
    deploy(&host, "b", "1", &["b", "common"], &[])
        .with_code(1)
        .saying(&["/srv/x/common is there already: the deployment group shop/a installed it", "file_exists"])
        .saying(&["`hostler remove --application shop --group a`"]);
    deploy(&host, "b", "1", &["b", "common"], &overwrite).with_code(0).saying(&[
        "1 path (/srv/x/common is the first) of this bundle belong",
        "shop/a",
        "shared_path",
    ]);
    assert_eq!(read(&host, "common").as_deref(), Some("b 1"));
    deploy(&host, "a", "2", &["a"], &[]).with_code(0).saying(&["/srv/x/common", "stay", "shop/b installed them too"]);
    assert_eq!(read(&host, "common").as_deref(), Some("b 1"), "it is b's");
    // Now the file is b's alone, which cleans it up.
    deploy(&host, "b", "2", &["b"], &[]).with_code(0);
    assert_eq!((read(&host, "common"), read(&host, "a")), (None, Some("a 2".to_owned())));

    // A removal leaves it too.
    deploy(&host, "b", "3", &["b", "a"], &overwrite).with_code(0);
    host.run(&["remove", "--application", "shop", "--group", "a"]).with_code(0).saying(&["shop/b installed"]);
    assert_eq!(read(&host, "a").as_deref(), Some("b 3"));
}

#[test]
fn an_application_that_moved_to_another_group_can_be_removed_there() {
    let host = Host::new();
    let remove = |group: &str| host.run(&["remove", "--application", "shop", "--group", group]).with_code(0);
    deploy(&host, "a", "1", &["file"], &[]).with_code(0);
    remove("a");
    assert_eq!(read(&host, "file"), None);
    let moved = deploy(&host, "b", "1", &["file"], &[]).with_code(0);
    assert!(!moved.out.contains("shared_path"), "the group owns nothing any more: {}", moved.out);
    let removed = remove("b");
    assert_eq!(read(&host, "file"), None, "{}", removed.out);
    // A file that came since is not the group's either.
    write(&host.at("srv/x/file"), "by hand");
    let bundle = host.path("bundle-a-1");
    let who = ["--application", "shop", "--group", "a"];
    host.run(&[&["plan", bundle.to_str().unwrap()][..], &who].concat()).with_code(1).saying(&["file_exists"]);
    host.run(&[&["deploy", bundle.to_str().unwrap()][..], &who].concat()).with_code(1).saying(&["file_exists"]);
    assert_eq!(read(&host, "file").as_deref(), Some("by hand"));
}

#[test]
fn what_a_groups_own_hook_has_changed_is_still_cleaned_up() {
    let host = Host::new();
    let file = host.at("srv/x/conf");
    let change = format!("sed -i s/1/2/ {0}; chmod 600 {0}; chown 33 {0} || true", file.display());
    let bundle = Bundle::new(&host, "v1").content("x/conf", "a 1").files("x", "/srv/x").hook("AfterInstall", &change);
    host.deploy(&bundle.write(), &[]).with_code(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a 2");
    host.deploy(&Bundle::new(&host, "v2").content("x/other", "").files("x", "/srv/x").write(), &[]).with_code(0);
    assert!(!file.exists() && host.at("srv/x/other").exists());
}

/// Runs the program with failing system calls on a path.
fn failing(host: &Host, arguments: &[&str], path: &Path, calls: &str, error: &str) -> Ended {
    let command = host.command(arguments);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(path).arg("-e").arg(format!("trace={calls}"));
    traced.arg("-e").arg(format!("inject={calls}:error={error}"));
    traced.arg(command.get_program()).args(command.get_args()).current_dir("/");
    Ended::of(traced)
}

#[test]
fn a_leftover_that_cannot_be_looked_at_stays_the_groups() {
    if !strace_or_skip() {
        return;
    }
    let host = Host::new();
    // The bundle itself is read too, with the same names: there the file is gone.
    let bundle_of = |version: &str| {
        let forget = format!("rm \"$(dirname \"$0\")/../app/only-{version}\"");
        Bundle::new(&host, version).app().hook("ValidateService", &forget).write()
    };
    host.deploy(&bundle_of("v1"), &[]).with_code(0);
    let bundle = bundle_of("v2");
    let deploy = ["deploy", bundle.to_str().unwrap()];
    // Names are looked up relative to open directories, so this is the path in the system call.
    let ended = failing(&host, &deploy, Path::new("only-v1"), "newfstatat", "ESTALE").with_code(0);
    ended.saying(&["/srv/app/only-v1", "could not be looked at", "cannot_look"]);
    assert!(host.at("srv/app/only-v1").exists() && host.at("srv/app/only-v2").exists());
    // The next deployment looks again.
    host.deploy(&bundle, &[]).with_code(0);
    assert!(!host.at("srv/app/only-v1").exists() && host.at("srv/app/only-v2").exists());

    let ended = failing(&host, &["remove"], Path::new("only-v2"), "newfstatat", "EIO").with_code(0);
    ended.saying(&["/srv/app/only-v2", "could not be looked at"]);
    assert!(host.at("srv/app/only-v2").exists());
}

#[test]
fn an_old_appspec_that_cannot_be_read_now_stops_the_deployment_before_anything_is_touched() {
    if !strace_or_skip() {
        return;
    }
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let archive = host.deployment(&id).join("deployment-archive");
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    let deploy = ["deploy", bundle.to_str().unwrap()];
    host.clear_hook_lines();
    for (path, error) in [(archive.join("appspec.yml"), "EMFILE"), (archive.clone(), "EIO")] {
        failing(&host, &deploy, &path, "openat", error).with_code(1).saying(&[
            "ApplicationStop cannot be run now",
            "delete",
            archive.to_str().unwrap(),
        ]);
        assert_eq!(host.hook_lines(), [""; 0]);
        assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    }
    // The remedy in the message works: without its bundle the old revision's scripts are left out.
    fs::rename(&archive, host.path("gone")).unwrap();
    host.deploy(&bundle, &[]).with_code(0).saying(&["ApplicationStop is left out"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
    // A permanently invalid appspec leaves them out too.
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    write(&host.deployment(&id).join("deployment-archive/appspec.yml"), "no appspec");
    host.deploy(&bundle, &[]).with_code(0).saying(&["ApplicationStop is left out"]);
}
