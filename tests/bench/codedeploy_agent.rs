//! The cost of a deployment in the CodeDeploy agent's place, over TLS on loopback, with a command service and a bucket;
//! beside the measured cost of the CodeDeploy agent 1.8.1 (docs/protocols/codedeploy.md#costs; two cores, Debian 12,
//! tmpfs). That agent cannot run here: its figures are printed as measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::codedeploy::{CommandService, s3, specification};
use crate::deployment::{TINY_EVENTS, tiny_bundle};
use crate::support::{
    self, cpu_seconds, cpu_seconds_with_children, has, hostler, memory_directory, memory_mib, output, verdict,
};

const PATIENCE: Duration = Duration::from_secs(300);
const LARGE_FILES: usize = 20;
const LARGE_BYTES: usize = 25_000_000;
/// More than a deployment of the small files writes.
const SMALL_BYTES: usize = 200_000_000;

pub fn run() -> bool {
    let host = Host::new();
    first_poll(&host) & tiny(&host) & small_files(&host) & large_files(&host)
}

struct Host {
    room: TempDir,
    service: CommandService,
}

/// A daemon, which ends with this value.
struct Daemon(Child);

impl Daemon {
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cost of one deployment.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

impl Host {
    fn new() -> Self {
        let host = Self { room: memory_directory(), service: CommandService::start() };
        host.service.configure(&host.root());
        host
    }

    fn root(&self) -> PathBuf {
        self.room.path().join("root")
    }

    fn start(&self) -> Daemon {
        let mut command = hostler("run");
        command.arg("--root").arg(self.root()).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Daemon(command.spawn().expect("the daemon"))
    }

    /// Packs a bundle and puts it into the bucket; `tool` is a command that packs the working directory into the file
    /// given as its last argument.
    fn put(&self, key: &str, bundle: &Path, tool: &str) {
        let packed = self.room.path().join(key);
        let script = format!("{tool} \"$0\" .");
        output(Command::new("sh").args(["-c", &script]).arg(&packed).current_dir(bundle));
        self.service.put_object(key, fs::read(&packed).expect("the packed bundle"));
        fs::remove_file(packed).expect("the packed bundle");
    }

    /// One deployment from its first command to its last report; it writes at most `bytes`.
    fn deploy(&self, daemon: &Daemon, number: usize, key: &str, events: &[&str], bytes: usize) -> Took {
        support::touch_free_memory(self.room.path(), bytes);
        let bundle_type = key.rsplit('.').next().expect("an ending");
        let id = format!("d-{}{number}", bundle_type.to_uppercase());
        let cpu = cpu_seconds_with_children(daemon.pid());
        self.service.deploy(&specification(&id, "bench", s3(key, bundle_type)), events);
        let began = Instant::now();
        let last = format!("{id}/{}", events.last().expect("an event"));
        loop {
            let reports = self.service.reports();
            let failed = reports.iter().find(|report| report.status != "Succeeded");
            assert!(failed.is_none(), "{failed:?}");
            if reports.iter().any(|report| report.command == last) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{last} is not reported: {reports:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let wall = began.elapsed().as_secs_f64();
        Took { wall, cpu: cpu_seconds_with_children(daemon.pid()) - cpu }
    }
}

/// The fastest run: every disturbance makes a run slower.
fn fastest(runs: &[Took]) -> Took {
    let least = |of: fn(&Took) -> f64| runs.iter().map(of).min_by(f64::total_cmp).expect("a run");
    Took { wall: least(|took| took.wall), cpu: least(|took| took.cpu) }
}

fn first_poll(host: &Host) -> bool {
    let one = || {
        let before = host.service.calls().len();
        let began = Instant::now();
        let _daemon = host.start();
        while host.service.calls().len() == before {
            assert!(began.elapsed() < PATIENCE, "the service is not polled");
            std::thread::sleep(Duration::from_micros(200));
        }
        began.elapsed().as_secs_f64() * 1e3
    };
    let milliseconds = (0..5).map(|_| one()).min_by(f64::total_cmp).expect("several starts");
    println!("  the CodeDeploy agent: 1210 ms");
    verdict("start to first poll", milliseconds, "ms", milliseconds < 100.0, "under 100")
}

/// A file and five hooks that do nothing.
fn tiny(host: &Host) -> bool {
    let bundle = host.room.path().join("tiny");
    tiny_bundle(&bundle);
    host.put("tiny.tgz", &bundle, "tar -czf");
    let daemon = host.start();
    let mut events = vec!["DownloadBundle"];
    events.extend(TINY_EVENTS);
    events.insert(2, "Install");
    // The first deployment opens connections and reads the profile.
    host.deploy(&daemon, 0, "tiny.tgz", &events, 0);
    let rounds = 20;
    let before = cpu_seconds_with_children(daemon.pid());
    let runs: Vec<Took> = (1..=rounds).map(|number| host.deploy(&daemon, number, "tiny.tgz", &events, 0)).collect();
    let cpu = (cpu_seconds_with_children(daemon.pid()) - before) / rounds as f64;
    let wall = fastest(&runs).wall;
    println!("  the CodeDeploy agent: 6.09 s, of it 0.36 s without waiting; 0.20 s cpu; 82 MB peak");
    verdict("one file, five hooks", wall, "s", wall < 0.5, "under 0.5")
        & verdict("its CPU, the hooks' in it, mean", cpu, "s", cpu < 0.05, "under 0.05")
}

fn small_files(host: &Host) -> bool {
    let bundle = host.room.path().join("small");
    support::small_files(&bundle, 1);
    let daemon = host.start();
    // The CodeDeploy agent's figures: wall time without waiting, and CPU time.
    let kinds = [
        ("small.tgz", "tar -czf", 1.28, 1.11),
        ("small.zip", "zip -qr", 1.36, 1.20),
        ("small.tar", "tar -cf", 1.15, 1.02),
    ];
    let mut within = true;
    for (key, tool, wall, cpu) in kinds {
        if tool.starts_with("zip") && !has("zip") {
            continue;
        }
        host.put(key, &bundle, tool);
        let rounds =
            (100..107).map(|number| host.deploy(&daemon, number, key, &["DownloadBundle", "Install"], SMALL_BYTES));
        let took = fastest(&rounds.collect::<Vec<_>>());
        println!("  {key}: {:.3} s wall, {:.3} s cpu; the CodeDeploy agent {wall} and {cpu}", took.wall, took.cpu);
        let bound = cpu / 3.0;
        within &= verdict("a third of its CPU", took.cpu, "s", took.cpu <= bound, &format!("<= {bound:.2}"));
    }
    within
}

fn large_files(host: &Host) -> bool {
    let bundle = host.room.path().join("large");
    fs::create_dir_all(bundle.join("app")).expect("a directory");
    for file in 0..LARGE_FILES {
        support::write(&bundle.join(format!("app/{file}.bin")), LARGE_BYTES, file as u64 + 1);
    }
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/large\n";
    fs::write(bundle.join("appspec.yml"), appspec).expect("the appspec");
    let daemon = host.start();
    let events = ["DownloadBundle", "Install"];
    // The bundle, its contents, and the installed files.
    let bytes = 3 * LARGE_FILES * LARGE_BYTES;
    host.put("large.tar", &bundle, "tar -cf");
    let runs: Vec<Took> = (200..210).map(|number| host.deploy(&daemon, number, "large.tar", &events, bytes)).collect();
    let after = back_under(&daemon, 16.0);
    let mut within = half("large.tar", fastest(&runs), 2.7, 2.4);
    for (key, tool, wall, cpu) in [("large.tgz", "tar -I 'gzip -1' -cf", 5.0, 4.6), ("large.zip", "zip -1qr", 4.6, 4.2)]
    {
        host.put(key, &bundle, tool);
        let runs: Vec<Took> = (300..303).map(|number| host.deploy(&daemon, number, key, &events, bytes)).collect();
        within &= half(key, fastest(&runs), wall, cpu);
    }
    let peak = memory_mib(daemon.pid(), "VmHWM:");
    println!("  the CodeDeploy agent: 237 MB peak, about 285 MB resident after ten of 500 MB; at rest 72.9 MB");
    within
        & verdict("peak resident", peak, "MiB", peak <= 64.0, "<= 64")
        & verdict("resident within a minute of the tenth", after, "MiB", after < 16.0, "under 16")
        & at_rest(host, &daemon)
}

fn half(key: &str, took: Took, wall: f64, cpu: f64) -> bool {
    println!("  {key}, 500 MB: {:.2} s cpu; the CodeDeploy agent {cpu}", took.cpu);
    verdict("half of its work time", took.wall, "s", took.wall <= wall / 2.0, &format!("<= {:.2}", wall / 2.0))
}

/// Resident memory once it is below the bound, or after a minute.
fn back_under(daemon: &Daemon, bound: f64) -> f64 {
    let began = Instant::now();
    loop {
        let resident = memory_mib(daemon.pid(), "VmRSS:");
        if resident < bound || began.elapsed() > Duration::from_secs(60) {
            return resident;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One long poll is open, and the daemon does nothing else.
fn at_rest(host: &Host, daemon: &Daemon) -> bool {
    let (calls, cpu) = (host.service.calls(), cpu_seconds(daemon.pid()));
    let seconds = 45;
    std::thread::sleep(Duration::from_secs(seconds));
    let later = host.service.calls().split_off(calls.len());
    assert!(later.iter().all(|call| call == "PollHostCommand"), "{later:?}");
    let a_poll = (cpu_seconds(daemon.pid()) - cpu) / later.len().max(1) as f64 * 1e3;
    println!("  the CodeDeploy agent: 3.4 ms cpu a poll");
    // The service holds an empty poll for 20 seconds.
    verdict("polls in 45 s at rest", later.len() as f64, "", later.len() <= 3, "<= 3")
        & verdict("CPU a poll", a_poll, "ms", a_poll <= 10.0, "<= 10, a tick of the clock")
}
