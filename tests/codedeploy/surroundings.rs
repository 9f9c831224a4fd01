//! The surroundings of hooks in the CodeDeploy agent's place, and of the agent itself.

use std::os::unix::process::CommandExt as _;

use super::*;
use crate::support::codedeploy::Fault;

#[test]
fn hooks_start_with_the_profile_without_credentials_and_at_the_top() {
    let (host, service) = served();
    let profile = "PROFILE_SAYS=hello\nAWS_SECRET_ACCESS_KEY=leak\nLD_PRELOAD=/leak.so\nPATH=$PATH:/opt/own\n\
                   DEPLOYMENT_ID=not-this\n";
    std::fs::write(host.at("etc/profile"), profile).unwrap();
    std::fs::write(host.at("etc/environment"), "ENVIRONMENT_SAYS=\"two words\"\n").unwrap();
    let _daemon = daemon(&host);
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").hook("AfterInstall", "pwd; env").write());
    let events = ["DownloadBundle", "Install", "AfterInstall"];
    service.deploy_to_the_end(&specification("d-PROFILE01", "web", s3("v1.tgz", "tgz")), &events);
    let log = std::fs::read_to_string(deployment_root(&host, "0000-web/d-PROFILE01/logs/scripts.log")).unwrap();
    let has = |line: &str| log.contains(&format!("[stdout]{line}\n"));
    assert!(has("/") && has("PROFILE_SAYS=hello") && has("ENVIRONMENT_SAYS=two words"), "{log}");
    assert!(has("DEPLOYMENT_ID=d-PROFILE01"), "what describes the deployment wins: {log}");
    assert!(log.contains(":/opt/own\n"), "{log}");
    assert!(!log.contains("leak"), "{log}");
}

#[test]
fn only_one_of_the_two_agents_serves_a_host() {
    let (host, service) = served();
    let pid_file = host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid");
    std::fs::create_dir_all(pid_file.parent().unwrap()).unwrap();
    let mut agent = Command::new("sleep").arg0("codedeploy-agent: master 1").arg("600").spawn().unwrap();
    std::fs::write(&pid_file, agent.id().to_string()).unwrap();

    service.write_config(&host.root(), "  running_agent: refuse\n");
    let pid = format!("process {}", agent.id());
    host.run(&["run"]).with_code(3).saying(&["the CodeDeploy agent runs on this host", &pid]);

    service.write_config(&host.root(), "  running_agent: wait\n");
    let running = daemon(&host);
    running.says("the CodeDeploy agent runs on this host; its service is followed when that has ended");
    assert!(service.calls().is_empty(), "nobody may ask for its commands");
    agent.kill().unwrap();
    agent.wait().unwrap();
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-WAITED001"), &["DownloadBundle", "Install"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_configuration_of_the_agent_that_is_wrong_is_named_with_its_line() {
    let (host, service) = served();
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    std::fs::write(&path, "---\n:max_revisions: 0\n").unwrap();
    host.run(&["run"]).with_code(2).saying(&["codedeployagent.yml", "line 2: max_revisions"]);
    service.configure(&host.root());
    let on_premises = host.at("etc/codedeploy-agent/conf/codedeploy.onpremises.yml");
    std::fs::write(&on_premises, "iam_user_arn: arn:x\nregion: eu-west-1\n").unwrap();
    host.run(&["run"]).with_code(2).saying(&["codedeploy.onpremises.yml", "aws_access_key_id is missing"]);
}

/// A size in the kernel's status of a process, in KiB.
fn kib(process: &Running, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_bundle_is_never_held_in_memory() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-SMALL0001"), &["DownloadBundle", "Install"]);
    let before = kib(&running, "VmRSS:");
    // It does not compress, so that memory held for it would show.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    const BYTES: usize = 64 << 20;
    let content: Vec<u8> = (0..BYTES).map(|_| noise()).collect();
    for (number, key) in ["large.tgz", "large.tar"].into_iter().enumerate() {
        put(&service, key, &Bundle::new(&host, "large").app().content("app/large", &content).write());
        let specification = specification(&format!("d-LARGE000{number}"), "web", s3(key, "tgz"));
        service.deploy_to_the_end(&specification, &["DownloadBundle", "Install"]);
        let peak = kib(&running, "VmHWM:");
        assert!(
            peak < before + 32 * 1024,
            "{key}: {before} KiB before, {peak} at most, the bundle {} KiB",
            BYTES / 1024
        );
    }
}

#[test]
fn a_day_of_polling_leaves_no_descriptors_and_no_memory_behind() {
    let (host, service) = served();
    service.hold_polls(std::time::Duration::ZERO);
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap().replace(":wait_between_runs: 1", ":wait_between_runs: 0");
    std::fs::write(&path, text).unwrap();
    let running = daemon(&host);
    let polls = |count: usize| {
        crate::support::eventually("so many polls", std::time::Duration::from_secs(120), || {
            let made = service.calls().len();
            if made >= count { Ok(()) } else { Err(format!("{made} polls; {}", running.said())) }
        });
    };
    // Pages of the program come and go with the paths that it takes; a leak is anonymous memory.
    let anonymous = || kib(&running, "RssAnon:");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
    polls(200);
    service.break_next("PollHostCommand", Fault::AnswerLost);
    let (memory, open) = (anonymous(), descriptors());
    // A poll a minute, held open by the service, is 1,440 a day.
    polls(1_700);
    assert!(descriptors() <= open + 2, "{open} descriptors before and {} now", descriptors());
    assert!(anonymous() <= memory + 2_048, "{memory} KiB before and {} now", anonymous());
}
