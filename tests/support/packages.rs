//! The packages of the built program, and their daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::eventually;
use super::machine::{Layout, Machine};
use super::made_once::{made_once, state_of};
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
            Self::Rpm => ("rpm", "packaging/build-rpm", "rpmbuild"),
        }
    }
}

/// Packages of the same program, each newer than the one before.
pub struct Packages {
    kind: Kind,
    names: &'static [&'static str],
}

impl Packages {
    /// One package for each name; `None`, with the reason printed, if packages cannot be built.
    pub fn build(kind: Kind, names: &'static [&'static str]) -> Option<Self> {
        let (_, _, tool) = kind.facts();
        if Command::new(tool).arg("--help").output().is_err() {
            skip(format_args!("{tool} is missing: tests/run installs it"));
            return None;
        }
        Some(Self { kind, names })
    }

    /// A host with the packages in `/root`.
    pub fn host(&self, name: &str, layout: Layout) -> Option<Machine> {
        let host = Machine::named(name, layout).boot()?;
        let end = self.kind.facts().0;
        for (number, name) in self.names.iter().enumerate() {
            let package = self.kind.package(number + 1);
            host.copy_in(&package, &format!("/root/{name}.{end}"));
        }
        Some(host)
    }
}

impl Kind {
    /// The package with the version `0.0.NUMBER`. Every test gets the same file: to build one takes seconds.
    fn package(self, number: usize) -> PathBuf {
        let (end, script, _) = self.facts();
        let program = Path::new(env!("CARGO_BIN_EXE_hostler"));
        let made = made_once(&format!("{end}-{number}"), state_of_packaging(program), |directory| {
            let [program, supervisor] = ["hostler", "hostler-hook-supervisor"]
                .map(|name| without_symbols(&program.with_file_name(name), directory));
            let place = directory.join("built");
            let version = format!("0.0.{number}");
            let environment = [("HOSTLER_BINARY", program.as_os_str()), ("HOSTLER_VERSION", version.as_ref())];
            run(&top().join(script), &place, &environment);
            fs::rename(only_file(&place), directory.join("package")).unwrap();
            fs::remove_file(program).unwrap();
            fs::remove_file(supervisor).unwrap();
        });
        made.join("package")
    }

    /// The package with the CodeDeploy agent's names as links; `None`, with the reason printed, if it cannot be built.
    pub fn links(self) -> Option<PathBuf> {
        let (end, _, tool) = self.facts();
        if Command::new(tool).arg("--help").output().is_err() {
            skip(format_args!("{tool} is missing: tests/run installs it"));
            return None;
        }
        let script = top().join(format!("packaging/build-compat-{end}"));
        let made = made_once(&format!("links-{end}"), state_of_packaging(&script), |directory| {
            run(&script, directory, &[]);
        });
        Some(only_file(&made))
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a package is made from, beside the program.
fn state_of_packaging(program: &Path) -> u64 {
    let [packaging, systemd] = ["packaging", "systemd"].map(|name| top().join(name));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    state_of(&[program, &packaging, &systemd, &manifest])
}

fn run(script: &Path, directory: &Path, environment: &[(&str, &std::ffi::OsStr)]) {
    let output = Command::new(script).arg(directory).envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("one package is expected: {files:?}") };
    file.clone()
}

/// The built program without its symbols, which are half of it: they are packed, unpacked and copied a dozen times.
fn without_symbols(program: &Path, directory: &Path) -> PathBuf {
    let stripped = directory.join(program.file_name().unwrap());
    let strip = Command::new("strip").arg("--strip-all").arg(program).arg("-o").arg(&stripped).status();
    assert!(strip.unwrap().success());
    stripped
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
