//! A directory in memory, and commands measured by what the kernel says of them.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The first argument of a measured child.
pub const CHILD: &str = "--child";

/// A directory on tmpfs, so that the disk is not what is measured.
pub fn memory_directory() -> TempDir {
    let directory = if Path::new("/dev/shm").is_dir() {
        tempfile::tempdir_in("/dev/shm")
    } else {
        println!("there is no /dev/shm here: measured on the disk");
        tempfile::tempdir()
    };
    directory.expect("a temporary directory")
}

/// What one run of a command took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub wall: Duration,
    /// User and system time of the process and the children that it waited for.
    pub cpu: Duration,
    /// Largest resident set of the process, or of the largest of its children, in KiB.
    pub peak_kib: i64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.peak_kib as f64 / 1024.0;
        write!(f, "{:6.3} s wall, {:6.3} s cpu, {mib:5.1} MiB peak", self.wall.as_secs_f64(), self.cpu.as_secs_f64())
    }
}

/// Runs the command to its end; it must succeed.
// `wait4` below is the wait; the lint knows only that of std.
#[allow(unsafe_code, clippy::zombie_processes)]
pub fn measure(command: &mut Command) -> Measured {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut status = 0;
    // SAFETY: both pointers are to live values of the right types, and a zeroed rusage is a valid one. The child is
    // reaped here only: `Child` never waits by itself.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, &raw mut usage);
        assert_eq!(pid, child.id() as libc::pid_t, "wait4: {}", std::io::Error::last_os_error());
        usage
    };
    let wall = start.elapsed();
    assert_eq!(status, 0, "{command:?} failed");
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Measured { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib: usage.ru_maxrss }
}

/// This program again, as the measured child with these arguments; see [`child`].
pub fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(CHILD).args(arguments);
    command
}

/// What a measured child does: the name of the work and its arguments.
pub fn child(arguments: &[String]) -> ExitCode {
    match arguments {
        [work, bundle, destination] if work == "unpack" => crate::unpack::child(bundle.as_ref(), destination.as_ref()),
        _ => panic!("unknown work for a measured child: {arguments:?}"),
    }
    ExitCode::SUCCESS
}

/// Whether a tool can be started; prints why it is left out if not.
pub fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("{tool} is not on this host: its figure is left out");
    }
    found
}

/// The fastest run counts: everything that disturbs a run makes it slower.
pub fn fastest(runs: &[Measured]) -> Measured {
    *runs.iter().min_by_key(|run| run.wall).expect("at least one run")
}
