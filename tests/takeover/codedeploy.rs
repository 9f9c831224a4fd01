//! In the CodeDeploy agent's place: an acknowledged command, and a command whose report was not sent.

use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::disk::{Boot, kept};
use super::history_goes_on;
use crate::codedeploy::{daemon, deployment_root, stop, whole};
use crate::support::codedeploy::{CommandService, Moment, s3, specification};
use crate::support::host::Host;

pub const BEFORE: Moment = Moment::Before;
pub const AFTER: Moment = Moment::After;

const EVENTS: [&str; 5] = ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall"];

/// v1 is deployed, and the daemon is killed at this call for the Install of v2.
pub fn leave(host: Host, operation: &'static str, moment: Moment) -> Host {
    let service = CommandService::start();
    service.configure(&host.root());
    service.keep_signer(&host.path("signer"));
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &EVENTS);
    host.clear_hook_lines();
    let (pid, of_the_install) = (running.pid(), 1 + EVENTS.iter().position(|event| *event == "Install").unwrap());
    let calls = Arc::new(Mutex::new(0));
    service.on_call(move |name, now| {
        let mut calls = calls.lock().unwrap();
        *calls += usize::from(name == operation && now == moment);
        if *calls == of_the_install {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
            *calls += 1;
        }
    });
    service.deploy(&whole(&host, &service, "v2", "d-SECOND002"), &EVENTS);
    running.end();
    host
}

fn goes_on(name: &str) {
    let Some(host) = kept(name, Boot::Another) else { return };
    let service = CommandService::start();
    service.sign_as(&host.path("signer"));
    service.configure(&host.root());
    let second = specification("d-SECOND002", "web", s3("v2.tgz", "tgz"));
    service.go_on_with(&second, "arn/of/d-SECOND002/1", "Install", &["AfterInstall"]);
    let running = daemon(&host);
    for event in ["Install", "AfterInstall"] {
        let report = service.report_of("d-SECOND002", event);
        assert_eq!(report.status, "Succeeded", "{event}: {report:?}\n{}", running.said());
    }
    assert_eq!(host.version(), "v2");
    assert_eq!(host.hook_lines(), ["v1 ApplicationStop", "v2 BeforeInstall", "v2 AfterInstall"], "nothing runs twice");
    // The next deployment has the known certificate, and stops the application taken over.
    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v3", "d-THIRD0003"), &EVENTS);
    assert_eq!(host.hook_lines(), ["v2 ApplicationStop", "v3 BeforeInstall", "v3 AfterInstall"]);
    assert!(host.version() == "v3" && !host.at("srv/app/only-v2").exists());
    assert!(deployment_root(&host, "0000-web/d-FIRST0001/deployment-archive").is_dir(), "the old revision is kept");
    let told = service.reports().into_iter().filter(|report| report.command == "d-SECOND002/Install").count();
    assert_eq!(told, 1, "it is reported once");
    // A certificate other than the first specification's is noticed, because that one is remembered.
    assert!(!running.err().contains("no longer with"), "{}", running.said());
    service.change_signer();
    service.deploy(&whole(&host, &service, "v4", "d-FOURTH004"), &EVENTS);
    running.says("no longer with");
    stop(&host, &service);
    running.end().with_code(0);
    history_goes_on(&host);
}

#[test]
fn a_command_that_was_acknowledged_is_carried_out_and_reported() {
    goes_on("codedeploy-acknowledged");
}

#[test]
fn a_report_that_was_not_sent_is_sent_and_its_command_not_carried_out_again() {
    goes_on("codedeploy-unreported");
}
