//! Ends a hook's processes without its supervisor, if the supervisor is dead or stuck.
//!
//! A number is no proof. The numbers of `processes.json` count in the boot and the pid namespace in which they were
//! written; the supervisor and the script are identified by their start times. A session without its leader is the
//! script's only if a member has the script's own variables: while one lives, the kernel gives the number to no other
//! session.

use std::fs;
use std::time::Duration;

use hostler_core::hook::HookRun;
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};

use super::directory::{ProcessId, Processes};
use super::processes::{self, ControlGroup, Process, ProcessTree};
use crate::clock::{read_boot_id, since_boot};

/// Variables that tell one run of a script from others; scripts hand them on to their children.
const MARKS: [&str; 4] = ["DEPLOYMENT_ID", "LIFECYCLE_EVENT", "HOSTLER_EVENT", "HOSTLER_INSTANCE_ID"];

/// Ends the processes that an interrupted hook left: its control group and the session of its script. A script that
/// goes on by itself would work against the agent's next steps.
///
/// Outside of systemd, a process that the hook moved to a session of its own cannot be told from a service that it
/// started, and is left alone.
pub(super) fn end_leftovers(processes: &Processes, run: Option<&HookRun>) {
    if read_boot_id().ok().as_ref() != Some(&processes.boot_id) {
        return;
    }
    if let Some(path) = &processes.control_group {
        ControlGroup::at(path).end();
    }
    if is_this_namespace(processes) {
        end_session(processes.script, &run.map(marks).unwrap_or_default());
    }
}

fn end_session(script: ProcessId, marks: &[String]) {
    let of_session = |process: &Process| process.session == script.pid && process.start_time >= script.start_time;
    let members: Vec<Process> = processes::process_table().into_iter().filter(of_session).collect();
    let is_proven = match processes::identify(script.pid) {
        Some(leader) => leader == script,
        None => members.iter().any(|member| has_marks(member.pid, marks)),
    };
    if is_proven {
        members.iter().for_each(|member| processes::send(member, Signal::SIGKILL));
    } else if !members.is_empty() {
        log::info!(session = script.pid; "the processes of session {} are left alone: it has a hook's number and none of its marks", script.pid);
    }
}

/// How long a script has been running, if it is the recorded script, in this namespace.
pub(super) fn age(processes: &Processes) -> Option<Duration> {
    let ticks = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok().filter(|ticks| *ticks > 0)?;
    let is_here = is_same_boot(processes) && is_this_namespace(processes);
    // The script may have ended, and the supervisor be stuck.
    let is_there = is_here && processes::identify(processes.supervisor.pid) == Some(processes.supervisor);
    let begun = Duration::from_millis(processes.script.start_time.checked_mul(1000)? / ticks);
    is_there.then(|| since_boot().saturating_sub(begun))
}

/// Kills all processes of a hook whose supervisor does not, and the supervisor; returns which ones.
pub(super) fn end_overdue(processes: &Processes) -> Vec<String> {
    let group = processes.control_group.as_deref().map(ControlGroup::at);
    let tree = ProcessTree::new(processes.supervisor.pid, processes.script.pid, group);
    let mut killed = tree.living();
    tree.kill();
    if processes::identify(processes.supervisor.pid) == Some(processes.supervisor) {
        let supervisor = nix::unistd::Pid::from_raw(processes.supervisor.pid);
        // A supervisor that waits for a device ends when the device answers.
        let _ = nix::sys::signal::kill(supervisor, Signal::SIGKILL);
        killed.push(format!("{supervisor} (its supervisor, which did not keep the deadline)"));
    }
    killed
}

fn is_same_boot(processes: &Processes) -> bool {
    read_boot_id().is_ok_and(|boot| boot == processes.boot_id)
}

/// If an agent did not note its namespace, its numbers are taken as they are, with their start times.
fn is_this_namespace(processes: &Processes) -> bool {
    processes.pid_namespace.is_none_or(|noted| processes::pid_namespace() == Some(noted))
}

fn marks(run: &HookRun) -> Vec<String> {
    let marked = run.environment.iter().filter(|(name, _)| MARKS.contains(&name.as_str()));
    marked.map(|(name, value)| format!("{name}={value}")).collect()
}

fn has_marks(pid: i32, marks: &[String]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let has = |mark: &String| environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
    !marks.is_empty() && marks.iter().all(has)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A process in a session whose leader is gone: of `setsid`, which forks.
    fn session(mark: &str) -> (Sleeper, Process) {
        // The shell is the leader; its child stays when it is gone.
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", "sleep 1000 & read line"])
            .env("DEPLOYMENT_ID", mark)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let pid = i32::try_from(leader.id()).unwrap();
        let member = loop {
            let table = processes::process_table();
            if let Some(found) = table.into_iter().find(|p| p.session == pid && p.pid != pid) {
                break found;
            }
            assert!(std::time::Instant::now() < deadline, "no member of session {pid}");
            std::thread::yield_now();
        };
        drop(leader.stdin.take());
        leader.wait().unwrap();
        (Sleeper(leader), member)
    }

    fn lives(process: &Process) -> bool {
        processes::process_table().iter().any(|p| p.pid == process.pid && p.start_time == process.start_time)
    }

    #[test]
    fn a_session_whose_leader_is_gone_is_ended_only_if_a_member_has_the_runs_marks() {
        let (_leader, member) = session("d-MINE");
        let script = ProcessId { pid: member.session, start_time: 0 };
        for marks in [&[][..], &["DEPLOYMENT_ID=d-OTHER".to_owned()], &["DEPLOYMENT_ID=d-MIN".to_owned()]] {
            end_session(script, marks);
            assert!(lives(&member), "{marks:?}");
        }
        end_session(script, &["DEPLOYMENT_ID=d-MINE".to_owned()]);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while lives(&member) {
            assert!(std::time::Instant::now() < deadline, "{member:?} lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn numbers_of_another_namespace_or_boot_mean_nothing() {
        let own = processes::identify(i32::try_from(std::process::id()).unwrap()).unwrap();
        let here = Processes {
            boot_id: read_boot_id().unwrap(),
            pid_namespace: processes::pid_namespace(),
            supervisor: own,
            script: own,
            control_group: None,
        };
        assert!(age(&here).is_some_and(|age| age < Duration::from_secs(3600)), "{:?}", age(&here));
        assert!(age(&Processes { pid_namespace: None, ..here.clone() }).is_some(), "of an older agent");
        assert_eq!(age(&Processes { pid_namespace: Some(1), ..here.clone() }), None);
        assert_eq!(age(&Processes { boot_id: "other".into(), ..here.clone() }), None);
        let other = ProcessId { start_time: own.start_time + 1, ..own };
        assert_eq!(age(&Processes { supervisor: other, ..here }), None, "the number is another process's now");
    }
}
