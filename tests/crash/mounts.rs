//! Destinations on a separate file system that is missing or not writable when it is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{kill_before, strace_or_skip};
use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Host, PATIENCE, hook_lines_of, root_or_skip, tree, write};

/// A host whose `/srv` is a volume.
struct Volume {
    host: Host,
}

impl Volume {
    fn new() -> Option<Self> {
        if !root_or_skip("mounting") || !strace_or_skip() {
            return None;
        }
        let volume = Self { host: Host::new() };
        for directory in ["root/srv", "volume"] {
            fs::create_dir_all(volume.host.path(directory)).unwrap();
        }
        volume.mount();
        Some(volume)
    }

    fn mount(&self) {
        self.tool("mount", &["--bind", self.host.path("volume").to_str().unwrap()]);
    }

    fn unmount(&self) {
        self.tool("umount", &[]);
    }

    fn tool(&self, tool: &str, arguments: &[&str]) {
        let ended = Command::new(tool).args(arguments).arg(self.host.at("srv")).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    fn bundle(&self, version: &str) -> PathBuf {
        let mut bundle = Bundle::new(&self.host, version);
        for number in 0..12 {
            bundle = bundle.content(&format!("app/{number}"), version);
        }
        bundle.files("app", "/srv/app").all_hooks().write()
    }

    /// The revisions that have files on the volume.
    fn versions(&self) -> BTreeSet<String> {
        tree(&self.host.path("volume/app")).into_values().filter(|content| content.contains('v')).collect()
    }

    fn is_whole(&self, version: &str) {
        assert_eq!(self.versions().len(), 1, "{:?}", tree(&self.host.path("volume")));
        assert_eq!(fs::read_to_string(self.host.path("volume/app/3")).unwrap(), version);
        let left =
            tree(&self.host.path("volume")).into_keys().filter(|path| path.to_string_lossy().contains(".hostler"));
        assert_eq!(left.count(), 0);
    }

    /// Good v1, and an Install of v2 that is killed when some of its files are in place.
    fn interrupted() -> Option<Self> {
        let volume = Self::new()?;
        let (v1, v2) = (volume.bundle("v1"), volume.bundle("v2"));
        volume.host.deploy(&v1, &[]).with_code(0);
        // The call that renames a file to another's name; the later of the two where both exist.
        let call = if cfg!(target_arch = "x86_64") { "renameat" } else { "renameat2" };
        for number in (1..200).step_by(3) {
            volume.host.clear_hook_lines();
            let deploy = volume.host.command(&["deploy", v2.to_str().unwrap()]);
            let ended = kill_before(&deploy, &["-f"], call, number);
            assert!(ended.is_none(), "it was never killed half way: {ended:?}");
            let contents: BTreeSet<String> = (0..12)
                .map(|number| fs::read_to_string(volume.host.path(format!("volume/app/{number}"))).unwrap())
                .collect();
            if contents.len() == 2 {
                return Some(volume);
            }
            volume.host.run(&["run", "--once"]);
            volume.host.deploy(&v1, &[]).with_code(0);
        }
        panic!("it was never killed half way");
    }

    /// Runs the program as after a reboot.
    fn in_the_next_boot(&self, arguments: &[&str]) -> Ended {
        let boot_id = self.host.path("boot-id");
        write(&boot_id, "11111111-2222-3333-4444-555555555555\n");
        let plain = self.host.command(arguments);
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        command.args(["-m", "sh", "-c", script]).arg(boot_id).arg(plain.get_program()).args(plain.get_args());
        Ended::of(command)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // In some tests it is not mounted.
        let _ = Command::new("umount").arg("-l").arg(self.host.at("srv")).output();
    }
}

#[test]
fn an_install_is_undone_once_its_file_system_is_mounted_and_nothing_is_deployed_before() {
    let Some(volume) = Volume::interrupted() else { return };
    let host = &volume.host;
    volume.unmount();
    let said = ["cannot be undone yet", "mount what is missing", host.at("srv").to_str().unwrap()].map(str::to_owned);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    host.run(&["run", "--recover"]).with_code(1).saying(&said);
    host.run(&["run", "--once"]).with_code(1).saying(&said);
    let lines = host.hook_lines();
    host.deploy(&volume.bundle("v3"), &[]).with_code(3).saying(&said);
    host.run(&["rollback"]).with_code(3).saying(&said);
    assert_eq!(host.hook_lines(), lines, "no script runs on a mixture");
    assert_eq!(fs::read_dir(host.at("srv")).unwrap().count(), 0, "nothing is put below the mount point");
    let status = host.status();
    assert_eq!(status["condition"], "not_undone", "{status}");
    assert!(status["not_undone"]["since_ms"].is_u64(), "{status}");
    host.run(&["status"]).saying(&["NOT UNDONE", "--give-up"]).saying(&said);
    host.run(&["doctor"]).with_code(1).saying(&said);

    let daemon = host.daemon(&[]);
    eventually("the daemon says that it is ill", PATIENCE, || {
        let health = host.run(&["status", "--health"]);
        let ill = health.code == Some(1) && health.out.contains("cannot be undone yet");
        if ill { Ok(()) } else { Err(format!("{health:?}")) }
    });
    host.deploy(&volume.bundle("v3"), &[]).with_code(3).saying(&said);
    volume.mount();
    host.status_when("the daemon has gone on", |status| status["condition"] == "good");
    volume.is_whole("v2");
    drop(daemon);
}

#[test]
fn after_a_reboot_too_it_waits_for_its_file_system_and_the_old_revision_is_started_whole() {
    let Some(volume) = Volume::interrupted() else { return };
    volume.unmount();
    volume.in_the_next_boot(&["run", "--recover"]).with_code(1).saying(&["cannot be undone yet"]);
    volume.mount();
    volume.in_the_next_boot(&["run", "--once"]).with_code(1).saying(&["interrupted: the host went down"]);
    volume.is_whole("v1");
    assert_eq!(volume.host.status()["condition"], "rolled_back");
}

#[test]
fn an_install_that_fails_and_cannot_be_undone_is_not_followed_by_a_start_of_the_old_revision() {
    let Some(volume) = Volume::new() else { return };
    let host = &volume.host;
    host.deploy(&volume.bundle("v1"), &[]).with_code(0);
    let v2 = volume.bundle("v2");
    // Cases in which both directions use the same call, and in which they do not.
    let stuck = [(6, 3), (8, 6), (200, 8), (200, 5)].into_iter().find(|(there, back)| {
        host.clear_hook_lines();
        let mut traced = Command::new("strace");
        let plain = host.command(&["deploy", v2.to_str().unwrap()]);
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2"]);
        traced.args(["-e", &format!("inject=renameat2:error=EIO:when={there}+")]);
        traced.args(["-e", &format!("inject=renameat:error=EIO:when={back}+")]);
        traced.arg(plain.get_program()).args(plain.get_args()).current_dir("/");
        let ended = Ended::of(traced);
        let stuck = ended.out.contains("cannot be undone yet");
        assert_eq!(host.status()["condition"] == "not_undone", stuck, "{ended:?}");
        if ended.code == Some(0) {
            host.deploy(&volume.bundle("v1"), &[]).with_code(0);
        }
        stuck
    });
    assert!(stuck.is_some(), "it never was half way");
    let started = |host: &Host| host.hook_lines().iter().filter(|line| line.ends_with("ApplicationStart")).count();
    assert_eq!(started(host), 0, "{:?}", host.hook_lines());
    assert_eq!(host.status()["condition"], "not_undone");
    host.run(&["run", "--once"]).with_code(1).saying(&["Install failed: cannot", "Input/output error"]);
    volume.is_whole("v1");
    assert_eq!(started(host), 1, "{:?}", host.hook_lines());
    assert_eq!(host.status()["condition"], "rolled_back");
}

#[test]
fn a_mount_point_that_lost_its_mount_gets_no_files_until_that_is_accepted() {
    let Some(volume) = Volume::new() else { return };
    let host = &volume.host;
    host.deploy(&volume.bundle("v1"), &[]).with_code(0);
    host.deploy(&volume.bundle("v2"), &[]).with_code(0);
    host.clear_hook_lines();
    volume.unmount();
    let v3 = volume.bundle("v3");
    for arguments in [vec!["deploy", v3.to_str().unwrap()], vec!["rollback"], vec!["remove"]] {
        host.run(&arguments).with_code(1).saying(&["not_mounted", host.at("srv").to_str().unwrap(), "--give-up"]);
    }
    assert_eq!(host.hook_lines(), [""; 0], "it is refused before anything runs");
    assert_eq!(fs::read_dir(host.at("srv")).unwrap().count(), 0);
    volume.mount();
    host.deploy(&v3, &[]).with_code(0);
    volume.is_whole("v3");
    assert!(host.hook_lines().starts_with(&hook_lines_of(Some("v2"), "v3")));

    volume.unmount();
    let installed = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    host.ok(&["run", "--recover", "--give-up", &installed]);
    host.deploy(&volume.bundle("v4"), &[]).with_code(0);
    assert_eq!(fs::read_to_string(host.at("srv/app/3")).unwrap(), "v4");
    host.run(&["run", "--recover", "--give-up", "d-UNKNOWN"]).with_code(5).saying(&["d-UNKNOWN"]);
}

#[test]
fn replaced_files_that_could_not_be_deleted_are_deleted_by_the_daemon() {
    let Some(volume) = Volume::new() else { return };
    let host = &volume.host;
    host.deploy(&volume.bundle("v1"), &[]).with_code(0);
    let mut bundle = Bundle::new(host, "v2");
    for number in 0..12 {
        bundle = bundle.content(&format!("app/{number}"), "v2");
    }
    let unmount = format!("umount {}", host.at("srv").display());
    let v2 = bundle.files("app", "/srv/app").hook("ValidateService", &unmount).write();
    host.deploy(&v2, &[]).with_code(0).saying(&["warning: the replaced files are not deleted yet"]);
    volume.mount();
    let replaced =
        || tree(&host.path("volume")).into_iter().filter(|(_, content)| content.contains("v1")).collect::<Vec<_>>();
    assert_eq!(replaced().len(), 12, "the replaced files are elsewhere on the volume");
    let _daemon = host.daemon(&[]);
    eventually("the daemon deletes them", PATIENCE, || {
        let left = replaced();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    volume.is_whole("v2");
}

#[test]
fn a_links_target_that_was_made_anew_does_not_block_later_releases() {
    let host = Host::new();
    fs::create_dir_all(host.at("data/app")).unwrap();
    fs::create_dir_all(host.at("srv")).unwrap();
    std::os::unix::fs::symlink("../data/app", host.at("srv/app")).unwrap();
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 1").write();
    host.deploy(&bad, &["--no-rollback"]).with_code(1);
    fs::remove_dir_all(host.at("data/app")).unwrap();
    fs::create_dir(host.at("data/other")).unwrap();
    fs::create_dir(host.at("data/app")).unwrap();
    let ended = host.deploy(&Bundle::new(&host, "v3").app().write(), &[]).with_code(0);
    ended.saying(&["warning:", host.at("data/app").to_str().unwrap()]);
    assert_eq!(fs::read_to_string(host.at("data/app/version")).unwrap(), "v3\n");
}

#[test]
fn what_a_rollback_could_not_put_back_is_said() {
    let host = Host::new();
    write(&host.at("srv/app/cfg"), "of the host");
    host.deploy(&Bundle::new(&host, "v1").app().write(), &["-b", "overwrite"]).with_code(0);
    let body = format!("cd {} && rm cfg && mkdir cfg && exit 1", host.at("srv/app").display());
    let v2 = Bundle::new(&host, "v2").content("app/cfg", "v2").app().hook("AfterInstall", &body).write();
    let path = "/srv/app/cfg";
    host.deploy(&v2, &["-b", "overwrite"]).with_code(1).saying(&["could not be put back", path]);
    let status = host.status();
    assert_eq!(status["condition"], "rolled_back", "{status}");
    assert!(status["last"]["warnings"].to_string().contains(path), "{status}");
    let history = host.history();
    assert!(
        history.iter().any(|record| record["message"].to_string().contains("could not be put back")),
        "{history:#?}"
    );
}
