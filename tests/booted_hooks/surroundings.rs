//! The surroundings and limits of a hook: those of any service of this host, whatever the daemon's unit is allowed.

use std::time::Duration;

use hostler_core::codes::ExitCode;

use super::{bundle, code, ended, group, host, lives, main_pid, wait_for_mark};
use crate::support::eventually;
use crate::support::machine::{Layout, Machine};

/// Every kind of hardening that a unit's children inherit and that the daemon itself tolerates.
const HARDENING: &str = "[Service]
PrivateTmp=yes
ProtectHome=read-only
NoNewPrivileges=yes
ProtectHostname=yes
LimitNOFILE=256:512
LimitCORE=0
Nice=7
";

const FACTS: &str = r#"
exec > "${1:-/srv/marks/hook}"
cat /proc/self/mountinfo /proc/self/limits /proc/self/oom_score_adj
readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc /proc/self/ns/user /proc/self/ns/pid
grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp|Umask|SigBlk|Cpus_allowed|Mems_allowed)' /proc/self/status
nice
ls /tmp
"#;

const WHO: &str = r#"
echo "$(id -un):$(id -Gn) $HOME $USER $LOGNAME $SHELL" > /srv/marks/$(id -un)
sudo -n -u games id -un > /srv/marks/$(id -un).sudo
"#;

fn deploy(host: &Machine, bundle: &str) -> (Option<i32>, String) {
    ended(host, &format!("hostler deploy {bundle}"))
}

#[test]
fn a_hook_is_like_any_service_whatever_the_daemon_is_allowed() {
    let Some(host) = host("like", Layout::Unified) else { return };
    host.sh(&format!("cat > /etc/systemd/system/hostler.service.d/hard.conf <<'END'\n{HARDENING}END\n"));
    host.sh("useradd --create-home --groups games,audio web; echo 'web ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/web");
    host.sh("systemctl daemon-reload; systemctl restart hostler; touch /tmp/everyones");
    let appspec = "
version: 0.0
os: linux
hooks:
  BeforeInstall: [{location: facts.sh, timeout: 60}]
  AfterInstall: [{location: who.sh, timeout: 60}]
  ApplicationStart: [{location: who.sh, timeout: 60, runas: web}]
";
    let place = bundle(&host, "facts", &[("appspec.yml", appspec), ("facts.sh", FACTS), ("who.sh", WHO)]);
    let (status, said) = deploy(&host, &place);
    assert_eq!(status, code(ExitCode::Ok), "{said}");

    host.sh(&format!("systemd-run --quiet --wait --collect {place}/facts.sh /srv/marks/plain"));
    let (hook, plain) = (host.sh("cat /srv/marks/hook"), host.sh("cat /srv/marks/plain"));
    assert_eq!(hook, plain);
    assert!(hook.contains("NoNewPrivs:\t0") && hook.contains("\neveryones"), "{hook}");
    let daemon = host.sh(&format!("cat /proc/{}/status", main_pid(&host)));
    assert!(daemon.contains("NoNewPrivs:\t1"), "{daemon}");

    assert_eq!(host.sh("cat /srv/marks/root"), "root:root /root root root /bin/bash");
    assert_eq!(host.sh("cat /srv/marks/web"), "web:web audio games /home/web web web /bin/sh");
    assert_eq!(host.sh("cat /srv/marks/root.sudo /srv/marks/web.sudo"), "games\ngames");
    the_deadline_ends_everything(&host);
    a_killed_supervisor_leaves_nothing(&host);
}

/// A script whose child leaves its session.
const WAITING: &str = "setsid sleep 7003 & echo $! > /srv/marks/left; while :; do sleep 1; done";

fn a_killed_supervisor_leaves_nothing(host: &Machine) {
    let appspec = "
version: 0.0
os: linux
hooks:
  BeforeInstall: [{location: waiting.sh, timeout: 300}]
";
    let place = bundle(host, "waiting", &[("appspec.yml", appspec), ("waiting.sh", WAITING)]);
    host.sh(&format!("systemd-run --quiet --unit=deploy hostler deploy {place}"));
    let child = wait_for_mark(host, "left");
    let deployment = group(host).unwrap().active.unwrap().id;
    needrestart_leaves_it(host, &format!("hostler-hook-{deployment}-*"));
    host.sh(&format!("systemctl kill --signal=KILL --kill-who=main 'hostler-hook-{deployment}-*'"));
    let failed = eventually("the deployment's end", Duration::from_secs(60), || match group(host)? {
        group if group.active.is_none() => Ok(group.failed.unwrap()),
        group => Err(format!("{group:?}")),
    });
    assert_eq!(failed.id, deployment);
    let failure = failed.failure.unwrap();
    assert!(failure.message.starts_with("waiting.sh: interrupted"), "{failure:?}");
    assert!(!lives(host, &child), "the child is ended before anything else is done");
}

/// Reads the package's file as needrestart 3.6 reads those of its `conf.d`, and prints its meaning for a service.
const NEEDRESTART: &str = r#"
my ($unit, %nrconf) = ($ARGV[0], override_rc => {});
eval do { local(@ARGV, $/) = "/etc/needrestart/conf.d/hostler.conf"; <> };
die $@ if $@;
my @spared = grep { $unit =~ /$_/ && !$nrconf{override_rc}{$_} } keys %{$nrconf{override_rc}};
print scalar @spared;
"#;

/// needrestart skips the hook, and systemd refuses a restart that is requested anyway.
fn needrestart_leaves_it(host: &Machine, units: &str) {
    let unit = host.sh(&format!("systemctl list-units --plain --no-legend '{units}' | cut --delimiter=' ' --fields=1"));
    host.sh(&format!("cat > /root/needrestart.pl <<'END'\n{NEEDRESTART}END\n"));
    assert_eq!(host.sh(&format!("perl /root/needrestart.pl {unit}")), "1", "{unit}");
    assert_eq!(host.sh("perl /root/needrestart.pl hostler.service"), "0");
    for verb in ["restart", "stop"] {
        let (status, said) = ended(host, &format!("systemctl {verb} {unit}"));
        assert!(status != Some(0) && said.contains("refused"), "{verb}: {status:?} {said}");
    }
    assert_eq!(host.sh(&format!("systemctl is-active {unit}")), "active");
}

/// A script that ignores the request to end, with children that leave its session, its process group and its parent.
const STUBBORN: &str = r#"
trap '' TERM
setsid sleep 7001 &
echo $! > /srv/marks/away
sh -c 'setsid sleep 7002 & echo $! > /srv/marks/orphan'
while :; do sleep 1; done
"#;

/// Also used on a host without `cgroup.kill` in the control groups of hooks.
pub fn the_deadline_ends_everything(host: &Machine) {
    let appspec = "
version: 0.0
os: linux
hooks:
  BeforeInstall: [{location: stubborn.sh, timeout: 1}]
";
    let place = bundle(host, "stubborn", &[("appspec.yml", appspec), ("stubborn.sh", STUBBORN)]);
    let daemon = main_pid(host);
    let (status, said) = deploy(host, &place);
    assert_eq!(status, code(ExitCode::Failed), "{said}");
    assert!(
        said.contains("stubborn.sh: timed out after 1 s (timeout: 1, line 5 of the appspec); had to be killed: "),
        "{said}"
    );
    for name in ["away", "orphan"] {
        let pid = host.sh(&format!("cat /srv/marks/{name}"));
        assert!(said.contains(&format!("{pid} sleep")), "{name} is {pid}: {said}");
        assert!(!lives(host, &pid), "{name}");
    }
    assert_eq!(main_pid(host), daemon, "the daemon is not part of it");
    let deployment = said.split_whitespace().nth(1).unwrap();
    assert_eq!(host.sh(&format!("systemctl list-units --all --no-legend 'hostler-hook-{deployment}-*'")), "");
}

/// Forks endlessly; the script itself waits without forking.
const BOMB: &str = r#"
bomb() { bomb | bomb & }
mkfifo /srv/marks/never
bomb
read line < /srv/marks/never
"#;

/// On a host that enforces process limits.
pub fn a_fork_bomb_is_bounded(host: &Machine) {
    host.enforce_process_limits();
    let appspec = "
version: 0.0
os: linux
hooks:
  BeforeInstall: [{location: bomb.sh, timeout: 3}]
hostler:
  hooks: {BeforeInstall: {bomb.sh: {limits: {tasks_max: 40}}}}
";
    let place = bundle(host, "bomb", &[("appspec.yml", appspec), ("bomb.sh", BOMB)]);
    let daemon = main_pid(host);
    host.sh(&format!("systemd-run --quiet --unit=deploy hostler deploy {place}"));
    let counted = eventually("the limit is reached", Duration::from_secs(20), || {
        // The units of earlier hooks exist for as long as their applications.
        let ours = "cd /sys/fs/cgroup/pids/system.slice; cd $(dirname $(grep -lx 40 hostler-hook-*/pids.max))";
        let show = format!("{ours}; cat pids.max pids.events pids.peak");
        let counters = ended(host, &show).1;
        if counters.starts_with("40\nmax ") && !counters.contains("max 0\n") { Ok(counters) } else { Err(counters) }
    });
    assert!(counted.ends_with("\n40\n"), "the most at once: {counted}");
    let group = eventually("the deployment's end", Duration::from_secs(60), || {
        let group = group(host)?;
        match &group.failed {
            Some(failed) if failed.location == place && group.active.is_none() => Ok(group),
            _ => Err(format!("{group:?}")),
        }
    });
    let failure = group.failed.unwrap().failure.unwrap();
    assert!(failure.message.starts_with("bomb.sh: timed out"), "{failure:?}");
    assert_eq!(main_pid(host), daemon);
    assert_eq!(host.sh("pgrep -c bomb.sh || true"), "0");
}
