//! A hook, and an application started by a hook, outlive the daemon, however it ends.

use std::time::Duration;

use hostler_core::status::Condition;

use super::{bundle, group, host, host_with, lives, main_pid, release, settled, surroundings, wait_for_mark};
use crate::support::eventually;
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{INSTALL, wait_for_another_daemon};

const KILL: &str = "systemctl kill --signal=KILL --kill-who=main hostler";

const APPSPEC: &str = "
version: 0.0
os: linux
hooks:
  BeforeInstall: [{location: start.sh, timeout: 60}]
  AfterInstall: [{location: wait.sh, timeout: 300}]
";

/// An application in the background that keeps the hook's output open.
const START: &str = r#"
name=$(cat name)
while :; do i=$((i + 1)); echo "$name $i"; sleep 0.05; done &
echo $! > /srv/marks/$name.pid
"#;

const WAIT: &str = r#"
name=$(cat name)
echo begun >> /srv/marks/$name.begun
until [ -e /srv/marks/$name.go ]; do sleep 0.05; done
echo "went on"
"#;

/// The last number that an application wrote, from the log.
fn logged(host: &Machine, name: &str, log: &str) -> u64 {
    let last = host.sh(&format!("grep -o ']{name} [0-9]*' {log} | tail -n 1"));
    last.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{last:?} in {log}"))
}

/// Each interruption in the middle of a hook: the hook runs once and its result counts.
fn interrupted(host: &Machine, interruptions: &[(&str, &str)]) {
    let mut logs = Vec::new();
    for (number, (name, interruption)) in interruptions.iter().enumerate() {
        let bundle =
            bundle(host, name, &[("appspec.yml", APPSPEC), ("start.sh", START), ("wait.sh", WAIT), ("name", name)]);
        release(host, &bundle);
        wait_for_mark(host, &format!("{name}.begun"));
        let shown = host.sh("systemctl status --no-pager hostler");
        assert!(
            shown.contains("Status: \"app/hosts: deploying ") && shown.contains("AfterInstall, wait.sh\""),
            "{shown}"
        );
        let before = main_pid(host);
        let deployment = group(host).unwrap().active.unwrap().id;

        host.sh(interruption);
        wait_for_another_daemon(host, &before);

        host.sh(&format!("touch /srv/marks/{name}.go"));
        let group = settled(host, number as u64 + 1);
        assert_eq!((group.condition, &group.last.as_ref().unwrap().id), (Condition::Good, &deployment), "{group:?}");
        assert_eq!(host.sh(&format!("cat /srv/marks/{name}.begun")), "begun", "{name}: the hook ran once");
        let log = format!("/var/lib/hostler/deployment-root/app~hosts/{deployment}/logs/scripts.log");
        assert_eq!(host.sh(&format!("grep -c 'went on' {log}")), "1");
        let recorded = host.sh(&format!("hostler history --events | grep '{deployment}.*wait.sh'"));
        assert_eq!(recorded.lines().count(), 1, "{recorded}");
        assert!(recorded.contains("wait.sh: exit status 0"), "{recorded}");
        logs.push((*name, log));
    }
    for (name, log) in logs {
        let pid = host.sh(&format!("cat /srv/marks/{name}.pid"));
        assert!(lives(host, &pid), "the application of {name} lives");
        let before = logged(host, name, &log);
        eventually("more of the application's output", Duration::from_secs(10), || match logged(host, name, &log) {
            now if now > before => Ok(now),
            now => Err(now.to_string()),
        });
    }
}

#[test]
fn hooks_and_applications_outlive_restart_kill_and_upgrade() {
    let Some(host) = host_with(&["old", "new"], "outlive", Layout::Unified) else { return };
    let upgrade = format!("{INSTALL} /root/new.deb");
    interrupted(&host, &[("restart", "systemctl restart hostler"), ("kill", KILL), ("upgrade", &upgrade)]);
    assert_eq!(host.sh("dpkg-query --show --showformat='${Version}' hostler"), "0.0.2");
}

#[test]
fn hooks_outlive_the_daemon_with_control_groups_of_version_1() {
    let Some(host) = host("outlive1", Layout::Hybrid) else { return };
    interrupted(&host, &[("restart", "systemctl restart hostler"), ("kill", KILL)]);
    surroundings::the_deadline_ends_everything(&host);
    surroundings::a_fork_bomb_is_bounded(&host);
}
