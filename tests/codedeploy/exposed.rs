//! The agent's directories owned by another user, as where codedeployagent.yml named one: that user gains nothing.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};

use super::local::{bundle, local};
use super::migrate::migrate;
use super::takeover::left_by_the_agent;
use super::*;
use crate::support::host::{root_or_skip, write};

const NOBODY: u32 = 65534;

/// The same as `chown -R nobody`.
fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A file of root's that other users must not be able to change.
fn canary(host: &Host, name: &str) -> PathBuf {
    let path = host.at(name);
    write(&path, "canary\n");
    set_mode(&path, 0o600);
    path
}

fn owner(path: &Path) -> u32 {
    path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display())).uid()
}

/// A host on which the CodeDeploy agent ran as `nobody`, as AWS describes it.
fn of_nobody() -> (Host, CommandService) {
    let (host, service) = served();
    left_by_the_agent(&host);
    let log = host.at("var/log/aws/codedeploy-agent/codedeploy-agent.log");
    write(&log, "by the CodeDeploy agent\n");
    write(&host.at("opt/codedeploy-agent/state/.pid/other"), "");
    let configuration = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    write(&configuration, format!("{text}:user: nobody\n"));
    for top in ["opt/codedeploy-agent", "var/log/aws", "srv/app"] {
        give_away(&host.at(top));
    }
    (host, service)
}

#[test]
fn directories_of_another_user_are_refused_named_and_mended() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, service) = of_nobody();
    let root_dir = deployment_root(&host, "");
    let root_dir = root_dir.to_str().unwrap().trim_end_matches('/');
    let mends = format!("{root_dir}/deployment-instructions");
    let said = [
        "belongs to user nobody with mode 0755",
        root_dir,
        "as root",
        "hostler migrate --apply",
        "chown -h root:root",
        &mends,
    ];
    host.run(&["run"]).with_code(3).saying(&said);
    local(&host, &["-l", host.path("bundle-old").to_str().unwrap()]).with_code(1);
    let local_bundle = bundle(&host, "v0");
    local(&host, &["-l", local_bundle.to_str().unwrap()]).with_code(3).saying(&said);
    assert!(service.calls().is_empty() && host.hook_lines().is_empty());
    let doctor = host.run(&["doctor", "--json"]).json();
    let findings = doctor["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == "codedeploy-directories").unwrap();
    assert_eq!(found["severity"], "error", "{found}");

    let document = migrate(&host, &["--json"]).with_code(0).json();
    let listed = document["directories"].as_array().unwrap();
    let of_root_dir = listed.iter().find(|found| found["path"] == root_dir).unwrap();
    assert_eq!((&of_root_dir["uid"], &of_root_dir["mode"]), (&NOBODY.into(), &"0755".into()));
    assert!(listed.iter().all(|found| found["mendable"] == true), "{document}");
    assert_eq!(owner(Path::new(root_dir)), NOBODY, "nothing is changed unasked");
    migrate(&host, &["--apply"]).with_code(0).saying(&[&format!("given to root    {root_dir}\n")]);
    for path in
        ["opt/codedeploy-agent", "opt/codedeploy-agent/state/.pid", "var/log/aws/codedeploy-agent/codedeploy-agent.log"]
    {
        assert_eq!(owner(&host.at(path)), 0, "{path}");
    }
    // Files that the user wrote stay recognisable.
    for below in ["0000-web/d-OLDAGENT1/deployment-archive", "deployment-instructions/0000-web-cleanup"] {
        assert_eq!(owner(&deployment_root(&host, below)), NOBODY, "{below}");
    }

    // Its scripts run as that user, from the bundle that it unpacked; its installed files are its own, and are cleaned
    // up.
    write(&host.hook_lines_file(), "");
    set_mode(&host.hook_lines_file(), 0o666);
    let kept = canary(&host, "etc/canary1");
    let cleanup = deployment_root(&host, "deployment-instructions/0000-web-cleanup");
    let text = std::fs::read_to_string(&cleanup).unwrap();
    std::fs::write(&cleanup, format!("{text}/etc/canary1\n")).unwrap();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("old"), "v1"), "{}", running.said());
    assert_eq!(host.version(), "v1");
    assert!(!host.at("srv/app/only-old").exists() && kept.exists(), "{}", running.said());
    running.says("count that are that user's own");
    assert_eq!(owner(&cleanup), 0, "from now on it is root's");
    let log = std::fs::read_to_string(host.at("var/log/aws/codedeploy-agent/codedeploy-agent.log")).unwrap();
    assert!(log.starts_with("by the CodeDeploy agent\n") && log.contains("is followed"), "{log}");
}

/// A user with write access to the CodeDeploy agent's configuration chooses its directories and the proxy. The agent
/// warns but starts: upgraded hosts continue.
#[test]
fn a_configuration_that_another_user_may_change_is_named_and_stops_no_host() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, service) = served();
    left_by_the_agent(&host);
    let configuration = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let directory = configuration.parent().unwrap();
    let finding = || {
        let doctor = host.run(&["doctor", "--json"]).json();
        let findings = doctor["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["code"] == "codedeploy-directories").unwrap()
    };
    assert_eq!(finding()["severity"], "ok");
    // The file itself; its directory, where the file can be replaced; and a link in its place.
    lchown(&configuration, Some(NOBODY), None).unwrap();
    let said = [format!("{} belongs to user nobody", configuration.display()), "as root".to_owned()];
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(finding()["severity"], "warning", "{}", finding());
    let by_hand = format!("change that by hand: chown -h root:root {}", configuration.display());
    migrate(&host, &[]).with_code(0).saying(&said).saying(&[&by_hand]);
    let running = daemon(&host);
    running.says(said[0]);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    running.kill();
    lchown(&configuration, Some(0), None).unwrap();
    assert_eq!(finding()["severity"], "ok");
    set_mode(directory, 0o777);
    assert!(finding()["message"].as_str().unwrap().contains("every user could"), "{}", finding());
    set_mode(directory, 0o755);
    std::fs::rename(&configuration, host.path("elsewhere.yml")).unwrap();
    symlink(host.path("elsewhere.yml"), &configuration).unwrap();
    assert_eq!(finding()["severity"], "ok", "{}", finding());
    lchown(&configuration, Some(NOBODY), None).unwrap();
    assert_eq!(finding()["severity"], "warning", "a link of that user's");
}

#[test]
fn what_lies_above_may_be_a_groups_but_not_another_users() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, _service) = served();
    std::fs::create_dir_all(host.at("var/log")).unwrap();
    // As on Ubuntu: root:syslog.
    lchown(host.at("var/log"), None, Some(104)).unwrap();
    set_mode(&host.at("var/log"), 0o775);
    migrate(&host, &["--apply"]).with_code(0);
    set_mode(&host.at("var/log"), 0o777);
    let shown = host.at("var/log").display().to_string();
    host.run(&["run"]).with_code(3).saying(&[&format!("{shown} belongs to user root with mode 0777: every user")]);
    migrate(&host, &["--apply"]).with_code(3).saying(&["nothing was changed", &format!("chmod go-w {shown}")]);
    set_mode(&host.at("var/log"), 0o1777);
    migrate(&host, &["--apply"]).with_code(0);
    let opt = host.at("opt");
    std::fs::create_dir_all(&opt).unwrap();
    lchown(&opt, Some(NOBODY), None).unwrap();
    migrate(&host, &["--apply"]).with_code(3).saying(&[&format!("{} belongs to user nobody", opt.display())]);
}

#[test]
fn migrating_follows_no_link_and_leaves_files_with_further_names() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, _service) = served();
    let theirs = host.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    write(&theirs.join("file"), "");
    give_away(&theirs);
    let logs = host.at("var/log/aws/codedeploy-agent");
    std::fs::create_dir_all(&logs).unwrap();
    symlink(theirs.join("file"), logs.join("codedeploy-agent.log")).unwrap();
    std::fs::hard_link(theirs.join("file"), logs.join("old.log")).unwrap();
    symlink(&theirs, logs.join("directory")).unwrap();
    give_away_top(&logs);
    migrate(&host, &["--apply"]).with_code(0);
    assert_eq!(owner(&logs), 0);
    assert_eq!((owner(&theirs), owner(&theirs.join("file"))), (NOBODY, NOBODY));
}

#[test]
fn a_users_link_and_a_users_program_become_nothing_of_roots() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, _service) = of_nobody();
    let theirs = host.path("theirs");
    write(&theirs.join("file"), "");
    for path in [theirs.clone(), theirs.join("file")] {
        lchown(path, Some(1), Some(1)).unwrap();
    }
    // Links to directories of a third user: a group's directory, and that of the pid file.
    let links = [deployment_root(&host, "0000-link"), host.at("opt/codedeploy-agent/state/.pid")];
    std::fs::remove_dir_all(&links[1]).unwrap();
    for link in &links {
        symlink(&theirs, link).unwrap();
        give_away_top(link);
    }
    let program = host.at("var/log/aws/codedeploy-agent/program");
    write(&program, "the user's");
    give_away(&program);
    set_mode(&program, 0o6775);
    for refused in [migrate(&host, &["--apply"]), host.run(&["run"])] {
        let said =
            links.each_ref().map(|link| format!("{} is a symbolic link that belongs to user nobody", link.display()));
        refused.with_code(3).saying(&[&said[0], &said[1], "look where each of these leads"]);
    }
    let found = migrate(&host, &["--json"]).with_code(0).json();
    let found =
        found["directories"].as_array().unwrap().iter().find(|found| found["path"] == *links[0].to_str().unwrap());
    assert_eq!(found.unwrap()["mendable"], false);
    assert_eq!(owner(&host.at("opt/codedeploy-agent")), NOBODY, "nothing was changed");
    links.iter().for_each(|link| std::fs::remove_file(link).unwrap());
    migrate(&host, &["--apply"]).with_code(0);
    let mode = program.metadata().unwrap().mode() & 0o7777;
    assert_eq!((owner(&program), format!("{mode:o}")), (0, "755".to_owned()), "nobody's program does not run as root");
    assert_eq!((owner(&theirs), owner(&theirs.join("file"))), (1, 1));
}

#[test]
fn journals_in_directories_of_another_user_are_not_obeyed() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-GOOD00001"), &IN_PLACE);
    put(&service, "v2.tgz", &Bundle::new(&host, "v2").app().hook("BeforeInstall", "exit 1").write());
    service.deploy(&specification("d-FAILED002", "web", s3("v2.tgz", "tgz")), &["DownloadBundle", "BeforeInstall"]);
    assert_eq!(service.report_of("d-FAILED002", "BeforeInstall").status, "Failed");
    // The deployment has ended for the agent too, which may come after the report.
    running.says("deployment failed");
    host.run(&["stop"]).with_code(0);
    running.end();
    // The user's own journal under the name of the failed deployment: an undo would undo the other deployment's
    // Install.
    let group = deployment_root(&host, "0000-web");
    let [good, failed] =
        ["d-GOOD00001", "d-FAILED002"].map(|deployment| group.join(deployment).join("install-journal"));
    let forge = || {
        let committed = std::fs::read_to_string(good.join("install.committed.json")).unwrap();
        let text = committed.replace("d-GOOD00001", "d-FAILED002");
        std::fs::remove_file(failed.join("install.staging.json")).unwrap();
        write(&failed.join("install.undoing.json"), text);
        std::fs::copy(good.join("install.staged.json"), failed.join("install.staged.json")).unwrap();
    };
    forge();
    give_away_top(&group);
    host.run(&["run", "--recover"]).with_code(0);
    assert_eq!(host.version(), "v1");
    let by_hand = Bundle::new(&host, "v3").app().write();
    for verb in [&["run", "--once"][..], &["deploy", by_hand.to_str().unwrap()]] {
        host.run(verb).with_code(3).saying(&["0000-web belongs to user nobody"]);
    }
    assert_eq!(host.version(), "v1");
    // It would have been obeyed: a journal in a directory of root's is root's word.
    lchown(&group, Some(0), Some(0)).unwrap();
    host.run(&["run", "--recover"]).with_code(0).saying(&["d-FAILED002"]);
    assert!(!host.at("srv/app/version").exists());
}

fn give_away_top(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn the_log_the_pid_file_and_the_tracking_files_are_written_through_no_link() {
    let (host, service) = served();
    let canaries = ["log", "pid", "tracked"].map(|name| canary(&host, &format!("etc/{name}")));
    let at = [
        host.at("var/log/aws/codedeploy-agent/codedeploy-agent.log"),
        host.at("opt/codedeploy-agent/state/.pid/codedeploy-agent.pid"),
        deployment_root(&host, "ongoing-deployment/d-FIRST0001"),
    ];
    for (link, to) in at.iter().zip(&canaries) {
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, link).unwrap();
    }
    let running = daemon(&host);
    running.says("the CodeDeploy agent's log is not written");
    running.says("it is a symbolic link");
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    for canary in canaries {
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "canary\n", "{}", canary.display());
    }
    assert_eq!(std::fs::read_to_string(&at[1]).unwrap().trim(), running.pid().to_string());
}

#[test]
fn a_cleanup_file_that_others_may_write_to_is_not_believed() {
    let (host, service) = served();
    left_by_the_agent(&host);
    let kept = canary(&host, "etc/canary1");
    let cleanup = deployment_root(&host, "deployment-instructions/0000-web-cleanup");
    let text = std::fs::read_to_string(&cleanup).unwrap();
    std::fs::write(&cleanup, format!("{text}/etc/canary1\n")).unwrap();
    set_mode(&cleanup, 0o666);
    let running = daemon(&host);
    let mut overwrite = whole(&host, &service, "v1", "d-FIRST0001");
    overwrite["AgentActionOverrides"] = serde_json::json!({"AgentOverrides": {"FileExistsBehavior": "OVERWRITE"}});
    service.deploy_to_the_end(&overwrite, &IN_PLACE);
    running.says("0000-web-cleanup is not believed");
    assert!(kept.exists() && host.at("srv/app/only-old").exists());
    assert_eq!(host.version(), "v1");
    // The file that hostler has written is believed.
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    assert!(!host.at("srv/app/only-v1").exists());
}

#[test]
fn a_bundle_that_another_user_put_in_its_place_is_neither_installed_nor_run() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, service) = served();
    let running = daemon(&host);
    let target = host.at("etc/cron.d/job");
    // The changes that a script's user can make where the directory is that user's.
    let replace = |deployment: &str, owner: u32| {
        let directory = deployment_root(&host, "0000-web").join(deployment);
        format!(
            "cd {} && mv deployment-archive was && cp -r was deployment-archive && mkdir deployment-archive/etc && \
             echo job > deployment-archive/etc/job && chown -R {NOBODY}:{NOBODY} deployment-archive && chown {owner} .",
            directory.display()
        )
    };
    let other = "printf 'version: 0.0\nos: linux\nfiles:\n  - source: etc\n    destination: /etc/cron.d\n'";
    let first = format!("{} && {other} > deployment-archive/appspec.yml", replace("d-SWAP00001", 0));
    let bundle = Bundle::new(&host, "v1").app().hook("BeforeInstall", &first).write();
    put(&service, "v1.tgz", &bundle);
    service.deploy(
        &specification("d-SWAP00001", "web", s3("v1.tgz", "tgz")),
        &["DownloadBundle", "BeforeInstall", "Install"],
    );
    let report = service.report_of("d-SWAP00001", "Install");
    let message = report.diagnostics["message"].as_str().unwrap();
    assert_eq!(report.status, "Failed");
    assert!(
        message.contains("deployment-archive belongs to user nobody") && message.contains("is not used"),
        "{message}"
    );
    assert!(!target.exists() && !host.at("srv/app").exists(), "{}", running.said());

    let bundle = Bundle::new(&host, "v2").app().all_hooks().hook("BeforeInstall", &replace("d-SWAP00002", NOBODY));
    put(&service, "v2.tgz", &bundle.write());
    let swapped = specification("d-SWAP00002", "web", s3("v2.tgz", "tgz"));
    service.deploy(&swapped, &["DownloadBundle", "Install", "BeforeInstall", "AfterInstall"]);
    let report = service.report_of("d-SWAP00002", "AfterInstall");
    assert_eq!(report.status, "Failed", "{report:?}");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("belongs to user nobody"), "{report:?}");
    // The next deployment unpacks its own bundle, and leaves out the scripts of the replaced one.
    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v3", "d-GOOD00003"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v3"), "{}", running.said());
    running.says("the old revision's scripts are left out");
    assert_eq!(host.version(), "v3");
}

#[test]
fn a_bundle_that_root_gave_to_its_user_still_runs() {
    if !root_or_skip("giving files away") {
        return;
    }
    let (host, service) = served();
    let running = daemon(&host);
    let archive = deployment_root(&host, "0000-web/d-GIVEN0001/deployment-archive");
    let gives = format!("chown -R {NOBODY} {}", archive.display());
    put(&service, "v1.tgz", &Bundle::new(&host, "v1").app().hook("AfterInstall", &gives).all_hooks().write());
    service.deploy_to_the_end(&specification("d-GIVEN0001", "web", s3("v1.tgz", "tgz")), &IN_PLACE);
    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"), "{}", running.said());
}
