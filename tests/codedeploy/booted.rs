//! A migration on a booted host, with a stand-in for the CodeDeploy agent: its unit, its program's verbs, its process's
//! name, its files. And the package with its program names.

use std::fs;

use super::*;
use crate::support::eventually;
use crate::support::host::{PATIENCE, write};
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{INSTALL, Kind, Packages, state};

/// `codedeploy-agent start|stop`, as systemd and users see it.
const STAND_IN: &str = r#"#!/bin/bash
pid_file=/opt/codedeploy-agent/state/.pid/codedeploy-agent.pid
case "$1" in
start)
	mkdir -p "$(dirname "$pid_file")"
	setsid bash -c 'exec -a "codedeploy-agent: master $$" sleep infinity' </dev/null >/dev/null 2>&1 &
	# It has its name before its start has ended.
	until grep -qa ^codedeploy-agent: /proc/$!/cmdline; do kill -0 $! || exit 1; done
	echo $! >"$pid_file" ;;
stop)
	if [ -n "$(ls /opt/codedeploy-agent/deployment-root/ongoing-deployment 2>/dev/null)" ]; then exit 1; fi
	kill "$(cat "$pid_file")"; rm "$pid_file" ;;
esac
"#;

const UNIT: &str = "[Unit]\nDescription=AWS CodeDeploy Host Agent\n[Service]\nType=forking\n\
                    ExecStart=/bin/bash -a -c '[ -f /etc/profile ] && source /etc/profile; /opt/codedeploy-agent/bin/codedeploy-agent start'\n\
                    ExecStop=/opt/codedeploy-agent/bin/codedeploy-agent stop\nRestart=on-failure\n\
                    [Install]\nWantedBy=multi-user.target\n";

/// A bundle whose hooks write to a file of the host.
fn bundle_at(directory: &Path, version: &str) {
    let mut appspec =
        "version: 0.0\nos: linux\nfiles:\n  - source: page\n    destination: /srv/app\nhooks:\n".to_owned();
    for event in ["ApplicationStop", "AfterInstall"] {
        let script = directory.join(format!("{event}.sh"));
        write(&script, format!("#!/bin/sh\necho {version} {event} >> /var/hook-lines\n"));
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        appspec.push_str(&format!("  {event}:\n    - location: {event}.sh\n"));
    }
    write(&directory.join("page"), version);
    write(&directory.join("appspec.yml"), appspec);
}

/// The stand-in and its files after a deployment.
fn agent_at(root: &Path) {
    write(&root.join("opt/codedeploy-agent/bin/codedeploy-agent"), STAND_IN);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.join("opt/codedeploy-agent/bin/codedeploy-agent"), mode).unwrap();
    write(&root.join("usr/lib/systemd/system/codedeploy-agent.service"), UNIT);
    let top = root.join("opt/codedeploy-agent/deployment-root");
    bundle_at(&top.join("0000-web/d-OLDAGENT1/deployment-archive"), "old");
    let named = "/opt/codedeploy-agent/deployment-root/0000-web/d-OLDAGENT1";
    for ending in ["_last_successful_install", "_most_recent_install"] {
        write(&top.join(format!("deployment-instructions/0000-web{ending}")), named);
    }
    write(&top.join("deployment-instructions/0000-web-cleanup"), "/srv/app\n/srv/app/page\n");
    write(&root.join("srv/app/page"), "old");
}

/// Waits until the host's journal has all of these texts, in this order.
fn assert_order(host: &Machine, expected: &[&str]) {
    eventually(&format!("{expected:?}"), PATIENCE, || {
        let journal = host.sh("journalctl --no-pager --output=cat");
        let mut lines = journal.lines();
        let missing = expected.iter().find(|text| !lines.any(|line| line.contains(**text)));
        missing.map_or(Ok(()), |text| Err(format!("no {text:?} in its place in\n{journal}")))
    });
}

#[test]
fn a_booted_host_is_migrated_without_a_gap_and_back() {
    let Some(packages) = Packages::build(Kind::Deb, &["hostler"]) else { return };
    let Some(host) = packages.host("migrate", Layout::Unified) else { return };
    let service = host.in_network(CommandService::start);
    let files = tempfile::tempdir().unwrap();
    service.configure(files.path());
    write(&files.path().join("etc/hostler/config.yaml"), "instance_id: i-test\naws: {ca_bundle: /ca.pem}\n");
    agent_at(files.path());
    host.copy_in(files.path(), "/");
    host.sh(&format!("{INSTALL} /root/hostler.deb; systemctl daemon-reload; systemctl enable --now codedeploy-agent"));
    let agent = host.sh("cat /opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");

    let said = host.sh("hostler migrate");
    for expected in
        [&*format!("runs (process {agent})"), "0000-web: d-OLDAGENT1 is on the host", "hostler migrate --apply"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let tracking = "/opt/codedeploy-agent/deployment-root/ongoing-deployment";
    host.sh(&format!("mkdir {tracking}; echo d-GOINGON01/AfterInstall > {tracking}/d-GOINGON01"));
    let refused = host.try_sh("hostler migrate --apply").unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!((&*state(&host, "hostler"), &*state(&host, "codedeploy-agent")), ("inactive", "active"));
    assert_eq!(host.sh("ls /etc/hostler/config.d 2>/dev/null || true"), "");
    host.sh(&format!("rm {tracking}/d-GOINGON01"));

    host.sh("hostler migrate --apply");
    assert_eq!((&*state(&host, "hostler"), &*state(&host, "codedeploy-agent")), ("active", "inactive"));
    assert_eq!(host.sh("systemctl is-enabled hostler codedeploy-agent || true"), "enabled\ndisabled");
    assert_order(
        &host,
        &[
            "Started hostler.service",
            "Stopping codedeploy-agent.service",
            "Stopped codedeploy-agent.service",
            "the CodeDeploy service is followed",
        ],
    );

    bundle_at(&files.path().join("bundle"), "new");
    put(&service, "new.tgz", &files.path().join("bundle"));
    let events = ["ApplicationStop", "DownloadBundle", "Install", "AfterInstall"];
    service.deploy_to_the_end(&specification("d-NEWAGENT2", "web", s3("new.tgz", "tgz")), &events);
    assert_eq!(host.sh("cat /var/hook-lines /srv/app/page"), "old ApplicationStop\nnew AfterInstall\nnew");

    // Back again: the CodeDeploy agent finds its files in its own format.
    host.sh("rm /etc/hostler/config.d/50-codedeploy.yaml; systemctl disable --now hostler; systemctl enable --now codedeploy-agent");
    assert_eq!((&*state(&host, "hostler"), &*state(&host, "codedeploy-agent")), ("inactive", "active"));
    let instructions = "/opt/codedeploy-agent/deployment-root/deployment-instructions";
    let last = host.sh(&format!("cat {instructions}/0000-web_last_successful_install"));
    assert_eq!(last, "/opt/codedeploy-agent/deployment-root/0000-web/d-NEWAGENT2");
    assert!(host.sh(&format!("cat {instructions}/0000-web-cleanup")).contains("/srv/app/page"));
    assert_eq!(host.sh(&format!("ls {tracking}")), "");
}

#[test]
fn the_package_with_the_agents_names_is_installed_beside_hostler_and_removed() {
    let Some(packages) = Packages::build(Kind::Deb, &["hostler"]) else { return };
    let Some(links) = Kind::Deb.links() else { return };
    let Some(host) = packages.host("links", Layout::Unified) else { return };
    host.copy_in(&links, "/root/links.deb");
    let alone = host.try_sh(&format!("{INSTALL} /root/links.deb")).unwrap();
    assert!(!alone.status.success(), "it needs hostler");
    host.sh(&format!("{INSTALL} /root/hostler.deb /root/links.deb"));
    assert_eq!(host.sh("codedeploy-local --version"), "1.0");
    let agent = "/opt/codedeploy-agent/bin/codedeploy-agent";
    let stopped = host.try_sh(&format!("{agent} status")).unwrap();
    assert_eq!(stopped.status.code(), Some(3), "{}", String::from_utf8_lossy(&stopped.stdout));
    host.sh(&format!("{agent} start"));
    let pid = host.sh("systemctl show --value --property=MainPID hostler");
    assert_eq!(host.sh(&format!("{agent} status")), format!("The AWS CodeDeploy agent is running as PID {pid}"));
    host.sh(&format!("{agent} restart"));
    assert_ne!(host.sh("systemctl show --value --property=MainPID hostler"), pid);
    let bundle = tempfile::tempdir().unwrap();
    bundle_at(bundle.path(), "v1");
    host.copy_in(bundle.path(), "/root/bundle");
    host.sh("mkdir -p /etc/codedeploy-agent/conf; echo --- > /etc/codedeploy-agent/conf/codedeployagent.yml");
    host.sh("codedeploy-local -l /root/bundle");
    assert_eq!(host.sh("cat /var/hook-lines /srv/app/page"), "v1 AfterInstall\nv1");
    host.sh(&format!("{agent} stop; dpkg --force-unsafe-io --remove hostler-codedeploy-compat"));
    assert_eq!(host.sh("ls /usr/bin/codedeploy-local /opt/codedeploy-agent/bin 2>/dev/null || echo gone"), "gone");
    assert_eq!(host.sh("hostler --version >/dev/null; cat /srv/app/page"), "v1");
}

#[test]
fn the_rpm_with_the_agents_names_links_them_and_takes_them_away() {
    let Some(packages) = Packages::build(Kind::Rpm, &["hostler"]) else { return };
    let Some(links) = Kind::Rpm.links() else { return };
    let Some(host) = packages.host("rpmlinks", Layout::Unified) else { return };
    host.copy_in(&links, "/root/links.rpm");
    // Debian's rpm does not know the installed packages.
    host.sh("rpm --install --nodeps /root/hostler.rpm /root/links.rpm");
    assert!(host.sh("rpm --query --requires hostler-codedeploy-compat").lines().any(|line| line == "hostler"));
    assert_eq!(host.sh("codedeploy-local --version"), "1.0");
    let agent = "/opt/codedeploy-agent/bin/codedeploy-agent";
    host.sh(&format!("{agent} start; {agent} status"));
    host.sh("rpm --erase hostler-codedeploy-compat");
    assert_eq!(host.sh("ls /usr/bin/codedeploy-local /opt/codedeploy-agent/bin 2>/dev/null || echo gone"), "gone");
    assert_eq!(state(&host, "hostler"), "active");
}
