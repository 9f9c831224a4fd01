//! The meaning of single commands: commands with nothing to do, commands unknown to this agent, and how they end.

use serde_json::json;

use super::*;
use crate::support::host::{EVENTS_WITH_HOOKS, write};

/// The events of the deployment's commands that were reported as having nothing to do.
fn noops(service: &CommandService, deployment: &str) -> Vec<String> {
    let acknowledged = service.acknowledgements().into_iter().filter(|(_, noop)| *noop);
    acknowledged
        .filter_map(|(command, _)| Some(command.strip_prefix(deployment)?.strip_prefix('/')?.to_owned()))
        .collect()
}

#[test]
fn an_event_without_scripts_is_a_noop_and_the_bundle_and_the_files_never_are() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    put(&service, "bare.tgz", &Bundle::new(&host, "bare").app().write());
    for deployment in ["d-BARE00001", "d-BARE00002"] {
        service.deploy_to_the_end(&specification(deployment, "web", s3("bare.tgz", "tgz")), &IN_PLACE);
        assert_eq!(noops(&service, deployment), EVENTS_WITH_HOOKS);
    }
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-WHOLE0003"), &IN_PLACE);
    assert_eq!(noops(&service, "d-WHOLE0003"), ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"]);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-WHOLE0004"), &IN_PLACE);
    assert!(noops(&service, "d-WHOLE0004").is_empty());
}

#[test]
fn a_command_that_this_agent_does_not_know_is_a_noop_and_fails_if_it_is_wanted_all_the_same() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bare = || {
        put(&service, "bare.tgz", &Bundle::new(&host, "bare").app().write());
        s3("bare.tgz", "tgz")
    };
    service.deploy_to_the_end(&specification("d-UNKNOWN01", "web", bare()), &["UpdateDeploymentAgent"]);
    assert_eq!(noops(&service, "d-UNKNOWN01"), ["UpdateDeploymentAgent"]);
    service.answer_acknowledgements("InProgress");
    service.deploy(&specification("d-UNKNOWN02", "web", bare()), &["UpdateDeploymentAgent"]);
    let report = service.report_of("d-UNKNOWN02", "UpdateDeploymentAgent");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &5.into()));
    assert!(report.diagnostics["message"].as_str().unwrap().contains("UpdateDeploymentAgent"), "{report:?}");
}

#[test]
fn an_appspec_of_another_name_is_found_also_for_the_next_deployments_stop() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let named = |version: &str, deployment: &str, name: &str| {
        let bundle = Bundle::new(&host, version).app().all_hooks().write();
        write(&bundle.join(name), std::fs::read(bundle.join("appspec.yml")).unwrap());
        std::fs::remove_file(bundle.join("appspec.yml")).unwrap();
        put(&service, &format!("{version}.tgz"), &bundle);
        let mut specification = specification(deployment, "web", s3(&format!("{version}.tgz"), "tgz"));
        specification["AppSpecFilename"] = name.into();
        specification
    };
    service.deploy_to_the_end(&named("v1", "d-NAMED0001", "deploy/web.yml"), &IN_PLACE);
    host.clear_hook_lines();
    service.deploy_to_the_end(&named("v2", "d-NAMED0002", "other.yml"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    let mut missing = whole(&host, &service, "v3", "d-NAMED0003");
    missing["AppSpecFilename"] = "none.json".into();
    let bare = Bundle::new(&host, "v3").app().write();
    std::fs::rename(bare.join("appspec.yml"), bare.join("unexpected.yml")).unwrap();
    put(&service, "v3.tgz", &bare);
    service.deploy(&missing, &["DownloadBundle"]);
    let report = service.report_of("d-NAMED0003", "DownloadBundle");
    let message = report.diagnostics["message"].as_str().unwrap();
    assert!(message.contains("none.json") && message.contains("appspec.yml"), "{message}");
}

#[test]
fn a_script_that_ends_with_194_has_failed_and_nothing_is_rebooted() {
    let (host, service) = served();
    let running = daemon(&host);
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").app().hook("AfterInstall", "exit 194").write());
    let events = ["DownloadBundle", "Install", "AfterInstall"];
    service.deploy(&specification("d-REBOOT001", "web", s3("v1.tgz", "tgz")), &events);
    let report = service.report_of("d-REBOOT001", "AfterInstall");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &4.into()));
    assert!(report.diagnostics["message"].as_str().unwrap().ends_with("failed with exit code 194"), "{report:?}");
    assert!(!running.said().contains("reboot"), "{}", running.said());
}

#[test]
fn the_version_of_an_object_that_the_specification_names_is_deployed() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    put(&service, "app.tgz", &Bundle::new(&host, "newest").app().write());
    put(&service, "app.tgz?versionId=3HL4", &Bundle::new(&host, "v1").app().hook("AfterInstall", "env").write());
    let revision = json!({"RevisionType": "S3", "S3Revision":
        {"Bucket": "bundles", "Key": "app.tgz", "BundleType": "tgz", "Version": "3HL4"}});
    let events = ["DownloadBundle", "Install", "AfterInstall"];
    service.deploy_to_the_end(&specification("d-VERSION01", "web", revision), &events);
    assert_eq!(host.version(), "v1");
    let log = std::fs::read_to_string(deployment_root(&host, "0000-web/d-VERSION01/logs/scripts.log")).unwrap();
    assert!(log.contains("[stdout]BUNDLE_VERSION=3HL4\n"), "{log}");
}
