//! The edge cases of docs/protocols/auto-scaling.md#edge-cases, tested with the built program.

use super::*;
use crate::support::host::Ended;
use crate::support::imds::Fault;

#[test]
fn in_a_container_one_hop_away_the_group_alone_is_asked() {
    let member = Member::new("");
    member.imds.change(|instance| instance.fault = Some(Fault::TokenUnanswered));
    member.release("v1");
    member.group.enter("InService", "Pending:Wait");
    let mut command = member.host.command(&["run", "--instance-id", INSTANCE]);
    member.aws(&mut command);
    let daemon = member.host.start_command(command);
    member.comes_to("InService", &daemon);
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
    daemon.says("did not answer the request for a token");
    // Logged once, however long it lasts.
    let asked = |service: &Imds| service.requests().iter().filter(|(method, _)| method == "PUT").count();
    eventually("the service is asked again", PATIENCE, || {
        if asked(&member.imds) >= 3 { Ok(()) } else { Err(format!("{}", asked(&member.imds))) }
    });
    assert_eq!(daemon.said().matches("did not answer the request for a token").count(), 1, "{}", daemon.said());
    let mut doctor = member.host.command(&["doctor"]);
    member.aws(&mut doctor);
    Ended::of(doctor).saying(&["imds-hop-limit"]);
}

#[test]
fn a_state_of_the_future_is_held_and_told_once() {
    let member = Member::new("");
    let daemon = member.serves();
    member.moves("ReplacingRootVolume", "ReplacingRootVolume:Wait");
    daemon.says("\"ReplacingRootVolume:Wait\", which this version does not know");
    member.moves("InService", "RootVolumeReplaced");
    daemon.says("\"RootVolumeReplaced\", which this version does not know");
    member.release("v2");
    member.hook_ran("v2 AfterAllowTraffic");
    member.moves("InService", "InService");
    assert_eq!((member.completed(), member.lifecycle()["entries"].as_u64()), (vec![], Some(0)));
    assert_eq!(daemon.said().matches("ReplacingRootVolume:Wait").count(), 1, "{}", daemon.said());
}

#[test]
fn an_instance_that_was_launched_before_its_hook_existed_serves_and_completes_nothing() {
    let member = Member::new("");
    member.moves("InService", "InService");
    member.group.change(|group| group.state = "Pending".to_owned());
    member.release("v1");
    let daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    member.moves("InService", "InService");
    daemon.says("hostler runs");
    assert_eq!((member.completed(), member.group.change(|group| group.unknown)), (vec![], 0));
}

#[test]
fn a_termination_while_a_launch_waits_ends_the_launch_and_completes_the_termination_only() {
    let member = Member::new("");
    let (daemon, gate) = member.launches();
    member.moves("Terminated", "Terminating:Wait");
    daemon.says("the host's lifecycle: shutdown began");
    gate.open();
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")]);
    assert_eq!(member.ran("v1 ApplicationStart"), 0, "{:?}", member.host.hook_lines());
}

#[test]
fn a_host_that_is_detached_while_it_launches_goes_on_as_any_host() {
    let member = Member::new("");
    let (daemon, gate) = member.launches();
    member.moves("Detached", "Detaching");
    daemon.says("the host's lifecycle: ended");
    member.imds.change(|instance| instance.target_state = None);
    member.group.change(|group| group.state = String::new());
    gate.open();
    member.hook_ran("v1 AfterAllowTraffic");
    assert_eq!(member.completed(), []);
}

#[test]
fn a_hook_that_is_deleted_while_it_is_waited_for_holds_nobody() {
    let member = Member::new("");
    let (daemon, gate) = member.launches();
    // Deleting a hook ends its waits with CONTINUE.
    member.group.change(|group| group.state = "InService".to_owned());
    daemon.says("ended: in service");
    gate.open();
    member.hook_ran("v1 AfterAllowTraffic");
    assert_eq!(member.completed(), []);
}

#[test]
fn resumed_from_hibernation_the_host_takes_a_new_token_and_sees_where_it_goes() {
    let member = Member::new("");
    member.release("v1");
    member.moves("Warmed:Hibernated", "Warmed:Hibernated");
    let daemon = member.daemon();
    daemon.says("the instance is in the warm pool");
    let tokens = member.imds.tokens_given_out();
    // The host slept: the old token is invalid, and the group has decided meanwhile.
    member.imds.forget_tokens();
    member.moves("InService", "Pending:Wait");
    member.comes_to("InService", &daemon);
    assert!(member.imds.tokens_given_out() > tokens);
    assert_eq!((member.ran("v1 ApplicationStart"), member.completed()), (1, vec![pair("launch", "CONTINUE")]));
}

#[test]
fn while_launch_is_suspended_a_host_in_standby_waits_without_an_end() {
    let member = Member::new("");
    let daemon = member.serves();
    // ExitStandby fails: the target says InService, but the host stays in Standby.
    member.moves("Standby", "Standby");
    daemon.says("the instance is in Standby");
    member.release("v2");
    let asked = member.group.described();
    member.imds.change(|instance| instance.target_state = Some("InService".to_owned()));
    eventually("the group is asked", PATIENCE, || {
        if member.group.described() > asked + 2 { Ok(()) } else { Err(daemon.said()) }
    });
    assert_eq!((member.ran("v2 BeforeInstall"), member.completed()), (0, vec![]));
    member.moves("InService", "InService");
    member.hook_ran("v2 AfterAllowTraffic");
}
