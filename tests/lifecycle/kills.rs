//! `kill -9` before and after each call to the group, in a launch and in a termination. The group itself reports
//! forbidden calls: a completion before the work is done or with another result than before, and a heartbeat after it.

use super::*;
use crate::support::auto_scaling::AFTER_THE_END;

const DESCRIBE: &str = "DescribeAutoScalingInstances";
const DESCRIBE_AFTER: &str = "DescribeAutoScalingInstances after the end";

/// The calls of an action, in order: the name, and the number among calls of that name.
const CALLS: [(&str, usize); 6] = [
    (DESCRIBE, 1),
    ("DescribeLifecycleHooks", 1),
    ("RecordLifecycleActionHeartbeat", 1),
    (DESCRIBE, 2),
    ("CompleteLifecycleAction", 1),
    (DESCRIBE_AFTER, 1),
];

/// Kills the daemon while this call is on its way, or done and not answered yet; then another daemon completes the
/// action.
fn killed(member: &Member, daemon: Running, (call, nth): (&str, usize), state: &str) -> Running {
    eventually(&format!("{call} {nth} comes"), PATIENCE, || {
        if member.group.change(|group| group.held) { Ok(()) } else { Err(daemon.said()) }
    });
    daemon.kill();
    member.group.change(|group| group.hold = None);
    let again = member.daemon();
    member.comes_to(state, &again);
    eventually("the action has ended", PATIENCE, || {
        let lifecycle = member.lifecycle();
        if lifecycle["action"].is_null() { Ok(()) } else { Err(format!("{lifecycle}\n{}", again.said())) }
    });
    again
}

/// Checks the hook lines when the group receives a completion.
fn proves(member: &Member, line: &'static str) {
    let file = member.host.hook_lines_file();
    let proof = move || fs::read_to_string(&file).is_ok_and(|text| text.contains(line));
    member.group.change(|group| group.proof = Some(Box::new(proof)));
}

fn launch_killed_at(call: (&'static str, usize), done: bool) {
    let member = Member::new("");
    member.release("v1");
    proves(&member, "v1 AfterAllowTraffic");
    member.moves("InService", "Pending:Wait");
    member.group.change(|group| group.hold = Some((call.0, call.1, done)));
    let again = killed(&member, member.daemon(), call, "InService");
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")], "{call:?} {done}\n{}", again.said());
    assert_eq!(member.ran("v1 ApplicationStart"), 1, "{call:?} {done}");
    assert_eq!(member.lifecycle()["instance_state"], "in_service", "{call:?} {done}");
}

fn termination_killed_at(call: (&'static str, usize), done: bool) {
    let member = Member::new("");
    let daemon = member.serves();
    proves(&member, "v1 ApplicationStop");
    member.group.change(|group| group.hold = Some((call.0, call.1, done)));
    member.moves("Terminated", "Terminating:Wait");
    let again = killed(&member, daemon, call, "Terminated");
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")], "{call:?} {done}\n{}", again.said());
    assert_eq!(member.ran("v1 ApplicationStop"), 1, "{call:?} {done}");
    assert_eq!(member.lifecycle()["instance_state"], "terminating", "{call:?} {done}");
}

/// On the way back into the pool there are two actions in sequence: the second begins at the first one's last call.
fn return_to_the_pool_killed_at(call: (&'static str, usize), done: bool) {
    let member = Member::new("");
    let daemon = member.serves();
    proves(&member, "v1 ApplicationStop");
    member.group.change(|group| group.hold = Some((call.0, call.1, done)));
    member.moves("Warmed:Stopped", "Terminating:Wait");
    let again = killed(&member, daemon, call, "Warmed:Stopped");
    let all = [pair("terminate", "CONTINUE"), pair("launch", "CONTINUE")];
    assert_eq!(member.completed(), all, "{call:?} {done}\n{}", again.said());
    assert_eq!(member.ran("v1 ApplicationStop"), 1, "{call:?} {done}");
    assert_eq!(member.lifecycle()["instance_state"], "warm_pool", "{call:?} {done}");
}

/// One third of the calls: each kill takes seconds.
fn third(number: usize) -> impl Iterator<Item = ((&'static str, usize), bool)> {
    assert!(DESCRIBE_AFTER.ends_with(AFTER_THE_END));
    CALLS.into_iter().skip(number * 2).take(2).flat_map(|call| [(call, false), (call, true)])
}

#[test]
fn killed_while_a_launch_is_found() {
    third(0).for_each(|(call, done)| launch_killed_at(call, done));
}

#[test]
fn killed_while_a_launch_goes_on() {
    third(1).for_each(|(call, done)| launch_killed_at(call, done));
}

#[test]
fn killed_while_a_launch_is_completed() {
    third(2).for_each(|(call, done)| launch_killed_at(call, done));
}

#[test]
fn killed_while_a_termination_is_found() {
    third(0).for_each(|(call, done)| termination_killed_at(call, done));
}

#[test]
fn killed_while_a_termination_goes_on() {
    third(1).for_each(|(call, done)| termination_killed_at(call, done));
}

#[test]
fn killed_while_a_termination_is_completed() {
    third(2).for_each(|(call, done)| termination_killed_at(call, done));
}

#[test]
fn killed_while_a_return_to_the_pool_is_found() {
    third(0).for_each(|(call, done)| return_to_the_pool_killed_at(call, done));
}

#[test]
fn killed_while_a_return_to_the_pool_goes_on() {
    third(1).for_each(|(call, done)| return_to_the_pool_killed_at(call, done));
}

#[test]
fn killed_while_a_return_to_the_pool_is_completed() {
    third(2).for_each(|(call, done)| return_to_the_pool_killed_at(call, done));
}

#[test]
fn kill_at_each_step_of_a_launch_leads_to_one_continue() {
    for step in ["before the deployment", "in a script", "before the completion", "answer lost", "after the completion"]
    {
        let member = Member::new("");
        let (wait, gate) = member.gate("launch");
        member.host.release(&member.bundle("v1").hook("AfterInstall", &wait).all_hooks().write(), &[]);
        member.moves("InService", "Pending:Wait");
        let daemon = member.daemon();
        match step {
            "before the deployment" => daemon.says("the host's lifecycle: launch began"),
            "in a script" => member.hook_ran("v1 AfterInstall"),
            "before the completion" => {
                member.group.change(|group| group.too_early = true);
                gate.open();
                daemon.says("decided: ");
            }
            "answer lost" => {
                member.group.change(|group| group.lost_answers = 1);
                gate.open();
                member.comes_to("InService", &daemon);
            }
            _ => {
                gate.open();
                member.comes_to("InService", &daemon);
            }
        }
        daemon.kill();
        member.group.change(|group| group.too_early = false);
        gate.open();
        let again = member.daemon();
        member.comes_to("InService", &again);
        again.says("hostler runs");
        assert_eq!(member.completed(), [pair("launch", "CONTINUE")], "{step}");
        let runs = member.host.hook_lines().iter().filter(|l| *l == "v1 AfterInstall").count();
        assert_eq!(runs, 1, "{step}: {:?}", member.host.hook_lines());
    }
}

#[test]
fn kill_at_each_step_of_a_termination_leads_to_one_stop_and_one_continue() {
    for step in ["opened", "in the script", "before the completion", "answer lost"] {
        let member = Member::new("");
        let (wait, gate) = member.gate("stop");
        member.host.release(&member.bundle("v1").hook("ApplicationStop", &wait).all_hooks().write(), &[]);
        member.moves("InService", "InService");
        let daemon = member.daemon();
        member.hook_ran("v1 AfterAllowTraffic");
        member.moves("Terminated", "Terminating:Wait");
        match step {
            "opened" => daemon.says("the host's lifecycle: shutdown began"),
            "in the script" => member.hook_ran("v1 ApplicationStop"),
            "before the completion" => {
                member.group.change(|group| group.too_early = true);
                gate.open();
                daemon.says("decided: ");
            }
            _ => {
                member.group.change(|group| group.lost_answers = 1);
                gate.open();
                member.comes_to("Terminated", &daemon);
            }
        }
        daemon.kill();
        member.group.change(|group| group.too_early = false);
        gate.open();
        let again = member.daemon();
        member.comes_to("Terminated", &again);
        again.says("hostler runs");
        assert_eq!(member.completed(), [pair("terminate", "CONTINUE")], "{step}");
        let stops = member.host.hook_lines().iter().filter(|l| *l == "v1 ApplicationStop").count();
        assert_eq!(stops, 1, "{step}");
    }
}
