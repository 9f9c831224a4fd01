//! A directory in memory, and commands measured with the kernel's figures.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The first argument of a measured child.
pub const CHILD: &str = "--child";

/// A directory on tmpfs, so that the measurement leaves out the disk.
pub fn memory_directory() -> TempDir {
    let directory = if Path::new("/dev/shm").is_dir() {
        tempfile::tempdir_in("/dev/shm")
    } else {
        println!("there is no /dev/shm here: measured on the disk");
        tempfile::tempdir()
    };
    directory.expect("a temporary directory")
}

/// Makes free memory present. A hypervisor takes back memory that its guest has not used for some seconds. Getting it
/// again costs up to three times as much as the copying itself, which is not the measured program's cost.
pub fn touch_free_memory(room: &Path, bytes: usize) {
    let path = room.join("touched");
    let mut file = File::create(&path).expect("a file");
    let piece = vec![1; 1 << 20];
    for _ in 0..bytes.div_ceil(piece.len()) {
        file.write_all(&piece).expect("room");
    }
    fs::remove_file(path).expect("the file");
}

/// The cost of one run of a command.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub wall: Duration,
    /// User and system time of the process and the children that it has waited for.
    pub cpu: Duration,
    /// Largest resident set of the process, or of the largest of its children, in KiB. If this program was larger when
    /// it started the process: of the process alone, sampled each millisecond.
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
    // A new process begins with the largest size that its parent ever had (the kernel's maxrss survives exec).
    let inherited_kib = high_water_kib("self").unwrap_or(0);
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id().to_string();
    let mut seen_kib = 0;
    let (status, usage) = loop {
        let mut status = 0;
        // SAFETY: both pointers are to live values of the right types, and a zeroed rusage is a valid one. The child is
        // reaped here only: `Child` never waits by itself.
        let (ended, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(child.id() as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        if ended != 0 {
            assert_eq!(ended, child.id() as libc::pid_t, "wait4: {}", std::io::Error::last_os_error());
            break (status, usage);
        }
        seen_kib = high_water_kib(&pid).unwrap_or(0).max(seen_kib);
        std::thread::sleep(Duration::from_millis(1));
    };
    let wall = start.elapsed();
    assert_eq!(status, 0, "{command:?} failed");
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    let peak_kib = if usage.ru_maxrss > inherited_kib { usage.ru_maxrss } else { seen_kib };
    Measured { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib }
}

/// A size in the kernel's status of a process (`VmRSS:`, `VmHWM:`), in MiB.
pub fn memory_mib(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon lives");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}

/// User and system time of a process.
pub fn cpu_seconds(pid: u32) -> f64 {
    ticks(pid, 2) / 100.0
}

/// User and system time of a process and of the children that it has waited for.
pub fn cpu_seconds_with_children(pid: u32) -> f64 {
    ticks(pid, 4) / 100.0
}

fn ticks(pid: u32, fields: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the daemon lives");
    let (_, after_name) = stat.rsplit_once(')').expect("the fields");
    let times = after_name.split_whitespace().skip(11).take(fields);
    times.map(|field| field.parse::<f64>().expect("a number")).sum()
}

/// The largest resident set that a process had, in KiB.
fn high_water_kib(pid: &str) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// This program again, as the measured child with these arguments; see [`child`].
pub fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(CHILD).args(arguments);
    command
}

/// Runs the work of a measured child, given by its name and arguments.
pub fn child(arguments: &[String]) -> ExitCode {
    match arguments {
        [work, bundle, destination] if work == "unpack" => crate::unpack::child(bundle.as_ref(), destination.as_ref()),
        [work, url, into, digest, bundle] if work == "download" => crate::s3::child(url, into.as_ref(), digest, bundle),
        _ => panic!("unknown work for a measured child: {arguments:?}"),
    }
    ExitCode::SUCCESS
}

/// Whether a tool can be started; if not, prints why it is left out.
pub fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("{tool} is not on this host: its figure is left out");
    }
    found
}

/// The fastest run counts: every disturbance makes a run slower.
pub fn fastest(runs: &[Measured]) -> Measured {
    *runs.iter().min_by_key(|run| run.wall).expect("at least one run")
}

/// Prints a figure with its bound; returns whether it is within.
pub fn verdict(what: &str, found: f64, unit: &str, within: bool, bound: &str) -> bool {
    let word = if within { "ok" } else { "MISSED" };
    println!("  {what}: {found:.2} {unit}, bound {bound}: {word}");
    within
}

/// `hostler VERB` as built for this run.
pub fn hostler(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
    command.arg(verb).stdin(Stdio::null());
    command
}

/// `hostler VERB` for the group of these figures on the host below `root`.
pub fn hostler_at(root: &Path, verb: &str) -> Command {
    let mut command = hostler(verb);
    command.args(["--application", "figures", "--group", "bench", "--root"]).arg(root);
    command
}

/// Pushes a directory and releases it, as a publisher does.
pub fn publish(bundle: &Path, store: &Path) {
    let revision = output(hostler("push").arg(bundle).arg(store));
    output(hostler_at(Path::new("/"), "release").arg(store).arg(revision.trim()));
}

/// Standard output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Writes a script that every user may execute.
pub fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(path.parent().expect("its directory")).expect("its directory");
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// The number of files of the bundle of small files.
pub const SMALL_FILES: usize = 5000;

/// A bundle of [`SMALL_FILES`] files of 0.2 to 16 KB without hooks; other content of the same sizes for each seed.
pub fn small_files(bundle: &Path, seed: u64) -> PathBuf {
    for file in 0..SMALL_FILES {
        let directory = bundle.join(format!("app/lib-{}", file / 50));
        if file % 50 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        let bytes = 200 + file * 7919 % 16_000;
        let path = directory.join(format!("module-{file}.js"));
        write(&path, bytes, seed << 32 | file as u64);
        // Revisions are made on different days; rsync compares the times.
        let made = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seed * 86_400);
        File::options().append(true).open(&path).and_then(|file| file.set_modified(made)).expect("its time");
    }
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\n";
    fs::write(bundle.join("appspec.yml"), appspec).expect("the appspec");
    bundle.join("app")
}

/// Content that compresses about as well as text and code do.
pub fn write(path: &Path, bytes: usize, seed: u64) {
    let mut file = BufWriter::with_capacity(64 << 10, File::create(path).expect("a file"));
    let mut state = seed | 1;
    let mut left = bytes;
    while left > 0 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = WORDS[(state >> 33) as usize % WORDS.len()];
        let number = (state >> 40) as u16;
        let mut piece = [0_u8; 32];
        let length = {
            let mut rest = &mut piece[..];
            write!(rest, "{word} {number:x} ").expect("a short piece");
            32 - rest.len()
        };
        let count = length.min(left);
        file.write_all(&piece[..count]).expect("content");
        left -= count;
    }
    file.flush().expect("content");
}

const WORDS: &[&str] = &[
    "return",
    "function",
    "const",
    "the",
    "deployment",
    "= {",
    "});",
    "import",
    "self.",
    "value",
    "if (",
    "\n    ",
    "\n",
    "error",
    "public class",
    "</div>",
    "index",
    "null",
    "require",
    "string",
];
