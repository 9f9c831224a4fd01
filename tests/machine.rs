//! The test hosts themselves: they boot, are isolated from each other, and leave nothing behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::eventually;
use crate::support::machine::{Layout, Machine};

#[test]
fn a_host_boots_and_runs_units() {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("greeting"), "hello\n").unwrap();
    let blueprint = Machine::named("units", Layout::Unified)
        .bind(shared.path(), "/srv/shared")
        .bind_read_only(shared.path(), "/srv/fixed");
    let Some(host) = blueprint.boot() else { return };

    assert_eq!(host.sh("cat /proc/1/comm"), "systemd");
    assert!(host.sh("hostname").starts_with("units-"), "{}", host.sh("hostname"));
    assert_eq!(host.sh("systemd-run --quiet --wait true; echo done"), "done");
    assert!(!host.try_sh("systemd-run --quiet --wait false").unwrap().status.success());
    assert_eq!(host.sh("ls /sys/fs/cgroup/system.slice/cgroup.kill"), "/sys/fs/cgroup/system.slice/cgroup.kill");

    assert_eq!(host.sh("cat /srv/shared/greeting; echo there > /srv/shared/answer"), "hello");
    assert_eq!(fs::read_to_string(shared.path().join("answer")).unwrap(), "there\n");
    assert!(!host.try_sh("echo no > /srv/fixed/answer").unwrap().status.success());

    host.copy_in(&shared.path().join("greeting"), "/opt/deep/greeting");
    host.copy_in(shared.path(), "/opt/all");
    assert_eq!(
        host.sh("cat /opt/deep/greeting; stat -c %a /opt/deep/greeting; ls /opt/all"),
        "hello\n644\nanswer\ngreeting"
    );
}

#[test]
fn two_hosts_are_apart_and_a_power_cut_keeps_the_disk() {
    let Some(mut cut) = Machine::named("cut", Layout::Unified).start() else { return };
    let Some(other) = Machine::named("other", Layout::Unified).start() else { return };
    cut.wait_until_running();
    other.wait_until_running();
    assert_ne!(cut.sh("cat /etc/machine-id"), other.sh("cat /etc/machine-id"));

    // The same unit on both: in a shared control group, stopping one would stop both.
    for host in [&cut, &other] {
        host.sh("systemd-run --quiet --unit=sleeper sleep infinity");
    }
    cut.sh("systemctl stop sleeper; echo kept > /var/kept; echo gone > /run/gone");
    assert_eq!(other.sh("systemctl is-active sleeper"), "active");

    cut.power_cut();
    assert!(cut.try_sh("true").is_err(), "a host without power runs nothing");
    assert_eq!(other.sh("systemctl is-active sleeper"), "active");
    cut.start_again();
    assert_eq!(cut.sh("cat /var/kept; ls /run/gone 2>/dev/null || echo gone"), "kept\ngone");
}

#[test]
fn a_host_can_have_control_groups_of_version_1() {
    let Some(host) = Machine::named("hybrid", Layout::Hybrid).boot() else { return };
    assert_eq!(host.sh("stat -f -c %T /sys/fs/cgroup /sys/fs/cgroup/systemd"), "tmpfs\ncgroupfs");
    assert_eq!(host.sh("systemd-run --quiet --wait true; echo done"), "done");
    assert!(!host.sh("systemd-run --quiet --pipe --wait cat /proc/self/cgroup").contains("name=systemd:/\n"));
}

#[test]
fn a_dropped_host_leaves_nothing_behind() {
    let outside = tempfile::tempdir().unwrap();
    let Some(host) = Machine::named("dropped", Layout::Unified).bind(outside.path(), "/srv/outside").boot() else {
        return;
    };
    let name = host.sh("hostname");
    // Held by the host for as long as it runs.
    host.sh("systemd-run --quiet flock /srv/outside/lock sleep infinity");
    let lock = outside.path().join("lock");
    let free = || fs::File::open(&lock).map_err(|e| e.to_string())?.try_lock().map_err(|e| e.to_string());
    eventually("the host holds the lock", Duration::from_secs(10), || match free() {
        Err(seen) if lock.exists() => Ok(seen),
        seen => Err(format!("{seen:?}")),
    });
    drop(host);
    free().expect("nothing of the host runs");
    for place in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
        let group = Path::new(place).join(format!("hostler-test-{name}"));
        assert!(!group.exists(), "{} is left", group.display());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}
