//! The memory of a deployment does not grow with the size of its bundle, and is released.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, Running};

const FILES: usize = 10_000;
/// A hundred thousand files stay within the agent's promise with this bound. The listing, the wanted files, the host's
/// files, the plan and the installed entries must share their paths for that.
const MOST_KIB: u64 = 14 << 10;
const AT_REST_KIB: u64 = 8 << 10;

/// A size in the kernel's status of a process, in KiB.
fn kib(process: &Running, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn fill(bundle: &Path, version: &str) {
    for file in 0..FILES {
        let directory = bundle.join(format!("many/node_modules/a-package-{}/lib", file / 50));
        if file % 50 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(directory.join(format!("a-module-with-a-usual-name-{file}.js")), version).unwrap();
    }
}

/// Returns the result of `work`, and the highest anonymous memory of the process meanwhile, in KiB.
fn watched<T>(process: &Running, work: impl FnOnce() -> T) -> (T, u64) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = kib(process, "RssAnon:").max(most);
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        // Also on failure; otherwise the watcher would never end.
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap();
        (result.unwrap_or_else(|cause| resume_unwind(cause)), most)
    })
}

#[test]
fn many_files_take_little_memory_and_give_it_back() {
    let host = Host::in_memory();
    let daemon = host.daemon(&[]);
    // First all files are new, then all are replaced.
    for version in ["v1", "v2"] {
        let bundle = Bundle::new(&host, version).app().files("many", "/srv/many").write();
        fill(&bundle, version);
        let (ended, most) = watched(&daemon, || host.deploy(&bundle, &[]));
        ended.with_code(0);
        let last = host.at("srv/many/node_modules/a-package-199/lib/a-module-with-a-usual-name-9999.js");
        assert_eq!(fs::read_to_string(last).unwrap(), version);
        assert!(most <= MOST_KIB, "{version}: {most} KiB for {FILES} files, at most {MOST_KIB}");
    }
    eventually("what was needed is given back", PATIENCE, || match kib(&daemon, "RssAnon:") {
        rest if rest <= AT_REST_KIB => Ok(()),
        rest => Err(format!("{rest} KiB of anonymous memory")),
    });
}
