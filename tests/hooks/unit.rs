//! A supervisor in its own control group, as systemd gives it one. There is no systemd here: the test makes the unit's
//! group.

use std::fs;
use std::path::{Path, PathBuf};

use hostler_core::hook::HookOutcome;

use super::{Bench, eventually, is_root, kill_hard, lives, pid_in, write_script};
use crate::support::skip;

/// The unit's control group, removed with this value.
struct Unit(PathBuf);

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for group in [self.0.join("script"), self.0.clone()] {
            eventually("an empty control group", || match fs::remove_dir(&group) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
                _ => Ok(()),
            });
        }
    }
}

/// Starts the bench's supervisor in a unit's control group, if the kernel has control groups.
fn in_unit(bench: &mut Bench) -> Option<Unit> {
    if !is_root("making a control group") {
        return None;
    }
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let Some(mount) = mounts.into_iter().find(|mount| Path::new(mount).join("cgroup.procs").exists()) else {
        skip("no cgroup v2 here");
        return None;
    };
    let name = bench.directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    let path = Path::new(mount).join(format!("hostler-hook-test-{name}.service"));
    if let Err(error) = fs::create_dir(&path) {
        skip(format_args!("no control group can be made here: {error}"));
        return None;
    }
    bench.program = bench.path("in-unit");
    let text = format!("#!/bin/sh\necho $$ > {}/cgroup.procs\nexec '{}' \"$@\"\n", path.display(), super::PROGRAM);
    write_script(&bench.program, &text);
    Some(Unit(path))
}

#[test]
fn the_deadline_kills_the_control_group_and_spares_the_supervisor() {
    let mut bench = Bench::new(
        "cat /proc/$$/cgroup; trap '' TERM; setsid sleep 1000 & echo $! > $(dirname $0)/child; while :; do sleep 0.1; done",
    );
    let Some(unit) = in_unit(&mut bench) else { return };
    (bench.run.timeout_seconds, bench.run.grace_seconds) = (1, 1);
    let result = bench.result();
    let HookOutcome::TimedOut { killed } = &result.outcome else { panic!("{result:?}") };
    assert!(killed.iter().any(|process| process.ends_with(" hook.sh")), "{killed:?}");
    let group = format!("0::/{}/script", unit.0.file_name().unwrap().to_str().unwrap());
    assert!(bench.stdout().contains(&group), "{:?}", bench.stdout());
    assert!(!lives(pid_in(&bench.run.archive.join("child"))));
}

#[test]
fn what_an_interrupted_hook_left_in_its_control_group_is_ended() {
    let mut bench = Bench::new("setsid sleep 1000 & echo $! > $(dirname $0)/child; sleep 1000");
    let Some(_unit) = in_unit(&mut bench) else { return };
    bench.begin();
    let child = pid_in(&bench.run.archive.join("child"));
    kill_hard(bench.supervisor());
    assert_eq!(bench.result().outcome, HookOutcome::Interrupted);
    eventually("the end of the child", || if lives(child) { Err("lives".into()) } else { Ok(()) });
}

#[test]
fn a_finished_hooks_child_lives_on_in_the_control_group() {
    let mut bench = Bench::new("setsid sleep 1000 & echo $! > $(dirname $0)/child");
    let Some(_unit) = in_unit(&mut bench) else { return };
    assert_eq!(bench.result().outcome, HookOutcome::Exited { code: 0 });
    assert!(lives(pid_in(&bench.run.archive.join("child"))));
}
