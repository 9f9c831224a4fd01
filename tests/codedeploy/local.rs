//! `codedeploy-local`, called by its name.

use super::links::{by_name, command_by_name};
use super::*;
use crate::crash::{kill_before, strace_or_skip};
use crate::support::host::{Ended, Gate, tree, write};

/// Runs `codedeploy-local` with these arguments.
pub fn local(host: &Host, arguments: &[&str]) -> Ended {
    Ended::of(local_command(host, arguments))
}

/// The same command, not started yet.
pub fn local_command(host: &Host, arguments: &[&str]) -> Command {
    let root = host.root();
    let configuration = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    if !configuration.exists() {
        write(&configuration, "---\n:root_dir: '/opt/codedeploy-agent/deployment-root'\n");
    }
    let more = ["--root", root.to_str().unwrap(), "-c", configuration.to_str().unwrap()];
    command_by_name(host, "codedeploy-local", &[arguments, &more].concat())
}

/// A bundle's directory below the root prefix.
pub fn bundle(host: &Host, version: &str) -> PathBuf {
    let at = host.at("bundles").join(version);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::rename(Bundle::new(host, version).app().all_hooks().write(), &at).unwrap();
    at
}

#[test]
fn a_directory_is_deployed_and_its_successor_stops_it_first() {
    let host = Host::new();
    let (v1, v2) = (bundle(&host, "v1"), bundle(&host, "v2"));
    let said = local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    assert!(said.out.contains("AppSpec file valid. Local deployment successful"), "{said:?}");
    assert!(said.out.contains("/deployment-root/default-local-deployment-group/d-"), "{said:?}");
    host.clear_hook_lines();
    // A relative path begins at the working directory.
    local(&host, &["--bundle-location", "bundles/v2", "--type", "directory"]).with_code(0);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    assert_eq!(host.version(), "v2");
    assert!(v2.is_dir(), "the bundle itself stays");
}

#[test]
fn archives_events_and_an_appspec_of_another_name() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    std::fs::rename(v1.join("appspec.yml"), v1.join("other.yml")).unwrap();
    let packed = host.at("bundles/v1.tgz");
    assert!(Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&v1).arg(".").status().unwrap().success());
    let arguments = ["-l", packed.to_str().unwrap(), "-t", "tgz"];
    local(&host, &[&arguments[..], &["-A", "missing.yml"]].concat()).with_code(1).saying(&["missing.yml"]);
    local(&host, &[&arguments[..], &["-A", "other.yml", "-e", "BeforeInstall,DownloadBundle"]].concat())
        .with_code(1)
        .saying(&["BeforeInstall cannot come before DownloadBundle"]);
    local(&host, &[&arguments[..], &["-A", "other.yml", "-e", "AfterInstall,ApplicationStart"]].concat()).with_code(0);
    assert_eq!(host.hook_lines(), ["v1 AfterInstall", "v1 ApplicationStart"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_file_that_exists_is_refused_overwritten_or_retained() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    write(&host.at("srv/app/version"), "foreign\n");
    let arguments = ["-l", v1.to_str().unwrap()];
    local(&host, &arguments).with_code(1).saying(&["Install failed", "/srv/app/version"]);
    assert_eq!(host.version(), "foreign");
    local(&host, &[&arguments[..], &["-b", "RETAIN"]].concat()).with_code(0);
    assert_eq!(host.version(), "foreign");
    local(&host, &[&arguments[..], &["--file-exists-behavior", "OVERWRITE"]].concat()).with_code(0);
    assert_eq!(host.version(), "v1");
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    let v1 = v1.to_str().unwrap();
    local(&host, &["-l", v1, "-t", "tgz"]).with_code(1).saying(&["is a directory", "--type directory"]);
    local(&host, &["-l", v1, "-t", "rar"]).with_code(1).saying(&["type rar is not known"]);
    local(&host, &["-l", "http://example.com/x", "-t", "zip"]).with_code(1).saying(&["https:"]);
    local(&host, &["-l", "/not/there", "-t", "zip"]).with_code(1).saying(&["/not/there"]);
    local(&host, &["-l", v1, "-e", "Install,DownloadBundle"])
        .with_code(1)
        .saying(&["cannot come before DownloadBundle"]);
    local(&host, &["-l", v1, "-a", "a/b"]).with_code(1).saying(&["application name", "no slash"]);
    local(&host, &["--bogus"]).with_code(1).saying(&["--bogus"]);
    by_name(&host, "codedeploy-local", &["-l", v1, "-c", "/not/there.yml"]).with_code(1).saying(&["/not/there.yml"]);
    assert!(host.hook_lines().is_empty());
    assert!(by_name(&host, "codedeploy-local", &["--help"]).with_code(0).out.contains("--bundle-location"));
    assert_eq!(by_name(&host, "codedeploy-local", &["-v"]).with_code(0).out, "1.0\n");
}

#[test]
fn events_of_the_users_own_run_in_the_order_in_which_they_are_named() {
    let host = Host::new();
    let at = host.at("bundles/own");
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    let bundle = Bundle::new(&host, "v1").app().all_hooks().hook("WarmUp", "echo warm").hook("Never", "").write();
    std::fs::rename(bundle, &at).unwrap();
    let arguments = ["-l", at.to_str().unwrap(), "-e"];
    local(&host, &[&arguments[..], &["ApplicationStart,WarmUp,AfterInstall"]].concat()).with_code(0);
    assert_eq!(host.hook_lines(), ["v1 ApplicationStart", "v1 WarmUp", "v1 AfterInstall"]);
    // An event that the appspec lacks is found before files are put in place.
    std::fs::write(at.join("app/version"), "v2\n").unwrap();
    let said = local(&host, &[&arguments[..], &["ApplicationStart,Typo"]].concat()).with_code(1);
    said.saying(&["the appspec has no hooks for Typo"]);
    assert_eq!(host.version(), "v1");
    local(&host, &[&arguments[..], &["../up"]].concat()).with_code(1).saying(&["cannot be the name"]);
    local(&host, &[&arguments[..], &["WarmUp,DownloadBundle"]].concat()).with_code(1).saying(&["cannot come before"]);
    // Faults of an event outside the standard ones count once it is called: before files are put in place.
    for (faulty, words) in [
        ("- location: hooks/gone.sh", "the bundle holds no script hooks/gone.sh of WarmUp"),
        ("- location: hooks/WarmUp-1.sh\n      timeout: soon", "the appspec's scripts of WarmUp cannot be used"),
    ] {
        let appspec = std::fs::read_to_string(at.join("appspec.yml")).unwrap();
        let (before, _) = appspec.split_once("  WarmUp:").unwrap();
        write(&at.join("appspec.yml"), format!("{before}  WarmUp:\n    {faulty}\n"));
        local(&host, &[&arguments[..], &["ApplicationStart,WarmUp"]].concat()).with_code(1).saying(&[words]);
        assert_eq!(host.version(), "v1");
        local(&host, &["-l", at.to_str().unwrap(), "-e", "ApplicationStart"]).with_code(0);
        std::fs::write(at.join("app/version"), "v1\n").unwrap();
        local(&host, &["-l", at.to_str().unwrap(), "-e", "ApplicationStart"]).with_code(0);
        std::fs::write(at.join("app/version"), "v2\n").unwrap();
    }
}

#[test]
fn an_appspec_that_is_named_and_absent_is_refused_though_another_is_there() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    let packed = host.at("bundles/v1.tgz");
    assert!(Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&v1).arg(".").status().unwrap().success());
    let (v1, packed) = (v1.to_str().unwrap(), packed.to_str().unwrap());
    local(&host, &["-l", v1, "-A", "nope.yml"]).with_code(1).saying(&["has no nope.yml", "--appspec-filename"]);
    let said = local(&host, &["-l", packed, "-t", "tgz", "-A", "nope.yml"]).with_code(1);
    said.saying(&["DownloadBundle failed", "nope.yml"]);
    host.deploy(Path::new(v1), &["-A", "nope.yml"]).with_code(1).saying(&["nope.yml"]);
    host.run(&["validate", v1, "-A", "nope.yml"]).with_code(1).saying(&["nope.yml"]);
    host.run(&["plan", v1, "-A", "nope.yml"]).with_code(1).saying(&["nope.yml"]);
    let empty = host.at("bundles/empty");
    std::fs::create_dir(&empty).unwrap();
    local(&host, &["-l", empty.to_str().unwrap()]).with_code(1).saying(&["has no appspec.yml and no appspec.yaml"]);
    assert!(host.hook_lines().is_empty());
    assert_eq!(host.version(), "");
}

#[test]
fn scripts_run_where_it_was_called_with_the_names_that_were_given() {
    let host = Host::new();
    let at = host.at("bundles/own");
    let print = "pwd; echo \"[$APPLICATION_NAME] [$DEPLOYMENT_GROUP_NAME] [$DEPLOYMENT_GROUP_ID]\"";
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::rename(Bundle::new(&host, "v1").app().hook("AfterInstall", print).write(), &at).unwrap();
    // No other user may enter it, but another user's script still runs there, as with su.
    let here = host.path("called here");
    std::fs::create_dir(&here).unwrap();
    std::fs::set_permissions(&here, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let appspec = std::fs::read_to_string(at.join("appspec.yml")).unwrap();
    let timed = appspec.replace("      timeout:", "      runas: nobody\n      timeout:");
    assert_ne!(timed, appspec, "{appspec}");
    let users: &[&str] = if crate::support::host::root_or_skip("runas") { &[&appspec, &timed] } else { &[&appspec] };
    for appspec in users {
        write(&at.join("appspec.yml"), appspec);
        let arguments = ["-l", at.to_str().unwrap(), "-a", "My App (2)", "-d", "My Group", "-e", ""];
        let mut command = local_command(&host, &arguments);
        command.current_dir(&here);
        Ended::of(command).with_code(0);
        let logs = std::fs::read_to_string(deployment_root(&host, "deployment-logs/codedeploy-agent-deployments.log"));
        let logs = logs.unwrap();
        assert!(logs.contains(&format!("[stdout]{}\n", here.display())), "{logs}");
        assert!(logs.contains("[stdout][My App (2)] [My Group] [default-local-deployment-group]\n"), "{logs}");
        std::fs::remove_file(deployment_root(&host, "deployment-logs/codedeploy-agent-deployments.log")).unwrap();
    }
}

#[test]
fn its_log_lies_beside_the_agents_and_says_how_each_event_ended() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
    write(&v1.join("hooks/AfterInstall-1.sh"), "#!/bin/sh\nexit 3\n");
    local(&host, &["-l", v1.to_str().unwrap()]).with_code(1).saying(&["AfterInstall failed"]);
    let log = std::fs::read_to_string(host.at("var/log/aws/codedeploy-agent/codedeploy-local.log")).unwrap();
    let first = log.lines().next().unwrap();
    assert!(first[19..].starts_with(" INFO  [codedeploy-local("), "{first}");
    let said = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(said(": local deployment of "), 2, "{log}");
    assert_eq!(said(": Install succeeded after "), 2, "{log}");
    assert_eq!(said(": AfterInstall failed after "), 1, "{log}");
    assert_eq!(said(" started (codedeploy-local)"), 2, "{log}");
}

/// Waits until a process waits for the lock of this file.
fn somebody_waits_for(path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    crate::support::eventually("somebody waits for the lock", crate::support::host::PATIENCE, || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let waits = locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&inode));
        if waits { Ok(()) } else { Err(locks) }
    });
}

#[test]
fn its_install_and_the_daemons_wait_for_each_other() {
    let (host, service) = served();
    let path = host.at("var/lib/hostler/install.lock");
    write(&path, "");
    // Acts as a process in the middle of its Install.
    let lock = std::fs::File::open(&path).unwrap();
    let v1 = bundle(&host, "v1");
    lock.lock().unwrap();
    let running = host.start_command(local_command(&host, &["-l", v1.to_str().unwrap()]));
    somebody_waits_for(&path);
    assert_eq!(host.version(), "", "nothing is put in place meanwhile");
    lock.unlock().unwrap();
    running.end().with_code(0);
    assert_eq!(host.version(), "v1");

    let daemon = daemon(&host);
    lock.lock().unwrap();
    put(&service, "v2.tgz", &Bundle::new(&host, "v2").content("app/x", "").files("app", "/srv/other").write());
    service.deploy(&specification("d-LOCKED0002", "web", s3("v2.tgz", "tgz")), &["DownloadBundle", "Install"]);
    somebody_waits_for(&path);
    assert!(!host.at("srv/other").exists(), "{}", daemon.said());
    lock.unlock().unwrap();
    assert_eq!(service.report_of("d-LOCKED0002", "Install").status, "Succeeded");
}

#[test]
fn a_second_local_deployment_waits_for_the_first() {
    let host = Host::new();
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    let at = host.at("bundles/slow");
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::rename(Bundle::new(&host, "slow").hook("BeforeInstall", &wait).write(), &at).unwrap();
    let first = host.start_command(local_command(&host, &["-l", at.to_str().unwrap()]));
    crate::support::eventually("the first one's hook runs", crate::support::host::PATIENCE, || {
        if host.hook_lines().is_empty() { Err(first.said()) } else { Ok(()) }
    });
    let v1 = bundle(&host, "v1");
    let second = host.start_command(local_command(&host, &["-l", v1.to_str().unwrap()]));
    second.says("another local deployment is going on");
    gate.open();
    first.end().with_code(0);
    second.end().with_code(0);
    assert_eq!(host.version(), "v1");
}

/// As after a power loss: the boot settles the Install before applications start, and the files are whole.
#[test]
fn an_install_that_was_cut_is_settled_at_boot() {
    if !strace_or_skip() {
        return;
    }
    let mut settled = 0;
    for number in 1.. {
        let host = Host::new();
        let (v1, v2) = (bundle(&host, "v1"), bundle(&host, "v2"));
        local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
        let before = tree(&host.at("srv"));
        let deploy = local_command(&host, &["-l", v2.to_str().unwrap()]);
        if kill_before(&deploy, &["-f"], "renameat,renameat2", number).is_some() {
            break;
        }
        host.clear_hook_lines();
        let said = host.ok(&["run", "--recover"]);
        assert!(host.hook_lines().is_empty(), "recovery runs no scripts");
        if said.out.contains("was undone; the old files are in place") {
            settled += 1;
            assert_eq!(tree(&host.at("srv")), before, "killed before rename {number}");
        }
        // The next local deployment continues from there.
        local(&host, &["-l", v2.to_str().unwrap()]).with_code(0);
        assert_eq!(host.version(), "v2");
    }
    // strace counts per thread, so the number of matched renames varies.
    assert!(settled > 0, "no kill in an Install");
}
