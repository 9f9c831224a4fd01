//! The idle daemon, with its channel in S3 over TLS: its memory, its wake-ups, its processor time, and how soon after
//! its start it polls the channel.
//!
//! It trusts the system's certificates and the server's own, so that it holds as many as on a real host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::deployment::tiny_bundle;
use crate::s3_front::{ACCESS_KEY, BUCKET, Front, SECRET_KEY};
use crate::support::{hostler, memory_directory, output, verdict};

const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const MIB: f64 = 1024.0;

struct Idle {
    room: TempDir,
    front: Front,
}

/// A daemon, which ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run() -> bool {
    let idle = Idle::new();
    let first_poll = (0..5).map(|_| idle.first_poll()).min().expect("several starts");
    let mut within =
        verdict("start to first poll", first_poll.as_secs_f64() * 1000.0, "ms", first_poll.as_millis() < 100, "100");

    let polls = 20;
    let before = idle.reads();
    let daemon = idle.start("1s");
    wait_until("looks at its channel", || idle.reads() > before);
    let started = faults(&daemon);
    wait_until("looks at its channel", || idle.reads() >= before + polls);
    let cpu_a_poll = cpu(&daemon) / polls as f64;
    let faults_a_poll = (faults(&daemon) - started) / (polls as u64 - 1);
    let status = Status::at_rest(&daemon);
    drop(daemon);
    println!("  a poll takes {:.2} ms of processor time and maps {faults_a_poll} times", cpu_a_poll * 1000.0);
    within &= verdict("resident memory", status.resident, "MiB", status.resident <= 12.0, "12");
    within &= verdict("anonymous memory", status.anonymous, "MiB", status.anonymous <= 8.0, "8");
    // Share of one core, with a poll each minute; includes the start.
    let share = cpu_a_poll / 60.0 * 100.0;
    within &= verdict("processor, a poll a minute", share, "%", share < 0.05, "0.05");

    let (reads, reports) = (idle.reads(), idle.reports());
    let daemon = idle.start("1h");
    wait_until("looks at its channel", || idle.reads() > reads);
    // The host report is the last work of a daemon after its start.
    wait_until("reports", || idle.reports() > reports);
    // By then the memory of the first poll has been released.
    std::thread::sleep(Duration::from_secs(3));
    let from = Status::of(&daemon).switches;
    std::thread::sleep(Duration::from_secs(20));
    let woken = Status::of(&daemon).switches - from;
    within & verdict("wake-ups between polls in 20 s", woken as f64, "", woken == 0, "0")
}

impl Idle {
    fn new() -> Self {
        let idle = Self { room: memory_directory(), front: Front::start_tls() };
        idle.front.with_sts("AROAEXAMPLE:i-0123456789abcdef0");
        let system = fs::read_to_string(SYSTEM_CERTIFICATES).unwrap_or_else(|_| {
            println!("  there is no {SYSTEM_CERTIFICATES} here: only one certificate is trusted");
            String::new()
        });
        fs::write(idle.certificates(), format!("{system}\n{}", idle.front.server().certificate()))
            .expect("certificates");
        let bundle = idle.path("bundle");
        tiny_bundle(&bundle);
        fs::create_dir(idle.path("root")).expect("the root");
        let revision = output(idle.command("push").arg(&bundle).arg(store()));
        output(idle.for_group(idle.command("release")).arg(store()).arg(revision.trim()));
        output(idle.for_group(idle.command("run")).args(["--once", "--channel", &store()]));
        idle
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn certificates(&self) -> PathBuf {
        self.path("certificates.pem")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = hostler(verb);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("AWS_CA_BUNDLE", self.certificates());
        command.envs([("AWS_ENDPOINT_URL", self.front.server().url().as_str()), ("AWS_REGION", "us-east-1")]);
        command.envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
        command
    }

    fn for_group(&self, mut command: Command) -> Command {
        command.args(["--application", "figures", "--group", "bench", "--root"]).arg(self.path("root"));
        command
    }

    fn start(&self, poll: &str) -> Daemon {
        let mut command = self.for_group(self.command("run"));
        command.args(["--channel", &store(), "--poll", poll]).stderr(Stdio::null());
        Daemon(command.spawn().expect("the daemon"))
    }

    /// Requests for the release so far.
    fn reads(&self) -> usize {
        let requests = self.front.server().requests();
        requests.iter().filter(|(method, target)| method == "GET" && target.contains("release.json")).count()
    }

    /// Requests for this host's own report so far.
    fn reports(&self) -> usize {
        let requests = self.front.server().requests();
        requests.iter().filter(|(method, target)| method == "GET" && target.contains("/hosts/")).count()
    }

    fn first_poll(&self) -> Duration {
        let before = self.reads();
        let start = Instant::now();
        let daemon = self.start("1h");
        wait_until("looks at its channel", || self.reads() > before);
        let took = start.elapsed();
        drop(daemon);
        took
    }
}

fn wait_until(what: &str, is_done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_done() {
        assert!(Instant::now() < deadline, "the daemon never {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn store() -> String {
    format!("s3://{BUCKET}/st")
}

/// Samples of which the median is the memory at rest: some fall into a poll.
const LOOKS: usize = 151;

/// The kernel's figures of a process: MiB, and how often its threads gave up the processor to wait.
struct Status {
    resident: f64,
    anonymous: f64,
    switches: u64,
}

impl Status {
    /// The median of the samples.
    fn at_rest(daemon: &Daemon) -> Self {
        let mut looks: Vec<Self> = (0..LOOKS)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                Self::of(daemon)
            })
            .collect();
        looks.sort_by(|a, b| a.resident.total_cmp(&b.resident));
        println!("  resident from {:.2} to {:.2} MiB", looks[0].resident, looks[LOOKS - 1].resident);
        looks.swap_remove(LOOKS / 2)
    }

    fn of(daemon: &Daemon) -> Self {
        let process = PathBuf::from(format!("/proc/{}", daemon.0.id()));
        let number = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
        };
        let read = |path: &Path| fs::read_to_string(path).expect("a running daemon");
        let status = read(&process.join("status"));
        let threads = fs::read_dir(process.join("task")).expect("its threads");
        let switches = threads
            .map(|task| number(&read(&task.expect("a thread").path().join("status")), "voluntary_ctxt_switches:"));
        Self {
            resident: number(&status, "VmRSS:") as f64 / MIB,
            anonymous: number(&status, "RssAnon:") as f64 / MIB,
            switches: switches.sum(),
        }
    }
}

/// Seconds of processor time so far, user and system.
fn cpu(daemon: &Daemon) -> f64 {
    let ticks = stat(daemon, 13) + stat(daemon, 14);
    let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().expect("ticks a second");
    ticks as f64 / a_second as f64
}

/// Page faults so far that did not need the disk.
fn faults(daemon: &Daemon) -> u64 {
    stat(daemon, 9)
}

/// A field of proc_pid_stat(5), counted from 0.
fn stat(daemon: &Daemon, field: usize) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.0.id())).expect("a running daemon");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    after_name.split_whitespace().nth(field - 2).and_then(|word| word.parse().ok()).expect("a number")
}
