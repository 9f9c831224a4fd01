//! `hostler migrate`.

use std::os::unix::process::CommandExt as _;

use super::shared_links::in_bucket;
use super::takeover::left_by_the_agent;
use super::*;
use crate::support::host::{Ended, root_or_skip, write};

/// Runs `migrate` with a systemctl that records its calls, stops the process in the CodeDeploy agent's pid file, and
/// knows one unit, which starts at boot while the file `enabled` exists. The file `stubborn` makes both verbs fail.
pub fn migrate(host: &Host, arguments: &[&str]) -> Ended {
    let script = format!(
        "#!/bin/sh\ncd {}\necho \"$@\" >> systemctl-log\n\
         case \"$1\" in\n\
         disable|stop) if [ -e stubborn ]; then echo \"Unit is stubborn.\" >&2; exit 1; fi ;;\nesac\n\
         case \"$1\" in\n\
         disable) rm -f enabled ;;\n\
         stop) pid=\"$(cat {} 2>/dev/null)\"\n\
         grep -qa ^codedeploy-agent: \"/proc/$pid/cmdline\" 2>/dev/null && kill \"$pid\"; true ;;\n\
         is-enabled) if [ -e enabled ]; then echo enabled; else echo disabled; exit 1; fi ;;\nesac\n",
        host.path("").display(),
        host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid").display()
    );
    write(&host.path("bin/systemctl"), script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.path("bin/systemctl"), mode).unwrap();
    let mut command = host.command(&[&["migrate"], arguments].concat());
    command.env("PATH", format!("{}:/usr/bin:/bin", host.path("bin").display()));
    Ended::of(command)
}

/// The calls of systemctl if a CodeDeploy agent is installed or runs.
const STEPS: &str = "enable hostler.service\nrestart hostler.service\ndisable codedeploy-agent.service\n\
                     stop codedeploy-agent.service\nis-enabled codedeploy-agent.service\n";

fn systemctl_log(host: &Host) -> String {
    std::fs::read_to_string(host.path("systemctl-log")).unwrap_or_default()
}

#[test]
fn it_says_what_is_there_and_what_would_change_and_changes_nothing() {
    let (host, _service) = served();
    left_by_the_agent(&host);
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    write(&path, format!("{}:verbose: true\n", std::fs::read_to_string(&path).unwrap()));
    let before = crate::support::host::tree(&host.root());
    let said = migrate(&host, &[]).with_code(0).saying(&[
        "codedeployagent.yml is read",
        "without effect: verbose",
        "arn:aws:iam::123456789012:user/host-1, by the on-premises file",
        "CodeDeploy agent does not run",
        "0000-web: d-OLDAGENT1 is on the host; its ApplicationStop runs before the next deployment",
        "hostler migrate --apply",
    ]);
    assert!(!said.out.contains("secret/of"), "{said:?}");
    let document = migrate(&host, &["--json"]).with_code(0).json();
    assert_eq!((&document["groups"][0]["bundle_is_here"], &document["applied"]), (&true.into(), &false.into()));
    assert_eq!(crate::support::host::tree(&host.root()), before);
    assert_eq!(systemctl_log(&host), "");
}

#[test]
fn it_waits_for_nobodys_deployment_to_be_cut_and_then_does_it_without_a_gap() {
    let (host, _service) = served();
    left_by_the_agent(&host);
    let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
    let mut agent = Command::new("sleep").arg0("codedeploy-agent: master 1").arg("600").spawn().unwrap();
    write(&pid_file, agent.id().to_string());
    let tracking = deployment_root(&host, "ongoing-deployment/d-GOINGON01");
    write(&tracking, "d-GOINGON01/AfterInstall");
    migrate(&host, &["--apply"]).with_code(3).saying(&["carries out a command", "nothing was changed"]);
    assert_eq!(systemctl_log(&host), "");
    std::fs::remove_file(tracking).unwrap();

    let said = std::thread::scope(|scope| {
        let migrated = scope.spawn(|| migrate(&host, &["--apply"]));
        // As with systemd: the process is gone once it was waited for.
        agent.wait().unwrap();
        migrated.join().unwrap()
    });
    said.with_code(0).saying(&["hostler is enabled", "hostler runs", "agent is stopped\n", "agent is disabled\n"]);
    // hostler starts, and waits, before the CodeDeploy agent is stopped.
    assert_eq!(systemctl_log(&host), STEPS);
    let written = std::fs::read_to_string(host.at("etc/hostler/config.d/50-codedeploy.yaml")).unwrap();
    assert!(written.contains("enabled: true"), "{written}");
    host.run(&["validate", host.at("etc/hostler/config.d/50-codedeploy.yaml").to_str().unwrap()]).with_code(0);
}

#[test]
fn an_agent_of_a_script_in_init_d_that_does_not_run_is_kept_from_the_next_boot() {
    let (host, _service) = served();
    // The output claims nothing about a missing agent.
    let said = migrate(&host, &["--apply"]).with_code(0).saying(&["no CodeDeploy agent is installed"]);
    assert!(!said.out.contains("stopped") && !said.out.contains("disabled"), "{said:?}");
    assert_eq!(systemctl_log(&host), "enable hostler.service\nrestart hostler.service\n");

    std::fs::remove_file(host.path("systemctl-log")).unwrap();
    write(&host.at("etc/init.d/codedeploy-agent"), "#!/bin/sh\n");
    write(&host.path("enabled"), "");
    migrate(&host, &[])
        .with_code(0)
        .saying(&["CodeDeploy agent does not run", "etc/init.d/codedeploy-agent starts it"]);
    migrate(&host, &["--apply"]).with_code(0).saying(&["agent is stopped\n", "agent is disabled\n"]);
    assert_eq!(systemctl_log(&host), STEPS);
    assert!(!host.path("enabled").exists());
}

#[test]
fn what_a_step_did_not_do_is_not_said_and_what_to_do_is() {
    let (host, _service) = served();
    let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
    let mut agent = Command::new("sleep").arg0("codedeploy-agent: master 1").arg("600").spawn().unwrap();
    write(&pid_file, agent.id().to_string());
    for flag in ["enabled", "stubborn"] {
        write(&host.path(flag), "");
    }
    let said = migrate(&host, &["--apply"]).with_code(1).saying(&[
        "hostler runs",
        &format!("the CodeDeploy agent still runs (process {}): systemctl stop", agent.id()),
        "Unit is stubborn.",
        "the next boot still starts the CodeDeploy agent (systemctl is-enabled says enabled)",
        "hostler waits for that",
    ]);
    assert!(!said.out.contains("agent is stopped") && !said.out.contains("agent is disabled"), "{said:?}");
    let document = migrate(&host, &["--apply", "--json"]).with_code(1).json();
    assert_eq!(document["applied"], false);
    assert!(document["done"].as_array().unwrap().contains(&"hostler runs".into()), "{document}");
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_before_anything_changes() {
    let (host, _service) = served();
    write(&host.at("etc/codedeploy-agent/conf/codedeployagent.yml"), ":max_revisions: none\n");
    migrate(&host, &["--apply"]).with_code(2).saying(&["line 1: max_revisions"]);
    assert_eq!(systemctl_log(&host), "");
}

#[test]
fn a_host_whose_deployments_go_by_a_users_directory_deploys_as_before() {
    if !root_or_skip("another user's directory") {
        return;
    }
    let (host, service) = served();
    left_by_the_agent(&host);
    std::os::unix::fs::chown(host.at("srv"), Some(1000), Some(1000)).unwrap();
    migrate(&host, &[]).with_code(0).saying(&[
        "way to /srv/app: REFUSED without unsafe_paths: warn: user 1000 owns",
        "unsafe_paths: warn would be written",
    ]);
    migrate(&host, &["--apply"]).with_code(0).saying(&["unsafe_paths: warn is written"]);
    let path = host.at("etc/hostler/config.d/50-codedeploy.yaml");
    let written = std::fs::read_to_string(&path).unwrap();
    host.run(&["validate", path.to_str().unwrap()]).with_code(0);
    let without = written.replace("unsafe_paths: warn", "unsafe_paths: refuse");
    assert_ne!(without, written);
    // Without the setting the deployment is refused, and the old release stays.
    std::fs::write(&path, &without).unwrap();
    let bundle = Bundle::new(&host, "v2").app().write();
    let before = crate::support::host::tree(&host.at("srv"));
    {
        let _daemon = daemon(&host);
        service.deploy(&in_bucket(&service, &bundle, "d-REFUSED01"), &IN_PLACE);
        let report = service.report_of("d-REFUSED01", "Install");
        let said = report.diagnostics.to_string();
        assert!(report.status == "Failed" && said.contains("the way to /srv/app is not safe"), "{said}");
    }
    assert_eq!(crate::support::host::tree(&host.at("srv")), before);
    // With the setting it is deployed as before, and the place is known from then on.
    std::fs::write(&path, &written).unwrap();
    {
        let _daemon = daemon(&host);
        service.deploy_to_the_end(&in_bucket(&service, &bundle, "d-TAKEN0002"), &IN_PLACE);
    }
    assert_eq!(std::fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
    std::fs::write(&path, &without).unwrap();
    let bundle = Bundle::new(&host, "v3").app().write();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&in_bucket(&service, &bundle, "d-KNOWN0003"), &IN_PLACE);
    assert_eq!(std::fs::read_to_string(host.at("srv/app/version")).unwrap(), "v3\n");
}
