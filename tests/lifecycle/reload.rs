//! Auto Scaling turned on, off and wrongly configured by a reload.

use super::*;

#[test]
fn auto_scaling_is_turned_on_and_off_without_a_restart() {
    let member = Member::new("");
    member.configure("");
    member.release("v1");
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    // Without it the channel is followed as on any host, and the agent completes no hook.
    member.hook_ran("v1 AfterAllowTraffic");
    assert_eq!((member.completed(), member.group.described()), (vec![], 0));
    member.configure(AUTO_SCALING);
    member.host.ok(&["reload"]);
    member.comes_to("InService", &daemon);
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
    assert_eq!(member.ran("v1 ApplicationStart"), 1);
    member.moves("Standby", "Standby");
    daemon.says("the instance is in Standby");
    member.configure("");
    member.host.ok(&["reload"]);
    // The group's former wish holds back no deployment.
    member.release("v2");
    member.hook_ran("v2 AfterAllowTraffic");
    assert_eq!(member.lifecycle()["instance_state"], "in_service");
    member.moves("Terminated", "Terminating:Wait");
    let asked = member.group.described();
    member.release("v3");
    member.hook_ran("v3 AfterAllowTraffic");
    assert_eq!((member.group.described(), member.completed().len()), (asked, 1));
}

#[test]
fn a_reload_that_the_group_could_not_be_obeyed_with_is_refused_as_a_whole() {
    let member = Member::new("");
    member.configure("");
    let daemon = member.daemon();
    daemon.says("hostler runs");
    member.configure(&format!("{AUTO_SCALING}\naws: {{ca_bundle: /not/there.pem}}"));
    member.host.run(&["reload"]).with_code(2).saying(&["/not/there.pem"]);
    daemon.says("the one before stays in force");
}
