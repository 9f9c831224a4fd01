//! `kill -9` between each pair of calls.

use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::support::codedeploy::Moment;
use crate::support::eventually;
use crate::support::host::PATIENCE;

/// The commands of each deployment: an old revision's script, the bundle, a script, the files, a script.
const EVENTS: [&str; 5] = ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall"];

/// Kills the daemon at the n-th call of each kind, either before the service acts on it or afterwards but before the
/// answer. Then starts it again and checks the result.
fn killed_at(operation: &'static str, nth: usize, moment: Moment) {
    let (host, service) = served();
    let first = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &EVENTS);
    host.clear_hook_lines();
    let victim = Arc::new(Mutex::new((first.pid(), 0)));
    let counting = Arc::clone(&victim);
    service.on_call(move |name, now| {
        let mut victim = counting.lock().unwrap();
        if name == operation && now == moment {
            victim.1 += 1;
            if victim.1 == nth {
                kill(Pid::from_raw(victim.0.cast_signed()), Signal::SIGKILL).unwrap();
            }
        }
    });
    let specification = whole(&host, &service, "v2", "d-SECOND002");
    service.deploy(&specification, &EVENTS);
    first.end();
    assert!(victim.lock().unwrap().1 >= nth, "{operation} was called less than {nth} times");
    let _second = daemon(&host);
    for event in EVENTS {
        let report = service.report_of("d-SECOND002", event);
        assert_eq!(report.status, "Succeeded", "{operation} {nth} {moment:?}: {report:?}");
    }
    let lines = host.hook_lines();
    assert_eq!(lines, ["v1 ApplicationStop", "v2 BeforeInstall", "v2 AfterInstall"], "{operation} {nth} {moment:?}");
    assert_eq!(host.version(), "v2");
    let told: Vec<_> = service.reports().into_iter().filter(|r| r.command.starts_with("d-SECOND002")).collect();
    assert!(told.iter().all(|report| report.status == "Succeeded"), "{operation} {nth} {moment:?}: {told:?}");
}

#[test]
fn killed_while_a_command_is_polled_for() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PollHostCommand", nth, Moment::Before));
}

#[test]
fn killed_while_a_command_is_polled_for_and_the_answer_is_on_its_way() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PollHostCommand", nth, Moment::After));
}

#[test]
fn killed_while_a_specification_is_asked_for() {
    killed_at("GetDeploymentSpecification", 1, Moment::Before);
}

#[test]
fn killed_while_a_specification_is_asked_for_and_the_answer_is_on_its_way() {
    killed_at("GetDeploymentSpecification", 1, Moment::After);
}

#[test]
fn killed_while_a_command_is_acknowledged() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PutHostCommandAcknowledgement", nth, Moment::Before));
}

#[test]
fn killed_while_a_command_is_acknowledged_and_the_answer_is_on_its_way() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PutHostCommandAcknowledgement", nth, Moment::After));
}

#[test]
fn killed_while_a_command_is_reported() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PutHostCommandComplete", nth, Moment::Before));
}

#[test]
fn killed_while_a_command_is_reported_and_the_answer_is_on_its_way() {
    (1..=EVENTS.len()).for_each(|nth| killed_at("PutHostCommandComplete", nth, Moment::After));
}

#[test]
fn a_hook_that_runs_when_the_agent_is_killed_is_found_again_and_reported() {
    let (host, service) = served();
    let first = daemon(&host);
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").hook("BeforeInstall", &wait).write());
    service.deploy(&specification("d-OUTLIVES1", "web", s3("v1.tgz", "tgz")), &["DownloadBundle", "BeforeInstall"]);
    eventually("the hook runs", PATIENCE, || {
        let lines = host.hook_lines();
        if lines.is_empty() { Err(String::new()) } else { Ok(()) }
    });
    first.kill();
    let _second = daemon(&host);
    gate.open();
    assert_eq!(service.report_of("d-OUTLIVES1", "BeforeInstall").status, "Succeeded");
    assert_eq!(host.hook_lines(), ["v1 BeforeInstall"]);
}
