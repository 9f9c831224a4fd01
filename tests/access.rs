//! Access to the files that deployments leave on the disk: for root, and for the users of a revision's scripts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::codedeploy::deployment_root;
use crate::codedeploy::local::{self, local};
use crate::support::host::{Bundle, Ended, Host, root_or_skip};

/// The user of a script.
const NOBODY: u32 = 65534;
/// A user without any part in a deployment.
const OTHER: u32 = 64321;

fn may(uid: u32, program: &str, path: &Path) -> bool {
    let output = Command::new(program).arg(path).uid(uid).gid(uid).output().unwrap();
    output.status.success()
}

fn reads(uid: u32, path: &Path) -> bool {
    assert!(path.exists(), "{}", path.display());
    may(uid, if path.is_dir() { "ls" } else { "cat" }, path)
}

fn everything_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let is_directory = entry.symlink_metadata().unwrap().is_dir();
        found.extend(if is_directory { everything_below(&entry) } else { vec![entry] });
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

/// A bundle with a secret that is installed for its owner alone. The scripts of these events run as the user `nobody`.
fn with_a_secret(host: &Host, version: &str, bodies: &[(&str, &str)]) -> PathBuf {
    let mut bundle = Bundle::new(host, version)
        .app()
        .content("app/env", "PASSWORD=canary\n")
        .permissions("  - object: /srv/app\n    pattern: env\n    mode: 600\n    type: [file]\n");
    for (event, body) in bodies {
        bundle = bundle.hook(event, body);
    }
    bundle.write()
}

fn as_nobody(bundle: &Path, events: &[&str]) {
    let path = bundle.join("appspec.yml");
    let mut text = fs::read_to_string(&path).unwrap();
    for event in events {
        let script = format!("    - location: hooks/{event}-1.sh\n");
        assert!(text.contains(&script), "{text}");
        text = text.replace(&script, &format!("{script}      runas: nobody\n"));
    }
    fs::write(path, text).unwrap();
}

/// Looks at a script's surroundings in its bundle: its working directory, a file, and a script beside it.
const LOOKS_AROUND: &str = "
test \"$(id -un)\" = nobody
grep -q canary app/env
ls . app >/dev/null
. hooks/common.sh
hooks/common.sh
";

fn installed(host: &Host) -> PathBuf {
    host.deployment(host.status()["installed"]["deployment"].as_str().unwrap())
}

/// Lets hooks that run as `nobody` write their lines too.
fn open_the_lines(host: &Host) {
    fs::write(host.hook_lines_file(), "").unwrap();
    fs::set_permissions(host.hook_lines_file(), Permissions::from_mode(0o666)).unwrap();
}

#[test]
fn users_without_a_script_read_nothing_and_the_scripts_users_read_their_bundle() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    open_the_lines(&host);
    let set = format!("set -ex\n{LOOKS_AROUND}");
    let bundle =
        with_a_secret(&host, "v1", &[("ApplicationStop", &set), ("AfterInstall", &set), ("BeforeInstall", "")]);
    fs::write(bundle.join("hooks/common.sh"), "#!/bin/sh\n:\n").unwrap();
    fs::set_permissions(bundle.join("hooks/common.sh"), Permissions::from_mode(0o755)).unwrap();
    as_nobody(&bundle, &["ApplicationStop", "AfterInstall"]);
    // A umask that an operator's shell may have: the users of scripts can still pass.
    fs::create_dir_all(host.at("var/lib")).unwrap();
    let mut command = Command::new("sh");
    let deploy = host.command(&["deploy", bundle.to_str().unwrap()]);
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(deploy.get_program()).args(deploy.get_args());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let directory = installed(&host);
    let archive = directory.join("deployment-archive");
    assert!(reads(NOBODY, &archive.join("app/env")) && reads(NOBODY, &archive));
    for path in ["deployment-archive/app/env", "deployment-archive", "install-journal", "hook-runs", "logs", ""] {
        assert!(!reads(OTHER, &directory.join(path)), "{path}");
    }
    for path in ["install-journal", "hook-runs", ""] {
        assert!(
            !reads(NOBODY, &directory.join(path)),
            "{path}: the script's user passes through and looks around nowhere"
        );
    }
    for journal in fs::read_dir(directory.join("install-journal")).unwrap() {
        assert!(!reads(NOBODY, &journal.unwrap().path()));
    }
    let group = directory.parent().unwrap();
    assert_eq!([group, group.parent().unwrap(), &host.state()].map(|path| mode(path) & !0o040), [0o711; 3]);
    let (all, mut found) = (everything_below(&host.state()), Vec::new());
    // That directory has one file with a known name, and has the CodeDeploy agent's mode.
    found.extend(all.iter().filter(|path| !path.ends_with("deployment-logs") && reads(OTHER, path)));
    assert!(found.is_empty() && all.len() > 30, "{found:?} of {}", all.len());

    // A revision without scripts of other users is for root alone; before it, the old one's ApplicationStop runs as
    // `nobody`.
    let second = with_a_secret(&host, "v2", &[("AfterInstall", "grep -q canary app/env")]);
    host.deploy(&second, &[]).with_code(0);
    assert!(host.hook_lines().contains(&"v1 ApplicationStop".to_owned()), "{:?}", host.hook_lines());
    assert!(!reads(NOBODY, &installed(&host).join("deployment-archive/app/env")));
    assert!(reads(NOBODY, &archive.join("app/env")), "rollbacks run its scripts");
}

/// Prints what a script of another user can see of the surrounding directories while it runs.
const LOOKS_AT_MODES: &str = "
umask
test \"$(id -un)\" = nobody
cd ../../../..
stat -c '%a %n' . deployment-root deployment-root/deployment-logs ../../../run/hostler ../../../run/hostler/hostler.sock
";

#[test]
fn a_strict_umask_of_the_caller_changes_no_mode_that_is_promised() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    open_the_lines(&host);
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", LOOKS_AT_MODES).write();
    as_nobody(&bundle, &["AfterInstall"]);
    let deploy = host.command(&["deploy", bundle.to_str().unwrap()]);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(deploy.get_program()).args(deploy.get_args());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let log = fs::read_to_string(installed(&host).join("logs/scripts.log")).unwrap();
    let mut said = log.lines().filter_map(|line| Some(line.split_once("[stdout]")?.1.to_owned()));
    assert_eq!(said.next().as_deref(), Some("0022"));
    // The group `hostler` gets the right to read if the host has the group.
    let modes = said.map(|line| {
        let (mode, place) = line.split_once(' ').unwrap();
        (u32::from_str_radix(mode, 8).unwrap() & !0o040, place.to_owned())
    });
    let expected = [
        (0o711, "."),
        (0o711, "deployment-root"),
        (0o715, "deployment-root/deployment-logs"),
        (0o715, "../../../run/hostler"),
        (0o626, "../../../run/hostler/hostler.sock"),
    ];
    assert_eq!(modes.collect::<Vec<_>>(), expected.map(|(mode, place)| (mode, place.to_owned())));
    for place in ["var", "var/lib", "run", "srv/app"] {
        assert_eq!(mode(&host.at(place)), 0o755, "{place}");
    }
}

#[test]
fn what_an_older_agent_left_open_is_closed_at_the_start_and_its_scripts_still_run() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    open_the_lines(&host);
    let first = with_a_secret(&host, "v1", &[("ApplicationStop", "set -e\ngrep -q canary app/env")]);
    as_nobody(&first, &["ApplicationStop"]);
    host.deploy(&first, &[]).with_code(0);
    let directory = installed(&host);
    let group = directory.parent().unwrap().to_owned();
    fs::create_dir_all(group.join("bundles")).unwrap();
    let (root, bundles, journal) =
        (group.parent().unwrap().to_owned(), group.join("bundles"), directory.join("install-journal"));
    let all = [&root, &group, &directory, &bundles, &journal];
    for path in all {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    assert!(reads(OTHER, &directory.join("deployment-archive/app/env")) && reads(OTHER, &journal));

    host.deploy(&with_a_secret(&host, "v2", &[]), &[]).with_code(0);
    assert_eq!(host.hook_lines(), ["v1 ApplicationStop"]);
    for path in all {
        assert!(!reads(OTHER, path), "{}: {:o}", path.display(), mode(path));
    }
    assert!(!reads(OTHER, &directory.join("deployment-archive/app/env")));
}

#[test]
fn a_root_script_that_changes_users_reaches_the_bundle_where_the_configuration_says_so() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let change = format!("cd /; setpriv --reuid={OTHER} --clear-groups cat \"$(dirname \"$0\")/../app/version\"");
    let bundle = with_a_secret(&host, "v1", &[("AfterInstall", &change)]);
    host.deploy(&bundle, &["--no-rollback"]).with_code(1).saying(&["AfterInstall"]);
    host.configure("hooks: {bundle_access: everyone}\n");
    host.deploy(&bundle, &[]).with_code(0);
    let open = installed(&host);
    assert!(reads(OTHER, &open.join("deployment-archive/app/env")));
    for path in ["install-journal", ""] {
        assert!(!reads(OTHER, &open.join(path)), "{path}");
    }
    host.configure("hooks: {bundle_access: anybody}\n");
    host.deploy(&bundle, &[])
        .with_code(2)
        .saying(&["config.yaml:1", "`bundle_access` must be scripts or everyone, not `anybody`"]);
    // When the configuration asks for it again, the next start closes it.
    host.configure("hooks: {bundle_access: scripts}\n");
    host.deploy(&with_a_secret(&host, "v2", &[]), &[]).with_code(0);
    assert!(!reads(OTHER, &open.join("deployment-archive/app/env")));
}

#[test]
fn in_the_codedeploy_agents_place_bundles_stay_open_unless_the_configuration_closes_them() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let v1 = local::bundle(&host, "v1");
    local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
    let newest = || {
        let groups = fs::read_dir(deployment_root(&host, "")).unwrap().map(|entry| entry.unwrap().path());
        let deployments = groups.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
        let deployments = deployments.map(|entry| entry.unwrap().path());
        let found = deployments.filter(|path| path.join("deployment-archive").is_dir());
        found.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
    };
    let open = newest();
    assert!(reads(OTHER, &open.join("deployment-archive/appspec.yml")) && reads(OTHER, &open));
    assert!(!reads(OTHER, &open.join("install-journal")) && !reads(OTHER, &open.join("hook-runs")));

    host.configure("hooks: {bundle_access: scripts}\n");
    local(&host, &["-l", local::bundle(&host, "v2").to_str().unwrap()]).with_code(0);
    assert_ne!(newest(), open);
    assert!(!reads(OTHER, &newest().join("deployment-archive/appspec.yml")));
    assert!(!reads(OTHER, &open.join("deployment-archive/appspec.yml")));
}

/// What a user reads who is neither root nor in the service group, and where the messages lead.
#[test]
fn a_user_who_may_not_read_the_state_is_told_who_may() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "echo done").write();
    host.deploy(&bundle, &[]).with_code(0);
    let as_other = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        command.uid(OTHER).gid(OTHER);
        Ended::of(command)
    };
    for verb in ["logs", "history", "status"] {
        as_other(&[verb]).with_code(1).saying(&["Permission denied", "use sudo", "members of the group hostler"]);
    }
    let why = "members of the group hostler use sudo, too";
    as_other(&["plan", bundle.to_str().unwrap()]).with_code(1).saying(&["Permission denied", "journals", why]);
    let report = as_other(&["doctor", "--json"]).json();
    let findings = report["findings"].as_array().unwrap().clone();
    let found = findings.into_iter().find(|finding| finding["code"] == "ledger").unwrap();
    let text = found.to_string();
    assert!(found["severity"] == "warning" && text.contains("as root") && !text.contains("move it away"), "{text}");
    // The daemon answers others too, but not with what scripts print or who asked for what.
    let daemon = host.daemon(&[]);
    as_other(&["logs"]).with_code(1).saying(&["members of the group hostler read the output of hooks"]);
    as_other(&["history"]).with_code(3).saying(&["may read only"]);
    drop(daemon);
}

/// A configuration with a secret, as the packages install it, on a host that no other user can change.
#[test]
fn a_configuration_that_a_user_may_not_read_stops_neither_status_nor_validate_and_is_named_by_the_others() {
    if !root_or_skip("other users") {
        return;
    }
    let host = Host::new();
    host.configure("groups: [{application: shop, group: web}]\naws: {proxy: 'http://me:canary@127.0.0.1:1'}\n");
    let config = host.at("etc/hostler/config.yaml");
    let secrets = || {
        let report = host.run(&["doctor", "--json"]).json();
        let findings = report["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["code"] == "configuration-access").unwrap()
    };
    let found = secrets();
    assert_eq!(found["severity"], "warning", "{found}");
    let text = found.to_string();
    assert!(
        text.contains("config.yaml: aws.proxy") && text.contains("chmod 640") && !text.contains("canary"),
        "{text}"
    );
    fs::set_permissions(&config, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(secrets()["severity"], "ok");

    let bundle = with_a_secret(&host, "v1", &[]);
    let as_other = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        command.uid(OTHER).gid(OTHER);
        Ended::of(command)
    };
    let daemon = host.daemon(&[]);
    as_other(&["status"]).with_code(0);
    let told = format!("cannot read {}: Permission denied", config.display());
    as_other(&["validate", bundle.to_str().unwrap()]).with_code(0).saying(&["configuration is left out", &told]);
    // Nothing untrue is said to this user: the file is in order, and the agent runs as another user.
    let report = as_other(&["doctor", "--json"]).json();
    let of = |code: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["code"] == code).unwrap().to_string()
    };
    let unread = of("configuration");
    assert!(unread.contains(r#""severity":"warning""#) && unread.contains("members of the group hostler"), "{unread}");
    assert!(of("hook-supervision").contains("not tried: the agent runs as "), "{report}");
    // The daemon has the configuration, and itself refuses this user.
    for arguments in [&["resume"][..], &["reload"], &["deploy", bundle.to_str().unwrap()]] {
        let ended = as_other(arguments);
        assert!(ended.code != Some(0) && ended.err.contains("may read only"), "{arguments:?}: {ended:?}");
    }
    let mut without_group = Command::new(crate::support::host::HOSTLER);
    without_group.args(["rollback", "--root"]).arg(host.root()).env_clear().uid(OTHER).gid(OTHER);
    Ended::of(without_group).with_code(3).saying(&["no deployment group is named, and", &told, "may act"]);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.end();
    let whom = "root and members of the group hostler read it";
    for arguments in [&["resume"][..], &["run", "--once"], &["plan", bundle.to_str().unwrap()], &["logs"]] {
        as_other(arguments).with_code(2).saying(&["cannot read ", "Permission denied", whom]);
    }
}
