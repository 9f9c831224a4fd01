//! Facts of the host that would end a deployment later: DownloadBundle reports them, before the application is stopped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::codedeploy::local::{self, local};
use crate::codedeploy::{IN_PLACE, daemon, deployment_root, put, served, whole};
use crate::support::codedeploy::{s3, specification};
use crate::support::host::{Bundle, Ended, Host, Mount, root_or_skip, write};
use crate::support::skip;

const STOP_TO_INSTALL: [&str; 4] = ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"];

/// A host with the first version, whose hooks have written their lines.
fn installed() -> Host {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    host
}

/// Makes the scripts of an event run as this user.
fn run_as(bundle: &Path, event: &str, user: &str) {
    let path = bundle.join("appspec.yml");
    let text = fs::read_to_string(&path).unwrap();
    let script = format!("    - location: hooks/{event}-1.sh\n");
    assert!(text.contains(&script), "{text}");
    fs::write(path, text.replace(&script, &format!("{script}      runas: {user}\n"))).unwrap();
}

/// No script of the new version ran, the old one was not stopped, and the message is there.
#[track_caller]
fn refused(host: &Host, ended: Ended, texts: &[&str]) {
    let ended = ended.with_code(1).saying(texts);
    assert_eq!(host.hook_lines(), Vec::<String>::new(), "{ended:?}");
    assert_eq!(host.version(), "v1");
}

/// Polls the channel once and deploys its release.
fn follow_once(host: &Host) -> Ended {
    host.run(&["run", "--once", "--channel", host.store().to_str().unwrap()])
}

/// Runs a tool; returns `false` with a printed reason if this system does not allow it.
fn may(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output().unwrap();
    if !output.status.success() {
        skip(format_args!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    output.status.success()
}

/// Undoes a tool's effect, however the test ends.
struct Undo(&'static str, Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        let _ = Command::new(self.0).args(&self.1).output();
    }
}

fn immutable(path: &Path) -> Option<Undo> {
    let path = path.to_str().unwrap();
    may("chattr", &["+i", path]).then(|| Undo("chattr", vec!["-i".into(), path.into()]))
}

fn bind(from: &Path, onto: &Path) -> Option<Undo> {
    let (from, onto) = (from.to_str().unwrap(), onto.to_str().unwrap());
    may("mount", &["--bind", from, onto]).then(|| Undo("umount", vec![onto.into()]))
}

/// A separate file system, on which nothing can be executed from `stop_executing` on.
struct Disk {
    path: PathBuf,
    _mount: Mount,
}

impl Disk {
    fn new(path: PathBuf) -> Option<Self> {
        let mount = Mount::tmpfs(&path, 64 << 20)?;
        Some(Self { path, _mount: mount })
    }

    fn stop_executing(&self) -> bool {
        may("mount", &["-o", "remount,noexec", self.path.to_str().unwrap()])
    }
}

#[test]
fn a_user_whom_a_script_runs_as_and_who_does_not_exist_stops_nothing() {
    let host = installed();
    let new = |extension: &str| {
        let bundle = Bundle::new(&host, "v2").app().hook("BeforeInstall", "").hook("ApplicationStart", "");
        let bundle = bundle.extension(extension).write();
        run_as(&bundle, "ApplicationStart", "nosuchuser");
        bundle
    };
    let bundle = new("");
    let told = "the user \"nosuchuser\", whom the script \"hooks/ApplicationStart-1.sh\" runs as, is unknown on this host \
                (unknown_user); create the user when the image is made, or in BeforeInstall with `hostler: {install: \
                {recheck_after: BeforeInstall}}`, or correct the name";
    refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told]);
    host.release(&bundle, &[]);
    refused(&host, follow_once(&host), &[told]);
    host.run(&["plan", bundle.to_str().unwrap()]).with_code(1).saying(&[told, "this must not be deployed"]);
    host.run(&["validate", bundle.to_str().unwrap()]).with_code(0).saying(&["user-unknown", "may be deployed"]);
    // The appspec says that an earlier script may make it.
    let bundle = new("  install: {recheck_after: BeforeInstall}\n");
    host.run(&["plan", bundle.to_str().unwrap()]).with_code(0).saying(&["warning", "nosuchuser"]);
    let ended = host.deploy(&bundle, &[]).with_code(1);
    ended.saying(&["there is no user \"nosuchuser\" on this host", "ApplicationStart"]);
    let lines = host.hook_lines();
    assert_eq!(lines[..4], ["v1 BeforeBlockTraffic", "v1 AfterBlockTraffic", "v1 ApplicationStop", "v2 BeforeInstall"]);
    assert_eq!(host.version(), "v1", "it was rolled back");
}

#[test]
fn no_script_can_make_the_user_of_the_first_one() {
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().hook("BeforeInstall", "").hook("ApplicationStart", "");
    let bundle = bundle.extension("  install: {recheck_after: BeforeInstall}\n").write();
    run_as(&bundle, "BeforeInstall", "nosuchuser");
    refused(&host, host.deploy(&bundle, &[]), &["create the user when the image is made, or correct the name"]);
}

#[test]
fn in_the_codedeploy_agents_place_such_a_user_is_an_error_of_download_bundle() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    host.clear_hook_lines();
    let deploy = |bundle: Bundle, deployment: &str, events: &[&str]| {
        let bundle = bundle.write();
        run_as(&bundle, "ApplicationStart", "nosuchuser");
        put(&service, &format!("{deployment}.tgz"), &bundle);
        service.deploy(&specification(deployment, "web", s3(&format!("{deployment}.tgz"), "tgz")), events);
    };
    let bundle = Bundle::new(&host, "v2").app().hook("ApplicationStart", "");
    deploy(bundle, "d-NOUSER001", &STOP_TO_INSTALL);
    let report = service.report_of("d-NOUSER001", "DownloadBundle");
    assert_eq!(report.status, "Failed", "{report:?}");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("(unknown_user)"), "{report:?}");
    assert_eq!((host.hook_lines(), host.version().as_str()), (Vec::new(), "v1"), "it serves on");
    // The CodeDeploy agent deploys if a script of BeforeInstall makes the user.
    let bundle = Bundle::new(&host, "v2").app().hook("BeforeInstall", "").hook("ApplicationStart", "");
    deploy(bundle, "d-NOUSER002", &[&STOP_TO_INSTALL[..], &["ApplicationStart"]].concat());
    assert_eq!(service.report_of("d-NOUSER002", "Install").status, "Succeeded");
    let report = service.report_of("d-NOUSER002", "ApplicationStart");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("nosuchuser"), "{report:?}");
}

#[test]
fn an_interpreter_that_is_absent_stops_nothing() {
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    for (first_line, told) in [
        (
            "#!/usr/bin/pyhton3",
            "this host has no \"/usr/bin/pyhton3\", which the script \"hooks/AfterInstall-1.sh\" is run with",
        ),
        (
            "#!/usr/bin/env pyhton3",
            "this host has no \"pyhton3\", which the script \"hooks/AfterInstall-1.sh\" is run with",
        ),
    ] {
        write(&bundle.join("hooks/AfterInstall-1.sh"), format!("{first_line}\n"));
        refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told, "(interpreter_missing)"]);
    }
    // The deployment itself brings it.
    write(&bundle.join("app/bin/run"), "#!/bin/sh\nexit 0\n");
    fs::set_permissions(bundle.join("app/bin/run"), Permissions::from_mode(0o755)).unwrap();
    let at = Path::new("/srv/app/bin/run");
    write(&bundle.join("hooks/AfterInstall-1.sh"), format!("#!{}\n", at.display()));
    host.run(&["plan", bundle.to_str().unwrap()]).with_code(0);
}

/// The head of a 64-bit little-endian program for a machine, given by its number in elf(5), with a loader.
fn program(machine: u16, loader: &str) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(64 + 56, 0);
    let mut put = |at: usize, number: u64, width: usize| {
        head[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    };
    put(16, 2, 2);
    put(18, machine.into(), 2);
    // One entry in the program header table: PT_INTERP, after the table.
    let segment = [(32, 64, 8), (54, 56, 2), (56, 1, 2), (64, 3, 4), (72, 120, 8), (96, loader.len() as u64 + 1, 8)];
    for (at, number, width) in segment {
        put(at, number, width);
    }
    head.extend_from_slice(loader.as_bytes());
    head.push(0);
    head
}

#[test]
fn a_program_that_this_host_cannot_run_stops_nothing() {
    let (this, other, other_name) = if cfg!(target_arch = "x86_64") { (62, 183, "arm64") } else { (183, 62, "x86_64") };
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    let script = bundle.join("hooks/AfterInstall-1.sh");
    fs::write(&script, program(this, "/lib/ld-musl-of-another-host.so.1")).unwrap();
    let told = "this host has no \"/lib/ld-musl-of-another-host.so.1\", which the program \"hooks/AfterInstall-1.sh\" is run with";
    refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told, "build the program for the C library"]);
    host.run(&["validate", bundle.to_str().unwrap()])
        .with_code(0)
        .saying(&["ld-musl-of-another-host", "interpreter-missing"]);
    fs::write(&script, program(other, "/lib/ld-linux-of-another-machine.so.1")).unwrap();
    let planned = host.run(&["plan", bundle.to_str().unwrap()]);
    if emulates() {
        return;
    }
    planned.saying(&[&format!("is built for {other_name}, and this host is"), "wrong_architecture"]);
}

/// Whether this host is known to run programs of other machines.
fn emulates() -> bool {
    let entries = fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|text| text.contains("magic 7f454c46"))
}

#[test]
fn a_carriage_return_behind_the_interpreter_is_a_fault_of_the_bundle() {
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    write(&bundle.join("hooks/ApplicationStart-1.sh"), "#!/bin/sh\r\ntrue\r\n");
    let told = "line 1 of `hooks/ApplicationStart-1.sh` ends in a carriage return";
    refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told, "sed -i 's/\\r$//'"]);
    for verb in ["plan", "validate"] {
        host.run(&[verb, bundle.to_str().unwrap()]).with_code(1).saying(&[told, "script-has-carriage-returns"]);
    }
    host.run(&["push", bundle.to_str().unwrap(), host.store().to_str().unwrap()]).with_code(1).saying(&[told]);
    write(&bundle.join("hooks/ApplicationStart-1.sh"), "#!/bin/sh\ntrue\n");
    host.deploy(&bundle, &[]).with_code(0);
}

#[test]
fn a_revision_with_such_a_script_that_was_let_in_before_is_returned_to() {
    let host = installed();
    // As if an earlier version had accepted it.
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let kept = host.deployment(&id).join("deployment-archive/hooks/BeforeBlockTraffic-1.sh");
    write(&kept, "#!/bin/sh\r\n");
    let bundle = Bundle::new(&host, "v2").app().hook("AfterInstall", "exit 1").write();
    host.deploy(&bundle, &["--ignore-application-stop-failures"]).with_code(1);
    assert!(host.hook_lines().contains(&"v1 ApplicationStop".to_owned()), "{:?}", host.hook_lines());
    assert_eq!(host.version(), "v1");
    assert_eq!(host.status()["condition"], "rolled_back", "{}", host.status());
}

#[test]
fn a_revision_with_a_tag_that_was_let_in_before_is_stopped_and_returned_to() {
    let host = installed();
    // As if an earlier version, which ignored tags, had accepted it; Rails writes such files.
    let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let kept = host.deployment(&id).join("deployment-archive/appspec.yml");
    let text = fs::read_to_string(&kept).unwrap();
    let tagged = text.replace("\nhooks:", "\nhooks: !ruby/hash:ActiveSupport::HashWithIndifferentAccess");
    assert_ne!(tagged, text);
    write(&kept, &tagged);
    let bundle = Bundle::new(&host, "v2").app().hook("AfterInstall", "exit 1").write();
    host.clear_hook_lines();
    host.deploy(&bundle, &[]).with_code(1);
    let lines = host.hook_lines();
    assert!(lines.contains(&"v1 ApplicationStop".to_owned()), "{lines:?}");
    assert!(lines.contains(&"v1 ApplicationStart".to_owned()), "{lines:?}");
    assert_eq!(host.version(), "v1");
    assert_eq!(host.status()["condition"], "rolled_back", "{}", host.status());
    // A new bundle with it is refused.
    let bundle = Bundle::new(&host, "v3").app().all_hooks().write();
    let own = bundle.join("appspec.yml");
    write(&own, fs::read_to_string(&own).unwrap().replace("\nhooks:", "\nhooks: !ruby/hash:Hash"));
    host.deploy(&bundle, &[]).with_code(1).saying(&["DownloadBundle", "unknown-tag"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn an_immutable_file_stops_nothing_until_a_hook_may_free_it() {
    if !root_or_skip("chattr") {
        return;
    }
    let host = installed();
    // Its content is the same in every version.
    let same = host.at("srv/app/lib/same");
    let Some(attribute) = immutable(&same) else { return };
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    let told = "/srv/app/lib/same is immutable (chattr +i) (immutable); run `chattr -i /srv/app/lib/same`";
    refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told]);
    host.release(&bundle, &[]);
    refused(&host, follow_once(&host), &[told]);
    host.run(&["plan", bundle.to_str().unwrap()]).with_code(1).saying(&[told]);
    let free = format!("chattr -i {}", same.display());
    let bundle = Bundle::new(&host, "v3").app().hook("BeforeInstall", &free).all_hooks();
    host.deploy(&bundle.extension("  install: {recheck_after: BeforeInstall}\n").write(), &[]).with_code(0);
    assert_eq!(host.version(), "v3");
    drop(attribute);
}

#[test]
fn in_the_codedeploy_agents_place_an_immutable_file_is_told_by_the_install() {
    if !root_or_skip("chattr") {
        return;
    }
    let host = Host::new();
    let (v1, v2) = (local::bundle(&host, "v1"), local::bundle(&host, "v2"));
    local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
    let Some(_attribute) = immutable(&host.at("srv/app/lib/same")) else { return };
    let ended = local(&host, &["-l", v2.to_str().unwrap()]).with_code(1);
    ended.saying(&["Install failed", "/srv/app/lib/same is immutable (chattr +i)"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_file_that_is_mounted_over_and_a_read_only_mount_stop_nothing() {
    if !root_or_skip("mounting") {
        return;
    }
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().all_hooks().write();
    let secret = host.path("secret");
    write(&secret, "v1\n");
    {
        let Some(_bind) = bind(&secret, &host.at("srv/app/version")) else { return };
        let told = "/srv/app/version must be replaced or removed, and something is mounted on it \
                    (mount_point_in_the_way); run `umount /srv/app/version`";
        refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told]);
    }
    {
        let lib = host.at("srv/app/lib");
        let Some(_bind) = bind(&lib, &lib) else { return };
        if !may("mount", &["-o", "remount,bind,ro", lib.to_str().unwrap()]) {
            return;
        }
        let told = "/srv/app/lib is mounted read-only (read_only_file_system)";
        refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told]);
    }
    host.deploy(&bundle, &[]).with_code(0);
}

#[test]
fn a_state_directory_on_which_nothing_can_be_executed_stops_nothing() {
    if !root_or_skip("mounting") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Disk::new(host.state()) else { return };
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    if !disk.stop_executing() {
        return;
    }
    let mount = host.state();
    let told = format!(
        "bundles are unpacked on {0}, which is mounted noexec: none of their scripts can start (noexec_mount); run \
         `mount -o remount,exec {0}`",
        mount.display()
    );
    let recheck = "  install: {recheck_after: BeforeInstall}\n";
    let bundle = Bundle::new(&host, "v2").app().all_hooks().extension(recheck).write();
    refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", &told]);
    // A plan unpacks elsewhere and predicts the result.
    host.run(&["plan", bundle.to_str().unwrap()]).with_code(1).saying(&["(noexec_mount)"]);
    host.run(&["doctor"]).with_code(1).saying(&["mounted noexec: no script of a bundle can start", "remount,exec"]);
    // Without scripts nothing has to be executable.
    host.run(&["plan", Bundle::new(&host, "v3").app().write().to_str().unwrap()]).with_code(0);
}

#[test]
fn in_the_codedeploy_agents_place_such_a_deployment_root_is_an_error_of_download_bundle() {
    if !root_or_skip("mounting") {
        return;
    }
    let host = Host::new();
    let Some(disk) = Disk::new(deployment_root(&host, "")) else { return };
    let (v1, v2) = (local::bundle(&host, "v1"), local::bundle(&host, "v2"));
    local(&host, &["-l", v1.to_str().unwrap()]).with_code(0);
    host.clear_hook_lines();
    if !disk.stop_executing() {
        return;
    }
    let ended = local(&host, &["-l", v2.to_str().unwrap()]);
    refused(&host, ended, &["DownloadBundle failed", "mounted noexec", "(noexec_mount)"]);
}

#[test]
fn scripts_of_another_user_run_from_a_bundle_that_was_packed_in_a_closed_directory() {
    if !root_or_skip("another user") {
        return;
    }
    let host = installed();
    let bundle = Bundle::new(&host, "v2").app().hook("AfterInstall", "test \"$(id -un)\" = nobody").write();
    run_as(&bundle, "AfterInstall", "nobody");
    // The mode of `mktemp -d`.
    fs::set_permissions(&bundle, Permissions::from_mode(0o700)).unwrap();
    let packed = host.path("v2.tgz");
    assert!(may("tar", &["-czf", packed.to_str().unwrap(), "-C", bundle.to_str().unwrap(), "."]));
    for what in [&packed, &bundle] {
        host.deploy(what, &[]).with_code(0);
        let id = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
        let top = host.deployment(&id).join("deployment-archive");
        assert_eq!(fs::metadata(top).unwrap().permissions().mode() & 0o7777, 0o755, "nobody else may write there");
    }
    host.deploy(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]).with_code(0);
    host.clear_hook_lines();
    for (closed, mode, told) in [
        ("hooks", 0o700, "may not enter the directory hooks of the bundle (mode 0700)"),
        ("hooks/AfterInstall-1.sh", 0o600, "may not read hooks/AfterInstall-1.sh of the bundle (mode 0600)"),
    ] {
        let path = bundle.join(closed);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let hint = format!("(script_closed_to_user); run `chmod go+rx {closed}` before the bundle is packed");
        refused(&host, host.deploy(&bundle, &[]), &["DownloadBundle", told, &hint]);
        fs::set_permissions(&path, before).unwrap();
    }
}
