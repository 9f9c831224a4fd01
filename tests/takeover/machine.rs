//! The host's obligations to others: the completion of a lifecycle hook, a signal, an operator's scripts.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::disk::{Boot, kept};
use super::{history_goes_on, hooks};
use crate::lifecycle::{Member, pair};
use crate::machine_events::script;
use crate::signals::{Instance, STACK, said};
use crate::support::eventually;
use crate::support::host::{Gate, Host, PATIENCE};

/// The application is stopped for a termination, but the group was not notified.
pub fn leave_a_termination(host: Host) -> Host {
    let member = Member::on(host, "");
    let daemon = member.serves();
    member.group.change(|group| group.hold = Some(("CompleteLifecycleAction", 1, false)));
    member.moves("Terminated", "Terminating:Wait");
    eventually("the hook is about to be completed", PATIENCE, || {
        if member.group.change(|group| group.held) { Ok(()) } else { Err(daemon.said()) }
    });
    daemon.kill();
    member.host
}

#[test]
fn a_termination_whose_work_was_done_is_completed_and_nothing_is_stopped_twice() {
    let Some(host) = kept("lifecycle", Boot::Another) else { return };
    assert_eq!(host.hook_lines().iter().filter(|line| *line == "v1 ApplicationStop").count(), 1);
    let member = Member::on(host, "");
    member.moves("Terminated", "Terminating:Wait");
    let daemon = member.daemon();
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")]);
    assert_eq!(member.ran("v1 ApplicationStop"), 1);
    assert_eq!(member.host.status()["condition"], "stopped");
    history_goes_on(&member.host);
}

/// A decided signal that CloudFormation has not accepted, and the first of two scripts in the middle.
pub fn leave_a_signal_and_an_event(host: Host) -> Host {
    let gate = Gate::at(host.path("gate"));
    script(&host, "Deploy", "10-waits", &gate.wait());
    script(&host, "Deploy", "20-next", "");
    let instance = Instance::on(host, STACK);
    instance.change(|stack| stack.denied = u32::MAX);
    instance.release("v1", "");
    let daemon = instance.daemon();
    eventually("the signal is decided and the script runs", PATIENCE, || {
        let shown = instance.host.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&shown.out).map_err(|e| format!("{e}: {}", daemon.said()))?;
        let waits = status["signals"]["web/Fleet"]["success"] == true && hooks::running(&instance.host).len() == 1;
        if waits { Ok(()) } else { Err(format!("{status}\n{}", daemon.said())) }
    });
    let runs = eventually("the script is written down", PATIENCE, || {
        let runs = hooks::running(&instance.host);
        let whole = runs.iter().all(|run| run["script"]["pid"] != run["supervisor"]["pid"]);
        if whole && instance.host.hook_lines().len() > 1 { Ok(runs) } else { Err(format!("{runs:?}")) }
    });
    daemon.kill();
    for process in runs.iter().flat_map(|run| [&run["supervisor"], &run["script"]]) {
        let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    instance.host
}

#[test]
fn a_signal_that_was_not_taken_is_sent_once_and_an_events_scripts_go_on() {
    let Some(host) = kept("signals-and-events", Boot::Another) else { return };
    let before = host.hook_lines();
    assert!(
        !Gate::at(host.path("gate")).path().exists() && before.contains(&"Deploy 10-waits".to_owned()),
        "{before:?}"
    );
    let instance = Instance::on(host, STACK);
    let daemon = instance.daemon();
    let found = instance.ended("web/Fleet", "taken", &daemon);
    assert_eq!(found["success"], true);
    eventually("the event ends", PATIENCE, || {
        let status = instance.host.ok(&["status", "--json"]).json();
        let failures = status["machine_events"]["last"]["Deploy"]["failures"].to_string();
        if failures.contains("10-waits") { Ok(()) } else { Err(format!("{status}\n{}", daemon.said())) }
    });
    assert_eq!(instance.host.hook_lines(), [before, vec!["Deploy 20-next".to_owned()]].concat());
    instance.host.ok(&["stop"]);
    daemon.end().with_code(0);
    assert_eq!(instance.signals(), [said("SUCCESS")]);
    history_goes_on(&instance.host);
}
