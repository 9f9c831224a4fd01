//! The group as moto implements it: it has the queries and Standby, but no lifecycle action that waits.

use super::*;
use crate::support::host::Ended;
use crate::support::moto::Moto;

/// A group of one instance with a launch hook; the instance's id.
fn group(moto: &Moto) -> String {
    let ask = |form: &str| moto.query("autoscaling", &format!("{form}&Version=2011-01-01")).unwrap();
    ask("Action=CreateLaunchConfiguration&LaunchConfigurationName=web&ImageId=ami-12c6146b&InstanceType=t2.micro");
    ask("Action=CreateAutoScalingGroup&AutoScalingGroupName=web-asg&LaunchConfigurationName=web&MinSize=0&MaxSize=2\
         &DesiredCapacity=1&AvailabilityZones.member.1=us-east-1a");
    ask("Action=PutLifecycleHook&AutoScalingGroupName=web-asg&LifecycleHookName=launch\
         &LifecycleTransition=autoscaling:EC2_INSTANCE_LAUNCHING");
    let instances = ask("Action=DescribeAutoScalingInstances");
    let id = instances.split("<InstanceId>").nth(1).and_then(|rest| rest.split('<').next());
    id.unwrap_or_else(|| panic!("{instances}")).to_owned()
}

fn command(member: &Member, moto: &Moto, arguments: &[&str]) -> Command {
    let mut command = member.host.command(arguments);
    member.aws(&mut command);
    command.env("AWS_ENDPOINT_URL", moto.url()).env("AWS_REGION", "us-east-1");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[test]
fn a_group_that_others_wrote_is_understood() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let (member, id) = (Member::new(""), group(&moto));
    member.configure(&format!("instance_id: {id}\n{AUTO_SCALING}"));
    member.release("v1");
    let daemon = member.host.start_command(command(&member, &moto, &["run"]));
    member.hook_ran("v1 AfterAllowTraffic");
    let found = Ended::of(command(&member, &moto, &["doctor"])).out;
    for text in ["web-asg has this instance in InService", "web-asg has no termination hook named terminate"] {
        assert!(found.contains(text), "{found}");
    }
    assert!(!found.contains("no launch hook"), "{found}");
    let standby = "AutoScalingGroupName=web-asg&InstanceIds.member.1";
    let ask = |form: &str| moto.query("autoscaling", &format!("{form}&Version=2011-01-01")).unwrap();
    ask(&format!("Action=EnterStandby&{standby}={id}&ShouldDecrementDesiredCapacity=true"));
    daemon.says("the instance is in Standby");
    member.release("v2");
    ask(&format!("Action=ExitStandby&{standby}={id}"));
    member.hook_ran("v2 AfterAllowTraffic");
}
