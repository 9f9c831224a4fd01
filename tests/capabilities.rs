//! File capabilities, which no bundle keeps: every verb that examines a bundle warns of them, in every bundle form.

use std::process::Command;

use crate::support::host::{Bundle, Host, root_or_skip};

#[test]
fn capabilities_of_a_directorys_files_are_told_by_every_verb() {
    if !root_or_skip("file capabilities") {
        return;
    }
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().content("app/server", "#!/bin/sh\n").write();
    let server = bundle.join("app/server");
    let set = Command::new("setcap").arg("cap_net_bind_service=ep").arg(&server).output().unwrap();
    assert!(set.status.success(), "setcap: {}", String::from_utf8_lossy(&set.stderr));
    let what = bundle.to_str().unwrap();
    let told = ["1 entry has file capabilities, which are not kept: `app/server`", "run setcap in AfterInstall"];
    host.run(&["validate", what]).with_code(0).saying(&told);
    std::fs::create_dir_all(host.store()).unwrap();
    host.run(&["push", what, host.store().to_str().unwrap()]).with_code(0).saying(&told);
    host.deploy(&bundle, &[]).with_code(0).saying(&told);
    let installed = Command::new("getcap").arg(host.at("srv/app/server")).output().unwrap();
    assert!(host.at("srv/app/server").is_file() && installed.stdout.is_empty(), "{installed:?}");
}
