//! A CodeDeploy agent that starts while hostler serves the host, and a poll that is open when hostler stops.

use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::*;
use crate::support::eventually;
use crate::support::host::PATIENCE;

/// A process with the CodeDeploy agent's name and pid file.
struct Agent(Child);

impl Agent {
    fn start(host: &Host) -> Self {
        let child = Command::new("sleep").arg0("codedeploy-agent: master 1").arg("600").spawn().unwrap();
        let agent = Self(child);
        let line = format!("/proc/{}/cmdline", agent.0.id());
        eventually("it has its name", PATIENCE, || {
            let line = std::fs::read(&line).unwrap();
            if line.starts_with(b"codedeploy-agent:") { Ok(()) } else { Err(format!("{line:?}")) }
        });
        let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
        std::fs::create_dir_all(pid_file.parent().unwrap()).unwrap();
        std::fs::write(pid_file, format!("{}\n", agent.0.id())).unwrap();
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_that_starts_later_stops_the_polling_until_it_ends() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    put(&service, "slow.tgz", &Bundle::new(&host, "v2").app().hook("BeforeInstall", &wait).write());
    let events = ["DownloadBundle", "BeforeInstall", "Install"];
    service.deploy(&specification("d-SECOND002", "web", s3("slow.tgz", "tgz")), &events);
    assert_eq!(service.report_of("d-SECOND002", "DownloadBundle").status, "Succeeded");

    let agent = Agent::start(&host);
    let pid = agent.0.id();
    // The work in flight ends and is reported; the next command is not hostler's.
    gate.open();
    assert_eq!(service.report_of("d-SECOND002", "BeforeInstall").status, "Succeeded");
    running.says("its service is followed when that has ended");
    let polls = || service.calls().iter().filter(|call| *call == "PollHostCommand").count();
    let before = polls();
    let named = format!("the CodeDeploy agent runs on this host (process {pid})");
    host.run(&["status", "--health"]).with_code(1).saying(&[&named]);
    let said = host.ok(&["status"]).saying(&[&named, "not followed\n"]);
    assert!(!said.out.contains(": good\n"), "{said:?}");
    assert!(host.ok(&["status", "--json"]).json()["daemon"]["not_followed"].as_str().unwrap().contains(&named));
    let taken = service.acknowledgements().iter().any(|(command, _)| command == "d-SECOND002/Install");
    assert!(!taken && polls() == before, "{}", running.said());

    drop(agent);
    assert_eq!(service.report_of("d-SECOND002", "Install").status, "Succeeded");
    assert_eq!(host.version(), "v2");
    running.says("the CodeDeploy agent has ended");
    host.ok(&["status", "--health"]);
    let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
    assert_eq!(std::fs::read_to_string(pid_file).unwrap().trim(), running.pid().to_string());
}

#[test]
fn what_the_agent_left_unfinished_beside_hostler_is_reported_and_what_is_ours_is_not() {
    let (host, service) = served();
    let running = daemon(&host);
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    put(&service, "slow.tgz", &Bundle::new(&host, "v1").app().hook("BeforeInstall", &wait).write());
    let agent = {
        let tracking = deployment_root(&host, "ongoing-deployment");
        service
            .deploy(&specification("d-OURS00001", "web", s3("slow.tgz", "tgz")), &["DownloadBundle", "BeforeInstall"]);
        eventually("our file is there", PATIENCE, || {
            std::fs::read_to_string(tracking.join("d-OURS00001"))
                .map_err(|error| error.to_string())
                .and_then(|text| if text == "d-OURS00001/BeforeInstall" { Ok(()) } else { Err(text) })
        });
        let agent = Agent::start(&host);
        std::fs::write(tracking.join("d-THEIRS001"), "d-THEIRS001/AfterInstall").unwrap();
        agent
    };
    service.hold_polls(Duration::ZERO);
    running.says("its service is followed when that has ended");
    drop(agent);
    let report = service.report_of("d-THEIRS001", "AfterInstall");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &7.into()));
    eventually("only our file is left", PATIENCE, || {
        let names = std::fs::read_dir(deployment_root(&host, "ongoing-deployment")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        if names == ["d-OURS00001"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
    gate.open();
    assert_eq!(service.report_of("d-OURS00001", "BeforeInstall").status, "Succeeded");
    assert!(service.reports().iter().all(|r| r.command != "d-OURS00001/BeforeInstall" || r.status == "Succeeded"));
}

#[test]
fn a_command_that_the_open_poll_brings_at_a_stop_is_carried_out_after_the_next_start() {
    let (host, service) = served();
    service.deliver_once();
    let first = daemon(&host);
    service.polled(1);
    first.signal(Signal::SIGTERM);
    first.says("the poll of the CodeDeploy service that is open is waited for");
    service.deploy(&whole(&host, &service, "v1", "d-LASTPOLL1"), &["DownloadBundle", "Install"]);
    first.end().with_code(0);
    assert!(service.acknowledgements().is_empty(), "it is only written down: {:?}", service.calls());
    let polls = service.calls().iter().filter(|call| *call == "PollHostCommand").count();
    assert_eq!(polls, 1, "no poll is begun while the daemon stops");

    let second = daemon(&host);
    assert_eq!(service.report_of("d-LASTPOLL1", "DownloadBundle").status, "Succeeded", "{}", second.said());
    assert_eq!(service.report_of("d-LASTPOLL1", "Install").status, "Succeeded");
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_second_signal_does_not_wait_for_the_open_poll() {
    let (host, service) = served();
    service.hold_polls(Duration::from_secs(3600));
    let running = daemon(&host);
    service.polled(1);
    running.signal(Signal::SIGTERM);
    running.says("the poll of the CodeDeploy service that is open is waited for");
    let told = Instant::now();
    running.signal(Signal::SIGINT);
    running.says("told twice to stop");
    running.end().with_code(0);
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
}
