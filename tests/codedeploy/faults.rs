//! A service that answers late, twice, incorrectly or not at all.

use std::time::Duration;

use super::*;
use crate::support::codedeploy::Fault;
use crate::support::eventually;
use crate::support::host::PATIENCE;

#[test]
fn a_step_that_worked_is_reported_as_such_however_often_its_report_is_lost() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    for _ in 0..2 {
        service.break_next("PutHostCommandComplete", Fault::Error(500, "ServerException"));
        service.break_next("PutHostCommandComplete", Fault::Error(400, "ThrottlingException"));
    }
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-LOST00001"), &["DownloadBundle", "Install"]);
    assert!(service.reports().iter().all(|report| report.status == "Succeeded"), "{:?}", service.reports());
}

#[test]
fn a_report_whose_answer_was_lost_is_sent_again_and_says_the_same() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.break_next("PutHostCommandComplete", Fault::AnswerLost);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-TWICE0001"), &["DownloadBundle"]);
    eventually("the report comes again", PATIENCE, || {
        let reports = service.reports();
        if reports.len() >= 2 { Ok(()) } else { Err(format!("{reports:?}")) }
    });
    let reports = service.reports();
    assert!(reports.iter().all(|report| report == &reports[0]), "{reports:?}");
}

#[test]
fn a_report_that_the_service_refuses_is_not_sent_for_ever() {
    let (host, service) = served();
    let running = daemon(&host);
    service.break_next("PutHostCommandComplete", Fault::Error(400, "ClientException"));
    service.deploy(&whole(&host, &service, "v1", "d-REFUSED01"), &["DownloadBundle"]);
    running.says("the CodeDeploy service refuses the report of command");
    // The group is free for the next deployment.
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &["DownloadBundle", "Install"]);
    assert_eq!(host.version(), "v2");
}

#[test]
fn a_command_that_comes_again_is_carried_out_once() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    // The acknowledgement's answer is lost, and the poll is answered late: both come again.
    service.break_next("PutHostCommandAcknowledgement", Fault::AnswerLost);
    service.break_next("GetDeploymentSpecification", Fault::Late(Duration::from_millis(900)));
    let specification = whole(&host, &service, "v1", "d-AGAIN0001");
    service.deploy_to_the_end(&specification, &["DownloadBundle", "BeforeInstall", "Install", "AfterInstall"]);
    assert_eq!(host.hook_lines(), ["v1 BeforeInstall", "v1 AfterInstall"]);
}

#[test]
fn the_specification_of_a_deployment_is_asked_for_once() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let asked = || service.calls().iter().filter(|call| *call == "GetDeploymentSpecification").count();
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-ONCE00001"), &["DownloadBundle", "Install"]);
    assert_eq!(asked(), 1);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-ONCE00002"), &["DownloadBundle", "Install"]);
    assert_eq!(asked(), 2);
    assert_eq!(host.version(), "v2");
}

#[test]
fn throttled_and_broken_polls_only_delay() {
    let (host, service) = served();
    service.break_next("PollHostCommand", Fault::AnswerLost);
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-DELAY0001"), &["DownloadBundle", "Install"]);
    running.says("the CodeDeploy service answers again");
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_command_that_the_service_has_given_up_is_not_carried_out() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.answer_acknowledgements("Failed");
    service.deploy(&whole(&host, &service, "v1", "d-GIVENUP01"), &["DownloadBundle"]);
    eventually("the command is acknowledged", PATIENCE, || {
        let acknowledged = service.acknowledgements();
        if acknowledged.is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    });
    stop(&host, &service);
    assert!(service.reports().is_empty() && !deployment_root(&host, "0000-web/d-GIVENUP01").exists());
}

#[test]
fn a_command_without_anything_to_do_that_has_failed_is_reported_as_done() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.answer_acknowledgements("Failed");
    service.deploy(&whole(&host, &service, "v1", "d-NOOP00001"), &["ApplicationStop"]);
    let report = service.report_of("d-NOOP00001", "ApplicationStop");
    assert_eq!(report.diagnostics["message"], "Succeeded: CompletedNoopCommand");
}

#[test]
fn a_command_that_comes_while_the_agent_stops_is_left_to_the_next_start() {
    let (host, service) = served();
    let first = daemon(&host);
    service.break_next("GetDeploymentSpecification", Fault::Late(Duration::from_secs(3600)));
    service.deploy(&whole(&host, &service, "v1", "d-STOPPED01"), &["DownloadBundle", "Install"]);
    eventually("the command is in hand", PATIENCE, || {
        let calls = service.calls();
        let asked = calls.iter().any(|call| call == "GetDeploymentSpecification");
        if asked { Ok(()) } else { Err(format!("{calls:?}")) }
    });
    let told = std::time::Instant::now();
    stop(&host, &service);
    assert!(
        told.elapsed() < Duration::from_secs(15),
        "it waits for the command, but not for ever: {:?}",
        told.elapsed()
    );
    first.end().with_code(0);
    assert!(service.acknowledgements().is_empty() && service.reports().is_empty());
    let _second = daemon(&host);
    assert_eq!(service.report_of("d-STOPPED01", "Install").status, "Succeeded");
    assert_eq!(service.acknowledgements().len(), 2, "{:?}", service.calls());
}

#[test]
fn thousands_of_conflicts_are_one_bounded_report_and_the_next_deployment_goes_on() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let mut bundle = Bundle::new(&host, "many").files("many", "/srv/many");
    for number in 0..2000 {
        let name = format!("some-file-with-a-usual-name-{number}.js");
        bundle = bundle.content(&format!("many/{name}"), "new");
        crate::support::host::write(&host.at("srv/many").join(&name), "the host's");
    }
    put(&service, "many.tgz", &bundle.write());
    let many = specification("d-MANY00001", "web", s3("many.tgz", "tgz"));
    service.deploy(&many, &["DownloadBundle", "Install"]);
    assert_eq!(service.report_of("d-MANY00001", "DownloadBundle").status, "Succeeded");
    let report = service.report_of("d-MANY00001", "Install");
    assert_eq!(report.status, "Failed");
    let message = report.diagnostics["message"].as_str().unwrap();
    assert!(message.contains("is there already"), "{message}");
    let (_, file) = message.rsplit_once("; all of it is in ").unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 2000);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &["DownloadBundle", "Install"]);
    assert_eq!(host.version(), "v2");
}
