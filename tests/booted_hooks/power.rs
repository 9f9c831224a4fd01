//! Power cuts: the state of the host at the next boot, and how the agent continues.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hostler_core::event_order::LifecycleEvent;
use hostler_core::status::Condition;
use nix::sys::signal::{Signal, kill};
use nix::unistd::gettid;

use super::{bundle, host, main_pid, release, settled, wait_for_mark};
use crate::support::machine::{Layout, Machine};

/// Enough files to stop an Install in the middle.
const FILES: usize = 1500;

const APPSPEC: &str = "
version: 0.0
os: linux
files: [{source: files, destination: /srv/app}]
hooks:
  AfterInstall: [{location: after.sh, timeout: 300}]
  ApplicationStart: [{location: start.sh, timeout: 60}]
";

/// An application that checks its files when the host starts it.
const APPLICATION: &str = r#"
cat > /etc/systemd/system/application.service <<'END'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /srv/app/* | sort | uniq -c > /srv/marks/seen; ls -A /srv/app | wc -l >> /srv/marks/seen'
[Install]
WantedBy=multi-user.target
END
systemctl enable application
"#;

fn application(host: &Machine, text: &str, after: &str) -> String {
    let names: Vec<String> = (0..FILES).map(|number| format!("files/f{number:04}")).collect();
    let line = format!("{text}\n");
    let start = "echo started >> /srv/marks/$(cat files/f0000).started";
    let mut files = vec![("appspec.yml", APPSPEC), ("after.sh", after), ("start.sh", start)];
    files.extend(names.iter().map(|name| (name.as_str(), line.as_str())));
    bundle(host, text, &files)
}

fn seen(text: &str) -> String {
    format!("{FILES:7} {text}\n{FILES}")
}

#[test]
fn a_power_cut_leaves_the_old_files_or_the_new_ones_and_says_what_failed() {
    let Some(mut host) = host("power", Layout::Unified) else { return };
    host.sh(APPLICATION);

    let waits = "echo begun >> /srv/marks/one.begun; while :; do sleep 1; done";
    release(&host, &application(&host, "one", waits));
    wait_for_mark(&host, "one.begun");
    cut_and_boot(&mut host);
    let group = settled(&host, 1);
    assert_eq!(group.condition, Condition::Failed, "there is nothing to return to: {group:?}");
    let failure = group.last.unwrap().failure.unwrap();
    assert_eq!((failure.event, failure.script.as_deref()), (LifecycleEvent::AfterInstall, Some("after.sh")));
    assert!(failure.message.contains("interrupted"), "{failure:?}");
    assert_eq!(host.sh("cat /srv/marks/one.begun"), "begun", "it is not run again");
    let shown = host.sh("hostler status");
    assert!(
        shown.contains("app/hosts: FAILED") && shown.contains("AfterInstall failed: after.sh: interrupted"),
        "{shown}"
    );
    assert_eq!(host.sh("cat /srv/marks/seen"), seen("one"));

    release(&host, &application(&host, "two", "true"));
    let good = settled(&host, 2);
    assert_eq!(good.condition, Condition::Good, "{good:?}");

    let three = application(&host, "three", "true");
    stop_in_the_middle_of_install(&host, &three);
    cut_and_boot(&mut host);
    assert_eq!(host.sh("cat /srv/marks/seen"), seen("two"), "what the application saw when the host started it");
    assert!(
        host.sh("journalctl --no-pager --boot --unit=hostler-recover")
            .contains("was undone; the old files are in place")
    );
    let group = settled(&host, 3);
    assert_eq!(group.condition, Condition::RolledBack, "{group:?}");
    assert_eq!(group.installed.unwrap().revision, good.installed.unwrap().revision);
    let failure = group.failed.unwrap().failure.unwrap();
    assert_eq!(failure.event, LifecycleEvent::Install);
    assert!(failure.message.contains("interrupted: the host went down"), "{failure:?}");
    let shown = host.sh("hostler status");
    assert!(shown.contains("app/hosts: rolled back") && shown.contains("Install failed: interrupted"), "{shown}");
    assert_eq!(host.sh("cat /srv/marks/two.started | wc -l; ls /srv/marks | grep -c three || true"), "2\n0");
    assert_eq!(host.sh("cat /srv/app/* | sort | uniq -c; ls -A /srv/app | wc -l"), seen("two"));
}

fn cut_and_boot(host: &mut Machine) {
    host.power_cut();
    fs::remove_file(host.on_disk("/srv/marks/seen")).ok();
    host.start_again();
}

/// Releases a bundle and stops the daemon when some of the new files are in place, but not all.
fn stop_in_the_middle_of_install(host: &Machine, bundle: &str) {
    let daemon = host.outer_pid(&main_pid(host));
    let (directory, first) = (host.on_disk("/srv/app"), fs::read_to_string(host.on_disk("/srv/app/f0000")).unwrap());
    let entries = || fs::read_dir(&directory).unwrap().count();
    let changed =
        || (0..FILES).filter(|n| fs::read_to_string(directory.join(format!("f{n:04}"))).unwrap() != first).count();
    // The watching test must not wait for a processor while the daemon has one.
    let hurry = ["-n", "-20", "-p", &gettid().to_string()];
    assert!(Command::new("renice").args(hurry).stdout(Stdio::null()).status().unwrap().success());
    release(host, bundle);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Once there are new files beside the old ones, steps are a millisecond.
    while entries() <= FILES {
        assert!(Instant::now() < deadline, "no Install began");
        std::thread::sleep(Duration::from_millis(1));
    }
    loop {
        kill(daemon, Signal::SIGSTOP).unwrap();
        match changed() {
            0 => {}
            FILES => panic!("the Install was too fast"),
            _ => return,
        }
        kill(daemon, Signal::SIGCONT).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}
