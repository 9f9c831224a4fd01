//! Sources and scripts that BeforeInstall makes in the unpacked bundle, for example by decrypting secrets.

use std::fs;
use std::path::PathBuf;

use crate::support::host::{Bundle, Host};

const RECHECK: &str = "  install: {recheck_after: BeforeInstall}\n";

/// A bundle that installs a file and runs a script, both missing in it.
fn bundle(host: &Host, version: &str, before_install: &str, extension: &str) -> PathBuf {
    let bundle = Bundle::new(host, version).app().files("secrets.env", "/srv/app").extension(extension);
    let directory = bundle.hook("BeforeInstall", before_install).hook("AfterInstall", "").write();
    fs::remove_file(directory.join("hooks/AfterInstall-1.sh")).unwrap();
    directory
}

const MAKE: &str = "set -e\ncd \"$(dirname \"$0\")/..\"\necho pw=1 > secrets.env\n\
    printf '#!/bin/sh\\ntrue\\n' > hooks/AfterInstall-1.sh\nchmod +x hooks/AfterInstall-1.sh";

#[test]
fn what_before_install_makes_is_installed_and_run() {
    let host = Host::new();
    let made = bundle(&host, "v1", MAKE, RECHECK);
    let what = made.to_str().unwrap();
    let warned = ["warning[source-made-later]", "warning[script-made-later]", "may be deployed"];
    host.run(&["validate", what]).with_code(0).saying(&warned);
    host.run(&["plan", what]).with_code(0).saying(&["holds no `secrets.env` yet"]);
    host.deploy(&made, &[]).with_code(0).saying(&["holds no `secrets.env` yet", "looked for again before the Install"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/secrets.env")).unwrap(), "pw=1\n");
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}

#[test]
fn what_before_install_does_not_make_is_named_and_the_old_revision_comes_back() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let told = ["BeforeInstall is done and has not made all that it must", "secrets.env", "hooks/AfterInstall-1.sh"];
    host.deploy(&bundle(&host, "v2", "", RECHECK), &[]).with_code(1).saying(&told);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
    assert!(!host.at("srv/app/secrets.env").exists());
    assert_eq!(host.hook_lines(), ["v2 BeforeInstall"]);
}

#[test]
fn without_the_appspecs_word_it_is_an_error_that_says_what_to_write() {
    let host = Host::new();
    let refused = bundle(&host, "v1", MAKE, "");
    let told = ["source-absent", "script-absent", "pack a placeholder", "recheck_after: BeforeInstall"];
    host.run(&["validate", refused.to_str().unwrap()]).with_code(1).saying(&told);
    host.deploy(&refused, &[]).with_code(1).saying(&told);
    assert_eq!(host.hook_lines(), Vec::<String>::new());
    // Without an earlier script, nothing could make it.
    let nothing = Bundle::new(&host, "v2").app().files("secrets.env", "/srv/app").extension(RECHECK).write();
    host.run(&["validate", nothing.to_str().unwrap()]).with_code(1).saying(&["source-absent"]);
}
