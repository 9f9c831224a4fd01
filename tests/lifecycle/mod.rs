//! A daemon in an Auto Scaling group: launch, warm pool, termination, interruption, and kill -9 at each of their steps.
//!
//! The edge cases of docs/protocols/auto-scaling.md#edge-cases, and their tests: here with the built program, in
//! `hostler_core::lifecycle::tests` on the decisions alone. Its module `year` tests random lives.
//!
//! | case | here | in core |
//! |---|---|---|
//! | restart in Terminating:Wait after the work and before the completion | `kills`: `killed_while_a_termination_is_completed` | `a_decided_action_is_completed_after_a_restart_and_never_with_another_result` |
//! | double notice: spot and Auto Scaling | `a_spot_interruption_stops_the_application_before_ec2_does` (the notice alone) | `a_double_notice_keeps_the_nearer_deadline_and_one_action` |
//! | the hook's time passes while the agent is down | `a_hook_whose_time_was_over_while_the_daemon_was_down_is_left_alone` | `a_hook_whose_time_was_over_while_the_agent_was_down_is_closed` |
//! | the hook is deleted while it waits | `edges`: `a_hook_that_is_deleted_while_it_is_waited_for_holds_nobody` | `a_hook_that_was_deleted_while_it_was_waited_for_is_not_completed_for_ever` |
//! | detach during a launch | `edges`: `a_host_that_is_detached_while_it_launches_goes_on_as_any_host` | `detach_during_a_launch_closes_it_and_leaves_the_host_free` |
//! | warm pool entered and left twice | `in_the_warm_pool_nothing_is_started_and_out_of_it_everything_twice` | `life`: `out_of_the_pool_what_was_stopped_is_deployed_again_and_in_it_nothing_is` |
//! | hibernation and a stale clock | `edges`: `resumed_from_hibernation_the_host_takes_a_new_token_and_sees_where_it_goes` | `announced`: `a_deadline_that_was_made_with_a_wrong_clock_is_moved_with_it`; `clocks` |
//! | two hooks, one ours | `somebody_elses_hook_is_never_completed` | `two_hooks_one_ours_the_others_wait_is_left_alone` |
//! | launched before the hook existed | `edges`: `an_instance_that_was_launched_before_its_hook_existed_serves_and_completes_nothing` | `an_instance_that_was_launched_before_its_hook_existed_or_was_attached_by_hand_just_serves` |
//! | Launch suspended while in Standby | `edges`: `while_launch_is_suspended_a_host_in_standby_waits_without_an_end` | `an_operators_standby_is_left_alone_and_ends_with_it` |
//! | IMDS off | `without_the_metadata_service_the_group_alone_is_asked` | `each_pair_of_states_leads_to_its_action` |
//! | hop limit 1 in a container | `edges`: `in_a_container_one_hop_away_the_group_alone_is_asked` | the same |
//! | a Region without the newest states, or with newer ones | `edges`: `a_state_of_the_future_is_held_and_told_once` | `words_of_the_future_are_held_without_a_destructive_step` |
//! | contention, early and lost answers | `contention_early_answers_and_lost_ones_lead_to_one_result` | `year` |
//! | termination while a launch waits | `edges`: `a_termination_while_a_launch_waits_ends_the_launch_and_completes_the_termination_only` | `termination_while_a_launch_waits_gives_the_launch_up_without_completing_it` |

mod announced;
mod doctor;
mod edges;
mod kills;
mod logs;
mod moto;
mod pool;
mod reload;

use std::fs;
use std::process::Command;

use crate::support::auto_scaling::{AutoScaling, SECRET};
use crate::support::eventually;
use crate::support::host::{Bundle, Gate, Host, PATIENCE, Running};
use crate::support::imds::Imds;
use crate::support::kept_by::kept_rows;
use crate::support::s3_front::ACCESS_KEY;

const INSTANCE: &str = "i-0123456789abcdef0";

/// The configuration of the two hooks.
const AUTO_SCALING: &str = "auto_scaling: {launch_hooks: [launch], terminate_hooks: [terminate], poll: 1s}";

/// A host with its group and its metadata service.
pub struct Member {
    pub host: Host,
    pub group: AutoScaling,
    imds: Imds,
}

impl Member {
    fn new(more: &str) -> Self {
        Self::on(Host::new(), more)
    }

    /// The same on an existing host.
    pub fn on(host: Host, more: &str) -> Self {
        let (group, imds) = (AutoScaling::start(INSTANCE), Imds::start(INSTANCE));
        group.hook("launch", true);
        group.hook("terminate", false);
        let member = Self { host, group, imds };
        member.configure(&format!("{}{more}}}", AUTO_SCALING.trim_end_matches('}')));
        member
    }

    /// Both services agree: the target state, and the present state.
    pub fn moves(&self, target: &str, state: &str) {
        self.imds.change(|instance| instance.target_state = Some(target.to_owned()));
        self.group.enter(target, state);
    }

    pub fn daemon(&self) -> Running {
        let mut command = self.host.command(&["run"]);
        self.aws(&mut command);
        self.host.start_command(command)
    }

    /// Sets the addresses of AWS for the daemon.
    fn aws(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT_URL", self.group.url()).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.url());
    }

    /// Another configuration than [`Self::new`] writes; the channel is the host's store.
    fn configure(&self, text: &str) {
        let channel = format!(
            "groups: [{{application: shop, group: web, channel: '{}', poll: 1s}}]\n",
            self.host.store().display()
        );
        self.host.configure(&format!("{text}\n{channel}"));
    }

    /// Release v1 is deployed on a host that serves.
    pub fn serves(&self) -> Running {
        self.release("v1");
        self.moves("InService", "InService");
        let daemon = self.daemon();
        self.hook_ran("v1 AfterAllowTraffic");
        self.host.status_when("it is deployed", |status| status["condition"] == "good");
        daemon
    }

    pub fn lifecycle(&self) -> serde_json::Value {
        self.host.ok(&["status", "--json"]).json()["lifecycle"].clone()
    }

    pub fn ran(&self, line: &str) -> usize {
        self.host.hook_lines().iter().filter(|l| *l == line).count()
    }

    fn bundle(&self, version: &str) -> Bundle {
        Bundle::new(&self.host, version).app()
    }

    fn release(&self, version: &str) {
        self.host.release(&self.bundle(version).all_hooks().write(), &[]);
    }

    pub fn comes_to(&self, state: &str, daemon: &Running) {
        eventually(&format!("the instance comes to {state}"), PATIENCE, || {
            let found = self.group.state();
            if found == state { Ok(()) } else { Err(format!("{found}\n{}", daemon.said())) }
        });
    }

    pub fn completed(&self) -> Vec<(String, String)> {
        assert_eq!(self.group.change(|group| group.wrong.clone()), Vec::<String>::new());
        self.group.change(|group| group.completed.clone())
    }

    fn hook_ran(&self, line: &str) {
        eventually(&format!("the hook line {line:?}"), PATIENCE, || {
            let lines = self.host.hook_lines();
            if lines.iter().any(|l| l == line) { Ok(()) } else { Err(format!("{lines:?}")) }
        });
    }

    /// A daemon in the middle of a launch: AfterInstall of `v1` waits for the returned file.
    fn launches(&self) -> (Running, Gate) {
        let (wait, gate) = self.gate("launch");
        self.host.release(&self.bundle("v1").hook("AfterInstall", &wait).all_hooks().write(), &[]);
        self.moves("InService", "Pending:Wait");
        let daemon = self.daemon();
        self.hook_ran("v1 AfterInstall");
        (daemon, gate)
    }

    fn gate(&self, name: &str) -> (String, Gate) {
        let gate = Gate::new(&self.host, name);
        (gate.wait(), gate)
    }
}

pub fn pair(hook: &str, result: &str) -> (String, String) {
    (hook.to_owned(), result.to_owned())
}

#[test]
fn a_launch_is_continued_once_the_desired_revision_is_on_the_host() {
    let member = Member::new("");
    let (wait, gate) = member.gate("launch");
    let bundle = member.bundle("v1").hook("ValidateService", &wait).all_hooks().write();
    member.host.release(&bundle, &[]);
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    member.hook_ran("v1 ValidateService");
    eventually("the hook is kept alive", PATIENCE, || {
        let beats = member.group.change(|group| group.heartbeats.get("launch").copied());
        if beats.is_some() { Ok(()) } else { Err(daemon.said()) }
    });
    assert_eq!(member.completed(), []);
    gate.open();
    member.comes_to("InService", &daemon);
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
    daemon.says("ended: in service");
    member.host.ok(&["history", "--verify"]);
}

#[test]
fn a_launch_whose_deployment_fails_is_abandoned() {
    let member = Member::new("");
    let bundle = member.bundle("v1").hook("ValidateService", "exit 3").all_hooks().write();
    member.host.release(&bundle, &[]);
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("launch", "ABANDON")]);
    daemon.says("ValidateService failed");
}

#[test]
fn without_a_release_a_launch_goes_into_service_and_deploys_later() {
    let member = Member::new("");
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    member.comes_to("InService", &daemon);
    daemon.says("shop/web has no release yet");
    member.release("v1");
    member.hook_ran("v1 AfterAllowTraffic");
}

#[test]
fn a_termination_waits_until_the_application_was_stopped() {
    let member = Member::new("");
    let (wait, gate) = member.gate("stop");
    let seen = member.host.path("deadline");
    let stop = format!("echo $HOSTLER_DEADLINE > {}; {wait}", seen.display());
    member.host.release(&member.bundle("v1").hook("ApplicationStop", &stop).all_hooks().write(), &[]);
    member.moves("InService", "InService");
    let daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    // The load balancer still drains: nothing is stopped yet.
    member.moves("Terminated", "Terminating");
    daemon.says("the instance is terminating");
    assert!(!member.host.hook_lines().iter().any(|l| l == "v1 ApplicationStop"));
    member.moves("Terminated", "Terminating:Wait");
    member.hook_ran("v1 ApplicationStop");
    assert_eq!(member.completed(), []);
    member.host.run(&["deploy", member.bundle("v2").write().to_str().unwrap()]).with_code(3);
    gate.open();
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")]);
    let lines = member.host.hook_lines();
    assert_eq!(lines[lines.len() - 3..], ["v1 BeforeBlockTraffic", "v1 AfterBlockTraffic", "v1 ApplicationStop"]);
    assert_eq!(fs::read_to_string(seen).unwrap().trim(), "60", "the script's own time is the nearer one");
    assert_eq!(member.host.status()["condition"], "stopped");
    let document = member.host.ok(&["status", "--json"]).json();
    assert_eq!(document["lifecycle"]["instance_state"], "terminating", "{document}");
    member.host.ok(&["status"]).saying(&["auto scaling: leaving; shutdown, CONTINUE: stopped"]);
}

#[test]
fn a_failed_stop_is_abandoned_where_that_is_wished_and_the_other_scripts_run() {
    let member = Member::new(", abandon_failed_shutdown: true");
    member.host.release(&member.bundle("v1").hook("BeforeBlockTraffic", "exit 1").all_hooks().write(), &[]);
    member.moves("InService", "InService");
    let daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    member.moves("Terminated", "Terminating:Wait");
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "ABANDON")]);
    assert!(member.host.hook_lines().iter().any(|l| l == "v1 ApplicationStop"));
}

#[test]
fn in_the_warm_pool_nothing_is_started_and_out_of_it_everything_twice() {
    let member = Member::new("");
    member.release("v1");
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = member.daemon();
    member.comes_to("Warmed:Stopped", &daemon);
    assert_eq!(member.host.hook_lines(), Vec::<String>::new());
    for round in 1..=2 {
        member.moves("InService", "Pending:Wait");
        member.comes_to("InService", &daemon);
        let starts = member.host.hook_lines().iter().filter(|l| *l == "v1 ApplicationStart").count();
        assert_eq!(starts, round, "{:?}", member.host.hook_lines());
        // Back: the termination hook first, then the launch hook a second time.
        member.moves("Warmed:Stopped", "Terminating:Wait");
        member.comes_to("Warmed:Stopped", &daemon);
        // The application also counts if a new start of the same revision stopped it first.
        assert_eq!(member.host.hook_lines().last().unwrap(), "v1 ApplicationStop");
    }
    let all = member.completed();
    let [launch, terminate] = [pair("launch", "CONTINUE"), pair("terminate", "CONTINUE")];
    assert_eq!(all, [&launch, &launch, &terminate, &launch, &launch, &terminate, &launch].map(Clone::clone));
}

#[test]
fn somebody_elses_hook_is_never_completed() {
    let member = Member::new("");
    member.group.hook("theirs", true);
    member.release("v1");
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    eventually(
        "ours is completed",
        PATIENCE,
        || {
            if member.completed().is_empty() { Err(daemon.said()) } else { Ok(()) }
        },
    );
    let asked = member.group.described();
    eventually("the group is asked on", PATIENCE, || {
        if member.group.described() > asked + 3 { Ok(()) } else { Err("it is not".to_owned()) }
    });
    assert_eq!((member.completed(), member.group.state().as_str()), (vec![pair("launch", "CONTINUE")], "Pending:Wait"));
    member.group.time_is_over();
    assert_eq!(member.group.state(), "Terminated");
}

#[test]
fn a_spot_interruption_stops_the_application_before_ec2_does() {
    let member = Member::new("");
    let seen = member.host.path("deadline");
    let stop = format!("echo $HOSTLER_DEADLINE > {}", seen.display());
    member.host.release(&member.bundle("v1").hook("ApplicationStop", &stop).all_hooks().write(), &[]);
    member.moves("InService", "InService");
    let _daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(50);
    let notice = format!("{{\"action\": \"terminate\", \"time\": \"{}\"}}", at.strftime("%Y-%m-%dT%H:%M:%SZ"));
    member.imds.change(|instance| instance.spot = Some(notice));
    member.hook_ran("v1 ApplicationStop");
    let left = || fs::read_to_string(&seen).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let left = eventually("the script's deadline", PATIENCE, || left().ok_or_else(|| "nothing".to_owned()));
    assert!((1..=35).contains(&left), "{left} seconds: the notice's time, less a margin");
    assert_eq!(member.completed(), []);
}

#[test]
fn without_the_metadata_service_the_group_alone_is_asked() {
    let member = Member::new("");
    member.release("v1");
    member.group.enter("InService", "Pending:Wait");
    let mut command = member.host.command(&["run", "--instance-id", INSTANCE]);
    member.aws(&mut command);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let daemon = member.host.start_command(command);
    member.comes_to("InService", &daemon);
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
}

#[test]
fn contention_early_answers_and_lost_ones_lead_to_one_result() {
    let member = Member::new("");
    member.group.change(|group| (group.contention, group.too_early, group.lost_answers) = (2, true, 1));
    member.release("v1");
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    eventually("a completion comes too early", PATIENCE, || {
        if member.group.change(|group| group.unknown) > 0 { Ok(()) } else { Err(daemon.said()) }
    });
    member.group.change(|group| group.too_early = false);
    member.comes_to("InService", &daemon);
    daemon.says("ended: in service");
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
}

#[test]
fn a_role_that_may_not_look_up_hooks_still_completes_those_of_the_configuration() {
    let member = Member::new("");
    member.group.change(|group| group.denied.push("DescribeLifecycleHooks"));
    member.moves("InService", "Pending:Wait");
    let daemon = member.daemon();
    member.comes_to("InService", &daemon);
    daemon.says("autoscaling:DescribeLifecycleHooks");
}

#[test]
fn a_scale_in_ends_a_deployment_at_its_next_step() {
    let member = Member::new("");
    member.release("v1");
    member.moves("InService", "InService");
    let daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    let (wait, gate) = member.gate("install");
    member.host.release(&member.bundle("v2").hook("BeforeInstall", &wait).all_hooks().write(), &[]);
    member.hook_ran("v2 BeforeInstall");
    member.moves("Terminated", "Terminating:Wait");
    daemon.says("the host's lifecycle: shutdown began");
    gate.open();
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")]);
    let lines = member.host.hook_lines();
    assert!(!lines.iter().any(|l| l == "v2 AfterInstall"), "{lines:?}");
}

#[test]
fn a_hook_whose_time_was_over_while_the_daemon_was_down_is_left_alone() {
    let member = Member::new("");
    let (daemon, gate) = member.launches();
    daemon.kill();
    member.group.time_is_over();
    member.moves("Terminated", "Terminated");
    let again = member.daemon();
    again.says("the host's lifecycle: ended: the group");
    assert_eq!(member.completed(), []);
    gate.open();
}

#[test]
fn a_daemon_that_is_told_to_stop_completes_nothing() {
    let member = Member::new("");
    let (daemon, gate) = member.launches();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.end().with_code(0);
    assert_eq!((member.completed(), member.group.state().as_str()), (vec![], "Pending:Wait"));
    gate.open();
}

#[test]
fn an_operators_standby_and_a_host_in_no_group_are_left_alone() {
    let member = Member::new("");
    member.release("v1");
    member.moves("Standby", "Standby");
    let daemon = member.daemon();
    daemon.says("the instance is in Standby");
    assert_eq!(member.host.hook_lines(), Vec::<String>::new());
    member.moves("InService", "InService");
    member.hook_ran("v1 AfterAllowTraffic");
    // Detached by hand: the host continues like any other.
    member.imds.change(|instance| instance.target_state = Some("Detached".to_owned()));
    member.group.change(|group| group.state = String::new());
    member.release("v2");
    member.hook_ran("v2 AfterAllowTraffic");
    assert_eq!(member.completed(), []);
}

/// The table on this module's page names existing tests.
#[test]
fn every_edge_case_has_its_tests() {
    let page: String =
        include_str!("mod.rs").lines().filter(|line| line.starts_with("//!")).map(|l| format!("{l}\n")).collect();
    assert!(kept_rows(&page, 2).len() >= 13);
}
