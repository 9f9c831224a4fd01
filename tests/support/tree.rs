//! The file tree of every test host: a small Debian with systemd, made once and kept.
//!
//! The cache lies outside the work tree, in `HOSTLER_TEST_CACHE` (default `/var/cache/hostler-tests`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::SYSTEM_PATH;

/// Raise the number when the packages change, so that cached trees are made again.
const NAME: &str = "bookworm-4";
/// `git` and `python3-apt` are what ansible-pull needs on a host.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps,sudo,acl,curl,python3-minimal,\
                        libpython3-stdlib,rpm,git,python3-apt";

/// The cache directory, held so that no other test changes it.
pub struct Cache {
    directory: PathBuf,
    _lock: File,
}

impl Cache {
    /// Waits until no other test holds the cache.
    pub fn lock() -> Self {
        let directory =
            std::env::var_os("HOSTLER_TEST_CACHE").map_or_else(|| "/var/cache/hostler-tests".into(), PathBuf::from);
        fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("making {}: {e}", directory.display()));
        let lock = File::create(directory.join("lock")).expect("the cache's lock file");
        lock.lock().expect("locking the cache");
        Self { directory, _lock: lock }
    }

    /// The directory of running hosts' disks.
    pub fn machines(&self) -> PathBuf {
        let machines = self.directory.join("machines");
        fs::create_dir_all(&machines).expect("the directory of the hosts' disks");
        machines
    }

    /// The tree, made now if it does not exist yet (about a minute).
    pub fn tree(&self) -> PathBuf {
        let tree = self.directory.join(NAME);
        if !tree.exists() {
            // Made elsewhere and renamed, so that an existing tree is complete.
            let partial = self.directory.join(format!("{NAME}.partial"));
            if partial.exists() {
                fs::remove_dir_all(&partial).expect("removing a half-made tree");
            }
            debootstrap(&partial, &self.directory.join(format!("{NAME}.log")));
            fs::rename(&partial, &tree).expect("putting the tree in its place");
        }
        tree
    }
}

fn debootstrap(tree: &Path, log: &Path) {
    eprintln!("making the tree of the test hosts with debootstrap, about a minute");
    let output = File::create(log).expect("debootstrap's log");
    let status = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), "bookworm"])
        .arg(tree)
        .env("PATH", SYSTEM_PATH)
        .stdout(output.try_clone().expect("debootstrap's log"))
        .stderr(output)
        .status()
        .expect("starting debootstrap");
    assert!(status.success(), "debootstrap: {status}; its log:\n{}", fs::read_to_string(log).unwrap_or_default());
    // Empty, so that every host gets its own id at boot; systemd would fall back to dbus's copy.
    fs::write(tree.join("etc/machine-id"), "").expect("emptying the machine id");
    fs::remove_file(tree.join("var/lib/dbus/machine-id")).expect("removing the copy of the machine id");
    // So that each has its own name too: debootstrap copied this machine's.
    fs::remove_file(tree.join("etc/hostname")).expect("removing the host name");
    let packages = tree.join("var/cache/apt/archives");
    fs::remove_dir_all(&packages).expect("removing downloaded packages");
    fs::create_dir_all(packages.join("partial")).expect("apt's directory");
}
