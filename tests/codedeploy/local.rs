//! `codedeploy-local` and `codedeploy-agent`, by their names.

use std::os::unix::fs::symlink;

use super::*;
use crate::support::crash_support::{Ended, HOSTLER, write};

/// The program by another name.
fn by_name(host: &Host, name: &str, arguments: &[&str]) -> Ended {
    let program = host.path(name);
    if !program.exists() {
        symlink(HOSTLER, &program).unwrap();
    }
    let mut command = Command::new(program);
    let path = format!("{}:/usr/bin:/bin", host.path("bin").display());
    command.args(arguments).env_clear().env("PATH", path).current_dir(host.root());
    Ended::of(command)
}

fn local(host: &Host, arguments: &[&str]) -> Ended {
    let root = host.root();
    let configuration = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    if !configuration.exists() {
        write(&configuration, "---\n:root_dir: '/opt/codedeploy-agent/deployment-root'\n");
    }
    let more = ["--root", root.to_str().unwrap(), "-c", configuration.to_str().unwrap()];
    by_name(host, "codedeploy-local", &[arguments, &more].concat())
}

/// A bundle's directory below the root prefix.
fn bundle(host: &Host, version: &str) -> PathBuf {
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
    assert_eq!(version(&host), "v2\n");
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
        .with_code(2)
        .saying(&["BeforeInstall cannot come before DownloadBundle"]);
    local(&host, &[&arguments[..], &["-A", "other.yml", "-e", "AfterInstall,ApplicationStart"]].concat()).with_code(0);
    assert_eq!(host.hook_lines(), ["v1 AfterInstall", "v1 ApplicationStart"]);
    assert_eq!(version(&host), "v1\n");
}

#[test]
fn a_file_that_exists_is_refused_overwritten_or_retained() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    write(&host.at("srv/app/version"), "foreign\n");
    let arguments = ["-l", v1.to_str().unwrap()];
    local(&host, &arguments).with_code(1).saying(&["Install failed", "/srv/app/version"]);
    assert_eq!(version(&host), "foreign\n");
    local(&host, &[&arguments[..], &["-b", "RETAIN"]].concat()).with_code(0);
    assert_eq!(version(&host), "foreign\n");
    local(&host, &[&arguments[..], &["--file-exists-behavior", "OVERWRITE"]].concat()).with_code(0);
    assert_eq!(version(&host), "v1\n");
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let host = Host::new();
    let v1 = bundle(&host, "v1");
    let v1 = v1.to_str().unwrap();
    local(&host, &["-l", v1, "-t", "tgz"]).with_code(2).saying(&["is a directory", "--type directory"]);
    local(&host, &["-l", v1, "-t", "rar"]).with_code(2).saying(&["type rar is not known"]);
    local(&host, &["-l", "http://example.com/x", "-t", "zip"]).with_code(2).saying(&["https:"]);
    local(&host, &["-l", "/not/there", "-t", "zip"]).with_code(5).saying(&["/not/there"]);
    by_name(&host, "codedeploy-local", &["-c", "/not/there.yml"]).with_code(2).saying(&["/not/there.yml"]);
    assert_eq!(by_name(&host, "codedeploy-local", &["-v"]).with_code(0).out, "1.0\n");
}

#[test]
fn the_agents_verbs_are_the_services() {
    let host = Host::new();
    let log = host.path("systemctl-log");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\ncase \"$1\" in show) echo 4711;; stop) echo no such unit >&2; exit 5;; esac\n",
        log.display()
    );
    write(&host.path("bin/systemctl"), script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.path("bin/systemctl"), mode).unwrap();
    by_name(&host, "codedeploy-agent", &["start"]).with_code(0);
    by_name(&host, "codedeploy-agent", &["--config_file", "/etc/x.yml", "restart"]).with_code(0);
    by_name(&host, "codedeploy-agent", &["stop"]).with_code(1).saying(&["no such unit"]);
    by_name(&host, "codedeploy-agent", &["status"]).with_code(0).saying(&["running as PID 4711"]);
    let called = std::fs::read_to_string(log).unwrap();
    let expected = "start hostler.service\nrestart hostler.service\nstop hostler.service\nshow --property=MainPID --value hostler.service\n";
    assert_eq!(called, expected);
}

#[test]
fn the_links_come_in_a_package_of_their_own() {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|found| found.status.success());
    if !has("cargo-deb") || !has("dpkg-deb") {
        eprintln!("skipped: packages need cargo-deb and dpkg-deb");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/build-compat-deb");
    let built = Command::new(script).arg(directory.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let package = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let listed = Command::new("dpkg-deb").arg("--contents").arg(package).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut files: Vec<_> = listed.lines().filter(|line| !line.starts_with('d')).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|line| line.split_once("./").unwrap().1).collect();
    let doc = "usr/share/doc/hostler-codedeploy-compat/copyright";
    let links = [
        "opt/codedeploy-agent/bin/codedeploy-agent -> /usr/bin/hostler",
        "opt/codedeploy-agent/bin/codedeploy-local -> /usr/bin/hostler",
        "usr/bin/codedeploy-local -> hostler",
    ];
    assert_eq!(names, [&[doc], &links[..]].concat());
}
