//! The CodeDeploy agent's program names, and the packages that contain them.

use std::os::unix::fs::symlink;

use super::*;
use crate::support::host::{Ended, HOSTLER, write};
use crate::support::packages::Kind;

/// Runs the program by another name.
pub fn by_name(host: &Host, name: &str, arguments: &[&str]) -> Ended {
    Ended::of(command_by_name(host, name, arguments))
}

/// The same command, not started yet.
pub fn command_by_name(host: &Host, name: &str, arguments: &[&str]) -> Command {
    let program = host.path(name);
    if !program.exists() {
        symlink(HOSTLER, &program).unwrap();
    }
    let mut command = Command::new(program);
    let path = format!("{}:/usr/bin:/bin", host.path("bin").display());
    command.args(arguments).env_clear().env("PATH", path).current_dir(host.root());
    command
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
    let Some(package) = Kind::Deb.links() else { return };
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
