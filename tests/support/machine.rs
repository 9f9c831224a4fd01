//! Booted test hosts: systemd as process 1 on a Debian tree, in separate namespaces, in under a second.
//!
//! Each host has its own disk (an overlay over the shared tree, kept until the host is dropped, so that it survives a
//! power cut), its own network with only loopback, and its own control groups: two hosts in one control group would
//! kill each other's services. Nothing of a host outlives the test's process, even if that is killed: the host's
//! process namespace depends on a process that dies with it. Therefore the thread that starts a host must own it until
//! the end.
//!
//! Needs root and the Debian packages `systemd-container` and `debootstrap`; a test without them is
//! skipped with the reason printed, or fails where every test has to run.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;
use super::skip;
use super::tree::Cache;

/// The search path of system commands; a test may have a shorter one.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const CGROUPS: &str = "/sys/fs/cgroup";
const COMMAND_SECONDS: &str = "120";

/// Run by `sh` as the first process of the host's outer process namespace. Arguments: disk, tree, then
/// the control groups to enter up to `--`, then the command.
const START: &str = r#"
set -e
disk=$1 tree=$2; shift 2
while [ "$1" != -- ]; do mkdir "$1"; echo 0 > "$1/cgroup.procs"; shift; done
shift
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
exec "$@"
"#;

/// The control group hierarchies of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone, with `cgroup.kill`.
    Unified,
    /// Version 1, with version 2 beside it for process tracking only.
    Hybrid,
}

/// A host to be booted.
pub struct Blueprint {
    name: String,
    layout: Layout,
    binds: Vec<String>,
}

impl Blueprint {
    /// Makes a file or directory of this machine visible to the host, which can change it.
    pub fn bind(mut self, here: &Path, there: &str) -> Self {
        self.binds.push(format!("--bind={}:{there}", here.display()));
        self
    }

    /// Makes a file or directory of this machine visible to the host, which cannot change it.
    pub fn bind_read_only(mut self, here: &Path, there: &str) -> Self {
        self.binds.push(format!("--bind-ro={}:{there}", here.display()));
        self
    }

    /// Boots it and returns at once; `None`, with the reason printed, if hosts cannot be booted here.
    ///
    /// # Panics
    /// When hosts cannot be booted where every test has to run ([`skip`]).
    pub fn start(self) -> Option<Machine> {
        if let Some(reason) = obstacle(self.layout) {
            skip(format_args!("test hosts cannot be booted: {reason}"));
            return None;
        }
        Some(Machine::start(self))
    }

    /// Boots it and waits until all of its units run.
    pub fn boot(self) -> Option<Machine> {
        let machine = self.start()?;
        machine.wait_until_running();
        Some(machine)
    }
}

/// The reason why no host can be booted here, if any.
fn obstacle(layout: Layout) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("this needs root".into());
    }
    for tool in ["systemd-nspawn", "debootstrap", "nsenter", "unshare", "setpriv"] {
        if !SYSTEM_PATH.split(':').any(|directory| Path::new(directory).join(tool).exists()) {
            return Some(format!("{tool} is missing (Debian packages systemd-container and debootstrap)"));
        }
    }
    if layout == Layout::Hybrid && !Path::new(CGROUPS).join("systemd").exists() {
        return Some("this machine has no control groups of version 1".into());
    }
    let namespaces = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).output();
    match namespaces {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no new namespaces: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("no new namespaces: {error}")),
    }
}

/// A booted host, shut down and removed when dropped.
pub struct Machine {
    blueprint: Blueprint,
    disk: PathBuf,
    tree: PathBuf,
    _disk_lock: File,
    /// Waits for the host's outer process namespace, and ends it when it dies.
    keeper: Child,
}

impl Machine {
    /// A host with its own name, of at most 20 letters and digits.
    pub fn named(name: &str, layout: Layout) -> Blueprint {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Blueprint { name, layout, binds: Vec::new() }
    }

    fn start(blueprint: Blueprint) -> Self {
        let cache = Cache::lock();
        let machines = cache.machines();
        sweep(&machines);
        let tree = cache.tree();
        let disk = machines.join(&blueprint.name);
        for directory in ["", "upper", "work", "root"] {
            fs::create_dir(disk.join(directory)).expect("the host's disk");
        }
        let disk_lock = File::create(disk.join("lock")).expect("the disk's lock");
        disk_lock.lock().expect("locking the disk");
        drop(cache);
        let keeper = launch(&blueprint, &disk, &tree);
        Self { blueprint, disk, tree, _disk_lock: disk_lock, keeper }
    }

    /// Waits until systemd reports that all started units run.
    pub fn wait_until_running(&self) {
        eventually("the host runs", Duration::from_secs(60), || {
            let output = self.try_sh("systemctl is-system-running || systemctl list-units --failed --no-legend")?;
            let state = String::from_utf8_lossy(&output.stdout).into_owned();
            if state == "running\n" { Ok(()) } else { Err(format!("{state}{}", self.console())) }
        });
    }

    /// Runs a shell script on the host as root and returns its standard output without the last line end.
    ///
    /// # Panics
    /// When it fails, with everything it printed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{}\nstdout: {out}\nstderr: {err}", output.status);
        out.trim_end_matches('\n').to_owned()
    }

    /// Runs a shell script on the host as root, for at most two minutes. An error says that the host is not up.
    pub fn try_sh(&self, script: &str) -> Result<Output, String> {
        let init = self.init().ok_or_else(|| format!("no process 1; console: {}", self.console()))?;
        Ok(inside(init, &["sh", "-ec", script]).stdin(Stdio::null()).output().expect("starting nsenter"))
    }

    /// Copies a file with its mode, or a directory's contents, to a place on the host; makes the directories above.
    pub fn copy_in(&self, from: &Path, to: &str) {
        let init = self.init().expect("a running host");
        let status = if from.is_dir() {
            let pack = Command::new("tar").arg("-C").arg(from).args(["-cf", "-", "."]).stdout(Stdio::piped()).spawn();
            let mut pack = pack.expect("starting tar");
            let archive = pack.stdout.take().expect("tar's output");
            let script = r#"mkdir -p "$1" && tar -C "$1" --no-same-owner -xf -"#;
            let status = inside(init, &["sh", "-ec", script, "sh", to]).stdin(archive).status();
            assert!(pack.wait().expect("tar").success(), "packing {}", from.display());
            status
        } else {
            let file = File::open(from).unwrap_or_else(|e| panic!("opening {}: {e}", from.display()));
            let mode = format!("{:o}", file.metadata().expect("metadata").permissions().mode() & 0o7777);
            inside(init, &["install", "-D", "-m", &mode, "/dev/stdin", to]).stdin(file).status()
        };
        assert!(status.expect("starting nsenter").success(), "copying {} to {to}", from.display());
    }

    /// Makes systemd limit the number of a service's processes on a host with control groups of version 1, where the
    /// hierarchy that counts them is otherwise read-only.
    pub fn enforce_process_limits(&self) {
        self.sh("mount -o remount,bind,rw /sys/fs/cgroup/pids; systemctl daemon-reexec");
    }

    /// A free port of the host's loopback, on which this process can serve.
    pub fn listen(&self) -> TcpListener {
        let init = self.init().expect("a running host");
        let network = File::open(format!("/proc/{init}/ns/net")).expect("the host's network");
        // A thread that has entered another network is of no further use.
        let listener = std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("entering the host's network");
            TcpListener::bind(("127.0.0.1", 0)).expect("a port of the host")
        });
        listener.join().expect("a listener")
    }

    /// The path on this machine of a file that the host wrote.
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.disk.join("upper").join(path.trim_start_matches('/'))
    }

    /// Calls `make` in the host's network and returns its result: a server that it starts answers on the host's
    /// loopback.
    #[allow(unsafe_code)]
    pub fn in_network<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let init = self.init().expect("a running host");
        let network = File::open(format!("/proc/{init}/ns/net")).expect("the host's network");
        let enter = move || {
            // SAFETY: the descriptor is open, and only this thread and its children change their network.
            let entered = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
            make()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).expect("the thread in the host's network")
    }

    /// The pid on this machine of one of the host's processes.
    pub fn outer_pid(&self, pid: &str) -> Pid {
        let init = self.init().expect("a running host");
        let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let is_it = |outer: &Pid| {
            let status = fs::read_to_string(format!("/proc/{outer}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.and_then(|n| n.split_whitespace().next_back()) == Some(pid) && namespace(*outer) == namespace(init)
        };
        let entries = fs::read_dir("/proc").expect("the process table").flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
        pids.find(is_it).unwrap_or_else(|| panic!("the host has no process {pid}"))
    }

    /// Ends every process of the host at once. Its disk stays; `start_again` boots from it.
    ///
    /// Unsynced writes stay too: this machine's page cache keeps its power.
    pub fn power_cut(&mut self) {
        self.signal(Signal::SIGKILL);
        self.keeper.wait().expect("waiting for the host's end");
    }

    /// Waits until the host has gone down by itself, as for a reboot: systemd-nspawn does not boot it again here.
    pub fn wait_until_down(&mut self) {
        assert!(self.ended_within(Duration::from_secs(60)), "the host has not gone down: {}", self.console());
    }

    /// Boots again from the same disk after the host has gone down, and waits until everything runs.
    pub fn start_again(&mut self) {
        remove_cgroups(&self.blueprint.name);
        self.keeper = launch(&self.blueprint, &self.disk, &self.tree);
        self.wait_until_running();
    }

    /// The host's console output.
    fn console(&self) -> String {
        fs::read_to_string(self.disk.join("console.log")).unwrap_or_default()
    }

    /// The process that contains the host, as seen from here.
    fn container(&self) -> Option<Pid> {
        children(Pid::from_raw(self.keeper.id().cast_signed())).into_iter().next()
    }

    /// The host's process 1, as seen from here, once it is systemd.
    fn init(&self) -> Option<Pid> {
        children(self.container()?)
            .into_iter()
            .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n"))
    }

    fn signal(&self, signal: Signal) {
        if let Some(container) = self.container() {
            kill(container, signal).expect("a signal to the host");
        }
    }

    fn ended_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while !matches!(self.keeper.try_wait(), Ok(Some(_))) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(output) = self.try_sh("journalctl --no-pager --lines=60")
        {
            eprintln!("journal of {}:\n{}", self.blueprint.name, String::from_utf8_lossy(&output.stdout));
        }
        if !self.ended_within(Duration::ZERO) {
            self.signal(Signal::SIGTERM);
            if !self.ended_within(Duration::from_secs(15)) {
                self.signal(Signal::SIGKILL);
                let _ = self.keeper.wait();
            }
        }
        remove(&self.disk, &self.blueprint.name);
    }
}

fn launch(blueprint: &Blueprint, disk: &Path, tree: &Path) -> Child {
    let console = File::options().create(true).append(true).open(disk.join("console.log")).expect("the console's log");
    let mut command = Command::new("setpriv");
    // The keeper dies with the test's thread, and takes the whole process namespace with it.
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", START, "sh"]);
    command.arg(disk).arg(tree).args(cgroups(&blueprint.name)).args(["--", "systemd-nspawn", "--boot", "-D"]);
    command.arg(disk.join("root")).arg(format!("--machine={}", blueprint.name)).args(&blueprint.binds);
    // This machine may have no systemd to register with; all the host's output goes to the log.
    command.args(["--register=no", "--keep-unit", "--console=pipe", "--private-network", "--quiet"]);
    command.env_clear().env("PATH", SYSTEM_PATH);
    if blueprint.layout == Layout::Unified {
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    }
    command.stdin(Stdio::null()).stdout(console.try_clone().expect("the console's log")).stderr(console);
    command.spawn().expect("starting the host")
}

/// A command on the host whose process 1 is `init`, with a clean environment and a deadline.
fn inside(init: Pid, command: &[&str]) -> Command {
    let mut nsenter = Command::new("timeout");
    nsenter.args(["--kill-after=5", COMMAND_SECONDS, "nsenter", "--all", "--target", &init.to_string(), "--"]);
    nsenter.args(command);
    nsenter.env_clear().envs([("PATH", SYSTEM_PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")]);
    nsenter
}

fn children(parent: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// A control group for the host in each hierarchy in which systemd keeps processes, and in the one that counts them.
fn cgroups(machine: &str) -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    let hierarchies = if root.join("cgroup.controllers").exists() {
        vec![root.to_owned()]
    } else {
        ["systemd", "unified", "pids"].map(|name| root.join(name)).into_iter().filter(|path| path.exists()).collect()
    };
    hierarchies.into_iter().map(|hierarchy| hierarchy.join(format!("hostler-test-{machine}"))).collect()
}

fn remove_cgroups(machine: &str) {
    fn remove(directory: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(directory)?.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            remove(&entry.path())?;
        }
        fs::remove_dir(directory)
    }
    for group in cgroups(machine).iter().filter(|group| group.exists()) {
        if let Err(error) = remove(group) {
            eprintln!("{} stays: {error}", group.display());
        }
    }
}

fn remove(disk: &Path, machine: &str) {
    remove_cgroups(machine);
    // systemd-nspawn leaves it when it is killed.
    let _ = fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(machine));
    if let Err(error) = fs::remove_dir_all(disk) {
        eprintln!("{} stays: {error}", disk.display());
    }
}

/// Removes the remains of killed tests: disks that no process holds. The caller holds the cache.
fn sweep(machines: &Path) {
    for entry in fs::read_dir(machines).expect("the hosts' disks").flatten() {
        let held = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_err());
        if !held {
            remove(&entry.path(), &entry.file_name().to_string_lossy());
        }
    }
}
