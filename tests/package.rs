//! The packages on a booted host: the places of their files, and the effect of installing, upgrading, removing and
//! purging on the daemon, on hooks in progress and on state.

use std::time::Duration;

use crate::support::eventually;
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{INSTALL, Kind, Packages, main_pid, state, wait_for_another_daemon};

#[test]
fn the_deb_installs_upgrades_and_removes() {
    let Some(packages) = Packages::build(Kind::Deb, &["old", "new"]) else { return };
    let Some(host) = packages.host("package", Layout::Unified) else { return };

    host.sh(&format!("{INSTALL} /root/old.deb"));
    check_layout(&host);
    let conffiles = host.sh("dpkg-query --show --showformat='${Conffiles}' hostler");
    assert!(conffiles.contains("/etc/hostler/config.yaml"), "{conffiles}");
    assert_eq!(host.sh("systemctl is-enabled hostler hostler-recover"), "enabled\nenabled");
    assert_eq!(state(&host, "hostler"), "inactive", "it waits for its configuration");
    assert_eq!(host.sh("systemd-analyze verify hostler.service hostler-recover.service 2>&1"), "");
    let said = host.sh("hostler doctor || true");
    assert!(said.contains("hostler.service is enabled and does not run"), "{said}");

    host.sh("systemctl start hostler");
    let first = main_pid(&host);
    let said = host.sh("hostler doctor || true");
    assert!(said.contains("hostler.service is enabled and active"), "{said}");
    // A hook, as systemd sees it.
    host.sh("systemd-run --quiet --unit=hook --property=KillMode=process sleep infinity");
    host.sh(
        "echo '# by hand' >> /etc/hostler/config.yaml; echo x > /var/lib/hostler/kept; echo x > /var/log/hostler/log",
    );
    host.sh(AS_AN_OLDER_PACKAGE);

    host.sh(&format!("{INSTALL} /root/new.deb"));
    let second = wait_for_another_daemon(&host, &first);
    assert_eq!(state(&host, "hook"), "active", "an upgrade leaves hooks alone");
    assert_eq!(host.sh("tail -n 1 /etc/hostler/config.yaml"), "# by hand");
    assert_eq!(host.sh(ACCESS), "640 root:hostler");

    host.sh(&format!("kill -KILL {second}"));
    wait_for_another_daemon(&host, &second);

    host.sh("dpkg --force-unsafe-io --remove hostler");
    assert_ne!(state(&host, "hostler"), "active");
    assert_eq!(state(&host, "hook"), "active", "removing the agent leaves hooks alone");
    let kept = "/etc/hostler/config.yaml\n/var/lib/hostler/kept\n/var/log/hostler/log";
    assert_eq!(host.sh("ls -d /usr/bin/hostler /etc/hostler/* /var/lib/hostler/kept /var/log/hostler/* || true"), kept);

    host.sh(&format!("{INSTALL} /root/new.deb"));
    assert_eq!(host.sh("systemctl is-enabled hostler hostler-recover"), "enabled\nenabled");
    host.sh("systemctl start hostler");

    host.sh("dpkg --force-unsafe-io --purge hostler");
    assert_ne!(state(&host, "hostler"), "active");
    assert_eq!(state(&host, "hook"), "active");
    assert_eq!(host.sh("find / -xdev -name '*hostler*' -not -path '/proc/*' -not -path '/var/log/journal/*'"), "");
    assert!(host.sh("getent group hostler").starts_with("hostler:x:"), "files may still belong to the group");
}

#[test]
fn the_rpm_installs_upgrades_and_removes() {
    let Some(packages) = Packages::build(Kind::Rpm, &["old", "new"]) else { return };
    let Some(host) = packages.host("rpm", Layout::Unified) else { return };

    // Debian's rpm does not know the installed packages.
    host.sh("rpm --install --nodeps /root/old.rpm");
    check_layout(&host);
    let configuration = "/etc/hostler/config.yaml\n/etc/needrestart/conf.d/hostler.conf";
    assert_eq!(host.sh("rpm --query --configfiles hostler"), configuration);
    assert_eq!(host.sh("systemctl is-enabled hostler hostler-recover"), "enabled\nenabled");
    assert_eq!(state(&host, "hostler"), "inactive", "it waits for its configuration");

    host.sh("systemctl start hostler; systemctl disable --quiet hostler-recover");
    let first = main_pid(&host);
    host.sh("systemd-run --quiet --unit=hook --property=KillMode=process sleep infinity");
    host.sh("echo '# by hand' >> /etc/hostler/config.yaml; echo x > /var/lib/hostler/kept");
    host.sh(AS_AN_OLDER_PACKAGE);

    host.sh("rpm --upgrade --nodeps /root/new.rpm");
    wait_for_another_daemon(&host, &first);
    assert_eq!(state(&host, "hook"), "active", "an upgrade leaves hooks alone");
    assert_eq!(host.sh("tail -n 1 /etc/hostler/config.yaml"), "# by hand");
    assert_eq!(host.sh(ACCESS), "640 root:hostler");
    assert_eq!(host.sh("systemctl is-enabled hostler hostler-recover || true"), "enabled\ndisabled");

    host.sh("rpm --erase hostler");
    assert_ne!(state(&host, "hostler"), "active");
    assert_eq!(state(&host, "hook"), "active", "removing the agent leaves hooks alone");
    let kept = "/etc/hostler/config.yaml.rpmsave\n/var/lib/hostler/kept";
    assert_eq!(host.sh("ls -d /usr/bin/hostler /etc/hostler/* /var/lib/hostler/kept || true"), kept);
    assert_eq!(host.sh("find /etc/systemd -name '*hostler*'"), "");
}

#[test]
fn an_upgrade_does_not_start_a_stopped_daemon_or_enable_a_disabled_one() {
    let Some(packages) = Packages::build(Kind::Deb, &["old", "new"]) else { return };
    let Some(host) = packages.host("stopped", Layout::Unified) else { return };
    host.sh(&format!("{INSTALL} /root/old.deb; systemctl disable hostler; chgrp root /etc/hostler/config.yaml"));
    host.sh(&format!("chmod 600 /etc/hostler/config.yaml; {INSTALL} /root/new.deb"));
    assert_eq!(host.sh(ACCESS), "600 root:root", "what an administrator chose stays");
    assert_eq!(state(&host, "hostler"), "inactive");
    assert_eq!(host.sh("systemctl is-enabled hostler hostler-recover || true"), "disabled\nenabled");
}

#[test]
fn an_interrupted_install_is_settled_at_boot_before_applications_start() {
    let Some(packages) = Packages::build(Kind::Deb, &["old"]) else { return };
    let Some(mut host) = packages.host("recover", Layout::Unified) else { return };
    host.sh(&format!("{INSTALL} /root/old.deb"));
    host.sh("mkdir -p /var/lib/hostler/state; systemctl disable hostler");
    host.sh("printf '[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/application.service");
    host.sh("systemctl enable application; sync");

    host.power_cut();
    host.start_again();

    let show = |unit: &str, property: &str| host.sh(&format!("systemctl show --value --property={property} {unit}"));
    assert_eq!(show("hostler-recover", "Result"), "success");
    let settled: u64 = show("hostler-recover", "ExecMainExitTimestampMonotonic").parse().unwrap();
    let started: u64 = show("application", "ExecMainStartTimestampMonotonic").parse().unwrap();
    assert!(0 < settled && settled <= started, "settled at {settled}, the application started at {started} (µs)");
}

/// The mode of the configuration in packages from before it was closed to other users.
const AS_AN_OLDER_PACKAGE: &str = "chown root:root /etc/hostler/config.yaml; chmod 644 /etc/hostler/config.yaml";
const ACCESS: &str = "stat -c '%a %U:%G' /etc/hostler/config.yaml";

fn check_layout(host: &Machine) {
    let places = [
        "755 root:root /usr/bin/hostler",
        "755 root:root /usr/libexec/hostler/hook-supervisor",
        "640 root:hostler /etc/hostler/config.yaml",
        "644 root:root /usr/lib/systemd/system/hostler.service",
        "644 root:root /usr/lib/systemd/system/hostler-recover.service",
        "644 root:root /etc/needrestart/conf.d/hostler.conf",
        "644 root:root /usr/lib/sysusers.d/hostler.conf",
        "644 root:root /usr/lib/tmpfiles.d/hostler.conf",
        "644 root:root /usr/share/man/man1/hostler.1.gz",
        "644 root:root /usr/share/man/man1/hostler-rotate-keys.1.gz",
        "644 root:root /usr/share/man/man5/hostler.yaml.5.gz",
        "644 root:root /usr/share/man/man5/hostler-appspec.5.gz",
        "644 root:root /usr/share/hostler/schema/config.schema.json",
        "644 root:root /usr/share/hostler/schema/appspec.schema.json",
        "644 root:root /usr/share/bash-completion/completions/hostler",
        "644 root:root /usr/share/fish/vendor_completions.d/hostler.fish",
        "755 root:hostler /run/hostler",
        "711 root:hostler /var/lib/hostler",
        "750 root:hostler /var/log/hostler",
    ];
    for place in places {
        let path = place.rsplit(' ').next().unwrap();
        assert_eq!(host.sh(&format!("stat -c '%a %U:%G %n' {path}")), place);
    }
}

/// The effects of an install on a host, and how the daemon starts and ends hooks. Prints the step that failed.
const AS_THE_DAEMON: &str = r#"#!/bin/sh
set -ex
mkdir -p /usr/local/app /lib/modules/app
cd /usr/local/app
echo old > one; echo new > two
chown games:games one; chmod 4755 one; setfacl --modify user:games:r one
sync --file-system one
python3 - <<'END'
import os
os.link("one", "kept")
os.rename("two", "one")
os.setxattr("one", "user.checked", b"yes")
END
echo there > /tmp/visible; echo there > /home/visible; echo there > /lib/modules/app/visible
systemd-run --quiet --wait sudo -n -u games true
systemd-run --quiet --wait unshare --mount true
systemd-run --quiet --unit=overdue sleep infinity
echo 1 > /sys/fs/cgroup/system.slice/overdue.service/cgroup.kill
! unshare --mount true
! setpriv --reuid=games --regid=games --init-groups id
! mknod /run/device c 1 3
"#;

#[test]
fn the_unit_lets_the_daemon_do_its_work_and_hardens_nothing_but_the_daemon() {
    let Some(packages) = Packages::build(Kind::Deb, &["old"]) else { return };
    let Some(host) = packages.host("hardened", Layout::Unified) else { return };
    host.sh(&format!("{INSTALL} /root/old.deb"));
    host.sh(&format!("cat > /usr/local/bin/as-the-daemon <<'SCRIPT'\n{AS_THE_DAEMON}SCRIPT\n"));
    host.sh("mkdir /etc/systemd/system/hostler.service.d; chmod 755 /usr/local/bin/as-the-daemon");
    host.sh("printf '[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=/usr/local/bin/as-the-daemon\n' > /etc/systemd/system/hostler.service.d/test.conf");
    host.sh("systemctl daemon-reload; systemctl start hostler || { journalctl --no-pager --unit=hostler; false; }");
    assert_eq!(host.sh("cat /tmp/visible /home/visible /lib/modules/app/visible"), "there\nthere\nthere");
    let files =
        host.sh("cd /usr/local/app; cat one kept; stat -c '%A %U' kept; getfacl --omit-header kept | grep user:games");
    assert_eq!(files, "new\nold\n-rwsr-xr-x games\nuser:games:r--");
    eventually("the overdue hook is gone", Duration::from_secs(10), || match state(&host, "overdue") {
        state if state == "active" => Err(state),
        _ => Ok(()),
    });
}
