//! After the CodeDeploy agent, with its files, and before it again.

use super::*;

/// The files that the CodeDeploy agent 1.8.1 leaves after a deployment of one file with a stop script.
pub fn left_by_the_agent(host: &Host) {
    let write = |path: PathBuf, text: String| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let bundle = Bundle::new(host, "old").app().all_hooks().write();
    let directory = deployment_root(host, "0000-web/d-OLDAGENT1");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::rename(bundle, directory.join("deployment-archive")).unwrap();
    write(directory.join("bundle.tar"), "as it was fetched".to_owned());
    write(directory.join("logs/scripts.log"), "2026-01-01 00:00:00 LifecycleEvent - AfterInstall\n".to_owned());
    write(host.at("srv/app/version"), "old\n".to_owned());
    write(host.at("srv/app/only-old"), "of this version\n".to_owned());
    write(host.at("srv/app/lib/same"), "of every version\n".to_owned());
    let instructions = |ending: &str| deployment_root(host, &format!("deployment-instructions/0000-web{ending}"));
    let cleanup = "/srv/app\n/srv/app/lib\n/srv/app/lib/same\n/srv/app/only-old\n/srv/app/version\n/srv/app/gone\n";
    write(instructions("-cleanup"), cleanup.to_owned());
    write(instructions("-install.json"), r#"{"instructions":[]}"#.to_owned());
    write(instructions("_last_successful_install"), directory.display().to_string());
    write(instructions("_most_recent_install"), directory.display().to_string());
}

#[test]
fn the_first_deployment_stops_and_cleans_up_what_the_agent_deployed() {
    let (host, service) = served();
    left_by_the_agent(&host);
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("old"), "v1"), "{}", running.said());
    assert_eq!(host.version(), "v1");
    assert!(!host.at("srv/app/only-old").exists(), "it belonged to the old revision");
    assert!(host.at("srv/app/only-v1").exists() && host.at("srv/app/lib/same").exists());
}

#[test]
fn a_failed_first_deployment_leaves_the_agents_revision_for_the_next_one() {
    let (host, service) = served();
    left_by_the_agent(&host);
    let _daemon = daemon(&host);
    put(&service, "bad.tgz", &Bundle::new(&host, "bad").app().hook("BeforeInstall", "exit 1").write());
    service.deploy(&specification("d-BAD000001", "web", s3("bad.tgz", "tgz")), &IN_PLACE);
    assert_eq!(service.report_of("d-BAD000001", "BeforeInstall").status, "Failed");
    assert_eq!(host.version(), "old");
    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-SECOND002"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("old"), "v1"));
}

#[test]
fn after_hostler_the_agent_finds_everything_and_hostler_finds_it_again() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    stop(&host, &service);
    running.end().with_code(0);
    // The CodeDeploy agent's next Install removes the entries of the cleanup file, from its end.
    let cleanup = deployment_root(&host, "deployment-instructions/0000-web-cleanup");
    for line in std::fs::read_to_string(&cleanup).unwrap().lines().rev() {
        let path = host.at(line.strip_prefix('/').unwrap());
        let gone = if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
        gone.unwrap_or_else(|e| panic!("{line}: {e}"));
    }
    assert!(!host.at("srv/app").exists());
    let last =
        std::fs::read_to_string(deployment_root(&host, "deployment-instructions/0000-web_last_successful_install"));
    assert!(Path::new(&last.unwrap()).join("deployment-archive/hooks/ApplicationStop-1.sh").is_file());
    // The CodeDeploy agent deploys, and hostler continues after it.
    left_by_the_agent(&host);
    host.clear_hook_lines();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("old"), "v2"));
    assert!(!host.at("srv/app/only-old").exists() && host.at("srv/app/only-v2").exists());
}

#[test]
fn commands_that_the_agent_left_unfinished_are_all_reported() {
    let (host, service) = served();
    for name in ["d-ONE", "d-TWO"] {
        let tracking = deployment_root(&host, "ongoing-deployment").join(name);
        std::fs::create_dir_all(tracking.parent().unwrap()).unwrap();
        std::fs::write(tracking, format!("{name}/AfterInstall")).unwrap();
    }
    let _daemon = daemon(&host);
    for name in ["d-ONE", "d-TWO"] {
        let report = service.report_of(name, "AfterInstall");
        assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &7.into()));
    }
    assert!(!deployment_root(&host, "ongoing-deployment").exists());
}

#[test]
fn a_recorded_revision_that_is_gone_does_not_block_the_next_one() {
    let (host, service) = served();
    left_by_the_agent(&host);
    std::fs::remove_dir_all(deployment_root(&host, "0000-web/d-OLDAGENT1")).unwrap();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    running.says("the old revision's scripts are left out");
}
