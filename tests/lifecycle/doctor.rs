//! `hostler doctor` tries the calls that the hooks need, and changes nothing.

use super::*;
use crate::support::host::Ended;

fn findings(member: &Member, code: i32) -> Vec<String> {
    let mut command = member.host.command(&["doctor", "--json"]);
    member.aws(&mut command);
    let report = Ended::of(command).with_code(code).json();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == "auto-scaling");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings.map(|f| format!("{}: {} ({})", text(&f["severity"]), text(&f["message"]), text(&f["remedy"]))).collect()
}

#[test]
fn what_the_hooks_need_is_tried_without_a_change() {
    let member = Member::new("");
    member.release("v1");
    member.moves("InService", "Pending:Wait");
    assert_eq!(
        findings(&member, 0),
        [
            "ok: web-asg has this instance in Pending:Wait ()",
            "ok: hooks may be kept alive ()",
            "ok: hooks may be completed ()"
        ]
    );
    assert_eq!((member.completed(), member.group.state().as_str()), (vec![], "Pending:Wait"));
    assert!(member.group.change(|group| group.heartbeats.is_empty()));
}

#[test]
fn what_is_denied_is_named_with_the_action_that_it_needs() {
    let member = Member::new("");
    member.release("v1");
    member.moves("InService", "InService");
    member.group.change(|group| {
        group.denied = vec!["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DescribeLifecycleHooks"];
    });
    let found = findings(&member, 1).join("\n");
    for action in ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DescribeLifecycleHooks"] {
        assert!(
            found.contains(&format!("(allow autoscaling:{action} to the role or user of these credentials)")),
            "{action}: {found}"
        );
    }
    assert_eq!(found.matches("error: ").count(), 2, "hooks can be completed without being looked up: {found}");
    member.group.change(|group| group.denied = vec!["DescribeAutoScalingInstances"]);
    let found = findings(&member, 1).join("\n");
    assert!(
        found.contains("(allow autoscaling:DescribeAutoScalingInstances to the role or user of these credentials)"),
        "{found}"
    );
}

#[test]
fn a_hook_that_the_group_lacks_is_named() {
    let member = Member::new("");
    member.configure("auto_scaling: {launch_hooks: [terminate], terminate_hooks: [terminate, typo]}");
    member.release("v1");
    member.moves("InService", "InService");
    let found = findings(&member, 0).join("\n");
    for text in ["web-asg has no launch hook named terminate", "web-asg has no termination hook named typo"] {
        assert!(found.contains(text), "{found}");
    }
    member.group.change(|group| group.state = String::new());
    assert!(findings(&member, 0)[0].contains("in no Auto Scaling group"));
}
