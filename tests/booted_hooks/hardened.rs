//! The unit's hardening applies to the daemon alone: Installs, hooks, health checks and machine events work under it.

use super::{bundle, group, host, release, settled, wait_for_mark};
use crate::support::machine::Layout;

/// Files of any owner and mode in places where only a service without ProtectSystem and similar settings can put them.
const APPSPEC: &str = "
version: 0.0
os: linux
files:
  - {source: app, destination: /usr/local/app}
  - {source: app/file, destination: /home/app}
  - {source: app/file, destination: /lib/modules/app}
  - {source: app/file, destination: /tmp/app}
  - {source: app/file, destination: /etc/app}
permissions:
  - {object: /usr/local/app, pattern: file, owner: games, group: games, mode: '4755', acls: ['u:mail:r'], type: [file]}
hostler:
  health:
    - command: {location: check.sh}
      interval: 1s
      successes: 1
      timeout: 20s
    - process: {name: webs-program}
      interval: 1s
      successes: 1
    - command: {location: check-as-web.sh, runas: web}
      interval: 1s
      successes: 1
      timeout: 20s
hooks:
  BeforeInstall: [{location: hook.sh, timeout: 60}]
  AfterInstall: [{location: hook.sh, timeout: 60, runas: web}, {location: hook.sh, timeout: 60}]
";

/// Actions of deployment scripts as root. The script ends at the first line that the daemon's unit would not allow.
const AS_ROOT: &str = r#"
mkdir -p /mnt/of-a-script; mount -t tmpfs tmpfs /mnt/of-a-script; umount /mnt/of-a-script
unshare --mount true
su games -s /bin/sh -c true
sudo -n -u games true
nice -n -5 true
chrt --fifo 1 true
mknod /run/of-a-script c 1 3; rm /run/of-a-script
hostname > /dev/null; systemctl is-system-running > /dev/null || true
chown games /run; chown root /run
python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)'
python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'
test "$(sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" = 0
test "$(sed -n 's/^Seccomp:\t//p' /proc/self/status)" = "$(sed -n 's/^Seccomp:\t//p' /proc/1/status)"
test "$(sed -n 's/^CapBnd:\t//p' /proc/self/status)" = "$(sed -n 's/^CapBnd:\t//p' /proc/1/status)"
test "$(readlink /proc/self/ns/mnt)" = "$(readlink /proc/1/ns/mnt)"
"#;

const AS_WEB: &str = r#"
test "$(id -un)" = web
sudo -n true
pgrep systemd > /dev/null
cat appspec.yml > /dev/null
"#;

fn marking(body: &str, name: &str) -> String {
    format!("set -ex\nexec 2> /srv/marks/{name}.said\n{body}\necho done > /srv/marks/{name}\n")
}

#[test]
fn the_unit_is_tight_and_takes_nothing_from_what_it_runs() {
    let Some(host) = host("tight", Layout::Unified) else { return };
    host.sh("useradd --create-home web; echo 'web ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/web");
    host.sh("mkdir -p /etc/hostler/hooks.d/Deploy; cp /bin/sleep /usr/local/bin/webs-program");
    host.sh("systemd-run --quiet --uid=web /usr/local/bin/webs-program infinity");
    let event = marking(AS_ROOT, "event");
    host.sh(&format!("printf '#!/bin/sh\\n' > /etc/hostler/hooks.d/Deploy/10-all; cat >> /etc/hostler/hooks.d/Deploy/10-all <<'SCRIPT'\n{event}SCRIPT\nchmod 755 /etc/hostler/hooks.d/Deploy/10-all"));
    host.sh("systemctl restart hostler");

    let exposure = host.sh("systemd-analyze security --no-pager hostler.service | tail -n 1");
    let score: f64 = exposure.split_whitespace().find_map(|word| word.parse().ok()).expect("a figure");
    assert!(score <= 4.4, "{exposure}");
    let recovers = host.sh("systemd-analyze security --no-pager hostler-recover.service | tail -n 1");
    println!("{exposure}\n{recovers}");

    let hook = format!(
        "set -ex\nif [ \"$(id -u)\" != 0 ]; then\nexec 2> /srv/marks/hook-as-web.said\n{AS_WEB}\nexit\nfi\n{}",
        marking(AS_ROOT, "hook")
    );
    let place = bundle(
        &host,
        "v1",
        &[
            ("appspec.yml", APPSPEC),
            ("app/file", "new\n"),
            ("hook.sh", &hook),
            ("check.sh", &marking(AS_ROOT, "check")),
            ("check-as-web.sh", &marking(AS_WEB, "check-as-web")),
        ],
    );
    release(&host, &place);
    let settled = settled(&host, 1);
    let said = || host.sh("tail -n 3 /srv/marks/*.said; hostler logs; journalctl --no-pager --lines=30 --unit=hostler");
    assert!(settled.installed.is_some(), "{settled:?}\n{}", said());
    for mark in ["hook", "check", "check-as-web", "event"] {
        assert_eq!(wait_for_mark(&host, mark).trim(), "done", "{mark}\n{}", said());
    }
    assert_eq!(host.sh("cat /home/app/file /lib/modules/app/file /tmp/app/file /etc/app/file"), ["new"; 4].join("\n"));
    let installed = host.sh("cd /usr/local/app; stat -c '%A %U' file; getfacl --omit-header file | grep user:mail");
    assert_eq!(installed, "-rwsr-xr-x games\nuser:mail:r--");

    // One process runs all checks of the daemon, and ends with it.
    let checks = "systemctl list-units --no-legend --plain --state=active 'hostler-checks-*' | wc -l";
    assert_eq!(host.sh(checks), "1");
    host.sh("systemctl kill --signal=KILL hostler");
    host.sh("rm /srv/marks/check");
    assert_eq!(wait_for_mark(&host, "check").trim(), "done", "the next daemon asks again");
    assert!(group(&host).unwrap().installed.is_some());
    crate::support::eventually("the first one is gone", std::time::Duration::from_secs(20), || {
        match (host.sh(checks), host.sh("ls -d /run/hostler-checks-* | wc -l")) {
            (units, directories) if units == "1" && directories == "1" => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
}
