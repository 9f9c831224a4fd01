//! The surroundings of a hook: the appspec's user, the host's locale and the user's limits.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::codedeploy::local::local;
use crate::support::host::{Bundle, HOSTLER, Host, root_or_skip, write};

/// Adds these keys below the scripts of this event, in the given order.
fn with_keys(bundle: &Path, event: &str, keys: &[&str]) {
    let path = bundle.join("appspec.yml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (index, keys) in keys.iter().enumerate() {
        let script = format!("    - location: hooks/{event}-{}.sh\n", index + 1);
        assert!(text.contains(&script), "{text}");
        text = text.replace(&script, &format!("{script}{keys}"));
    }
    fs::write(path, text).unwrap();
}

/// A bundle whose scripts print their user: with `runas`, with `sudo`, with both.
fn whoami(host: &Host) -> PathBuf {
    fs::write(host.hook_lines_file(), "").unwrap();
    fs::set_permissions(host.hook_lines_file(), Permissions::from_mode(0o666)).unwrap();
    let mut bundle = Bundle::new(host, "v1").app();
    for _ in 0..3 {
        bundle = bundle.hook("AfterInstall", "echo \"$(id -un) $USER\"");
    }
    let bundle = bundle.write();
    let (runas, sudo) = ("      runas: nobody\n", "      sudo: true\n");
    with_keys(&bundle, "AfterInstall", &[runas, sudo, &format!("{runas}{sudo}")]);
    bundle
}

fn said(scripts_log: &Path) -> Vec<String> {
    let log = fs::read_to_string(scripts_log).unwrap();
    log.lines().filter_map(|line| Some(line.split_once("[stdout]")?.1.to_owned())).collect()
}

/// Uses `codedeploy-local`, which accepts only bundles below its root.
fn deploy_locally(host: &Host, bundle: &Path) {
    let place = host.at("bundle");
    fs::rename(bundle, &place).unwrap();
    local(host, &["-l", place.to_str().unwrap(), "-e", "AfterInstall"]).with_code(0);
}

/// The log of the only deployment of `codedeploy-local`.
fn local_log(host: &Host) -> PathBuf {
    let group = host.at("opt/codedeploy-agent/deployment-root/default-local-deployment-group");
    let mut logs = fs::read_dir(group).unwrap().map(|entry| entry.unwrap().path().join("logs/scripts.log"));
    logs.find(|log| log.exists()).unwrap()
}

const EXPECTED: [&str; 3] = ["nobody nobody", "root root", "nobody nobody"];

#[test]
fn sudo_beside_runas_is_that_user_and_alone_root() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let bundle = whoami(&host);
    let plan = host.ok(&["plan", bundle.to_str().unwrap(), "--json"]).json();
    let planned: Vec<_> = plan["hooks"].as_array().unwrap().iter().map(|hook| hook["user"].clone()).collect();
    assert_eq!(planned, ["nobody", "root", "nobody"]);

    host.deploy(&bundle, &[]).with_code(0);
    let deployed = host.deployment(host.status()["installed"]["deployment"].as_str().unwrap());
    assert_eq!(said(&deployed.join("logs/scripts.log")), EXPECTED);
}

#[test]
fn in_the_codedeploy_agents_place_its_own_user_does_not_run_what_asks_for_root() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let bundle = whoami(&host);
    let agent = "---\n:root_dir: '/opt/codedeploy-agent/deployment-root'\n:user: games\n";
    write(&host.at("etc/codedeploy-agent/conf/codedeployagent.yml"), agent);
    deploy_locally(&host, &bundle);
    assert_eq!(said(&local_log(&host)), EXPECTED);
}

const LOCALE: &str = "echo \"$LANG $LC_TIME $LC_NAME.\"";

#[test]
fn hooks_have_the_hosts_locale_as_services_have_it_and_the_appspec_may_say_another() {
    let host = Host::new();
    write(&host.at("etc/default/locale"), "LANG=ja_JP.UTF-8\n");
    write(&host.at("etc/locale.conf"), "LANG=\"C.UTF-8\"\nLC_TIME=en_DK.UTF-8\nLC_ALL=C\nLC_NAME='unclosed\n");
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", LOCALE);
    let bundle = bundle.extension("  environment: {LC_TIME: C}\n").write();
    host.deploy(&bundle, &[]).with_code(0);
    let deployed = host.deployment(host.status()["installed"]["deployment"].as_str().unwrap());
    assert_eq!(said(&deployed.join("logs/scripts.log")), ["C.UTF-8 C ."]);

    // In the CodeDeploy agent's place the profile's values win, as they did for that agent.
    write(&host.at("etc/profile"), "LC_TIME=de_DE.UTF-8\n");
    let bundle = Bundle::new(&host, "v2").hook("AfterInstall", LOCALE).write();
    deploy_locally(&host, &bundle);
    assert_eq!(said(&local_log(&host)), ["C.UTF-8 de_DE.UTF-8 ."]);
}

/// Entries of each kind; pam_limits and hostler leave one of them out with a warning.
const LIMITS: &str = "
*          hard  nofile      5000
@nogroup   soft  nofile      3000
nobody     -     nproc       7777
nobody     soft  core        unlimited
nobody     -     nice        -5    # where the test may not, neither may su
nobody     -     priority    3
nobody     hard  memlock     512
1000:      -     sigpending  100
@:65534    soft  msgqueue    4096
nobody     hard  stack       16384
nobody     soft  fsize       2048
:65534     -     rtprio      7
root       -     nofile      77
nobody     -     speed       1
";

const SHOWS_LIMITS: &str = "cat /proc/self/limits; nice";

/// The limits that `su` gives the user, with this directory as `/etc/security`.
fn as_su_has_it(security: &Path) -> Vec<String> {
    let script = r#"mount --bind "$0" /etc/security && exec su nobody -s /bin/sh -c "$1""#;
    let mut su = Command::new("unshare");
    su.args(["--mount", "sh", "-c", script]).arg(security).arg(SHOWS_LIMITS).env_clear();
    let output = su.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_user_whom_the_appspec_names_has_the_limits_that_su_gives() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let security = host.at("etc/security");
    fs::create_dir_all(security.parent().unwrap()).unwrap();
    // The files of other PAM modules are there too.
    let copied = Command::new("cp").arg("-a").arg("/etc/security").arg(&security).status().unwrap();
    assert!(copied.success());
    write(&security.join("limits.d/test.conf"), LIMITS);
    fs::write(host.hook_lines_file(), "").unwrap();
    fs::set_permissions(host.hook_lines_file(), Permissions::from_mode(0o666)).unwrap();
    let bundle = Bundle::new(&host, "v1").app();
    let bundle = bundle.hook("AfterInstall", SHOWS_LIMITS).hook("ApplicationStart", "ulimit -n").write();
    with_keys(&bundle, "AfterInstall", &["      runas: nobody\n"]);
    host.deploy(&bundle, &[]).with_code(0);
    let log = host.deployment(host.status()["installed"]["deployment"].as_str().unwrap()).join("logs/scripts.log");
    let mut found: Vec<String> = said(&log).iter().map(|line| line.trim().to_owned()).collect();
    let of_root: u64 = found.pop().unwrap().parse().unwrap();
    assert_eq!(found, as_su_has_it(&security));
    assert!(found.iter().any(|line| line.starts_with("Max open files") && line.contains("5000")), "{found:?}");
    assert_ne!(of_root, 77, "a script without a user is the service's");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("test.conf, line 15: \"speed\" is not known"), "{log}");
}

#[test]
fn a_script_has_no_lower_limit_of_open_files_than_the_agent() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "ulimit -Sn; ulimit -Hn").write();
    let deploy = host.command(&["deploy", bundle.to_str().unwrap()]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 1600 && ulimit -Hn 1700 && exec \"$0\" \"$@\""]);
    let output = command.arg(deploy.get_program()).args(deploy.get_args()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = host.deployment(host.status()["installed"]["deployment"].as_str().unwrap()).join("logs/scripts.log");
    let found: Vec<u64> = said(&log).iter().map(|line| line.parse().unwrap()).collect();
    assert!(found[0] >= 1600 && found[1] >= 1700, "{found:?}");
}

#[test]
fn a_program_that_was_copied_alone_supervises_its_hooks_itself() {
    let host = Host::new();
    let program = host.path("hostler");
    fs::copy(HOSTLER, &program).unwrap();
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "tr '\\0' ' ' < /proc/$PPID/cmdline").write();
    let root = host.path("root");
    let deployed = Command::new(&program).arg("deploy").arg(&bundle).arg("--root").arg(&root).output().unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    let log = Command::new(&program).args(["logs", "--root"]).arg(&root).output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.contains(&format!("{} hook-supervisor /", program.display())), "{log}");
}

#[test]
fn the_command_lines_of_hooks_have_no_name_of_the_application_or_the_group() {
    let host = Host::new();
    let shows = "echo \"$0\"; tr '\\0' ' ' < /proc/$PPID/cmdline; echo";
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", shows).write();
    host.deploy(&bundle, &[]).with_code(0);
    let deployed = host.deployment(host.status()["installed"]["deployment"].as_str().unwrap());
    let found = said(&deployed.join("logs/scripts.log"));
    assert!(found.len() == 2 && found[1].contains("/hostler-hook-supervisor "), "{found:?}");
    for line in found {
        let (_, below) = line.split_once("/var/lib/hostler/deployment-root/g-").unwrap_or_else(|| panic!("{line}"));
        assert!(!below.contains("shop") && !below.contains("web"), "{line}");
    }
    let named = host.state().join("deployment-root/shop~web");
    assert!(named.is_symlink() && named.canonicalize().unwrap() == deployed.parent().unwrap().canonicalize().unwrap());
}

#[test]
fn a_group_of_an_older_agent_goes_on_under_the_name_of_today() {
    let host = Host::new();
    let with_stop = |version: &str| Bundle::new(&host, version).app().hook("ApplicationStop", "").write();
    host.deploy(&with_stop("v1"), &[]).with_code(0);
    let root = host.state().join("deployment-root");
    let named = root.join("shop~web");
    let own = root.join(fs::read_link(&named).unwrap());
    fs::remove_file(&named).unwrap();
    fs::rename(&own, &named).unwrap();
    // Verbs that only read change nothing.
    let plan = host.ok(&["plan", with_stop("v2").to_str().unwrap()]);
    assert!(plan.out.contains("ApplicationStop") && !own.exists(), "{plan:?}");
    host.deploy(&host.path("bundle-v2"), &[]).with_code(0);
    assert_eq!(host.hook_lines(), ["v1 ApplicationStop"]);
    assert!(own.is_dir() && !own.is_symlink() && named.is_symlink(), "{:?}", host.groups());
    host.ok(&["rollback"]);
    assert_eq!(host.hook_lines(), ["v1 ApplicationStop", "v2 ApplicationStop"]);
    assert!(host.ok(&["logs"]).out.contains("ApplicationStop"));
}
