//! In the CodeDeploy agent's place: deployments of a command service, over TLS, with its bucket.

mod beside;
mod booted;
mod commands;
mod conformance;
mod crashes;
mod envelope;
mod exposed;
mod faults;
mod hosts;
mod links;
pub mod local;
mod local_kinds;
mod migrate;
mod retained;
mod revisions;
mod shared_links;
mod surroundings;
mod takeover;
mod traces;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::codedeploy::{CommandService, s3, specification};
use crate::support::host::{Bundle, Gate, Host, Running, hook_lines_of};
pub use hostler_core::codedeploy::local::DEFAULT_EVENTS as IN_PLACE;

/// A host that the service knows, and the service.
pub fn served() -> (Host, CommandService) {
    let (host, service) = (Host::new(), CommandService::start());
    service.configure(&host.root());
    (host, service)
}

/// Starts the daemon.
pub fn daemon(host: &Host) -> Running {
    host.start(&["run"])
}

/// Stops the daemon, which waits for its open poll, and answers that poll.
pub fn stop(host: &Host, service: &CommandService) {
    service.hold_polls(std::time::Duration::ZERO);
    host.ok(&["stop"]);
}

/// Packs a bundle's directory and puts it into the bucket as `KEY`; returns its ETag.
pub fn put(service: &CommandService, key: &str, bundle: &Path) -> String {
    let packed = bundle.with_extension("packed");
    let compress = if key.ends_with(".tgz") { "-czf" } else { "-cf" };
    let done = Command::new("tar").arg(compress).arg(&packed).arg("-C").arg(bundle).arg(".").status().unwrap();
    assert!(done.success());
    service.put_object(key, std::fs::read(packed).unwrap())
}

/// A bundle of this version with a hook at every event, in the bucket; the specification of its deployment.
pub fn whole(host: &Host, service: &CommandService, version: &str, deployment: &str) -> Value {
    put(service, &format!("{version}.tgz"), &Bundle::new(host, version).app().all_hooks().write());
    specification(deployment, "web", s3(&format!("{version}.tgz"), "tgz"))
}

/// A path below the CodeDeploy agent's deployment root.
pub fn deployment_root(host: &Host, below: &str) -> PathBuf {
    host.at("opt/codedeploy-agent/deployment-root").join(below)
}

#[test]
fn deployments_behind_a_load_balancer_run_event_by_event() {
    let (host, service) = served();
    let daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    assert_eq!(host.version(), "v1", "{}", daemon.said());
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    let noops: Vec<_> = service.acknowledgements().into_iter().filter(|(_, noop)| *noop).map(|(c, _)| c).collect();
    let of_the_old = ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"];
    assert_eq!(noops, of_the_old.map(|event| format!("d-FIRST0001/{event}")), "there is no old revision");

    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    assert_eq!(host.version(), "v2");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    assert!(!host.at("srv/app/only-v1").exists() && host.at("srv/app/only-v2").exists());
    let success = serde_json::json!({"error_code": 0, "script_name": "", "message": "Succeeded: ", "log": ""});
    assert_eq!(service.report_of("d-SECOND002", "Install").diagnostics, success);
    let reports = service.reports();
    assert_eq!(reports.len(), 22, "each event is reported once: {reports:?}");

    stop(&host, &service);
    daemon.end().with_code(0);
    host.ok(&["history", "--verify"]);
    let status = host.ok(&["status", "--json"]).json();
    assert_eq!(status["groups"][0]["condition"], "good", "{status}");
}

/// The service commands its groups itself, and no flag names one of them.
#[test]
fn a_verb_without_names_leaves_the_services_groups_alone() {
    let (host, service) = served();
    let daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    for verb in ["rollback", "remove", "resume"] {
        host.hostler(&[verb]).with_code(2).saying(&["which deployment group?"]);
    }
    assert_eq!(host.version(), "v2", "{}", daemon.said());
}

#[test]
fn what_is_left_on_disk_is_what_the_codedeploy_agent_leaves() {
    let (host, service) = served();
    let daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    let read = |below: &str| std::fs::read_to_string(deployment_root(&host, below)).unwrap();
    let directory = deployment_root(&host, "0000-web/d-FIRST0001");
    assert!(directory.join("deployment-archive/appspec.yml").is_file());
    let named = directory.display().to_string();
    assert_eq!(read("deployment-instructions/0000-web_last_successful_install"), named);
    assert_eq!(read("deployment-instructions/0000-web_most_recent_install"), named);
    let cleanup = read("deployment-instructions/0000-web-cleanup");
    let lines: Vec<_> = cleanup.lines().collect();
    assert_eq!(
        lines,
        ["/srv", "/srv/app", "/srv/app/lib", "/srv/app/lib/same", "/srv/app/only-v1", "/srv/app/version"]
    );
    let install: Value = serde_json::from_str(&read("deployment-instructions/0000-web-install.json")).unwrap();
    let copy = serde_json::json!({
        "type": "copy",
        "source": format!("{named}/deployment-archive/app/version"),
        "destination": "/srv/app/version",
    });
    assert!(install["instructions"].as_array().unwrap().contains(&copy), "{install}");
    let log = read("0000-web/d-FIRST0001/logs/scripts.log");
    let first = log.lines().next().unwrap();
    assert!(first.len() > 20 && first[20..].starts_with("LifecycleEvent - "), "{first}");
    assert!(read("deployment-logs/codedeploy-agent-deployments.log").contains("] [d-FIRST0001]LifecycleEvent - "));
    let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap().trim(), daemon.pid().to_string());
    stop(&host, &service);
    daemon.end().with_code(0);
    assert!(!pid_file.exists());
}

#[test]
fn a_failed_script_is_reported_once_with_its_code_name_and_output() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "echo going down; echo why >&2; exit 7").write();
    put(&service, "v1.tar", &bundle);
    service.deploy(&specification("d-FAIL00001", "web", s3("v1.tar", "tar")), &IN_PLACE);
    let report = service.report_of("d-FAIL00001", "AfterInstall");
    assert_eq!(report.status, "Failed");
    let diagnostics = &report.diagnostics;
    assert_eq!(diagnostics["error_code"], 4);
    assert_eq!(diagnostics["script_name"], "hooks/AfterInstall-1.sh");
    let message = "Script at specified location: hooks/AfterInstall-1.sh failed with exit code 7";
    assert_eq!(diagnostics["message"], message);
    let log = diagnostics["log"].as_str().unwrap();
    assert!(log.starts_with("LifecycleEvent - AfterInstall\nScript - hooks/AfterInstall-1.sh\n"), "{log}");
    assert!(log.contains("[stdout]going down\n") && log.contains("[stderr]why\n"), "{log}");
    // The next deployment succeeds, and the failure was logged once.
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-GOOD00002"), &IN_PLACE);
    assert_eq!(service.reports().iter().filter(|r| r.command.starts_with("d-FAIL00001/AfterInstall")).count(), 1);
    assert_eq!(host.version(), "v2");
}

#[test]
fn the_old_instances_of_a_blue_green_deployment_only_leave_the_load_balancer() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    host.clear_hook_lines();
    // No bundle: an old instance never gets one.
    let mut blue_green = specification("d-GREEN0002", "web", s3("not-there.tgz", "tgz"));
    blue_green["DeploymentType"] = "BLUE_GREEN".into();
    service.deploy_to_the_end(&blue_green, &["BeforeBlockTraffic", "AfterBlockTraffic"]);
    assert_eq!(host.hook_lines(), ["v1 BeforeBlockTraffic", "v1 AfterBlockTraffic"]);
    // The service rolls the deployment back: the traffic events are those of the revision on the host.
    host.clear_hook_lines();
    let mut rollback = specification("d-BACK00003", "web", s3("not-there.tgz", "tgz"));
    rollback["DeploymentType"] = "BLUE_GREEN".into();
    rollback["DeploymentCreator"] = "codeDeployRollback".into();
    service.deploy_to_the_end(&rollback, &["BeforeAllowTraffic", "AfterAllowTraffic"]);
    assert_eq!(host.hook_lines(), ["v1 BeforeAllowTraffic", "v1 AfterAllowTraffic"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn two_groups_are_served_at_the_same_time() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    put(&service, "slow.tgz", &Bundle::new(&host, "slow").hook("BeforeInstall", &wait).write());
    let events = ["DownloadBundle", "BeforeInstall", "Install"];
    service.deploy(&specification("d-SLOW00001", "slow", s3("slow.tgz", "tgz")), &events);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-QUICK0001"), &IN_PLACE);
    let slow = |command: &str| service.reports().iter().any(|r| r.command == command);
    assert!(slow("d-SLOW00001/DownloadBundle") && !slow("d-SLOW00001/BeforeInstall"));
    gate.open();
    assert_eq!(service.report_of("d-SLOW00001", "Install").status, "Succeeded");
}

#[test]
fn nothing_is_waited_for_between_two_events() {
    let (host, service) = served();
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    // An agent that waited between two polls would not finish.
    std::fs::write(&path, text.replace(":wait_between_runs: 1", ":wait_between_runs: 86400")).unwrap();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
}

#[test]
fn a_bundle_with_only_appspec_yaml_is_deployed() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bundle = Bundle::new(&host, "v1").app().all_hooks().write();
    std::fs::rename(bundle.join("appspec.yml"), bundle.join("appspec.yaml")).unwrap();
    put(&service, "v1.tgz", &bundle);
    service.deploy_to_the_end(&specification("d-YAML00001", "web", s3("v1.tgz", "tgz")), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
}

#[test]
fn a_script_whose_path_a_shell_would_take_apart_runs() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bundle = Bundle::new(&host, "v1").write();
    let name = "hooks/a b; touch $(pwd)'.sh";
    let script = format!("#!/bin/sh\necho ran >> {}\n", host.path("hook-lines").display());
    crate::support::host::write(&bundle.join(name), script);
    let appspec = format!("version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: \"{name}\"\n");
    std::fs::write(bundle.join("appspec.yml"), appspec).unwrap();
    put(&service, "v1.tgz", &bundle);
    let events = ["DownloadBundle", "Install", "AfterInstall"];
    service.deploy_to_the_end(&specification("d-SHELL0001", "web", s3("v1.tgz", "tgz")), &events);
    assert_eq!(std::fs::read_to_string(host.path("hook-lines")).unwrap(), "ran\n");
}
