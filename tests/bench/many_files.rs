//! The memory of a daemon for 100,000 files: during the install, during the replacement, and afterwards.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{hostler_at, memory_directory, memory_mib, publish, verdict};

const FILES: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(300);
const LAST: &str = "srv/app/a-directory-name-999/a-usual-file-name-99999.js";

/// A daemon, which ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run() -> bool {
    let room = memory_directory();
    let [bundle, store, root] = ["bundle", "store", "root"].map(|name| room.path().join(name));
    for directory in [&store, &root] {
        fs::create_dir(directory).expect("a directory");
    }
    fill(&bundle, "first");
    publish(&bundle, &store);
    let mut command = hostler_at(&root, "run");
    command.args(["--poll", "1s", "--instance-id", "i-figures", "--channel"]).arg(&store);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the daemon");
    let daemon = Daemon(child);
    let deployed = |version: &str| fs::read_to_string(root.join(LAST)).is_ok_and(|there| there == version);

    wait_until("installs all files", || deployed("first"));
    let rest = at_rest(&daemon);
    let first = memory_mib(daemon.0.id(), "VmHWM:");
    fs::write(format!("/proc/{}/clear_refs", daemon.0.id()), "5").expect("the peak begins anew");
    fill(&bundle, "second");
    publish(&bundle, &store);
    wait_until("replaces all files", || deployed("second"));
    let rest = at_rest(&daemon).max(rest);
    let second = memory_mib(daemon.0.id(), "VmHWM:");
    println!("  {FILES} files in a daemon");
    verdict("peak of installing", first, "MiB", first <= 64.0, "<= 64")
        & verdict("peak of replacing", second, "MiB", second <= 64.0, "<= 64")
        & verdict("anonymous at rest after it", rest, "MiB", rest <= 8.0, "<= 8")
}

/// Anonymous memory after the deployment, once it is below the bound or after half a minute.
fn at_rest(daemon: &Daemon) -> f64 {
    let began = Instant::now();
    loop {
        // The files are in place before the deployment ends.
        std::thread::sleep(Duration::from_secs(3));
        let anonymous = memory_mib(daemon.0.id(), "RssAnon:");
        if anonymous <= 8.0 || began.elapsed() > Duration::from_secs(30) {
            return anonymous;
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "the daemon never {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fill(bundle: &Path, version: &str) {
    for file in 0..FILES {
        let directory = bundle.join(format!("app/a-directory-name-{}", file / 100));
        if file % 100 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        fs::write(directory.join(format!("a-usual-file-name-{file}.js")), version).expect("a file");
    }
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\n";
    fs::write(bundle.join("appspec.yml"), appspec).expect("the appspec");
}
