//! The package with its real units on a booted host: hooks under systemd, processes that outlive the daemon, the host
//! after a power cut, and the permissions of the daemon's control socket.

mod control_socket;
mod hardened;
mod health;
mod history;
mod outlive;
mod power;
mod reboot;
mod service;
mod surroundings;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::status::{GroupStatus, Status};

use crate::support::eventually;
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{INSTALL, Kind, Packages, main_pid};

/// The group of these tests follows a channel on its host. Hooks leave marks in a directory that every user can write
/// to.
const SET_UP: &str = r#"
mkdir -p /srv/channel /etc/systemd/system/hostler.service.d
install -d -m 1777 /srv/marks
echo 'groups: [{application: app, group: hosts, channel: /srv/channel, poll: 1s}]' > /etc/hostler/config.yaml
printf '[Service]\nRestartSec=100ms\n' > /etc/systemd/system/hostler.service.d/test.conf
systemctl daemon-reload
systemctl start hostler
"#;

/// An appspec with one hook, `hook.sh`.
const ONE_HOOK: &str = "
version: 0.0
os: linux
hooks:
  AfterInstall: [{location: hook.sh, timeout: 60}]
";

/// A host with the agent installed and running.
fn host(name: &str, layout: Layout) -> Option<Machine> {
    host_with(&["agent"], name, layout)
}

/// A host with these packages of the agent in `/root`; the first one is installed and running.
fn host_with(packages: &'static [&'static str], name: &str, layout: Layout) -> Option<Machine> {
    let host = Packages::build(Kind::Deb, packages)?.host(name, layout)?;
    host.sh(&format!("{INSTALL} /root/{}.deb\n{SET_UP}", packages[0]));
    Some(host)
}

/// Puts a bundle on the host, in `/srv/bundles/NAME`. Each file is given with its text; a file that ends in `.sh` is
/// executable and gets its first line.
fn bundle(host: &Machine, name: &str, files: &[(&str, &str)]) -> String {
    let local = tempfile::tempdir().unwrap();
    fs::set_permissions(local.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (file, text) in files {
        let path = local.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let first = if file.ends_with(".sh") { "#!/bin/sh\n" } else { "" };
        fs::write(&path, format!("{first}{text}")).unwrap();
        if file.ends_with(".sh") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let place = format!("/srv/bundles/{name}");
    host.copy_in(local.path(), &place);
    place
}

/// Publishes a bundle in the host's channel.
fn release(host: &Machine, bundle: &str) {
    host.sh(&format!(r#"hostler release /srv/channel "$(hostler push {bundle} /srv/channel)""#));
}

/// The daemon's status of the group.
fn group(host: &Machine) -> Result<GroupStatus, String> {
    let output = host.try_sh("hostler status --json")?;
    let status: Status = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {output:?}"))?;
    if status.daemon.is_none() {
        return Err("no daemon runs".to_owned());
    }
    status.groups.into_iter().next().ok_or_else(|| "nothing was deployed".to_owned())
}

/// Waits until a release, and the rollback that may follow it, has ended.
fn settled(host: &Machine, sequence: u64) -> GroupStatus {
    eventually("the release is done with", Duration::from_secs(60), || match group(host)? {
        group if group.active.is_none() && group.highest_sequence == Some(sequence) => Ok(group),
        group => Err(format!("{group:?}")),
    })
}

/// Waits until a hook has made its mark.
fn wait_for_mark(host: &Machine, name: &str) -> String {
    eventually(&format!("the mark {name}"), Duration::from_secs(60), || {
        let output = host.try_sh(&format!("test -s /srv/marks/{name} || {{ hostler status; false; }}"))?;
        match output.status.success() {
            true => Ok(host.sh(&format!("cat /srv/marks/{name}"))),
            false => Err(format!("{output:?}")),
        }
    })
}

/// Runs a command on the host and returns its exit code and its output.
fn ended(host: &Machine, command: &str) -> (Option<i32>, String) {
    let output = host.try_sh(command).unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn code(code: ExitCode) -> Option<i32> {
    Some(code as i32)
}

/// Whether a process of the host is alive.
fn lives(host: &Machine, pid: &str) -> bool {
    host.try_sh(&format!("kill -0 {pid}")).unwrap().status.success()
}
