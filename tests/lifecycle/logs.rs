//! A host's logs are shipped before the host is gone.

use std::sync::Arc;

use super::*;
use crate::support::logs_service::{Fault, LogsService};

/// A member that ships its logs; without a waiting caller, lines are gathered for a minute.
fn shipping(service: &LogsService, flush: &str) -> Member {
    let member = Member::new("");
    fs::write(member.host.path("ca.pem"), service.certificate()).unwrap();
    member.configure(&format!("{AUTO_SCALING}\nlogs: {{agent: false, flush: {flush}}}"));
    member
}

fn daemon(member: &Member, endpoint: &str) -> Running {
    let mut command = member.host.command(&["run"]);
    member.aws(&mut command);
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_ENDPOINT_URL_AUTO_SCALING", member.group.url());
    command.env("AWS_CA_BUNDLE", member.host.path("ca.pem"));
    member.host.start_command(command)
}

fn shipped(service: &LogsService, text: &str) -> bool {
    service.batches().iter().any(|batch| batch.events.iter().any(|(_, message)| message.contains(text)))
}

/// From now on a completion before this line is shipped is wrong.
fn proves(member: &Member, service: &Arc<LogsService>, line: &'static str) {
    let service = Arc::clone(service);
    member.group.change(|group| group.proof = Some(Box::new(move || shipped(&service, line))));
}

#[test]
fn the_last_lines_of_a_host_arrive_before_its_hook_is_completed() {
    let service = Arc::new(LogsService::start());
    let member = shipping(&service, "30s");
    let bundle = member.bundle("v1").hook("ApplicationStop", "echo goodbye").all_hooks().write();
    member.host.release(&bundle, &[]);
    member.moves("InService", "InService");
    let daemon = daemon(&member, &service.url());
    member.hook_ran("v1 AfterAllowTraffic");
    proves(&member, &service, "goodbye");
    member.moves("Terminated", "Terminating:Wait");
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("terminate", "CONTINUE")]);
    service.assert_nothing_wrong();
}

#[test]
fn what_a_failed_launch_wrote_arrives_before_it_is_given_up() {
    let service = Arc::new(LogsService::start());
    let member = shipping(&service, "30s");
    let bundle = member.bundle("v1").hook("ValidateService", "echo the reason; exit 3").all_hooks().write();
    member.host.release(&bundle, &[]);
    proves(&member, &service, "the reason");
    member.moves("InService", "Pending:Wait");
    let daemon = daemon(&member, &service.url());
    member.comes_to("Terminated", &daemon);
    assert_eq!(member.completed(), [pair("launch", "ABANDON")]);
}

#[test]
fn a_log_service_that_is_away_delays_a_completion_by_its_bound_and_not_for_ever() {
    let service = LogsService::start();
    service.fails(|_, _| Fault::Unavailable);
    let member = shipping(&service, "2s");
    let bundle = member.bundle("v1").hook("ApplicationStop", "echo goodbye").all_hooks().write();
    member.host.release(&bundle, &[]);
    member.moves("InService", "InService");
    let daemon = daemon(&member, &service.url());
    member.hook_ran("v1 AfterAllowTraffic");
    member.moves("Terminated", "Terminating:Wait");
    member.comes_to("Terminated", &daemon);
    daemon.says("not all logs were shipped in time");
    assert_eq!((member.completed(), service.batches().len()), (vec![pair("terminate", "CONTINUE")], 0));
    // The shipping continues: the host still exists, and the service is back.
    service.fails(|_, _| Fault::None);
    eventually("the lines arrive", PATIENCE, || if shipped(&service, "goodbye") { Ok(()) } else { Err(daemon.said()) });
}
