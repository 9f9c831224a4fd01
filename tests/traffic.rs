//! A host is taken out of service for a deployment and put back: by Standby, by target groups, and with kill -9 after
//! each call.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::auto_scaling::{AutoScaling, SECRET};
use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Gate, Host, PATIENCE, Running};
use crate::support::imds::Imds;
use crate::support::load_balancing::{Fault, LoadBalancing, arn};
use crate::support::moto::Moto;

const INSTANCE: &str = "i-0123456789abcdef0";

/// A host in service, with its Auto Scaling group and its load balancers.
struct Member {
    host: Host,
    group: AutoScaling,
    balancing: LoadBalancing,
}

impl Member {
    fn new(traffic: &str) -> Self {
        let (host, balancing) = (Host::new(), LoadBalancing::default());
        let beside = balancing.clone();
        let group = AutoScaling::start_beside(INSTANCE, move |request| beside.answer(request));
        group.change(|group| group.state = "InService".to_owned());
        host.configure(&format!(
            "instance_id: {INSTANCE}\ngroups: [{{application: shop, group: web, traffic: {{{traffic}}}}}]\n"
        ));
        Self { host, group, balancing }
    }

    /// In two target groups, with three ports; another host is in one of them.
    fn in_target_groups(more: &str) -> Self {
        let member = Self::new(&format!("mode: target_groups{more}"));
        for (group, port) in PORTS {
            member.balancing.target(group, INSTANCE, port);
        }
        member.balancing.target("web", "i-other", 80);
        member.group.change(|group| group.service.target_groups = vec![arn("web"), arn("admin")]);
        member
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(arguments);
        command.env("AWS_ENDPOINT_URL", self.group.url()).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn bundle(&self, version: &str) -> Bundle {
        Bundle::new(&self.host, version).app()
    }

    fn deploy(&self, bundle: &Path) -> Ended {
        let ended = Ended::of(self.command(&["deploy", bundle.to_str().unwrap()]));
        self.nothing_was_wrong();
        ended
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        self.host.start_command(self.command(arguments))
    }

    /// Deploys a bundle with all hooks that waits in BeforeInstall for the gate.
    fn held(&self, version: &str) -> (Running, Gate) {
        let gate = Gate::new(&self.host, version);
        let wait = gate.wait();
        let bundle = self.bundle(version).hook("BeforeInstall", &wait).all_hooks().write();
        let running = self.begin(&["deploy", bundle.to_str().unwrap()]);
        let line = format!("{version} BeforeInstall");
        eventually("it holds in BeforeInstall", PATIENCE, || {
            if self.host.hook_lines().contains(&line) { Ok(()) } else { Err(running.said()) }
        });
        (running, gate)
    }

    fn nothing_was_wrong(&self) {
        assert_eq!(self.group.change(|group| group.wrong.clone()), Vec::<String>::new());
        assert_eq!(self.balancing.change(|services| services.wrong.clone()), Vec::<String>::new());
    }

    fn standby_moves(&self) -> Vec<&'static str> {
        self.group.change(|group| group.service.moves.clone())
    }

    /// What the status lists as out of service.
    fn out_of_service(&self) -> serde_json::Value {
        self.host.ok(&["status", "--json"]).json()["traffic"].clone()
    }

    /// Waits until the journal is empty and no work is in progress.
    fn settles(&self, daemon: &Running) {
        eventually("the host is back in service", PATIENCE, || {
            let document = self.host.ok(&["status", "--json"]).json();
            let done = document["traffic"].is_null() && document["groups"][0]["active"].is_null();
            if done { Ok(()) } else { Err(format!("{document}\n{}", daemon.said())) }
        });
    }
}

const PORTS: [(&str, u16); 3] = [("admin", 9000), ("web", 80), ("web", 8443)];

fn all_ports() -> Vec<(String, u16)> {
    PORTS.iter().map(|(group, port)| ((*group).to_owned(), *port)).collect()
}

#[test]
fn a_deployment_goes_through_standby_and_back() {
    let member = Member::new("mode: standby");
    let (running, gate) = member.held("v1");
    let desired = || member.group.change(|group| group.service.desired);
    assert_eq!((member.group.state().as_str(), desired()), ("Standby", 1));
    let shown = member.out_of_service();
    assert_eq!((&shown["place"]["by"], &shown["place"]["auto_scaling_group"]), (&"standby".into(), &"web-asg".into()));
    member.host.ok(&["status"]).saying(&["out of service since", "in Standby of web-asg"]);
    gate.open();
    running.end().with_code(0).saying(&["BlockTraffic", "AllowTraffic"]);
    assert_eq!((member.group.state().as_str(), desired()), ("InService", 2));
    assert_eq!(member.standby_moves(), ["EnterStandby", "ExitStandby"]);
    assert!(member.out_of_service().is_null());
    member.nothing_was_wrong();
    member.host.ok(&["history", "--verify"]);
}

#[test]
fn throttled_and_lost_calls_of_standby_are_made_once() {
    let member = Member::new("mode: standby");
    member.group.change(|group| (group.service.throttled, group.service.lost, group.service.on_its_way) = (3, 2, 0));
    member.deploy(&member.bundle("v1").all_hooks().write()).with_code(0);
    assert_eq!(member.standby_moves(), ["EnterStandby", "ExitStandby"]);
}

#[test]
fn a_surge_leaves_the_desired_capacity_alone_on_the_way_out() {
    let member = Member::new("mode: standby, surge: true");
    member.group.change(|group| group.service.min = 2);
    let (running, gate) = member.held("v1");
    assert_eq!(member.group.change(|group| group.service.desired), 2);
    gate.open();
    running.end().with_code(0);
    assert_eq!(member.group.state(), "InService");
}

#[test]
fn every_port_of_every_target_group_is_left_and_entered_again() {
    let member = Member::in_target_groups("");
    member.balancing.change(|services| {
        services.faults.extend([Fault::Throttled, Fault::Internal, Fault::Lost, Fault::Lost, Fault::Throttled]);
    });
    let (running, gate) = member.held("v1");
    assert_eq!(member.balancing.healthy(INSTANCE), []);
    assert_eq!(member.balancing.healthy("i-other"), [("web".to_owned(), 80)]);
    member.host.ok(&["status"]).saying(&["out of the target groups", "web:8443", "admin:9000"]);
    gate.open();
    running.end().with_code(0);
    assert_eq!(member.balancing.healthy(INSTANCE), all_ports());
    assert!(member.out_of_service().is_null());
    member.nothing_was_wrong();
}

#[test]
fn named_target_groups_need_no_auto_scaling_group() {
    let member = Member::in_target_groups(&format!(", target_groups: ['{}']", arn("web")));
    member.group.change(|group| group.state = String::new());
    member.deploy(&member.bundle("v1").all_hooks().write()).with_code(0);
    let moves = member.balancing.change(|services| services.moves.clone());
    assert_eq!(moves, ["deregister web:80", "deregister web:8443", "register web:80", "register web:8443"]);
}

#[test]
fn what_does_not_fit_is_refused_before_the_application_is_stopped() {
    for (traffic, words) in [
        ("mode: standby", ["desired capacity of 2 and a minimum of 2", "surge: true"]),
        ("mode: standby, surge: true", ["no room for a surge", "raise the maximum"]),
        ("mode: target_groups", ["classic load balancers (old)", "mode: standby"]),
    ] {
        let member = Member::new(traffic);
        member.host.deploy(&member.bundle("v0").all_hooks().write(), &["--group", "other", "--application", "shop"]);
        member.host.clear_hook_lines();
        member.group.change(|group| {
            let service = &mut group.service;
            (service.min, service.max, service.health_check_type) = (2, 2, "ELB");
            service.classic_load_balancers = vec!["old".to_owned()];
        });
        let ended = member.deploy(&member.bundle("v1").all_hooks().write()).with_code(1);
        let ended = ended.saying(&["DownloadBundle"]).saying(&words);
        assert!(!ended.out.contains("warning"), "{ended:?}");
        assert_eq!(member.host.hook_lines(), Vec::<String>::new());
        assert_eq!(member.standby_moves(), [""; 0]);
    }
    let member = Member::in_target_groups("");
    member.group.change(|group| group.service.health_check_type = "ELB");
    let bundle = member.bundle("v1").all_hooks().write();
    member.deploy(&bundle).with_code(1).saying(&["load balancer health checks", "despite_elb_health_checks: true"]);
    let member = Member::in_target_groups(", despite_elb_health_checks: true");
    member.group.change(|group| group.service.health_check_type = "ELB");
    member.deploy(&member.bundle("v1").all_hooks().write()).with_code(0);
}

#[test]
fn a_missing_permission_is_named_and_the_host_serves_on() {
    let member = Member::new("mode: standby");
    member.group.change(|group| group.denied = vec!["EnterStandby"]);
    let ended = member.deploy(&member.bundle("v1").all_hooks().write()).with_code(1);
    ended.saying(&["BlockTraffic", "allow autoscaling:EnterStandby"]);
    assert_eq!(member.group.state(), "InService");
    assert!(member.out_of_service().is_null());
    assert!(!member.host.hook_lines().contains(&"v1 BeforeInstall".to_owned()));
}

#[test]
fn where_nothing_serves_nothing_is_done() {
    for state in ["Standby", "Pending:Wait", "Warmed:Stopped", ""] {
        let member = Member::new("mode: standby");
        member.group.change(|group| (group.state, group.service.min) = (state.to_owned(), 2));
        member.deploy(&member.bundle("v1").all_hooks().write()).with_code(0);
        assert_eq!(member.group.state(), state);
        assert_eq!(member.standby_moves(), [""; 0], "{state:?}");
        assert!(member.out_of_service().is_null());
    }
}

#[test]
fn a_failed_deployment_that_is_rolled_back_ends_in_service() {
    for failing in ["AfterBlockTraffic", "BeforeInstall", "ValidateService"] {
        let member = Member::new("mode: standby");
        let old = member.bundle("v1").hook("AfterBlockTraffic", "[ ! -e $0.fail ]").all_hooks().write();
        member.deploy(&old).with_code(0);
        if failing == "AfterBlockTraffic" {
            let kept = member.host.status()["installed"]["archive"].as_str().unwrap().to_owned();
            let script = member.host.deployment(&kept).join("deployment-archive/hooks/AfterBlockTraffic-1.sh.fail");
            fs::write(script, "").unwrap();
        }
        let bundle = member.bundle("v2").hook(failing, "exit 3").all_hooks().write();
        member.deploy(&bundle).with_code(1);
        assert_eq!(member.group.state(), "InService", "{failing}");
        assert_eq!(member.standby_moves().len(), 4, "{failing}");
        assert!(member.out_of_service().is_null(), "{failing}");
    }
}

#[test]
fn a_broken_application_stays_out_is_reported_and_is_put_back_by_what_works() {
    let member = Member::in_target_groups("");
    let bundle = member.bundle("v1").hook("ApplicationStart", "exit 3").all_hooks().write();
    member.deploy(&bundle).with_code(1);
    assert_eq!(member.balancing.healthy(INSTANCE), []);
    assert_eq!(member.out_of_service()["touched"], true);
    let daemon = member.begin(&["run"]);
    daemon.says("hostler runs");
    member.host.ok(&["status"]).saying(&["out of service since", "admin:9000"]);
    let health = member.host.run(&["status", "--health"]).with_code(1);
    health.saying(&["out of service"]);
    member.deploy(&member.bundle("v2").all_hooks().write()).with_code(0);
    assert_eq!(member.balancing.healthy(INSTANCE), all_ports());
    assert!(member.out_of_service().is_null());
}

#[test]
fn a_target_that_does_not_become_healthy_fails_the_deployment_and_is_waited_for_afterwards() {
    let member = Member::in_target_groups(", timeout: 2s");
    member.deploy(&member.bundle("v1").all_hooks().write()).with_code(0);
    member.balancing.change(|services| services.never_healthy = true);
    let ended = member.deploy(&member.bundle("v2").all_hooks().write()).with_code(1);
    ended.saying(&["AllowTraffic", "is healthy: not within 2 seconds", "Health checks failed with these codes: [503]"]);
    let shown = member.out_of_service();
    assert!(shown["problem"]["why"].as_str().unwrap().contains("put back"), "{shown}");
    member.balancing.change(|services| services.never_healthy = false);
    for (group, port) in PORTS {
        member.balancing.target(group, INSTANCE, port);
    }
    let daemon = member.begin(&["run"]);
    member.settles(&daemon);
}

#[test]
fn status_checks_are_suppressed_for_a_bounded_time_also_where_the_host_stays() {
    let member = Member::new("suppress_status_checks: true");
    let (running, gate) = member.held("v1");
    assert_eq!(member.balancing.change(|services| services.suppressed), Some(3600));
    assert_eq!(member.standby_moves(), [""; 0]);
    gate.open();
    running.end().with_code(0);
    assert_eq!(member.balancing.change(|services| services.suppressed), None);
    member.nothing_was_wrong();
}

#[test]
fn doctor_names_the_commonest_set_up_and_each_missing_permission() {
    use hostler_core::doctor::{Code, Report, Severity};
    let member = Member::new("mode: standby");
    let findings = |member: &Member, code: Code| {
        let report: Report = serde_json::from_str(&Ended::of(member.command(&["doctor", "--json"])).out).unwrap();
        let of_code = report.findings.into_iter().filter(|finding| finding.code == code);
        of_code
            .map(|finding| (finding.severity, finding.message, finding.remedy.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let one = |member: &Member| findings(member, Code::Traffic).remove(0);
    assert_eq!(one(&member).0, Severity::Ok);
    member.group.change(|group| (group.service.min, group.service.health_check_type) = (2, "ELB"));
    let (severity, message, remedy) = one(&member);
    assert!(severity == Severity::Error && message.contains("a minimum of 2"), "{message}");
    for way in ["raise", "lower the minimum", "surge: true", "mode: target_groups", "despite_elb_health_checks"] {
        assert!(remedy.contains(way), "{remedy}");
    }
    for action in ["DescribeAutoScalingInstances", "DescribeAutoScalingGroups"] {
        member.group.change(|group| group.denied = vec![action]);
        assert!(one(&member).2.contains(&format!("autoscaling:{action}")), "{:?}", one(&member));
    }
    // Also if nothing is configured but the agent follows the group's hooks.
    let member = Member::new("mode: none");
    member.group.change(|group| (group.service.min, group.service.health_check_type) = (2, "ELB"));
    assert_eq!(findings(&member, Code::Traffic), []);
    let text = fs::read_to_string(member.host.at("etc/hostler/config.yaml")).unwrap();
    member.host.configure(&format!("{text}auto_scaling: {{launch_hooks: [launch]}}\n"));
    let (severity, message, _) = one(&member);
    assert!(severity == Severity::Warning && message.contains("desired capacity is its minimum"), "{message}");
    let member = Member::in_target_groups("");
    let (severity, message, _) = one(&member);
    assert!(severity == Severity::Ok && message.contains("registrations in target groups: 3"), "{message}");
    for action in ["DescribeTargetHealth", "DescribeTargetGroupAttributes"] {
        member.balancing.change(|services| services.denied = action);
        assert!(one(&member).2.contains(&format!("elasticloadbalancing:{action}")), "{:?}", one(&member));
    }
    member.balancing.change(|services| services.denied = "");
    member.deploy(&member.bundle("v1").hook("ApplicationStart", "exit 3").all_hooks().write()).with_code(1);
    let (severity, message, remedy) = findings(&member, Code::OutOfService).remove(0);
    assert!(severity == Severity::Warning && message.contains("admin:9000"), "{message}");
    assert!(remedy.contains("hostler deploy"), "{remedy}");
}

#[test]
fn an_image_of_a_host_that_is_out_of_service_forgets_that_and_says_so() {
    let member = Member::new("mode: standby");
    member.deploy(&member.bundle("v1").hook("ApplicationStart", "exit 3").all_hooks().write()).with_code(1);
    assert_eq!(member.out_of_service()["touched"], true);
    Ended::of(member.command(&["seal"])).with_code(0).saying(&["in Standby of web-asg", "put it back by hand"]);
    assert!(member.out_of_service().is_null());
}

#[test]
fn a_standby_of_our_own_holds_no_release_back() {
    let member = Member::new("mode: standby");
    let imds = Imds::start(INSTANCE);
    imds.change(|instance| instance.target_state = Some("InService".to_owned()));
    member.host.configure(&format!(
        "auto_scaling: {{launch_hooks: [launch], poll: 1s}}\ngroups: [{{application: shop, group: web, channel: '{}', poll: \
         1s, traffic: {{mode: standby}}}}]\n",
        member.host.store().display()
    ));
    let mut command = member.command(&["run"]);
    command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url());
    member.host.release(&member.bundle("v1").hook("AfterInstall", "exit 1").all_hooks().write(), &[]);
    let daemon = member.host.start_command(command);
    member.host.status_when("the release fails", |status| status["condition"] == "failed");
    imds.change(|instance| instance.target_state = Some("Standby".to_owned()));
    daemon.says("the instance is in Standby");
    assert_eq!((member.group.state().as_str(), &member.out_of_service()["touched"]), ("Standby", &true.into()));
    member.host.release(&member.bundle("v2").all_hooks().write(), &[]);
    member.settles(&daemon);
    assert_eq!(member.group.state(), "InService");
    assert_eq!(member.standby_moves(), ["EnterStandby", "ExitStandby"]);
    member.nothing_was_wrong();
}

#[test]
fn a_release_warns_of_the_commonest_set_up_and_is_published() {
    let member = Member::new("mode: standby");
    member.group.change(|group| (group.service.min, group.service.health_check_type) = (2, "ELB"));
    let (store, bundle) = (member.host.store(), member.bundle("v1").write());
    let store = store.to_str().unwrap();
    let pushed = member.host.ok(&["push", bundle.to_str().unwrap(), store, "--json"]).json();
    let revision = pushed["revision"].as_str().unwrap();
    let release = |group: &str| {
        let command = member.command(&["release", store, revision, "--auto-scaling-group", group]);
        Ended::of(command).with_code(0)
    };
    release("web-asg").saying(&["desired capacity is its minimum (2)", "surge: true"]);
    release("another").saying(&["another was not looked at"]);
    member.group.change(|group| group.service.min = 1);
    let quiet = release("web-asg");
    assert!(!quiet.err.contains("minimum"), "{quiet:?}");
}

/// moto has no draining and no health checks, and its Standby leaves target groups alone; it has the protocol and the
/// final states.
#[test]
fn moto_agrees_about_both_ways() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let query = |service: &str, text: &str| moto.query(service, text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let scaling = |text: &str| query("autoscaling", &format!("Version=2011-01-01&{text}"));
    scaling("Action=CreateLaunchConfiguration&LaunchConfigurationName=lc&ImageId=ami-12c6146b&InstanceType=t3.micro");
    let vpcs = query("ec2", "Version=2016-11-15&Action=DescribeVpcs");
    let made = query(
        "elasticloadbalancing",
        &format!(
            "Version=2015-12-01&Action=CreateTargetGroup&Name=web&Protocol=HTTP&Port=80&VpcId={}",
            between(&vpcs, "<vpcId>", "<")
        ),
    );
    let arn = between(&made, "<TargetGroupArn>", "<");
    scaling(&format!(
        "Action=CreateAutoScalingGroup&AutoScalingGroupName=web-asg&LaunchConfigurationName=lc&MinSize=1&MaxSize=3&\
         DesiredCapacity=2&AvailabilityZones.member.1=us-east-1a&TargetGroupARNs.member.1={arn}"
    ));
    let instances = || scaling("Action=DescribeAutoScalingInstances");
    let instance = between(&instances(), "<InstanceId>", "<");
    for mode in ["standby", "target_groups"] {
        let host = Host::new();
        host.configure(&format!(
            "instance_id: {instance}\ngroups: [{{application: shop, group: web, traffic: {{mode: {mode}}}}}]\n"
        ));
        let gate = Gate::new(&host, "hook");
        let wait = gate.wait();
        let bundle = Bundle::new(&host, "v1").app().hook("BeforeInstall", &wait).all_hooks().write();
        let mut command = host.command(&["deploy", bundle.to_str().unwrap()]);
        command.env("AWS_ENDPOINT_URL", moto.url()).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let running = host.start_command(command);
        eventually("it holds in BeforeInstall", PATIENCE, || {
            let there = host.hook_lines().contains(&"v1 BeforeInstall".to_owned());
            if there { Ok(()) } else { Err(running.said()) }
        });
        let health = || {
            let text = format!("Version=2015-12-01&Action=DescribeTargetHealth&TargetGroupArn={arn}");
            query("elasticloadbalancing", &text).contains(&instance)
        };
        let standby = || instances().contains("<LifecycleState>Standby<");
        assert_eq!((standby(), health()), (mode == "standby", mode == "standby"), "{mode}");
        gate.open();
        running.end().with_code(0);
        assert!(!standby(), "{mode}: {}", instances());
        assert!(health(), "{mode}");
    }
}

/// The text after `from`, up to `to`.
fn between(text: &str, from: &str, to: &str) -> String {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("{from} is not in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("{to} is not in {rest}")).0.to_owned()
}

/// `kill -9` after each call of a deployment, whose answer the host never gets; then a daemon takes over.
fn killed_after_each_call(member: impl Fn() -> Member + Sync, is_back: impl Fn(&Member) -> bool + Sync) {
    let whole = member();
    whole.deploy(&whole.bundle("v1").all_hooks().write()).with_code(0);
    let calls = whole.group.change(|group| group.service.calls);
    assert!(calls > 5, "{calls}");
    let kill_at = |call: u32| {
        let member = member();
        member.group.change(|group| group.service.hold = Some(call));
        let bundle = member.bundle("v1").all_hooks().write();
        let deploying = member.begin(&["deploy", bundle.to_str().unwrap()]);
        eventually(&format!("call {call}"), PATIENCE, || {
            let made = member.group.change(|group| group.service.calls);
            if made >= call { Ok(()) } else { Err(format!("{made} calls\n{}", deploying.said())) }
        });
        deploying.kill();
        let daemon = member.begin(&["run"]);
        daemon.says("hostler runs");
        member.settles(&daemon);
        assert!(is_back(&member), "call {call}: {}", daemon.said());
        let last = member.host.status()["last"].clone();
        assert_eq!(last["outcome"], "succeeded", "call {call}: {last}");
        member.nothing_was_wrong();
    };
    std::thread::scope(|scope| {
        for worker in 1..=6 {
            let kill_at = &kill_at;
            scope.spawn(move || (worker..=calls).step_by(6).for_each(kill_at));
        }
    });
}

#[test]
fn kill_after_each_call_of_standby_ends_in_service() {
    killed_after_each_call(
        || Member::new("mode: standby, suppress_status_checks: true"),
        |member| {
            let moves = member.standby_moves();
            member.group.state() == "InService" && moves == ["EnterStandby", "ExitStandby"]
        },
    );
}

#[test]
fn kill_after_each_call_of_target_groups_ends_in_service() {
    killed_after_each_call(
        || {
            let member = Member::new("mode: target_groups");
            PORTS[..2].iter().for_each(|(group, port)| member.balancing.target(group, INSTANCE, *port));
            member.group.change(|group| group.service.target_groups = vec![arn("web"), arn("admin")]);
            member
        },
        |member| {
            let moves = member.balancing.change(|services| services.moves.len());
            member.balancing.healthy(INSTANCE) == all_ports()[..2] && moves == 4
        },
    );
}
