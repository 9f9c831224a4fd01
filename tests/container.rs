//! The program as the first process of a container.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, root_or_skip};

/// The processes with one of these parents, as state and parent.
fn children(parents: &[i32]) -> Vec<(i32, String)> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let child = |pid: i32| {
        let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
        let (before, after) = stat.rsplit_once(')')?;
        let parent: i32 = after.split_ascii_whitespace().nth(1)?.parse().ok()?;
        parents.contains(&parent).then(|| (pid, format!("{before}){}", &after[..2])))
    };
    pids.filter_map(child).collect()
}

/// The only child, once there is one.
fn only_child(parent: i32) -> i32 {
    eventually(&format!("a child of {parent}"), PATIENCE, || match children(&[parent])[..] {
        [(pid, _)] => Ok(pid),
        ref other => Err(format!("{other:?}")),
    })
}

#[test]
fn as_process_1_it_reaps_what_hooks_leave_and_ends_as_it_is_told() {
    if !root_or_skip("a pid namespace") {
        return;
    }
    let host = Host::new();
    let store = host.store();
    let run = host.command(&["run", "--channel", store.to_str().unwrap(), "--poll", "1s"]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(run.get_program()).args(run.get_args());
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").current_dir("/");
    let container = host.start_command(command);
    let init = only_child(i32::try_from(container.pid()).unwrap());
    let daemon = only_child(init);
    for (version, sequence) in [("v1", 1), ("v2", 2)] {
        // The child loses its parent, and ends after its hook.
        let bundle = Bundle::new(&host, version).app().hook("AfterInstall", "(sleep 0.2 >/dev/null 2>&1 &)").write();
        host.release(&bundle, &[]);
        let is_done = |status: &serde_json::Value| {
            status["condition"] == "good" && status["highest_sequence"] == sequence && status["active"].is_null()
        };
        host.status_when("it is deployed", is_done);
    }
    eventually("only the daemon is left", PATIENCE, || match &children(&[init, daemon])[..] {
        [(pid, _)] if *pid == daemon => Ok(()),
        others => Err(format!("{others:?}")),
    });
    kill(Pid::from_raw(init), Signal::SIGTERM).unwrap();
    container.end().with_code(0);
}
