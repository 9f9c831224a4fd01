//! The records that users and scripts read on a host of the CodeDeploy agent: tracking files, its log, its settings.

use super::*;
use crate::support::eventually;
use crate::support::host::{Gate, PATIENCE, write};

/// Adds lines to codedeployagent.yml.
fn add_to_agent_config(host: &Host, lines: &str) {
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    write(&path, format!("{text}{lines}"));
}

fn tracked(host: &Host) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(deployment_root(host, "ongoing-deployment")).into_iter().flatten().flatten();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path()))).collect();
    found.sort();
    found
}

#[test]
fn a_tracking_file_is_there_while_a_command_is_carried_out_and_outlives_the_agent_as_its_hook_does() {
    let (host, service) = served();
    let first = daemon(&host);
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").hook("BeforeInstall", &wait).write());
    service.deploy(&specification("d-TRACKED01", "web", s3("v1.tgz", "tgz")), &["DownloadBundle", "BeforeInstall"]);
    let expected = [("d-TRACKED01".to_owned(), "d-TRACKED01/BeforeInstall".to_owned())];
    let shows = |expected: &[(String, String)]| {
        eventually("the tracking files", PATIENCE, || {
            let found = tracked(&host);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    shows(&expected);
    first.kill();
    shows(&expected);
    let _second = daemon(&host);
    gate.open();
    // The next start recognises its own command: the CodeDeploy agent did not leave it unfinished.
    assert_eq!(service.report_of("d-TRACKED01", "BeforeInstall").status, "Succeeded");
    shows(&[]);
    assert_eq!(service.reports().len(), 2, "{:?}", service.reports());
}

#[test]
fn the_agents_log_goes_on_in_its_form() {
    let (host, service) = served();
    add_to_agent_config(&host, ":log_dir: /var/log/own\n:program_name: own-agent\n");
    let log = host.at("var/log/own/own-agent.log");
    write(&log, "2026-01-01T00:00:00 INFO  [own-agent(7)]: by the CodeDeploy agent\n");
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-LOGGED001"), &["DownloadBundle", "Install"]);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("2026-01-01T00:00:00 INFO  [own-agent(7)]: by the CodeDeploy agent\n"), "{text}");
    let ours = format!(" INFO  [own-agent({})]: ", running.pid());
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert!(lines.iter().any(|line| line[19..].starts_with(&ours)), "{text}");
    assert!(lines.iter().any(|line| line.contains("the CodeDeploy service commands")), "{text}");
    assert!(host.at("opt/codedeploy-agent/state/.pid/own-agent.pid").exists());
}

#[test]
fn keys_that_change_nothing_here_are_named_once_and_defaults_are_not() {
    let (host, service) = served();
    add_to_agent_config(&host, ":verbose: true\n:children: 1\n:wait_after_error: 30\n:disable_imds_v1: false\n");
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-NAMED0001"), &["DownloadBundle", "Install"]);
    let said = running.said();
    assert_eq!(said.matches("codedeployagent.yml: verbose, wait_after_error: without effect").count(), 1, "{said}");
    assert!(!said.contains("log_aws_wire") && !said.contains("children"), "{said}");
}

#[test]
fn scripts_without_runas_are_the_agents_users_and_never_roots() {
    if !crate::support::host::root_or_skip("running scripts as another user") {
        return;
    }
    let (host, service) = served();
    add_to_agent_config(&host, ":user: nobody\n");
    // The user reads the bundle and writes beside it.
    write(&host.hook_lines_file(), "");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(host.hook_lines_file(), mode).unwrap();
    let running = daemon(&host);
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").app().hook("AfterInstall", "id -un").write());
    let events = ["DownloadBundle", "Install", "AfterInstall"];
    service.deploy_to_the_end(&specification("d-USER00001", "web", s3("v1.tgz", "tgz")), &events);
    let log = std::fs::read_to_string(deployment_root(&host, "0000-web/d-USER00001/logs/scripts.log")).unwrap();
    assert!(log.contains("[stdout]nobody\n"), "{log}");
    running.says("scripts without runas run as nobody");
}
