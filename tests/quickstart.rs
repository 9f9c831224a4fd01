//! The first command of the README, as a new user runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::skip;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs the quickstart with the built program; `who` is the beginning of the command line.
fn run(who: &[&str], program: &Path, top: &Path, scratch: &Path) -> String {
    let mut command = Command::new("env");
    command.args(["-i", "PATH=/usr/local/bin:/usr/bin:/bin"]);
    command.arg(format!("HOSTLER={}", program.display())).arg(format!("SCRATCH={}", scratch.display()));
    let output = command.args(who).arg(top.join("hooks-examples/quickstart")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn check(text: &str, scratch: &Path) {
    for expected in
        ["release 1 of hello/demo", "release 2 of hello/demo", "hello/demo: good", "ValidateService      succeeded"]
    {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    // The second deployment stops the application with the first revision's script.
    assert_eq!(text.matches("ApplicationStop      succeeded").count(), 1, "{text}");
    assert!(scratch.join("host/srv/hello/second.html").is_file(), "{text}");
}

#[test]
fn the_quickstart_deploys_and_updates() {
    let scratch = tempfile::tempdir().unwrap();
    let text = run(&[], Path::new(env!("CARGO_BIN_EXE_hostler")), Path::new(TOP), scratch.path());
    check(&text, scratch.path());
}

#[test]
fn a_compiler_that_is_too_old_is_told_before_anything_is_built() {
    let place = tempfile::tempdir().unwrap();
    let tool = |name: &str, script: &str| {
        let path = place.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    tool("cargo", "echo built; exit 1");
    for (rustc, said) in [("echo 'rustc 1.63.0 (x)'", "here is Rust 1.63.0"), ("exit 127", "here is none")] {
        tool("rustc", rustc);
        let path = format!("PATH={}:/usr/bin:/bin", place.path().display());
        let script = Path::new(TOP).join("hooks-examples/quickstart");
        let output = Command::new("env").args(["-i", &path]).arg(script).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &*out), (Some(1), ""), "{err}");
        assert!(err.contains("Rust 1.94.1 or newer, from rustup") && err.contains(said), "{err}");
    }
}

#[test]
fn the_quickstart_needs_no_root() {
    if !nix::unistd::Uid::effective().is_root() {
        skip("only root can become another user; the other test runs it without root already");
        return;
    }
    // Another user may have no access to the directories of the checkout and the program.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("hostler");
    fs::copy(env!("CARGO_BIN_EXE_hostler"), &program).unwrap();
    let copied = Command::new("cp").arg("-r").arg(Path::new(TOP).join("hooks-examples")).arg(place.path()).status();
    assert!(copied.unwrap().success());
    let scratch = place.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o777)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    check(&run(&nobody, &program, place.path(), &scratch), &scratch);
}
