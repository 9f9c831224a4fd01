//! The packages of the built program, and their daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;
use super::machine::{Layout, Machine};
use super::skip;

/// Installs or upgrades a deb, keeping configuration files as they are.
pub const INSTALL: &str = "dpkg --force-unsafe-io --force-confold --install";

/// A format.
#[derive(Clone, Copy)]
pub enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    /// The file name's end, the script that builds it, and the tool that the script needs.
    fn facts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Deb => ("deb", "packaging/build-deb", "cargo-deb"),
            Self::Rpm => ("rpm", "packaging/build-rpm", "cargo-generate-rpm"),
        }
    }
}

/// Packages of the same program, each newer than the one before.
pub struct Packages {
    directory: TempDir,
    kind: Kind,
    names: &'static [&'static str],
}

impl Packages {
    /// One package for each name; `None`, with the reason printed, if packages cannot be built.
    pub fn build(kind: Kind, names: &'static [&'static str]) -> Option<Self> {
        let (end, script, tool) = kind.facts();
        if Command::new(tool).arg("--help").output().is_err() {
            skip(format_args!("{tool} is missing (cargo install --locked {tool})"));
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let program = without_symbols(directory.path());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(script);
        for (number, name) in names.iter().enumerate() {
            let version = format!("0.0.{}", number + 1);
            let place = directory.path().join(name);
            let environment = [("HOSTLER_BINARY", program.as_os_str()), ("HOSTLER_VERSION", version.as_ref())];
            let output = Command::new(&script).arg(&place).envs(environment).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let package = fs::read_dir(&place).unwrap().next().expect("a package").unwrap().path();
            fs::rename(package, directory.path().join(format!("{name}.{end}"))).unwrap();
        }
        Some(Self { directory, kind, names })
    }

    /// A host with the packages in `/root`.
    pub fn host(&self, name: &str, layout: Layout) -> Option<Machine> {
        let host = Machine::named(name, layout).boot()?;
        for name in self.names {
            let package = format!("{name}.{}", self.kind.facts().0);
            host.copy_in(&self.directory.path().join(&package), &format!("/root/{package}"));
        }
        Some(host)
    }
}

/// The built program without its symbols, which are half of it: they are packed, unpacked and copied a dozen times.
fn without_symbols(directory: &Path) -> PathBuf {
    let program = directory.join("program");
    let strip = Command::new("strip").args(["--strip-all", env!("CARGO_BIN_EXE_hostler"), "-o"]).arg(&program).status();
    assert!(strip.unwrap().success());
    program
}

/// The state of a unit, as systemd names it.
pub fn state(host: &Machine, unit: &str) -> String {
    host.sh(&format!("systemctl is-active {unit} || true"))
}

/// The pid of the daemon on the host; 0 means none.
pub fn main_pid(host: &Machine) -> String {
    host.sh("systemctl show --value --property=MainPID hostler")
}

/// Waits until a daemon runs that is not the process `before`, and returns its pid.
pub fn wait_for_another_daemon(host: &Machine, before: &str) -> String {
    eventually("another daemon runs", Duration::from_secs(30), || match main_pid(host) {
        pid if pid != before && state(host, "hostler") == "active" => Ok(pid),
        pid => Err(format!("process {pid}, {}", state(host, "hostler"))),
    })
}
